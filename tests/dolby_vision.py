"""Dolby Vision's metadata, made by hand: units in the bitstream, and the record that containers have."""

from __future__ import annotations

_BITS = 10
_DENOMINATOR = 23


def record(profile: int, compatibility: int = 0, version: int = 1) -> bytes:
    """The 24 bytes of "dvcC" and of Matroska's BlockAddIDExtraData: level 6, unit and base layer present."""
    told = profile << 9 | 6 << 3 | 0b101
    return bytes([version, 0]) + told.to_bytes(2, "big") + bytes([compatibility << 4]) + bytes(19)


def descriptor(profile: int, compatibility: int = 0, version: int = 1) -> bytes:
    """Descriptor 0xB0 of a PMT."""
    return bytes([0xB0, 5]) + record(profile, compatibility, version)[:5]


def nal_unit(*, has_base: bool = False) -> bytes:
    """HEVC's unit of type 62 with its start code: curves that change nothing; without a base it is of profile 5."""
    fields = [(0x19, 8), (2, 6), (18, 11), (int(has_base), 4), (0, 4), (1, 1), (0, 1), (0, 2), *_ue(_DENOMINATOR)]
    fields += [(1, 2), (int(not has_base), 1), *_ue(2), *_ue(2), *_ue(4), (0, 1), (0, 3), (0, 1), (1, 1)]
    fields += [(0, 1), (0, 1), *3 * _ue(0)]
    fields += 3 * [*_ue(0), (0, _BITS), ((1 << _BITS) - 1, _BITS)]
    fields += 2 * _ue(0)
    # Polynomials of the first order: 0 and 1.
    fields += 3 * [*2 * _ue(0), (0, 1), *_ue(0), (0, _DENOMINATOR), *_ue(1), (0, _DENOMINATOR)]
    value = length = 0
    for field, bits in fields:
        value, length = value << bits | field, length + bits
    data = (value << -length % 8).to_bytes(-(-length // 8), "big") + b"\xff" * 4 + b"\x80"
    return b"\0\0\0\1\x7c\1" + _escaped(data)


def _ue(value: int) -> list[tuple[int, int]]:
    bits = (value + 1).bit_length()
    return [(value + 1, 2 * bits - 1)]


def _escaped(data: bytes) -> bytes:
    out = bytearray()
    for byte in data:
        if byte <= 3 and out[-2:] == b"\0\0":
            out.append(3)
        out.append(byte)
    return bytes(out)
