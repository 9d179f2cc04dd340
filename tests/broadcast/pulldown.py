"""Film in 24 pictures a second, sent as 50 or 60 fields: each picture once, with its pulldown's flags and times."""

from __future__ import annotations

import re
from collections.abc import Sequence

TWO_THREE = (2, 3)


def fields_before(picture: int, pattern: Sequence[int] = TWO_THREE) -> int:
    """Return how many fields are shown before a picture of a film whose pictures last so many by turns."""
    rounds, rest = divmod(picture, len(pattern))
    return rounds * sum(pattern) + sum(pattern[:rest])


def with_repeat_flags(data: bytes, picture: int, pattern: Sequence[int] = TWO_THREE) -> bytes:
    """
    Return an MPEG-2 picture with repeat_first_field and top_field_first as its place in the film asks for them.

    The sequence, if one begins here, becomes one that may have fields. Source: ISO/IEC 13818-2, 6.2.2.3 and 6.2.3.1;
    the height has to be a multiple of 32, or a sequence with fields has more macroblocks.
    """
    changed, coding = _sequence(data, 0xF7, 0)  # no progressive_sequence
    before, after = fields_before(picture, pattern), fields_before(picture + 1, pattern)
    changed[coding + 3] = changed[coding + 3] & 0x7D | (before % 2 == 0) << 7 | (after - before == 3) << 1
    return bytes(changed)


def with_doubled_frames(data: bytes, frames: int) -> bytes:
    """
    Return a picture of a progressive sequence that is shown so many times: 1, 2 or 3.

    Source: ISO/IEC 13818-2, 6.3.10: repeat_first_field, and top_field_first for the third.
    """
    changed, coding = _sequence(data, 0xFF, 0x08)
    changed[coding + 3] = changed[coding + 3] & 0x7D | (frames == 3) << 7 | (frames > 1) << 1
    return bytes(changed)


def _sequence(data: bytes, kept: int, added: int) -> tuple[bytearray, int]:
    """Change progressive_sequence; return the picture, and where its coding extension is."""
    changed = bytearray(data)
    extensions = [match.end() for match in re.finditer(b"\x00\x00\x01\xb5", data)]
    for sequence in (at for at in extensions if data[at] >> 4 == 1):
        changed[sequence + 1] = changed[sequence + 1] & kept | added
    return changed, next(at for at in extensions if data[at] >> 4 == 8)
