"""
Where the content of a file begins and ends: bytes before the first packet, and filling behind the last, are none.

Recorders reserve room beforehand (zeros, or 0xFF on flash), write headers of their own (Topfield), or leave what the
disk held before. FFmpeg looks for 64 KiB at most for the next packet, and for the end of the clock in the last bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from encoderd.encode.transport_stream import NULL_PID, SYNC, first_packet, packet_shape

Read = Callable[[int, int], bytes]

#: So many bytes may stand before the first packet of a transport stream.
MOST_BEFORE = 16 * 1024 * 1024
#: Less than this at the end may as well be content: packets are stuffed with 0xFF, and pictures end with zeros.
LEAST_FILLING = 64 * 1024
#: A hole in the middle of a recording (a disk's lost blocks) is passed over up to this size: FFmpeg's resync_size.
MOST_HOLE = 256 * 1024 * 1024
_BLOCK = 4 * 1024 * 1024
_FILLING = (0x00, 0xFF)
#: First bytes of the containers in whose payload a transport stream may be met that is none of ours.
_OTHERS = (b"\x1a\x45\xdf\xa3", b"RIFF", b"FLV", b"\x30\x26\xb2\x75", b"\xb7\xd8\x00\x20", b"\0\0\1\xba")
_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide"})


@dataclass(frozen=True, slots=True)
class Content:
    """From byte `begin` to before byte `end`; `size_bytes` is the file's. `packets`: of a transport stream."""

    begin: int
    end: int
    size_bytes: int
    packets: bool = False

    def url(self, fd: int, *, framed: bool) -> str:
        """Return how FFmpeg opens it by the descriptor; only what is `framed` in packets is cut out of the file."""
        path = f"/proc/self/fd/{fd}"
        if not framed or (self.begin, self.end) == (0, self.size_bytes):
            return path
        return f"subfile,,start,{self.begin},end,{self.end},,:{path}"


def content_of(head: bytes, size_bytes: int, read: Read) -> Content:
    """Find the content of a file; `head` are its first bytes, `read` gives (offset, length) of it."""
    begin, shape = 0, packet_shape(head)
    if (shape is None or shape[1] >= shape[0]) and not head.startswith(_OTHERS) and head[4:8] not in _BOXES:
        found = first_packet(read(0, MOST_BEFORE + _BLOCK), MOST_BEFORE)
        begin, shape = (0, None) if found is None else (found[1], (found[0], 0, found[2]))
    end = _end_of_filling(size_bytes, begin, read)
    if shape is None:
        return Content(begin, end, size_bytes)
    size, start, ahead = shape
    first = begin + start
    end = min(size_bytes, first + -(-(end - first) // size) * size)
    end = _end_of_null_packets(first, end, size, ahead, read)
    return Content(begin, end, size_bytes, packets=True)


def _end_of_filling(size_bytes: int, begin: int, read: Read) -> int:
    """Return where the last byte ends that is no filling; the file's end where there is little of it."""
    last = read(size_bytes - 1, 1)
    if not last or last[0] not in _FILLING:
        return size_bytes
    end = size_bytes
    while end > begin:
        at = max(begin, end - _BLOCK)
        other = np.flatnonzero(np.frombuffer(read(at, end - at), np.uint8) != last[0])
        if len(other):
            end = at + int(other[-1]) + 1
            break
        end = at
    return end if size_bytes - end >= LEAST_FILLING and end > begin else size_bytes


def _end_of_null_packets(first: int, end: int, size: int, ahead: int, read: Read) -> int:
    """Return where the last packet ends that is no null packet; `end` where there are few, or nothing else."""
    at = first + (end - first) // size * size
    while at > first:
        start = max(first, at - _BLOCK // size * size)
        rows = np.frombuffer(read(start, at - start), np.uint8)
        rows = rows[: len(rows) // size * size].reshape(-1, size)
        pids = (rows[:, ahead + 1].astype(np.uint16) & 0x1F) << 8 | rows[:, ahead + 2]
        real = np.flatnonzero((rows[:, ahead] != SYNC) | (pids != NULL_PID))
        if len(real):
            found = start + (int(real[-1]) + 1) * size
            return found if end - found >= LEAST_FILLING else end
        at = start
    return end
