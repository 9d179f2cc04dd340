"""Partial files of a former life are found by name, wherever they are below the output folders."""

from __future__ import annotations

import time
from pathlib import Path

from encoderd.leftovers import Leftovers


def test_partial_files_are_found(tmp_path: Path) -> None:
    names = (".a.encoderd-7.partial", "deep/er/.ニュース.encoderd-12.partial")
    for name in (*names, "a.mp4", ".hidden", "x.encoderd-3.partial", ".y.encoderd-z.partial"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    leftovers = Leftovers([tmp_path / "gone", tmp_path])
    leftovers.start()
    found: list[tuple[Path, int]] = []
    give_up_s = time.monotonic() + 20
    while len(found) < 2 and time.monotonic() < give_up_s:
        found += leftovers.found()
        time.sleep(0.005)
    leftovers.stop()

    assert sorted(found) == sorted([(tmp_path / names[0], 7), (tmp_path / names[1], 12)])
    assert list(leftovers.found()) == []


def test_stop_before_start(tmp_path: Path) -> None:
    """A daemon whose start failed half-way stops what it has."""
    Leftovers([tmp_path]).stop()
