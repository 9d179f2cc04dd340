"""
The proof beside the encode: every packet that the encoder gives back is decoded at once, in a thread of its own.

What comes out is held against what went in: each picture at a few places, the sampled seconds closely. A checksum of
all packets ties it to the file: when `playback` finds the same one there, nothing of it has to be decoded again. Memory
is bounded: packets wait in a pipe, pictures as a few kilobytes each, whole bands of luma only of the sampled seconds.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from encoderd.encode.likeness import WRONG_DB, Luma, Samples, places, psnr_db, ssim, strips
from encoderd.encode.nal_units import VideoCrc, has_start_codes
from encoderd.encode.pipe import Breaker, Broken, Pipe
from encoderd.encode.playback import STRICT
from encoderd.encode.written import ProofFacts, SecondLikeness

#: Packets that may wait for the decoder; the encoder waits when there are more.
PACKETS = 32
#: Pictures that went in and have not come out: more than any encoder keeps back. Then the oldest is forgotten.
_MOST_INSIDE = 512
#: Of the pictures of a sampled second one in so many is compared closely: seven of 30, for a median that means it.
_CLOSE_IN = 4


@dataclass(slots=True)
class _Picture:
    """What is kept of a picture that went into the encoder."""

    thin: NDArray[np.float32]
    close: Luma | None


@dataclass(slots=True)
class _Second:
    """The pictures of one sampled second, as compared."""

    psnr_db: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    thin_db: list[float] = field(default_factory=list)
    beside_db: list[float] = field(default_factory=list)


class Proof:
    """
    Decodes and compares one video stream while it is encoded.

    `see` and `take` are called by the thread that encodes, `finish` once at the end by the same. `extradata` is the
    open encoder's, `time_base` that of all timestamps. What the recording or the encoder do wrong becomes
    `ProofFacts.error`; an exception is a defect or a lack of memory.
    """

    def __init__(self, extradata: bytes, time_base: Fraction, samples: Samples) -> None:
        self._samples = samples
        self._per_second = int(1 / time_base)
        self._time_base = time_base
        self._crc = VideoCrc(start_codes=has_start_codes(extradata))
        self._inside: OrderedDict[int, _Picture] = OrderedDict()  # in the order of their pts; deletions by the thread
        self._close_in = (-1, 0)  # a second, and how many of its pictures were seen
        self._packets = 0
        self._seconds: dict[int, _Second] = {}
        self._compared = self._wrong = self._frames = 0
        self._wrong_at: int | None = None
        self._worst: tuple[float, int] | None = None  # dB, pts
        self._before: tuple[int, NDArray[np.float32]] | None = None  # the last source picture that came out
        self._pending: tuple[int, NDArray[np.float32], float, float] | None = None
        self._error = ""
        self._decoder = _decoder(extradata)
        self._breaker = Breaker()
        self._pipe: Pipe[tuple[bytes, int | None, int | None]] = Pipe(self._breaker, PACKETS)
        self._breaker.run("proof", self._decode)

    def see(self, frame: VideoFrame) -> None:
        """Remember a picture that goes into the encoder now; its pts is the one that its packet will have."""
        if frame.pts is None or self._error:
            return
        luma = luma_of(frame)
        second = frame.pts // self._per_second
        close = strips(luma) if self._samples.wants(second) and self._is_wanted(second) else None
        self._inside[frame.pts] = _Picture(thin=places(luma), close=close)
        if len(self._inside) > _MOST_INSIDE:
            self._inside.popitem(last=False)

    def take(self, data: bytes, pts: int | None, dts: int | None) -> None:
        """Take a copy of the encoder's next packet, in the order of decoding; waits while the decoder is behind."""
        self._packets += 1
        self._crc.add(data)
        try:
            self._pipe.put((data, pts, dts))
        except Broken:
            return  # finish() raises what the thread raised

    def finish(self) -> ProofFacts:
        """Wait until everything is decoded, and return what came of it. Raises what the thread raised, if it did."""
        self._pipe.end()
        self._breaker.close()
        if not self._error and self._frames != self._packets:
            self._error = f"{self._frames} pictures were decoded of {self._packets} packets"
        seconds = sorted(self._seconds.items())
        return ProofFacts(
            frames=self._frames,
            packets=self._packets,
            error=self._error,
            crc=self._crc.value,
            compared=self._compared,
            wrong=self._wrong,
            wrong_at_s=self._seconds_of(self._wrong_at),
            worst_db=None if self._worst is None else round(self._worst[0], 2),
            worst_at_s=None if self._worst is None else self._seconds_of(self._worst[1]),
            seconds=tuple(_summary(second, found) for second, found in seconds if found.psnr_db),
        )

    def abandon(self) -> None:
        """End the thread: the encode failed, and nobody wants to know any more."""
        self._breaker.trip(Broken())

    def _is_wanted(self, second: int) -> bool:
        """Whether this picture of a sampled second is one of those that are compared closely; counts it."""
        count = self._close_in[1] + 1 if self._close_in[0] == second else 0
        self._close_in = (second, count)
        return count % _CLOSE_IN == 0

    def _seconds_of(self, pts: int | None) -> float | None:
        return None if pts is None else round(float(pts * self._time_base), 3)

    # --- the thread

    def _decode(self) -> None:
        for data, pts, dts in self._pipe:
            if self._error:
                continue  # the encoder shall not wait for a decoder that gave up
            packet: Packet[Any] = Packet(data)
            packet.pts, packet.dts, packet.time_base = pts, dts, self._time_base
            self._push(packet)
        if not self._error:
            self._push(None)
        self._judge_pending(None)

    def _push(self, packet: Packet[Any] | None) -> None:
        try:
            for frame in self._decoder.decode(packet):
                self._frames += 1
                if frame.is_corrupt:
                    self._error = f"picture {self._frames} is damaged"
                    return
                self._compare(frame)
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self._error = f"after {self._frames} pictures: {error.strerror or error}"

    def _compare(self, frame: VideoFrame) -> None:
        pts = frame.pts
        source = None if pts is None else self._inside.pop(pts, None)
        if pts is None or source is None:
            return
        luma = luma_of(frame)
        found = places(luma)
        if found.shape != source.thin.shape:
            self._error = f"picture {self._frames} has another size than the one that went in"
            return
        own_db = psnr_db(source.thin, found)
        self._compared += 1
        if self._worst is None or own_db < self._worst[0]:
            self._worst = own_db, pts
        if own_db < WRONG_DB:
            self._wrong += 1
            self._wrong_at = pts if self._wrong_at is None else self._wrong_at
        if source.close is not None:
            second = self._seconds.setdefault(pts // self._per_second, _Second())
            other = strips(luma)
            second.psnr_db.append(psnr_db(source.close, other))
            second.ssim.append(ssim(source.close, other))
        self._judge_pending(source.thin)
        before_db = 0.0 if self._before is None else psnr_db(self._before[1], found)
        self._before = pts, source.thin
        self._pending = pts, found, own_db, before_db

    def _judge_pending(self, following: NDArray[np.float32] | None) -> None:
        """The picture that came out last: its neighbours on both sides are known now."""
        if self._pending is None:
            return
        pts, found, own_db, before_db = self._pending
        self._pending = None
        second = self._seconds.get(pts // self._per_second)
        if second is not None:
            after_db = 0.0 if following is None else psnr_db(following, found)
            second.thin_db.append(own_db)
            second.beside_db.append(max(before_db, after_db))


def luma_of(frame: VideoFrame) -> Luma:
    """Return a view of the frame's first plane, without its padding: height × width. Valid as long as the frame."""
    plane = frame.planes[0]
    data: Luma = np.frombuffer(memoryview(plane), np.uint8)
    return data[: frame.height * plane.line_size].reshape(frame.height, plane.line_size)[:, : frame.width]


def _decoder(extradata: bytes) -> Any:
    """A decoder in one thread: with several, PyAV frees packets that were made of bytes while they are still read."""
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoder.options = dict(STRICT)
    if extradata:
        decoder.extradata = extradata
    return decoder


def _summary(second: int, found: _Second) -> SecondLikeness:
    def median(values: list[float]) -> float:
        return statistics.median(values) if values else 0.0

    return SecondLikeness(
        at_s=float(second),
        frames=len(found.psnr_db),
        psnr_db=round(median(found.psnr_db), 2),
        ssim=round(median(found.ssim), 4),
        thin_db=round(median(found.thin_db), 2),
        beside_db=round(median(found.beside_db), 2),
    )
