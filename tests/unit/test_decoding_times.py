"""Packets in coding order get a DTS that rises and is never after their PTS, however unevenly pictures come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.encode.decoding_times import DecodingTimes


def coded(pts: list[int], b_frames: int) -> list[int]:
    """The pictures as an encoder sends them: each reference before the B-frames that are shown before it."""
    order: list[int] = pts[:1]
    for at in range(1, len(pts), b_frames + 1):
        *between, reference = pts[at : at + b_frames + 1]
        order += [reference, *between]
    return order


def placed(pts: list[int], b_frames: int, delay: int, ticks: int) -> list[tuple[int, int]]:
    times = DecodingTimes(delay, ticks)
    for shown in pts:
        times.put(shown)
    return [(shown, dts) for shown in coded(pts, b_frames) if (dts := times.take(shown)) is not None]


@pytest.mark.parametrize(
    ("pts", "b_frames", "expected"),
    [
        ([0, 3, 6, 9], 0, [(0, 0), (3, 3), (6, 6), (9, 9)]),
        ([0, 3, 6, 9], 2, [(0, -6), (9, -3), (3, 0), (6, 3)]),
        ([0, 3, 300, 303], 2, [(0, -6), (303, -3), (3, 0), (300, 3)]),  # a gap between two B-frames
        ([100], 2, [(100, 94)]),
    ],
)
def test_a_packet_is_decoded_when_an_earlier_picture_is_shown(
    pts: list[int], b_frames: int, expected: list[tuple[int, int]]
) -> None:
    assert expected == placed(pts, b_frames, b_frames, 3)


@pytest.mark.parametrize("pts", [4, 0, None])
def test_a_packet_of_a_picture_that_never_went_in_has_no_time(pts: int | None) -> None:
    """Nor has one that comes out for the second time: an encoder that spoils or repeats pictures shows itself."""
    times = DecodingTimes(1, 3)
    for shown in (0, 3):
        times.put(shown)

    assert [-3, None, 0] == [times.take(0), times.take(pts), times.take(3)]


@given(st.sets(st.integers(0, 10**9), min_size=1, max_size=60), st.integers(0, 7), st.integers(1, 9000))
def test_time_runs_forward_whatever_the_gaps(shown: set[int], b_frames: int, ticks: int) -> None:
    found = placed(sorted(shown), b_frames, b_frames, ticks)

    assert len(shown) == len(found)
    assert all(earlier < later for (_, earlier), (_, later) in pairwise(found))
    assert all(dts <= pts for pts, dts in found)
