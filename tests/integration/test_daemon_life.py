"""Start, stop, reload: what systemd sees of the daemon, and what an operator's signals do."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from encoderd.errors import ExitCode
from encoderd.jobs import JobState
from tests.running import STOP_S, RunningDaemon, is_alive


class NotifySocket:
    """What systemd would hear. It reads at once, as systemd does: the kernel keeps as few as ten unread messages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(os.fspath(path))
        self._heard: list[str] = []
        self._reached = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def heard(self) -> list[str]:
        """Return all lines so far, in their order."""
        self._reached.clear()
        self._send("BARRIER=1")
        assert self._reached.wait(STOP_S)
        return list(self._heard)

    def close(self) -> None:
        self._send("")
        self._reader.join()
        self._socket.close()

    def _send(self, message: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message.encode("utf-8"), os.fspath(self.path))

    def _read(self) -> None:
        while message := self._socket.recv(65_536).decode("utf-8"):
            if message == "BARRIER=1":
                self._reached.set()
            else:
                self._heard += message.splitlines()


@pytest.fixture
def systemd(tmp_path: Path, daemon: RunningDaemon) -> Iterator[NotifySocket]:
    """A socket that the daemon is told of, with a watchdog of one second."""
    with closing(NotifySocket(tmp_path / "notify")) as listening:
        daemon.environment |= {"NOTIFY_SOCKET": os.fspath(listening.path), "WATCHDOG_USEC": "1000000"}
        yield listening


def test_sigterm_in_mid_encode(daemon: RunningDaemon, long_recording: Path) -> None:
    """Exit code 0 within 10 s; the job is given back with its attempt; no partial file, no child; then it goes on."""
    daemon.configure(encode={"preset": "slow"})
    daemon.start().drop(long_recording)
    child = daemon.wait_encoding()
    began_s = time.monotonic()

    assert daemon.terminate() == 0
    job = daemon.job()
    assert time.monotonic() - began_s < STOP_S
    assert (job.state, job.attempts, job.interruptions, job.next_try_at) == (JobState.QUEUED, 0, 0, 0.0)
    assert (job.worker, job.lease_until, job.started_at) == (None, None, None)
    assert daemon.partials() == daemon.outputs() == []
    assert not is_alive(child)
    assert [(line["job"], line["recording"]) for line in daemon.log("encode.given_back")] == [(1, "a.ts")]
    assert daemon.log()[-1]["event"] == "daemon.stopped"
    assert daemon.status()["pid"] == 0

    daemon.configure(encode={"preset": "veryfast"})
    daemon.start()
    job = daemon.wait_done()
    assert (job.attempts, daemon.outputs(), daemon.partials()) == (1, ["a.mp4"], [])


@pytest.mark.slow
def test_sigterm_with_a_child_that_does_not_heed_it(daemon: RunningDaemon, long_recording: Path) -> None:
    """A stopped process takes no SIGTERM; SIGKILL ends it, still within the 10 s."""
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()

    assert daemon.terminate() == 0
    assert not is_alive(child)
    assert (daemon.states(), daemon.partials()) == ([JobState.QUEUED], [])


@pytest.mark.slow
def test_sigterm_when_the_child_has_just_finished(daemon: RunningDaemon, long_recording: Path) -> None:
    """What is encoded and verified is published, not thrown away: the child said so before the daemon could hear it."""
    daemon.start().drop(long_recording)
    daemon.wait_encoding()
    daemon.signal(signal.SIGSTOP)
    daemon.wait_for(lambda: not daemon.children(), what="the child's end")  # a zombie, whose last word is in the pipe
    daemon.signal(signal.SIGTERM)
    daemon.signal(signal.SIGCONT)

    assert daemon.exit_code() == 0
    assert daemon.states() == [JobState.DONE]
    assert (daemon.outputs(), daemon.partials()) == (["a.mp4"], [])


