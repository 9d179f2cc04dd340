"""Whether pictures are combed, and which deinterlacer a recording gets."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from encoderd.encode.deinterlacing import (
    FILM_IN_50,
    FILM_IN_60,
    Deinterlacing,
    Method,
    Verdict,
    deinterlacing,
    difference,
    has_combed_spot,
    is_pulldown,
    repeat_of,
    repeats_field,
    verdict,
)
from encoderd.encode.pictures import Look, PictureForm
from tests.filmed import Film, luma

NTSC = Fraction(30_000, 1001)
HD = PictureForm(width=1440, height=1080)
PROGRESSIVE = Look(at=0.5, form=HD, frames=6, progressive=4)
INTERLACED = Look(at=0.5, form=HD, frames=6, interlaced=6, top_first=6, tff=4)
STILL = Look(at=0.5, form=HD, frames=6, interlaced=6, top_first=6, undetermined=4)
#: Flags and pictures that say different things.
COMBED = Look(at=0.5, form=HD, frames=6, bff=4)
MISLABELLED = Look(at=0.5, form=HD, frames=6, interlaced=6, top_first=6, bff=4)
WHOLE = Look(at=0.5, form=HD, frames=6, interlaced=6, top_first=6, progressive=4)
TELECINED = Look(at=0.5, form=HD, frames=6, interlaced=6, top_first=6, progressive=2, tff=2, repeated=2)
NOTHING = Look(at=0.5)
PULLDOWN = replace(PROGRESSIVE, pulldown=True)


@pytest.mark.parametrize(
    ("wish", "looks", "decision"),
    [
        ("off", [INTERLACED] * 8, Deinterlacing(method=Method.OFF)),
        ("frame", [COMBED] * 8, Deinterlacing(method=Method.FRAME)),
        ("frame", [WHOLE] * 8, Deinterlacing(method=Method.FRAME)),
        ("auto", [], Deinterlacing(method=Method.FRAME)),
        ("field", [], Deinterlacing(method=Method.FIELD)),
        ("ivtc", [], Deinterlacing(method=Method.IVTC, pulldown=FILM_IN_60)),
        ("auto", [NOTHING] * 8, Deinterlacing(method=Method.FRAME)),
        ("auto", [INTERLACED] * 8, Deinterlacing(method=Method.FRAME)),
        ("field", [INTERLACED, PROGRESSIVE], Deinterlacing(method=Method.FIELD)),
        ("field", [PROGRESSIVE] * 8, Deinterlacing(method=Method.FRAME)),
        ("ivtc", [PROGRESSIVE] * 8, Deinterlacing(method=Method.FRAME)),
        ("auto", [STILL] * 8, Deinterlacing(method=Method.FRAME)),
        ("auto", [COMBED] * 8, Deinterlacing(method=Method.FRAME, every=True, parity="bff")),
        ("field", [COMBED] * 2 + [NOTHING] * 6, Deinterlacing(method=Method.FIELD, every=True, parity="bff")),
        ("ivtc", [COMBED] * 8, Deinterlacing(method=Method.IVTC, every=True, parity="bff", pulldown=FILM_IN_60)),
        ("auto", [COMBED] + [PROGRESSIVE] * 7, Deinterlacing(method=Method.FRAME)),  # one place is no evidence
        ("auto", [COMBED] * 3 + [PROGRESSIVE] * 5, Deinterlacing(method=Method.FRAME)),
        ("field", [MISLABELLED] * 2, Deinterlacing(method=Method.FIELD, parity="bff")),
        ("field", [MISLABELLED] + [INTERLACED] * 7, Deinterlacing(method=Method.FIELD)),
        ("field", [MISLABELLED] * 4 + [INTERLACED] * 4, Deinterlacing(method=Method.FIELD)),
        ("auto", [WHOLE] * 4 + [STILL] * 4, Deinterlacing(method=Method.OFF)),
        ("field", [WHOLE] * 8, Deinterlacing(method=Method.OFF)),
        ("auto", [WHOLE] * 3 + [STILL] * 5, Deinterlacing(method=Method.FRAME)),
        ("auto", [WHOLE] * 7 + [INTERLACED], Deinterlacing(method=Method.FRAME)),
        ("auto", [WHOLE] * 7 + [PROGRESSIVE], Deinterlacing(method=Method.FRAME)),
        ("auto", [WHOLE] * 7 + [replace(WHOLE, tff=1)], Deinterlacing(method=Method.FRAME)),
        ("auto", [WHOLE] * 7 + [replace(WHOLE, repeated=2)], Deinterlacing(method=Method.FRAME)),
        ("auto", [TELECINED] * 8, Deinterlacing(method=Method.FRAME)),
        ("ivtc", [TELECINED] * 8, Deinterlacing(method=Method.IVTC, parity="tff", pulldown=FILM_IN_60)),
        (
            "auto",
            [PULLDOWN] * 5 + [INTERLACED] * 3,
            Deinterlacing(method=Method.IVTC, parity="tff", pulldown=FILM_IN_60),
        ),
        ("auto", [PULLDOWN] * 4 + [PROGRESSIVE] * 4, Deinterlacing(method=Method.FRAME)),
        ("ivtc", [PULLDOWN] + [PROGRESSIVE] * 7, Deinterlacing(method=Method.IVTC, pulldown=FILM_IN_60)),
        ("field", [PULLDOWN] * 8, Deinterlacing(method=Method.FRAME)),
        ("off", [PULLDOWN] * 8, Deinterlacing(method=Method.OFF)),
    ],
)
def test_flags_decide_unless_the_pictures_prove_them_wrong(
    wish: str, looks: list[Look], decision: Deinterlacing
) -> None:
    """Proof is the same answer at several places with motion, and none against it."""
    found = deinterlacing(wish, looks, NTSC)

    assert decision == replace(found, why="")
    assert found.why


@pytest.mark.parametrize(
    ("steps_ms", "film"),
    [
        ((33.37, 50.05, 33.37, 50.05, 33.37, 50.05), True),
        ((33, 50, 34, 50, 33, 50), True),  # Matroska's milliseconds
        ((33, 50, 50, 33, 33, 50), True),  # 2:3:3:2
        ((33, 33, 67, 33, 33, 33), True),  # 2:2:2:4
        ((67, 33, 33, 33, 67), True),
        ((33, 33, 33, 33, 33, 50), False),  # one picture is late
        ((50, 83, 33, 50, 83, 33), False),  # pictures are missing: too little is left
        ((33.37,) * 6, False),
        ((40,) * 6, False),
        ((50.05,) * 6, False),
        ((), False),
    ],
)
def test_film_is_known_by_its_steps(steps_ms: tuple[float, ...], film: bool) -> None:
    assert film is is_pulldown([Fraction(step) / 1000 for step in steps_ms])


LONGER = replace(PROGRESSIVE, lasting=(2,) * 11 + (3,))


@pytest.mark.parametrize(
    ("looks", "rate", "film"),
    [
        ([LONGER] * 8, 25, True),
        ([LONGER] * 2 + [replace(LONGER, lasting=(2,) * 12)] * 4 + [PROGRESSIVE] * 2, 25, True),  # seen by chance
        ([LONGER] + [replace(LONGER, lasting=(2,) * 12)] * 7, 25, False),  # one picture late, once
        ([LONGER] * 3 + [PROGRESSIVE] * 5, 25, False),  # mostly something else
        ([replace(LONGER, lasting=(2, 3) * 6)] * 8, 25, False),  # 20 pictures a second
        ([LONGER] * 8, 30, False),
    ],
)
def test_film_in_50_fields_is_known_by_its_longer_pictures(looks: list[Look], rate: int, film: bool) -> None:
    """As PAL discs have it: 24 pictures a second, one of twelve a field longer."""
    assert (FILM_IN_50 if film else None) == deinterlacing("auto", looks, Fraction(rate)).pulldown


@pytest.mark.parametrize(
    ("looks", "parity"),
    [([INTERLACED], "tff"), ([replace(INTERLACED, tff=0, bff=4)], "bff"), ([INTERLACED, COMBED], "auto"), ([], "auto")],
)
def test_film_is_woven_by_the_order_that_the_pictures_show(looks: list[Look], parity: str) -> None:
    """Both orders in one recording: each frame's flag says which."""
    assert parity == deinterlacing("ivtc", looks, NTSC).parity


