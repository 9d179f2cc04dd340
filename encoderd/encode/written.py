"""What the written file holds, and what decoding it showed: numbers for the judgement and the receipt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from encoderd.encode.media import Chapter, Tags


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStream:
    """
    One stream as found in the written file; times in seconds, `packets` counted by reading all of them.

    `kind` is "video", "audio" or "subtitle"; `backward` counts packets whose DTS does not come after the one before.
    """

    codec: str
    kind: str
    packets: int
    start_s: Fraction | None
    end_s: Fraction | None
    backward: int = 0
    tags: Tags = field(default_factory=Tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedSpot:
    """
    A stretch of the output that was decoded: where in seconds, how many frames came, what went wrong ("").

    "all" is the whole file after it was written, "beside" the same packets while they were being written.
    """

    place: str  # "start", "middle", "end", "all" or "beside"
    at_s: float
    frames: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTags:
    """
    How a player shows the pictures: `sample_aspect_ratio` is width : height of one sample (0: not told), colours are
    the numbers of ITU-T H.273 as in VideoInfo.
    """

    sample_aspect_ratio: Fraction = Fraction(0)
    color_primaries: int = 2
    color_trc: int = 2
    colorspace: int = 2
    color_range: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFacts:
    """
    The written file, read back. `width` × `height` in pixels as decoded.

    `video_crc` is the CRC-32 of all video packets in their order, as `nal_units.VideoCrc` makes it; None when it was
    not asked for. `repeated_pts` counts pictures that have the time of another one. `metadata` are the words in its
    head, `chapters` None where this PyAV reads none.
    """

    size_bytes: int
    streams: tuple[OutputStream, ...]
    spots: tuple[DecodedSpot, ...]
    width: int
    height: int
    tags: PictureTags | None = None
    video_crc: int | None = None
    repeated_pts: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    chapters: tuple[Chapter, ...] | None = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondLikeness:
    """
    One sampled second: medians over its pictures, of luma. `psnr_db` and `ssim` (0…1) compare the pictures in the
    output with those that went into the encoder; `thin_db` and `beside_db` compare a few places, with the picture
    itself and with the nearer of its two neighbours.
    """

    at_s: float
    frames: int
    psnr_db: float
    ssim: float
    thin_db: float
    beside_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofFacts:
    """
    What was decoded beside the encode: `frames` pictures of `packets` packets, and what went wrong ("").

    `compared` pictures were held against the ones that went in, at a few places each: `wrong` of them are other
    pictures (the first at `wrong_at_s`), the worst has `worst_db`. `crc` is that of `OutputFacts.video_crc`.
    """

    frames: int
    packets: int
    error: str
    crc: int
    compared: int = 0
    wrong: int = 0
    wrong_at_s: float | None = None
    worst_db: float | None = None
    worst_at_s: float | None = None
    seconds: tuple[SecondLikeness, ...] = ()
