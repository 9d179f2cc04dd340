"""The size guard: hopeless encodes end early, all others are left to show their real size."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from encoderd.encode.projection import Projection

SOURCE = 1_000_000_000
HALF_AN_HOUR_S = 1800.0


def ended_at(rate: Callable[[float], float], max_ratio: float = 1.0, steps: int = 1000) -> float | None:
    """Encode a source whose output bytes per source byte are `rate(share)`; where (0…1) the guard ended it."""
    guard = Projection(SOURCE, max_ratio)
    written = 0.0
    for step in range(1, steps + 1):
        share = step / steps
        written += SOURCE / steps * rate(share)
        if guard.judge(round(SOURCE * share), round(written), HALF_AN_HOUR_S * share) is not None:
            return share
    return None


def total(rate: Callable[[float], float]) -> float:
    return sum(rate(step / 1000) for step in range(1, 1001)) / 1000


@pytest.mark.parametrize(
    ("what", "rate", "earliest", "latest"),
    [
        ("half the size", lambda at: 0.5, None, None),
        ("just smaller", lambda at: 0.99, None, None),
        ("twice the size", lambda at: 2.0, 0.10, 0.10),
        ("a fifth larger", lambda at: 1.2, 0.10, 0.10),
        ("a little larger", lambda at: 1.05, 0.6, 0.8),
        ("a noisy opener of 6 %, then easy", lambda at: 3.0 if at < 0.06 else 0.5, None, None),
        ("a noisy opener of 6 %, then a little less than the source", lambda at: 2.0 if at < 0.06 else 0.9, None, None),
        ("a still logo of 3 %, then hard", lambda at: 0.05 if at < 0.03 else 1.4, 0.10, 0.20),
        ("an easy half, then hard", lambda at: 0.3 if at < 0.5 else 3.0, 0.7, 0.9),
        ("an easy half, then less hard", lambda at: 0.3 if at < 0.5 else 1.5, None, None),
        ("a hard half, then easy", lambda at: 1.06 if at < 0.5 else 0.3, None, None),
        ("sport and talk in turns", lambda at: 1.6 if int(at * 25) % 2 else 0.3, None, None),
    ],
)  # fmt: skip
def test_recordings(what: str, rate: Callable[[float], float], earliest: float | None, latest: float | None) -> None:
    """Where each kind of recording is ended; those that come out smaller are never."""
    found = ended_at(rate)

    if earliest is None or latest is None:
        assert total(rate) < 1.0
        assert found is None, what
    else:
        assert total(rate) > 1.0
        assert found is not None
        assert earliest <= found <= latest, what


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, None), (0.5, 0.10), (0.9, None), (3.0, None)])
def test_the_limit_is_the_operator_s(ratio: float, expected: float | None) -> None:
    """Of an output of 0.7 × the source; 0 means that any size will do."""
    assert ended_at(lambda at: 0.7, ratio) == expected


def test_nothing_is_said_too_early() -> None:
    """Before a tenth of the source, and before ten seconds of output, nobody knows; what is over is over."""
    guard = Projection(SOURCE, 1.0)
    for percent in range(1, 10):
        assert guard.judge(SOURCE * percent // 100, SOURCE * percent // 25, 500.0) is None
    short = Projection(1_000_000, 1.0)

    assert short.judge(500_000, 900_000, 9.0) is None
    assert short.judge(510_000, 1_000_000, 9.0) is not None
    assert Projection(SOURCE, 1.0).judge(0, 0, 0.0) is None
    assert Projection(0, 1.0).judge(100, 100, 100.0) is None


def test_a_container_without_positions_is_not_projected() -> None:
    guard = Projection(SOURCE, 1.0)

    assert all(guard.judge(0, written, 60.0) is None for written in range(0, SOURCE, SOURCE // 50))
    assert guard.judge(0, SOURCE, 60.0) is not None


@pytest.mark.parametrize(("size", "wanted"), [(SOURCE - 1, True), (SOURCE, False), (SOURCE + 1, False)])
def test_the_finished_size_is_judged_exactly(size: int, wanted: bool) -> None:
    assert (Projection(SOURCE, 1.0).judge_final(size) is None) is wanted
    assert Projection(SOURCE, 0.0).judge_final(size) is None


def test_the_sentence_says_what_and_how_much() -> None:
    guard = Projection(100 * 2**20, 0.5)
    sentence = [guard.judge(2**20 * at, 2**20 * at, at * 10.0) for at in range(1, 11)][-1]

    assert sentence == (
        "The output is not smaller than 0.5 × its recording: after 10% of the recording it looks like 100.0 MiB, "
        "the limit is 50.0 MiB"
    )


def test_a_small_recording_is_told_in_kib() -> None:
    assert Projection(100 * 2**10, 0.5).judge_final(60 * 2**10) == (
        "The output is not smaller than 0.5 × its recording: it is 60.0 KiB, the limit is 50.0 KiB"
    )
