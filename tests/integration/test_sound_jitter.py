"""Timestamps of sound that jitter, through the real child: what a viewer hears is judged with the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broadcast.catalogue.sounds import CATALOGUE
from tests.encoding import encode


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.startswith("jitter_")])
def test_jitter_is_no_damage(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.ts"
    path.write_bytes(CATALOGUE[name].make().data)

    receipt = encode(path).receipt
    (track,) = receipt["audio"]

    assert [track[told] for told in ("filled", "cut", "damaged", "dropped")] == [0, 0, 0, 0]
    assert (receipt["damage"]["ratio"], receipt["verdict"]) == (0, "pass")
