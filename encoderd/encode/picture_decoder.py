"""
Packets of one video stream → its pictures, each with a time base, the mistakes counted one by one.

PyAV gives all pictures of a call at once and none of them when a later one of the same call cannot be decoded, or it
leaves the rest inside and says nothing; a decoder that is emptied cannot be asked a second time (measured, 14.2 to
18.1). So nothing that may fail is left to the call that empties it: with threads, empty access units push out what is
still being decoded, and each of them brings one picture or one mistake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av.error
from av.packet import Packet
from av.video.frame import VideoFrame

#: A damaged header may claim any size; a decoder that believes it takes all memory. 4096 × 2304 is more than nearly
#: anybody broadcasts; what the recording as a whole has is no more than `bounds` lets through.
MOST_PIXELS = 4096 * 2304
#: An access unit of filler data, which decodes to nothing. Sources: ITU-T H.264, 7.4.1 (type 12); H.265, 7.4.2.2 (38).
_FILLER = {"h264": b"\x0c\xff\x80", "hevc": b"\x4c\x01\xff\x80"}


class PictureDecoder:
    """
    The decoder of one of the demuxer's streams; the stream's container stays the caller's.

    `spoilt` is called with each packet that could not be decoded, which with threads is known some packets later.
    Codecs without an empty access unit are not decoded by threads with a frame each.
    """

    def __init__(self, stream: Any, threads: int, spoilt: Callable[[Packet[Any]], None]) -> None:
        self._stream = stream
        context = self._context = stream.codec_context
        self._filler = _filler(context.name, bytes(context.extradata or b""))
        self._spoilt = spoilt
        self._inside: deque[Packet[Any]] = deque()  # packets that the threads are decoding
        if not context.is_open:
            context.thread_count = threads
            context.thread_type = "AUTO" if self._filler else "SLICE"
            context.options = {"max_pixels": str(max(MOST_PIXELS, context.width * context.height))}
            with suppress(av.error.FFmpegError):  # each packet will say so
                context.open(strict=False)
        #: How many calls later than its packet a picture or mistake comes.
        self._delay = int(context.thread_count) - 1 if self._filler else 0

    def decode(self, packet: Packet[Any]) -> list[VideoFrame]:
        """Return the pictures that come out for a packet, in the order in which they are shown."""
        self._inside.append(packet)
        return self._pushed(packet, self._inside.popleft() if len(self._inside) > self._delay else packet)

    def drain(self) -> Iterator[VideoFrame]:
        """Yield the pictures that are still inside; then the decoder is ready for whatever comes next on its stream."""
        self._context.skip_frame = "ALL"  # a unit without a picture is a mistake otherwise
        for left in range(self._delay, 0, -1):
            about = self._inside.popleft() if len(self._inside) >= left else None
            yield from self._pushed(self._packet(self._filler), about)
        self._context.skip_frame = "DEFAULT"
        yield from self._pushed(self._packet(b""), None)
        self._context.flush_buffers()

    def _pushed(self, packet: Packet[Any], about: Packet[Any] | None) -> list[VideoFrame]:
        """A packet that cannot be decoded costs itself, not the job; `about` is the one whose result comes now."""
        try:
            frames: list[VideoFrame] = self._context.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            if about is not None:
                self._spoilt(about)
            return []
        return frames

    def _packet(self, data: bytes) -> Packet[Any]:
        """One that empties the decoder has no data; a frame gets its time base from the packet that brings it."""
        packet: Packet[Any] = Packet(data) if data else Packet()
        packet.stream, packet.time_base = self._stream, Fraction(self._stream.time_base or Fraction(1, 90_000))
        return packet


def _filler(codec: str, extradata: bytes) -> bytes:
    """Return an empty access unit as this stream writes them, b"" where the codec has none."""
    unit = _FILLER.get(codec, b"")
    if not unit or extradata[:1] != b"\x01":
        return unit and b"\0\0\0\1" + unit
    # ISO/IEC 14496-15, 5.3.3.1.2 and 8.3.3.1.2: how many bytes tell a unit's length.
    at = 4 if codec == "h264" else 21
    size = (extradata[at] & 3) + 1 if len(extradata) > at else 4
    return len(unit).to_bytes(size, "big") + unit
