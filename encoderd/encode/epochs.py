"""
What the timeline knows of one stream: its clock in ticks, and the epoch it is in.

An *epoch* is a stretch of the recording on one unbroken clock; its *shift* is what takes source time to output time.
Between streams, times are whole *flicks*, of which all usual time bases are whole multiples, so nothing is rounded
but the last step into ticks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations, islice

#: Flicks in a second: a whole number of them is a tick of 90 kHz, of 1 ms, of every usual frame rate, NTSC's too, and
#: of every usual sample rate. Source: github.com/facebookarchive/Flicks
FLICKS = 705_600_000
#: The clock of MPEG-2 systems wraps: 33 bits at 90 kHz. Source: ISO/IEC 13818-1, 2.4.3.7.
WRAP = 2**33 * (FLICKS // 90_000)

# All of these are flicks.

#: A step of less is no question at all: jitter, a lost packet.
NO_STEP = FLICKS // 5
#: A packet that claims to last longer does not know how long it lasts.
MOST_DURATION = 10 * FLICKS
#: How much later a picture is shown than sent, without a doubt: 16 pictures of H.264 at 25 a second, and a little.
USUALLY_REORDERED = FLICKS * 7 // 10
#: The same in recordings of 5 pictures a second. More is a wrong timestamp.
REORDERED = 5 * FLICKS
#: The same in files whose pictures come when they change: one stands so long, and is shown behind those that follow it.
STILL = 60 * FLICKS
#: A timestamp may be so far from where the clock of before would have it to be "back".
BACK = FLICKS

#: When two streams have gone on for so long after a jump, both have made it.
SETTLED = 2 * FLICKS

#: So many pictures beyond what is usual, each within 10 s of the one before, are how this stream is.
REORDERED_OFTEN = 8
#: So many packets ahead are looked at for one that is back on the clock of before.
OUTLIERS_IN_A_ROW = 3


def flicks(seconds: Fraction) -> int:
    """Return seconds in flicks."""
    return round(seconds * FLICKS)


def unwrapped(difference: int) -> int:
    """Return a difference of two source times, in flicks, without the wraps that lie between them."""
    return (difference + WRAP // 2) % WRAP - WRAP // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A packet that was put where it was expected, until the next one tells whether its clock is a new one."""

    stamp: int  # as it came
    due: int  # where it was put; both in source ticks
    duration: int


