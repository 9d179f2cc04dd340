"""The operator's commands against a daemon that runs: it hears them through the database."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from encoderd.jobs import JobState
from tests.running import RunningDaemon, is_alive


def command(daemon: RunningDaemon, *words: str) -> list[str]:
    return [sys.executable, "-m", "encoderd", *words, "--config", str(daemon.settings_file)]


def run(daemon: RunningDaemon, *words: str, code: int = 0) -> str:
    """Run a command as in a pipe; returns what it said on stdout."""
    done = subprocess.run(command(daemon, *words), capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout


def test_pause_and_resume(daemon: RunningDaemon, recording: Path) -> None:
    """Nothing is claimed while it is paused, and the status says so with the reason given."""
    daemon.start()
    run(daemon, "queue", "pause", "--reason", "disk swap")
    daemon.drop(recording)
    daemon.wait_for(lambda: "paused (disk swap); 1 queued" in daemon.status().get("status", ""), what="the status")

    assert daemon.status()["paused"]
    assert daemon.events() == ["added"]
    run(daemon, "queue", "resume")
    daemon.wait_done()
    daemon.wait_for(lambda: not daemon.status()["paused"], what="the status")


def test_cancel_a_running_job_and_try_it_again(daemon: RunningDaemon, long_recording: Path) -> None:
    """Its child ends, nothing is published; `retry` queues it as if it had never been tried."""
    source = daemon.start().drop(long_recording)
    child = daemon.wait_frozen()

    assert "will be ended by its worker" in run(daemon, "queue", "cancel", "1")
    daemon.wait_for(lambda: daemon.states() == [JobState.CANCELLED], what="its end")
    assert not is_alive(child)
    assert daemon.outputs() == daemon.partials() == []
    assert source.exists()
    assert [(line["job"], line["recording"]) for line in daemon.log("encode.cancelled")] == [(1, "a.ts")]
    run(daemon, "queue", "retry", "1")
    assert daemon.wait_done().attempts == 1


@pytest.mark.slow
def test_priority_decides_who_is_next(daemon: RunningDaemon, recording: Path) -> None:
    daemon.start()
    run(daemon, "queue", "pause")
    for name in ("a.ts", "b.ts", "c.ts"):
        daemon.drop(recording, name)
    daemon.wait_for(lambda: len(daemon.jobs()) == 3, what="the jobs")
    last = next(job.id for job in daemon.jobs() if job.relative_path == "c.ts")
    run(daemon, "queue", "priority", str(last), "5")
    run(daemon, "queue", "resume")
    daemon.wait_for(lambda: daemon.states() == [JobState.DONE] * 3, what="all of them done")

    assert daemon.log("encode.started")[0]["job"] == last


@pytest.mark.slow
def test_add_does_not_wait_for_the_recording_to_settle(daemon: RunningDaemon, recording: Path) -> None:
    daemon.configure(intake={"settle_s": 3600})
    source = daemon.start().drop(recording)
    added = run(daemon, "queue", "add", str(source))
    daemon.wait_done()

    assert added == "job 1: a.ts\n"
    assert "known already" in run(daemon, "queue", "add", str(source))


def test_what_the_listings_say(daemon: RunningDaemon, recording: Path) -> None:
    """Tab-separated without headings in a pipe; the same as JSON; names of any bytes on one line."""
    daemon.drop(recording, b"tab\there \xff.ts")
    daemon.start()
    job = daemon.wait_done()
    daemon.wait_for(lambda: daemon.status().get("counts", {}).get("done") == 1, what="the status")
    columns = run(daemon, "queue", "list").rstrip("\n").split("\t")
    listed = json.loads(run(daemon, "queue", "list", "--json"))
    shown = json.loads(run(daemon, "queue", "show", "1", "--json"))
    logs = json.loads(run(daemon, "logs", "--json"))
    status = json.loads(run(daemon, "status", "--json"))
    text = run(daemon, "queue", "show", "1")

    size = f"{recording.stat().st_size / 1024:.1f} KiB"
    assert columns[:5] == ["1", "done", "tv", "tab\\there \\xff.ts", size]
    assert listed[0]["recording"] == "tab\\there \\xff.ts"
    assert os.fsdecode(b"tab\there \xff.ts") == job.relative_path == shown["relative_path"]
    assert [event["event"] for event in shown["events"]] == ["added", "claimed", "publishing", "published"]
    assert shown["published"]["receipt"]["verdict"] == "pass"
    assert [line["job"] for line in logs] == [1]
    assert (status["alive"], status["counts"]["done"], status["problems"]) == (True, 1, {})
    assert "pass" in text
    assert "\x1b" not in text + "".join(columns)


@pytest.mark.slow
def test_a_table_on_a_terminal(daemon: RunningDaemon, recording: Path) -> None:
    """Headings and colours where somebody looks."""
    daemon.start().drop(recording)
    daemon.wait_done()
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(daemon, "queue", "list"),
        stdout=theirs,
        stdin=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:
                break
            if not data:
                break
            said += data
        assert process.wait(timeout=30) == 0
    os.close(ours)

    assert b"recording" in said
    assert b"a.ts" in said
    assert b"\x1b[" in said
    assert b"\t" not in said


def follow(daemon: RunningDaemon, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(daemon, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.slow
def test_a_log_is_followed_to_its_end(daemon: RunningDaemon, long_recording: Path) -> None:
    """`logs JOB -f` prints what is there, goes on, and ends by itself when the attempt has ended."""
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    with follow(daemon, "logs", "1", "-f") as following:
        assert following.stdout is not None
        assert "attempt 1, libx264" in following.stdout.readline()
        with (daemon.state / "jobs" / "000001.log").open("a") as log:
            log.write("one more line\n")
        while "one more line" not in following.stdout.readline():
            assert following.poll() is None
        os.kill(child, signal.SIGCONT)
        daemon.wait_done()
        assert following.wait(timeout=20) == 0


@pytest.mark.parametrize("words", [("status", "--watch"), ("logs", "1", "-f")])
def test_what_goes_on_ends_at_ctrl_c(daemon: RunningDaemon, long_recording: Path, words: tuple[str, ...]) -> None:
    daemon.start().drop(long_recording)
    daemon.wait_frozen()
    daemon.wait_for(lambda: daemon.status().get("running"), what="the status")
    with follow(daemon, *words) as following:
        assert following.stdout is not None
        assert following.stdout.readline()
        time.sleep(0.2)
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=20) == 0
        assert following.stderr is not None
        assert following.stderr.read() == ""


@pytest.mark.slow
def test_the_status_of_a_daemon_that_is_gone(daemon: RunningDaemon) -> None:
    """Killed: its last words stay, and are not taken for the present. Stopped: it said so."""
    daemon.start()
    daemon.wait_for(daemon.status, what="the status")
    daemon.kill()
    killed = run(daemon, "status", code=1)
    said: dict[str, Any] = json.loads(run(daemon, "status", "--json", code=1))
    daemon.start()
    daemon.terminate()
    stopped = run(daemon, "status", code=1)

    assert f"not running (the process {daemon.pid} is gone)" not in killed
    assert "is gone" in killed
    assert said["alive"] is False
    assert "does not run: stopped" in stopped
