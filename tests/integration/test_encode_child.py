"""The real child process: what it says, whom it blames, and that it never outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest

from encoderd.encode.child import LOG_BYTES
from encoderd.encode.failures import EncodeFailed, Place
from encoderd.encode.messages import Build, BuildRequest, Encoded, TrialDone, TrialRequest, VideoRequest, to_line
from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.encode.supervisor import Child, run_to_end
from encoderd.jobs import FailureKind, JobEvent
from tests.encoding import LIMITS, exists, failure_of, outcome_of, request_for, wait_until

LIMIT_S = 30.0


def test_the_child_says_what_it_is() -> None:
    build = run_to_end(BuildRequest(), LIMIT_S, time.monotonic).outcome

    assert isinstance(build, Build)
    assert {"libx264", "aac"} <= set(build.encoders)


def test_a_trial_on_the_cpu_proves_the_encoder(tmp_path: Path) -> None:
    request = TrialRequest(video=VideoRequest(encoder="libx264", preset="veryfast"))
    done = run_to_end(request, LIMIT_S, time.monotonic, log=tmp_path / "log").outcome

    assert isinstance(done, TrialDone)
    assert (done.frames, done.granted["profile"]) == (12, "High")
    assert done.psnr_db > 30


def without_gpu(request: Any, log: Path) -> EncodeFailed:
    child = Child(request, LIMITS, now_s=time.monotonic(), log=log)
    return failure_of(child)


def unusable_qsv() -> str:
    """What is said where there is no GPU, or not even the encoder: PyAV's wheels have it since 16.1."""
    if "h264_qsv" in av.codec.codecs_available:
        return "MFX session: -9"
    return f"This PyAV has no h264_qsv (FFmpeg {av.ffmpeg_version_info})"


@pytest.mark.skipif("ENCODERD_TEST_RENDER_NODE" in os.environ or Path("/dev/dri").exists(), reason="there is a GPU")
@pytest.mark.parametrize("what", ["trial", "encode"])
def test_without_a_gpu_the_gate_closes(tmp_path: Path, recording: Path, what: str) -> None:
    """Nobody blames the recording; FFmpeg's own words are in the message."""
    failure = without_gpu(
        TrialRequest(video=VideoRequest(encoder="h264_qsv"))
        if what == "trial"
        else request_for(recording, tmp_path / "out.mp4", encoder="h264_qsv"),
        tmp_path / "log",
    )

    assert (FailureKind.DEVICE, JobEvent.DEVICE_LOST, Place.ENCODER) == (failure.kind, failure.event, failure.place)
    assert unusable_qsv() in failure.message


def test_a_file_size_limit_is_no_space(tmp_path: Path, recording: Path) -> None:
    """An error of the muxer in mid-encode ends all threads, and is the folder's fault."""
    argv = ("/bin/sh", "-c", 'ulimit -f 16; exec "$0" -P -m encoderd.encode.child "$@"', sys.executable)
    child = Child(request_for(recording, tmp_path / "out.mp4"), LIMITS, now_s=time.monotonic(), argv=argv)
    failure = failure_of(child)

    assert (FailureKind.DEVICE, JobEvent.NO_SPACE, Place.FOLDER) == (failure.kind, failure.event, failure.place)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_full_disk_is_no_space(tmp_path: Path, recording: Path, container: str) -> None:
    """A real file system of 100 KiB, where root may mount one."""
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(full)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        request = request_for(recording, full / "out", container=container, quality=10)
        failure = failure_of(Child(request, LIMITS, now_s=time.monotonic()))
    finally:
        subprocess.run(["umount", str(full)], check=True)

    assert (FailureKind.DEVICE, JobEvent.NO_SPACE, Place.FOLDER) == (failure.kind, failure.event, failure.place)


def test_a_log_does_not_fill_the_disk(tmp_path: Path, recording: Path) -> None:
    """Beyond 64 MiB FFmpeg is told to be quiet, and the log says so."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(LOG_BYTES + 1)  # a hole, of no bytes on the disk
    child = Child(request_for(recording, tmp_path / "out.mp4"), LIMITS, now_s=time.monotonic(), log=log)

    assert isinstance(outcome_of(child), Encoded)
    written = log.read_bytes()[LOG_BYTES + 1 :]
    assert written.count(b"FFmpeg says no more") == 1
    assert b"kb/s" not in written, "libx264's last line"


def test_a_missing_output_folder_is_the_folder_s_fault(tmp_path: Path, recording: Path) -> None:
    request = request_for(recording, tmp_path / "gone" / "out.mp4")
    failure = failure_of(Child(request, LIMITS, now_s=time.monotonic()))

    assert (FailureKind.DEVICE, Place.FOLDER) == (failure.kind, failure.place)


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    """kill -9 of the daemon: nothing goes on writing to a file that somebody else may take over."""
    source = make_recording(
        tmp_path / "x.ts", SampleSpec(duration_s=8.0, width=480, height=360, interlaced=False, audio=())
    )
    program = f"""
import time
from pathlib import Path
from encoderd.encode.supervisor import Child, Limits
from encoderd.encode.messages import read_request
request = read_request({to_line(request_for(source, tmp_path / "out.mp4", preset="veryslow"))!r})
child = Child(request, Limits(startup_s=60, stall_s=60, drain_s=60), now_s=time.monotonic())
while child.started is None:
    assert child.poll(time.monotonic()) is None
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert exists(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait(LIMIT_S)
    wait_until(lambda: not exists(pid), "the child outlived its parent")


def test_an_orphan_from_birth_does_nothing(tmp_path: Path, recording: Path) -> None:
    """Its parent died before it could ask who that is: it sees that from the number it was given."""
    line = to_line(request_for(recording, tmp_path / "out.mp4"))
    argv = [sys.executable, "-P", "-m", "encoderd.encode.child", "1"]
    run = subprocess.run(argv, input=line, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    assert (run.returncode, run.stdout) == (1, "")
    assert not (tmp_path / "out.mp4").exists()


def test_the_partial_file_is_complete_before_the_last_word(tmp_path: Path, recording: Path) -> None:
    """What is announced is what is on disk: the daemon compares both after a crash."""
    outcome = outcome_of(Child(request_for(recording, tmp_path / "out"), LIMITS, now_s=time.monotonic()))
    found = (tmp_path / "out").stat()

    assert isinstance(outcome, Encoded)
    assert (outcome.size_bytes, outcome.mtime_ns) == (found.st_size, found.st_mtime_ns)
