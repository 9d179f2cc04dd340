"""Kinds of recordings that were met elsewhere, made here anew, each with what a viewer has to get."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
from av import Packet

from tests.broadcast import making, transport
from tests.broadcast.making import RATE_HZ, SMPTE170M, Part
from tests.broadcast.studio import AUDIO_PID, frames, service, steady, video
from tests.broadcast.transport import ADTS, HZ, Elementary
from tests.broadcast.truth import Made, Recipe, Track, truth_of
from tests.sections import language

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


#: A program_config_element of 5.1: AAC-LC, 48 kHz; SCE and CPE in front, the second CPE behind, LFE; no mixdowns.
#: Source: ISO/IEC 14496-3, 4.4.1.1.
FIVE_ONE = int("101 0000 01 0011 0010 0000 0001 01 000 0000 000 0 0000 1 0000 1 0001 0000".replace(" ", ""), 2)


def channels_told_once() -> Made:
    """5.1 whose ADTS headers leave the channels to a program_config_element, and only the first frame has it."""
    sound = making.encoded_sound("aac", [making.burst_samples(*_events(SHORT), 0)], "5.1")
    units = [
        replace(unit, data=_without_channels(unit.data, FIVE_ONE.to_bytes(7, "big") + b"\0" if number == 0 else b""))
        for number, unit in enumerate(sound)
    ]
    heard = Elementary(pid=AUDIO_PID, stream_type=ADTS, units=units, descriptors=language("jpn"))
    data = transport.multiplexed(service(video([SHORT]), heard), clock=steady())
    return Made(data=data, truth=truth_of([SHORT], tracks=(Track(channels=6),)))


def _events(part: Part) -> tuple[Sequence[making.Event], Fraction]:
    pieces = making.pieces_of([part])
    return making.events_of(pieces), pieces[-1].end_s


def _without_channels(frame: bytes, program: bytes) -> bytes:
    """An ADTS frame with the channel configuration 0, and `program` before its block."""
    length = len(frame) + len(program)
    head = bytes([frame[2] & 0xFE, length >> 11, length >> 3 & 0xFF, (length & 7) << 5 | frame[5] & 0x1F, frame[6]])
    return frame[:2] + head + program + frame[ADTS_BYTES:]


CATALOGUE: dict[str, Recipe] = {
    "aac_in_avi": Recipe(make=aac_in_avi, suffix=".avi"),
    "channels_told_once": Recipe(make=channels_told_once),
    "screen_capture": Recipe(make=screen_capture, suffix=".avi"),
}
