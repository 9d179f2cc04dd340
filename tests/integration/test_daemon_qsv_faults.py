"""
Every way a GPU fails, through the whole daemon: how the attempt ends, what the gate does, what the operator reads.

The faults are the simulated runtime's; what libavcodec makes of each is in tests/vplsim/README.md. Whatever happens,
nothing unproven is published, and once the fault is gone the job finishes by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.jobs import JobState
from tests.conftest import SIZE
from tests.running import RunningDaemon, is_alive
from tests.simulated import SOURCES, Simulated

#: A frame that jobs reach and the trial does not.
LATE = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`order` is the simulated runtime's; what follows is what the daemon must make of it."""

    order: str
    kind: str = "device"
    closes: bool = True
    says: str
    often: bool = True  # False: another one takes the same way, and this one waits for `make e2e`


#: Faults that a trial cannot see: they strike in the middle of a job.
IN_A_JOB = [
    Fault(order=f"async=-17@{LATE}", says="device failed (-17)", often=False),
    Fault(order=f"async=-21@{LATE}", says="hang"),
    Fault(order=f"async=-13@{LATE}", says="device lost (-13)", often=False),
    Fault(order=f"async=-16@{LATE}", says="undefined behavior", often=False),
    Fault(order=f"async=5@{LATE}", says="frames", often=False),
    Fault(order=f"sync=-21@{LATE}", says="hang", often=False),
    Fault(order=f"syncquiet@{LATE}", says="nothing in it", often=False),
    Fault(order=f"nodata@{LATE}", says="nothing in it", often=False),
    Fault(order=f"drop@{LATE}", says="frames"),
    Fault(order=f"trunc@{LATE}", says="decode", often=False),
    Fault(order=f"garble@{LATE}", says="other ones than went in", often=False),
    Fault(order=f"garble@{LATE}x1", says="other ones than went in", often=False),
    Fault(order=f"busy@{LATE}", kind="crash", closes=False, says="stood still", often=False),
    Fault(order=f"exec@{LATE}", kind="crash", closes=False, says="stood still", often=False),
    Fault(order=f"hang@{LATE}", kind="crash", closes=False, says="stood still"),
    Fault(order=f"hangsync@{LATE}", kind="crash", closes=False, says="stood still", often=False),
    Fault(order=f"crash@{LATE}", kind="crash", closes=False, says="SIGABRT", often=False),
]

#: Faults that hold the queue before a recording is touched.
IN_THE_TRIAL = [
    Fault(order="desc", says="MFX session"),
    Fault(order="session=-9", says="MFX session", often=False),
    Fault(order="session=-17", says="MFX session", often=False),
    Fault(order="query=-3", says="not supported", often=False),
    Fault(order="init=-17", says="device failed (-17)", often=False),
    Fault(order="init=-4", says="memory", often=False),
    Fault(order="nohdr", says="xtradata", often=False),
    Fault(order="async=-21@3", says="hang", often=False),
    Fault(order="sync=-21@3", says="hang", often=False),
    Fault(order="nodata@3", says="nothing in it", often=False),
    Fault(order="drop@3", says="frames", often=False),
    Fault(order="garble@3", says="other pictures", often=False),
    Fault(order="trunc@3", says="cannot be decoded", often=False),
    Fault(order="hanginit", says="stood still", often=False),
    Fault(order="hangload", says="stood still", often=False),
    Fault(order="hang@3", says="stood still", often=False),
    Fault(order="crash@3", says="SIGABRT", often=False),
]


def as_parameters(faults: list[Fault]) -> list[Any]:
    return [pytest.param(fault, id=fault.order, marks=() if fault.often else pytest.mark.slow) for fault in faults]


def table() -> list[str]:
    """Return the rows of the fault table: fault, where it strikes, kind of failure, gate, what the operator reads."""
    rows = []
    for where, faults in (("in a job", IN_A_JOB), ("in the trial", IN_THE_TRIAL)):
        for fault in faults:
            kind = fault.kind if where == "in a job" else "none: no job is claimed"
            gate = "closes" if fault.closes else "the next job waits for a trial"
            rows.append(f"| `{fault.order}` | {where} | {kind} | {gate} | … {fault.says} … |")
    return rows


