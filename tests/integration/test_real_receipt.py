"""Receipts of real encodes are what their schema says, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from tests.encoding import encode
from tests.unit.test_receipt import SCHEMA, problems


@pytest.mark.parametrize(
    ("changes", "method"),
    [({}, "places"), ({"verify": "full"}, "beside"), ({"container": "mkv", "verify": "full"}, "beside")],
    ids=str,
)
def test_a_real_receipt(tmp_path: Path, changes: dict[str, Any], method: str) -> None:
    source = make_recording(tmp_path / "x.ts", SampleSpec(duration_s=2.0, width=320, height=240))

    done = encode(source, **changes)

    assert [] == list(problems(done.receipt, SCHEMA))
    assert method == done.receipt["verification"]["method"]
    assert 0 < done.receipt["startup_s"] < 60
    assert done.receipt["peak_rss_bytes"] > 2**20
