"""
Reads a written file back, as a player would: all packets, and frames decoded at start, middle and end, or all.

What was decoded beside the encode (`proof`) is not decoded again when the file holds the very same packets.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from encoderd.encode.dispositions import named
from encoderd.encode.media import Tags
from encoderd.encode.memory import give_back_memory
from encoderd.encode.nal_units import VideoCrc
from encoderd.encode.picture_times import OutputTimes
from encoderd.encode.pyav import chapters_of, disposition, language_of, last_duration, open_input, title_of
from encoderd.encode.written import DecodedSpot, OutputFacts, OutputStream, PictureTags, ProofFacts

#: Frames that are decoded at each place of a quick look.
QUICK_FRAMES = 12
#: From this length on the places are decoded one after the other: MP4's index is tens of megabytes for an hour.
LONG_S = 1800.0
#: A decoder's options that let damage raise instead of being painted over.
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
#: Packets after which no picture of an earlier time can come. Source: ITU-T H.264, A.3.1: at most 16 frames are kept.
_MOST_REORDERED = 64


@dataclass(slots=True)
class _Counted:
    """
    A stream's packets; times in its ticks.

    MP4 keeps the time to the next packet in decoding order as a packet's duration: before a gap it is as long as the
    gap, for a picture that is shown after it. Only that of the last packet is a duration.
    """

    packets: int = 0
    start: int | None = None
    last: int | None = None
    last_duration: int = 0
    first_dts: int | None = None
    last_dts: int = 0
    longest_step: int = 0
    backward: int = 0

    def count(self, packet: Packet[Any]) -> None:
        """Take the stream's next packet, in the order of the file."""
        if packet.pts is None:
            return
        self.packets += 1
        self.start = packet.pts if self.start is None else min(self.start, packet.pts)
        self.last = packet.pts if self.last is None else max(self.last, packet.pts)
        self.last_duration = int(packet.duration or 0)
        if packet.dts is not None:
            if self.first_dts is None:
                self.first_dts = self.last_dts = packet.dts
            elif packet.dts <= self.last_dts:
                self.backward += 1
            self.longest_step = max(self.longest_step, packet.dts - self.last_dts)
            self.last_dts = packet.dts

    def end(self, stream: Stream) -> int | None:
        """Return when the last picture's or sound's time is over."""
        if self.last is None:
            return None
        duration = self.last_duration
        if not duration and self.first_dts is not None:
            duration = last_duration(stream, self.first_dts, self.last_dts, self.longest_step)
        return self.last + duration


@dataclass(slots=True)
class _Shown:
    """
    The times at which pictures are shown: which of them two pictures have.

    Packets come in the order of decoding; a picture overtakes at most sixteen (H.264's largest buffer), so that the
    times before the earliest of the last few are done with.
    """

    repeated: int = 0
    _recent: set[int] = field(default_factory=set)
    _order: deque[int] = field(default_factory=deque)

    def count(self, pts: int) -> None:
        """Take the next packet's pts, in ticks, in the order of decoding."""
        if pts in self._recent:
            self.repeated += 1
            return
        self._recent.add(pts)
        self._order.append(pts)
        if len(self._order) > _MOST_REORDERED:
            self._recent.discard(self._order.popleft())


def read_back(
    path: str,
    muxer: str,
    full: bool,
    alive: Callable[[float], None],
    proof: ProofFacts | None = None,
    times: OutputTimes | None = None,
) -> OutputFacts:
    """
    Return what is really in the file; `times` receives those of its pictures.

    `alive` is called now and then with the share (0…1) that was read.

    `full` asks for all of it to be decoded, which a `proof` of the same packets has done already.

    Raises:
        av.error.FFmpegError, OSError: the file cannot even be opened.
    """
    size = os.stat(path).st_size
    crc = None if proof is None else VideoCrc(start_codes=False)
    with _open(path, muxer) as container:
        counted, shown = _counted(container, size, crc, alive, times or OutputTimes())
        streams = tuple(_stream(stream, counted.get(stream.index, _Counted())) for stream in container.streams)
        video = container.streams.video[0] if container.streams.video else None
        width, height = (video.codec_context.width, video.codec_context.height) if video is not None else (0, 0)
        tags = None if video is None else _tags(video)
        metadata, chapters = dict(container.metadata), chapters_of(container)
    spots: tuple[DecodedSpot, ...] = ()
    if video is not None:
        span = next(stream for stream in streams if stream.kind == "video")
        start_s, end_s = float(span.start_s or 0), float(span.end_s or 0)
        proven = proof is not None and crc is not None and proof.crc == crc.value and proof.packets == span.packets
        if full and not proven:
            spots = (_decode(path, muxer, "all", None, end_s, alive),)
        else:
            middle_s = start_s + (end_s - start_s) / 2
            places = (("start", start_s), ("middle", middle_s), ("end", end_s))
            spots = _decode_places(path, muxer, places, end_s, alive, long=end_s - start_s >= LONG_S)
        if proof is not None and proven:
            spots += (DecodedSpot(place="beside", at_s=start_s, frames=proof.frames, error=proof.error),)
    return OutputFacts(
        size_bytes=size,
        streams=streams,
        spots=spots,
        width=width,
        height=height,
        tags=tags,
        video_crc=None if crc is None else crc.value,
        repeated_pts=shown.repeated,
        metadata=metadata,
        chapters=None if chapters is None else tuple(chapters),
    )


