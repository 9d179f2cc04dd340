"""Damage: counted by kind, placed in time, and one share of the time that an operator can set a limit to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.encode.damage import (
    MAIN_SOUND,
    MOST_BUCKETS,
    MOST_EVENTS,
    OTHER,
    PICTURE,
    UNITS,
    DamageLog,
    Kind,
    clock,
)

#: A picture lasts 40 ms, a packet of sound 20 ms.
Mishap = tuple[Kind, float, int, int, float]  # kind, at_s, stream, amount, span_s


def log_of(*mishaps: Mishap) -> DamageLog:
    log = DamageLog(0.04, 0.02)
    for kind, at_s, stream, amount, span_s in mishaps:
        log.note(kind, at_s, stream, amount=amount, span_s=span_s)
    return log


@pytest.mark.parametrize(
    ("mishaps", "damaged_s"),
    [
        ([], 0.0),
        ([(Kind.CORRUPT_PICTURE, 5.0, PICTURE, 1, 0.0)], 0.04),
        ([(Kind.UNDECODABLE, 5.0, MAIN_SOUND, 3, 0.0)], 0.06),
        ([(Kind.GAP, 5.5, PICTURE, 1, 2.0)], 2.0),
        ([(Kind.GAP, 5.5, OTHER, 1, 2.0), (Kind.LOST, 5.5, OTHER, 900, 0.0)], 0.0),
        # One fault, seen three times on its way, is one fault.
        (
            [
                (Kind.LOST, 5.0, PICTURE, 15, 0.0),
                (Kind.CORRUPT_PACKET, 5.0, PICTURE, 1, 0.0),
                (Kind.CORRUPT_PICTURE, 5.1, PICTURE, 2, 0.0),
            ],
            0.08,
        ),
        # A gap that was filled is one gap, whoever tells of it.
        ([(Kind.GAP, 5.0, MAIN_SOUND, 1, 3.0), (Kind.FILLED, 5.0, MAIN_SOUND, 140, 3.0)], 3.0),
        # Picture and sound at the same time: the larger one; at different times: both.
        ([(Kind.GAP, 5.0, PICTURE, 1, 1.0), (Kind.GAP, 5.0, MAIN_SOUND, 1, 1.0)], 1.0),
        ([(Kind.GAP, 5.0, PICTURE, 1, 1.0), (Kind.GAP, 7.0, MAIN_SOUND, 1, 1.0)], 2.0),
        # No stretch is more than wholly damaged.
        ([(Kind.CORRUPT_PICTURE, 5.0, PICTURE, 1000, 0.0)], 1.0),
        ([(Kind.GAP, 90.0, PICTURE, 1, 3600.0)], 10.0),
        ([(Kind.GAP, -5.0, PICTURE, 1, 1.0)], 1.0),
    ],
)
def test_the_ratio_is_a_share_of_time(mishaps: list[Mishap], damaged_s: float) -> None:
    """Of a hundred seconds: those in which the picture or the main sound is damaged or missing."""
    assert log_of(*mishaps).assess(100.0).ratio == pytest.approx(damaged_s / 100.0)


def test_the_main_sound_is_the_track_that_is_heard() -> None:
    """One before it that nobody can decode has no part in the ratio."""
    log = log_of((Kind.UNDECODABLE, 5.0, MAIN_SOUND, 5000, 0.0), (Kind.FILLED, 7.0, 2, 50, 1.0))

    assert log.assess(100.0, main_sound=2).ratio == pytest.approx(0.01)


def test_bad_reception_is_less_than_none() -> None:
    """A damaged picture each second is no recording that has to be thrown away; half of it without pictures is."""
    specks = log_of(*((Kind.CORRUPT_PICTURE, float(at), PICTURE, 2, 0.0) for at in range(1800)))
    hole = log_of((Kind.GAP, 300.0, PICTURE, 1, 900.0))

    assert specks.assess(1800.0).ratio == pytest.approx(0.08)
    assert hole.assess(1800.0).ratio == pytest.approx(0.5)


def test_the_log_line() -> None:
    log = DamageLog(0.04, 0.02)
    log.note(Kind.LOST, 723.2, PICTURE, pid=0x100, amount=30)
    log.note(Kind.LOST, 729.9, OTHER, pid=0x110, amount=7)
    log.note(Kind.CORRUPT_PICTURE, 723.4, PICTURE, amount=12)
    log.note(Kind.GAP, 3700.0, PICTURE, span_s=2.0)
    one = log.assess(7200.0).text
    log.note(Kind.GAP, 3700.0, MAIN_SOUND, span_s=2.5)

    assert (
        "37 continuity errors on 2 PIDs at 00:12:03–00:12:09, 12 pictures damaged at 00:12:03, "
        "1 gap of 2.0 s at 01:01:40"
    ) == one
    assert log.assess(7200.0).text.endswith("2 gaps that take up to 2.5 s from a stream at 01:01:40")
    assert log_of().assess(10.0).text == ""


def test_counters_know_more_than_the_events() -> None:
    """Events are bounded where they are found; what each PID lost in all is not."""
    log = DamageLog(0.04, 0.02)
    log.note(Kind.LOST, 1.0, PICTURE, pid=0x100, amount=5)
    counts = {
        0x110: {"packets": 10, "lost": 0, "errors": 2, "scrambled": 0},
        0x100: {"packets": 900, "lost": 500, "errors": 0, "scrambled": 0},
    }
    damage = log.assess(10.0, counts)

    assert damage.by_kind[Kind.LOST].amount == 500
    assert damage.text == "500 continuity errors at 00:00:01, 2 transport errors"
    assert list(damage.by_pid) == [0x100, 0x110]


def test_long_recordings_cost_no_more() -> None:
    """Six hours of it: at most 240 stretches, 200 events, and every one counted."""
    log = DamageLog(0.04, 0.02)
    for at in range(6 * 3600):
        log.note(Kind.CORRUPT_PICTURE, float(at), PICTURE)
    damage = log.assess(6 * 3600.0)

    assert len(damage.series) <= MOST_BUCKETS
    assert damage.bucket_s == 128.0
    assert (len(damage.events), damage.events_left_out) == (MOST_EVENTS, 6 * 3600 - MOST_EVENTS)
    assert damage.by_kind[Kind.CORRUPT_PICTURE].amount == 6 * 3600
    assert damage.ratio == pytest.approx(0.04)
    assert damage.series[0] == damage.series[-2] == pytest.approx(0.04)


def test_the_series_is_in_place() -> None:
    damage = log_of((Kind.GAP, 2.5, PICTURE, 1, 1.0), (Kind.CORRUPT_PICTURE, 9.2, PICTURE, 5, 0.0)).assess(9.5)

    assert damage.series == (0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.4)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Kind)),
            st.floats(-1e9, 1e9),
            st.sampled_from([PICTURE, MAIN_SOUND, OTHER, 7]),
            st.integers(0, 10**6),
            st.floats(-10, 1e9),
        ),
        max_size=40,
    ),
    st.floats(0, 1e6),
)
def test_whatever_happens_the_ratio_is_a_ratio(mishaps: list[Mishap], duration_s: float) -> None:
    damage = log_of(*mishaps).assess(duration_s)

    assert 0 <= damage.ratio <= 1
    assert all(0 <= share <= 1 for share in damage.series)
    assert len(damage.series) <= MOST_BUCKETS
    assert sum(tally.events for tally in damage.by_kind.values()) == len(mishaps)


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.floats(0, 2000), st.integers(0, 1), st.integers(1, 9),
                          st.floats(0, 100)), max_size=20), st.randoms())  # fmt: skip
def test_the_order_does_not_matter(mishaps: list[Mishap], random: object) -> None:
    """Transport errors are told at the end of the file, the pictures' as they come."""
    shuffled = list(mishaps)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a Random

    assert log_of(*shuffled).assess(2000.0).ratio == pytest.approx(log_of(*mishaps).assess(2000.0).ratio)


def test_every_kind_has_its_words() -> None:
    assert set(UNITS) == set(Kind)
    assert clock(3_725.9) == "01:02:05"
