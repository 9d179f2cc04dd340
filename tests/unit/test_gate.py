"""The gate: which encoder a setting may use, when a trial is due, and what is said. Real children, a scripted clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from encoderd.encode.failures import device
from encoderd.encode.messages import Build, TrialDone, VideoRequest
from encoderd.gate import Gate
from encoderd.pci import PciAddress, PciDevice
from encoderd.preflight.facts import GpuFacts, RenderNode
from encoderd.settings import EncodeSettings, PreflightSettings
from encoderd.video_settings import video_request

RECHECK_S = 60.0
GPU = PciAddress.parse("0000:00:02.0")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(PreflightSettings(recheck_s=RECHECK_S), tmp_path / "trial.log")
    yield made
    made.stop()


def asking(encoder: str, **changes: Any) -> EncodeSettings:
    return EncodeSettings.model_validate({"encoder": encoder, "preset": "veryfast", **changes})


def video(encoder: str, **changes: Any) -> VideoRequest:
    return video_request(asking(encoder, **changes), encoder)


def passes(gate: Gate, encoder: str, now_s: float = 0.0, **changes: Any) -> None:
    done = TrialDone(encoder=encoder, frames=12, wall_s=0.1, psnr_db=40.0, granted={})
    gate._conclude(video(encoder, **changes), done, now_s)


def fails(gate: Gate, encoder: str, now_s: float = 0.0, reason: str = "no GPU", **changes: Any) -> None:
    gate._settle(gate._door(video(encoder, **changes)), video(encoder, **changes), reason, "get one", now_s)


def used(gate: Gate, encode: EncodeSettings, now_s: float = 0.0) -> str | None:
    found = gate.video_for(encode, now_s)
    return None if found is None else found.encoder


@pytest.mark.parametrize(
    ("setting", "qsv", "cpu", "answer"),
    [
        ("h264_qsv", None, None, None),
        ("h264_qsv", True, None, "h264_qsv"),
        ("h264_qsv", False, True, None),
        ("auto", None, True, None),  # the better one has not been tried yet
        ("auto", True, True, "h264_qsv"),
        ("auto", False, None, None),
        ("auto", False, True, "libx264"),
        ("auto", False, False, None),
        ("libx264", None, True, "libx264"),
        ("libx264", True, None, None),
        ("libx264", True, False, None),
    ],
)
def test_which_encoder_a_setting_gets(
    gate: Gate, setting: str, qsv: bool | None, cpu: bool | None, answer: str | None
) -> None:
    """None: not tried, True: the trial passed, False: it failed."""
    for encoder, passed in (("h264_qsv", qsv), ("libx264", cpu)):
        if passed is not None:
            (passes if passed else fails)(gate, encoder)

    assert used(gate, asking(setting)) == answer


def test_each_way_of_encoding_has_its_own_door(gate: Gate) -> None:
    """A GPU that grants one rate control may refuse another: folders that ask for the first go on."""
    passes(gate, "h264_qsv")
    fails(gate, "h264_qsv", rate_control="la_icq")

    assert used(gate, asking("h264_qsv")) == "h264_qsv"
    assert used(gate, asking("h264_qsv", rate_control="la_icq")) is None
    assert used(gate, asking("h264_qsv", rate_control="cqp")) is None
    assert gate._next_trial(1.0, [asking("h264_qsv", rate_control="cqp")]) == video("h264_qsv", rate_control="cqp")


def test_why_it_is_closed(gate: Gate) -> None:
    """Nothing while a first trial is to come; then every encoder's own reason; nothing once one is open."""
    assert gate.why_closed(asking("h264_qsv")) == ("", "")
    fails(gate, "h264_qsv")
    assert gate.why_closed(asking("h264_qsv")) == ("no GPU", "get one")
    assert gate.why_closed(asking("auto")) == ("", "")
    fails(gate, "libx264", reason="no libx264")
    assert gate.why_closed(asking("auto")) == ("no GPU no libx264", "get one")
    passes(gate, "libx264")
    assert gate.why_closed(asking("auto")) == ("", "")
    assert gate.why_closed(asking("libx264")) == ("", "")
    assert gate.reason(asking("auto")) == "no GPU"


