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

from encoderd.encode.failures import device
from encoderd.encode.filtering import FilterChain
from encoderd.encode.granted import from_parameter_sets
from encoderd.encode.media import VideoInfo
from encoderd.encode.messages import TrialDone, TrialRequest
from encoderd.encode.plan import VIDEO_TIME_BASE, video_plan
from encoderd.encode.sample import RATE, SampleSpec, add_interlaced_video, moving_pictures
from encoderd.encode.writer import add_video

FRAMES = 12
WIDTH, HEIGHT = 640, 480
#: Below this the picture is not the one that went in. A sound encoder at quality 51 is still above 25 dB.
LEAST_PSNR_DB = 20.0
#: Every so many bytes of luma are compared.
_STEP = 7


def run_trial(request: TrialRequest) -> TrialDone:
    """
    Encode and compare.

    Raises:
        EncodeFailed: the encoder does not open, loses frames, or returns other pictures.
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
    plan = video_plan(info, request.encoder, request.quality, request.preset, "auto")
    granted: dict[str, str] = {}
    with av.open("trial", "w", format="null") as nowhere:
        decoder = _mpeg2_decoder()
        stream = add_video(nowhere, plan, _Template(decoder), granted)
        chain = FilterChain(plan)
        pictures = [picture for frame in _decoded(decoder) for picture in chain.push(frame)]
        pictures += list(chain.drain())
        packets: list[Any] = []
        try:
            for number, picture in enumerate(pictures):
                picture.pts, picture.time_base = number * 3003, VIDEO_TIME_BASE
                packets += stream.encode(picture)
            packets += stream.encode(None)
        except (av.error.FFmpegError, OSError) as error:
            raise device(
                f"The trial encode with {request.encoder} failed while encoding: {error}.",
                remedy="encoderd check names the part that is missing.",
            ) from error
        extradata = stream.codec_context.extradata
    if len(packets) != len(pictures) or any(packet.size == 0 for packet in packets):
        raise device(
            f"{request.encoder} lost frames in the trial: {len(pictures)} in, {len(packets)} out, "
            f"{sum(packet.size == 0 for packet in packets)} of them empty.",
            remedy="A GPU that hangs does this; see dmesg for GPU HANG, restart the guest.",
        )
    granted.update(from_parameter_sets(bytes(packets[0])))  # some encoders tell only in the stream itself
    psnr_db = _compare(pictures, _h264(packets, extradata))
    if psnr_db < LEAST_PSNR_DB:
        raise device(
            f"{request.encoder} returned other pictures than it was given in the trial (PSNR {psnr_db:.1f} dB).",
            remedy="Update the driver and the runtime; do not encode with this one.",
        )
    return TrialDone(
        encoder=request.encoder,
        frames=len(pictures),
        wall_s=round(time.monotonic() - started_s, 3),
        psnr_db=round(psnr_db, 1),
        granted=granted,
    )


class _Template:
    """What `add_video` reads of a source stream: its codec context."""

    def __init__(self, codec_context: Any) -> None:
        self.codec_context = codec_context


def _mpeg2_decoder() -> Any:
    return av.CodecContext.create("mpeg2video", "r")


def _decoded(decoder: Any) -> list[VideoFrame]:
    """Return interlaced frames as they come out of a broadcast's decoder, flags and all."""
    spec = SampleSpec(width=WIDTH, height=HEIGHT, duration_s=float(FRAMES / RATE), bit_rate_bps=8_000_000)
    with av.open("sample", "w", format="null") as nowhere:
        stream = add_interlaced_video(nowhere, spec)
        packets = [packet for picture in moving_pictures(spec) for packet in stream.encode(picture)]
        packets += stream.encode(None)
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number * 3003, VIDEO_TIME_BASE
    return frames


def _h264(packets: list[Any], extradata: bytes | None) -> list[VideoFrame]:
    decoder: Any = av.CodecContext.create("h264", "r")
    if extradata:
        decoder.extradata = extradata
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    return frames


def _compare(before: list[VideoFrame], after: list[VideoFrame]) -> float:
    """Return the PSNR of the luma in dB over all frames, 0 when their numbers differ, 99 when they are equal."""
    if len(before) != len(after) or not before:
        return 0.0
    squares = count = 0
    for one, other in zip(before, after, strict=True):
        for left, right in zip(_rows(one), _rows(other), strict=True):
            squares += sum((a - b) ** 2 for a, b in zip(left, right, strict=True))
            count += len(left)
    return 99.0 if squares == 0 else 10 * math.log10(255**2 * count / squares)


def _rows(frame: VideoFrame) -> list[bytes]:
    """Every 8th line of luma, thinned."""
    plane = frame.planes[0]
    data = bytes(plane)
    return [data[row * plane.line_size : row * plane.line_size + frame.width : _STEP] for row in range(0, HEIGHT, 8)]
