"""Files whose end is missing, by the sizes in them: never called whole, however their header may count."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from encoderd.encode.failures import EncodeFailed
from tests.broadcast.catalogue.claims import SUFFIXES, claiming, file_of
from tests.broadcast.catalogue.times import part_of
from tests.encoding import encode, try_encode


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """Eight seconds in each container."""
    files = {name: file_of(name, part_of(8, 0)) for name in SUFFIXES}
    return {**files, "mp4": index_first(files["mp4"])}


def index_first(data: bytes) -> bytes:
    """Move an MP4's index to the front: behind its samples it is what goes first when the file is cut off."""
    at, samples = data.index(b"moov") - 4, data.index(b"mdat") - 4
    index = bytearray(data[at:])
    for found in re.finditer(b"stco", index):
        count = int.from_bytes(index[found.end() + 4 : found.end() + 8], "big")
        for place in range(found.end() + 8, found.end() + 8 + 4 * count, 4):
            moved = int.from_bytes(index[place : place + 4], "big") + len(index)
            index[place : place + 4] = moved.to_bytes(4, "big")
    return data[:samples] + bytes(index) + data[samples:at]


def cut(folder: Path, container: str, data: bytes, share: float) -> Path:
    path = folder / f"x{SUFFIXES[container]}"
    path.write_bytes(data[: round(len(data) * share)])
    return path


@pytest.mark.parametrize("container", SUFFIXES)
def test_a_file_that_lost_its_second_half_is_refused(tmp_path: Path, whole: dict[str, bytes], container: str) -> None:
    path = cut(tmp_path, container, whole[container], 0.55)
    outcome = try_encode(path, tmp_path / "out.mp4")

    assert isinstance(outcome, EncodeFailed)
    assert outcome.acceptable
    assert ("are missing" if container == "flv" else "its end was cut off") in outcome.message


@pytest.mark.parametrize("container", [name for name in SUFFIXES if name != "flv"])
def test_a_file_that_lost_its_last_bytes_is_in_doubt(tmp_path: Path, whole: dict[str, bytes], container: str) -> None:
    """Less is missing than a claim may be wrong by, or nothing is claimed that is missing: the sizes tell."""
    data = claiming(whole[container], container, Fraction(1, 10))
    done = encode(cut(tmp_path, container, data, 0.99))
    doubts = {one["check"]: one["evidence"] for one in done.receipt["findings"] if one["verdict"] != "pass"}

    assert "its end was cut off" in doubts["source_read"]
