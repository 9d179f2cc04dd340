"""Several processes at one queue, and processes that die: with real processes and real SQLite files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from encoderd.errors import DatabaseError, DatabaseReadOnly, WorkerTaken
from encoderd.jobs import Candidate, JobEvent, JobState
from encoderd.queue.store import Store
from encoderd.queue.worker_lock import WorkerLock

PRELUDE = """
import json, os, sys, time
from pathlib import Path
from encoderd.jobs import Candidate
from encoderd.queue.store import Store
from encoderd.queue.worker_lock import WorkerLock

path, name = Path(sys.argv[1]), sys.argv[2]
recordings = [Candidate(watch="tv", relative_path=f"{i}.ts", size_bytes=i, mtime_ns=i) for i in range(100_000)]
print("ready", flush=True)
sys.stdin.readline()
"""

CLAIM_ALL = """
with Store.open(path, busy_timeout_s=20) as store:
    claimed = []
    while (job := store.claim(worker=name, watches=["tv"], now=1.0, lease_s=60)) is not None:
        claimed.append(job.id)
        time.sleep(0.001)  # or one of them might have them all before the other wakes
print(json.dumps(claimed))
"""

ADD_ALL = """
with Store.open(path, busy_timeout_s=20) as store:
    added = []
    for start in range(0, 400, 8):
        added += [job.id for job in store.add_many(recordings[start : start + 8], now=1.0)]
print(json.dumps(added))
"""

ADD_FOR_EVER = """
with Store.open(path, busy_timeout_s=20) as store:
    for start in range(0, 100_000, 10):
        store.add_many(recordings[start : start + 10], now=1.0)
        store.claim(worker=name, watches=["tv"], now=1.0, lease_s=60)
        print(start, flush=True)
"""

HOLD_LOCK = """
with WorkerLock(path, name):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def process(program: str, path: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process and wait until it is ready; it goes on with the first line it is sent."""
    command = [sys.executable, "-c", PRELUDE + program, str(path), name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        try:
            yield started
        finally:
            started.kill()


def tell(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    started.stdin.write("go\n")
    started.stdin.flush()


def line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline()


def answers(program: str, path: Path) -> list[Any]:
    """Run the program in two processes at the same time; return what each one printed."""
    with process(program, path, "w1") as first, process(program, path, "w2") as second:
        tell(first)
        tell(second)
        return [json.loads(line(first)), json.loads(line(second))]


def test_two_workers_never_get_the_same_job(tmp_path: Path) -> None:
    """Two processes that claim as fast as they can share 400 jobs without one in common and without one left."""
    path = tmp_path / "queue.db"
    with Store.open(path, busy_timeout_s=5) as store:
        store.add_many(
            [Candidate(watch="tv", relative_path=f"{i}.ts", size_bytes=i, mtime_ns=i) for i in range(400)], now=1.0
        )
        first, second = answers(CLAIM_ALL, path)

        assert sorted(first + second) == list(range(1, 401))
        assert first
        assert second
        assert {store.job(number).worker for number in first} == {"w1"}
        assert store.counts()[JobState.ENCODING] == 400


def test_two_processes_queue_a_recording_once(tmp_path: Path) -> None:
    """The same recordings offered by two processes at once, at a database neither has seen: each has one job."""
    path = tmp_path / "queue.db"
    first, second = answers(ADD_ALL, path)

    with Store.open(path, busy_timeout_s=5) as store:
        jobs = store.jobs(limit=1000)

        assert sorted(first + second) == sorted(job.id for job in jobs)
        assert len({job.candidate for job in jobs}) == len(jobs) == 400
        assert all([row.event for row in store.events(job.id)] == [JobEvent.ADDED] for job in jobs[:20])


def test_kill_9_leaves_a_consistent_queue(tmp_path: Path) -> None:
    """Whenever the process is killed: whole batches, each job with its history, and a file that is sound."""
    path = tmp_path / "queue.db"
    with process(ADD_FOR_EVER, path, "w1") as started:
        tell(started)
        for _ in range(25):
            line(started)
        started.send_signal(signal.SIGKILL)

    with Store.open(path, busy_timeout_s=5) as store:
        counts = store.counts()
        total = sum(counts.values())
        claimed = counts[JobState.ENCODING]
    connection = sqlite3.connect(path)
    events = connection.execute("SELECT event, count(*) FROM job_event GROUP BY event").fetchall()
    verdict = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()

    assert total >= 250
    assert total % 10 == 0
    assert dict(events) == {"added": total, "claimed": claimed}
    assert verdict == [("ok",)]


def test_a_second_daemon_under_the_same_name_is_refused(tmp_path: Path) -> None:
    """It is told which process it is up against, and what to do; another name is welcome."""
    path = tmp_path / "queue.db"
    with process(HOLD_LOCK, path, "w1") as started:
        tell(started)
        assert line(started) == "held\n"

        with pytest.raises(WorkerTaken) as taken, WorkerLock(path, "w1"):
            pass

        assert f"process {started.pid}" in taken.value.message
        assert f"kill {started.pid}" in taken.value.remedy
        assert "daemon.worker" in taken.value.remedy
        with WorkerLock(path, "w2") as other:
            assert other.path == tmp_path / "queue.db.w2.lock"


def test_the_lock_of_a_killed_daemon_is_free(tmp_path: Path) -> None:
    """The kernel takes it back after kill -9; the file stays, and names its new holder."""
    path = tmp_path / "queue.db"
    with process(HOLD_LOCK, path, "w1") as started:
        tell(started)
        assert line(started) == "held\n"
        started.send_signal(signal.SIGKILL)
        started.wait(timeout=10)

        with WorkerLock(path, "w1") as lock:
            assert lock.path.read_text() == f"{os.getpid()}\n"

    assert lock.path.exists()


def test_a_left_over_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    """A child that outlives its daemon must not keep the next daemon out."""
    path = tmp_path / "queue.db"
    with WorkerLock(path, "w1"):
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        with WorkerLock(path, "w1"):
            assert child.poll() is None
    finally:
        child.kill()
        child.wait(timeout=10)


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    """A missing folder, or something else in the file's place, is said in our words."""
    with pytest.raises(DatabaseError, match="There is no folder"), WorkerLock(tmp_path / "gone" / "queue.db", "w1"):
        pass

    (tmp_path / "queue.db.w1.lock").mkdir()
    with pytest.raises(DatabaseError, match="cannot be opened") as refused, WorkerLock(tmp_path / "queue.db", "w1"):
        pass

    assert not isinstance(refused.value, DatabaseReadOnly)


def test_a_claim_waits_for_another_writer(tmp_path: Path) -> None:
    """Within the busy timeout a held lock is waited for, not reported."""
    path = tmp_path / "queue.db"
    with Store.open(path, busy_timeout_s=10) as store:
        store.add(Candidate(watch="tv", relative_path="a.ts", size_bytes=1, mtime_ns=1), now=1.0)
        hold = (
            "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(0.3); c.execute('COMMIT')"
        )
        with subprocess.Popen([sys.executable, "-c", hold, path], stdout=subprocess.PIPE, text=True) as holder:
            assert line(holder) == "held\n"
            started = time.monotonic()
            job = store.claim(worker="w1", watches=["tv"], now=1.0, lease_s=60)
            waited_s = time.monotonic() - started

    assert job is not None
    assert waited_s > 0.1
