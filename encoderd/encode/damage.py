"""
What is damaged or missing in a recording: counted by kind, timed, and as one share of its time.

**The damage ratio** is the share (0…1) of the recording's time in which the picture or the main sound is damaged or
missing. In each stretch of time (a second, longer in long recordings) it is the larger one of two shares:

- picture: what is missing (gaps), and one picture's time for each picture that is damaged, lost or refused;
- main sound: what is missing or was filled with silence, and one packet's time for each packet that was not usable.

The same fault shows at several places (a lost transport packet, the corrupt packet it was part of, the picture that
was decoded from it): of these the one with the most counts. What a decoder paints over without a word, and pictures
that are built upon damaged ones, are not in it; other streams are counted, but have no part in the ratio. Nor has what
is left of the first and last picture and sound, where a recorder began and stopped in the middle of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import Lock


class Kind(StrEnum):
    """What went wrong. The amounts are places, packets or pictures: `UNITS` says which."""

    LOST = "lost"  #: the continuity counter jumped: transport packets are missing here
    ERROR = "error"  #: the receiver marked a transport packet as damaged (ISO/IEC 13818-1, 2.4.3.2)
    SYNC = "sync"  #: bytes that are no transport packets
    SCRAMBLED = "scrambled"  #: encrypted, so nobody can decode it
    CORRUPT_PACKET = "corrupt_packet"  #: incomplete, says the demuxer
    CORRUPT_PICTURE = "corrupt_picture"  #: says the decoder
    UNDECODABLE = "undecodable"  #: the decoder took nothing of it
    REFUSED = "refused"  #: a picture of a form that no filter takes
    DROPPED = "dropped"  #: came too late for its place, or the muxer would not take it
    GAP = "gap"  #: no packets for a while; `span_s` says how long
    FILLED = "filled"  #: silence in place of sound; `span_s` says how long


#: One and many of each kind, as people read it.
UNITS: Mapping[Kind, tuple[str, str]] = {
    Kind.LOST: ("continuity error", "continuity errors"),
    Kind.ERROR: ("transport error", "transport errors"),
    Kind.SYNC: ("loss of sync", "losses of sync"),
    Kind.SCRAMBLED: ("scrambled packet", "scrambled packets"),
    Kind.CORRUPT_PACKET: ("corrupt packet", "corrupt packets"),
    Kind.CORRUPT_PICTURE: ("picture damaged", "pictures damaged"),
    Kind.UNDECODABLE: ("packet not decodable", "packets not decodable"),
    Kind.REFUSED: ("picture refused", "pictures refused"),
    Kind.DROPPED: ("dropped", "dropped"),
    Kind.GAP: ("gap", "gaps"),
    Kind.FILLED: ("piece of silence", "pieces of silence"),
}
#: Kinds that tell of the same faults, at three places of the way; of the first each event counts, not each packet.
_SAME_FAULTS = (
    frozenset({Kind.LOST, Kind.ERROR, Kind.SYNC, Kind.SCRAMBLED}),
    frozenset({Kind.CORRUPT_PACKET}),
    frozenset({Kind.CORRUPT_PICTURE, Kind.UNDECODABLE, Kind.REFUSED, Kind.DROPPED}),
)
#: Kinds that take a span of time; a gap may have been filled.
_SPANS = (frozenset({Kind.GAP}), frozenset({Kind.FILLED}))
_GROUPS = (*_SAME_FAULTS, *_SPANS)

#: Stretches of time in a series at most, and events that are kept whole. All are counted.
MOST_BUCKETS = 240
MOST_EVENTS = 200
#: The two streams that the ratio is about, by their place in the output, and what is none of its streams. The main
#: sound is the first track that is heard.
PICTURE, MAIN_SOUND, OTHER = 0, 1, -1
#: A recording's clock is believed up to here; what is beyond counts in the last stretch.
_LONGEST_S = 14 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    One mishap: when on the output's timeline in seconds, what, on which stream of the output (-1: none of them) and PID
    (-1: not told), how much, and how long for those that last.
    """

    at_s: float
    kind: Kind
    stream: int
    pid: int
    amount: int
    span_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """
    All events of one kind: how many, the sum of their amounts, the seconds they took from the stream that lost most by
    them, the first and last time, the PIDs.
    """

    events: int
    amount: int
    span_s: float
    first_s: float
    last_s: float
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """
    The whole of it. `ratio` (0…1) is defined above; `text` is one line for people, "" when there is nothing.

    `series` is the share (0…1) damaged in each stretch of `bucket_s` seconds from the start; `events` the first ones,
    in the order of time; `by_pid` what the continuity counters tell of each PID (packets, lost, errors,
    scrambled).
    """

    ratio: float
    text: str
    by_kind: dict[Kind, Tally]
    by_pid: dict[int, dict[str, int]]
    bucket_s: float
    series: tuple[float, ...]
    events: tuple[Event, ...]
    events_left_out: int


