"""One clock for all streams: wraps, jumps, gaps, and what keeps audio and video together."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.discontinuities import Discontinuity, Kind
from encoderd.encode.epochs import FLICKS
from encoderd.encode.pauses import Pauses
from encoderd.encode.timeline import BACKWARD_JUMP, MOST_GAP, Timeline

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


def placed(timeline: Timeline, packets: list[Packet], *, announced: bool = True) -> list[int]:
    """Announce all packets, and return the dts of each one on the output timeline."""
    out = []
    for stream, dts in packets if announced else []:
        timeline.announce(stream, dts, dts)
    for stream, dts in packets:
        _, new = timeline.place(stream, dts, dts, FRAME if stream == VIDEO else SOUND)
        assert new is not None
        out.append(new)
    return out


def of_both(origin_s: Fraction | None = Fraction(0), *, counted: bool = False) -> Timeline:
    timeline = Timeline(origin_s=origin_s, counted=counted)
    timeline.add_stream(VIDEO, CLOCK)
    timeline.add_stream(AUDIO, CLOCK)
    return timeline


def gaps_of(timeline: Timeline) -> list[Discontinuity]:
    timeline.finish()
    return timeline.pauses.gaps


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

    for n in (0, 1):
        video, audio = 501_000 + n * 40, 501 * 48_000 + n * 1920
        assert timeline.place(VIDEO, video, video, 40) == (1000 + n * 40, 1000 + n * 40)
        assert timeline.place(AUDIO, audio, audio, 1920) == (48_000 + n * 1920, 48_000 + n * 1920)

    assert [(jump.at_s, jump.step_s) for jump in timeline.discontinuities] == [(1.0, 500.0)]


@pytest.mark.parametrize("late", [0, 9_000, 45_000])
def test_the_clock_wraps_without_a_trace(late: int) -> None:
    """33 bits at 90 kHz end after 26.5 hours: time runs on, exactly, for each stream when it gets there."""
    start = WRAP - 90_000
    straight = broadcast(3, start=start, audio_late=late)
    timeline = of_both(Fraction(start, 90_000))

    assert placed(timeline, [(stream, dts % WRAP) for stream, dts in straight]) == [dts - start for _, dts in straight]
    assert len(timeline.discontinuities) == 1


@pytest.mark.parametrize("jump_s", [-50_000, -3600, -30, -1, 121, 300, 3600, 50_000])
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


@pytest.mark.parametrize("gap_s", [0.5, 3, 9.9, 60, 119])
def test_a_gap_in_the_recording_stays_a_gap(gap_s: float) -> None:
    """Up to two minutes nothing was received, but the time passed."""
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
@pytest.mark.parametrize("edge_s", [Fraction(MOST_GAP, FLICKS), -Fraction(BACKWARD_JUMP, FLICKS)])
def test_streams_agree_on_what_is_a_jump(first: int, edge_s: Fraction) -> None:
    """
    At the edge between gap and jump one stream's step is just below, the other's just beyond: what the first one
    decided binds the other, or they would part by the whole step.
    """
    second = 1 - first
    for near, far in ((Fraction(99, 100), Fraction(101, 100)), (Fraction(101, 100), Fraction(99, 100))):
        steps_s = {first: edge_s * near, second: edge_s * far}
        lasting = {VIDEO: FRAME, AUDIO: SOUND}
        starts = {stream: 90_000 + lasting[stream] + round(step_s * 90_000) for stream, step_s in steps_s.items()}
        packets = [(VIDEO, 90_000), (AUDIO, 90_000), *starts.items()]
        packets += [(stream, start + SOUND) for stream, start in starts.items()]
        out = dict(zip(packets, placed(of_both(), packets), strict=True))
        distance = out[second, starts[second]] - out[first, starts[first]]

        assert abs(distance - (starts[second] - starts[first])) <= 1


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
    placed(timeline, [*broadcast(1), *broadcast(1, start=4 * 90_000), *broadcast(1, start=50_000_000)])

    assert [(gap.stream, round(gap.at_s), round(gap.step_s)) for gap in gaps_of(timeline)] == [
        (VIDEO, 1, 3),
        (AUDIO, 1, 3),
    ]
    assert [(jump.kind, round(jump.at_s)) for jump in timeline.discontinuities] == [(Kind.FORWARD, 5)]


@pytest.mark.parametrize("off_s", [-3600, -5, -1, 0.5, 5, 60, 3600])
@pytest.mark.parametrize("announced", [True, False])
def test_one_wrong_timestamp_is_replaced(off_s: float, announced: bool) -> None:
    """By the expected time of its packet; nothing after it moves. Unannounced, less than a second is believed."""
    packets = broadcast(3)
    at = next(n for n, packet in enumerate(packets) if packet[0] == VIDEO and packet[1] > 90_000)
    wrong = [*packets]
    wrong[at] = (VIDEO, packets[at][1] + round(off_s * 90_000))
    timeline = of_both()
    out = placed(timeline, wrong, announced=announced)
    if off_s == 0.5 and not announced:
        out[at] -= 45_000

    assert out == [dts for _, dts in packets]
    assert timeline.discontinuities == gaps_of(timeline) == []


def test_a_pts_that_cannot_be_true_is_none() -> None:
    """The dts tells where the packet belongs; a dts that cannot be true is replaced, and the pts stays."""
    timeline = of_both()
    timeline.place(VIDEO, 2 * FRAME, 0, FRAME)

    assert timeline.place(VIDEO, 900_000, FRAME, FRAME) == (None, FRAME)
    assert timeline.place(VIDEO, 4 * FRAME, 900_000, FRAME) == (4 * FRAME, 2 * FRAME)
    assert timeline.place(VIDEO, 3 * FRAME, 3 * FRAME, FRAME) == (3 * FRAME, 3 * FRAME)
    assert timeline.outlier_count == len(timeline.outliers) == 2


def test_pictures_are_reordered_across_the_wrap() -> None:
    """A pts begins again before its dts does."""
    timeline = Timeline(origin_s=Fraction(WRAP - 3 * FRAME, 90_000))
    timeline.add_stream(VIDEO, CLOCK)
    stamps = [(1, 0), (4, 1), (2, 2), (3, 3), (7, 4), (5, 5), (6, 6)]
    raw = [((pts - 3) * FRAME % WRAP, (dts - 3) * FRAME % WRAP) for pts, dts in stamps]

    assert [(pts * FRAME, dts * FRAME) for pts, dts in stamps] == [
        timeline.place(VIDEO, pts, dts, FRAME) for pts, dts in raw
    ]


def test_a_clock_wraps_more_than_once() -> None:
    """Each 26.5 hours, one stream before the other; a packet each 100 seconds is enough."""
    timeline = Timeline(origin_s=Fraction(0))
    timeline.add_stream(VIDEO, CLOCK)
    timeline.add_stream(AUDIO, CLOCK)
    packets = [(stream, n * 100 * 90_000 + late) for n in range(2100) for stream, late in ((VIDEO, 0), (AUDIO, 40_000))]

    out = placed(timeline, [(stream, dts % WRAP) for stream, dts in packets])

    assert out[:-2] == [dts for _, dts in packets[:-2]]  # nothing follows that tells what the last ones are
    assert [(jump.kind, jump.stream) for jump in timeline.discontinuities] == [(Kind.WRAP, VIDEO)] * 2


@pytest.mark.parametrize("jump_s", [-3600, -3, 300])
def test_a_stream_that_appears_later_enters_the_epoch_of_now(jump_s: int) -> None:
    """A new PID carries the track on: it may be declared when it comes, and lands beside what comes with it."""
    timeline = of_both()
    placed(timeline, broadcast(2))
    start = round((2 + jump_s) * 90_000) + FRAME
    after = placed(timeline, broadcast(2, start=start, audio_off=30))
    timeline.add_stream(2, CLOCK)
    _, video = timeline.place(VIDEO, start + 60 * FRAME, start + 60 * FRAME, FRAME)
    _, late = timeline.place(2, start + 60 * FRAME, start + 60 * FRAME, SOUND)

    assert video == late
    assert after[0] < late
    assert timeline.largest_skew_s == 0


def test_a_track_that_was_away_comes_back_where_it_belongs() -> None:
    """Ten minutes without sound are ten minutes without sound."""
    timeline = of_both()
    packets = [packet for packet in broadcast(700) if packet[0] == VIDEO or not 30 < packet[1] / 90_000 < 630]

    assert placed(timeline, packets) == [dts for _, dts in packets]
    assert [(gap.stream, round(gap.step_s)) for gap in gaps_of(timeline)] == [(AUDIO, 600)]
    assert timeline.discontinuities == []


@pytest.mark.parametrize(
    ("counted", "lossy", "away_s", "is_gap"),
    [
        (True, False, 60, False),  # cut by an editor, or paused: the counters know of no loss
        (True, False, 8, True),  # an encoder that stood still
        (True, True, 60, True),  # no signal
        (False, False, 60, True),  # a container without counters
    ],
)
def test_what_the_counters_know_nothing_of_is_closed(counted: bool, lossy: bool, away_s: int, is_gap: bool) -> None:
    """Whether a minute that is missing was lost, the counters of a transport stream tell."""
    timeline = of_both(counted=counted)
    before, after = broadcast(10), broadcast(20, start=(10 + away_s) * 90_000)
    packets, edge, out = [*before, *after], len(before), list[int]()
    for number, (stream, dts) in enumerate(packets):
        timeline.announce(stream, dts, dts, lossy=lossy and number == edge)
        if number >= 100:
            out += placed(timeline, [packets[number - 100]], announced=False)

    assert away_s * is_gap == round((out[edge] - out[edge - 1]) / 90_000)
    assert ([] == timeline.discontinuities) == is_gap
    assert bool(gaps_of(timeline)) == is_gap
    assert timeline.largest_skew_s == 0


def test_joined_recordings_lose_nothing_where_they_meet() -> None:
    """The first one's video ends most of a second after its sound: the next begins where the later of the two ends."""
    timeline = of_both()
    packets = [*broadcast(3, audio_off=40), *broadcast(3, start=500 * 90_000)]
    packets[-1:] = []
    swapped = sorted(packets, key=lambda packet: (packet[1] // 90_000 * 90_000, packet[0] == VIDEO))
    out = placed(timeline, swapped)
    video = [now for (stream, _), now in zip(swapped, out, strict=True) if stream == VIDEO]

    assert [later for earlier, later in pairwise(video) if later - earlier != FRAME] == []


def test_streams_that_jump_by_different_times_are_told() -> None:
    """Each one runs on, but their distance is not the source's any more."""
    timeline = of_both()
    placed(timeline, broadcast(5))
    later = [(stream, dts + (7 * 90_000 if stream == AUDIO else 0)) for stream, dts in broadcast(5, start=50_000_000)]
    placed(timeline, later)

    assert 6.9 < timeline.largest_skew_s < 7.1


def test_packets_that_come_twice_keep_their_time() -> None:
    timeline = of_both()

    assert placed(timeline, [(VIDEO, 0), (VIDEO, FRAME), (VIDEO, FRAME), (VIDEO, 2 * FRAME)]) == [
        0,
        FRAME,
        FRAME,
        2 * FRAME,
    ]
    assert timeline.duplicate_count == 1


def test_a_picture_that_comes_beside_the_sound_is_at_its_time() -> None:
    """One each ten seconds: the next is further away than is read ahead, but the sound is there already."""
    packets = [packet for packet in broadcast(31) if packet[0] == AUDIO or packet[1] % (10 * 90_000) < FRAME]

    assert 4 == sum(stream == VIDEO for stream, _ in packets)
    assert [dts for _, dts in packets] == placed(of_both(), packets, announced=False)


def test_in_a_file_a_picture_may_stand_still_behind_others() -> None:
    """With B-frames it is decoded before those that are shown first. A broadcast's is not: its pts is wrong."""
    for paced in (True, False):
        timeline = Timeline(pauses=Pauses(paced=paced))
        timeline.add_stream(VIDEO, CLOCK)
        for number in range(60):
            timeline.place(VIDEO, number * FRAME, number * FRAME, FRAME)

        assert (None if paced else 60 * FRAME + 810_000, 60 * FRAME) == timeline.place(
            VIDEO, 60 * FRAME + 810_000, 60 * FRAME, FRAME
        )


def test_sparse_streams_have_no_gaps() -> None:
    """Subtitles come when someone speaks, a little ahead of the picture or behind it."""
    timeline = of_both()
    timeline.add_stream(2, CLOCK, sparse=True)
    said = [(2, second * 90_000) for second in (1, 3, 30, 100, 280)]
    packets = sorted([*broadcast(300), *said], key=lambda packet: packet[1])

    assert placed(timeline, packets) == [dts for _, dts in packets]
    assert gaps_of(timeline) == timeline.discontinuities == []


@pytest.mark.parametrize(
    ("later", "shown"), [(0, 0), (5_940, 5_940), (2**33 + 5_940, 5_940), (-1, 0), (90_000 * 60, 0)]
)
def test_a_caption_is_shown_later_than_it_is_decoded(later: int, shown: int) -> None:
    """A disc's captions are sent ahead; what cannot be true, a minute ahead or behind, is not believed."""
    timeline = of_both()
    timeline.add_stream(2, CLOCK, sparse=True)
    placed(timeline, broadcast(3))

    assert (180_000 + shown, 180_000) == timeline.place(2, 180_000 + later, 180_000, 0)


def test_a_track_that_comes_back_with_another_clock_does_not_go_back() -> None:
    """It was away for a minute; where it jumps first, the time is that of the others."""
    timeline = of_both()
    packets = [packet for packet in broadcast(90) if packet[0] == VIDEO or packet[1] < 30 * 90_000]
    after = broadcast(2, start=50_000_000 + 1)
    out = placed(timeline, [*packets, (AUDIO, 50_000_000), *after])

    assert min(out[len(packets) :]) >= 89 * 90_000


@pytest.mark.parametrize("announced", [True, False])
def test_a_wrong_first_timestamp_does_not_move_its_stream(announced: bool) -> None:
    """Announced, it is replaced; otherwise the stream is back where the others are with its third packet."""
    packets = [packet for packet in broadcast(3) if packet[0] == VIDEO or packet[1] > 90_000]
    at = [stream for stream, _ in packets].index(AUDIO)
    wrong = [*packets]
    wrong[at] = (AUDIO, packets[at][1] + 60 * 90_000)
    out = placed(of_both(), wrong, announced=announced)

    moved = [n for n, (now, (_, dts)) in enumerate(zip(out, packets, strict=True)) if now != dts]
    first_two = [n for n, packet in enumerate(packets) if packet[0] == AUDIO][:2]

    assert moved == ([] if announced else first_two)


def test_two_wrong_timestamps_in_a_row_are_replaced() -> None:
    packets = [(VIDEO, n * FRAME) for n in range(60)]
    wrong = [*packets]
    wrong[30], wrong[31] = (VIDEO, 300 * 90_000), (VIDEO, 7)

    assert placed(of_both(), wrong) == [dts for _, dts in packets]


def test_a_first_packet_from_before_the_gap_comes_late() -> None:
    """The multiplex sends sound after its picture; a gap of the picture may be between."""
    packets = [*((VIDEO, n * FRAME) for n in range(60)), *((VIDEO, 60 * 90_000 + n * FRAME) for n in range(5))]
    packets += [(AUDIO, 150_000 + n * SOUND) for n in range(5)] + [(AUDIO, 60 * 90_000 + n * SOUND) for n in range(5)]

    assert placed(of_both(), packets) == [dts for _, dts in packets]


def test_a_gap_as_long_as_the_jump_before_is_still_a_gap() -> None:
    """Epochs that all streams have left are no place to go back to."""
    timeline = of_both()
    packets = [*broadcast(3, start=200 * 90_000), *broadcast(3, start=91 * 90_000)]
    out = placed(timeline, [*packets, *broadcast(3, start=(94 + 112) * 90_000)])

    assert 112 * 90_000 <= out[-1] - out[len(packets) - 1] <= 116 * 90_000


def test_what_leads_nowhere_near_the_others_waits_for_its_next_packet() -> None:
    """Unannounced, a wrong timestamp of a stream that is behind the others is not taken for the end of a pause."""
    timeline = of_both()
    packets = [(VIDEO, n * FRAME) for n in range(140)] + [(AUDIO, n * SOUND) for n in range(100)]
    wrong = [*packets]
    wrong[150] = (AUDIO, packets[150][1] + 2 * 90_000)

    assert placed(timeline, wrong, announced=False) == [dts for _, dts in packets]
