"""Kinds of recordings that were met elsewhere, made here anew, each with what a viewer has to get."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
from av import Packet

from tests.broadcast import making
from tests.broadcast.making import RATE_HZ, SMPTE170M, Part
from tests.broadcast.studio import frames
from tests.broadcast.transport import HZ
from tests.broadcast.truth import Made, Recipe, Track, truth_of

ADTS_BYTES = 7
UNTOLD = Track(language="und")
SHORT = Part(frames=frames(3))


def _in_avi(parts: Sequence[Part], codec: str, sound: str = "mp2") -> bytes:
    """Pictures of `codec` and stereo `sound` in an AVI, which has no times but the rate of each stream."""
    out = io.BytesIO()
    pieces = making.pieces_of(parts)
    samples = making.burst_samples(making.events_of(pieces), pieces[-1].end_s, 0)
    with av.open(out, "w", format="avi") as target:
        shown: Any = target.add_stream(codec, rate=parts[0].rate)
        shown.width, shown.height = parts[0].size
        shown.pix_fmt = parts[0].pix_fmt
        shown.codec_context.sample_aspect_ratio = parts[0].sample_aspect_ratio
        heard: Any = target.add_stream(sound, rate=RATE_HZ, layout="stereo")
        units = [
            *((unit, shown) for unit in making.encoded_pictures(codec, parts)),
            *((unit, heard) for unit in making.encoded_sound(sound, [samples], "stereo")),
        ]
        for unit, stream in sorted(units, key=lambda one: one[0].dts):
            packet = Packet(unit.data[ADTS_BYTES if stream is heard and sound == "aac" else 0 :])
            packet.pts, packet.dts, packet.time_base = unit.pts, unit.pts, Fraction(1, HZ)  # no picture is reordered
            packet.is_keyframe, packet.stream = True, stream
            target.mux(packet)
    return out.getvalue()


def screen_capture() -> Made:
    """15 bits for a pixel, red, green and blue, as old cards captured: the first plane is no luma."""
    part = replace(SHORT, pix_fmt="rgb555le", colours=SMPTE170M)
    return Made(data=_in_avi([part], "rawvideo"), truth=truth_of([part], colours=SMPTE170M, tracks=(UNTOLD,)))


def aac_in_avi() -> Made:
    """AVI counts the frames of its sound: a tick of its clock is as long as one."""
    part = replace(SHORT, pix_fmt="rgb555le")
    return Made(data=_in_avi([part], "rawvideo", "aac"), truth=truth_of([part], colours=SMPTE170M, tracks=(UNTOLD,)))


CATALOGUE: dict[str, Recipe] = {
    "aac_in_avi": Recipe(make=aac_in_avi, suffix=".avi"),
    "screen_capture": Recipe(make=screen_capture, suffix=".avi"),
}
