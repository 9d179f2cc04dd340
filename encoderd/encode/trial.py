"""
The trial encode: a few frames through the very path that jobs take.

Interlaced MPEG-2 made on the spot → decode → bwdif → nv12 → the encoder with the options of a job → decode again →
compare. Not a black-frame test: an encoder that loses, repeats or spoils pictures does not pass.
"""

from __future__ import annotations

import math
import time
from fractions import Fraction
from typing import Any

import av
import av.error
from av.video.frame import VideoFrame

from encoderd.encode.failures import EncodeFailed, device, encoder_empty, encoder_failed, encoder_lost
from encoderd.encode.filtering import FilterChain
from encoderd.encode.granted import differences, from_parameter_sets
from encoderd.encode.media import VideoInfo
from encoderd.encode.messages import TrialDone, TrialRequest, VideoRequest
from encoderd.encode.playback import STRICT
from encoderd.encode.qsv_errors import UNNAMED
from encoderd.encode.sample import RATE, SampleSpec, add_interlaced_video, moving_pictures
from encoderd.encode.video_plan import VIDEO_TIME_BASE, video_plan
from encoderd.encode.writer import add_video, log_size, said_since
from encoderd.jobs import FailureKind

WIDTH, HEIGHT = 640, 480
#: Pictures beside those that an encoder keeps back.
FRAMES = 8
#: Ticks of VIDEO_TIME_BASE between two pictures.
FRAME_TICKS = 3003
#: Below this a picture is not the one that went in. These pictures at QP 51 have 28 dB, at 100 kb/s 20 dB and more;
#: inverted, green or black ones less than 10 dB (measured with libx264).
LEAST_PSNR_DB = 16.0
#: A picture that is so much nearer to the one before or after is that one. Neighbours have 26 dB between them.
NEARER_DB = 3.0
#: Every so many bytes of luma are compared.
_STEP = 7
_SPOILT = "Update the driver and the runtime; do not encode with this one."


def run_trial(request: TrialRequest) -> TrialDone:
    """
    Encode and compare.

    Raises:
        EncodeFailed: the encoder does not open, loses frames, or returns other pictures; never kind recording.
    """
    started_s = time.monotonic()
    info = VideoInfo(
        index=0,
        pid=0,
        codec="mpeg2video",
        width=WIDTH,
        height=HEIGHT,
        pix_fmt="yuv420p",
        frame_rate=RATE,
        sample_aspect_ratio=Fraction(4, 3),
        time_base=VIDEO_TIME_BASE,
    )
    encoder = request.video.encoder
    plan = video_plan(info, request.video, "auto")
    granted: dict[str, str] = {}
    log_before = log_size()
    with av.open("trial", "w", format="null") as nowhere:
        decoder = _mpeg2_decoder()
        try:
            stream = add_video(nowhere, plan, granted)
        except EncodeFailed as failure:
            if failure.kind is not FailureKind.RECORDING:
                raise
            raise device(failure.message, remedy=UNNAMED.remedy) from failure  # no recording is there to blame
        chain = FilterChain(plan)
        pictures = [picture for frame in _decoded(decoder, _frames(request.video)) for picture in chain.push(frame)]
        pictures += list(chain.drain())
        packets: list[Any] = []
        try:
            for number, picture in enumerate(pictures):
                picture.pts, picture.time_base = number * FRAME_TICKS, VIDEO_TIME_BASE
                packets += stream.encode(picture)
            packets += stream.encode(None)
        except (av.error.FFmpegError, OSError) as error:
            lines = said_since(log_before, encoder)
            raise encoder_failed(encoder, "encoding", str(error), lines=lines, number=error.errno) from error
        extradata = stream.codec_context.extradata
    _check_packets(encoder, packets, len(pictures), said_since(log_before, encoder))
    granted.update(from_parameter_sets(bytes(packets[0])))  # some encoders tell only in the stream itself
    psnr_db = _compared(encoder, pictures, _h264(encoder, packets, extradata))
    return TrialDone(
        encoder=encoder,
        frames=len(pictures),
        wall_s=round(time.monotonic() - started_s, 3),
        psnr_db=round(psnr_db, 1),
        granted=granted,
        differences=differences(request.video, granted),
    )


