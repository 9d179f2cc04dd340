"""The times of a recording's pictures against those of the output's: what is right passes, each mistake fails."""

from __future__ import annotations

from array import array
from fractions import Fraction

import pytest

from encoderd.encode.deinterlacing import Method
from encoderd.encode.picture_times import Allowed, OutputTimes, SourceTimes, judge_times
from encoderd.findings import Finding, Verdict

FRAME = 3600
JUMP = 90_000 * 3600
PICTURES = 60


def source_of(stamps: list[int | None], offsets: list[int] | None = None) -> SourceTimes:
    """Pictures with these timestamps, moved by the offsets onto the output's clock, which begins 10 s later."""
    source = SourceTimes(zero_s=Fraction(10))
    for number, stamp in enumerate(stamps):
        offset = 0 if offsets is None else offsets[number]
        source.note(stamp, None if stamp is None else stamp + offset, Fraction(1, 90_000))
    return source


def judged(
    source: SourceTimes, shown: list[int], method: Method = Method.FRAME, allowed: Allowed | None = None
) -> Finding:
    return judge_times(source, OutputTimes(ticks=array("q", shown)), 0.04, method, allowed or Allowed())


EVEN: list[int | None] = [900_000 + number * FRAME for number in range(PICTURES)]
SHOWN = [number * FRAME for number in range(PICTURES)]


def test_every_picture_at_its_time_passes() -> None:
    assert judged(source_of(EVEN), SHOWN).verdict is Verdict.PASS
    assert judged(source_of(EVEN), SHOWN[::-1]).verdict is Verdict.PASS, "packets come in the order of decoding"


@pytest.mark.parametrize(
    "wrong",
    [
        [*SHOWN[:-4], *(at + 115_200 for at in SHOWN[-4:])],
        SHOWN[:-4],
        [at * 4 for at in SHOWN],
        [*SHOWN, SHOWN[-1] + FRAME],
        [at + FRAME for at in SHOWN],
        [*SHOWN[:20], SHOWN[20] + 2000, *SHOWN[21:], SHOWN[-1] + FRAME],
    ],
    ids=[
        "end not moved to the zero",
        "end lost",
        "stretched",
        "one too many",
        "late by a picture",
        "one late, one more",
    ],
)
def test_what_the_pipeline_does_wrong_fails(wrong: list[int]) -> None:
    assert judged(source_of(EVEN), wrong).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "beside",
    [[at + 2000 for at in SHOWN], [*SHOWN[:20], SHOWN[20] + 2000, *SHOWN[21:]]],
    ids=["late by 22 ms", "one late"],
)
def test_less_than_a_picture_beside_is_a_warning(beside: list[int]) -> None:
    """However long the recording is: no picture may be further away than that."""
    assert judged(source_of(EVEN), beside).verdict is Verdict.WARN


def test_pictures_that_were_counted_as_lost_may_be_missing() -> None:
    assert judged(source_of(EVEN), SHOWN[:-4], allowed=Allowed(lost=4)).verdict is Verdict.PASS
    assert judged(source_of(EVEN), SHOWN[:-4], allowed=Allowed(lost=3)).verdict is Verdict.FAIL


def test_pictures_are_moved_only_where_the_clock_jumped() -> None:
    stamps: list[int | None] = [900_000 + number * FRAME + (JUMP if number >= 30 else 0) for number in range(PICTURES)]
    source = source_of(stamps, [0] * 30 + [-JUMP] * 30)

    assert judged(source, SHOWN, allowed=Allowed(jumps=1)).verdict is Verdict.PASS
    assert judged(source, SHOWN).verdict is Verdict.FAIL


def test_an_output_is_no_longer_than_the_broadcaster_s_clock_ran() -> None:
    """But where that clock jumped, or nothing was received for a while."""
    slow: list[int | None] = [900_000 + number * 4 * FRAME for number in range(PICTURES)]
    source = source_of(slow)
    source.sent_s = PICTURES / 25
    shown = [at * 4 for at in SHOWN]

    assert judged(source, shown).verdict is Verdict.FAIL
    assert judged(source, shown, allowed=Allowed(gaps=1)).verdict is Verdict.PASS


def test_fields_lie_half_a_frame_apart() -> None:
    fields = [at for first in SHOWN for at in (first, first + FRAME // 2)]

    assert judged(source_of(EVEN), fields, Method.FIELD).verdict is Verdict.PASS
    assert judged(source_of(EVEN), fields[:-8], Method.FIELD).verdict is Verdict.FAIL


def test_film_is_a_frame_from_its_time_and_leaves_its_repeats_out() -> None:
    film = [cycle * 5 * FRAME + round(number * 1.25 * FRAME) for cycle in range(PICTURES // 5) for number in range(4)]

    assert judged(source_of(EVEN), film, Method.IVTC, Allowed(left_out=12)).verdict is Verdict.PASS
    assert judged(source_of(EVEN), film, Method.IVTC, Allowed(left_out=11)).verdict is Verdict.FAIL


def test_pictures_without_a_timestamp_lie_between_those_that_have_one() -> None:
    sparse = [stamp if number % 6 == 0 else None for number, stamp in enumerate(EVEN)]

    assert judged(source_of(sparse), SHOWN).verdict is Verdict.PASS
    assert judged(source_of(sparse), [at * 6 for at in SHOWN]).verdict is Verdict.FAIL
    assert judged(source_of(sparse), SHOWN[::6]).verdict is Verdict.FAIL
