"""Charts of text: what is high is high, what is short is seen, and the axes say what and when."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.cli.charts import COLUMNS, LINES, chart, in_ascii


def drawn(values: Sequence[float | None], *, peaks: bool = False, unicode: bool = True) -> list[str]:
    return chart("Speed", values, "0:30:00", label=lambda value: f"{value:.1f}×", peaks=peaks, unicode=unicode)


def test_a_chart() -> None:
    """Half as high, as high, nothing, unknown."""
    assert drawn([1.0, 2.0, 0.0, None]) == [
        "Speed",
        "      2.0× │ █",
        "           │ █",
        "           │██",
        "         0 │██",
        "           └────",
        "            00:30:00",
    ]


def test_the_same_in_ascii() -> None:
    assert drawn([1.0, 2.0, 0.5, 0.01], unicode=False) == [
        "Speed",
        "      2.0x | #",
        "           | #",
        "           |##",
        "         0 |###.",
        "           +----",
        "            00:30:00",
    ]


def test_short_mishaps_are_seen() -> None:
    """One bad step of a thousand: as a peak it has its full height, as a mean it would be next to nothing."""
    values = [0.0] * 999 + [1.0]

    assert drawn(values, peaks=True)[1].endswith("█")
    assert drawn(values)[1].endswith("█")  # the axis fits what is there
    assert "1.0×" in drawn(values, peaks=True)[1]
    assert "0.1×" in drawn(values)[1]


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_to_show(values: list[float | None]) -> None:
    assert drawn(values) == []


def test_all_zero() -> None:
    assert drawn([0.0, 0.0])[1:5] == ["      0.0× │", "           │", "           │", "         0 │"]


@given(st.lists(st.none() | st.floats(-1e12, 1e12), max_size=300), st.booleans(), st.booleans())
def test_any_series_fits(values: list[float | None], peaks: bool, unicode: bool) -> None:
    """Never wider than 60 columns beside the labels, never of another height."""
    lines = drawn(values, peaks=peaks, unicode=unicode)

    assert len(lines) in {0, LINES + 3}
    assert all(len(line.partition("│" if unicode else "|")[2]) <= COLUMNS for line in lines)
    assert unicode or all(line.isascii() for line in lines)


def test_words_in_ascii() -> None:
    assert in_ascii("1440×1080 → ✔ 録 – …") == "1440x1080 -> + ? - ..."