@pytest.mark.parametrize(
    ("method", "source", "rate"),
    [
        (Deinterlacing(method=Method.FRAME), NTSC, NTSC),
        (Deinterlacing(method=Method.FIELD), NTSC, Fraction(60_000, 1001)),
        (Deinterlacing(method=Method.IVTC, pulldown=FILM_IN_60), NTSC, Fraction(24_000, 1001)),
        (Deinterlacing(method=Method.IVTC, pulldown=FILM_IN_60), Fraction(30), Fraction(24)),
        (Deinterlacing(method=Method.IVTC), Fraction(25), Fraction(25)),
        (Deinterlacing(method=Method.IVTC, pulldown=FILM_IN_50), Fraction(25), Fraction(24)),
    ],
)
def test_the_output_s_rate(method: Deinterlacing, source: Fraction, rate: Fraction) -> None:
    assert rate == method.frame_rate(source)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(60_000, 1001), Fraction(24)])
def test_only_film_in_30_pictures_is_decimated(rate: Fraction) -> None:
    assert not deinterlacing("ivtc", [INTERLACED], rate).decimated


@pytest.mark.parametrize(
    ("film", "seen"),
    [
        (Film(fields="top", frames=6, source="mandelbrot", size=(480, 360)), Verdict.TFF),
        (Film(fields="bottom", frames=6, source="mandelbrot", size=(480, 360)), Verdict.BFF),
        (Film(frames=6, size=(720, 480)), Verdict.PROGRESSIVE),
        (Film(frames=6, size=(720, 576), flag="tff"), Verdict.PROGRESSIVE),
        (Film(frames=6, source="smptebars"), Verdict.UNDETERMINED),
    ],
)
def test_combed_pictures_are_seen(film: Film, seen: Verdict) -> None:
    """Whatever the flags say; a still picture says nothing."""
    pictures = [luma(frame) for frame in film.pictures()]

    assert {seen} == {verdict(*pictures[at : at + 3]) for at in range(4)}


