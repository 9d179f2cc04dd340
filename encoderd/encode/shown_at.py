"""
When decoded pictures are shown, in the order in which they are shown. All times are ticks of one time base.

Not every picture has a timestamp: a PES packet may hold several pictures, and only the first of them has the stamp of
its header (ISO/IEC 13818-1, 2.4.3.7). The others lie between the stamps before and after them, at even distances.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, TypeVar

T = TypeVar("T")

#: Pictures that wait for the next timestamp; more go on at the rate that is known. Sixteen of 1920 × 1080 are 50 MB.
MOST_HELD = 16
#: Pictures that lie so many times further apart than they should are some that were lost, and a pause.
PAUSE = Fraction(3, 2)
#: Two distances that differ by less are the same: time bases of 1 ms round.
SAME_STEP = Fraction(1, 16)


@dataclass(slots=True)
class ShownAt(Generic[T]):
    """
    Gives each picture its time: its pts, or its dts in recordings whose pts are wrong more often, or one between.

    `step` is how long a picture is shown as far as is known; timestamps that go on evenly correct it. AVI has no pts
    (`has_pts`), and what FFmpeg makes of that is not in order where pictures were reordered. A timestamp is wrong when
    it does not come after the one before. Source: FFmpeg's own rule (libavcodec/decode.c, guess_correct_pts). But where
    pictures have a pts, the dts of one that has none is that of another picture.
    """

    step: Fraction
    has_pts: bool = True
    _wrong_pts: int = 0
    _wrong_dts: int = 0
    _last_pts: int | None = None
    _last_dts: int | None = None
    _held: deque[tuple[T, int | None]] = field(default_factory=deque)  # with their dts
    _at: Fraction | None = None  # the picture before those that are held
    _even: Fraction = Fraction(0)  # the last distance between two timestamps

    def push(self, picture: T, pts: int | None, dts: int | None) -> list[tuple[int | None, T]]:
        """Take the next picture; return those whose time is known now. None: nothing tells it and it waited long."""
        stamp = self._believed(pts, dts)
        if stamp is not None and not self._held:
            self._learn(stamp, 1)
            self._at = Fraction(stamp)
            return [(stamp, picture)]
        self._held.append((picture, dts))
        if stamp is not None:
            return self._between(stamp)
        return [self._next()] if len(self._held) > MOST_HELD else []

    def drain(self) -> list[tuple[int | None, T]]:
        """Return the pictures that wait: no timestamp comes any more."""
        return [self._next() for _ in range(len(self._held))]

    @property
    def by_dts(self) -> bool:
        """Whether pictures are shown by their dts."""
        return not self.has_pts or self._last_pts is None or self._wrong_pts > self._wrong_dts

    def _believed(self, pts: int | None, dts: int | None) -> int | None:
        if not self.has_pts:
            return dts
        if dts is not None:
            self._wrong_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        if pts is not None:
            self._wrong_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        return dts if self._last_dts is not None and self._wrong_pts > self._wrong_dts else pts

    def _between(self, stamp: int) -> list[tuple[int | None, T]]:
        """The last one that is held has a timestamp: the others lie before it, after the one before them."""
        count = len(self._held)
        if self._at is None:
            begin, step = stamp - count * self.step, self.step
        else:
            begin, step = self._at, (stamp - self._at) / count
            if step <= 0 or step > PAUSE * self.step:
                step = self.step
            self._learn(stamp, count)
        times = [round(begin + number * step) for number in range(1, count)]
        self._at = Fraction(stamp)
        pictures = [picture for picture, _ in self._held]
        self._held.clear()
        return list(zip([*times, stamp], pictures, strict=True))

    def _next(self) -> tuple[int | None, T]:
        """The first one that is held goes on at the known rate; one before any timestamp has its dts at best."""
        picture, dts = self._held.popleft()
        if self._at is None:
            self._at = None if dts is None else Fraction(dts)
        elif dts is not None and self._last_pts is None:
            self._at = Fraction(dts)
        else:
            self._at += self.step
        return None if self._at is None else round(self._at), picture

    def _learn(self, stamp: int, count: int) -> None:
        """Two distances in a row that are the same are how far pictures lie apart."""
        if self._at is None:
            return
        before, self._even = self._even, (stamp - self._at) / count
        if self._even > 0 and abs(self._even - before) <= SAME_STEP * self._even:
            self.step = self._even
