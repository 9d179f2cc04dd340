"""The damage ratio of made recordings, by what they really lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broadcast.catalogue.damages import CATALOGUE, WHOLE
from tests.encoding import Done, encode
from tests.often import often


def encoded(folder: Path, name: str) -> Done:
    path = folder / f"{name}{CATALOGUE[name].suffix}"
    path.write_bytes(CATALOGUE[name].make().data)
    return encode(path, **CATALOGUE[name].asked)


@pytest.mark.parametrize("name", often(4, WHOLE))
def test_what_is_whole_is_no_damage(tmp_path: Path, name: str) -> None:
    """Few pictures, wrong PES lengths: nothing is missing, and every check passes."""
    done = encoded(tmp_path, name)

    assert (0.0, "") == (done.receipt["damage"]["ratio"], done.receipt["damage"]["text"])
    assert {} == done.doubts


def test_a_dead_camera_is_a_gap(tmp_path: Path) -> None:
    """6 of 12 s without pictures are half of the recording, however whole the sound is."""
    done = encoded(tmp_path, "dead_camera")

    assert 0.5 == pytest.approx(done.receipt["damage"]["ratio"], abs=0.01)
    assert "1 gap of 6.0 s at 00:00:0" in done.receipt["damage"]["text"]