@pytest.mark.parametrize(
    ("now_s", "wanted", "due"),
    [
        (0.0, [], None),
        (0.0, ["h264_qsv"], None),
        (RECHECK_S - 1, ["auto", "h264_qsv"], "libx264"),  # never tried: at once
        (RECHECK_S, ["h264_qsv"], "h264_qsv"),
        (RECHECK_S, ["auto"], "libx264"),
        (10 * RECHECK_S, ["libx264"], "libx264"),
    ],
)
def test_which_trial_is_due(gate: Gate, now_s: float, wanted: list[str], due: str | None) -> None:
    """After h264_qsv has failed at 0 s. One that nobody waits for is never tried."""
    fails(gate, "h264_qsv", 0.0)
    found = gate._next_trial(now_s, [asking(setting) for setting in wanted])

    assert (found.encoder if found else None) == due


def test_the_first_job_of_a_batch_waits_for_a_trial(gate: Gate) -> None:
    """A GPU can go away while nobody uses it. One that encodes shows by that alone that it is there."""
    qsv = asking("h264_qsv")
    passes(gate, "h264_qsv", 0.0)
    assert (used(gate, qsv, RECHECK_S), gate._next_trial(RECHECK_S, [qsv])) == ("h264_qsv", None)
    gate.tick(RECHECK_S, [], busy=[video("h264_qsv")])
    assert used(gate, qsv, 2 * RECHECK_S) == "h264_qsv"

    assert used(gate, qsv, 2 * RECHECK_S + 1) is None
    assert used(gate, asking("auto"), 2 * RECHECK_S + 1) is None  # and does not fall back to the CPU meanwhile
    assert gate._next_trial(2 * RECHECK_S + 1, [qsv]) == video("h264_qsv")
    assert gate.why_closed(qsv) == ("", "")


def test_a_cpu_is_not_tried_again(gate: Gate) -> None:
    """And where the better encoder is open, the other one needs no trial."""
    passes(gate, "libx264", 0.0)
    passes(gate, "h264_qsv", 10 * RECHECK_S)

    assert used(gate, asking("libx264"), 10 * RECHECK_S) == "libx264"
    assert gate._next_trial(10 * RECHECK_S, [asking("h264_qsv"), asking("auto"), asking("libx264")]) is None


def test_after_a_crash_a_trial_tells_whether_it_was_the_gpu(gate: Gate) -> None:
    passes(gate, "h264_qsv", 0.0)
    passes(gate, "libx264", 0.0)
    gate.doubt(video("h264_qsv"))
    gate.doubt(video("libx264"))
    gate.tick(0.5, [], busy=[video("h264_qsv")])  # a second attempt goes on: it may hang just as well

    assert used(gate, asking("h264_qsv"), 1.0) is None
    assert gate._next_trial(1.0, [asking("h264_qsv")]) == video("h264_qsv")
    assert used(gate, asking("libx264"), 1.0) == "libx264"


def test_a_device_failure_closes_all_its_doors(gate: Gate) -> None:
    """Until the next trial, which comes after `recheck_s`; closing a closed one is no news."""
    passes(gate, "h264_qsv")
    passes(gate, "h264_qsv", rate_control="cqp")
    with capture_logs() as lines:
        gate.close("h264_qsv", "GPU HANG", "reboot", 100.0)
        gate.close("h264_qsv", "GPU HANG", "reboot", 101.0)

    assert used(gate, asking("h264_qsv")) is None
    assert used(gate, asking("h264_qsv", rate_control="cqp")) is None
    assert gate.why_closed(asking("h264_qsv")) == ("GPU HANG", "reboot")
    assert gate._next_trial(101.0 + RECHECK_S - 0.1, [asking("h264_qsv")]) is None
    assert gate._next_trial(101.0 + RECHECK_S, [asking("h264_qsv")]) == video("h264_qsv")
    assert [line["event"] for line in lines] == ["gate.closed"]


