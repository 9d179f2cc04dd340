"""From the settings of a watch folder to what is asked of one encoder on this GPU: every `auto` is decided here."""

from __future__ import annotations

from dataclasses import dataclass

from encoderd.encode.messages import VideoRequest
from encoderd.preflight.gpus import Gpu
from encoderd.settings import EncodeSettings

#: Frames that h264_qsv looks ahead when the settings name none: HandBrake's choice, too.
LOOK_AHEAD_FRAMES = 40
#: B-frames that a GPU of which nothing is known is asked for; what it grants is read back.
B_FRAMES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuHere:
    """The GPU that encodes; `full_driver` tells whether its VA driver is the full one, None where it cannot be told."""

    gpu: Gpu
    full_driver: bool | None = None


def video_request(encode: EncodeSettings, encoder: str, here: GpuHere | None = None) -> VideoRequest:
    """Return what jobs with these settings ask of `encoder`; `here` is None when the GPU is unknown, or not needed."""
    # The settings speak of the encoder they name; where `auto` falls back to the CPU, that one has other options.
    meant = "libx264" if encode.encoder == "libx264" else "h264_qsv"
    return VideoRequest(
        encoder=encoder,
        rate_control=encode.rate_control,
        quality=encode.quality,
        bitrate_bps=encode.bitrate or 0,
        max_bitrate_bps=encode.max_bitrate or 0,
        preset=encode.preset,
        look_ahead_depth=_look_ahead_depth(encode, encoder),
        bframes=_bframes(encode, encoder, here),
        gop=0 if encode.gop == "auto" else encode.gop,
        low_power=_low_power(encode, here) if encoder == "h264_qsv" else "auto",
        profile=encode.profile,
        level="" if encode.level == "auto" else encode.level,
        async_depth=encode.async_depth,
        extra=tuple(sorted(encode.extra.items())) if encoder == meant else (),
    )


def _look_ahead_depth(encode: EncodeSettings, encoder: str) -> int:
    """x264 looks ahead as its preset does, unless the settings name a depth."""
    unset = LOOK_AHEAD_FRAMES if encode.rate_control == "la_icq" and encoder == "h264_qsv" else 0
    return encode.look_ahead_depth or unset


def _low_power(encode: EncodeSettings, here: GpuHere | None) -> str:
    if encode.low_power != "auto" or here is None:
        return encode.low_power
    return here.gpu.auto(full_driver=here.full_driver).low_power


def _bframes(encode: EncodeSettings, encoder: str, here: GpuHere | None) -> int:
    """The runtimes' own defaults differ from one another, so h264_qsv always gets a number."""
    if encode.bframes != "auto":
        return encode.bframes
    if encode.profile == "baseline":
        return 0
    if encoder == "libx264":
        return -1
    if here is None:
        return B_FRAMES
    return here.gpu.generation.low_power_bframes if _low_power(encode, here) == "on" else B_FRAMES