def _frames(video: VideoRequest) -> int:
    """So many that each stage of the encoder fills up and begins to give back before it is drained."""
    return FRAMES + video.look_ahead_depth + video.async_depth + max(video.bframes, 0)


def _check_packets(encoder: str, packets: list[Any], pictures: int, lines: list[str]) -> None:
    empty = [number for number, packet in enumerate(packets, start=1) if packet.size == 0]
    if empty:
        raise encoder_empty(encoder, empty[0])
    if len(packets) != pictures:
        raise encoder_lost(encoder, pictures, len(packets), lines)
    if sorted(packet.pts for packet in packets) != [number * FRAME_TICKS for number in range(pictures)]:
        raise device(f"{encoder} gave its pictures other times than they had in the trial.", remedy=_SPOILT)


def _mpeg2_decoder() -> Any:
    return av.CodecContext.create("mpeg2video", "r")


def _decoded(decoder: Any, count: int) -> list[VideoFrame]:
    """Return interlaced frames as they come out of a broadcast's decoder, flags and all."""
    spec = SampleSpec(width=WIDTH, height=HEIGHT, duration_s=float(count / RATE), bit_rate_bps=8_000_000)
    with av.open("sample", "w", format="null") as nowhere:
        stream = add_interlaced_video(nowhere, spec)
        packets = [packet for picture in moving_pictures(spec) for packet in stream.encode(picture)]
        packets += stream.encode(None)
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number * FRAME_TICKS, VIDEO_TIME_BASE
    return frames


def _h264(encoder: str, packets: list[Any], extradata: bytes | None) -> list[VideoFrame]:
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.options = dict(STRICT)
    if extradata:
        decoder.extradata = extradata
    try:
        frames = [frame for packet in packets for frame in decoder.decode(packet)]
        frames += decoder.decode(None)
    except (av.error.FFmpegError, OSError) as error:
        text = f"{encoder} wrote a bitstream in the trial that cannot be decoded ({error})."
        raise device(text, remedy=_SPOILT) from error
    return frames


def _compared(encoder: str, before: list[VideoFrame], after: list[VideoFrame]) -> float:
    """
    Return the PSNR of the luma in dB over all frames, 99 when they are equal.

    Raises:
        EncodeFailed: a picture is missing, or another one than went in, or spoilt.
    """
    if len(before) != len(after):
        text = f"{encoder} wrote {len(before)} pictures in the trial, of which {len(after)} can be decoded."
        raise device(text, remedy=_SPOILT)
    wanted, found = [_luma(frame) for frame in before], [_luma(frame) for frame in after]
    errors = [_error(one, other) for one, other in zip(wanted, found, strict=True)]
    for number, error in enumerate(errors):
        own_db = _psnr_db(error)
        beside = [
            _psnr_db(_error(wanted[at], found[number])) for at in (number - 1, number + 1) if 0 <= at < len(wanted)
        ]
        if own_db < LEAST_PSNR_DB or any(db > own_db + NEARER_DB for db in beside):
            raise device(
                f"{encoder} returned other pictures than it was given in the trial: "
                f"number {number + 1} of {len(found)} has a PSNR of {own_db:.1f} dB.",
                remedy=_SPOILT,
            )
    return _psnr_db(sum(errors) / len(errors))


def _luma(frame: VideoFrame) -> bytes:
    """Every 8th line of luma, thinned."""
    plane = frame.planes[0]
    data = bytes(plane)
    starts = range(0, HEIGHT * plane.line_size, 8 * plane.line_size)
    return b"".join(data[start : start + frame.width : _STEP] for start in starts)


def _error(one: bytes, other: bytes) -> float:
    """Return the mean square of the differences."""
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one)


def _psnr_db(error: float) -> float:
    return 10 * math.log10(255**2 / error) if error else 99.0
