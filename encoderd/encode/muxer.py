"""
The muxer of the output: one container, or for a long MP4 several, one behind the other in the same file.

libavformat's MP4 muxer keeps an entry of some 80 bytes for every packet until it writes its index, in the end. After
so many packets (`EncodePlan.segment_packets`) it does so here, and a new muxer goes on behind it; `finishing` makes one
movie of them, with its index in front. The encoders belong to the first muxer and go on all the time.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import av.error
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from encoderd.encode.failures import crashed, output_failed
from encoderd.encode.finishing import Appended, WrittenSegment
from encoderd.encode.movie_index import TrackTimes
from encoderd.encode.plan import EncodePlan
from encoderd.encode.video_plan import VIDEO_TIME_BASE

#: Containers that nobody may close: PyAV closes those that it forgets.
_abandoned: list[OutputContainer] = []
_WRITING_FAILED = (av.error.FFmpegError, OSError)


@dataclass(slots=True)
class _Times:
    """Of one track in one segment, in the ticks of its stream."""

    first_dts: int
    first_pts: int
    end_pts: int
    keys: int = 0


class Muxer:
    """
    Takes packets for the plan's streams. `target` is the file; `prepare` gives a new container what the first one gets
    beside its video: it returns the streams that follow it.

    Raises (all methods): EncodeFailed, when the file cannot be written.
    """

    def __init__(self, plan: EncodePlan, target: str, prepare: Callable[[OutputContainer], list[Stream]]) -> None:
        self._plan = plan
        self._target = target
        self._prepare = prepare
        self._most = plan.segment_packets
        self._packets = 0
        self._first = 0  # byte at which the segment begins
        self._appended: Appended | None = None
        self._segments: list[WrittenSegment] = []
        self._times: dict[int, _Times] = {}
        self._template = b""
        self._bit_rates: list[int] = []
        self.streams: list[Stream] = []
        self._into: list[Stream] = []
        self.container = self._open(target)

    def begin(self, video: Stream) -> None:
        """Add the streams behind the video's, whose encoder is open."""
        self.streams = [video, *self._prepare(self.container)]
        self._into = self.streams

    def mux(self, position: int, packet: Packet[Any]) -> None:
        """Mux a packet of the stream at `position`. Raises av.error.InvalidDataError when the packet is to blame."""
        if self._most and self._packets >= self._most and self._template:
            self._next_segment()
        if self._most and position == 0 and not self._template:
            self._template = bytes(self.streams[0].codec_context.extradata or b"") + bytes(packet)
        packet.stream = self._into[position]
        try:
            self.container.mux_one(packet)
        except av.error.InvalidDataError:
            raise
        except _WRITING_FAILED as error:
            raise self.failed(error) from error
        self._packets += 1
        if self._most:
            self._note(position, packet)

    def finish(self) -> tuple[WrittenSegment, ...]:
        """Write the trailer. Returns the segments that have to be joined; none where the file is complete."""
        self._close()
        if not self._most:
            return ()
        self._end_segment()
        return tuple(self._segments)

    def abandon(self) -> None:
        """
        Leave the file as it is after a failure; the end of the process closes it.

        Closing it would write the trailer first, and for MP4 move all that was written: minutes, for a file that is
        deleted next, and while the supervisor waits for the reason.
        """
        _abandoned.append(self.container)

    def failed(self, error: av.error.FFmpegError | OSError) -> Exception:
        """Return what an error while writing means."""
        return output_failed(error.errno, str(error), os.path.dirname(self._target))

    def _open(self, file: str | Appended) -> OutputContainer:
        try:
            options = self._plan.muxer_options
            container: OutputContainer = av.open(file, "w", format=self._plan.muxer, container_options=options)
        except _WRITING_FAILED as error:
            raise self.failed(error) from error
        container.metadata.update({"comment": self._plan.comment, **self._plan.metadata})
        return container

    def _close(self) -> None:
        try:
            self.container.close()
        except _WRITING_FAILED as error:
            raise self.failed(error) from error
        finally:
            if self._appended is not None:
                self._appended.done()

    def _note(self, position: int, packet: Packet[Any]) -> None:
        pts, dts = packet.pts or 0, packet.dts or 0  # the muxer has put them on its own clock
        times = self._times.get(position)
        if times is None:
            times = self._times[position] = _Times(dts, pts, pts)
        times.first_pts = min(times.first_pts, pts) if times.first_dts == dts else times.first_pts
        times.end_pts = max(times.end_pts, pts + int(packet.duration or 0))
        times.keys += packet.is_keyframe

    def _end_segment(self) -> None:
        """Remember what was written, now that it is closed."""
        if not self._bit_rates:
            self._bit_rates = [int(getattr(stream.codec_context, "bit_rate", 0) or 0) for stream in self.streams]
        times = {
            position + 1: TrackTimes(
                first_dts=found.first_dts,
                first_pts=found.first_pts,
                end_pts=found.end_pts,
                keys=found.keys if self.streams[position].type == "video" else None,
                bit_rate_bps=self._bit_rates[position],
            )
            for position, found in self._times.items()
        }
        for position in self._times:
            if self._into[position].time_base != self.streams[position].time_base:
                raise _not_joined(f"the clock of stream {position} is another one")
        try:
            end = os.stat(self._target).st_size
        except OSError as error:
            raise self.failed(error) from error
        self._segments.append(WrittenSegment(first=self._first, end=end, times=times))
        self._first, self._packets, self._times = end, 0, {}

    def _next_segment(self) -> None:
        self._close()
        self._end_segment()
        try:
            self._appended = Appended(self._target, self._first)
        except OSError as error:
            raise self.failed(error) from error
        self.container = self._open(self._appended)
        try:
            self._into = [self._video_again(), *self._prepare(self.container)]
        except (av.error.FFmpegError, ValueError) as error:
            raise _not_joined(str(error)) from error

    def _video_again(self) -> Stream:
        """
        Add a stream for the packets of the encoder, without an encoder.

        Its parameters are what FFmpeg reads in the first packet, as for copied sound in `silence.add_like`.
        """
        encoder: Any = self.streams[0].codec_context
        with av.open(io.BytesIO(self._template), "r", format="h264") as template:
            stream: Any = self.container.add_stream_from_template(template.streams.video[0], opaque=True)
        with contextlib.suppress(RuntimeError):  # PyAV 14: no time base of a decoder's; FFmpeg's own for video is this
            stream.time_base = VIDEO_TIME_BASE
        context = stream.codec_context
        context.thread_count = 1
        context.extradata = bytes(encoder.extradata or b"")
        return stream  # type: ignore[no-any-return]


def _not_joined(why: str) -> Exception:
    return crashed(f"No segment could follow in the output: {why}.", remedy="See the job's log: encoderd logs JOB")
