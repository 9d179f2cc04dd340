"""What a recording holds, as values: the facts that probing finds and planning needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """
    One video stream. Sizes are in pixels as coded; `frame_rate` is frames per second, 0 when unknown;
    `sample_aspect_ratio` is width : height of one sample, 0 when unknown. Colour values are the numbers of
    ITU-T H.273 (2 = unspecified); `color_range` is 0 unspecified, 1 limited, 2 full.
    """

    index: int
    pid: int
    codec: str
    width: int
    height: int
    pix_fmt: str
    frame_rate: Fraction
    sample_aspect_ratio: Fraction
    time_base: Fraction
    color_primaries: int = 2
    color_trc: int = 2
    colorspace: int = 2
    color_range: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioInfo:
    """One audio stream. `bit_rate_bps` is 0 when unknown; `language` is ISO 639-2, "" when not given."""

    index: int
    pid: int
    codec: str
    sample_rate_hz: int
    channels: int
    layout: str
    bit_rate_bps: int
    language: str
    title: str
    default: bool
    time_base: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """
    A recording as probed. `start_s` and `duration_s` are the container's own claims, None when it makes none.

    `other` describes the streams that are neither video nor audio ("dvb_subtitle (pid 0x130)"); `scrambled_ratio`
    is the share (0…1) of packets that are encrypted.
    """

    format: str
    size_bytes: int
    start_s: Fraction | None
    duration_s: Fraction | None
    video: tuple[VideoInfo, ...]
    audio: tuple[AudioInfo, ...]
    other: tuple[str, ...] = ()
    comment: str = ""
    notes: tuple[str, ...] = field(default=())
    scrambled_ratio: float = 0.0