@pytest.mark.slow
def test_the_children_of_a_killed_daemon_end_with_it(daemon: RunningDaemon, long_recording: Path) -> None:
    """The next life takes the job back, makes the partial file anew, and tells what happened."""
    daemon.configure(encode={"preset": "slow"})
    daemon.start().drop(long_recording)
    child = daemon.wait_encoding()
    daemon.kill()
    give_up_s = time.monotonic() + STOP_S
    while is_alive(child) and time.monotonic() < give_up_s:
        time.sleep(0.02)
    orphaned = is_alive(child)
    left = daemon.partials()

    daemon.configure(encode={"preset": "veryfast"})
    daemon.start()
    job = daemon.wait_done()

    assert not orphaned
    assert left == [".a.encoderd-1.partial"]
    assert [line["job"] for line in daemon.log("queue.job_recovered")] == [1]
    assert (job.attempts, job.interruptions) == (1, 1)
    assert (daemon.outputs(), daemon.partials()) == (["a.mp4"], [])


@pytest.mark.slow
def test_partial_files_of_former_lives_are_swept(daemon: RunningDaemon, recording: Path) -> None:
    """Only those of our own jobs under their own name; what may be another queue's is left and named."""
    daemon.start().drop(recording)
    daemon.wait_done()
    daemon.terminate()
    ours, strangers = daemon.output / ".a.encoderd-1.partial", daemon.output / "deep" / ".b.encoderd-1.partial"
    strangers.parent.mkdir()
    for path in (ours, strangers, daemon.output / ".c.encoderd-99.partial"):
        path.write_bytes(b"x")
    daemon.start()
    daemon.wait_for(lambda: len(daemon.log("encode.partial_left")) == 2 and not ours.exists(), what="the sweep")

    assert daemon.partials() == [".c.encoderd-99.partial", "deep/.b.encoderd-1.partial"]
    assert daemon.outputs() == ["a.mp4"]
    assert [line["job"] for line in daemon.log("encode.partial_removed")] == [1]


def test_systemd_hears_how_it_goes(daemon: RunningDaemon, systemd: NotifySocket, long_recording: Path) -> None:
    """READY once it watches, the watchdog while it works, a status line that says what on, STOPPING at the end."""
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    daemon.wait_for(lambda: any("STATUS=encoding a.ts" in line for line in systemd.heard()), what="the status")
    beats = systemd.heard().count("WATCHDOG=1")
    daemon.wait_for(lambda: systemd.heard().count("WATCHDOG=1") >= beats + 2, what="the watchdog")
    os.kill(child, signal.SIGCONT)
    daemon.wait_done()
    daemon.terminate()
    heard = systemd.heard()

    assert heard[0] == "READY=1"
    assert "STOPPING=1" in heard
    assert heard.index("STOPPING=1") > max(index for index, line in enumerate(heard) if line == "WATCHDOG=1")
    assert any("0 queued, 1 being recorded" in line for line in heard) or "STATUS=watching" in heard


def test_sighup_takes_good_settings(daemon: RunningDaemon, systemd: NotifySocket, recording: Path) -> None:
    """systemd hears RELOADING, then READY; the next recording is encoded as the new settings say."""
    daemon.start()
    daemon.configure(encode={"container": "mkv", "quality": 40})
    daemon.signal(signal.SIGHUP)
    daemon.wait_for(lambda: daemon.log("daemon.reloaded"), what="the reload")
    daemon.drop(recording)
    daemon.wait_done()
    heard = systemd.heard()

    assert daemon.outputs() == ["a.mkv"]
    assert daemon.receipt()["asked"]["video"]["quality"] == 40
    assert "RELOADING=1" in heard
    assert "READY=1" in heard[heard.index("RELOADING=1") :]
    assert heard[heard.index("RELOADING=1") + 1].startswith("MONOTONIC_USEC=")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"encode": {"qualty": 3}}, "Did you mean quality?"),
        pytest.param({"encode": {"quality": 99}}, "less than or equal to 51", marks=pytest.mark.slow),
        ({"daemon": {"worker": "other"}}, "daemon.worker cannot change while the daemon runs"),
    ],
)
def test_sighup_refuses_bad_settings(
    daemon: RunningDaemon, systemd: NotifySocket, recording: Path, wrong: dict[str, dict[str, object]], told: str
) -> None:
    """With the reason and a remedy; the old ones stay in force, and systemd hears READY all the same."""
    daemon.start()
    daemon.configure(**wrong)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for(lambda: daemon.log("daemon.reload_refused"), what="the refusal")
    refused = daemon.log("daemon.reload_refused")[0]
    daemon.drop(recording)
    daemon.wait_done()
    heard = systemd.heard()

    assert told in refused["reason"]
    assert refused["remedy"]
    assert refused["level"] == "error"
    assert daemon.receipt()["asked"]["video"]["quality"] == 23
    assert "READY=1" in heard[heard.index("RELOADING=1") :]


