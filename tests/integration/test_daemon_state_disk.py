"""A state disk without room, at the start and later: the daemon holds, says so, and goes on. Nothing is lost."""

from __future__ import annotations

import time
from pathlib import Path

from tests.file_systems import file_system, fill
from tests.running import RunningDaemon


def test_a_disk_that_is_full_at_the_start(daemon: RunningDaemon, recording: Path) -> None:
    """It does not end, which systemd would count as a failed start; with room it goes on by itself."""
    with file_system(daemon.state, "size=4m"):
        ballast = fill(daemon.state)
        daemon.start(wait=False)
        daemon.drop(recording)
        daemon.wait_for(lambda: daemon.log("queue.database_full") or daemon.log("daemon.folder_unusable"), what="why")
        time.sleep(3.0)  # it tries again meanwhile
        assert daemon.process is not None and daemon.process.poll() is None
        ballast.unlink()
        job = daemon.wait_done()
        goes_on = daemon.log("daemon.goes_on")
        assert daemon.terminate() == 0

    assert job.attempts == 1
    assert len(goes_on) == 1


def test_a_disk_that_fills_up_later(daemon: RunningDaemon, recording: Path) -> None:
    """Nothing is forgotten: a recording that settled meanwhile is queued when there is room; the status says why."""
    with file_system(daemon.state, "size=4m"):
        daemon.start().drop(recording)
        daemon.wait_done(1)
        ballast = fill(daemon.state)
        daemon.drop(recording, "b.ts")
        daemon.wait_for(lambda: daemon.log("queue.database_full"), what="the notice")
        before_s = daemon.cpu_s()
        time.sleep(3.0)
        assert daemon.cpu_s() - before_s < 1.5  # it waits, and does not spin
        assert daemon.process is not None and daemon.process.poll() is None
        ballast.unlink()
        job = daemon.wait_done(2)
        notices = daemon.log("queue.database_full")
        assert daemon.terminate() == 0

    assert (job.attempts, daemon.outputs()) == (1, ["a.mp4", "b.mp4"])
    assert len(notices) == 1
    assert "df -h" in notices[0]["remedy"]


def test_sigterm_while_it_waits_to_start(daemon: RunningDaemon) -> None:
    with file_system(daemon.state, "size=4m"):
        fill(daemon.state)
        daemon.start(wait=False)
        daemon.wait_for(lambda: daemon.log("queue.database_full") or daemon.log("daemon.folder_unusable"), what="why")

        assert daemon.terminate() == 0
