"""Output folders that cannot take files: the jobs wait, no recording is blamed, and it goes on by itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from encoderd.jobs import JobState
from tests.file_systems import file_system, fill
from tests.running import RunningDaemon


def waits_unblamed(daemon: RunningDaemon, told: str) -> None:
    """The job is queued again with its attempt; the status says why."""
    daemon.wait_for(lambda: daemon.log("folder.blocked"), what="the block")
    daemon.wait_for(lambda: "tv.output" in daemon.status().get("problems", {}), what="the status")
    reason, remedy = daemon.status()["problems"]["tv.output"]
    job = daemon.job()

    assert (job.state, job.attempts, job.interruptions) == (JobState.QUEUED, 0, 0)
    assert told in reason
    assert remedy
    assert told in daemon.status()["status"]
    assert {"device_lost", "no_space"} & set(daemon.events())


def goes_on(daemon: RunningDaemon) -> None:
    job = daemon.wait_done()

    assert job.attempts == 1
    assert daemon.outputs() == ["a.mp4"]
    assert daemon.partials() == []
    assert daemon.log("folder.usable_again")
    daemon.wait_for(lambda: not daemon.status()["problems"], what="a status without problems")


@pytest.mark.slow
def test_a_missing_output_folder_is_made(daemon: RunningDaemon, recording: Path) -> None:
    daemon.configure(watch={"output": daemon.root / "not" / "yet" / "there"})
    daemon.output = daemon.root / "not" / "yet" / "there"
    daemon.start().drop(recording)
    daemon.wait_done()

    assert daemon.outputs() == ["a.mp4"]


@pytest.mark.slow
def test_a_file_in_its_place(daemon: RunningDaemon, recording: Path) -> None:
    daemon.output.write_text("I was here first")
    daemon.start().drop(recording)
    waits_unblamed(daemon, str(daemon.output))

    assert daemon.output.read_text() == "I was here first"
    daemon.output.unlink()
    goes_on(daemon)


def test_a_read_only_output_folder(daemon: RunningDaemon, recording: Path) -> None:
    with file_system(daemon.output, "size=50m,ro") as remount:
        daemon.start().drop(recording)
        waits_unblamed(daemon, str(daemon.output))
        remount("rw")
        goes_on(daemon)
        daemon.kill()


def test_a_full_output_folder(daemon: RunningDaemon, recording: Path) -> None:
    """Too full to begin: the space check says how much is missing."""
    with file_system(daemon.output, "size=1m") as remount:
        daemon.start().drop(recording)
        waits_unblamed(daemon, "encode.space_margin_mib")
        remount("size=50m")
        goes_on(daemon)
        daemon.kill()


@pytest.mark.slow
def test_an_output_folder_that_fills_up_in_mid_encode(daemon: RunningDaemon, long_recording: Path) -> None:
    """ENOSPC in the child: the partial file goes, the job waits until there is room for all of it."""
    daemon.configure(encode={"space_margin_mib": 0, "preset": "medium"})
    with file_system(daemon.output, "size=20m"):
        daemon.start().drop(long_recording)
        daemon.wait_encoding()
        ballast = fill(daemon.output)
        waits_unblamed(daemon, str(daemon.output))
        assert daemon.partials() == [".ballast"]
        ballast.unlink()
        goes_on(daemon)
        daemon.kill()


def test_one_folder_s_trouble_is_not_the_others(daemon: RunningDaemon, recording: Path) -> None:
    """Recordings of a watch folder whose output folder can be written go on."""
    other, output = daemon.root / "other", daemon.root / "other-output"
    other.mkdir()
    daemon.output.write_text("in the way")
    with daemon.settings_file.open("a", encoding="utf-8") as file:
        file.write(f'[[watch]]\nname = "other"\npath = "{other}"\noutput = "{output}"\n')
    daemon.drop(recording)
    daemon.start()
    daemon.wait_for(lambda: daemon.log("folder.blocked"), what="the block")
    shutil.copyfile(recording, other / "b.ts")
    daemon.wait_done(2)

    assert [path.name for path in output.iterdir()] == ["b.mp4"]
    assert daemon.job(1).state is JobState.QUEUED


@pytest.mark.slow
def test_a_state_folder_without_room_for_the_job_s_log(daemon: RunningDaemon, recording: Path) -> None:
    """It is not the output folder's fault, and not the recording's; the jobs wait."""
    daemon.start()
    daemon.wait_for(daemon.status, what="the status")
    logs = daemon.state / "jobs"
    logs.rmdir()
    logs.write_text("in the way")
    daemon.drop(recording)
    daemon.wait_for(lambda: daemon.log("folder.blocked"), what="the block")

    assert "The state folder" in daemon.log("folder.blocked")[0]["reason"]
    assert daemon.job().attempts == 0
    logs.unlink()
    goes_on(daemon)


def test_the_status_says_what_a_folder_ignores_and_why(daemon: RunningDaemon) -> None:
    for name in ("a.jpg", "b.JPG", "c.nfo", ".hidden.ts", "d.ts.part", "empty.ts"):
        (daemon.input / name).touch()
    daemon.start()
    daemon.wait_for(lambda: "empty" in json.dumps(daemon.status().get("ignored", {})), what="the count")
    command = [sys.executable, "-m", "encoderd", "status", "--config", str(daemon.settings_file)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "tv: 6 files ignored: 3 by ending (.jpg 2, .nfo 1), 1 by pattern, 1 hidden, 1 empty" in said.stdout
    assert daemon.status()["ignored"]["tv"]["endings"] == {".jpg": 2, ".nfo": 1}