def _decode_places(
    path: str,
    muxer: str,
    places: tuple[tuple[str, float], ...],
    end_s: float,
    alive: Callable[[float], None],
    *,
    long: bool,
) -> tuple[DecodedSpot, ...]:
    """Each place opens the file for itself, and holds all of its index: of a `long` one only one at a time."""
    if not long:
        with ThreadPoolExecutor(len(places)) as pool:
            return tuple(pool.map(lambda at: _decode(path, muxer, at[0], at[1], end_s, alive), places))
    spots = []
    for place, at_s in places:
        give_back_memory()
        spots.append(_decode(path, muxer, place, at_s, end_s, alive))
    return tuple(spots)


def _counted(
    container: InputContainer, size: int, crc: VideoCrc | None, alive: Callable[[float], None], times: OutputTimes
) -> tuple[dict[int, _Counted], _Shown]:
    """Read all packets; count them by stream, and the times and the checksum of the first video stream's."""
    counted: dict[int, _Counted] = {}
    shown = _Shown()
    if container.streams.video:
        times.time_base = Fraction(container.streams.video[0].time_base or 0)
    first_video = container.streams.video[0].index if container.streams.video else -1
    for number, packet in enumerate(container.demux()):
        if packet.size:
            counted.setdefault(packet.stream_index, _Counted()).count(packet)
            if packet.stream_index == first_video:
                if packet.pts is not None:
                    shown.count(packet.pts)
                    times.ticks.append(packet.pts)
                if crc is not None:
                    crc.add(bytes(packet))
        if number % 2048 == 0:
            alive(min(1.0, (packet.pos or 0) / size) if size else 1.0)
    return counted, shown


def _stream(stream: Stream, counted: _Counted) -> OutputStream:
    bits = disposition(stream)
    return OutputStream(
        codec=stream.codec_context.name if stream.codec_context is not None else "",
        kind=stream.type,
        packets=counted.packets,
        start_s=_seconds(counted.start, stream.time_base),
        end_s=_seconds(counted.end(stream), stream.time_base),
        backward=counted.backward,
        tags=Tags(
            language=language_of(stream),
            title=title_of(stream, ours=True),
            dispositions=(*(("default",) if bits & 1 else ()), *named(bits)),
        ),
    )


def _tags(video: VideoStream) -> PictureTags:
    """The container's sample aspect ratio where it has one: players take it before the bitstream's."""
    context: Any = video.codec_context
    return PictureTags(
        sample_aspect_ratio=Fraction(video.sample_aspect_ratio or context.sample_aspect_ratio or 0),
        color_primaries=int(context.color_primaries),
        color_trc=int(context.color_trc),
        colorspace=int(context.colorspace),
        color_range=int(context.color_range),
    )


def _open(path: str, muxer: str) -> InputContainer:
    demuxer = "mov" if muxer == "mp4" else muxer
    options = {"format_whitelist": demuxer, "protocol_whitelist": "file"}
    return open_input(path, options)


def _seconds(ticks: int | None, time_base: Fraction | None) -> Fraction | None:
    return None if ticks is None or time_base is None else Fraction(ticks * time_base)


#: The last picture may stay for so much longer than the one before it; in a slide show both do for seconds.
LONGEST_STAY = 1.5


def _decode(
    path: str, muxer: str, place: str, at_s: float | None, end_s: float, alive: Callable[[float], None]
) -> DecodedSpot:
    """Decode from the key frame before `at_s`: QUICK_FRAMES of them, at the end through to the last one."""
    frames, last_s, shown_s = 0, 0.0, 0.0
    try:
        with _open(path, muxer) as container:
            stream = container.streams.video[0]
            _be_strict(stream, threads=0 if place == "all" else 1)
            if at_s is not None and place != "start":
                container.seek(int(at_s / (stream.time_base or 1)), stream=stream, backward=True)
            for frame in container.decode(stream):
                frames += 1
                if frame.is_corrupt:
                    return DecodedSpot(place=place, at_s=float(frame.time or 0), frames=frames, error="corrupt frame")
                at = float(frame.time or 0.0)
                last_s, shown_s = max(last_s, at), at - last_s  # a slide is shown for as long as the one before
                if frames % 256 == 0:
                    alive(last_s / end_s if end_s else 1.0)
                if place in {"start", "middle"} and frames >= QUICK_FRAMES:
                    break
    except (av.error.FFmpegError, OSError) as error:
        return DecodedSpot(place=place, at_s=last_s, frames=frames, error=str(error))
    if place in {"end", "all"} and end_s - last_s > max(1.0, LONGEST_STAY * shown_s):
        text = f"decoding ends at {last_s:.3f} s, {end_s - last_s:.3f} s before the last packet"
        return DecodedSpot(place=place, at_s=last_s, frames=frames, error=text)
    if frames == 0:
        return DecodedSpot(place=place, at_s=at_s or 0.0, frames=0, error="no frame could be decoded")
    return DecodedSpot(place=place, at_s=at_s or 0.0, frames=frames, error="")


def _be_strict(stream: VideoStream, threads: int) -> None:
    context = stream.codec_context
    context.thread_count = threads
    context.thread_type = "AUTO"
    context.options = dict(STRICT)
