"""Small charts of text: a series over time as columns of blocks, with its axes named."""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: Columns and lines of a chart, without its labels.
COLUMNS, LINES = 60, 4
_LABEL = 10  # columns left of the axis
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = " .:#"
_ASCII = str.maketrans({
    "×": "x", "→": "->", "…": "...", "–": "-", "—": "-", "≤": "<=", "✔": "+", "✘": "x", "│": "|", "└": "+", "─": "-",
    "·": "-", "’": "'",
})  # fmt: skip


def chart(
    title: str,
    values: Sequence[float | None],
    end: str,
    *,
    label: Callable[[float], str],
    peaks: bool = False,
    unicode: bool = True,
) -> list[str]:
    """
    Return the lines of a chart from zero to the largest value; [] when there is nothing to show.

    `values` are of equal steps of time, None where one is not known; `end` is the label of the last moment, `label`
    makes that of the largest value. `peaks` shows the largest of the values in a column, not their mean: a short mishap
    in a long recording must not vanish.
    """
    columns = _columns(values, peaks)
    known = [value for value in columns if value is not None]
    if not known:
        return []
    top = max(known) or 1.0
    blocks = _BLOCKS if unicode else _ASCII_BLOCKS
    fine = len(blocks) - 1
    heights = [0 if value is None else _height(value, top, LINES * fine) for value in columns]
    lines = [title]
    for line in range(LINES - 1, -1, -1):
        named = label(max(known)) if line == LINES - 1 else "0" if line == 0 else ""
        drawn = "".join(blocks[min(fine, max(0, height - line * fine))] for height in heights)
        lines.append(f"{named:>{_LABEL}} │{drawn}".rstrip())
    lines.append(f"{'':>{_LABEL}} └{'─' * len(columns)}")
    lines.append(f"{'':>{_LABEL}}  0{end:>{max(1, len(columns) - 1)}}")
    return lines if unicode else [in_ascii(line) for line in lines]


def in_ascii(text: str) -> str:
    """Return text for a terminal that is not UTF-8; what has no counterpart becomes a question mark."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def _columns(values: Sequence[float | None], peaks: bool) -> list[float | None]:
    """Return at most COLUMNS values: each the mean or the peak of the values that fall into it."""
    count = min(COLUMNS, len(values))
    columns: list[float | None] = []
    for number in range(count):
        part = values[number * len(values) // count : (number + 1) * len(values) // count]
        known = [value for value in part if value is not None]
        columns.append(None if not known else max(known) if peaks else sum(known) / len(known))
    return columns


def _height(value: float, top: float, most: int) -> int:
    """What is not zero is seen."""
    return 0 if value <= 0 else max(1, min(most, round(value / top * most)))
