"""The damage ratio of made recordings, by what they really lack, and captions at their times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.broadcast import sights
from tests.broadcast.catalogue.damages import CATALOGUE, SUBTITLES_PID, WHOLE
from tests.encoding import Done, encode


def encoded(folder: Path, name: str) -> Done:
    path = folder / f"{name}{CATALOGUE[name].suffix}"
    path.write_bytes(CATALOGUE[name].make().data)
    return encode(path, **CATALOGUE[name].asked)


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_is_no_damage(tmp_path: Path, name: str) -> None:
    """Few pictures, wrong PES lengths, captions at any time: nothing is missing, and every check passes."""
    done = encoded(tmp_path, name)

    assert (0.0, "") == (done.receipt["damage"]["ratio"], done.receipt["damage"]["text"])
    assert {} == done.doubts


def test_a_dead_camera_is_a_gap(tmp_path: Path) -> None:
    """6 of 12 s without pictures are half of the recording, however whole the sound is."""
    done = encoded(tmp_path, "dead_camera")

    assert 0.5 == pytest.approx(done.receipt["damage"]["ratio"], abs=0.01)
    assert "1 gap of 6.0 s at 00:00:0" in done.receipt["damage"]["text"]


def test_no_packet_of_a_display_set_is_lost_or_moved(tmp_path: Path) -> None:
    """
    Each segment, in its order and to the millisecond of Matroska; what came before the pictures is shown at once.

    FFmpeg unpacks the first packet of a time (0x20 0x00 … 0xFF), and leaves the others as they are.
    """
    done = encoded(tmp_path, "shared_times")
    sent = CATALOGUE["shared_times"].make().captions[SUBTITLES_PID]
    found = sights.captions(done.path)
    times = [Fraction(0), *(Fraction(tenths, 10) for tenths in (12, 16, 20, 50, 120))]

    assert [data[2:-1] for data in sent] == [data.removeprefix(b"\x20\x00").removesuffix(b"\xff") for _, data in found]
    assert [at_s for at_s in times for _ in range(5)] == [pytest.approx(at_s, abs=0.0021) for at_s, _ in found]
