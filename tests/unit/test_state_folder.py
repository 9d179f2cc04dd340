"""The daemon's own folder: names, status, and logs that are swept but never those that matter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encoderd.errors import FolderError
from encoderd.state_folder import StateFolder


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "deep" / "state")
    made.prepare()
    return made


def test_names(state: StateFolder) -> None:
    """Six digits sort as they should; a larger number is no harm."""
    assert state.log_of(12) == state.root / "jobs" / "000012.log"
    assert state.receipt_of(12) == state.root / "jobs" / "000012.json"
    assert state.log_of(1_234_567).name == "1234567.log"


def test_it_is_made_and_nothing_is_left_of_the_proof(state: StateFolder) -> None:
    state.prepare()

    assert [path.name for path in state.root.iterdir()] == ["jobs"]


def test_one_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="cannot be written") as refused:
        StateFolder(tmp_path / "file" / "state").prepare()

    assert "install -d" in refused.value.remedy


def test_the_status_comes_back(state: StateFolder) -> None:
    said = {"pid": 7, "status": "encoding ニュース 12%", "problems": {}}
    state.write_status(said)

    assert state.read_status() == said
    assert [path.name for path in state.root.glob("*status*")] == ["status.json"]


@pytest.mark.parametrize("text", ["", "{", "null", "[1]", '{"pid": 1}', '{"pid": "1", "status": ""}', "\x00" * 10])
def test_a_status_that_is_none(state: StateFolder, text: str) -> None:
    (state.root / "status.json").write_text(text)

    assert state.read_status() == {}


def test_before_the_daemon_ever_ran(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "gone")

    assert state.read_status() == {}
    assert state.job_logs() == []
    assert state.sweep_logs(1e12, keep=[]) == []


def test_a_status_that_cannot_be_written_is_no_error(state: StateFolder) -> None:
    (state.root / ".status.json").mkdir()
    state.write_status({"pid": 1, "status": "x"})

    assert state.read_status() == {}


def test_logs_are_listed_by_job(state: StateFolder) -> None:
    """What is no log of a job is left out, whatever it is called."""
    for name in ("000010.log", "000002.log", "1000000.log", "000002.json", "x.log", "².log", ".log", "-1.log"):
        (state.root / "jobs" / name).touch()

    assert [job for job, _ in state.job_logs()] == [2, 10, 1_000_000]


def test_old_logs_are_swept(state: StateFolder) -> None:
    """But not of jobs that run, not what was written since, and no receipt."""
    for job, mtime in ((1, 100), (2, 100), (3, 900)):
        state.log_of(job).touch()
        state.receipt_of(job).touch()
        os.utime(state.log_of(job), (mtime, mtime))
        os.utime(state.receipt_of(job), (mtime, mtime))

    assert state.sweep_logs(500, keep=[2]) == [1]
    assert [job for job, _ in state.job_logs()] == [2, 3]
    assert all(state.receipt_of(job).exists() for job in (1, 2, 3))
