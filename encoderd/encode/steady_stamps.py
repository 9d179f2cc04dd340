"""
Where frames of sound belong when their timestamps jitter: late, early, repeated or alternating ones cost nothing.

Sound has a clock of its own: each frame begins where the one before ended. A timestamp that says otherwise is believed
when those behind it agree. Then frames are missing, or came twice, and the clock moves; a timestamp that stands alone,
or that others take back, moves nothing. Between the two the clock follows slowly, which is the drift of two clocks.
Timestamps that stand still while sound goes on cannot be true: then the frames follow one another.

All times are flicks (epochs.FLICKS).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar

from encoderd.encode.epochs import FLICKS

#: What follows is looked at for so long: a PES packet of several frames that is late by itself is half of it.
AHEAD = FLICKS * 2 // 5
#: Frames at a step that have to agree at once; an even number, so that of alternating ones the mean counts.
NEXT = 4
#: Short frames that are held at most.
MOST_AHEAD = 64
#: A step of three quarters of a frame, or of so much, can be one. Sound is heard beside its picture from 45 ms on.
STEP = FLICKS // 40
#: Timestamps this far from the clock are on it: they are rounded, to a millisecond in Matroska.
ON_CLOCK = FLICKS // 1000 + FLICKS // 45_000
#: A clock that goes faster or slower than the samples do is followed by one in so many.
FOLLOWED = 512
#: Timestamps stand still where three of four frames begin before three quarters of the one before are over.
STANDING, TOO_SOON = Fraction(3, 4), Fraction(1, 4)
#: At the start and at the end too little is known: a step of more frames than this is one, a smaller one is jitter.
JITTER_FRAMES = 2.5


Item = TypeVar("Item")


@dataclass(slots=True)
class _Held(Generic[Item]):
    item: Item
    offset: int | None  # of its timestamp from the sum of all durations before it
    duration: int
    sure: bool
    too_soon: bool  # after the one before


class SteadyStamps(Generic[Item]):
    """
    Takes frames with their timestamps, in order; gives each back with the time where it belongs.

    A frame without a timestamp, or before any has one, comes back with the end of the one before, or None.
    """

    def __init__(self) -> None:
        self._held: deque[_Held[Item]] = deque()
        self._held_for = 0
        self._given = 0  # the durations of all frames that were taken
        self._returned = 0  # the same of those that were returned
        self._clock: int | None = None  # offset of the clock from the sum of the durations
        self._glided = 0  # how far the clock followed one that leaves
        self._before: deque[int] = deque(maxlen=NEXT)  # the offsets of the last timestamps
        self._last: int | None = None  # the offset of the last timestamp that was taken
        self._too_soon = 0  # of those that are held
        self._standing = False

    def push(
        self, item: Item, stamp: int | None, duration: int, *, sure: bool = False
    ) -> Iterator[tuple[Item, int | None]]:
        """
        Take the next frame; yield those that are decided.

        `duration` 0 is unknown, and the timestamp is believed. `sure`: something broken was left out before it, so a
        step of any size is believed when others agree.
        """
        offset = None if stamp is None else stamp - self._given
        too_soon = offset is not None and self._last is not None and offset - self._last < -duration * TOO_SOON
        self._held.append(_Held(item, offset, duration, sure, too_soon))
        self._last = self._last if offset is None else offset
        self._too_soon += too_soon
        self._given += duration
        self._held_for += duration
        while self._held and (duration == 0 or self._is_enough()):
            yield self._next(last=False)

    def finish(self) -> Iterator[tuple[Item, int | None]]:
        """Yield the rest."""
        while self._held:
            yield self._next(last=True)

    def _is_enough(self) -> bool:
        count = len(self._held)
        return count > MOST_AHEAD or (count > NEXT and self._held_for - self._held[0].duration >= AHEAD)

    def _next(self, *, last: bool) -> tuple[Item, int | None]:
        first = self._held[0]
        if len(self._held) > NEXT:
            going_on = self._standing and first.too_soon
            self._standing = going_on or self._too_soon >= len(self._held) * STANDING
        if first.offset is not None and not (self._standing and self._clock is not None):
            self._decide(first, first.offset, last=last)
        place = None if self._clock is None else self._clock + self._returned
        if first.offset is not None and self._clock is not None and abs(first.offset - self._clock) <= ON_CLOCK:
            place = first.offset + self._returned
        self._held.popleft()
        self._too_soon -= first.too_soon
        self._held_for -= first.duration
        self._returned += first.duration
        return first.item, place

    def _decide(self, first: _Held[Item], offset: int, *, last: bool) -> None:
        """Move the clock to where this frame's timestamp and those behind it say that it is."""
        if first.duration == 0:
            self._clock = offset
            return
        if self._clock is None:
            self._clock = offset if self._standing else offset + self._begun(offset, first.duration)
            return
        apart = offset - self._clock
        least = min(first.duration * 3 // 4, STEP)
        most = first.duration // FOLLOWED
        if abs(apart) > ON_CLOCK:
            near, far = self._agreed(self._clock)
            step = min(apart, near, far) if apart > 0 else max(apart, near, far)
            step = step if (step > 0) == (apart > 0) else 0
            is_end = last and self._held_for < AHEAD // 2 and not self._glided
            unknown = is_end and abs(step) <= JITTER_FRAMES * first.duration
            if abs(step) >= (ON_CLOCK if first.sure else least) and not unknown:
                self._clock += self._believed(step, self._clock, first)
            else:
                self._clock += max(-most, min(most, far))
        else:
            self._clock += max(-most, min(most, apart))
        self._before.append(offset)

    def _begun(self, offset: int, duration: int) -> int:
        """Return how far from the first timestamp the clock is on which most of the first ones are."""
        known = sorted(held.offset for held in self._held if held.offset is not None)
        near, far = self._agreed(offset)
        even = known[len(known) * 2 // 3] - known[len(known) // 3] <= duration // 2
        step = far if even else near
        return step if abs(step) <= JITTER_FRAMES * duration else 0

    def _believed(self, step: int, clock: int, first: _Held[Item]) -> int:
        """A clock that leaves by and by may come back, until it is two frames away; one that steps is believed."""
        if step * self._glided < 0:
            self._glided = 0
        before = _middle([offset - clock for offset in self._before])
        if first.sure or abs(step - before) >= min(first.duration * 3 // 4, STEP):
            return step
        distance = first.duration * 5 // 4 if abs(self._glided) < first.duration * 3 // 4 else 0
        glide = max(0, step - distance) if step > 0 else min(0, step + distance)
        self._glided += glide
        return glide

    def _agreed(self, clock: int) -> tuple[int, int]:
        """Return how far from `clock` the next few timestamps are, and all that are known: the middle of each."""
        offsets = [held.offset - clock for held in self._held if held.offset is not None]
        return _middle(offsets[:NEXT]), _middle(offsets)


def _middle(values: list[int]) -> int:
    """Return the median; of an odd number that of all but the last, so that alternating ones give their mean."""
    ordered = sorted(values[: len(values) // 2 * 2 or 1])
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2 if ordered else 0


def flicks_of(ticks: int | None, time_base: Any) -> int | None:
    """Return ticks of a time base in flicks; None stays None."""
    if ticks is None:
        return None
    numerator, denominator = time_base.numerator * FLICKS, time_base.denominator
    return int((2 * ticks * numerator + denominator) // (2 * denominator))


def ticks_of(flicks: int, time_base: Fraction) -> int:
    """Return flicks in the nearest number of ticks."""
    per_tick, ticks = time_base.numerator * FLICKS, time_base.denominator
    return (2 * flicks * ticks + per_tick) // (2 * per_tick)