def test_repeated_fields_are_seen() -> None:
    """Two of five frames of telecined film share a field with the one before."""
    film = Film(frames=12, filters=(("telecine", "pattern=23"),))
    pictures = [luma(frame) for frame in film.pictures()]
    repeated = [repeats_field(one, other) for one, other in pairwise(pictures)]

    assert [4, 4] == [sum(repeated[:10]), sum(repeated[2:12])]
    assert not repeats_field(pictures[0], pictures[0])


def test_the_block_that_differs_most_counts() -> None:
    """Lips move in a small part of a picture."""
    one = np.zeros((64, 128), np.int16)
    other = one.copy()
    other[8:16, 16:32] = 100

    assert 100.0 == difference(one, other)
    assert 0.0 == difference(one, one)
    assert 5.0 == difference(one[:4, :4], one[:4, :4] + 5)
    assert 0.0 == difference(one[:0], one[:0])


@pytest.mark.parametrize(
    ("differences", "repeat"),
    [
        ([50.0, 2.0, 60.0, 55.0, 70.0], 1),
        ([50.0, 20.0, 60.0, 55.0, 70.0], 1),  # coded badly, and still much less than the others
        ([50.0, 40.0, 60.0, 55.0, 70.0], None),  # never film
        ([255.0, 50.0, 60.0, 55.0, 70.0], None),
        ([1.0, 1.0, 1.0, 0.5, 1.0], 3),  # a still: any may go
    ],
)
def test_which_picture_is_a_repeat(differences: list[float], repeat: int | None) -> None:
    assert repeat == repeat_of(differences)


def test_a_ticker_is_combed_though_the_picture_is_not() -> None:
    """A still wall with a small part of it in motion between the fields: no whole picture tells it, a spot does."""
    wall = np.tile((np.arange(256, dtype=np.int16) % 3 * 40)[:, None], (1, 192))
    before, picture, after = (wall.copy() for _ in range(3))
    for shown, (top, bottom) in zip((before, picture, after), ((16, 48), (80, 112), (144, 176)), strict=True):
        shown[40:56:2, 8:24], shown[41:56:2, 8:24] = top, bottom

    assert verdict(before, picture, after) is not Verdict.TFF
    assert has_combed_spot(before, picture, after)


def test_a_still_or_a_moving_whole_picture_has_no_combed_spot() -> None:
    wall = np.tile((np.arange(64, dtype=np.int16) % 7 * 30)[:, None], (1, 96))

    assert not has_combed_spot(wall, wall, wall)
    assert not has_combed_spot(wall, np.roll(wall, 2, axis=0), np.roll(wall, 4, axis=0))