@pytest.mark.slow
def test_a_reload_may_take_a_folder_away(daemon: RunningDaemon, recording: Path, long_recording: Path) -> None:
    """What runs for it ends as it would have, also badly; what is queued waits, and the log says for what."""
    daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    daemon.drop(recording, "b.ts")
    daemon.wait_for(lambda: len(daemon.jobs()) == 2, what="the second job")
    other = daemon.root / "other"
    other.mkdir()
    daemon.configure(watch={"name": "other", "path": other})
    daemon.signal(signal.SIGHUP)
    daemon.wait_for(lambda: daemon.log("queue.folder_unknown"), what="the warning")
    (daemon.output / "a.mp4").write_bytes(b"taken")
    os.kill(child, signal.SIGCONT)
    daemon.wait_done()
    stranger = daemon.log("queue.folder_unknown")[0]

    assert daemon.outputs() == ["a (2).mp4", "a.mp4"]
    assert (stranger["watch"], stranger["jobs"]) == ("tv", 1)
    assert daemon.job(2).state is JobState.QUEUED


@pytest.mark.slow
def test_a_second_daemon_under_the_same_name(daemon: RunningDaemon) -> None:
    """It is refused with its own exit code and told whom it met; the first one's folder and status stay its own."""
    daemon.start()
    daemon.wait_for(daemon.status, what="the status")
    second = RunningDaemon(daemon.root)
    second.stdout, second.stderr = daemon.root / "second.jsonl", daemon.root / "second.stderr"
    with second:
        second.start(wait=False)
        assert second.exit_code() == ExitCode.WORKER_TAKEN
    told = second.stderr.read_text("utf-8")

    assert f"process {daemon.pid}" in told
    assert "daemon.worker" in told
    assert "Traceback" not in told
    assert daemon.status()["pid"] == daemon.pid
    assert second.log("daemon.ended")[0]["exit_code"] == 16


def _too_new(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("UPDATE alembic_version SET version_num = '9999'; PRAGMA wal_checkpoint(TRUNCATE)")


def _damaged(path: Path) -> None:
    path.write_bytes(b"this is no database, it only has its name\n" * 200)


@pytest.mark.parametrize(
    ("damage", "code"),
    [pytest.param(_too_new, ExitCode.DATABASE_TOO_NEW, marks=pytest.mark.slow), (_damaged, ExitCode.DATABASE_CORRUPT)],
)
def test_a_database_that_cannot_be_used(daemon: RunningDaemon, damage: object, code: ExitCode) -> None:
    """Its own exit code, a remedy, no traceback, and the file as it was."""
    daemon.start()
    daemon.terminate()
    path = daemon.state / "queue.db"
    for beside in daemon.state.glob("queue.db-*"):
        beside.unlink()
    assert callable(damage)
    damage(path)
    before = path.read_bytes()
    daemon.start(wait=False)

    assert daemon.exit_code() == code
    told = daemon.stderr.read_text("utf-8")
    assert "  → " in told
    assert "Traceback" not in told
    assert path.read_bytes() == before
    assert daemon.log("daemon.ended")[-1]["exit_code"] == code


def test_a_state_folder_that_cannot_be_written(daemon: RunningDaemon) -> None:
    """It waits for the folder, and says what to type; once the folder can be made, it starts."""
    daemon.state.write_text("a file where the folder should be")
    daemon.start(wait=False)
    daemon.wait_for(lambda: daemon.log("daemon.folder_unusable"), what="the notice")
    told = daemon.log("daemon.folder_unusable")[0]
    daemon.state.unlink()
    daemon.wait_for(lambda: daemon.log("daemon.started"), what="the start")

    assert "The state folder" in told["reason"]
    assert "install -d" in told["remedy"]


def test_without_a_watch_folder(daemon: RunningDaemon) -> None:
    daemon.settings_file.write_text(f'[daemon]\nstate_dir = "{daemon.state}"\n', encoding="utf-8")
    daemon.start(wait=False)

    assert daemon.exit_code() == ExitCode.SETTINGS
    assert "[[watch]]" in daemon.stderr.read_text("utf-8")
