"""Content begins at the first steady rhythm of sync bytes and ends with the last byte that is no filling."""

from __future__ import annotations

import random

import pytest

from encoderd.encode.content_range import LEAST_FILLING, MOST_BEFORE, Content, content_of

PACKETS = b"".join(
    b"\x47\x01\x00" + bytes([0x10 | number & 15]) + random.Random(number).randbytes(184) for number in range(2000)
)
NULLS = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 2000
JUNK = random.Random(1).randbytes(1_500_001)


def found(data: bytes) -> Content:
    return content_of(data[: 2 << 20], len(data), lambda at, length: data[at : at + length])


@pytest.mark.parametrize(
    ("before", "behind", "kept"),
    [
        (b"", b"", 0),
        (b"", bytes(9_000_000), 0),
        (b"", b"\xff" * 9_000_000, 0),
        (b"", NULLS + bytes(1_000_000), 0),
        (b"", bytes(LEAST_FILLING // 2), LEAST_FILLING // 2),
        (JUNK, bytes(9_000_000), 0),
        (b"\x47" * 1000 + JUNK, b"", 0),
        (bytes(3760), b"", 0),
        (bytes(MOST_BEFORE), b"", 0),
    ],
    ids=range(9),
)
def test_content_is_found(before: bytes, behind: bytes, kept: int) -> None:
    content = found(before + PACKETS + behind)
    end = len(before) + len(PACKETS) + kept

    assert content.packets
    assert content.begin in {0, len(before)} if len(before) < 188 else content.begin == len(before)
    assert content.end in {end, end + -kept % 188}


def test_a_packet_that_is_cut_off_is_kept_whole_in_its_place() -> None:
    """The last packet ends in mid-packet, zeros follow: the packet's place is content."""
    content = found(PACKETS[:-50] + bytes(5_000_000))

    assert 0 <= content.end - (len(PACKETS) - 50) <= 188


def test_junk_beyond_the_limit_is_not_searched() -> None:
    assert not found(JUNK * 12 + PACKETS).packets


def test_what_is_no_transport_stream_keeps_its_beginning() -> None:
    data = b"\x1a\x45\xdf\xa3" + JUNK[:100_000] + b"\1" + bytes(900_000)

    assert found(data) == Content(0, 100_005, len(data))