@dataclass(slots=True)
class StreamClock:
    """
    One stream: all times in its own source ticks, except those that are said to be flicks.

    `due` is where the next packet is expected. Before the first packet `shift` is None.
    """

    time_base: Fraction
    sparse: bool = False
    paced: bool = True  # see Pauses
    shift: int | None = None  # flicks; of the epoch the stream is in
    wraps: int = 0  # of this stream since the epoch's zero
    since: int = 0  # flicks on the output timeline: when it came into the epoch
    offset: int = 0  # shift and wraps in ticks: what is added to a timestamp
    placed: int = 0  # packets
    last: int | None = None
    due: int = 0
    usual: int = 0  # duration of packets that do not tell theirs
    by_pts: bool = False  # the last packet had no dts
    ahead: deque[int | None] = field(default_factory=deque)  # timestamps that were announced
    pending: Pending | None = None
    even: int = -1  # a step up to this is none; -1 where each packet is a question: at the start, and while one pends
    led: int | None = None  # flicks, output: it stepped forward to there when no other stream had
    tolerance: int = 0
    longest: int = 0
    least_reorder: int = 0
    most_reorder: int = 0
    ends_later: int = 0  # the most of pts - dts: so long after the last dts pictures are shown
    _per_tick: int = 1  # flicks in a tick: _per_tick / _ticks
    _ticks: int = 1
    _reordered_more: int = 0
    _reordered_at: int = 0

    def __post_init__(self) -> None:
        tick = self.time_base * FLICKS
        self._per_tick, self._ticks = tick.numerator, tick.denominator
        self.tolerance = self.ticks(NO_STEP)
        self.longest = self.ticks(MOST_DURATION)
        self.least_reorder = -self.tolerance
        self.most_reorder = self.ticks(USUALLY_REORDERED if self.paced else STILL)

    def flicks(self, ticks: int) -> int:
        return ticks * self._per_tick // self._ticks

    def ticks(self, flicks: int) -> int:
        """Return the nearest number of ticks."""
        return (2 * flicks * self._ticks + self._per_tick) // (2 * self._per_tick)

    def enter(self, shift: int, stamp: int, near: int) -> None:
        """Move into an epoch, where `stamp` lands close to `near` (flicks, output) by as many wraps as that takes."""
        there = self.flicks(stamp) + shift
        wraps = (near - there + WRAP // 2) // WRAP
        if shift != self.shift:
            self.since = there + wraps * WRAP
        self.shift, self.wraps = shift, wraps
        self.offset = self.ticks(shift + wraps * WRAP)
        self.settle()

    def settle(self) -> None:
        """The next packet is expected at `due`."""
        self.even = self.tolerance
        self.pending = None

    def hold(self, stamp: int, duration: int) -> None:
        """The packet `stamp` is put where it was expected; the next one decides about it."""
        self.pending = Pending(stamp=stamp, due=self.due, duration=duration)
        self.even = -1

    def output(self, stamp: int) -> int:
        """Return in flicks where a timestamp of the clock of now lands on the output timeline."""
        assert self.shift is not None
        return self.flicks(stamp) + self.shift + self.wraps * WRAP

    def step(self, stamp: int) -> int:
        """Return in flicks how far from its expected time a timestamp is; packets without any may lie between."""
        if self.last is not None and self.last < stamp <= self.due:
            return 0
        return unwrapped(self.flicks(stamp - self.due))

    def is_back(self, after: int, due: int, stamp: int, duration: int) -> bool:
        """
        Tell whether the packet `after` goes on from `due`, on the clock of before `stamp`, and not from `stamp`.

        `duration` is that of `stamp`; all in ticks.
        """
        if -self.tolerance <= after - stamp - duration <= self.tolerance:
            return False
        on = unwrapped(self.flicks(after - due))
        if abs(on) > BACK or abs(on) >= abs(unwrapped(self.flicks(after - stamp - duration))):
            return False
        return unwrapped(self.flicks(stamp - due)) < 0 or unwrapped(self.flicks(after - stamp)) < 0

    def announced(self) -> list[int]:
        """Return the next timestamps that are known ahead, a few."""
        return [stamp for stamp in islice(self.ahead, OUTLIERS_IN_A_ROW) if stamp is not None]

    def announced_shift(self) -> int | None:
        """Return the shift by which this stream would run on across the first jump that was announced, if any was."""
        if self.last is None:
            return None
        due, duration = self.due, self.due - self.last
        for stamp in self.ahead:
            if stamp is None:
                continue
            if not -BACK <= unwrapped(self.flicks(stamp - due)) <= MOST_DURATION:
                return self.output(self.due) - self.flicks(stamp)
            due = stamp + duration
        return None

    def later(self, pts: int, dts: int | None) -> int:
        """Return how long after its dts a caption is shown; 0 where its pts or dts cannot be true, or tells nothing."""
        ticks = 0 if dts is None else self.ticks(unwrapped(self.flicks(pts - dts)))
        return ticks if 0 <= ticks <= self.ticks(REORDERED) else 0

    def reorder(self, pts: int, dts: int) -> int | None:
        """
        Return pts - dts where one of them has wrapped, or where it is more than usual; None when one of them is wrong.

        A stream of few pictures a second reorders by seconds. It shows that in its first packet, or again and again.
        """
        ticks = self.ticks(unwrapped(self.flicks(pts - dts)))
        if self.least_reorder <= ticks <= self.most_reorder:
            return ticks
        if not 0 < ticks <= self.ticks(REORDERED):
            return None
        near = abs(dts - self._reordered_at) <= self.longest
        self._reordered_more = self._reordered_more + 1 if near else 1
        self._reordered_at = dts
        if self.last is not None and self._reordered_more < REORDERED_OFTEN:
            return None
        self.most_reorder = 2 * ticks
        return ticks


def most_skew(streams: Sequence[StreamClock]) -> int:
    """Return by how much the shifts of two streams differ at most, in flicks, where both have settled in theirs."""
    most = 0
    for one, other in combinations(streams, 2):
        settled = max(one.since, other.since) + SETTLED
        if min(one.output(one.last or 0), other.output(other.last or 0)) >= settled:
            most = max(most, abs(unwrapped(one.flicks(one.offset) - other.flicks(other.offset))))
    return most
