"""Children that die, leases that are lost, a database that others hold: nothing is published twice, nothing is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from encoderd.jobs import JobState
from tests.running import RunningDaemon, is_alive


@contextmanager
def writing(daemon: RunningDaemon) -> Iterator[sqlite3.Connection]:
    """Hold the queue's write lock, as another process would."""
    connection = sqlite3.connect(daemon.state / "queue.db", isolation_level=None, timeout=10)
    with closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def test_a_child_that_is_killed(daemon: RunningDaemon, long_recording: Path) -> None:
    """Tried again after a pause; failed after the last allowed attempt, with the signal in the reason."""
    daemon.configure(queue={"max_attempts": 2, "retry_pause_s": 0.5}, encode={"preset": "medium"})
    daemon.start().drop(long_recording)
    os.kill(daemon.wait_encoding(), signal.SIGKILL)
    daemon.wait_for(lambda: len(daemon.log("encode.failed")) == 1, what="the first failure")
    os.kill(daemon.wait_encoding(), signal.SIGSEGV)
    daemon.wait_for(lambda: daemon.states() == [JobState.FAILED], what="the last failure")
    first, last = daemon.log("encode.failed")
    job = daemon.job()

    assert (first["kind"], first["becomes"], first["retry_in_s"], first["level"]) == ("crash", "queued", 0.5, "warning")
    assert (last["becomes"], last["retry_in_s"], last["level"], last["attempt"]) == ("failed", None, "error", 2)
    assert "SIGKILL" in first["reason"]
    assert "SIGSEGV" in job.reason
    assert job.remedy
    assert daemon.events() == ["added", "claimed", "crashed", "claimed", "exhausted"]
    assert daemon.outputs() == daemon.partials() == []


@pytest.mark.slow
def test_the_pause_keeps_no_one_else_waiting(daemon: RunningDaemon, recording: Path, long_recording: Path) -> None:
    daemon.configure(queue={"retry_pause_s": 600})
    daemon.drop(long_recording, old=True)
    daemon.start()
    os.kill(daemon.wait_encoding(), signal.SIGKILL)
    daemon.wait_for(lambda: daemon.log("encode.failed"), what="the failure")
    daemon.drop(recording, "b.ts")
    daemon.wait_done(2)

    assert daemon.job(1).state is JobState.QUEUED


def test_a_child_that_stands_still(daemon: RunningDaemon, long_recording: Path) -> None:
    """No progress for `stall_limit_s`: it is killed, and tried again."""
    daemon.configure(encode={"startup_limit_s": 6, "stall_limit_s": 2, "drain_limit_s": 5}, queue={"max_attempts": 1})
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    daemon.wait_for(lambda: daemon.states() == [JobState.FAILED], what="the limit")

    assert not is_alive(child)
    assert "stood still" in daemon.job().reason
    assert daemon.partials() == []


def test_a_lease_that_was_lost(daemon: RunningDaemon, long_recording: Path) -> None:
    """Another worker has the job: our child ends at the next heartbeat, and nothing of ours is published."""
    daemon.configure(daemon={"lease_s": 5})
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    with writing(daemon) as connection:
        connection.execute("UPDATE job SET worker = 'other', lease_until = lease_until + 3600")
    daemon.wait_for(lambda: daemon.log("queue.lease_lost"), what="the notice")
    lost = daemon.log("queue.lease_lost")[0]

    assert not is_alive(child)
    assert (lost["job"], lost["recording"]) == (1, "a.ts")
    assert (daemon.job().state, daemon.job().worker) == (JobState.ENCODING, "other")
    assert daemon.outputs() == []
    assert daemon.terminate() == 0
    assert daemon.job().worker == "other"


@pytest.mark.slow
def test_a_lease_that_was_lost_just_before_publishing(
    daemon: RunningDaemon, recording: Path, long_recording: Path
) -> None:
    """The queue refuses what is not ours any more; the daemon takes it as it is, and goes on with the others."""
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    with writing(daemon) as connection:
        connection.execute("UPDATE job SET worker = 'other', lease_until = lease_until + 3600")
    os.kill(child, signal.SIGCONT)
    daemon.wait_for(lambda: daemon.log("queue.lease_lost"), what="the refusal")
    daemon.drop(recording, "b.ts")
    daemon.wait_done(2)

    assert daemon.outputs() == ["b.mp4"]
    assert daemon.job(1).published is None


