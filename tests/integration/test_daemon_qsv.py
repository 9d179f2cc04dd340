"""The whole daemon on h264_qsv: the real libavcodec and VPL dispatcher over the simulated runtime."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.jobs import JobState
from tests.conftest import SIZE
from tests.pictures import deinterlaced, shown, since_start
from tests.running import RunningDaemon
from tests.simulated import RUNTIME, Simulated

FRAMES = 60


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of interlaced MPEG-2."""
    path = tmp_path_factory.mktemp("broadcast") / "two_seconds.ts"
    return make_recording(path, SampleSpec(duration_s=2.0, **SIZE))


@pytest.fixture
def qsv(daemon: RunningDaemon, simulated: Simulated, tmp_path: Path) -> RunningDaemon:
    daemon.configure(encode={"encoder": "h264_qsv", "preset": "medium"})
    daemon.environment = simulated.environment(trace=tmp_path / "trace")
    return daemon


def test_a_recording_becomes_a_verified_file(qsv: RunningDaemon, broadcast: Path) -> None:
    """Every picture comes out as it went in, bit for bit (the simulated encoder codes I_PCM), and at its time."""
    qsv.start().drop(broadcast)
    qsv.wait_done()
    went_in, came_out = list(deinterlaced(broadcast)), list(shown(qsv.output / "a.mp4"))

    assert len(came_out) == FRAMES
    assert [picture for _, picture in went_in] == [picture for _, picture in came_out]
    assert since_start(went_in) == since_start(came_out)
    assert (qsv.receipt()["verdict"], qsv.outputs(), qsv.partials()) == ("pass", ["a.mp4"], [])


def test_what_was_granted_is_in_the_receipt_and_on_the_first_line(qsv: RunningDaemon, broadcast: Path) -> None:
    """Asked, granted, and the runtime that really was loaded."""
    qsv.start().drop(broadcast)
    qsv.wait_done()
    receipt = qsv.receipt()
    started, finished = qsv.log("encode.started")[0], qsv.log("encode.finished")[0]
    granted = receipt["granted"]

    assert (granted["rate_control"], granted["quality"], granted["bframes"]) == ("icq", "23", "2")
    assert (receipt["asked"]["video"]["rate_control"], receipt["asked"]["video"]["quality"]) == ("icq", 23)
    assert os.path.basename(granted["runtime"]) == RUNTIME
    assert started["granted"] == granted == finished["granted"]
    assert (started["differences"], started["level"]) == ([], "info")
    assert [line["event"] for line in qsv.log() if line.get("job") == 1][:2] == ["queue.job_added", "encode.started"]


@pytest.mark.slow
def test_a_rate_control_that_the_gpu_changes_is_told(qsv: RunningDaemon, simulated: Simulated, broadcast: Path) -> None:
    """Encoders without shaders take LA_ICQ and do ICQ: a warning on the first line, on the last, and in the receipt."""
    qsv.configure(encode={"rate_control": "la_icq"})
    qsv.environment = simulated.environment(platform="dg2")
    qsv.start().drop(broadcast)
    qsv.wait_done()
    receipt, started = qsv.receipt(), qsv.log("encode.started")[0]

    assert receipt["granted"]["rate_control"] == "icq"
    assert any("la_icq" in difference and "icq" in difference for difference in receipt["differences"])
    assert started["level"] == "warning"
    assert started["differences"] == receipt["differences"] == qsv.log("gate.opened")[0]["differences"]
    assert any(doubt.startswith("granted") for doubt in qsv.log("encode.finished")[0]["doubts"])


def test_options_arrive_at_the_runtime(
    qsv: RunningDaemon, simulated: Simulated, broadcast: Path, tmp_path: Path
) -> None:
    """From the settings file through daemon, child, PyAV, libavcodec and dispatcher to the runtime's Init."""
    qsv.configure(
        encode={"rate_control": "vbr", "bitrate": "3M", "max_bitrate": "5M", "bframes": 1, "gop": 50, "async_depth": 7}
    )
    qsv.start().drop(broadcast)
    qsv.wait_done()
    init = simulated.calls(tmp_path / "trace", "Init")[-1]

    assert "VBR" in init.fields["RateControlMethod"].upper() or init.fields["RateControlMethod"] == "2"
    assert (init.fields["GopRefDist"], init.fields["GopPicSize"]) == ("2", "50")
    assert init.fields["AsyncDepth"] == "7"


@pytest.mark.slow
def test_folders_with_other_settings_have_doors_of_their_own(
    qsv: RunningDaemon, simulated: Simulated, broadcast: Path
) -> None:
    """What this GPU refuses holds the folder that asks for it, and no other."""
    other = qsv.root / "other"
    other.mkdir()
    text = qsv.settings_file.read_text("utf-8")
    text += f'[[watch]]\nname = "other"\npath = "{other}"\noutput = "{qsv.root}/other_output"\n'
    text += 'encode = { low_power = "off" }\n'
    qsv.environment = simulated.environment(platform="dg2")  # whose only encoder is the low-power one
    qsv.settings_file.write_text(text, encoding="utf-8")
    qsv.start().drop(broadcast)
    (other / "b.ts").write_bytes(broadcast.read_bytes())
    qsv.wait_for(lambda: sorted(qsv.states()) == [JobState.DONE, JobState.QUEUED], what="one done, one waiting")
    qsv.wait_for(lambda: qsv.log("gate.closed"), what="the closed door")

    assert {job.watch: job.state for job in qsv.jobs()} == {"tv": JobState.DONE, "other": JobState.QUEUED}
    assert qsv.outputs() == ["a.mp4"]
    assert "ow power" in qsv.log("gate.closed")[0]["reason"]


@pytest.mark.slow
def test_the_first_job_of_a_batch_waits_for_a_new_trial(
    qsv: RunningDaemon, simulated: Simulated, broadcast: Path, tmp_path: Path
) -> None:
    """The GPU went away while nothing was encoded: the next recording is not tried on it, and loses nothing."""
    fault = tmp_path / "fault"
    qsv.environment = simulated.environment(fault_file=fault)
    qsv.start().drop(broadcast)
    qsv.wait_done(1)
    simulated.set_fault(fault, "session=-9")
    time.sleep(1.0)  # longer than recheck_s: the daemon can no longer know that the GPU is there
    qsv.drop(broadcast, "b.ts", old=True)
    qsv.wait_for(lambda: qsv.log("gate.closed"), what="the gate")
    waiting = qsv.job(2)
    simulated.set_fault(fault)
    qsv.wait_done(2)

    assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 0)
    assert (qsv.events(2)[:2], qsv.job(2).attempts) == (["added", "claimed"], 1)
