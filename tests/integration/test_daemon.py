"""The daemon at its work: what is dropped comes out under its name, proven, and what it says of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encoderd.jobs import JobState, readable
from tests.running import RunningDaemon

#: Names that file systems take and programs stumble over, and their outputs.
NAMES = {
    "ニュース7　首都圏.ts": "ニュース7　首都圏.mp4",
    " two  spaces .ts": " two  spaces .mp4",
    "line\nbreak.ts": "line\nbreak.mp4",
    "-rf; $(touch x) \"'.ts": "-rf; $(touch x) \"'.mp4",
    "news/2026/deep.m2ts": "news/2026/deep.mp4",
    "no.ending.at all.TS": "no.ending.at all.mp4",
    "%d %05d.mpg": "%d %05d.mp4",
    "x" * 252 + ".ts": "x" * 251 + ".mp4",
    "語" * 84 + ".ts": "語" * 83 + ".mp4",
    os.fsdecode(b"latin-\xe9-\xff.ts"): os.fsdecode(b"latin-\xe9-\xff.mp4"),
}


def test_a_recording_becomes_a_verified_file(daemon: RunningDaemon, recording: Path) -> None:
    """Output, receipt, job log, source untouched; one full line tells the whole attempt."""
    source = daemon.start().drop(recording)
    before = source.read_bytes(), source.stat().st_mtime_ns

    job = daemon.wait_done()
    daemon.wait_for(lambda: daemon.status()["counts"]["done"] == 1, what="the status of the finished job")
    finished, receipt = daemon.log("encode.finished")[0], daemon.receipt()

    assert daemon.outputs() == ["a.mp4"]
    assert daemon.partials() == []
    assert (source.read_bytes(), source.stat().st_mtime_ns) == before
    assert (job.attempts, job.interruptions, job.reason) == (1, 0, "")
    assert job.published is not None
    assert job.published["size_bytes"] == (daemon.output / "a.mp4").stat().st_size
    assert receipt["verdict"] == "pass"
    assert {finding["verdict"] for finding in receipt["findings"]} == {"pass"}
    assert (receipt["recording"], receipt["after_success"], receipt["attempt"]) == ("a.ts", "kept", 1)
    assert finished["output"] == str(daemon.output / "a.mp4")
    assert finished["source_bytes"] == recording.stat().st_size
    assert finished["doubts"] == []
    assert finished["speed_x"] > 0
    assert "attempt 1, libx264" in (daemon.state / "jobs" / "000001.log").read_text("utf-8")
    assert daemon.events() == ["added", "claimed", "publishing", "published"]
    assert daemon.terminate() == 0
    assert daemon.stderr.read_text("utf-8") == ""


def test_every_line_on_a_job_names_job_and_recording(daemon: RunningDaemon, recording: Path) -> None:
    """Also those that the rooms below say; a line of the daemon itself names none."""
    text = daemon.input / "text.ts"
    text.write_text("not a recording\n" * 100)
    daemon.start().drop(recording)
    daemon.wait_done(2)
    daemon.wait_for(lambda: daemon.log("encode.failed"), what="the refusal")
    on_jobs = [line for line in daemon.log() if line["event"].startswith(("encode.", "queue.job"))]

    assert {(line["job"], line["recording"]) for line in on_jobs} == {(1, "text.ts"), (2, "a.ts")}
    assert all("job" not in line for line in daemon.log() if line["event"].startswith(("daemon.", "gate.")))
    assert all({"ts", "level", "event"} <= line.keys() for line in daemon.log())


def test_names_of_any_bytes_keep_their_name(daemon: RunningDaemon, recording: Path) -> None:
    """From the directory to the queue, the log, the receipt and the output."""
    for name in NAMES:
        daemon.drop(recording, name)
    daemon.start()
    daemon.wait_for(lambda: daemon.states() == [JobState.DONE] * len(NAMES), what="all of them done")
    jobs = daemon.jobs()

    assert daemon.outputs() == sorted(NAMES.values())
    assert daemon.partials() == []
    assert {job.relative_path for job in jobs} == set(NAMES)
    assert {line["recording"] for line in daemon.log("encode.finished")} == {readable(name) for name in NAMES}
    assert {daemon.receipt(job.id)["recording"] for job in jobs} == {readable(name) for name in NAMES}


def test_a_name_that_is_taken_is_not_replaced(daemon: RunningDaemon, recording: Path) -> None:
    """Not by the output of another recording of the same stem, nor over a stranger's file, folder or dangling link."""
    daemon.output.mkdir()
    (daemon.output / "a.mp4").write_bytes(b"somebody else's")
    (daemon.output / "b.mp4").symlink_to("nowhere")
    (daemon.output / "c.mp4").mkdir()
    for name in ("a.ts", "a.m2ts", "b.ts", "c.ts"):
        daemon.drop(recording, name)
    daemon.start()
    daemon.wait_for(lambda: daemon.states() == [JobState.DONE] * 4, what="all of them done")

    assert daemon.outputs() == ["a (2).mp4", "a (3).mp4", "a.mp4", "b (2).mp4", "b.mp4", "c (2).mp4"]
    assert (daemon.output / "a.mp4").read_bytes() == b"somebody else's"
    assert (daemon.output / "b.mp4").is_symlink()


