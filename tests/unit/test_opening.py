"""Where the output begins: at the earliest picture or sound, once that is known."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest

from encoderd.encode.opening import MOST_PACKETS, MOST_PICTURES, Opening

TICK = Fraction(1, 90_000)


@dataclass
class Item:
    """A packet or a frame, as far as an opening looks at it."""

    pts: int | None
    time_base: Fraction | None = TICK


def ticks(seconds: float) -> int:
    return round(seconds * 90_000)


def test_sound_before_the_first_picture_is_not_lost() -> None:
    """Sound comes first where a recorder joined in mid-GOP: it is zero, the picture keeps its distance."""
    opening = Opening(1)
    for number in range(10):
        opening.hold(1, Item(ticks(1 + number * 0.02)))
    assert not opening.over

    opening.hold(0, Item(ticks(1.5)))

    assert opening.over
    assert opening.starts_at_s == 1


def test_sound_that_is_muxed_later_than_its_pictures_is_waited_for() -> None:
    opening = Opening(1)
    opening.hold(0, Item(ticks(2.0)))
    opening.hold(0, Item(ticks(2.4)))
    assert not opening.over

    opening.hold(1, Item(ticks(1.9)))

    assert opening.over
    assert opening.starts_at_s == Fraction(19, 10)


def test_sound_that_begins_late_is_not_waited_for_longer_than_a_moment() -> None:
    opening = Opening(2)
    opening.hold(1, Item(ticks(2.0)))
    for number in range(16):
        assert not opening.over
        opening.hold(0, Item(ticks(2.0 + number / 30)))

    assert opening.over


def test_captions_do_not_decide() -> None:
    """The captions of what was before the recording would push the picture away from zero."""
    opening = Opening(0)
    opening.hold(1, Item(ticks(0.1)))
    opening.hold(0, Item(ticks(3.0)))

    assert opening.starts_at_s == 3


@pytest.mark.parametrize(("track", "most"), [(1, MOST_PACKETS), (0, MOST_PICTURES)])
def test_no_more_than_so_much_is_held(track: int, most: int) -> None:
    """A recording whose pictures come late, or have no times at all, must not fill the memory."""
    opening = Opening(1)
    for _ in range(most):
        assert not opening.over
        opening.hold(track, Item(None))

    assert opening.over
    assert opening.starts_at_s == 0
