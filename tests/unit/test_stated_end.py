"""Where containers say that they end, whole, cut off, or silent about it."""

from __future__ import annotations

import struct

import pytest

from encoderd.encode.stated_end import stated_end

EBML = b"\x1a\x45\xdf\xa3\x84abcd"
SEGMENT = b"\x18\x53\x80\x67"
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14)
PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(24)


def box(kind: bytes, payload: int, size: int | None = None) -> bytes:
    return struct.pack(">I4s", payload + 8 if size is None else size, kind) + bytes(payload)


def wide(kind: bytes, payload: int) -> bytes:
    return struct.pack(">I4sQ", 1, kind, payload + 16) + bytes(payload)


def riff(payload: int) -> bytes:
    return b"RIFF" + struct.pack("<I", payload) + bytes(payload)


def tag(payload: int) -> bytes:
    return b"\x09" + payload.to_bytes(3, "big") + bytes(7 + payload) + (payload + 11).to_bytes(4, "big")


def asf(size: int, flags: int = 2) -> bytes:
    return ASF + PROPERTIES + struct.pack("<Q", size) + bytes(40) + struct.pack("<I", flags) + bytes(300)


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (box(b"ftyp", 8) + box(b"moov", 40) + box(b"mdat", 100), 0),
        ((box(b"ftyp", 8) + box(b"moov", 40) + box(b"mdat", 100))[:-30], 30),
        (box(b"ftyp", 8) + box(b"moov", 40) + box(b"moof", 20) + box(b"mdat", 100) + box(b"moof", 20)[:5], 3),
        ((box(b"ftyp", 8) + wide(b"mdat", 100) + box(b"moov", 40))[:-39], 39),
        (box(b"ftyp", 8) + box(b"mdat", 100, size=0), 0),
        (box(b"ftyp", 8) + box(b"mdat", 100, size=3), None),
        (EBML + SEGMENT + b"\xa0" + bytes(32), 0),
        (EBML + SEGMENT + b"\xa0" + bytes(30), 2),
        (EBML + SEGMENT + b"\x01\0\0\0\0\0\0\x20" + bytes(12), 20),
        (EBML + SEGMENT + b"\x01" + b"\xff" * 7 + bytes(12), None),
        (EBML + SEGMENT + b"\xff" + bytes(12), None),
        (EBML[:5], None),
        (riff(100), 0),
        (riff(100) + riff(50)[:-20], 20),
        (riff(100) + b"JUNK" + bytes(20), 0),
        (riff(0) + bytes(100), None),
        (b"RIFF\xff\xff\xff\xff" + bytes(100), None),
        (b"FLV\1\5\0\0\0\x09\0\0\0\0" + tag(20) + tag(50), 0),
        (b"FLV\1\5\0\0\0\x09\0\0\0\0" + tag(20) + tag(50)[:-9], None),
        (asf(len(asf(0))), 0),
        (asf(len(asf(0)) + 70), 70),
        (asf(0), None),
        (asf(5, flags=1), None),
        (b"\x47" + bytes(187), None),
        (b"", None),
    ],
)
def test_what_sizes_tell(data: bytes, missing: int | None) -> None:
    found = stated_end(data, len(data), lambda at, length: data[at : at + length])

    assert (None if found is None else max(0, found - len(data))) == missing
