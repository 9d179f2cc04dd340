"""Which programme is kept, and what its tracks are over all its PMTs."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.elementary_streams import Component, ElementaryStream, Kind
from encoderd.encode.programmes import Layout, Track, choose, late_pids, layout, with_components
from encoderd.encode.transport_stream import Programme, TransportSample


def video(pid: int, tag: int = -1, codec: str = "mpeg2video") -> ElementaryStream:
    return ElementaryStream(pid=pid, stream_type=2, kind=Kind.VIDEO, codec=codec, component_tag=tag)


def audio(pid: int, language: str = "", tag: int = -1) -> ElementaryStream:
    languages = (language,) if language else ()
    return ElementaryStream(
        pid=pid, stream_type=15, kind=Kind.AUDIO, codec="aac", languages=languages, component_tag=tag
    )


def captions(pid: int) -> ElementaryStream:
    return ElementaryStream(pid=pid, stream_type=6, kind=Kind.CAPTIONS, codec="dvb_subtitle")


def told(*tables: tuple[int, list[ElementaryStream]], counts: dict[int, int] | None = None) -> TransportSample:
    """A sample with these PMTs: (programme number, streams)."""
    found = tuple(
        Programme(number=number, streams=tuple(streams), pcr_pid=streams[0].pid) for number, streams in tables
    )
    latest = {table.number: table for table in found}
    return TransportSample(
        packets=1, scrambled_ratio=0.0, programmes=tuple(latest.values()), tables=found, bytes_by_pid=counts or {}
    )


def tracks(*tables: list[ElementaryStream]) -> list[tuple[str, tuple[int, ...]]]:
    """The tracks of one programme whose PMTs come at different places."""
    places = [(n / 10, told((1, table))) for n, table in enumerate(tables)]
    return [(track.kind.value, track.pids) for track in layout(places).programmes[0].tracks]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        # the same all the time
        ([[video(1), audio(2)]] * 3, [("video", (1,)), ("audio", (2,))]),
        # two in one PMT are two tracks, whenever
        ([[video(1), audio(2), audio(3)]], [("video", (1,)), ("audio", (2,)), ("audio", (3,))]),
        # one that comes late, and goes
        (
            [[video(1), audio(2)], [video(1), audio(2), audio(3)], [video(1), audio(2)]],
            [("video", (1,)), ("audio", (2,)), ("audio", (3,))],
        ),
        # all PIDs change
        ([[video(1), audio(2)], [video(11), audio(12)]], [("video", (1, 11)), ("audio", (2, 12))]),
        # and change back
        ([[video(1)], [video(11)], [video(1)], [video(21)]], [("video", (1, 11, 21))]),
        # PIDs that stand together once are never one track, though one replaced the other at first
        (
            [[video(1), audio(2)], [video(1), audio(3)], [video(1), audio(2), audio(3)]],
            [("video", (1,)), ("audio", (2,)), ("audio", (3,))],
        ),
        # by language, in whatever order
        (
            [[video(1), audio(2, "deu"), audio(3, "eng")], [video(1), audio(13, "eng"), audio(12, "deu")]],
            [("video", (1,)), ("audio", (2, 12)), ("audio", (3, 13))],
        ),
        # another language is another track
        (
            [[video(1), audio(2, "deu")], [video(1), audio(3, "eng")]],
            [("video", (1,)), ("audio", (2,)), ("audio", (3,))],
        ),
        # by component tag, whatever the place
        (
            [[video(1), audio(2, tag=16), audio(3, tag=17)], [video(1), audio(13, tag=17), audio(12, tag=16)]],
            [("video", (1,)), ("audio", (2, 12)), ("audio", (3, 13))],
        ),
        # a second audio alone has the second one's tag: it replaces nothing
        (
            [[video(1), audio(2, tag=16)], [video(1), audio(3, tag=17)]],
            [("video", (1,)), ("audio", (2,)), ("audio", (3,))],
        ),
        # video never replaces audio
        ([[audio(2)], [video(3)]], [("audio", (2,)), ("video", (3,))]),
        # a PID that becomes something else is a track of each
        ([[video(1), audio(2)], [video(1), captions(2)]], [("video", (1,)), ("audio", (2,)), ("captions", (2,))]),
    ],
)
def test_pids_that_replace_one_another_are_one_track(
    tables: list[list[ElementaryStream]], expected: list[tuple[str, tuple[int, ...]]]
) -> None:
    assert expected == tracks(*tables)


def test_a_track_keeps_what_it_was_told_first() -> None:
    """Languages come with a later PMT; the codec is the first PID's."""
    found = layout(
        [(0.0, told((1, [video(1), audio(2)]))), (0.5, told((1, [video(3, codec="h264"), audio(2, "jpn")])))]
    )

    assert (
        Track(kind=Kind.VIDEO, codec="mpeg2video", pids=(1, 3), stream_type=2),
        Track(kind=Kind.AUDIO, codec="aac", pids=(2,), languages=("jpn",), stream_type=15),
    ) == found.programmes[0].tracks
    assert (1, 3) == found.programmes[0].pcr_pids


