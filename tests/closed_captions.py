"""
EIA-608 captions in the user data of MPEG-2 pictures, as ATSC broadcasts have them, put in and read again.

Every picture gets one pair of bytes for each field, which tell the picture's number. Source: ATSC A/53 part 4, 6.2.3
(user data "GA94"); CEA-708, 4.3 (cc_data: 20 triplets in each of 29.97 pictures a second, most of them padding).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PADDING = bytes((0xFA, 0, 0))
#: Triplets in a picture at 29.97 pictures a second.
TRIPLETS = 20
_PICTURE, _GROUP = 0x00, 0xB8
_SLICE = re.compile(rb"\x00\x00\x01[\x01-\xaf]")
_STARTS = re.compile(rb"\x00\x00\x01[\x00-\xaf\xb8]")


def pair(number: int) -> bytes:
    """Two bytes of seven bits, with odd parity on top, that tell a number below 16384."""
    return bytes(value | (0x80 if value.bit_count() % 2 == 0 else 0) for value in (number >> 7 & 0x7F, number & 0x7F))


def number_in(two: bytes) -> int:
    return (two[0] & 0x7F) << 7 | two[1] & 0x7F


def with_captions(mpeg2_es: bytes, triplets: int = TRIPLETS) -> bytes:
    """Put cc_data before the first slice of every picture of a video elementary stream; numbers in display order."""
    out, copied, first, pictures, number, waiting = [], 0, 0, 0, 0, False
    for found in _STARTS.finditer(mpeg2_es):
        at, code = found.start(), mpeg2_es[found.start() + 3]
        if code == _GROUP:
            first = pictures
        elif code == _PICTURE:
            number = first + (mpeg2_es[at + 4] << 2 | mpeg2_es[at + 5] >> 6)  # temporal_reference
            pictures, waiting = pictures + 1, True
        elif waiting:
            out += [mpeg2_es[copied:at], _user_data(number, triplets)]
            copied, waiting = at, False
    return b"".join([*out, mpeg2_es[copied:]])


def captioned(picture: bytes, number: int, triplets: int = TRIPLETS) -> bytes:
    """Put cc_data before the first slice of one coded picture."""
    slice_ = _SLICE.search(picture)
    at = len(picture) if slice_ is None else slice_.start()
    return picture[:at] + _user_data(number, triplets) + picture[at:]


def _user_data(number: int, triplets: int) -> bytes:
    fields = bytes((0xFC, *pair(number), 0xFD, *pair(number)))
    return b"\x00\x00\x01\xb2GA94\x03" + bytes((0x40 | triplets, 0xFF)) + fields + PADDING * (triplets - 2) + b"\xff"


def captions_of(path: Path) -> list[list[bytes]]:
    """Return the valid triplets of every picture of a file, in display order."""
    import av

    with av.open(str(path)) as container:
        return [valid(frame) for frame in container.decode(video=0)]


def valid(frame: Any) -> list[bytes]:
    """Return the valid triplets that go with a decoded frame."""
    entry = frame.side_data.get("A53_CC")
    data = b"" if entry is None else bytes(entry)
    return [data[at : at + 3] for at in range(0, len(data) - 2, 3) if data[at] & 4]


def numbers(triplets: list[bytes], field: int = 1) -> list[int]:
    """Return the numbers that the triplets of a field (1 or 2) tell."""
    return [number_in(triplet[1:]) for triplet in triplets if triplet[0] & 3 == field - 1]
