"""
The pipeline: demux and decode ‖ filter ‖ encode and mux, in three threads with bounded pipes between them.

FFmpeg's calls release the interpreter lock, so the threads really run beside each other. Audio that is copied goes
from the demuxer straight to the muxer. The caller owns the input container; the output is closed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av.error
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from encoderd.encode.facts import StreamFacts, TranscodeFacts
from encoderd.encode.failures import crashed, rejected
from encoderd.encode.filtering import AudioChain, FilterChain
from encoderd.encode.granted import differences
from encoderd.encode.media import MediaInfo
from encoderd.encode.messages import Progress, Started
from encoderd.encode.pipe import Breaker, Pipe
from encoderd.encode.plan import EncodePlan
from encoderd.encode.probe import READ_ERRORS
from encoderd.encode.timeline import ShownAt, Timeline
from encoderd.encode.video_plan import VIDEO_TIME_BASE
from encoderd.encode.writer import Writer

#: Frames that may wait between threads. Deep enough to ride out a scene that is hard to encode, shallow enough to
#: stay below 400 MiB at 1080i.
DECODED_FRAMES = 8
MUX_ITEMS = 24
PROGRESS_EVERY_S = 1.0
#: Jumps and gaps that the receipt lists, of each; a recording that is all damage has thousands.
MOST_NOTED = 1000


class Transcode:
    """One recording on its way into one file; `run` does all of it, `report` is called with Started and Progress."""

    def __init__(
        self,
        source: InputContainer,
        media: MediaInfo,
        plan: EncodePlan,
        target: str,
        report: Callable[[Started | Progress], None],
    ) -> None:
        self._source = source
        self._media = media
        self._plan = plan
        self._target = target
        self._report = report
        self._breaker = Breaker()
        self._decoded: Pipe[VideoFrame] = Pipe(self._breaker, DECODED_FRAMES)
        self._to_mux: Pipe[tuple[int, VideoFrame | AudioFrame | Packet[Any]]] = Pipe(
            self._breaker, MUX_ITEMS, writers=2
        )
        self._audio_chains = {position: AudioChain(audio) for position, audio in enumerate(plan.audio, start=1)}
        self._indices = [plan.video.index, *(audio.index for audio in plan.audio)]
        self._facts = TranscodeFacts(
            streams=[StreamFacts(codec=self._source.streams[index].codec_context.name) for index in self._indices]
        )
        self._shown_at = ShownAt()
        self._started_s = time.monotonic()
        self._reported_s = 0.0

    def run(self) -> TranscodeFacts:
        """
        Transcode to the end, write the trailer, and return the facts.

        Raises:
            EncodeFailed: the encoder or the output failed, the source cannot be read, or it has no picture.
        """
        writer = Writer(self._plan, self._target, self._source, self._facts)
        try:
            granted = dict(self._facts.granted)
            other = differences(self._plan.video.asked, granted)
            self._report(Started(encoder=self._plan.video.encoder, granted=granted, differences=other))
            self._breaker.run("read", self._read)
            self._breaker.run("filter", self._filter)
            try:
                for position, item in self._to_mux:
                    writer.write(position, item)
                    self._progress(writer, "encoding")
            except BaseException as error:  # noqa: BLE001 - wakes the threads; close() raises it
                self._breaker.trip(error)
            self._breaker.close()
            if self._facts.frames_encoded == 0:
                raise rejected(
                    f"No picture of this recording can be decoded ({self._facts.streams[0].packets} video packets, "
                    f"{self._facts.decode_errors} errors).",
                    remedy="Play it; if a player shows nothing either, look into the recorder's log.",
                )
            self._progress(writer, "draining", now=True)
            writer.finish()
        except BaseException:
            writer.abandon()
            raise
        return self._facts

    # --- thread 1: demux and decode

    def _read(self) -> None:
        streams = [self._source.streams[index] for index in self._indices]
        decoder = streams[0].codec_context
        decoder.thread_count = self._plan.video.decoder_threads
        decoder.thread_type = "AUTO"
        timeline = Timeline(origin_s=self._media.start_s)
        for position, stream in enumerate(streams):
            timeline.add_stream(position, Fraction(stream.time_base or VIDEO_TIME_BASE))
        places = {index: position for position, index in enumerate(self._indices)}
        for packet in self._packets(streams):
            position = places[packet.stream_index]
            if packet.size:
                self._place(timeline, position, packet)
            if position == 0:
                self._decode_video(packet)
            elif self._plan.audio[position - 1].copied:
                if packet.size:
                    self._to_mux.put((position, packet))
            else:
                self._decode_audio(position, packet)
        self._decoded.end()
        self._to_mux.end()
        for found, record in (
            (timeline.discontinuities, self._facts.discontinuities),
            (timeline.gaps, self._facts.gaps),
        ):
            record += [
                {"at_s": round(step.at_s, 3), "step_s": round(step.step_s, 3), "stream": step.stream}
                for step in found[:MOST_NOTED]
            ]

    def _packets(self, streams: list[Any]) -> Iterator[Packet[Any]]:
        """
        Yield the streams' packets, and in the end one empty packet for each, which empties its decoder.

        Where FFmpeg cannot make sense of the rest of a file, the recording ends; verification judges what is missing.
        """
        try:
            yield from self._source.demux(streams)
            return
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError) as error:
            if error.errno in READ_ERRORS:
                raise crashed(
                    f"Reading the recording failed: {error.strerror}.",
                    remedy="If the disk or the share reports errors (dmesg), repair that first.",
                ) from error
            self._facts.read_error = error.strerror or str(error)
        for stream in streams:
            last: Packet[Any] = Packet()
            last.stream, last.time_base = stream, stream.time_base
            yield last

    def _place(self, timeline: Timeline, position: int, packet: Packet[Any]) -> None:
        facts = self._facts.streams[position]
        facts.packets += 1
        if packet.is_corrupt:
            self._facts.corrupt_packets += 1
            facts.damaged += 1
        if packet.pos is not None and packet.pos > self._facts.last_position:
            self._facts.last_position = packet.pos
        packet.pts, packet.dts = timeline.place(position, packet.pts, packet.dts, packet.duration or 0)

    def _decode_video(self, packet: Packet[Any]) -> None:
        for frame in self._frames(0, packet):
            assert isinstance(frame, VideoFrame)
            self._facts.frames_decoded += 1
            self._facts.corrupt_frames += frame.is_corrupt
            frame.pts = self._shown_at.place(frame.pts, frame.dts)
            self._decoded.put(frame)

    def _decode_audio(self, position: int, packet: Packet[Any]) -> None:
        chain = self._audio_chains[position]
        for frame in self._frames(position, packet):
            assert isinstance(frame, AudioFrame)
            for resampled in chain.push(frame):
                self._to_mux.put((position, resampled))
        if not packet.size:
            for resampled in chain.drain():
                self._to_mux.put((position, resampled))

    def _frames(self, position: int, packet: Packet[Any]) -> list[Any]:
        """A packet that cannot be decoded costs itself, not the job."""
        try:
            return packet.decode()
        except MemoryError:
            raise
        except av.error.FFmpegError:
            self._facts.decode_errors += 1
            self._facts.streams[position].damaged += 1
            return []

    # --- thread 2: filter

    def _filter(self) -> None:
        chain = FilterChain(self._plan.video)
        for frame in self._decoded:
            for filtered in chain.push(frame):
                self._to_mux.put((0, filtered))
        for filtered in chain.drain():
            self._to_mux.put((0, filtered))
        self._facts.geometry_changes, self._facts.frames_refused = chain.rebuilds, chain.refused
        self._to_mux.end()

    # --- thread 3 (the caller's): encode and mux

    def _progress(self, writer: Writer, phase: str, now: bool = False) -> None:
        at_s = time.monotonic()
        if not now and at_s - self._reported_s < PROGRESS_EVERY_S:
            return
        self._reported_s = at_s
        wall_s = max(at_s - self._started_s, 1e-6)
        size = self._media.size_bytes
        self._report(
            Progress(
                phase=phase,
                out_time_s=round(writer.out_time_s, 3),
                frames=self._facts.packets_encoded,
                fps=round(self._facts.packets_encoded / wall_s, 1),
                speed_x=round(writer.out_time_s / wall_s, 2),
                size_bytes=writer.size_bytes,
                done_ratio=round(min(1.0, self._facts.last_position / size), 4) if size else 0.0,
            )
        )