def test_the_same_reason_is_told_once(gate: Gate) -> None:
    with capture_logs() as lines:
        for reason in ("no GPU", "no GPU", "no driver", "no driver", "no GPU"):
            fails(gate, "h264_qsv", reason=reason)
        passes(gate, "h264_qsv")

    told = [(line["event"], line.get("reason")) for line in lines]
    assert told == [
        ("gate.closed", "no GPU"),
        ("gate.closed", "no driver"),
        ("gate.closed", "no GPU"),
        ("gate.opened", None),
    ]


def test_a_real_trial(gate: Gate) -> None:
    """One child; nothing else is started while it runs; what it says opens the gate."""
    gate.tick(time.monotonic(), [asking("libx264")])
    child = gate.trial
    assert child is not None
    give_up_s = time.monotonic() + 30
    while gate.trial is not None and time.monotonic() < give_up_s:
        assert gate.trial is child
        gate.tick(time.monotonic(), [asking("libx264")])
        time.sleep(0.02)

    assert used(gate, asking("libx264"), time.monotonic()) == "libx264"


def test_stop_ends_the_trial(gate: Gate) -> None:
    gate.tick(time.monotonic(), [asking("libx264")])
    child = gate.trial
    assert child is not None
    gate.stop()

    assert gate.trial is None
    assert not Path(f"/proc/{child.pid}").exists()


def test_a_trial_that_cannot_be_started(tmp_path: Path) -> None:
    """No place for its log: the gate stays closed with that reason, and the daemon lives."""
    (tmp_path / "trial.log").mkdir()
    gate = Gate(PreflightSettings(), tmp_path / "trial.log")
    gate.tick(0.0, [asking("libx264")])
    reason, remedy = gate.why_closed(asking("libx264"))

    assert "could not be started" in reason
    assert "trial.log" in reason
    assert remedy
    assert gate.trial is None


def guest(*nodes: RenderNode, device: int = 0x9A49) -> GpuFacts:
    """A guest whose GPU (Tiger Lake) has these render nodes."""
    gpu = PciDevice(
        address=GPU, vendor=0x8086, device=device, class_code=0x030000, driver="i915", iommu_group=None, boot_vga=True
    )
    return GpuFacts(displays=(gpu,), render_nodes=nodes, user="encoderd")


def node(number: int, error: str = "") -> RenderNode:
    return RenderNode(
        path=f"/dev/dri/renderD{number}",
        address=str(GPU),
        vendor=0x8086,
        driver="i915",
        error=error,
        owner="root:render 0660",
    )


def test_what_auto_means_depends_on_the_gpu(tmp_path: Path) -> None:
    """And one that comes back under another number, or is another one, is tried before a job uses it."""
    machine = [GpuFacts(displays=(), render_nodes=(), user="encoderd")]
    gate = Gate(PreflightSettings(recheck_s=RECHECK_S), tmp_path / "trial.log", lambda: machine[0])
    asked = []
    for number, facts in enumerate([machine[0], guest(node(128)), guest(node(129)), guest(node(128), device=0x56A5)]):
        machine[0] = facts
        now_s = number * 2 * RECHECK_S
        gate._look_for_gpu(now_s, [asking("h264_qsv")])
        due = gate._next_trial(now_s, [asking("h264_qsv")])
        assert due is not None
        asked.append((due.low_power, due.bframes))
        done = TrialDone(encoder="h264_qsv", frames=12, wall_s=0.1, psnr_db=40.0, granted={})
        gate._conclude(due, done, now_s)

    assert asked == [("auto", 2), ("off", 2), ("off", 2), ("on", 3)]


def test_a_trial_that_fails_is_explained_by_the_machine(tmp_path: Path) -> None:
    """FFmpeg's -9 is the same for all; that the render node may not be opened is what the operator needs to read."""
    gate = Gate(PreflightSettings(), tmp_path / "trial.log", lambda: guest(node(128, error="EACCES")))
    build = Build(pyav="18.1.0", ffmpeg="8.1", libraries={}, encoders=["h264_qsv"], hardware=[])
    failure = device("Error creating a MFX session: -9.", remedy="encoderd check")
    gate._conclude(video("h264_qsv"), failure, 0.0, build)
    reason, remedy = gate.why_closed(asking("h264_qsv"))

    assert "/dev/dri/renderD128" in reason
    assert "-9" in reason
    assert "render" in remedy