@pytest.mark.slow
def test_new_content_under_the_same_name_is_a_new_job(daemon: RunningDaemon, recording: Path) -> None:
    """With a new output beside the old one; the same content again is none, nor is it one after a restart."""
    daemon.start().drop(recording, old=True)
    daemon.wait_done(1)
    first = (daemon.output / "a.mp4").read_bytes()
    source = daemon.drop(recording)
    with source.open("ab") as file:
        file.write(recording.read_bytes())
    daemon.wait_done(2)
    daemon.terminate()
    daemon.start().drop(recording, "b.ts")
    daemon.wait_done(3)  # it settled together with what was there before, or later

    assert daemon.states() == [JobState.DONE] * 3
    assert daemon.outputs() == ["a (2).mp4", "a.mp4", "b.mp4"]
    assert (daemon.output / "a.mp4").read_bytes() == first


@pytest.mark.slow
def test_output_on_another_file_system(daemon: RunningDaemon, recording: Path) -> None:
    """The partial file is written beside its target, so that the rename is one."""
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == daemon.root.stat().st_dev:
        pytest.skip("no second file system (/dev/shm)")
    output = elsewhere / f"encoderd-test-{os.getpid()}"
    daemon.configure(watch={"output": output})
    daemon.output = output
    try:
        daemon.start().drop(recording)
        daemon.wait_done()

        assert daemon.outputs() == ["a.mp4"]
        assert daemon.partials() == []
    finally:
        daemon.kill()
        for path in output.glob("*"):
            path.unlink()
        output.rmdir()


@pytest.mark.slow
def test_two_at_once(daemon: RunningDaemon, recording: Path) -> None:
    """`concurrency = 2`: two children side by side, the same stem, and still each output has a name of its own."""
    daemon.configure(daemon={"concurrency": 2})
    for name in ("a.ts", "a.m2ts", "b.ts", "b.mts"):
        daemon.drop(recording, name)
    daemon.start()
    daemon.wait_for(lambda: daemon.states() == [JobState.DONE] * 4, what="all of them done")

    assert daemon.outputs() == ["a (2).mp4", "a.mp4", "b (2).mp4", "b.mp4"]


def test_the_daemon_s_process_never_loads_ffmpeg(daemon: RunningDaemon, recording: Path) -> None:
    """Asked of the kernel, after it has done its work: no libav in the daemon's memory."""
    daemon.start().drop(recording)
    daemon.wait_done()
    maps = Path(f"/proc/{daemon.pid}/maps").read_text("utf-8")

    assert "python" in maps
    assert [line for line in maps.splitlines() if "libav" in line or "/av/" in line] == []


def test_idle_it_is_small_and_quiet(daemon: RunningDaemon, recording: Path) -> None:
    """At most 80 MiB, and hardly any of a core; the bound here is wide, `make bench` measures."""
    daemon.configure(intake={"settle_s": 0.3, "rescan_s": 30})
    daemon.start().drop(recording)
    daemon.wait_done()
    status = Path(f"/proc/{daemon.pid}/status").read_text("utf-8")
    rss_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    assert rss_kib < 80 * 1024
