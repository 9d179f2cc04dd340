"""Recordings that claim another length than they have: one wild stamp, gaps in the stamps shown, wrong headers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from tests.broadcast import transport
from tests.broadcast.catalogue.times import muxed, part_of
from tests.broadcast.making import Part
from tests.broadcast.studio import BASE, audio, service, steady, video
from tests.broadcast.transport import HZ, Unit
from tests.broadcast.truth import Made, Recipe, Track, truth_of

#: Seconds that a wild stamp lies ahead, and times that a header is wrong by.
WILD_S, FACTOR = 95_090, 100
MORE, LESS = Fraction(FACTOR), Fraction(1, FACTOR)


def late(unit: Unit, by_s: int, *, dts: bool) -> Unit:
    """Other stamps, sent when it was."""
    sent = unit.dts if unit.sent is None else unit.sent
    return replace(unit, pts=unit.pts + by_s * HZ, dts=unit.dts + by_s * HZ * dts, sent=sent)


def wild_stamp(number: int, *, dts: bool = False, sound: bool = False) -> Made:
    """One packet says that it is shown 26 hours later, with or without a sane DTS beside it."""
    part = part_of(4)
    streams = [video([part], "libx264"), audio([part])]
    units = list(streams[sound].units)
    units[number] = late(units[number], WILD_S, dts=dts)
    streams[sound] = replace(streams[sound], units=units)
    data = transport.multiplexed(service(*streams), clock=steady())
    return Made(data=data, truth=truth_of([part], doubts=()))


def gaps_in_pts() -> Made:
    """Each second's pictures are shown 100 s after those of the one before, say their PTS; their DTS do not."""
    part = part_of(4)
    picture = video([part], "libx264")
    units = [late(unit, unit.dts // HZ * 100, dts=False) for unit in picture.units]
    data = transport.multiplexed(service(replace(picture, units=units), audio([part])), clock=steady())
    return Made(data=data, truth=truth_of([part]))


def cut_out(step_s: int, *, pictures_alone: bool = False) -> Made:
    """Each second stands so much further on the clock, and no packet is missing: adverts were cut out, or a pause."""
    part = part_of(4)
    if not pictures_alone:
        streams = service(video([part], "libx264"), audio([part]))
        data = transport.multiplexed(streams, clock=lambda ticks: ticks + BASE + ticks // HZ * step_s * HZ)
    else:
        picture = video([part], "libx264")
        units = [late(unit, unit.dts // HZ * step_s, dts=True) for unit in picture.units]
        data = transport.multiplexed(service(replace(picture, units=units), audio([part])), clock=steady())
    return Made(data=data, truth=truth_of([part], tells=("discontinuities",), doubts=()))


def header(container: str, factor: Fraction, b_frames: int = 2) -> Made:
    """The head says `factor` times the length; the packets and their times are whole."""
    part = part_of(4, b_frames)
    track = Track() if container in {"mp4", "matroska"} else Track(language="und")
    data = claiming(file_of(container, part), container, factor)
    return Made(data=data, truth=truth_of([part], tracks=(track,), doubts=()))


def file_of(container: str, part: Part) -> bytes:
    return muxed(part, "libx264", container, Fraction(0))


def claiming(data: bytes, container: str, factor: Fraction) -> bytes:
    return _CLAIMS[container](bytearray(data), factor)


def _movie(data: bytearray, factor: Fraction) -> bytes:
    """In version 0 the duration is the fifth word of "mvhd" and "mdhd", the sixth of "tkhd". The edit list is true."""
    for kind, words in ((b"mvhd", 4), (b"mdhd", 4), (b"tkhd", 5)):
        at = data.find(kind)
        while at >= 0:
            _scaled(data, at + 4 + 4 * words, ">I", factor)
            at = data.find(kind, at + 4)
    return bytes(data)


def _matroska(data: bytearray, factor: Fraction) -> bytes:
    """Duration (0x4489): eight bytes of floating point."""
    return _scaled(data, data.index(b"\x44\x89\x88") + 3, ">d", factor)


def _interleaved(data: bytearray, factor: Fraction) -> bytes:
    """dwTotalFrames of "avih", dwLength of each "strh"."""
    _scaled(data, data.index(b"avih") + 8 + 16, "<I", factor)
    at = data.find(b"strh")
    while at >= 0:
        _scaled(data, at + 8 + 32, "<I", factor)
        at = data.find(b"strh", at + 4)
    return bytes(data)


def _flash(data: bytearray, factor: Fraction) -> bytes:
    """onMetaData's "duration", a number."""
    return _scaled(data, data.index(b"duration\0") + 9, ">d", factor)


def _scaled(data: bytearray, at: int, form: str, factor: Fraction) -> bytes:
    value = struct.unpack_from(form, data, at)[0]
    struct.pack_into(form, data, at, value * float(factor) if form == ">d" else round(value * factor))
    return bytes(data)


_CLAIMS: dict[str, Callable[[bytearray, Fraction], bytes]] = {
    "mp4": _movie, "matroska": _matroska, "avi": _interleaved, "flv": _flash,
}  # fmt: skip
SUFFIXES = {"mp4": ".mp4", "matroska": ".mkv", "avi": ".avi", "flv": ".flv"}

CATALOGUE: dict[str, Recipe] = {
    "wild_pts_first": Recipe(make=lambda: wild_stamp(0)),
    "wild_pts_last": Recipe(make=lambda: wild_stamp(-1)),
    "wild_stamps_first": Recipe(make=lambda: wild_stamp(0, dts=True)),
    "wild_stamps_last": Recipe(make=lambda: wild_stamp(-1, dts=True)),
    "wild_sound_first": Recipe(make=lambda: wild_stamp(0, sound=True)),
    "wild_sound_last": Recipe(make=lambda: wild_stamp(-1, sound=True)),
    "gaps_in_pts": Recipe(make=gaps_in_pts),
    "cut_out_100s": Recipe(make=lambda: cut_out(100)),
    "cut_out_100s_pictures": Recipe(make=lambda: cut_out(100, pictures_alone=True)),
}
for _container, _suffix in SUFFIXES.items():
    _bs = 0 if _container == "avi" else 2
    CATALOGUE |= {
        f"claims_hours_{_container}": Recipe(
            make=lambda container=_container, bs=_bs: header(container, MORE, bs), suffix=_suffix
        ),
        f"claims_moments_{_container}": Recipe(
            make=lambda container=_container, bs=_bs: header(container, LESS, bs), suffix=_suffix
        ),
    }
