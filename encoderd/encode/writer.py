"""The writing end of a transcode: encoders and muxer of the partial file."""

from __future__ import annotations

import os
import stat
from fractions import Fraction
from typing import Any

import av
import av.error
import av.logging
from av.codec.codec import UnknownCodecError
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from encoderd.encode import granted
from encoderd.encode.audio import add_audio
from encoderd.encode.captions import add_captions
from encoderd.encode.chapters import muxable, on_output
from encoderd.encode.damage import DamageLog, Kind
from encoderd.encode.decoding_times import MOST_DELAY, DecodingTimes
from encoderd.encode.facts import TranscodeFacts
from encoderd.encode.failures import (
    encoder_confused,
    encoder_empty,
    encoder_failed,
    encoder_lost,
    encoder_missing,
    options_unknown,
)
from encoderd.encode.finishing import WrittenSegment
from encoderd.encode.likeness import Samples
from encoderd.encode.media import CaptionInfo, Chapter
from encoderd.encode.muxer import Muxer
from encoderd.encode.plan import EncodePlan
from encoderd.encode.proof import Proof
from encoderd.encode.pyav import attach, attached_file, encoder_options, set_chapters, tell
from encoderd.encode.video_plan import VIDEO_TIME_BASE, VideoPlan

#: FFmpeg's reader takes a DVB subtitle at 0 for the rest of another one (libavcodec/dvbsub_parser.c), and Matroska
#: counts milliseconds; what was to be shown before the first picture is shown with it.
EARLIEST_CAPTION_S = Fraction(1, 1000)


