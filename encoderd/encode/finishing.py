"""
The end of a long MP4: several segments in one file become one movie, its index in front.

libavformat's muxer keeps some 80 bytes of each packet until the end, so a long recording is written as segments one
behind the other, each with an index of its own. Nothing of it is written twice: the samples move towards the end of
the file, from the last one on, which is what "faststart" does too, and the joined index gets the room in front.
Memory: some 40 bytes per packet, at a time when encoder and decoder are gone.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from encoderd.encode.failures import crashed, output_failed
from encoderd.encode.movie_boxes import Offsets, box
from encoderd.encode.movie_index import UNREADABLE, MovieIndex, Segment, TrackTimes

#: Bytes that are moved at a time.
_AT_ONCE = 4 * 2**20
#: Bytes of "free" and "mdat", the heads in front of the samples, together.
_HEADS = 16
#: What the joined index may be longer than the segments' own, in bytes: more than it can be.
_MARGIN = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSegment:
    """A segment as the muxer left it: bytes `first` to `end` of the file; `times` by track number."""

    first: int
    end: int
    times: Mapping[int, TrackTimes]


class Appended:
    """
    The rest of a file, from `first` on, as a file for a muxer to write.

    Raises OSError as the file system does.
    """

    def __init__(self, path: str, first: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._first = first
        self._at = self._size = 0

    def write(self, data: bytes) -> int:
        """Write at the current place; returns the number of bytes, which is all of them."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, self._first + self._at)
            self._at += count
            view = view[count:]
        self._size = max(self._size, self._at)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def done(self) -> None:
        """Close the descriptor; the muxer writes no more."""
        with contextlib.suppress(OSError):  # what matters is said by fsync, later
            os.close(self._fd)


def finish_movie(path: str, segments: Sequence[WrittenSegment], alive: Callable[[float], None]) -> None:
    """
    Make one movie of the segments in the file; `alive` is called with the share (0…1) that has been moved.

    Raises:
        EncodeFailed: there is no space for the index, the disk fails, or a segment is not what it should be.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _finish(fd, segments, alive)
        finally:
            os.close(fd)
    except OSError as error:
        raise output_failed(error.errno, error.strerror or str(error), os.path.dirname(path)) from error
    except UNREADABLE as error:
        raise crashed(
            f"The segments of the output could not be joined: {error}.", remedy="See the job's log: encoderd logs JOB"
        ) from error


def _finish(fd: int, segments: Sequence[WrittenSegment], alive: Callable[[float], None]) -> None:
    index, head, found = MovieIndex(), b"", []
    for written in segments:
        ftyp, segment = _read_segment(fd, written)
        head = head or ftyp
        found.append((written.first + segment.first, index.add(segment), segment.end - segment.first))
    size = os.fstat(fd).st_size
    # Each segment has an index of its own, so that the whole becomes no longer than they are, but for some bytes.
    wide = size + _MARGIN >= 2**32
    payload = index.payload_bytes
    moov = index.render(wide=wide)
    del index
    front = len(head) + sum(map(len, moov)) + _HEADS
    # Everything moves towards the end, or stays: then nothing is written over before it has been read.
    spare = max(0, *(source - front - place for source, place, _ in found))
    spare = max(8, spare) if spare else 0
    begin = front + spare
    if not wide and begin + payload >= 2**32:
        raise ValueError(f"the index has become longer than those of the segments, by {begin + payload - size} bytes")
    _move(fd, [(source, begin + place, length) for source, place, length in found], alive)
    heads = box(b"free", bytes(spare - 8)) if spare else b""
    if payload + 8 < 2**32:
        heads += box(b"free") + struct.pack(">I4s", payload + 8, b"mdat")
    else:
        heads += struct.pack(">I4sQ", 1, b"mdat", payload + 16)
    at = 0
    for piece in (head, *moov, heads):
        data = piece.placed(begin) if isinstance(piece, Offsets) else piece
        _write(fd, data, at)
        at += len(data)
    os.ftruncate(fd, begin + payload)
    alive(1.0)


def _read_segment(fd: int, segment: WrittenSegment) -> tuple[bytes, Segment]:
    """Return the segment's "ftyp" box, and what it holds."""
    at, moov, ftyp, payload = segment.first, b"", b"", (0, 0)
    while at < segment.end:
        head = os.pread(fd, 16, at)
        size, kind = struct.unpack_from(">I4s", head)
        begin = 8
        if size == 1:
            size, begin = struct.unpack_from(">Q", head, 8)[0], 16
        if size < begin or at + size > segment.end:
            raise ValueError(f"a box of {size} bytes at byte {at}")
        if kind == b"ftyp":
            ftyp = _read(fd, size, at)
        elif kind == b"moov":
            moov = _read(fd, size - begin, at + begin)
        elif kind == b"mdat":
            payload = (at + begin - segment.first, at + size - segment.first)
        at += size
    if not moov or not payload[1]:
        raise ValueError(f"no index, or no samples, in the segment at byte {segment.first}")
    return ftyp, Segment(moov=moov, times=segment.times, first=payload[0], end=payload[1])


def _read(fd: int, size: int, at: int) -> bytes:
    data = bytearray(size)
    _fill(fd, memoryview(data), at)
    return bytes(data)


def _fill(fd: int, data: memoryview, at: int) -> None:
    while data:
        count = os.preadv(fd, [data], at)
        if not count:
            raise ValueError(f"the file ends at byte {at}")
        at += count
        data = data[count:]


def _move(fd: int, moves: Sequence[tuple[int, int, int]], alive: Callable[[float], None]) -> None:
    """Move (from, to, length), the last first and each from its end on: to is never before from."""
    whole = max(1, sum(length for _, _, length in moves))
    done = 0
    buffer = memoryview(bytearray(min(_AT_ONCE, whole)))
    for source, target, length in reversed(moves):
        left = length if source != target else 0
        while left:
            size = min(left, _AT_ONCE)
            left -= size
            _fill(fd, buffer[:size], source + left)
            _write(fd, buffer[:size], target + left)
            done += size
            alive(done / whole)


def _write(fd: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, at)
        at += count
        view = view[count:]
