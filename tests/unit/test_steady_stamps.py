"""Timestamps of sound that jitter, and what becomes of them: a table of stamps and places, and what holds for all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import pytest

from encoderd.encode.epochs import FLICKS
from encoderd.encode.steady_stamps import SteadyStamps

AAC, AC3, MP2 = (samples * FLICKS // 48_000 for samples in (1024, 1536, 1152))
#: Half a frame of most codecs: a viewer's lips and ears need 20 ms.
NEAR = FLICKS // 50


def placed(stamps: Sequence[int | None], duration: int = AAC) -> list[int]:
    steady: SteadyStamps[int] = SteadyStamps()
    found = [ready for number, stamp in enumerate(stamps) for ready in steady.push(number, stamp, duration)]
    found += list(steady.finish())
    assert [number for number, _ in found] == list(range(len(stamps)))
    return [-1 if place is None else place for _, place in found]


def frames(places: Sequence[int], duration: int = AAC) -> list[float]:
    return [round(place / duration, 2) for place in places]


def jittered(kind: str, count: int = 200) -> list[float]:
    """By how many frames each timestamp is wrong."""
    noise = random.Random(3)
    wrong = [0.0] * count
    match kind:
        case "late":
            wrong[50] = 1.0
        case "very late":
            wrong[50] = 2.0
        case "early":
            wrong[50] = -1.0
        case "late for a PES packet":
            wrong[50:56] = [2.0] * 6
        case "early for a PES packet":
            wrong[50:56] = [-2.0] * 6
        case "first late":
            wrong[0] = 2.0
        case "first early":
            wrong[0] = -2.0
        case "first PES packet late":
            wrong[:4] = [1.0] * 4
        case "last late":
            wrong[-1] = 2.0
        case "last PES packet early":
            wrong[-4:] = [-1.0] * 4
        case "repeated":
            wrong[50:60:2] = [-1.0] * 5
        case "all in pairs":
            wrong[1::2] = [-1.0] * (count // 2)
        case "alternating":
            wrong[::2] = [0.5] * (count // 2)
            wrong[1::2] = [-0.5] * (count // 2)
        case "alternating by a frame":
            wrong[::2], wrong[1::2] = [0.9] * (count // 2), [-0.9] * (count // 2)
        case "begins to alternate":
            wrong[50:150:2], wrong[51:150:2] = [1.0] * 50, [-1.0] * 50
        case "saw-tooth":
            wrong = [(number % 20) * 0.1 for number in range(count)]
        case "slow saw-tooth":
            wrong = [(number % 66) * 0.03 for number in range(count)]
        case "noise":
            wrong = [noise.uniform(-0.4, 0.4) for _ in range(count)]
        case "clicks":
            wrong = [noise.choice([0.0] * 8 + [1.5, -1.5]) for _ in range(count)]
    return wrong


KINDS = (
    "late", "very late", "early", "late for a PES packet", "early for a PES packet", "first late", "first early",
    "first PES packet late", "last late", "last PES packet early", "repeated", "all in pairs", "alternating",
    "alternating by a frame", "begins to alternate", "saw-tooth", "slow saw-tooth", "noise", "clicks",
)  # fmt: skip


@pytest.mark.parametrize("duration", [AAC, AC3, MP2])
@pytest.mark.parametrize("kind", KINDS)
def test_jitter_costs_nothing(kind: str, duration: int) -> None:
    """One frame stands behind the other, without a hole or an overlap, and near to where most timestamps are."""
    wrong = jittered(kind)
    places = placed([round((100 + n + by) * duration) for n, by in enumerate(wrong)], duration)
    usual = median(wrong)
    apart = [place - round((100 + n + usual) * duration) for n, place in enumerate(places)]

    assert max(abs(after - before - duration) for before, after in pairwise(places)) <= max(
        FLICKS // 500, duration // 9
    )
    assert max(map(abs, apart)) <= (NEAR if "saw" not in kind else duration * 5 // 4)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        # in frames; what is missing, or came twice, is where it was
        ([*range(20), *range(21, 40)], [*range(20), *range(21, 40)]),
        ([*range(20), *range(23, 43)], [*range(20), *range(23, 43)]),
        ([*range(20), *range(520, 540)], [*range(20), *range(520, 540)]),
        ([*range(20), *range(22, 26), *range(28, 50)], [*range(20), *range(22, 26), *range(28, 50)]),
        ([*range(20), *range(17, 40)], [*range(20), *range(17, 40)]),  # three came twice
        ([0, *range(500, 520)], [0, *range(500, 520)]),
        ([*range(20), 520, 521], [*range(20), 520, 521]),
        ([0, 1, 2, 3, None, None, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
        # a late one and then a loss
        ([*range(10), 11, *range(11, 20), *range(25, 50)], [*range(20), *range(25, 50)]),
    ],
)
def test_what_is_missing_or_doubled_stays_where_it_is(stamps: list[int | None], expected: list[int]) -> None:
    places = placed([None if stamp is None else stamp * AAC for stamp in stamps])

    assert frames(places) == expected


def test_timestamps_of_a_sound_clock_are_kept_exactly() -> None:
    """And those that a container rounded to a millisecond."""
    exact = [7 * FLICKS + number * AAC for number in range(100)]
    rounded = [round(stamp / FLICKS * 1000) * (FLICKS // 1000) for stamp in exact]

    assert placed(exact) == exact
    assert placed(rounded) == rounded


@pytest.mark.parametrize("ppm", [100, -400])
def test_a_clock_that_drifts_is_followed(ppm: int) -> None:
    stamps = [round(number * AAC * (1 + ppm / 1e6)) for number in range(20_000)]

    assert placed(stamps) == stamps


def test_a_frame_of_unknown_length_is_where_its_timestamp_is() -> None:
    steady: SteadyStamps[int] = SteadyStamps()

    found = [ready for number in (0, 7, 8, 3) for ready in steady.push(number, number * AAC, 0)]

    assert found == [(number, number * AAC) for number in (0, 7, 8, 3)]


def test_behind_damage_a_small_step_is_believed() -> None:
    steady: SteadyStamps[int] = SteadyStamps()
    stamps = [number * AAC + (AAC // 3 if number >= 20 else 0) for number in range(60)]

    found = [one for n, stamp in enumerate(stamps) for one in steady.push(n, stamp, AAC, sure=n == 20)]
    found += list(steady.finish())

    assert [place for _, place in found] == stamps


@pytest.mark.parametrize("speed", [0.0, 0.01, 0.5, 0.7])
def test_stamps_that_stand_still_are_not_believed(speed: float) -> None:
    """One frame follows the other from the first timestamp on; where timestamps are right again, they are believed."""
    still = [round(number * AAC * speed) for number in range(100)]
    right = [number * AAC for number in range(100, 200)]

    assert frames(placed(still)) == [float(number) for number in range(100)]
    assert frames(placed([*still, *right]))[:100] == [float(number) for number in range(100)]
    assert frames(placed([*still, *right]))[110:] == [float(number) for number in range(110, 200)]
