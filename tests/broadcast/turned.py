"""Pictures that were taken with the camera on its side, and the message in the bitstream that says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from tests.broadcast import making
from tests.broadcast.making import Part
from tests.broadcast.transport import HZ, Unit

#: The header of SEI's unit, and the last bits of the message: that it goes on until told otherwise, and the end.
#: Sources: ISO/IEC 14496-10, 7.3.1 and D.1.27; ISO/IEC 23008-2, 7.3.1.2 and D.2.17.
_SEI = {"libx264": (b"\x06", 0b01001), "libx265": (b"\x4e\x01", 0b11000)}


def turned_pictures(codec: str, part: Part, *, every: int, quarters: int, mirrored: bool = False) -> list[Unit]:
    """
    Encode the part's pictures turned clockwise by so many quarters, and then mirrored left to right.

    Every so many pictures tell that they are to be mirrored and turned back: each group begins with one that does.
    """
    (piece,) = making.pieces_of([part])
    size = part.size[::-1] if quarters % 2 else part.size
    context = making.encoder(codec, replace(part, size=size), part.rate)
    packets: list[Any] = []
    for frame in _turned(part, piece, quarters, mirrored):
        packets += context.encode(frame)
    units = []
    for packet in [*packets, *context.encode(None)]:
        data = bytes(packet)
        if packet.pts % every == 0:
            data = _with_message(data, _orientation(codec, quarters, mirrored))
        units.append(Unit(pts=round(packet.pts / part.rate * HZ), dts=round(packet.dts / part.rate * HZ), data=data))
    return units


def _turned(part: Part, piece: making.Piece, quarters: int, mirrored: bool) -> Iterator[VideoFrame]:
    for number, frame in enumerate(making.pictures(part, piece, making.events_of([piece]))):
        luma = np.rot90(frame.to_ndarray()[: part.size[1]], -quarters)
        luma = luma[:, ::-1] if mirrored else luma
        grey = np.full((luma.shape[0] // 2, luma.shape[1]), 118, np.uint8)
        turned = VideoFrame.from_ndarray(np.ascontiguousarray(np.concatenate([luma, grey])), format="yuv420p")
        turned.pts, turned.time_base = number, 1 / part.rate
        yield turned


def _orientation(codec: str, quarters: int, mirrored: bool) -> bytes:
    """The message of type 47: do not cancel, mirror left to right, not top to bottom, then turn anticlockwise."""
    header, end = _SEI[codec]
    body = (int(mirrored) << 22 | (quarters % 4) << 19 | end).to_bytes(3, "big")
    return header + bytes([47, len(body)]) + body + b"\x80"


def _with_message(data: bytes, message: bytes) -> bytes:
    """Put it behind the access unit delimiter."""
    at = data.index(b"\0\0\1", 4)
    at -= data[at - 1] == 0
    return data[:at] + b"\0\0\0\1" + message + data[at:]
