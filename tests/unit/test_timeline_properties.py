"""
The timeline against broadcasts whose truth is known.

A broadcast is made as it was sent, then distorted as recordings are: its clock wraps and jumps, signals fail, packets
and timestamps are lost, repeated or wrong, streams start late and end early. Whatever is composed of that, what was
simultaneous stays simultaneous.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.discontinuities import MOST_NOTED
from encoderd.encode.timeline import Timeline

CLOCK = Fraction(1, 90_000)
SECOND = 90_000
WRAP = 2**33
ALIKE = SECOND // 50  # 20 ms: what viewers do not notice
LOOK_AHEAD = 64  # packets
PICTURES = 24  # between two mishaps: a pause among fewer is usual

Step = tuple[int, int]  # of the clock, and of the time without packets before it: in ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A packet: when it was truly sent and shown, in which piece between two steps, and what its timestamps say."""

    stream: int
    piece: int
    true: int  # dts, gaps included, jumps not
    reorder: int  # pts - dts
    duration: int
    content: int  # true, without gaps
    pts: int | None
    dts: int | None
    wrong: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Recording:
    made: str
    packets: list[Sent]
    origin: int
    durations: list[int]
    true_length: int
    jumps: int
    outliers: int

    def __repr__(self) -> str:
        return self.made


def sent(stream: int, duration: int, count: int, b_frames: int, skipped: range) -> list[Sent]:
    """Return a stream as it was encoded: `b_frames` pictures overtake each reference; `skipped` ones are not there."""
    group = b_frames + 1
    packets = []
    for n in range(count):
        shown = n
        if b_frames and n:
            position = (n - 1) % group
            shown = n + b_frames if position == 0 else n - 1
        reorder = (shown - n + (1 if b_frames else 0)) * duration
        packets.append(
            Sent(stream=stream, piece=0, true=0, reorder=reorder, duration=duration, content=n * duration, pts=0, dts=0)
        )
    return [packet for n, packet in enumerate(packets) if n in skipped]


def clocked(packets: list[Sent], start: int, cuts: list[int], steps: list[Step]) -> list[Sent]:
    """Give the packets their times: each cut of the content is followed by a gap, and by another clock."""
    out = []
    for packet in packets:
        piece = sum(packet.content >= cut for cut in cuts)
        true = start + packet.content + sum(gap for _, gap in steps[:piece])
        dts = true + sum(jump for jump, _ in steps[:piece])
        timed = replace(packet, piece=piece, true=true, dts=dts % WRAP, pts=(dts + packet.reorder) % WRAP)
        out.append(timed)
    return out


def damaged(packets: list[Sent], random: Random, how_often: float) -> list[Sent]:
    """Lose, repeat and spoil packets of one stream, none of them near another one, and none at its ends."""
    out = []
    next_at = 5
    for n, packet in enumerate(packets):
        at_cut = any(packets[m].piece != packet.piece for m in range(max(0, n - 4), min(len(packets), n + 5)))
        if n < next_at or n > len(packets) - 6 or random.random() > how_often or at_cut:
            out.append(packet)
            continue
        next_at = n + 6
        kind = random.choice(["lost", "again", "none", "no dts", "no pts", "wrong", "wrong", "wrong pts", "wrong dts"])
        off = random.choice([-3600, -5, -2, 2, 5, 61, 3600]) * SECOND + random.randrange(SECOND)
        assert packet.dts is not None and packet.pts is not None
        match kind:
            case "again":
                out += [packet, replace(packet, again=True)]
            case "none":
                out.append(replace(packet, pts=None, dts=None))
            case "no dts":
                out.append(replace(packet, pts=packet.dts, dts=None))
            case "no pts":
                out.append(replace(packet, pts=None))
            case "wrong":
                dts, pts = (packet.dts + off) % WRAP, (packet.pts + off) % WRAP
                out.append(replace(packet, dts=dts, pts=pts, wrong=True))
            case "wrong pts":
                out.append(replace(packet, pts=(packet.pts + off) % WRAP, wrong=True))
            case "wrong dts":
                out.append(replace(packet, dts=(packet.dts + off) % WRAP, wrong=True))
    return out


