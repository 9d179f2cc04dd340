"""Film in 24 pictures a second, sent as 60 fields: each picture once, with the flags and times of 2:3 pulldown."""

from __future__ import annotations

import re


def fields_before(picture: int) -> int:
    """Return how many fields are shown before a picture of a film whose pictures last 2, 3, 2, 3 … fields."""
    return picture * 5 // 2


def with_repeat_flags(data: bytes, picture: int) -> bytes:
    """
    Return an MPEG-2 picture with repeat_first_field and top_field_first as its place in the film asks for them.

    The sequence, if one begins here, becomes one that may have fields. Source: ISO/IEC 13818-2, 6.2.2.3 and 6.2.3.1;
    the height has to be a multiple of 32, or a sequence with fields has more macroblocks.
    """
    changed = bytearray(data)
    extensions = [match.end() for match in re.finditer(b"\x00\x00\x01\xb5", data)]
    coding = next(at for at in extensions if data[at] >> 4 == 8)
    for sequence in (at for at in extensions if data[at] >> 4 == 1):
        changed[sequence + 1] &= 0xF7  # progressive_sequence
    top_first = fields_before(picture) % 2 == 0
    repeated = fields_before(picture + 1) - fields_before(picture) == 3
    changed[coding + 3] = changed[coding + 3] & 0x7D | top_first << 7 | repeated << 1
    return bytes(changed)
