"""Parameters of a kind: some are tried often, all of them in `make e2e`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def often(count: int, values: Iterable[Any]) -> list[Any]:
    """
    Return parameters of which `make test` takes `count`, evenly spread; the others wait for `make e2e`.

    A tuple stands for several parameters.
    """
    given = list(values)
    taken = {number * len(given) // count for number in range(count)}
    return [value if number in taken else _slow(value) for number, value in enumerate(given)]


def _slow(value: Any) -> Any:
    mark = pytest.mark.slow
    if isinstance(value, type(pytest.param())):
        return pytest.param(*value.values, id=value.id, marks=(*value.marks, mark))
    return pytest.param(*value, marks=mark) if isinstance(value, tuple) else pytest.param(value, marks=mark)
