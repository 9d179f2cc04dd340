"""
Boxes of an MP4's index: walking through them, and the heads in which durations and bit rates stand.

Written as libavformat writes them (libavformat/movenc.c). Source: ISO/IEC 14496-12, chapters 4 and 8; of "esds" ISO/IEC
14496-1, 7.2.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Data = TypeVar("Data", bytes, memoryview)

#: From this number on a duration needs the wide form of its box.
_WIDE_DURATION = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BitRates:
    """Of one track, in bits per second: what the encoder was asked for, the first segment's average, all samples'."""

    encoder_bps: int
    first_bps: int
    average_bps: int


@dataclass(frozen=True, slots=True)
class Offsets:
    """The chunk offsets of a track, for samples whose place in the file is not known yet."""

    chunks: tuple[tuple[int, NDArray[np.unsignedinteger[Any]]], ...]  # for each segment: how far they moved, and they
    wide: bool

    def __len__(self) -> int:
        return sum(len(chunks) for _, chunks in self.chunks) * (8 if self.wide else 4)

    def placed(self, payload_at: int) -> bytes:
        """Return their part of "stco" or "co64" for samples that begin at byte `payload_at` of the file."""
        form = ">u8" if self.wide else ">u4"
        return b"".join(
            (part.astype(np.int64) + moved + payload_at).astype(form).tobytes() for moved, part in self.chunks
        )


#: A box in pieces: what is there once shall not be there twice because it was put together.
Pieces = list[bytes | Offsets]


def boxes(data: Data, at: int = 0) -> Iterator[tuple[bytes, Data]]:
    """
    Yield (kind, payload) of the boxes one behind the other; of a memoryview without copies.

    Raises:
        ValueError: they do not fill `data`.
    """
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError(f"a box is cut off at byte {at}")
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            raise ValueError(f"a box of {size} bytes at byte {at} of {len(data)}")
        yield kind, data[at + 8 : at + size]
        at += size


def box(kind: bytes, *payload: bytes) -> bytes:
    """Return a box with its head."""
    return struct.pack(">I4s", 8 + sum(map(len, payload)), kind) + b"".join(payload)


def in_box(kind: bytes, pieces: Pieces) -> Pieces:
    """As `box`, in pieces."""
    return [struct.pack(">I4s", 8 + sum(map(len, pieces)), kind), *pieces]


def children(payload: bytes) -> dict[bytes, bytes]:
    """Return the boxes of a box that has one of each kind."""
    return dict(boxes(payload))


def track_number(trak: bytes) -> int:
    """Of "trak": the number that "tkhd" gives it."""
    head = children(trak)[b"tkhd"]
    return int(struct.unpack_from(">I", head, 20 if head[0] else 12)[0])


def timescale(head: bytes) -> int:
    """Of "mvhd" or "mdhd"."""
    return int(struct.unpack_from(">I", head, 20 if head[0] else 12)[0])


def duration_of(head: bytes, *, before: int) -> int:
    """Of "mvhd", "mdhd" and "tkhd", which have `before` numbers of 32 bits between the dates and the duration."""
    form, at = (">Q", 20 + 4 * before) if head[0] else (">I", 12 + 4 * before)
    return int(struct.unpack_from(form, head, at)[0])


def with_duration(head: bytes, duration: int, *, before: int) -> bytes:
    """Return such a box's payload with another duration, in the narrow form where that suffices."""
    created, changed = struct.unpack_from(">QQ" if head[0] else ">II", head, 4)
    at = 20 if head[0] else 12
    middle, rest = head[at : at + 4 * before], head[at + 4 * before + (8 if head[0] else 4) :]
    if duration >= _WIDE_DURATION:
        return b"\1" + head[1:4] + struct.pack(">QQ", created, changed) + middle + struct.pack(">Q", duration) + rest
    return b"\0" + head[1:4] + struct.pack(">II", created, changed) + middle + struct.pack(">I", duration) + rest


def longer_edit_list(edits: bytes, longer: int) -> bytes:
    """The last edit lasts `longer` ticks of the movie."""
    rows = [list(row) for row in struct.iter_unpack(">QqI" if edits[0] else ">IiI", edits[8:])]
    rows[-1][0] += longer
    wide = any(max(row[0], row[1]) >= _WIDE_DURATION for row in rows)
    form = ">QqI" if wide else ">IiI"
    return bytes([wide]) + edits[1:8] + b"".join(struct.pack(form, *row) for row in rows)


def with_bit_rates(entry: bytes, rates: BitRates) -> bytes:
    """
    Of "stsd": largest and average in "btrt" and in a decoder configuration ("esds"), where they are the samples' own.

    libavformat (calculate_mpeg4_bit_rates) puts what the encoder promises in their place, where it promises something.
    """
    out = bytearray(entry)
    for mark, place in ((b"\0\0\0\x14btrt", 4), (b"esds\0\0\0\0", None)):
        at = out.find(mark)
        if at < 0:
            continue
        at = at + len(mark) + place if place is not None else _configuration(out, at + len(mark)) + 5
        largest, average = struct.unpack_from(">II", out, at)
        if largest == max(rates.first_bps, rates.encoder_bps):
            largest = max(rates.average_bps, rates.encoder_bps)
        elif largest == rates.first_bps:
            largest = rates.average_bps
        if average == rates.first_bps:
            average = rates.average_bps
        struct.pack_into(">II", out, at, largest, average)
    return bytes(out)


def _configuration(data: bytearray, at: int) -> int:
    """Return where the decoder configuration's fields begin in "esds" (ISO/IEC 14496-1, 7.2.6.6)."""
    at = data.index(b"\4\x80\x80\x80", at)
    return at + 5
