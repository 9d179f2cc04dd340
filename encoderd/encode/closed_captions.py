"""
EIA-608 and 708 captions that travel in the pictures: those of a picture that is left out go on with the next ones.

A picture's captions are triplets: a byte of flags, two of data. Broadcasts fill them up to a constant number, so the
next pictures have places that are free. PyAV shows side data but cannot add any: what is written is written over the
padding. Source: CEA-708, 4.3 (cc_data); ATSC A/53 part 4, 6.2.3.
"""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any

from av.video.frame import VideoFrame

from encoderd.encode.pyav import side_data_of

#: cc_valid, and cc_type below it: 0 and 1 are EIA-608's two fields, which come first, 2 and 3 are packets of 708.
_VALID, _TYPE, _FIRST_708 = 0x04, 0x03, 2
_PADDING = bytes((0xFA, 0, 0))
#: Triplets that may wait, two seconds of a broadcast that has no free places; more are lost, and counted.
MOST_WAITING = 1200


def triplets(frame: VideoFrame) -> list[bytes]:
    """Return the valid triplets of a picture."""
    entry = _entry(frame)
    data = b"" if entry is None else bytes(entry)
    return [data[at : at + 3] for at in range(0, len(data) - 2, 3) if data[at] & _VALID]


class CarriedCaptions:
    """Captions on their way from pictures that are left out to those that follow; `lost` counts triplets."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Triplets that no picture has taken yet."""
        return len(self._waiting)

    def take(self, frame: VideoFrame) -> None:
        """Keep the captions of a picture that is left out."""
        self._waiting.extend(triplets(frame))
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.lost += 1

    def give(self, frame: VideoFrame) -> None:
        """Put what waits before the picture's own captions; what finds no place waits for the next picture."""
        if not self._waiting:
            return
        entry = _entry(frame)
        if entry is None:
            return
        places = int(entry.buffer_size) // 3
        self._waiting.extend(triplets(frame))
        now = [self._waiting.popleft() for _ in range(min(places, len(self._waiting)))]
        now.sort(key=lambda triplet: triplet[0] & _TYPE >= _FIRST_708)
        data = b"".join(now) + _PADDING * (places - len(now))
        # The side data is this frame's own: the last filter made a new picture, and a copy of its properties.
        ctypes.memmove(entry.buffer_ptr, data, len(data))


def _entry(frame: VideoFrame) -> Any:
    return side_data_of(frame).get("A53_CC")
