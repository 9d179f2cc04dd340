"""Nothing is claimed for an encoder that has not shown that it encodes, and everyone is told why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from encoderd.jobs import JobState
from tests.running import RunningDaemon

pytestmark = pytest.mark.skipif(any(Path("/dev").glob("dri/renderD*")), reason="these need a machine without a GPU")


def test_without_a_gpu_the_queue_waits_and_says_why(daemon: RunningDaemon, recording: Path) -> None:
    daemon.configure(encode={"encoder": "h264_qsv"})
    daemon.start().drop(recording)
    daemon.wait_for(lambda: "gate.h264_qsv" in daemon.status().get("problems", {}), what="the status")
    closed = daemon.log("gate.closed")[0]
    reason, remedy = daemon.status()["problems"]["gate.h264_qsv"]
    job = daemon.job()
    command = [sys.executable, "-m", "encoderd", "status", "--config", str(daemon.settings_file)]
    status = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert (job.state, job.attempts, daemon.events()) == (JobState.QUEUED, 0, ["added"])
    assert (closed["encoder"], closed["level"], closed["reason"], closed["remedy"]) == (
        "h264_qsv",
        "error",
        reason,
        remedy,
    )
    assert reason
    assert remedy
    assert reason in daemon.status()["status"]
    assert status.returncode == 1
    assert reason in status.stdout
    assert daemon.outputs() == []


@pytest.mark.slow
def test_it_is_told_once_and_tried_again(daemon: RunningDaemon, recording: Path) -> None:
    """A GPU that stays away for a week is one line in the log, not ten thousand."""
    daemon.configure(encode={"encoder": "h264_qsv"}, preflight={"recheck_s": 0.1})
    trial_log = daemon.state / "trial.log"
    daemon.start().drop(recording)
    daemon.wait_for(lambda: daemon.log("gate.closed"), what="the first trial")
    seen = set()

    def tried_again() -> bool:
        if trial_log.exists():
            seen.add(trial_log.stat().st_ino)
            seen.add(trial_log.stat().st_mtime_ns)
        return len(seen) > 4

    daemon.wait_for(tried_again, what="more trials")

    assert len(daemon.log("gate.closed")) == 1


def test_auto_takes_the_cpu_and_says_so(daemon: RunningDaemon, recording: Path) -> None:
    """Also where the GPU is tried again more often than the daemon ticks."""
    daemon.configure(encode={"encoder": "auto"}, preflight={"recheck_s": 0.05})
    daemon.start().drop(recording)
    daemon.wait_done()
    started = daemon.log("encode.started")[0]

    assert started["encoder"] == "libx264"
    assert started["on_cpu_because"]
    assert started["on_cpu_because"] == daemon.log("gate.closed")[0]["reason"]
    assert daemon.receipt()["granted"]["encoder"] == "libx264"


@pytest.mark.slow
def test_the_cpu_alone_asks_for_no_gpu(daemon: RunningDaemon, recording: Path) -> None:
    daemon.start().drop(recording)
    daemon.wait_done()

    assert daemon.log("gate.closed") == []
    assert [line["encoder"] for line in daemon.log("gate.opened")] == ["libx264"]
    assert "on_cpu_because" not in daemon.log("encode.started")[0]


def test_an_empty_queue_tries_nothing(daemon: RunningDaemon) -> None:
    daemon.configure(encode={"encoder": "h264_qsv"})
    daemon.start()
    daemon.wait_for(daemon.status, what="the status")

    assert daemon.status()["problems"] == {}
    assert daemon.status()["status"].startswith("idle")
    assert not (daemon.state / "trial.log").exists()