def test_places_may_come_in_any_order() -> None:
    later = (0.9, told((1, [video(11)])))
    head = (0.0, told((1, [video(1)])))

    assert layout([head, later]) == layout([later, head])


TWO = layout(
    [
        (0.0, told((101, [video(1)]), (102, [video(2)]), (103, [audio(3)]), counts={1: 100, 2: 90, 3: 999})),
        (0.5, told((101, [video(1)]), (102, [video(12)]), counts={1: 10, 12: 50})),
    ]
)


@pytest.mark.parametrize(
    ("wish", "kept", "others", "unknown"),
    [
        (0, 102, (101, 103), 0),  # 140 bytes of video against 110; audio does not count
        (101, 101, (102, 103), 0),
        (103, 103, (101, 102), 0),
        (7, None, (101, 102, 103), 7),
    ],
)
def test_the_programme_with_the_most_video_is_kept_or_the_one_asked_for(
    wish: int, kept: int | None, others: tuple[int, ...], unknown: int
) -> None:
    choice = choose(TWO, wish)

    assert (kept, others, unknown) == (
        None if choice.programme is None else choice.programme.number,
        choice.others,
        choice.unknown,
    )


def test_of_equals_the_first_is_kept() -> None:
    equal = layout([(0.0, told((5, [video(1)]), (4, [video(2)])))])
    choice = choose(equal, 0, {})

    assert choice.programme is not None
    assert 5 == choice.programme.number
    assert choose(Layout()).programme is None


def test_counts_from_elsewhere_may_decide() -> None:
    choice = choose(TWO, 0, {1: 500})

    assert choice.programme is not None
    assert 101 == choice.programme.number


def test_late_pids_are_those_that_the_head_does_not_name() -> None:
    """Data streams are not waited for."""
    data = ElementaryStream(pid=9, stream_type=13)
    head = told((1, [video(1), audio(2)]), (2, [audio(3)]))
    found = layout([(0.0, head), (0.5, told((1, [video(1), audio(2), audio(3), captions(4), data])))])

    assert {3, 4} == late_pids(found.programmes[0], head)


def test_an_event_s_components_name_the_audio() -> None:
    """ARIB tells languages and dual mono with the event, by component tag."""
    found = layout([(0.0, told((1, [video(1, 0), audio(2, tag=16), audio(3, "deu", tag=17)])))])
    components = [
        Component(component_tag=16, languages=("jpn", "eng"), dual_mono=True),
        Component(component_tag=17, languages=("fra",), dual_mono=False),
        Component(component_tag=0, languages=("fra",), dual_mono=False),
    ]
    named = with_components(found.programmes[0], components).tracks

    assert [("", False), ("jpn,eng", True), ("deu", False)] == [(track.language, track.dual_mono) for track in named]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 8), st.sampled_from(["", "deu", "eng"]), st.sampled_from([-1, 16, 17]))),
        max_size=8,
    )
)
def test_every_pid_has_its_track_and_neighbours_never_share_one(tables: list[list[tuple[int, str, int]]]) -> None:
    made = [list({pid: audio(pid, lang, tag) for pid, lang, tag in table}.values()) for table in tables]
    made = [table for table in made if table]
    if not made:
        return
    found = tracks(*made)
    pids = [pid for _, track in found for pid in track]

    assert sorted({one.pid for table in made for one in table}) == sorted(pids)
    assert not [1 for table in made for _, track in found if len({one.pid for one in table} & set(track)) > 1]


def test_made_up_tables_take_no_time() -> None:
    """As many streams and PMTs as a forger can put in: less than a second."""
    noise = random.Random(1)
    places = [(n / 300, told((1, [audio(pid) for pid in noise.sample(range(8192), 128)]))) for n in range(300)]
    begin_s = time.thread_time()
    found = layout(places)

    assert len(found.programmes[0].tracks) <= 128
    assert time.thread_time() - begin_s < 1
