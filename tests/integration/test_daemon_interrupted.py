"""
A crash between the rename and "done": one comparison, no second encode, never a second file.

The state that such a crash leaves is made by hand from a finished job, so that every moment of it can be tried.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from encoderd.jobs import JobState
from tests.running import RunningDaemon


def in_place(partial: Path, target: Path) -> None:
    """After the rename."""


def still_partial(partial: Path, target: Path) -> None:
    """Before the rename."""
    target.rename(partial)


def linked(partial: Path, target: Path) -> None:
    """In the middle of a rename that is a link and an unlink."""
    os.link(target, partial)


def reserved(partial: Path, target: Path) -> None:
    """In the middle of a rename that first reserves the name."""
    target.rename(partial)
    target.touch()


def finished(daemon: RunningDaemon, recording: Path) -> tuple[int, int]:
    """Let a recording be encoded and the daemon stop; returns inode and mtime of the output."""
    daemon.start().drop(recording)
    daemon.wait_done()
    daemon.terminate()
    found = (daemon.output / "a.mp4").stat()
    return found.st_ino, found.st_mtime_ns


def cut_off(daemon: RunningDaemon) -> None:
    """The queue as it was after `publishing`: claimed by a worker that died."""
    with closing(sqlite3.connect(daemon.state / "queue.db")) as connection:
        connection.execute("UPDATE job SET state = 'encoding', worker = 'test', lease_until = 1.0, finished_at = NULL")
        connection.commit()


def is_done_without_an_encode(daemon: RunningDaemon, before: tuple[int, int]) -> None:
    job = daemon.wait_done()
    found = (daemon.output / "a.mp4").stat()

    assert (found.st_ino, found.st_mtime_ns) == before
    assert daemon.outputs() == ["a.mp4"]
    assert daemon.partials() == []
    assert len(daemon.log("encode.publishing_completed")) == 1
    assert job.published is not None
    assert daemon.events()[-2:] == ["claimed", "published"]


@pytest.mark.parametrize(
    "moment", [in_place, linked, *(pytest.param(one, marks=pytest.mark.slow) for one in (still_partial, reserved))]
)
def test_a_crash_around_the_rename(
    daemon: RunningDaemon, recording: Path, moment: Callable[[Path, Path], None]
) -> None:
    before = finished(daemon, recording)
    moment(daemon.output / ".a.encoderd-1.partial", daemon.output / "a.mp4")
    cut_off(daemon)
    daemon.start()

    is_done_without_an_encode(daemon, before)


@pytest.mark.slow
def test_the_source_is_gone_already(daemon: RunningDaemon, recording: Path) -> None:
    """With `after_success = "delete"` the crash came after the deletion: the output is proven, that is enough."""
    daemon.configure(encode={"after_success": "delete"})
    before = finished(daemon, recording)
    cut_off(daemon)
    daemon.start()

    is_done_without_an_encode(daemon, before)
    assert daemon.receipt()["after_success"] == "deleted"


@pytest.mark.slow
def test_the_output_folder_is_away_at_the_restart(daemon: RunningDaemon, recording: Path) -> None:
    """A share that is mounted late: the finished file in it is found once it is there."""
    before = finished(daemon, recording)
    cut_off(daemon)
    away = daemon.root / "away"
    daemon.output.rename(away)
    daemon.output.write_text("nothing is mounted here")
    daemon.start()
    daemon.wait_for(lambda: daemon.log("folder.blocked"), what="the block")
    daemon.output.unlink()
    away.rename(daemon.output)

    is_done_without_an_encode(daemon, before)


@pytest.mark.slow
def test_the_finished_file_was_removed(daemon: RunningDaemon, recording: Path) -> None:
    """Then there is nothing to compare with, and it is encoded again."""
    before = finished(daemon, recording)
    (daemon.output / "a.mp4").unlink()
    cut_off(daemon)
    daemon.start()
    daemon.wait_done()

    assert daemon.outputs() == ["a.mp4"]
    assert (daemon.output / "a.mp4").stat().st_mtime_ns != before[1]
    assert daemon.log("encode.publishing_completed") == []


@pytest.mark.slow
def test_another_file_took_the_name(daemon: RunningDaemon, recording: Path) -> None:
    """It is not ours: it stays, and ours gets the next name."""
    finished(daemon, recording)
    (daemon.output / "a.mp4").write_bytes(b"somebody else's")
    cut_off(daemon)
    daemon.start()
    daemon.wait_done()

    assert (daemon.output / "a.mp4").read_bytes() == b"somebody else's"
    assert daemon.outputs() == ["a (2).mp4", "a.mp4"]


@pytest.mark.slow
def test_a_record_that_nobody_understands(daemon: RunningDaemon, recording: Path) -> None:
    """A defect in one job's row ends its attempt, not the daemon."""
    finished(daemon, recording)
    cut_off(daemon)
    with closing(sqlite3.connect(daemon.state / "queue.db")) as connection:
        connection.execute("""UPDATE job SET published = '{"path_hex": "zz"}'""")
        connection.commit()
    daemon.configure(queue={"max_attempts": 1})
    daemon.start().drop(recording, "b.ts")
    daemon.wait_done(2)

    assert daemon.job(1).state is JobState.FAILED
    assert "A defect of encoderd" in daemon.job(1).reason
    assert "exception" in daemon.log("encode.broke")[0]