@pytest.mark.slow
def test_a_job_that_vanished_from_the_queue(daemon: RunningDaemon, recording: Path, long_recording: Path) -> None:
    """Somebody edited the database by hand; only that job's attempt ends."""
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    with writing(daemon) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM job")
    os.kill(child, signal.SIGCONT)
    daemon.wait_for(lambda: daemon.log("queue.lease_lost"), what="the notice")
    daemon.drop(recording, "b.ts")
    daemon.wait_done(2)

    assert daemon.outputs() == ["b.mp4"]


@pytest.mark.slow
def test_a_database_that_is_locked_while_a_child_ends(
    daemon: RunningDaemon, recording: Path, long_recording: Path
) -> None:
    """Two seconds, twenty times the busy timeout: the finished file waits for the queue, and so do new recordings."""
    daemon.configure(queue={"busy_timeout_s": 0.1})
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    with writing(daemon):
        os.kill(child, signal.SIGCONT)
        daemon.wait_for(lambda: not daemon.children(), what="the child's end")
        daemon.drop(recording, "b.ts")
        time.sleep(2.0)
        assert daemon.log("queue.database_locked")
    daemon.wait_done(1)
    daemon.wait_done(2)

    assert daemon.events(1) == ["added", "claimed", "publishing", "published"]
    assert daemon.outputs() == ["a.mp4", "b.mp4"]
    assert len(daemon.log("queue.database_locked")) == 1


@pytest.mark.parametrize("end", ["failing", "cancelled"])
@pytest.mark.slow
def test_a_database_that_is_locked_while_an_attempt_fails(
    daemon: RunningDaemon, long_recording: Path, end: str
) -> None:
    """The failure, or the operator's wish, is remembered until the queue can take it."""
    daemon.configure(queue={"busy_timeout_s": 0.1, "max_attempts": 1})
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    if end == "cancelled":
        daemon.signal(signal.SIGSTOP)
        with daemon.store() as store:
            store.request_cancel(1, now=time.time())
    with writing(daemon):
        if end == "cancelled":
            daemon.signal(signal.SIGCONT)
        else:
            os.kill(child, signal.SIGKILL)
        daemon.wait_for(lambda: daemon.log("queue.database_locked"), what="the lock's notice")
        time.sleep(1.0)
    daemon.wait_for(lambda: daemon.states() == ["failed" if end == "failing" else "cancelled"], what="its end")

    assert not is_alive(child)
    assert daemon.partials() == []


@pytest.mark.slow
def test_sigterm_while_the_database_is_locked(daemon: RunningDaemon, long_recording: Path) -> None:
    """It ends all the same; what it could not give back the next life takes."""
    daemon.configure(queue={"busy_timeout_s": 0.1})
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    with writing(daemon):
        assert daemon.terminate() == 0
    held = daemon.job()
    daemon.start()
    job = daemon.wait_done()

    assert not is_alive(child)
    assert held.state is JobState.ENCODING
    assert [line["job"] for line in daemon.log("encode.not_given_back")] == [1]
    assert (job.attempts, daemon.outputs(), daemon.partials()) == (1, ["a.mp4"], [])


def test_the_job_of_a_dead_worker_is_taken_over(daemon: RunningDaemon, recording: Path) -> None:
    """Another guest's daemon died: when its lease has run out, this one gives the job back and encodes it."""
    daemon.configure(daemon={"lease_s": 5})
    daemon.start()
    with daemon.store() as store:
        store.pause(now=0.0)
    daemon.drop(recording)
    daemon.wait_for(lambda: daemon.states() == [JobState.QUEUED], what="the job")
    with daemon.store() as store:
        store.resume(now=0.0)
        store.claim(worker="other", watches=["tv"], now=time.time(), lease_s=1.0)
    job = daemon.wait_done()

    assert (job.attempts, job.interruptions) in {(1, 1), (1, 0)}  # unless ours was faster
    assert daemon.outputs() == ["a.mp4"]
