"""
What the encoder is asked for, in libavcodec's option names; every value is text, as `av_opt_set` reads it.

An option that is left over after opening is a defect: libavcodec ignores what it does not know. Sources: FFmpeg 8.1,
libavcodec/qsvenc.c (select_rc_mode, init_video_param) and libx264.c; the names are the same since FFmpeg 6.
"""

from __future__ import annotations

from fractions import Fraction

from encoderd.encode.messages import VideoRequest

#: Seconds between key frames at most: where a player can jump to.
GOP_S = 3
#: libavcodec keeps a quantizer as this many lambda units (libavutil/avutil.h, FF_QP2LAMBDA).
QP_TO_LAMBDA = 118
#: The decoder's buffer in seconds of the highest bit rate. Jellyfin's choice too; the largest picture must fit in.
BUFFER_S = 2
#: How much lower a CRF is than the ICQ quality of the same picture, see `x264_crf`.
CRF_BELOW_ICQ = 2

Options = dict[str, str]


def codec_options(asked: VideoRequest, frame_rate: Fraction) -> Options:
    """Return the options of `asked.encoder`, generic and private; `extra` only adds, the settings see to that."""
    options = _x264(asked) if asked.encoder == "libx264" else _qsv(asked)
    options |= {"preset": asked.preset, "profile": asked.profile, "g": str(gop_frames(asked, frame_rate))}
    return {**dict(asked.extra), **options}


def gop_frames(asked: VideoRequest, frame_rate: Fraction) -> int:
    """Return how many frames stand between key frames at most."""
    return asked.gop or max(1, round(frame_rate * GOP_S))


def b_frames(asked: VideoRequest) -> int:
    """Return the B-frames in a row at most, -1 for the encoder's own choice; the baseline profile has none."""
    return 0 if asked.profile == "baseline" else asked.bframes


def x264_crf(quality: int) -> int:
    """
    Return the CRF whose pictures are no worse than those of this ICQ quality.

    Both scales are 1…51 and run alike, but not from the same point. The one public measurement puts CRF 23 (medium)
    beside ICQ 25, for cartoons 27: two clips of Japanese television on an Arc A310, judged by VMAF and size (ffvqe,
    docs/bast-parameter-hunting). That is one GPU without VME, so the smaller step is taken: a CPU that stands in for
    the GPU must not give less than was asked for.
    """
    return max(1, quality - CRF_BELOW_ICQ)


def _qsv(asked: VideoRequest) -> Options:
    # forced_idr: each key frame that is asked for is one that a player can jump to. Timestamps of recordings have gaps;
    # B-frames are asked for all the same, because DTS is not left to the runtime: see `decoding_times`.
    options = {**_qsv_rate(asked), "forced_idr": "1", "async_depth": str(asked.async_depth)}
    if b_frames(asked) >= 0:  # unset, each runtime has another default of its own, up to seven
        options["bf"] = str(b_frames(asked))
    if asked.low_power != "auto":
        options["low_power"] = {"on": "1", "off": "0"}[asked.low_power]
    if asked.level:  # the generic option is an integer: "4.1" would be read as 4
        options["level"] = str(round(float(asked.level) * 10))
    return options


def _qsv_rate(asked: VideoRequest) -> Options:
    """libavcodec has no option for the rate control: which options are there decides, so no other may be."""
    quality = {"global_quality": str(asked.quality)}
    match asked.rate_control:
        case "icq":
            return quality
        case "la_icq":
            return {**quality, "look_ahead": "1", "look_ahead_depth": str(asked.look_ahead_depth)}
        case "cqp":
            # Of I and B libavcodec makes its own: QP × 0.8 and QP × 1.25 + 1.25 (i_qfactor, b_qfactor, b_qoffset).
            return {"flags": "+qscale", "global_quality": str(asked.quality * QP_TO_LAMBDA)}
        case "qvbr":
            return {**quality, **_rates(asked)}
        case "vbr" | "cbr":
            # Without extbrc the depth may or may not reach the runtime: its default counts as true, but says nothing.
            ahead = {"extbrc": "1", "look_ahead_depth": str(asked.look_ahead_depth)} if asked.look_ahead_depth else {}
            return {**_rates(asked), **ahead}
        case other:
            raise ValueError(f"no rate control of h264_qsv: {other!r}")


def _rates(asked: VideoRequest) -> Options:
    """Without a highest rate there is no buffer to keep full, and the runtime takes its own."""
    rates = {"b": str(asked.bitrate_bps)}
    most = asked.bitrate_bps if asked.rate_control == "cbr" else asked.max_bitrate_bps
    return rates | _limits(most) if most else rates


def _limits(most_bps: int) -> Options:
    return {"maxrate": str(most_bps), "bufsize": str(most_bps * BUFFER_S)}


def _x264(asked: VideoRequest) -> Options:
    options = _x264_rate(asked)
    if b_frames(asked) >= 0:
        options["bf"] = str(b_frames(asked))
    if asked.look_ahead_depth and asked.rate_control != "cqp":
        options["rc-lookahead"] = str(asked.look_ahead_depth)
    if asked.level:
        options["level"] = asked.level
    return options


def _x264_rate(asked: VideoRequest) -> Options:
    """What comes nearest to a rate control of h264_qsv; what it is called here stands in `x264_rate_control`."""
    match asked.rate_control:
        case "icq" | "la_icq":
            return {"crf": str(x264_crf(asked.quality))}
        case "cqp":
            return {"qp": str(asked.quality)}
        case "qvbr":  # the quality up to the highest rate; x264 has no mean beside a quality
            return {"crf": str(x264_crf(asked.quality)), **_limits(asked.max_bitrate_bps)}
        case "vbr":
            return _rates(asked)
        case "cbr":
            return {**_rates(asked), "minrate": str(asked.bitrate_bps), "nal-hrd": "cbr"}
        case other:
            raise ValueError(f"no rate control for libx264: {other!r}")
