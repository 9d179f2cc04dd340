"""The video's part of the plan: the geometry, the filters and the encoder's options of the one video stream."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from encoderd.encode.codec_options import codec_options
from encoderd.encode.media import VideoInfo
from encoderd.encode.messages import VideoRequest

#: The encoder's clock. h264_qsv rounds timestamps to 90 kHz, so nothing finer would survive it.
VIDEO_TIME_BASE = Fraction(1, 90_000)

Filter = tuple[str, str]  # name, arguments as libavfilter writes them


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPlan:
    """
    The video stream: `width` × `height` pixels of the output (always even), the filter chain in order, the encoder
    and its options. Options are `asked` in libavcodec's words; what it grants is read back when it is open. Colours are
    numbers as in VideoInfo, and those of the whole output.
    """

    index: int
    encoder: str
    width: int
    height: int
    pix_fmt: str
    frame_rate: Fraction
    sample_aspect_ratio: Fraction
    filters: tuple[Filter, ...]
    options: dict[str, str]
    asked: VideoRequest
    decoder_threads: int
    colorspace: int = 2
    color_range: int = 0


def video_plan(video: VideoInfo, asked: VideoRequest, deinterlace: str) -> VideoPlan:
    """Return the plan of the one video stream; trial and jobs share it, so that a trial proves what jobs do."""
    rate = video.frame_rate or Fraction(30000, 1001)
    return VideoPlan(
        index=video.index,
        encoder=asked.encoder,
        width=video.width // 2 * 2,
        height=video.height // 2 * 2,
        pix_fmt="nv12",
        frame_rate=rate,
        sample_aspect_ratio=video.sample_aspect_ratio,
        filters=filters(deinterlace, "nv12"),
        options=codec_options(asked, rate),
        asked=asked,
        # One thread decodes MPEG-2 faster than any deinterlacer takes it; more only steal from the encoder. The
        # decoders of H.264 and HEVC are slower and scale over threads: 0 lets libavcodec choose.
        decoder_threads=1 if video.codec in {"mpeg2video", "mpeg1video"} else 0,
        colorspace=video.colorspace,
        color_range=video.color_range,
    )


def filters(deinterlace: str, pix_fmt: str) -> tuple[Filter, ...]:
    """
    Return the filter chain. bwdif touches only frames flagged interlaced and keeps one frame for each (rate = frame).

    Source: ffmpeg-filters, bwdif: deint=interlaced.
    """
    chain: list[Filter] = []
    if deinterlace == "auto":
        chain.append(("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
    chain.append(("format", f"pix_fmts={pix_fmt}"))
    return tuple(chain)
