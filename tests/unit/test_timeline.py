"""One clock for all streams: wraps, jumps, gaps, and what keeps audio and video together."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.timeline import BACKWARD_JUMP_S, FORWARD_JUMP_S, ShownAt, Timeline

CLOCK = Fraction(1, 90_000)
WRAP = 2**33
FRAME = 3003  # ticks of a frame at 30000/1001 frames per second
SOUND = 1920  # ticks of 1024 samples at 48 kHz
VIDEO, AUDIO = 0, 1

Packet = tuple[int, int]  # stream, dts in ticks


def broadcast(
    seconds: float, *, start: int = 0, audio_late: int = 0, video_off: int = 0, audio_off: int = 0
) -> list[Packet]:
    """
    Return packets of one unbroken piece in the order of a multiplex.

    Audio packets stand `audio_late` ticks later in the file than their time says. The last `video_off` and
    `audio_off` packets are missing.
    """
    video = [(VIDEO, start + n * FRAME) for n in range(int(seconds * 90_000) // FRAME - video_off)]
    audio = [(AUDIO, start + n * SOUND) for n in range(int(seconds * 90_000) // SOUND - audio_off)]
    return sorted(video + audio, key=lambda packet: packet[1] + (audio_late if packet[0] == AUDIO else 0))


def placed(timeline: Timeline, packets: list[Packet]) -> list[int]:
    """Return the dts of each packet on the output timeline."""
    out = []
    for stream, dts in packets:
        _, new = timeline.place(stream, dts, dts, FRAME if stream == VIDEO else SOUND)
        assert new is not None
        out.append(new)
    return out


def of_both(origin_s: Fraction | None = Fraction(0)) -> Timeline:
    timeline = Timeline(origin_s=origin_s)
    timeline.add_stream(VIDEO, CLOCK)
    timeline.add_stream(AUDIO, CLOCK)
    return timeline


def test_an_unbroken_recording_is_only_moved_to_zero() -> None:
    """Whatever the clock says at the start becomes 0; every distance stays, to the tick."""
    start = 5_000_000_000
    packets = broadcast(2, start=start, audio_late=40_000)

    assert placed(of_both(Fraction(start, 90_000)), packets) == [dts - start for _, dts in packets]


def test_without_an_origin_the_first_packet_becomes_zero() -> None:
    timeline = of_both(None)

    assert placed(timeline, [(VIDEO, 900_000), (AUDIO, 900_500)]) == [0, 500]
    assert timeline.origin_s == 10


def test_streams_that_begin_later_keep_their_distance() -> None:
    timeline = of_both(Fraction(10))

    assert placed(timeline, [(VIDEO, 900_000), (AUDIO, 990_000)]) == [0, 90_000]


def test_timestamps_that_are_missing_stay_missing() -> None:
    """A packet without any timestamp changes nothing; one with a pts alone is placed by it."""
    timeline = of_both(Fraction(1))

    assert timeline.place(VIDEO, None, None, FRAME) == (None, None)
    assert timeline.place(VIDEO, 90_000, None, FRAME) == (0, None)
    assert timeline.place(VIDEO, None, 90_000 + FRAME, FRAME) == (None, FRAME)
    assert timeline.place(VIDEO, None, None, 0) == (None, None)
    assert timeline.place(VIDEO, 90_000 + 4 * FRAME, 90_000 + 2 * FRAME, FRAME) == (4 * FRAME, 2 * FRAME)
    assert timeline.discontinuities == []


def test_streams_have_their_own_time_bases() -> None:
    """A jump seen in one time base moves the others by the same seconds in theirs."""
    timeline = Timeline(origin_s=Fraction(0))
    timeline.add_stream(VIDEO, Fraction(1, 1000))
    timeline.add_stream(AUDIO, Fraction(1, 48_000))
    for n in range(25):
        timeline.place(VIDEO, n * 40, n * 40, 40)
        timeline.place(AUDIO, n * 1920, n * 1920, 1920)

    assert timeline.place(VIDEO, 501_000, 501_000, 40) == (1000, 1000)
    assert timeline.place(AUDIO, 501 * 48_000, 501 * 48_000, 1920) == (48_000, 48_000)
    assert [(jump.at_s, jump.step_s) for jump in timeline.discontinuities] == [(1.0, 500.0)]


@pytest.mark.parametrize("late", [0, 9_000, 45_000])
def test_the_clock_wraps_without_a_trace(late: int) -> None:
    """33 bits at 90 kHz end after 26.5 hours: time runs on, exactly, for each stream when it gets there."""
    start = WRAP - 90_000
    straight = broadcast(3, start=start, audio_late=late)
    timeline = of_both(Fraction(start, 90_000))

    assert placed(timeline, [(stream, dts % WRAP) for stream, dts in straight]) == [dts - start for _, dts in straight]
    assert len(timeline.discontinuities) == 1


@pytest.mark.parametrize("jump_s", [-50_000, -3600, -30, -1, 11, 60, 3600, 50_000])
@pytest.mark.parametrize("late", [-30_000, 0, 30_000])
def test_a_jump_of_the_clock_is_closed(jump_s: int, late: int) -> None:
    """
    Where another clock begins, time runs on; late packets of the old clock do not flip it back.

    Each stream jumps once, in any order; only the first one counts as a discontinuity.
    """
    start = 6_000_000_000
    old = broadcast(2, start=start, audio_late=late)
    new = broadcast(2, start=start + (2 + jump_s) * 90_000, audio_late=late)
    # Around the splice the multiplex mixes packets of both clocks: one stream is there before the other.
    ahead = VIDEO if late > 0 else AUDIO
    lagging = [packet for packet in old[-8:] if packet[0] != ahead]
    early = [packet for packet in new[:8] if packet[0] == ahead]
    packets = [packet for packet in old if packet not in lagging] + early + lagging
    packets += [packet for packet in new if packet not in early]
    timeline = of_both(Fraction(start, 90_000))
    out = placed(timeline, packets)

    assert len(timeline.discontinuities) == 1
    for stream, ticks in ((VIDEO, FRAME), (AUDIO, SOUND)):
        mine = [dts for (number, _), dts in zip(packets, out, strict=True) if number == stream]
        steps = {later - earlier for earlier, later in pairwise(mine)}
        assert all(abs(step - ticks) <= FRAME for step in steps), steps


@pytest.mark.parametrize("gap_s", [0.5, 3, 9.9])
def test_a_gap_in_the_recording_stays_a_gap(gap_s: float) -> None:
    """Up to 10 s nothing was received, but the time passed."""
    gap = int(gap_s * 90_000)
    packets = [*broadcast(1), *broadcast(1, start=90_000 + gap)]
    timeline = of_both()

    assert placed(timeline, packets) == [dts for _, dts in packets]
    assert timeline.discontinuities == []


def test_small_steps_back_are_left_to_the_muxer() -> None:
    timeline = of_both()
    timeline.place(VIDEO, 90_000, 90_000, FRAME)

    assert timeline.place(VIDEO, 60_000, 60_000, FRAME) == (60_000, 60_000)
    assert timeline.discontinuities == []


def test_a_wild_timestamp_and_the_way_back_leave_no_trace() -> None:
    """One packet with a broken timestamp is put where it belongs; the rest goes on as if it had been right."""
    packets = broadcast(2)
    at = next(n for n, packet in enumerate(packets) if packet[0] == VIDEO and packet[1] > 90_000)
    wild = [*packets]
    wild[at] = (VIDEO, 5_000_000_000)

    assert placed(of_both(), wild) == [dts for _, dts in packets]


@pytest.mark.parametrize("first", [VIDEO, AUDIO])
@pytest.mark.parametrize("edge_s", [FORWARD_JUMP_S, -BACKWARD_JUMP_S])
def test_streams_agree_on_what_is_a_jump(first: int, edge_s: Fraction) -> None:
    """
    At the edge between gap and jump one stream's step is just below, the other's just beyond: what the first one
    decided binds the other, or they would part by the whole step.
    """
    second = 1 - first
    for near, far in ((Fraction(99, 100), Fraction(101, 100)), (Fraction(101, 100), Fraction(99, 100))):
        timeline = of_both()
        timeline.place(VIDEO, 90_000, 90_000, 0)
        timeline.place(AUDIO, 90_000, 90_000, 0)
        _, one = timeline.place(first, None, 90_000 + round(edge_s * near * 90_000), 0)
        _, other = timeline.place(second, None, 90_000 + round(edge_s * far * 90_000), 0)

        assert one is not None and other is not None
        assert abs((other - one) - round(edge_s * (far - near) * 90_000)) <= 1


@settings(deadline=None)
@given(
    jumps_s=st.lists(st.floats(-40, 40).filter(lambda jump: abs(jump) > 0.02), min_size=1, max_size=3),
    start=st.sampled_from([0, 8_000_000, WRAP - 100_000, WRAP - 300_000]),
    audio_late=st.integers(-40_000, 40_000),
    video_off=st.integers(0, 3),
    audio_off=st.integers(0, 5),
)
def test_audio_and_video_stay_together(
    jumps_s: list[float], start: int, audio_late: int, video_off: int, audio_off: int
) -> None:
    """Within each piece of the source, audio and video are as far apart in the output as they were, to 20 ms."""
    start += 4_000_000 if start < 1_000_000_000 else 0  # a clock is never negative
    pieces = []
    for jump_s in [0.0, *jumps_s]:
        start += round(jump_s * 90_000)
        pieces.append(
            broadcast(3, start=start, audio_late=audio_late, video_off=video_off, audio_off=audio_off),
        )
        start += 270_000
    timeline = of_both(Fraction(pieces[0][0][1], 90_000))
    for piece in pieces:
        out = placed(timeline, [(stream, dts % WRAP) for stream, dts in piece])
        moved: dict[int, list[int]] = {VIDEO: [], AUDIO: []}
        for (stream, dts), new in zip(piece, out, strict=True):
            moved[stream].append(new - dts)

        # The last packet of each shows where the stream went after it had crossed the splice.
        assert abs(moved[VIDEO][-1] - moved[AUDIO][-1]) <= 0.02 * 90_000, (moved[VIDEO][-1], moved[AUDIO][-1])
        assert max(moved[VIDEO]) - min(moved[VIDEO]) <= 1, "video is moved as one"
        assert max(moved[AUDIO]) - min(moved[AUDIO]) <= 1, "audio is moved as one"


def test_pictures_that_were_reordered_at_a_low_rate_are_no_jump() -> None:
    """Matroska has no dts: at 5 pictures a second the third one's time is most of a second before the second one's."""
    timeline = Timeline(origin_s=Fraction(0))
    timeline.add_stream(VIDEO, Fraction(1, 1000))
    packets = [(0, None), (1800, None), (600, 0), (200, 200), (400, 400), (1200, 600)]

    assert [timeline.place(VIDEO, pts, dts, 200) for pts, dts in packets] == packets
    assert timeline.discontinuities == []


def test_times_without_packets_are_noted() -> None:
    """Each stream's own, from one second on; a jump of the clock is none."""
    timeline = of_both()
    placed(timeline, [*broadcast(1), *broadcast(1, start=4 * 90_000), *broadcast(1, start=5_000_000)])

    assert [(gap.stream, round(gap.at_s), round(gap.step_s)) for gap in timeline.gaps] == [(VIDEO, 1, 3), (AUDIO, 1, 3)]
    assert len(timeline.discontinuities) == 1


@pytest.mark.parametrize(
    ("decoded", "expected"),
    [
        ([(0, None), (1, None), (2, None)], [0, 1, 2]),
        ([(0, 0), (None, 1), (2, 2)], [0, 1, 2]),
        ([(0, 5), (1, 4), (2, 3)], [0, 1, 2]),
        ([(1, 2), (3, 3), (4, 4), (2, 5), (6, 6), (5, None)], [1, 3, 4, 5, 6, None]),
        ([(None, None), (None, None)], [None, None]),
        ([(3, None), (1, None), (2, None)], [3, 1, 2]),
    ],
)
def test_pictures_are_shown_by_the_clock_that_is_right(
    decoded: list[tuple[int | None, int | None]], expected: list[int | None]
) -> None:
    """(pts, dts) as decoded → when it is shown; the fourth row is AVI's."""
    shown_at = ShownAt()

    assert expected == [shown_at.place(pts, dts) for pts, dts in decoded]