class Writer:
    """
    The output file: video encoder and muxer. Opening opens the encoder, the moment where a GPU says no.

    `duration_ms` is what the source claims, for the last chapter's end.
    """

    def __init__(
        self,
        plan: EncodePlan,
        target: str,
        source: InputContainer,
        facts: TranscodeFacts,
        damage: DamageLog,
        duration_ms: int | None = None,
    ) -> None:
        self._plan = plan
        self._target = target
        self._facts = facts
        self._damage = damage
        self._proof: Proof | None = None
        self._last_pts: int | None = None
        self._last_dts: dict[int, int] = {}
        self._first_captions = 1 + len(plan.audio)
        self._frame_ticks = round(1 / (plan.video.frame_rate * VIDEO_TIME_BASE))
        self.out_time_s = 0.0
        self._log_before = log_size()
        #: The captions that the container really takes.
        self.inside: tuple[CaptionInfo, ...] = ()
        #: The chapters that the file was given; their times are the output's.
        self.chapters: tuple[Chapter, ...] = ()
        self._begun = False  # a packet is there, so the output's zero is known
        self._source = source
        self._duration_ms = duration_ms
        self._muxer = Muxer(plan, target, self._prepare)
        try:
            self._video = add_video(self._muxer.container, plan.video, facts.granted)
            self._decoding_times = self._own_decoding_times()
            self._muxer.begin(self._video)
        except BaseException:
            self._muxer.container.close()
            raise

    @property
    def size_bytes(self) -> int:
        try:
            return os.stat(self._target).st_size
        except OSError:
            return 0

    def prove(self, samples: Samples) -> Proof:
        """Have every packet of the video decoded beside the encode from now on; the caller finishes the proof."""
        self._proof = Proof(bytes(self._video.codec_context.extradata or b""), VIDEO_TIME_BASE, samples)
        return self._proof

    def stream(self, position: int) -> Any:
        """Return the output's stream of that place: 0 is the video, then audio, then captions."""
        return self._muxer.streams[position]

    def write(self, position: int, item: VideoFrame | Packet[Any]) -> None:
        """Encode a frame, or take a packet as it is, and mux what is ready."""
        if isinstance(item, VideoFrame):
            self._write_video(item)
        else:
            self._mux(position, item, int(item.duration or 0))

    def finish(self) -> tuple[WrittenSegment, ...]:
        """
        Drain the encoders and write the trailer; returns the segments that `finish_movie` has to join.

        Raises EncodeFailed when that fails.
        """
        self._write_video(None)
        encoder, facts = self._plan.video.encoder, self._facts
        if encoder == "h264_qsv" and facts.packets_encoded != facts.frames_encoded:
            lines = said_since(self._log_before, encoder)
            raise encoder_lost(encoder, facts.frames_encoded, facts.packets_encoded, lines)
        return self._muxer.finish()

    def abandon(self) -> None:
        """Leave the file as it is after a failure."""
        self._muxer.abandon()

    def _prepare(self, container: OutputContainer) -> list[Stream]:
        """Give a container all that belongs to it beside its video."""
        plan, streams = self._plan, self._source.streams
        added: list[Stream] = []
        tags = plan.video_tags
        tell(
            container.streams.video[0],
            plan.muxer,
            language=tags.language,
            title=tags.title,
            dispositions=tags.dispositions,
        )
        for audio in plan.audio:
            sources = [streams[index] for index in (audio.index, *audio.also)]
            added.append(add_audio(container, audio, sources))
        inside = add_captions(container, plan.inside, streams)
        for file in plan.attachments:
            attach(container, file.name, file.mimetype, attached_file(streams[file.index]) or b"")
        self.inside = tuple(caption for caption in plan.inside if caption.index in inside)
        if self._begun:
            self._set_chapters(container)
        return added + [inside[caption.index] for caption in self.inside]

    def _set_chapters(self, container: OutputContainer) -> None:
        plan = self._plan
        zero_ms = round(self._facts.zero_s * 1000)
        self.chapters = plan.chapters or on_output(plan.source_chapters, zero_ms)
        set_chapters(container, muxable(self.chapters, self._duration_ms, plan.muxer))

    def _write_video(self, frame: VideoFrame | None) -> None:
        if frame is not None:
            if not self._in_time(frame):
                return
            self._facts.frames_encoded += 1
            if self._decoding_times is not None and frame.pts is not None:
                self._decoding_times.put(frame.pts)
            if self._proof is not None:
                self._proof.see(frame)
        for packet in self._encode(frame):
            self._facts.packets_encoded += 1
            if packet.size == 0:
                raise encoder_empty(self._plan.video.encoder, self._facts.packets_encoded)
            if self._decoding_times is not None:
                packet.dts = self._decoding_times.take(packet.pts)
                if packet.dts is None:
                    raise encoder_confused(f"packet {self._facts.packets_encoded} has the PTS {packet.pts}")
            if self._proof is not None:
                self._proof.take(bytes(packet), packet.pts, packet.dts)
            self._mux(0, packet, int(packet.duration or 0) or self._frame_ticks)

    def _own_decoding_times(self) -> DecodingTimes | None:
        if self._plan.video.encoder != "h264_qsv":
            return None
        b_frames = int(self._facts.granted.get("bframes", self._plan.video.options.get("bf", MOST_DELAY)))
        return DecodingTimes(b_frames, self._frame_ticks)

    def _in_time(self, frame: VideoFrame) -> bool:
        """Put the frame on the encoder's clock; False when it does not come after the one before."""
        time_base = Fraction(frame.time_base or VIDEO_TIME_BASE)
        if frame.pts is None:
            pts = 0 if self._last_pts is None else self._last_pts + self._frame_ticks
        else:
            pts = round(frame.pts * time_base / VIDEO_TIME_BASE)
        if self._last_pts is not None and pts <= self._last_pts:
            self._facts.streams[0].dropped += 1
            self._damage.note(Kind.DROPPED, float(pts * VIDEO_TIME_BASE), 0)
            return False
        self._last_pts = pts
        frame.pts, frame.time_base = pts, VIDEO_TIME_BASE
        return True

    def _encode(self, frame: VideoFrame | None) -> list[Packet[Any]]:
        try:
            packets: list[Packet[Any]] = self._video.encode(frame)
        except (av.error.FFmpegError, OSError, MemoryError) as error:
            raise _failed(self._plan.video.encoder, "encoding", error, self._log_before) from error
        return packets

    def _mux(self, position: int, packet: Packet[Any], duration: int) -> None:
        facts = self._facts.streams[position]
        if packet.dts is None:
            packet.dts = packet.pts
        if position >= self._first_captions:
            # Packets of one display set share a time, and one may come late: Matroska takes the same time again.
            earliest = self._last_dts.get(position, round(EARLIEST_CAPTION_S / Fraction(packet.time_base or 1)))
            packet.dts = earliest if packet.dts is None else max(packet.dts, earliest)
            packet.pts = max(packet.dts, packet.dts if packet.pts is None else packet.pts)
        elif packet.dts is None or packet.dts <= self._last_dts.get(position, packet.dts - 1):
            facts.dropped += 1
            return
        packet.pts = packet.dts if packet.pts is None else packet.pts
        dts = packet.dts
        packet.duration = duration
        if not self._begun:
            self._begun = True
            self._set_chapters(self._muxer.container)
        time_base = Fraction(packet.time_base or VIDEO_TIME_BASE)
        start_s, end_s = packet.pts * time_base, (packet.pts + duration) * time_base
        try:
            self._muxer.mux(position, packet)
        except av.error.InvalidDataError as error:
            if position == 0:
                raise self._muxer.failed(error) from error
            facts.damaged += 1  # its header is broken; the muxer wants to know what it takes
            facts.dropped += 1
            return
        self._last_dts[position] = dts
        facts.cover(start_s, end_s)
        facts.muxed += 1
        if position == 0:
            self.out_time_s = max(self.out_time_s, float(end_s))


