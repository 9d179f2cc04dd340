"""
Does this FFmpeg know the further options of an encoder, and take their values? Asked of libavutil itself.

PyAV tells no options since 17; FFmpeg's own setter (av_opt_set) does, without opening the encoder, so a GPU is not
needed. x264 reads its nested options when it is opened, and only warns of those that it does not know.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import av.logging

from encoderd.encode.messages import OptionsChecked, OptionsRequest

_SEARCH_CHILDREN = 1  # AV_OPT_SEARCH_CHILDREN (libavutil/opt.h)
_NO_OPTION = -0x54504FF8  # AVERROR_OPTION_NOT_FOUND: FFERRTAG(0xF8, 'O', 'P', 'T')
_NESTED = ("x264-params", "x264opts")
_REFUSED = re.compile(r"(?:Error parsing|bad) option '([^']+)'|Bad value for '([^']+)'", re.IGNORECASE)


def check_options(request: OptionsRequest) -> OptionsChecked:
    """Try each option on a context of the encoder; nothing is encoded. An encoder that is not there takes all."""
    libraries = _loaded("libavcodec"), _loaded("libavutil")
    if not all(libraries):
        return OptionsChecked(problems=[])
    avcodec, avutil = map(ctypes.CDLL, libraries)
    avcodec.avcodec_find_encoder_by_name.restype = avcodec.avcodec_alloc_context3.restype = ctypes.c_void_p
    codec = avcodec.avcodec_find_encoder_by_name(request.encoder.encode())
    if not codec:
        return OptionsChecked(problems=[])
    context = ctypes.c_void_p(avcodec.avcodec_alloc_context3(ctypes.c_void_p(codec)))
    problems = []
    try:
        for name, value in request.extra:
            code = avutil.av_opt_set(context, name.encode(), value.encode(), _SEARCH_CHILDREN)
            if code == _NO_OPTION and _option(avutil, context, name):
                problems.append(f"{request.encoder} takes no {name} = {value!r}")
            elif code == _NO_OPTION:
                problems.append(f"{request.encoder} has no option named {name}")
            elif code < 0:
                problems.append(f"{request.encoder} takes no {name} = {value!r}")
    finally:
        avcodec.avcodec_free_context(ctypes.byref(context))
    if request.encoder == "libx264" and not problems:
        problems = _x264_refuses([pair for pair in request.extra if pair[0] in _NESTED])
    return OptionsChecked(problems=problems)


def _loaded(library: str) -> str:
    """Return the path of a library that PyAV has loaded, "" when there is none: wheels give it a name of their own."""
    for line in Path("/proc/self/maps").read_text("utf-8", "replace").splitlines():
        path = line.partition("/")[2]
        if path.rpartition("/")[2].startswith(library):
            return f"/{path}"
    return ""


def _option(avutil: ctypes.CDLL, context: ctypes.c_void_p, name: str) -> bool:
    avutil.av_opt_find.restype = ctypes.c_void_p
    return bool(avutil.av_opt_find(context, name.encode(), None, 0, _SEARCH_CHILDREN))


def _x264_refuses(extra: Sequence[tuple[str, str]]) -> list[str]:
    if not extra:
        return []
    av.logging.set_level(av.logging.WARNING)
    with av.logging.Capture(local=False) as said:
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = 128, 96, "yuv420p"
        context.time_base = Fraction(1, 25)
        context.options = dict(extra)
        try:
            context.open()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            return [f"x264 refuses {dict(extra)}: {error}"]
    found = [match[1] or match[2] for _, _, text in said if (match := _REFUSED.search(text))]
    return [f"x264 takes no {option}" for option in found]
