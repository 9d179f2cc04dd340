"""Blocked output folders: what holds them, when they are looked at again, and that they heal by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from encoderd.encode.failures import no_space
from encoderd.folders import Folders
from encoderd.settings import PreflightSettings, Settings

RECHECK_S = 60.0
FAILURE = no_space("No space is left in /out.")


@pytest.fixture
def folders() -> Folders:
    return Folders(Settings(preflight=PreflightSettings(recheck_s=RECHECK_S)))


def test_a_block_holds_its_own_watch_folder(folders: Folders, tmp_path: Path) -> None:
    with capture_logs() as lines:
        folders.block("tv", tmp_path, 1, 1, FAILURE, now_s=100.0)

    assert folders.blocked("tv")
    assert not folders.blocked("radio")
    assert folders.reasons() == {"tv": (FAILURE.message, FAILURE.remedy)}
    assert [(line["event"], line["watch"], line["log_level"]) for line in lines] == [("folder.blocked", "tv", "error")]


def test_it_is_looked_at_when_it_is_due(folders: Folders, tmp_path: Path) -> None:
    """Not before; then it is usable again, for whatever time it was blocked."""
    folders.block("tv", tmp_path / "out", 1, 1, FAILURE, now_s=100.0)
    folders.tick(100.0 + RECHECK_S - 1)
    assert folders.blocked("tv")
    with capture_logs() as lines:
        folders.tick(100.0 + RECHECK_S)

    assert not folders.blocked("tv")
    assert (tmp_path / "out").is_dir()
    assert [(line["event"], line["blocked_s"]) for line in lines] == [("folder.usable_again", RECHECK_S)]


def test_it_stays_blocked_with_the_present_reason(folders: Folders, tmp_path: Path) -> None:
    """The room that is missing, and then that it cannot be used at all; each look is `recheck_s` after the last."""
    folders.block("tv", tmp_path / "out", 2**60, 2**30, FAILURE, now_s=0.0)
    folders.tick(RECHECK_S)
    reason, remedy = folders.reasons()["tv"]
    assert "MiB free" in reason
    assert remedy
    (tmp_path / "out").rmdir()
    (tmp_path / "out").write_text("in the way")
    folders.tick(RECHECK_S + 1)
    assert folders.reasons()["tv"] == (reason, remedy)
    folders.tick(2 * RECHECK_S)

    assert "cannot be used" in folders.reasons()["tv"][0]


def test_a_watch_folder_that_is_not_in_the_settings(folders: Folders, tmp_path: Path) -> None:
    """Its running attempt may fail after a reload took it away."""
    folders.block("gone", tmp_path, 1, 1, FAILURE, now_s=0.0)
    folders.tick(RECHECK_S)

    assert not folders.blocked("gone")
