"""The damage ratio of made recordings, by what they really lack, and captions at their times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broadcast import sights
from tests.broadcast.catalogue.damages import CATALOGUE, SHARED, SHARED_TIMES_S, SUBTITLES_PID, WHOLE
from tests.encoding import Done, encode


def encoded(folder: Path, name: str) -> Done:
    path = folder / f"{name}{CATALOGUE[name].suffix}"
    path.write_bytes(CATALOGUE[name].make().data)
    return encode(path, captions=str(folder / "x.captions"), **CATALOGUE[name].asked)


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


@pytest.mark.parametrize("name", SHARED)
def test_no_packet_of_a_display_set_is_lost_or_moved(tmp_path: Path, name: str) -> None:
    """
    A decoder shows each set, to the millisecond of Matroska; what came before the pictures is shown at once.

    Of the source itself FFmpeg shows none: it reads the first packet of a time, and leaves the others framed.
    """
    done, beside = encoded(tmp_path, name), tmp_path / "x.captions"
    kept = done.path if name == "shared_times" else beside
    sent = CATALOGUE[name].make().captions
    found = [b"".join(data for _, data in stream) for stream in sights.captions(kept)]
    shown = sights.subtitles_shown(kept)

    assert [
        b"".join(data[2:-1] if pid == SUBTITLES_PID else data for data in packets) for pid, packets in sent.items()
    ] == found
    assert [(pytest.approx(at_s, abs=0.0021), (8, 2)) for at_s in SHARED_TIMES_S] == shown
