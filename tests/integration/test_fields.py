"""Pictures that hold one field each, as decoders of HEVC give them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from encoderd.encode.fields import Weaver, are_fields
from encoderd.encode.pictures import woven_aspect
from tests.filmed import Film, filtered, luma


def fields(frames: int = 6) -> list[Any]:
    """Pictures of half the height, each flagged with its parity, 20 ms apart."""
    found = []
    film = Film(frames=frames, size=(64, 32), fields="top", rate=Fraction(25))
    for number, frame in enumerate(film.pictures()):
        for second in (0, 1):
            found.append(half(luma(frame)[second::2], "bff" if second else "tff"))
            found[-1].pts, found[-1].time_base = (2 * number + second) * 1800, Fraction(1, 90_000)
    return found


def half(lines: Any, flag: str) -> Any:
    (frame,) = blank(flag)
    plane = frame.planes[0]
    rows = np.zeros((plane.height, plane.line_size), np.uint8)
    rows[:, : plane.width] = lines
    plane.update(rows.tobytes())
    return frame


def blank(flag: str) -> Iterator[Any]:
    yield from filtered(
        [("color", "size=64x16:rate=50"), ("trim", "end_frame=1"), ("format", "yuv420p"), ("setfield", flag)]
    )


def woven(pictures: list[Any]) -> tuple[list[Any], Weaver]:
    weaver = Weaver(pictures[0])
    return [frame for picture in pictures for frame in weaver.push(picture)], weaver


def test_two_fields_make_a_frame_at_the_time_of_the_first() -> None:
    pictures = fields()
    lines = [luma(picture) for picture in pictures]
    frames, weaver = woven(pictures)

    assert ([number * 3600 for number in range(6)], 0) == ([frame.pts for frame in frames], weaver.lost)
    for number, frame in enumerate(frames):
        assert frame.interlaced_frame
        assert np.array_equal(lines[2 * number], luma(frame)[0::2])
        assert np.array_equal(lines[2 * number + 1], luma(frame)[1::2])


@pytest.mark.parametrize(("missing", "kept"), [(3, [0, 2, 3, 4, 5]), (4, [0, 1, 3, 4, 5])])
def test_a_field_that_lost_its_other_is_left_out(missing: int, kept: list[int]) -> None:
    """Those behind it find theirs again."""
    pictures = fields()
    del pictures[missing]
    frames, weaver = woven(pictures)

    assert ([number * 3600 for number in kept], 1) == ([frame.pts for frame in frames], weaver.lost)


@pytest.mark.parametrize(
    ("top_first", "interlaced", "spacing_s", "fields"),
    [
        ([True, False] * 3, 6, Fraction(1, 50), True),
        ([True] * 6, 6, Fraction(1, 50), False),  # frames
        ([True, False] * 3, 0, Fraction(1, 50), False),  # not flagged interlaced
        ([True, False] * 3, 6, Fraction(1, 25), False),  # frames whose order changes
        ([True, False], 2, Fraction(1, 50), False),  # too few
    ],
)
def test_fields_are_known_by_their_flags(
    top_first: list[bool], interlaced: int, spacing_s: Fraction, fields: bool
) -> None:
    assert fields is are_fields(top_first, interlaced, spacing_s)


@pytest.mark.parametrize(
    ("told", "size", "aspect"),
    [
        (Fraction(1, 2), (1920, 540), Fraction(1)),  # of the field
        (Fraction(1), (1920, 540), Fraction(1)),  # of the frame
        (Fraction(16, 15), (720, 288), Fraction(16, 15)),
        (Fraction(32, 45), (720, 288), Fraction(64, 45)),
        (Fraction(0), (1920, 540), Fraction(0)),
    ],
)
def test_headers_tell_the_shape_of_a_field_or_of_the_frame(
    told: Fraction, size: tuple[int, int], aspect: Fraction
) -> None:
    assert aspect == woven_aspect(told, *size)