@dataclass(slots=True)
class _Counted:
    events: int = 0
    amount: int = 0
    spans_s: dict[int, float] = field(default_factory=dict)  # by stream
    first_s: float = 0.0
    last_s: float = 0.0
    pids: set[int] = field(default_factory=set)


class DamageLog:
    """
    Collects mishaps in any order, in bounded memory. `picture_s` and `sound_s` are how long one picture and one packet
    of the main sound last, in seconds.
    """

    def __init__(self, picture_s: float, sound_s: float) -> None:
        self._picture_s, self._sound_s = picture_s, sound_s
        self.bucket_s = 1.0
        #: (stream, group) → seconds damaged in each bucket
        self._damaged: dict[tuple[int, int], list[float]] = {}
        self._kinds: dict[Kind, _Counted] = {}
        self._events: list[Event] = []
        self._count = 0
        self._lock = Lock()  # pictures and sound are judged in threads of their own

    def note(
        self, kind: Kind, at_s: float, stream: int = OTHER, *, pid: int = -1, amount: int = 1, span_s: float = 0.0
    ) -> None:
        """
        Count one mishap. `at_s` is on the output's timeline; before its start counts as at it.

        `stream` is the place in the output (0 is the video, then the sound). GAP and FILLED want `span_s`.
        """
        at_s, span_s = min(max(at_s, 0.0), _LONGEST_S), min(max(span_s, 0.0), _LONGEST_S)
        with self._lock:
            self._note(kind, at_s, stream, pid, amount, span_s)

    def _note(self, kind: Kind, at_s: float, stream: int, pid: int, amount: int, span_s: float) -> None:
        counted = self._kinds.setdefault(kind, _Counted(first_s=at_s))
        counted.events += 1
        counted.amount += amount
        if span_s:
            counted.spans_s[stream] = counted.spans_s.get(stream, 0.0) + span_s
        counted.first_s, counted.last_s = min(counted.first_s, at_s), max(counted.last_s, at_s)
        if pid >= 0 and len(counted.pids) < 8192:  # PIDs have 13 bits
            counted.pids.add(pid)
        self._count += 1
        if len(self._events) < MOST_EVENTS:
            self._events.append(Event(at_s=at_s, kind=kind, stream=stream, pid=pid, amount=amount, span_s=span_s))
        if stream != OTHER:
            self._spread(kind, stream, at_s, amount, span_s)

    def series_of(self, duration_s: float, main_sound: int = MAIN_SOUND) -> list[float]:
        """Return the damaged seconds of each bucket from 0 to `duration_s`, none of them longer than it is."""
        self._reach(duration_s)
        count = max(1, -(-int(duration_s * 1000) // int(self.bucket_s * 1000)))
        series = []
        for number in range(count):
            length_s = min(self.bucket_s, max(0.0, duration_s - number * self.bucket_s))
            worst_s = max(self._share_of(PICTURE, number), self._share_of(main_sound, number))
            series.append(min(length_s, worst_s))
        return series

    def assess(
        self,
        duration_s: float,
        by_pid: Mapping[int, Mapping[str, int]] | None = None,
        main_sound: int = MAIN_SOUND,
    ) -> Damage:
        """
        Return the judgement's figures for a recording of `duration_s` seconds, as it went into the output, whose main
        sound is the stream `main_sound`.
        """
        series = self.series_of(duration_s, main_sound)
        kinds = {
            kind: Tally(
                events=one.events,
                amount=one.amount,
                span_s=round(max(one.spans_s.values(), default=0.0), 3),
                first_s=round(one.first_s, 3),
                last_s=round(one.last_s, 3),
                pids=tuple(sorted(one.pids)),
            )
            for kind, one in sorted(self._kinds.items(), key=lambda item: list(Kind).index(item[0]))
        }
        counted = {pid: dict(counts) for pid, counts in sorted((by_pid or {}).items())}
        _complete(kinds, counted)
        return Damage(
            ratio=min(1.0, sum(series) / duration_s) if duration_s > 0 else 0.0,
            text=_text(kinds),
            by_kind=kinds,
            by_pid=counted,
            bucket_s=self.bucket_s,
            series=tuple(
                round(damaged_s / length_s, 4) if (length_s := min(self.bucket_s, duration_s - at * self.bucket_s)) > 0
                else 0.0
                for at, damaged_s in enumerate(series)
            ),
            events=tuple(sorted(self._events, key=lambda event: event.at_s)),
            events_left_out=self._count - len(self._events),
        )  # fmt: skip

    def _share_of(self, stream: int, number: int) -> float:
        """Damaged seconds of a stream in one bucket: of the kinds that tell of the same, the one that tells most."""

        def most(groups: Iterable[int]) -> float:
            found = (self._damaged.get((stream, group), ()) for group in groups)
            return max((buckets[number] for buckets in found if number < len(buckets)), default=0.0)

        faults, spans = most(range(len(_SAME_FAULTS))), most(range(len(_SAME_FAULTS), len(_GROUPS)))
        # What a damaged packet of sound leaves behind is filled with silence: the same once more.
        return faults + spans if stream == PICTURE else max(faults, spans)

    def _spread(self, kind: Kind, stream: int, at_s: float, amount: int, span_s: float) -> None:
        group = next(number for number, kinds in enumerate(_GROUPS) if kind in kinds)
        lasting = group >= len(_SAME_FAULTS)
        if not lasting:
            span_s = (self._picture_s if stream == PICTURE else self._sound_s) * (1 if group == 0 else amount)
        self._reach(at_s + span_s)
        buckets = self._damaged.setdefault((stream, group), [])
        first = int(at_s / self.bucket_s)
        last = int((at_s + span_s) / self.bucket_s) if lasting else first
        buckets += [0.0] * (last + 1 - len(buckets))
        for number in range(first, last + 1):
            inside_s = span_s
            if lasting:
                begin_s, end_s = number * self.bucket_s, (number + 1) * self.bucket_s
                inside_s = min(end_s, at_s + span_s) - max(begin_s, at_s)
            buckets[number] += inside_s

    def _reach(self, at_s: float) -> None:
        """Make the buckets long enough that MOST_BUCKETS of them reach `at_s`: pairs are put together."""
        while at_s >= self.bucket_s * MOST_BUCKETS:
            self.bucket_s *= 2
            for key, buckets in self._damaged.items():
                buckets += [0.0] * (len(buckets) % 2)
                self._damaged[key] = [one + other for one, other in zip(buckets[::2], buckets[1::2], strict=True)]


def _complete(kinds: dict[Kind, Tally], by_pid: Mapping[int, Mapping[str, int]]) -> None:
    """The counters know more than the events, of which a recording without reception has too many to keep."""
    for kind, name in ((Kind.LOST, "lost"), (Kind.ERROR, "errors"), (Kind.SCRAMBLED, "scrambled")):
        pids = tuple(pid for pid, counts in by_pid.items() if counts.get(name, 0))
        amount = sum(counts.get(name, 0) for counts in by_pid.values())
        known = kinds.get(kind, Tally(events=0, amount=0, span_s=0.0, first_s=0.0, last_s=0.0, pids=()))
        if amount > known.amount:
            kinds[kind] = replace(known, amount=amount, pids=pids)


def _text(kinds: Mapping[Kind, Tally]) -> str:
    parts = []
    for kind, tally in sorted(kinds.items(), key=lambda item: list(Kind).index(item[0])):
        lasting = any(kind in kinds for kinds in _SPANS)
        amount = tally.events if lasting else tally.amount
        part = f"{amount} {UNITS[kind][amount != 1]}"
        if len(tally.pids) > 1:
            part += f" on {len(tally.pids)} PIDs"
        if lasting:
            taken = f" that take up to {tally.span_s:.1f} s from a stream"
            part += f" of {tally.span_s:.1f} s" if amount == 1 else taken
        if tally.events:
            part += f" at {clock(tally.first_s)}"
        if int(tally.last_s) != int(tally.first_s):
            part += f"–{clock(tally.last_s)}"
        parts.append(part)
    return ", ".join(parts)


def clock(at_s: float) -> str:
    """Return a place in the recording as h:mm:ss, with two digits for the hours."""
    whole = int(at_s)
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
