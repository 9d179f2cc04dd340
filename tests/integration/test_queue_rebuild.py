"""A queue that was lost is made again from the receipts: nothing is encoded twice, no number is used twice."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from encoderd.jobs import JobState
from tests.running import RunningDaemon

ODD = b"caf\xe9.ts"  # no UTF-8


def lose_the_queue(daemon: RunningDaemon) -> None:
    for path in daemon.state.glob("queue.db*"):
        if not path.name.endswith(".lock"):
            path.unlink()


def rebuild(daemon: RunningDaemon) -> tuple[int, dict[str, object]]:
    words = [sys.executable, "-m", "encoderd", "queue", "rebuild", "--json", "--config", str(daemon.settings_file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def finished(daemon: RunningDaemon, recording: Path) -> RunningDaemon:
    """Two jobs are done, one of a name that is no text; a third had failed. The daemon is stopped."""
    daemon.start().drop(recording)
    daemon.wait_done(1)
    daemon.drop(recording, ODD)
    daemon.wait_done(2)
    (daemon.input / "bad.ts").write_bytes(b"no recording" * 1000)
    daemon.wait_for(lambda: daemon.states().count(JobState.FAILED) == 1, what="the failure")
    assert daemon.terminate() == 0
    return daemon


def test_what_is_finished_is_not_encoded_again(finished: RunningDaemon, recording: Path) -> None:
    """The start after the loss: done jobs are back with their receipts, the others are found anew, behind them."""
    daemon, outputs = finished, finished.outputs()
    before = {path.name: path.read_bytes() for path in (daemon.state / "jobs").glob("*.json")}
    lose_the_queue(daemon)
    daemon.start()
    daemon.drop(recording, "new.ts")
    daemon.wait_for(lambda: daemon.states().count(JobState.DONE) == 3, what="the new one")
    daemon.wait_for(lambda: daemon.states().count(JobState.FAILED) == 1, what="the failure")
    after = {path.name: path.read_bytes() for path in (daemon.state / "jobs").glob("*.json")}

    assert sorted([*outputs, "new.mp4"]) == daemon.outputs()
    assert os.fsencode(daemon.job(2).relative_path) == ODD
    assert (daemon.job(1).published or {})["receipt"]["job"] == 1
    assert daemon.events(1) == ["added", "published"]
    assert min(job.id for job in daemon.jobs() if job.id > 2) == 4  # 3 had left a log
    assert before.items() <= after.items()
    assert len(daemon.log("queue.rebuilt")) == 1
    assert "2 finished jobs" in daemon.log("queue.rebuilt")[0]["reason"]


@pytest.mark.slow
def test_an_output_that_is_gone_is_made_again(finished: RunningDaemon) -> None:
    """Its receipt alone is no output."""
    daemon = finished
    (daemon.output / "a.mp4").unlink()
    lose_the_queue(daemon)
    daemon.start()
    daemon.wait_for(lambda: daemon.states().count(JobState.DONE) == 2, what="the second output")

    assert "a.mp4" in daemon.outputs()
    assert "not where it was published" in daemon.log("queue.rebuilt")[0]["reason"]


@pytest.mark.slow
def test_by_the_operator(finished: RunningDaemon) -> None:
    """Rows that went one by one come back; what the queue knows stays as it is; spoilt receipts are named."""
    daemon = finished
    with closing(sqlite3.connect(daemon.state / "queue.db")) as connection, connection:
        connection.execute("DELETE FROM job WHERE id = 2")  # foreign keys are not watched unless one asks for it
    jobs = daemon.state / "jobs"
    (jobs / "000008.json").write_text("{")
    (jobs / "000009.json").write_text(json.dumps({**json.loads((jobs / "000001.json").read_text()), "job": 1}))
    code, told = rebuild(daemon)

    assert (code, told["rebuilt"], told["known"], told["last_number"]) == (1, [2], 1, 9)
    assert [line.split(":")[0] for line in told["unreadable"]] == ["000008.json", "000009.json"]  # type: ignore[attr-defined]
    assert {job.id for job in daemon.jobs() if job.state is JobState.DONE} == {1, 2}
