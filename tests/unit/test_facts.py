"""What is noted on the way costs the same for six hours as for ten minutes."""

from __future__ import annotations

from encoderd.encode.facts import Trail


def test_a_short_trail_is_whole() -> None:
    trail = Trail(2)
    for number in range(100):
        trail.add(number, number * 10)

    assert [(number, number * 10) for number in range(100)] == trail.rows


def test_a_long_trail_is_thinned_evenly_and_bounded() -> None:
    trail = Trail(1)
    for number in range(100_000):
        trail.add(number)

    steps = {later[0] - earlier[0] for earlier, later in zip(trail.rows, trail.rows[1:], strict=False)}
    assert trail.rows[0] == (0,)
    assert Trail.MOST // 2 <= len(trail.rows) < Trail.MOST
    assert max(steps) <= 2 * min(steps)
    assert trail.rows[-1][0] > 100_000 - 2 * max(steps)