forward = st.integers(121, 40_000)
backward = st.integers(1, 40_000)
ticks = st.integers(0, SECOND - 1)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """A jump or a gap. A jump forward of less than two minutes is a gap by its timestamps."""
    match draw(st.sampled_from(["forward", "backward", "gap", "short gap"])):
        case "forward":
            return draw(forward) * SECOND + draw(ticks), 0
        case "backward":
            return -draw(backward) * SECOND - draw(ticks), 0
        case "gap":
            return 0, draw(st.integers(1, 118)) * SECOND + draw(ticks)
        case _:
            return 0, draw(ticks)


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    seconds = draw(st.integers(4, 12))
    frame = draw(st.sampled_from([3600, 3003]))
    durations = [frame, 1920, *draw(st.sampled_from([[], [2160]]))]
    cuts = sorted(draw(st.sets(st.integers(2, seconds - 1), max_size=3)))
    stepped = [draw(steps()) for _ in cuts]
    cuts = [cut * SECOND + draw(st.integers(-20_000, 20_000)) for cut in cuts]
    start = draw(st.sampled_from([0, 10 * SECOND, 2**32, WRAP - seconds * SECOND // 2, WRAP - 1]))
    start += draw(st.integers(0, 3 * SECOND))
    random = Random(draw(st.integers(0, 2**32)))
    how_often = draw(st.sampled_from([0.0, 0.02, 0.2]))
    packets: list[tuple[int, Sent]] = []
    made = []
    for stream, duration in enumerate(durations):
        count = seconds * SECOND // duration
        late = draw(st.sampled_from([0, 0, count // 3])) if stream else 0
        early = draw(st.sampled_from([0, 0, count // 4])) if stream else 0
        whole = sent(stream, duration, count, draw(st.integers(0, 3)) if not stream else 0, range(late, count - early))
        delay = draw(st.integers(0, SECOND)) if stream else 0
        made.append((late, early, delay))
        mine = damaged(clocked(whole, start, cuts, stepped), random, how_often)
        packets += [(packet.content + delay, packet) for packet in mine]
    ordered = [packet for _, packet in sorted(packets, key=lambda pair: pair[0])]
    ends = [packet.true + packet.duration for packet in ordered]
    return Recording(
        made=f"{cuts} {stepped} from {start}, spoiled {how_often}: {made}",
        packets=ordered,
        origin=start % WRAP,
        durations=durations,
        true_length=max(ends) - start,
        jumps=sum(jump != 0 for jump, _ in stepped),
        outliers=sum(packet.wrong for packet in ordered),
    )


def of(recording: Recording) -> Timeline:
    timeline = Timeline(origin_s=recording.origin * CLOCK)
    for stream in range(len(recording.durations)):
        timeline.add_stream(stream, CLOCK)
    return timeline


Placed = list[tuple[Sent, int | None, int | None]]


def placed(timeline: Timeline, packets: list[Sent], *, ahead: int = LOOK_AHEAD) -> Placed:
    """Place the packets as the reader does: each one when `ahead` more were announced."""
    out: Placed = []
    held: deque[Sent] = deque()

    def place() -> None:
        packet = held.popleft()
        out.append((packet, *timeline.place(packet.stream, packet.pts, packet.dts, packet.duration)))

    for packet in packets:
        if ahead:
            timeline.announce(packet.stream, packet.pts, packet.dts)
        held.append(packet)
        if len(held) > ahead:
            place()
    while held:
        place()
    return out


def first_of_pieces(packets: Placed) -> set[int]:
    """Return which packets (by identity) are the first of their stream in a piece."""
    seen: set[tuple[int, int]] = set()
    found = set()
    for packet, _, _ in packets:
        if (packet.stream, packet.piece) not in seen and packet.dts is not None:
            seen.add((packet.stream, packet.piece))
            found.add(id(packet))
    return found


@settings(deadline=None, derandomize=True, max_examples=80)
@given(recording=recordings())
@pytest.mark.parametrize("ahead", [LOOK_AHEAD, 0])
def test_what_was_simultaneous_stays_simultaneous(recording: Recording, ahead: int) -> None:
    """
    In each piece of the recording all packets of all streams are moved by the same time, wrong timestamps excepted.

    Where nothing was announced the first packet behind a gap may stand before the gap.
    """
    timeline = of(recording)
    out = placed(timeline, recording.packets, ahead=ahead)
    excused = set() if ahead else first_of_pieces(out)
    moved: dict[int, set[int]] = {}
    for packet, pts, dts in out:
        if packet.dts is not None and not packet.wrong and id(packet) not in excused:
            assert dts is not None
            moved.setdefault(packet.piece, set()).add(dts - packet.true)
            assert pts is None or pts == dts + packet.reorder
    apart = {piece: max(shifts) - min(shifts) for piece, shifts in moved.items()}

    assert {piece: most for piece, most in apart.items() if most > 2} == {}
    assert timeline.largest_skew_s <= 0.02


@settings(deadline=None, derandomize=True, max_examples=60)
@given(recording=recordings())
def test_gaps_are_kept_and_jumps_are_closed(recording: Recording) -> None:
    """The output lasts as long as was recorded, gaps included, and only the jumps are listed."""
    timeline = of(recording)
    out = placed(timeline, recording.packets)
    ends = [dts + packet.duration for packet, _, dts in out if dts is not None]

    assert abs(max(ends) - recording.true_length) <= SECOND // 20
    assert recording.jumps == sum(jump.kind != "wrap" for jump in timeline.discontinuities)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(recording=recordings(), ahead=st.sampled_from([LOOK_AHEAD, 0]))
def test_time_never_runs_back(recording: Recording, ahead: int) -> None:
    """Each stream's dts rises, but for packets that came twice; a pts is no further from its dts than in the source."""
    out = placed(of(recording), recording.packets, ahead=ahead)
    for stream in range(len(recording.durations)):
        mine = [(packet, dts) for packet, _, dts in out if packet.stream == stream and dts is not None]

        assert [now for (_, before), (packet, now) in pairwise(mine) if now <= before and not packet.again] == []
    reordered = max(packet.reorder for packet in recording.packets)

    assert all(0 <= pts - dts <= reordered for _, pts, dts in out if pts is not None and dts is not None)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(recording=recordings())
def test_one_wrong_timestamp_moves_one_packet_at_most(recording: Recording) -> None:
    """It is counted, and its packet goes where it was expected, or has no pts."""
    timeline = of(recording)
    out = placed(timeline, recording.packets)
    moved = {packet.piece: dts - packet.true for packet, _, dts in out if not packet.wrong and dts is not None}
    for packet, pts, dts in out:
        if packet.wrong and packet.piece in moved:
            assert dts is not None
            assert abs(dts - packet.true - moved[packet.piece]) <= SECOND // 20
            assert pts is None or abs(pts - dts - packet.reorder) <= SECOND // 20

    assert recording.outliers == timeline.outlier_count


@settings(deadline=None, derandomize=True, max_examples=30)
@given(recording=recordings())
def test_the_same_packets_are_placed_the_same_way(recording: Recording) -> None:
    assert placed(of(recording), recording.packets) == placed(of(recording), recording.packets)


any_ticks = st.none() | st.integers(-(2**62), 2**62) | st.integers(-5 * SECOND, 5 * SECOND) | st.integers(0, WRAP)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    packets=st.lists(st.tuples(st.integers(0, 2), any_ticks, any_ticks, any_ticks), max_size=60),
    origin_s=st.none() | st.fractions(-(2**31), 2**31, max_denominator=90_000),
    ahead=st.integers(0, 5),
)
def test_no_timestamp_is_too_wild(
    packets: list[tuple[int, int | None, int | None, int | None]], origin_s: Fraction | None, ahead: int
) -> None:
    """Nothing raises, and what comes out is near the beginning and fits into 64 bits."""
    timeline = Timeline(origin_s=origin_s)
    for stream, time_base in enumerate([CLOCK, Fraction(1, 44_100), Fraction(1001, 27_000_000)]):
        timeline.add_stream(stream, time_base)
    sent_packets = [
        Sent(stream=stream, piece=0, true=0, reorder=0, duration=duration or 0, content=0, pts=pts, dts=dts)
        for stream, pts, dts, duration in packets
    ]
    out = placed(timeline, sent_packets, ahead=ahead)

    assert all((packet.pts is None) <= (pts is None) for packet, pts, _ in out)
    assert all((packet.dts is None) == (dts is None) for packet, _, dts in out)
    assert max((abs(ticks) for _, *times in out for ticks in times if ticks is not None), default=0) < 2**40
    assert timeline.largest_skew_s >= 0
    assert timeline.discontinuity_count <= len(packets)


def test_a_recording_that_is_all_damage_is_placed_in_bounded_memory() -> None:
    """Thousands of jumps, gaps and wrong timestamps: all are counted, the first ones listed."""
    timeline = Timeline(origin_s=Fraction(0))
    timeline.add_stream(0, CLOCK)
    clock = 0
    for _ in range(3 * MOST_NOTED):
        for kind in ("jump", "gap", "wrong"):
            clock += {"jump": 3600 * SECOND, "gap": 5 * SECOND, "wrong": 0}[kind]
            off = 1000 * SECOND if kind == "wrong" else 0
            for n in range(PICTURES):
                dts = clock + n * 3600 + (0 if n else off)
                timeline.place(0, dts % WRAP, dts % WRAP, 3600)
            clock += PICTURES * 3600
    timeline.finish()
    pauses = timeline.pauses

    assert timeline.discontinuity_count == pauses.gap_count == timeline.outlier_count == 3 * MOST_NOTED
    for noted in (timeline.discontinuities, pauses.gaps, timeline.outliers):
        assert len(noted) == MOST_NOTED
