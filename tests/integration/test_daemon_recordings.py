"""Recordings that change, vanish or are replaced at the wrong moment, and what becomes of them afterwards."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from encoderd.jobs import JobState
from tests.running import RunningDaemon, is_alive


def paused_with(daemon: RunningDaemon, recording: Path) -> Path:
    """Queue a recording while the queue is paused: it stands between settle and encode."""
    daemon.start()
    with daemon.store() as store:
        store.pause(now=0.0)
    source = daemon.drop(recording)
    daemon.wait_for(lambda: daemon.states() == [JobState.QUEUED], what="the job")
    return source


def resume(daemon: RunningDaemon) -> None:
    with daemon.store() as store:
        store.resume(now=0.0)


def grow(source: Path, recording: Path) -> None:
    with source.open("ab") as file:
        file.write(recording.read_bytes())


def replace(source: Path, recording: Path) -> None:
    """Another file under the same name, as a recorder's rename does it."""
    other = source.with_name(".other")
    other.write_bytes(recording.read_bytes() * 2)
    other.replace(source)


def is_encoded_anew(daemon: RunningDaemon, recording: Path) -> None:
    """Once, from the new content, which is twice the old; no attempt was lost over it."""
    job = daemon.wait_done()

    assert job.size_bytes == 2 * recording.stat().st_size
    assert job.attempts == 1
    assert daemon.outputs() == ["a.mp4"]
    assert daemon.partials() == []
    assert daemon.receipt()["source"]["size_bytes"] == job.size_bytes
    assert len(daemon.jobs()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("change", [grow, pytest.param(replace, marks=pytest.mark.slow)])
def test_changed_between_settle_and_encode(
    daemon: RunningDaemon, recording: Path, change: Callable[[Path, Path], None]
) -> None:
    source = paused_with(daemon, recording)
    change(source, recording)
    resume(daemon)

    is_encoded_anew(daemon, recording)


@pytest.mark.slow
def test_deleted_between_settle_and_encode(daemon: RunningDaemon, recording: Path) -> None:
    """The job waits, unblamed, for the recording to come back; the others go on."""
    paused_with(daemon, recording).unlink()
    resume(daemon)
    daemon.wait_for(lambda: daemon.states() == [JobState.SETTLING], what="the notice")
    job = daemon.job()
    daemon.drop(recording, "b.ts")
    daemon.wait_done(2)

    assert (job.attempts, job.failure_kind) == (0, None)
    assert "not there any more" in job.reason
    assert daemon.outputs() == ["b.mp4"]
    daemon.drop(recording)
    daemon.wait_done(1)
    assert daemon.outputs() == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("change", [grow, pytest.param(replace, marks=pytest.mark.slow)])
def test_changed_in_mid_encode(
    daemon: RunningDaemon, long_recording: Path, change: Callable[[Path, Path], None]
) -> None:
    """The attempt is void: its child ends, nothing is published; it is encoded once it has settled again."""
    source = daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    change(source, long_recording)
    daemon.wait_for(lambda: daemon.log("encode.source_changed"), what="the notice")

    assert not is_alive(child)
    assert daemon.outputs() == []
    is_encoded_anew(daemon, long_recording)
    assert daemon.events().count("source_changed") == 1


def test_cut_short_in_mid_encode(daemon: RunningDaemon, recording: Path, long_recording: Path) -> None:
    """What the child then says of the recording is about another one: it is void, not "a bad recording"."""
    daemon.configure(encode={"preset": "medium"})
    source = daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    shutil.copyfile(recording, source)
    os.kill(child, signal.SIGCONT)
    job = daemon.wait_done()

    assert job.size_bytes == recording.stat().st_size
    assert "recording_rejected" not in daemon.events()
    assert daemon.outputs() == ["a.mp4"]


@pytest.mark.slow
def test_deleted_in_mid_encode(daemon: RunningDaemon, long_recording: Path) -> None:
    """Nothing is published of a recording that its owner took away."""
    source = daemon.start().drop(long_recording)
    child = daemon.wait_frozen()
    source.unlink()
    daemon.wait_for(lambda: daemon.states() == [JobState.SETTLING], what="the notice")

    assert not is_alive(child)
    assert daemon.outputs() == daemon.partials() == []
    assert daemon.job().attempts == 0


@pytest.mark.slow
def test_bad_recordings_do_not_stop_the_good(daemon: RunningDaemon, recording: Path) -> None:
    """Each is said what is wrong with it, and failed once; what is no file at all is none of our business."""
    (daemon.input / "text.ts").write_text("this is a letter\n" * 1000)
    (daemon.input / "noise.ts").write_bytes(os.urandom(50_000))
    (daemon.input / "playlist.ts").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    (daemon.input / "empty.ts").touch()
    (daemon.input / "folder.ts").mkdir()
    (daemon.input / "dangling.ts").symlink_to("nowhere")
    os.mkfifo(daemon.input / "fifo.ts")
    daemon.start().drop(recording)
    daemon.wait_for(lambda: sorted(daemon.states()) == ["done", "failed", "failed", "failed"], what="four ends")
    failed = daemon.log("encode.failed")

    assert daemon.outputs() == ["a.mp4"]
    assert {line["recording"] for line in failed} == {"text.ts", "noise.ts", "playlist.ts"}
    assert {(line["kind"], line["becomes"], line["attempt"]) for line in failed} == {("recording", "failed", 1)}
    assert all(line["reason"] and line["remedy"] and line["level"] == "error" for line in failed)


# What becomes of the source


def test_the_source_is_deleted_where_that_is_wanted(daemon: RunningDaemon, recording: Path) -> None:
    daemon.configure(encode={"after_success": "delete"})
    source = daemon.start().drop(recording)
    daemon.wait_done()

    assert not source.exists()
    assert daemon.receipt()["after_success"] == "deleted"
    assert daemon.log("encode.finished")[0]["source"] == "deleted"


@pytest.mark.slow
def test_the_source_is_moved_where_that_is_wanted(daemon: RunningDaemon, recording: Path) -> None:
    """With its subfolder; a name that is taken there is not replaced, the recording then stays."""
    archive = daemon.root / "archive"
    daemon.configure(encode={"after_success": "move", "move_to": archive})
    (archive / "news").mkdir(parents=True)
    (archive / "news" / "b.ts").write_bytes(b"an older one")
    daemon.drop(recording, "news/a.ts")
    kept = daemon.drop(recording, "news/b.ts")
    daemon.start()
    daemon.wait_for(lambda: daemon.states() == [JobState.DONE] * 2, what="both done")
    said = {line["recording"]: line["source"] for line in daemon.log("encode.finished")}

    assert (archive / "news" / "a.ts").read_bytes() == recording.read_bytes()
    assert not (daemon.input / "news" / "a.ts").exists()
    assert said["news/a.ts"] == f"moved to {archive / 'news' / 'a.ts'}"
    assert (archive / "news" / "b.ts").read_bytes() == b"an older one"
    assert kept.read_bytes() == recording.read_bytes()
    assert said["news/b.ts"].endswith("exists already")


@pytest.mark.slow
def test_a_source_is_not_moved_to_another_file_system(daemon: RunningDaemon, recording: Path) -> None:
    """It would be a copy, and a copy can fail half-way: the recording is kept, and the log says why."""
    elsewhere = Path("/dev/shm") / f"encoderd-archive-{os.getpid()}"
    if not elsewhere.parent.is_dir() or elsewhere.parent.stat().st_dev == daemon.root.stat().st_dev:
        pytest.skip("no second file system (/dev/shm)")
    daemon.configure(encode={"after_success": "move", "move_to": elsewhere})
    source = daemon.start().drop(recording)
    try:
        daemon.wait_done()

        assert source.read_bytes() == recording.read_bytes()
        assert list(elsewhere.rglob("*.ts")) == []
        assert daemon.receipt()["after_success"].startswith("kept: ")
        assert daemon.log("encode.source_kept")[0]["remedy"]
    finally:
        daemon.kill()
        shutil.rmtree(elsewhere, ignore_errors=True)


@pytest.mark.parametrize("wish", ["delete", pytest.param("move", marks=pytest.mark.slow)])
def test_a_doubt_keeps_the_source(daemon: RunningDaemon, recording: Path, wish: str) -> None:
    """A finding that is not "pass" is enough, here a damaged recording; the output is published with its doubts."""
    damaged = bytearray(recording.read_bytes() * 2)
    middle = len(damaged) // 2 // 188 * 188
    damaged[middle : middle + 188 * 40] = bytes(188 * 40)
    source = daemon.input / "a.ts"
    source.write_bytes(damaged)
    daemon.configure(encode={"after_success": wish, "move_to": daemon.root / "archive"})
    daemon.start()
    daemon.wait_done()
    finished = daemon.log("encode.finished")[0]

    assert daemon.receipt()["verdict"] != "pass"
    assert finished["doubts"]
    assert finished["level"] == "warning"
    assert source.read_bytes() == damaged
    assert daemon.receipt()["after_success"].startswith("kept: verification had a doubt")
