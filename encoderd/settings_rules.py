"""
Which settings of the encode section contradict each other, and what a watch folder takes over from it.

FFmpeg refuses few combinations: most it turns into something else without a word. A global_quality with a maxrate and
no bit rate is CQP 26, a maxrate equal to the bit rate is CBR, a look-ahead depth is dropped. None of that may happen
to a recording, so such settings are refused when they are read. Source: libavcodec/qsvenc.c, select_rc_mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: The settings that each rate control uses, out of RATE_SETTINGS.
USES: Mapping[str, frozenset[str]] = {
    "icq": frozenset({"quality"}),
    "la_icq": frozenset({"quality", "look_ahead_depth"}),
    "cqp": frozenset({"quality"}),
    "qvbr": frozenset({"quality", "bitrate", "max_bitrate"}),
    "vbr": frozenset({"bitrate", "max_bitrate", "look_ahead_depth"}),
    "cbr": frozenset({"bitrate", "look_ahead_depth"}),
}
RATE_SETTINGS = frozenset({"quality", "bitrate", "max_bitrate", "look_ahead_depth"})
#: The quality that stands in the shipped settings; there it says nothing, whatever the rate control is.
DEFAULT_QUALITY = 23

_QUALITY = "quality"
_RATE = 'rate_control = "vbr", "cbr" or "qvbr" with bitrate and max_bitrate'
#: FFmpeg's options that the settings decide → what to write instead.
OWNED: Mapping[str, str] = {
    **dict.fromkeys(("global_quality", "q", "qscale", "crf", "qp", "cqp", "crf_max", "cqm"), _QUALITY),
    **dict.fromkeys(("b", "vb", "bitrate", "minrate", "avbr_accuracy", "avbr_convergence"), "bitrate"),
    **dict.fromkeys(("maxrate", "bufsize", "vbv-maxrate", "vbv-bufsize"), "max_bitrate"),
    **dict.fromkeys(("flags", "vcm", "nal-hrd", "RateControlMethod"), "rate_control"),
    **dict.fromkeys(("look_ahead", "look_ahead_depth", "rc-lookahead", "extbrc"), "look_ahead_depth"),
    **dict.fromkeys(("preset", "compression_level", "TargetUsage"), "preset"),
    **dict.fromkeys(("g", "keyint", "GopPicSize"), "gop"),
    **dict.fromkeys(("bf", "bframes", "GopRefDist"), "bframes"),
    **dict.fromkeys(("profile", "CodecProfile"), "profile"),
    **dict.fromkeys(("level", "CodecLevel"), "level"),
    **dict.fromkeys(("low_power", "LowPower"), "low_power"),
    "async_depth": "async_depth",
}
#: FFmpeg's options that nobody decides: encoderd needs them as it sets them.
FIXED = frozenset(
    {
        *("forced_idr", "forced-idr", "time_base", "pixel_format", "pix_fmt", "idr_interval", "open-gop"),
        *("intra-refresh", "int_ref_type", "keyint_min", "min-keyint"),  # where a player can jump to
        *("skip_frame", "pass", "stats", "passlogfile"),  # as many packets as pictures, in one pass
        *("threads", "thread_type", "lookahead-threads", "sliced-threads", "flags2", "export_side_data"),
        *("aud", "annexb", "repeat-headers", "a53cc", "sei", "strict"),  # what stands beside the pictures
        *("width", "height", "s", "ar", "aspect", "sar", "interlaced", "tff", "bff", "fake-interlaced", "pic-struct"),
        *("fps", "timebase", "force-cfr", "vfr-input", "field_order", "output-csp", "output-depth", "range"),
        *("colorprim", "transfer", "colormatrix", "color_primaries", "color_trc", "colorspace", "color_range"),
    }
)
#: Options that hold options of their own, "name=value:name=value".
NESTED = frozenset({"x264-params", "x264opts", "qsv_params"})

Values = Mapping[str, Any]


def overridden(encode: Values, folder: Values) -> dict[str, Any]:
    """
    Return the encode section as a watch folder overrides it; both as read, unknown keys and all.

    A folder that names a rate control of its own takes over only what that one uses: the bit rates of a section for
    vbr would contradict a folder's icq, and no line of TOML can unset them. So too the `extra` of another encoder.
    """
    kept = dict(encode)
    uses = USES.get(str(folder.get("rate_control")))
    if uses is not None:
        kept = {key: value for key, value in kept.items() if key not in RATE_SETTINGS - uses}
    if (folder.get("encoder", encode["encoder"]) == "libx264") != (encode["encoder"] == "libx264"):
        kept.pop("extra", None)
    return {**kept, **folder}


def contradiction(values: Values) -> str:
    """Return what cannot be in a valid encode section, why, and what to write instead; "" when it adds up."""
    return next(filter(None, (rule(values) for rule in _RULES)), "")


def _rates_have_a_use(values: Values) -> str:
    rate_control = values["rate_control"]
    for key in ("bitrate", "max_bitrate"):
        if values[key] is None or key in USES[rate_control]:
            continue
        if rate_control == "cbr":
            return (
                "max_bitrate has no place in a constant rate: FFmpeg would make vbr of it; "
                'leave it out, or write rate_control = "vbr"'
            )
        return (
            f'{key} is not used by rate_control = "{rate_control}", which holds a quality at whatever rate it takes; '
            'leave it out, or write rate_control = "qvbr" for a quality with a limit, "vbr" for a rate'
        )
    return ""


def _rates_are_there(values: Values) -> str:
    rate_control, mean, most = values["rate_control"], values["bitrate"], values["max_bitrate"]
    uses = USES[rate_control]
    if "bitrate" in uses and mean is None:
        return f'rate_control = "{rate_control}" needs a bit rate to aim at; write one, like bitrate = "6M"'
    if rate_control == "qvbr" and most is None:
        return (
            'rate_control = "qvbr" needs max_bitrate: without it FFmpeg would hold the quality alone, as icq does; '
            f"write one above bitrate, like max_bitrate = {2 * mean}"
        )
    if most is not None and most <= mean:
        became = "make cbr of it" if most == mean else "ask for what cannot be"
        return f"max_bitrate ({most}) must be above bitrate ({mean}): FFmpeg would {became}; raise max_bitrate" + (
            ', leave it out, or write rate_control = "cbr"' if rate_control == "vbr" else ""
        )
    return ""


def _quality_has_a_use(values: Values) -> str:
    if "quality" in USES[values["rate_control"]] or values["quality"] == DEFAULT_QUALITY:
        return ""
    return (
        f'quality = {values["quality"]} is not used by rate_control = "{values["rate_control"]}", which holds a rate; '
        'leave it out, or write rate_control = "qvbr" for a quality with a limit, "icq" for a quality alone'
    )


def _look_ahead_has_a_use(values: Values) -> str:
    if values["look_ahead_depth"] is None or "look_ahead_depth" in USES[values["rate_control"]]:
        return ""
    instead = 'rate_control = "vbr"' if values["rate_control"] == "qvbr" else 'rate_control = "la_icq"'
    return (
        f'look_ahead_depth is not used by rate_control = "{values["rate_control"]}": FFmpeg would drop it; '
        f"leave it out, or write {instead}"
    )


def _look_ahead_has_an_encoder(values: Values) -> str:
    """No Intel GPU has both: where the low-power encoder is the only one, the driver makes icq of it in silence."""
    if values["encoder"] == "libx264" or (values["rate_control"], values["low_power"]) != ("la_icq", "on"):
        return ""
    return (
        'rate_control = "la_icq" cannot be had with low_power = "on": only the full encoder (VME) looks ahead; '
        'write low_power = "auto", or rate_control = "icq"'
    )


def _profile_has_b_frames(values: Values) -> str:
    if values["profile"] != "baseline" or values["bframes"] in {"auto", 0}:
        return ""
    return (
        f'bframes = {values["bframes"]} cannot be had with profile = "baseline", which has none; '
        'write bframes = 0, or profile = "main" or "high"'
    )


def _extra_is_extra(values: Values) -> str:
    for name, value in values["extra"].items():
        given = [name]
        if name in NESTED:
            given += [part.partition("=")[0].strip() for part in str(value).split(":")]
        for given_as in given:
            option = _as_known(given_as)
            where = f"extra.{name}" if given_as == name else f"extra.{name} with {given_as}"
            if option in FIXED:
                return f"{where} cannot be set: encoderd needs it as it is; leave it out"
            if option in OWNED:
                return f"{where} would go behind the back of a setting; write {OWNED[option]} instead"
    return ""


def _as_known(option: str) -> str:
    """Return an option in the spelling of the tables: x264 takes "-" and "_" alike, and "no-" before switches."""
    stem = option.removeprefix("no-").removeprefix("no_")
    spellings = (option, stem, stem.replace("_", "-"), stem.replace("-", "_"))
    return next((one for one in spellings if one in FIXED or one in OWNED), option)


_RULES: tuple[Callable[[Values], str], ...] = (
    _rates_have_a_use,
    _rates_are_there,
    _quality_has_a_use,
    _look_ahead_has_a_use,
    _look_ahead_has_an_encoder,
    _profile_has_b_frames,
    _extra_is_extra,
)
