"""Pictures that hold one field each, as decoders of HEVC give them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from encoderd.encode.deinterlacing import parities
from encoderd.encode.fields import Weaver, are_fields, may_be_fields
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


@pytest.mark.parametrize("top_first", [True, False])
@pytest.mark.parametrize("missing", [None, 3])
def test_fields_without_a_flag_are_woven_by_what_they_show(top_first: bool, missing: int | None) -> None:
    """The upper one's lines lie above the other's, whichever came first; turns are counted by times."""
    rows, columns = np.mgrid[0:32, 0:64]
    moments = [(128 + 60 * np.sin(columns / 9 + rows / 3 + number / 3)).astype(np.uint8) for number in range(12)]
    lines = [moment[(number % 2 == 0) is not top_first :: 2] for number, moment in enumerate(moments)]
    pictures = [half(one, "prog") for one in lines]
    for number, picture in enumerate(pictures):
        picture.pts, picture.time_base = number * 1800, Fraction(1, 90_000)
    kept = [number for number in range(6) if missing is None or number != missing // 2]
    if missing is not None:
        del pictures[missing]
    weaver = Weaver(pictures[0], unflagged=True, field_s=Fraction(1, 50))
    frames = [frame for picture in pictures for frame in weaver.push(picture)]

    assert ([number * 3600 for number in kept], len(kept) < 6) == ([frame.pts for frame in frames], bool(weaver.lost))
    for number, frame in zip(kept, frames, strict=True):
        upper, lower = lines[2 * number : 2 * number + 2][:: 1 if top_first else -1]
        assert frame.interlaced_frame
        assert np.array_equal(upper, luma(frame)[0::2])
        assert np.array_equal(lower, luma(frame)[1::2])


@pytest.mark.parametrize(
    ("above", "wanted"),
    [
        # Broadcasts in 1080i and 576i, taken apart and coded as pictures: still, and with a camera that tilts.
        ((0.44, -0.44, 0.5, -0.47, 0.52, -0.59), [True, False] * 3 + [True]),
        ((-0.11, 0.35, -0.1, 0.3, -0.08, 0.37), [False, True] * 3 + [False]),
        ((0.52, -0.11, 1.0, -0.05, 1.11, -0.08), [True, False] * 3 + [True]),
        # The same made progressive, in half the height.
        ((-0.29, 0.02, -0.02, 0.04, -0.12, -0.01), []),
        ((-0.01, 0.01, 0.03, 0.01, -0.03, 0.03), []),
        ((0.03, -0.03, 0.03, -0.03, 0.03, -0.03), []),
        ((0.4, 0.5, 0.4, 0.5, 0.4, 0.5), []),
        ((0.44, -0.44), []),
        ((), []),
    ],
)
def test_fields_are_known_by_their_lines(above: tuple[float, ...], wanted: list[bool]) -> None:
    """By turns and clearly, whatever the camera does (measured in foreign recordings)."""
    assert wanted == parities(above)


def test_only_what_can_be_a_field_is_looked_at() -> None:
    assert [may_be_fields(lines, Fraction(1, 50)) for lines in (240, 288, 480, 540, 544, 576, 720, 1080)] == [
        True, True, False, True, True, False, False, False,
    ]  # fmt: skip
    assert not may_be_fields(288, Fraction(1, 25))


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
