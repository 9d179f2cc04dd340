"""
Which pauses of a stream are gaps in the recording, and which are how this stream is.

A slide show has a picture every two or ten seconds, a camera over a door one each second, and film between slides
many: a pause is *usual* where more of its like lie close by. It is a gap where it is much longer than what is usual
there. One that is only longer is *doubtful*: it is a gap where another sign shows it, packets that the counters miss,
or all streams that pause with it. In a file whose pictures come when they change, a phone's or of a screen, each is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from encoderd.encode.discontinuities import Discontinuity, Kind, note
from encoderd.encode.epochs import FLICKS

#: A gap of more than this is noted; less is a picture or two that were lost, in flicks.
GAP = FLICKS
#: So many times what is usual is much longer. Signals fail for seconds, at 40 ms a picture; slides stand for 2 to 10 s.
MUCH = 8
#: Longer than usual is a pause from here on: one picture of a slide show that is missing makes two of it.
LONGER = 1.5
#: Packets before and after a pause among which its like is sought.
WINDOW = 64
#: One pause among so many packets, or more of them, are usual.
SHARE = 32
#: A sign tells of a pause from so much before its beginning to so much after its end: packets lie apart in a multiplex.
SIGN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """
    A pause before the packet `number` of its stream, which stands at `end` on the output timeline.

    `length` is the distance from the packet before, `told` how long that one said it lasts. Flicks.
    """

    number: int
    end: int
    length: int
    told: int


@dataclass(slots=True)
class _Recent:
    pauses: list[Pause] = field(default_factory=list)
    judged: int = 0  # so many of them are


@dataclass(slots=True)
class Pauses:
    """
    The pauses of all streams, in bounded memory: each is judged when `WINDOW` packets have followed, or by `finish`.

    `gaps` and `doubtful` are lists up to `MOST_NOTED`; the counts go on. `paced`: what was recorded came at
    a pace of its own, as broadcasts do.
    """

    paced: bool = True
    gaps: list[Discontinuity] = field(default_factory=list)
    doubtful: list[Discontinuity] = field(default_factory=list)
    gap_count: int = 0
    _recent: dict[int, _Recent] = field(default_factory=dict)

    def add(self, stream: int, pause: Pause) -> None:
        """Take the next pause of a stream."""
        recent = self._recent.setdefault(stream, _Recent())
        recent.pauses.append(pause)
        while recent.pauses[recent.judged].number < pause.number - WINDOW:
            self._judge(stream, recent, pause.number)
        first = recent.pauses[recent.judged].number - WINDOW
        old = sum(one.number < first for one in recent.pauses[: recent.judged])
        del recent.pauses[:old]
        recent.judged -= old

    def finish(self, last: dict[int, int]) -> None:
        """Judge the rest; `last` is the number of each stream's last packet."""
        for stream, recent in self._recent.items():
            while recent.judged < len(recent.pauses):
                self._judge(stream, recent, last[stream])
            recent.pauses.clear()
            recent.judged = 0

    def _judge(self, stream: int, recent: _Recent, last: int) -> None:
        pause = recent.pauses[recent.judged]
        recent.judged += 1
        first, last = max(0, pause.number - WINDOW), min(last, pause.number + WINDOW)
        alike = [
            other.length
            for other in recent.pauses
            if other is not pause and first <= other.number <= last and other.length * MUCH >= pause.length
        ]
        usual = pause.told
        if len(alike) * SHARE >= last - first:
            usual = max(usual, int(median(alike or [pause.length])))
        missing = pause.length - usual
        if missing <= GAP or pause.length <= LONGER * usual:
            return
        sure = self.paced and pause.length > MUCH * usual
        self.gap_count += sure
        note(self.gaps if sure else self.doubtful, stream, Kind.GAP, pause.end - missing, missing)


def witnessed(
    doubtful: Iterable[dict[str, Any]],
    pauses: Sequence[Mapping[str, Any]],
    faults: Sequence[tuple[float, int]],
    streams: int,
) -> list[dict[str, Any]]:
    """
    Return the doubtful pauses ("at_s", "step_s", "stream") that another sign shows to be gaps.

    `pauses` are all of them and the gaps, `faults` the places that the continuity counters found: (at_s, stream), and
    `streams` is how many there are of pictures and sound.
    """

    def is_shown(one: dict[str, Any]) -> bool:
        begin_s, end_s, stream = one["at_s"], one["at_s"] + one["step_s"], one["stream"]
        if any(by == stream and begin_s - SIGN_S <= at_s <= end_s + SIGN_S for at_s, by in faults):
            return True
        beside = {
            other["stream"]
            for other in pauses
            if min(end_s, other["at_s"] + other["step_s"]) - max(begin_s, other["at_s"]) > one["step_s"] / 2
        }
        return streams > 1 and len(beside | {stream}) == streams

    return [one for one in doubtful if is_shown(one)]