def add_video(container: OutputContainer, plan: VideoPlan, record: dict[str, str]) -> Any:
    """
    Add the planned video stream and open its encoder; `record` receives what was granted.

    Raises:
        EncodeFailed: the encoder refuses, or ignores an option.
    """
    options = encoder_options(plan.options)
    try:
        stream: Any = container.add_stream(plan.encoder, rate=plan.frame_rate, options=options)
    except UnknownCodecError as error:
        raise encoder_missing(plan.encoder, av.ffmpeg_version_info) from error
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = plan.width, plan.height, plan.pix_fmt
    context.time_base = VIDEO_TIME_BASE
    if plan.sample_aspect_ratio:
        context.sample_aspect_ratio = plan.sample_aspect_ratio
    for tag in ("color_primaries", "color_trc", "colorspace", "color_range"):
        setattr(context, tag, getattr(plan, tag))
    if plan.encoder == "libx264":
        context.thread_type = "FRAME"  # PyAV's default slices the picture: slower, and larger
        context.thread_count = x264_threads(len(os.sched_getaffinity(0)))
    before = log_size()
    if plan.encoder == "h264_qsv":
        av.logging.set_libav_level(av.logging.VERBOSE)  # at opening it says what the runtime granted
    try:
        context.open()
    except (av.error.FFmpegError, OSError, MemoryError, ValueError, NotImplementedError, OverflowError) as error:
        raise _failed(plan.encoder, "opening", error, before) from error
    finally:
        av.logging.set_libav_level(av.logging.INFO)
    if context.options:
        raise options_unknown(plan.encoder, context.options)
    record.update(
        {
            "encoder": plan.encoder,
            "size": f"{plan.width}x{plan.height}",
            "frame_rate": str(plan.frame_rate),
            "sample_aspect_ratio": str(plan.sample_aspect_ratio).replace("/", ":"),
        }
    )
    record.update(granted.from_parameter_sets(bytes(context.extradata or b"")))
    if plan.encoder == "h264_qsv":
        record.update(granted.from_qsv_log(_log_since(before)))
        record["async_depth"] = plan.options["async_depth"]  # libavcodec's own queue: it grants what is asked
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            record.update(granted.from_maps(maps.read()))
    else:
        record.update(granted.from_x264_options(plan.options))
    return stream


def _failed(encoder: str, stage: str, error: BaseException, log_before: int) -> Exception:
    """A lack of memory is the GPU's own where FFmpeg says so of h264_qsv; every other one is the guest's."""
    if isinstance(error, MemoryError) and (encoder != "h264_qsv" or not isinstance(error, av.error.FFmpegError)):
        return error
    number = getattr(error, "errno", None)
    return encoder_failed(encoder, stage, str(error), lines=said_since(log_before, encoder), number=number)


def x264_threads(cores: int) -> int:
    """
    Return how many frames x264 works on at a time: its own choice of 1.5 per core, but on few cores some more.

    Decoder and deinterlacer take their turns on the same cores; with three threads on two of them x264 stood still
    for a tenth of the time (measured), with six it did not, and the output grew by 0.2 %.
    """
    return max(cores * 3 // 2, cores + 4)


def log_size() -> int:
    """FFmpeg writes its lines to standard error, which for a job is its log file."""
    return os.fstat(2).st_size


def _log_since(position: int) -> str:
    if not stat.S_ISREG(os.fstat(2).st_mode):  # a terminal or a pipe cannot be read back
        return ""
    with open("/proc/self/fd/2", "rb") as log:
        log.seek(max(position, os.fstat(2).st_size - 65_536))
        return log.read(65_536).decode("utf-8", "replace")


def said_since(position: int, encoder: str = "h264_qsv") -> list[str]:
    """Return the encoder's own lines since `position` of the log: they say more than the error's number."""
    marks = (f"[{encoder} @", "[AVHWDeviceContext @", "[Eval @")
    return [line for line in _log_since(position).splitlines() if line.startswith(marks)]
