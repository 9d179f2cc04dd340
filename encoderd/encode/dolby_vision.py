"""
Dolby Vision: whether what is coded can be shown by a screen that does not know it.

Most profiles have a base layer in HDR10, HLG or BT.709, which is a picture like any other. Profile 5, and 10 and 20
without a compatible base, code colours in IPT (constant luminance, PQ, curves that change with the scene): a decoder
that takes them for Y′CbCr shows green and purple. The configuration is told by containers, the rest by the pictures.
Sources: Dolby Vision Streams Within the ISO Base Media File Format 2.5, 3; … Within the MPEG-2 Transport Stream Format
1.2, 3.2 (descriptor 0xB0); Matroska's block_additional_mapping/dvcc, dvvc; ETSI GS CCM 001, 5.3 (reference processing
unit); libavcodec, dovi_rpudec.c (the profile that a unit shows).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: The descriptor's tag is a private one: the version has to be one that exists.
_DESCRIPTOR, _VERSIONS = 0xB0, frozenset({1, 2, 3})
#: The box in MP4 (32 bytes), and Matroska's BlockAddIDType and BlockAddIDExtraData of the same record.
_BOX = re.compile(rb"\0\0\0[\x20-\x28]dv[cvw]C(.{8})", re.DOTALL)
_TYPE, _EXTRA = re.compile(rb"\x41\xe7\x84dv[cvw]C"), re.compile(rb"\x41\xed[\x85-\xa0](.{5})", re.DOTALL)
#: Bytes of a BlockAdditionMapping, at most: its two elements stand in any order.
_MAPPING_BYTES = 128
#: Profiles that have no base layer, and those that have none where their record says so. Older records of other
#: profiles have 0 there as well.
_NEVER, _MAYBE = frozenset({5}), frozenset({10, 20})
#: The first byte of a reference processing unit, and its type.
_PREFIX, _UNIT_TYPE = 0x19, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """`profile` as Dolby numbers them; `compatibility` of the base layer: 0 none, 1 HDR10, 2 SDR, 4 HLG, 6 Blu-ray."""

    profile: int
    compatibility: int

    @property
    def has_base(self) -> bool:
        """Whether a screen that does not know Dolby Vision shows the right colours."""
        return not (self.profile in _NEVER or (self.profile in _MAYBE and not self.compatibility))


def in_tracks(tracks: bytes) -> Configuration | None:
    """Return the first configuration in an MP4's "moov" or a Matroska file's Tracks."""
    box = _BOX.search(tracks)
    if box is not None:
        return _record(box[1])
    kind = _TYPE.search(tracks)
    if kind is None:
        return None
    extra = _EXTRA.search(tracks, max(0, kind.start() - _MAPPING_BYTES), kind.end() + _MAPPING_BYTES)
    return None if extra is None else _record(extra[1])


def in_descriptors(found: Iterable[tuple[int, bytes]]) -> Configuration | None:
    """Return the configuration that a stream's descriptors in a PMT (tag and body of each) tell."""
    for tag, body in found:
        if tag == _DESCRIPTOR and len(body) >= 5 and body[0] in _VERSIONS:
            flags = body[3]
            dependent = not flags & 0x01 and len(body) >= 7  # the base layer is in another PID, which is named
            return Configuration(profile=body[2] >> 1, compatibility=body[6 if dependent else 4] >> 4)
    return None


def _record(data: bytes) -> Configuration | None:
    """Two bytes of version, 7 bits of profile, 6 of level, 3 flags, 4 bits of compatibility."""
    if len(data) < 5 or data[0] not in _VERSIONS:
        return None
    return Configuration(profile=data[2] >> 1, compatibility=data[4] >> 4)


def unit_has_base(unit: bytes) -> bool:
    """
    Whether the pictures of a reference processing unit can be shown without it; True where it says nothing.

    Profile 5 alone has units of profile 0 with a base layer of full range.
    """
    bits = _Bits(unit)
    if bits.take(8) != _PREFIX or bits.take(6) != _UNIT_TYPE:
        return True
    bits.take(11)  # format
    profile = bits.take(4)
    bits.take(4)  # level
    if profile or not bits.take(1):  # what follows is told for the whole sequence
        return True
    bits.take(1)  # explicit resampling of colour
    if bits.take(2) == 0:  # the coefficients are whole numbers over a power of two
        bits.exponential()
    bits.take(2)
    return not bits.take(1)


class _Bits:
    """Bits from the first on; behind the last one come zeros."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data[:16], "big"), 8 * min(len(data), 16)

    def take(self, count: int) -> int:
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else 0
        return shifted & (1 << count) - 1

    def exponential(self) -> int:
        """Exp-Golomb code, as in ISO/IEC 14496-10, 9.1."""
        zeros = 0
        while not self.take(1) and self._left > 0:
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
