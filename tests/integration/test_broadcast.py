"""
Recordings as broadcasters make them, through the real child: what a viewer sees, hears and is told.

Each recording is made by tests/broadcast/catalogue and judged by its content: numbers in the pictures, a flash and
a burst each second.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from encoderd.encode.failures import EncodeFailed
from tests.broadcast import sights
from tests.broadcast.catalogue import CATALOGUE, SIBLINGS
from tests.broadcast.judgement import Viewed, faults, untold
from tests.broadcast.truth import Made
from tests.closed_captions import captions_of
from tests.encoding import Done, encode, try_encode

ALL = [pytest.param(name, marks=pytest.mark.slow) if name in SIBLINGS else name for name in CATALOGUE]
REJECTED = [name for name in CATALOGUE if name == "mostly_scrambled"]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where made recordings stand, for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "broadcast"
    folder.mkdir(exist_ok=True)
    return folder


def recording(shelf: Path, folder: Path, name: str) -> tuple[Path, Made]:
    """Return the recording in `folder`; it is made once per run, by whoever needs it first."""
    kept = shelf / f"{name}.pickle"
    with (shelf / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            fresh = kept.with_suffix(".partial")
            fresh.write_bytes(pickle.dumps(CATALOGUE[name].make()))
            fresh.rename(kept)
    made: Made = pickle.loads(kept.read_bytes())
    path = folder / f"{name}{CATALOGUE[name].suffix}"
    path.write_bytes(made.data)
    return path, made


def encoded(shelf: Path, folder: Path, name: str, **changes: Any) -> tuple[Done, Made]:
    path, made = recording(shelf, folder, name)
    return encode(path, **{**CATALOGUE[name].asked, **changes}), made


@pytest.mark.parametrize("name", [name for name in ALL if name not in REJECTED])
def test_a_viewer_gets_all_of_it(shelf: Path, tmp_path: Path, name: str) -> None:
    """
    Pictures in order at their times, sound within 20 ms of them, tracks, geometry and colours; told in the receipt.
    Captions are in the file or beside it, each of them, and a decoder shows them at their times.
    """
    done, made = encoded(shelf, tmp_path, name, captions=str(tmp_path / "x.captions"))
    files = [done.path, *tmp_path.glob("x.captions*")]
    kept = set[bytes]().union(*map(sights.payloads, files))

    assert {pid: [] for pid in made.captions} == missing(made, kept)
    if made.shown:
        zero_s = Viewed.of(done.path, made.truth).origin_s
        shown = [(at_s - zero_s, what) for at_s, what in sights.captions_shown(files[-1])]
        assert [(pytest.approx(at_s, abs=0.002), what) for at_s, what in made.shown] == shown
    assert [] == faults(done.path, made.truth)
    assert [] == untold(done.receipt, made.truth)


@pytest.mark.parametrize("name", REJECTED)
def test_what_nobody_can_view_is_rejected_by_its_word(shelf: Path, tmp_path: Path, name: str) -> None:
    path, made = recording(shelf, tmp_path, name)
    outcome = try_encode(path, tmp_path / "out.mp4")

    assert isinstance(outcome, EncodeFailed)
    assert made.truth.rejected in outcome.message
    assert outcome.remedy


def test_fields_become_pictures(shelf: Path, tmp_path: Path) -> None:
    """Fifty pictures per second from 25 interlaced ones, each number twice, the second half a frame after the first."""
    done, made = encoded(shelf, tmp_path, "576i25", deinterlace="field")
    pictures = sights.seen(done.path)
    steps = {after.at_s - before.at_s for before, after in pairwise(pictures)}

    assert 2 * made.truth.pieces[0].frames == len(pictures)
    assert {Fraction(1, 50)} == steps
    assert [number for number in range(100) for _ in (0, 1)] == [picture.number for picture in pictures]


def test_a_gap_can_hold_the_last_picture(shelf: Path, tmp_path: Path) -> None:
    """With video_gaps = hold the pictures go on through the gap, at the frame rate."""
    done, _ = encoded(shelf, tmp_path, "gap_2s", video_gaps="hold")
    pictures = sights.seen(done.path)
    steps = [after.at_s - before.at_s for before, after in pairwise(pictures)]

    assert max(steps) < Fraction(50, 1000)


@pytest.mark.parametrize(("wish", "voice"), [("main", 0), ("sub", 1)])
@pytest.mark.parametrize("name", [pytest.param("dual_mono_mp2", marks=pytest.mark.slow), "dual_mono_aac"])
def test_dual_mono_gives_the_voice_that_was_asked_for(
    shelf: Path, tmp_path: Path, name: str, wish: str, voice: int
) -> None:
    """One track, with one voice alone, and its language. ("split" is the catalogue's own wish.)"""
    done, _ = encoded(shelf, tmp_path, name, dual_mono=wish)
    found = [track for track in sights.tracks(done.path) if track.kind == "audio"]
    heard = [{burst.voice for burst in sights.beeps(done.path, number)} for number in range(len(found))]

    assert [{voice}] == heard
    assert [("jpn", "eng")[voice]] == [track.language for track in found]


@pytest.mark.parametrize("name", ["dual_mono_mp2", "dual_mono_aac"])
def test_dual_mono_can_be_kept(shelf: Path, tmp_path: Path, name: str) -> None:
    """One track of two channels, the main voice left and the other right."""
    done, _ = encoded(shelf, tmp_path, name, dual_mono="keep")
    sides = [{burst.voice for burst in sights.beeps(done.path, 0, channel)} for channel in (0, 1)]

    assert [2] == [track.channels for track in sights.tracks(done.path) if track.kind == "audio"]
    assert [{0}, {1}] == sides


def test_captions_in_the_pictures_are_carried_over(shelf: Path, tmp_path: Path) -> None:
    """All pairs of bytes, each with its picture."""
    path, _ = recording(shelf, tmp_path, "closed_captions")
    before = captions_of(path)
    done = encode(path)

    assert 2 * len(before) == sum(map(len, before)), "the recording itself has a pair for each field"
    assert before == captions_of(done.path)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_captions_are_kept_inside_or_beside(shelf: Path, tmp_path: Path, container: str) -> None:
    """
    Losslessly, each of them; Matroska has a place for DVB subtitles, MP4 for none. Data is listed.

    The file beside takes the container that can hold them, so its name may end otherwise than was asked for.
    """
    beside = tmp_path / "x.captions.mks"
    done, made = encoded(shelf, tmp_path, "captions", container=container, captions=str(beside))
    kept = set(sights.payloads(done.path))
    anywhere = kept.union(*map(sights.payloads, tmp_path.glob("x.captions*")))

    assert {pid: [] for pid in made.captions} == missing(made, anywhere)
    assert container == "mp4" or [] == missing(made, kept)[0x120]
    assert [] == faults(done.path, made.truth)
    assert "0x123" in json.dumps(done.receipt), "data is not copied, but listed"


def missing(made: Made, kept: set[bytes]) -> dict[int, list[bytes]]:
    """
    Return what was sent and is not in `kept`, by PID; of DVB subtitles the segments (behind 0x20 0x00, before 0xFF),
    alone or in their display set.
    """
    return {
        pid: [
            data
            for data in sent
            if data not in kept
            and not (data[:2] == b"\x20\x00" and any(one[:1] == b"\x0f" and data[2:-1] in one for one in kept))
        ]
        for pid, sent in made.captions.items()
    }


def test_a_programme_is_chosen_by_its_number(shelf: Path, tmp_path: Path) -> None:
    done, _ = encoded(shelf, tmp_path, "two_programmes", programme=100)
    found = [picture.number for picture in sights.seen(done.path) if picture.number is not None]

    assert 100 < len(found)
    assert {30_000 <= number for number in found} == {True}