def test_the_fault_table_in_the_runtime_s_readme_is_this_one() -> None:
    text = (SOURCES / "README.md").read_text("utf-8")

    assert [row for row in table() if row not in text] == []


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds: more frames than a trial has."""
    path = tmp_path_factory.mktemp("broadcast") / "two_seconds.ts"
    return make_recording(path, SampleSpec(duration_s=2.0, **SIZE))


@pytest.fixture
def fault_file(tmp_path: Path) -> Path:
    return tmp_path / "fault"


@pytest.fixture
def qsv(daemon: RunningDaemon, simulated: Simulated, fault_file: Path) -> RunningDaemon:
    limits = {"startup_limit_s": 8.0, "stall_limit_s": 1.0, "drain_limit_s": 1.0}
    daemon.configure(encode={"encoder": "h264_qsv", **limits}, preflight={"trial_limit_s": 8.0})
    daemon.environment = simulated.environment(fault_file=fault_file)
    return daemon


def finishes_once_the_fault_is_gone(daemon: RunningDaemon, simulated: Simulated, fault_file: Path) -> None:
    simulated.set_fault(fault_file)
    done = daemon.wait_done()

    assert (done.state, daemon.outputs(), daemon.partials()) == (JobState.DONE, ["a.mp4"], [])
    assert daemon.receipt()["verdict"] == "pass"


@pytest.mark.parametrize("fault", as_parameters(IN_A_JOB))
def test_a_fault_in_a_job(
    qsv: RunningDaemon, simulated: Simulated, fault_file: Path, broadcast: Path, fault: Fault
) -> None:
    """The child ends, nothing is published, the recording is not blamed; the gate closes where it was the device."""
    simulated.set_fault(fault_file, fault.order)
    qsv.start().drop(broadcast)
    qsv.wait_for(lambda: qsv.log("encode.failed"), what="the failure")
    outputs, failed = qsv.outputs(), qsv.log("encode.failed")[0]
    qsv.wait_for(lambda: len(qsv.log("gate.closed")) >= fault.closes, what="the gate")

    assert outputs == []
    assert (failed["kind"], failed["becomes"]) == (fault.kind, "queued")
    assert fault.says.lower() in failed["reason"].lower()
    assert failed["remedy"]
    assert bool(qsv.log("gate.closed")) == fault.closes
    finishes_once_the_fault_is_gone(qsv, simulated, fault_file)
    assert qsv.job().attempts == (1 if fault.closes else 2)


@pytest.mark.parametrize("fault", as_parameters(IN_THE_TRIAL))
def test_a_fault_in_the_trial(
    qsv: RunningDaemon, simulated: Simulated, fault_file: Path, broadcast: Path, fault: Fault
) -> None:
    """No recording is touched; everyone reads why; the gate opens by itself."""
    simulated.set_fault(fault_file, fault.order)
    qsv.start().drop(broadcast)
    qsv.wait_for(lambda: "gate.h264_qsv" in qsv.status().get("problems", {}), what="the status")
    reason, remedy = qsv.status()["problems"]["gate.h264_qsv"]

    assert (qsv.states(), qsv.events(), qsv.outputs()) == ([JobState.QUEUED], ["added"], [])
    assert fault.says.lower() in reason.lower()
    assert reason in qsv.status()["status"]
    assert remedy
    finishes_once_the_fault_is_gone(qsv, simulated, fault_file)
    assert len(qsv.log("gate.closed")) == 1


def test_a_device_that_is_busy_for_a_while_is_waited_for(
    qsv: RunningDaemon, simulated: Simulated, fault_file: Path, broadcast: Path
) -> None:
    simulated.set_fault(fault_file, f"busy@{LATE}x100")
    qsv.start().drop(broadcast)
    qsv.wait_done()

    assert (qsv.log("encode.failed"), qsv.receipt()["verdict"]) == ([], "pass")


def test_a_call_that_never_returns_is_ended_by_sigkill(
    qsv: RunningDaemon, simulated: Simulated, fault_file: Path, broadcast: Path
) -> None:
    """SIGTERM is heard by nobody in there. Once the limit has passed nothing of the child is left."""
    simulated.set_fault(fault_file, f"hang@{LATE}")
    qsv.start().drop(broadcast)
    child = qsv.wait_encoding()
    qsv.wait_for(lambda: qsv.log("encode.failed"), what="the failure")

    assert not is_alive(child)
    assert qsv.partials() == []
    assert "and was killed" in qsv.log("encode.failed")[0]["reason"]
