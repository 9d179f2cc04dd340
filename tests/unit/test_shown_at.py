"""When decoded pictures are shown: (pts, dts) as decoded, in order → times."""

from __future__ import annotations

from fractions import Fraction

import pytest

from encoderd.encode.shown_at import MOST_HELD, ShownAt

Stamps = list[tuple[int | None, int | None]]


def shown(decoded: Stamps, step: Fraction = Fraction(10)) -> list[int | None]:
    shown_at: ShownAt[int] = ShownAt(step)
    found = [one for number, (pts, dts) in enumerate(decoded) for one in shown_at.push(number, pts, dts)]
    found += shown_at.drain()

    assert [number for _, number in found] == list(range(len(decoded))), "each once, in order"
    return [at for at, _ in found]


@pytest.mark.parametrize(
    ("decoded", "expected"),
    [
        ([(0, None), (1, None), (2, None)], [0, 1, 2]),
        ([(0, 0), (None, 1), (2, 2)], [0, 1, 2]),
        ([(0, 5), (1, 4), (2, 3)], [0, 1, 2]),
        ([(1, 2), (3, 3), (4, 4), (2, 5), (6, 6), (5, None)], [1, 3, 4, 5, 6, 7]),
        ([(None, None), (None, None)], [None, None]),
        ([(None, 5), (None, 15), (None, 25)], [5, 15, 25]),
        ([(3, None), (1, None), (2, None)], [3, 1, 2]),
    ],
)
def test_pictures_are_shown_by_the_clock_that_is_right(decoded: Stamps, expected: list[int | None]) -> None:
    """The fourth row is AVI's, the sixth one has no pts at all."""
    assert expected == shown(decoded)


@pytest.mark.parametrize(
    ("decoded", "expected"),
    [
        ([(0, 0), (None, None), (None, None), (30, 30)], [0, 10, 20, 30]),
        ([(0, None), (None, None), (None, -20), (33, None)], [0, 11, 22, 33]),
        ([(None, None), (None, 7), (20, 20)], [0, 10, 20]),
        ([(0, 0), (None, None), (None, None)], [0, 10, 20]),
        ([(0, 0), (None, None), (900, 900), (None, None)], [0, 10, 900, 910]),
        ([(0, 0), (None, None), (None, None), (5, 5)], [0, 2, 3, 5]),
    ],
)
def test_pictures_without_a_timestamp_lie_between_the_others(decoded: Stamps, expected: list[int]) -> None:
    """
    Evenly; at the known rate before the first, after the last, and before a pause.

    The dts of a picture without pts is another picture's.
    """
    assert expected == shown(decoded)


def test_the_rate_is_learned_from_timestamps_that_go_on_evenly() -> None:
    """A container may tell another one."""
    decoded: Stamps = [(0, 0), (20, 20), (40, 40), (None, None), (None, None)]

    assert [0, 20, 40, 60, 80] == shown(decoded, Fraction(10))


def test_no_more_pictures_wait_than_memory_has_room_for() -> None:
    shown_at: ShownAt[int] = ShownAt(Fraction(10))
    given = [len(shown_at.push(number, 0 if number == 0 else None, None)) for number in range(MOST_HELD + 3)]

    assert [1, *[0] * MOST_HELD, 1, 1] == given
