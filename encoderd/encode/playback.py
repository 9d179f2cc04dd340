"""Reads a written file back, as a player would: all packets, and frames decoded at start, middle and end, or all."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from encoderd.encode.facts import DecodedSpot, OutputFacts, OutputStream
from encoderd.encode.pyav import last_duration, open_input

#: Frames that are decoded at each place of a quick look.
QUICK_FRAMES = 12
#: A decoder's options that let damage raise instead of being painted over.
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}


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

    def count(self, packet: Packet[Any]) -> None:
        if packet.pts is None:
            return
        self.packets += 1
        self.start = packet.pts if self.start is None else min(self.start, packet.pts)
        self.last = packet.pts if self.last is None else max(self.last, packet.pts)
        self.last_duration = int(packet.duration or 0)
        if packet.dts is not None:
            if self.first_dts is None:
                self.first_dts = self.last_dts = packet.dts
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


def read_back(path: str, muxer: str, full: bool, alive: Callable[[float], None]) -> OutputFacts:
    """
    Return what is really in the file. `alive` is called now and then with the share (0…1) that was read.

    Raises:
        av.error.FFmpegError, OSError: the file cannot even be opened.
    """
    size = os.stat(path).st_size
    counted: dict[int, _Counted] = {}
    with _open(path, muxer) as container:
        for number, packet in enumerate(container.demux()):
            if packet.size:
                counted.setdefault(packet.stream_index, _Counted()).count(packet)
            if number % 2048 == 0:
                alive(min(1.0, (packet.pos or 0) / size) if size else 1.0)
        streams = tuple(
            OutputStream(
                codec=stream.codec_context.name if stream.codec_context is not None else "",
                kind=stream.type,
                packets=counted.get(stream.index, _Counted()).packets,
                start_s=_seconds(counted.get(stream.index, _Counted()).start, stream.time_base),
                end_s=_seconds(counted.get(stream.index, _Counted()).end(stream), stream.time_base),
            )
            for stream in container.streams
        )
        video = container.streams.video[0] if container.streams.video else None
        width, height = (video.codec_context.width, video.codec_context.height) if video is not None else (0, 0)
    spots: tuple[DecodedSpot, ...] = ()
    if video is not None:
        span = next(stream for stream in streams if stream.kind == "video")
        start_s, end_s = float(span.start_s or 0), float(span.end_s or 0)
        if full:
            spots = (_decode(path, muxer, "all", None, end_s, alive),)
        else:
            middle_s = start_s + (end_s - start_s) / 2
            places = (("start", start_s), ("middle", middle_s), ("end", end_s))
            with ThreadPoolExecutor(len(places)) as pool:  # each opens the file for itself
                spots = tuple(pool.map(lambda at: _decode(path, muxer, at[0], at[1], end_s, alive), places))
    return OutputFacts(size_bytes=size, streams=streams, spots=spots, width=width, height=height)


def _open(path: str, muxer: str) -> InputContainer:
    demuxer = "mov" if muxer == "mp4" else muxer
    options = {"format_whitelist": demuxer, "protocol_whitelist": "file"}
    return open_input(path, options)


def _seconds(ticks: int | None, time_base: Fraction | None) -> Fraction | None:
    return None if ticks is None or time_base is None else Fraction(ticks * time_base)


def _decode(
    path: str, muxer: str, place: str, at_s: float | None, end_s: float, alive: Callable[[float], None]
) -> DecodedSpot:
    """Decode from the key frame before `at_s`: QUICK_FRAMES of them, at the end through to the last one."""
    frames, last_s = 0, 0.0
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
                last_s = max(last_s, float(frame.time or 0.0))
                if frames % 256 == 0:
                    alive(last_s / end_s if end_s else 1.0)
                if place in {"start", "middle"} and frames >= QUICK_FRAMES:
                    break
    except (av.error.FFmpegError, OSError) as error:
        return DecodedSpot(place=place, at_s=last_s, frames=frames, error=str(error))
    if place in {"end", "all"} and end_s - last_s > 1.0:
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
