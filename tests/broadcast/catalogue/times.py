"""What clocks, stamps and decoders do to pictures, each with what a viewer has to get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
from av.packet import Packet

from tests.broadcast import making, transport
from tests.broadcast.making import Part
from tests.broadcast.studio import audio, frames, service, steady, stepping, video
from tests.broadcast.transport import FOREVER, HZ, Unit, stamped_once, together
from tests.broadcast.truth import Made, Recipe, truth_of

#: One closed group of pictures every half second, with its parameters told again.
GOP = 15


def part_of(seconds: float = 4, b_frames: int = 2, **changes: Any) -> Part:
    options = (("g", str(GOP)), ("bf", str(b_frames)), ("sc_threshold", "0"))
    return Part(frames=frames(seconds), options=options, **changes)


def _sent(part: Part, codec: str, change: Callable[[Sequence[Unit]], list[Unit]], **more: Any) -> Made:
    """A recording whose pictures go into other PES packets than one each."""
    picture = video([part], codec)
    picture = replace(picture, units=change(picture.units))
    data = transport.multiplexed(service(picture, audio([part])), clock=steady())
    return Made(data=data, truth=truth_of([part], **more))


# --- decoders that are emptied


def joined_mid_gop() -> Made:
    """Two recordings in one file: the first begins and ends in the middle of a GOP, and so does the second."""
    parts = [part_of(5, scan="tff"), part_of(5, scan="tff", number=1000)]
    edge_s = making.pieces_of(parts)[1].at_s
    whole = transport.multiplexed(service(video(parts), audio(parts)), clock=stepping(edge_s, 7_000))
    begin = round(0.3 * HZ)
    return Made(
        data=transport.between(whole, begin, FOREVER),
        truth=truth_of(
            parts, lost=((Fraction(0), Fraction(11, 10)),), late_picture_s=Fraction(1), tells=("discontinuities",)
        ),
    )


def aspect_change_mpeg2() -> Made:
    """4:3 → 16:9 in the same pixels, in a recording that was joined in the middle of a GOP: its zero is moved."""
    narrow = part_of(3, size=(192, 144), scan="tff")
    parts = [narrow, replace(narrow, sample_aspect_ratio=Fraction(4, 3), frames=frames(4))]
    whole = transport.multiplexed(service(video(parts), audio(parts)), clock=steady())
    return Made(
        data=transport.between(whole, round(0.3 * HZ), FOREVER),
        truth=truth_of(parts, lost=((Fraction(0), Fraction(11, 10)),), late_picture_s=Fraction(1)),
    )


def muxed(part: Part, codec: str, container: str, begin_s: Fraction) -> bytes:
    """The same pictures and sounds in a file, which begins at `begin_s`."""
    target = BytesIO()
    picture, sound = video([part], codec), audio([part])
    with av.open(target, "w", format=container) as output:
        pictures: Any = output.add_stream(codec, rate=part.rate)
        pictures.width, pictures.height, pictures.pix_fmt = *part.size, part.pix_fmt
        pictures.codec_context.color_primaries, pictures.codec_context.color_trc = part.colours[:2]
        pictures.codec_context.colorspace = part.colours[2]
        pictures.time_base, pictures.codec_context.extradata = Fraction(1, HZ), picture.units[0].data
        sounds: Any = output.add_stream("aac", rate=making.RATE_HZ, layout="stereo")
        sounds.time_base, sounds.metadata["language"] = Fraction(1, HZ), "jpn"
        units = [(unit.dts, number, unit) for number, stream in enumerate((picture, sound)) for unit in stream.units]
        for _, number, unit in sorted(units, key=lambda one: one[:2]):
            packet: Packet[Any] = Packet(unit.data[7:] if number else unit.data)
            packet.stream = (pictures, sounds)[number]
            packet.time_base = Fraction(1, HZ)
            packet.pts, packet.dts = unit.pts + round(begin_s * HZ), unit.dts + round(begin_s * HZ)
            packet.duration = round(HZ / part.rate) if not number else 1920
            packet.is_keyframe = bool(number) or b"\0\0\1\x65" in unit.data
            output.mux(packet)
    return target.getvalue()


def edit_list() -> Made:
    """MP4 with B-frames, whose edit list takes the delay out of the pictures' times."""
    part = part_of(4)
    return Made(data=muxed(part, "libx264", "mp4", Fraction(0)), truth=truth_of([part]))


def from_80_s(container: str) -> Made:
    """A file that was cut out of a longer one, with its times."""
    part = part_of(4)
    if container == "mpegts":
        data = transport.multiplexed(service(video([part], "libx264"), audio([part])), clock=steady(80 * HZ))
        return Made(data=data, truth=truth_of([part]))
    return Made(data=muxed(part, "libx264", container, Fraction(80)), truth=truth_of([part]))


def spoilt_end(codec: str) -> Made:
    """The last packet and another of the last few hold nothing that a decoder takes; one picture refers to these."""
    part = part_of(4, b_frames=0)
    picture = video([part], codec)
    units = list(picture.units)
    for number in (-3, -1):
        picture_at = units[number].data.index(b"\0\0\1\x41") + 4  # a slice of no key frame
        units[number] = replace(units[number], data=units[number].data[:picture_at] + b"\xff" * 40)
    data = transport.multiplexed(service(replace(picture, units=units), audio([part])), clock=steady())
    return Made(data=data, truth=truth_of([part], missing=3, unread=1, tells=("decode_errors",)))


CATALOGUE: dict[str, Recipe] = {
    "joined_mid_gop": Recipe(make=joined_mid_gop),
    "aspect_change_moved": Recipe(make=aspect_change_mpeg2),
    "edit_list": Recipe(make=edit_list, suffix=".mp4"),
    "from_80_s": Recipe(make=lambda: from_80_s("mpegts")),
    "from_80_s_mkv": Recipe(make=lambda: from_80_s("matroska"), suffix=".mkv"),
    "spoilt_end": Recipe(make=lambda: spoilt_end("libx264")),
}
_KINDS = (("mpeg2", "mpeg2video", 2), ("h264", "libx264", 0), ("h264", "libx264", 2), ("hevc", "libx265", 2))
for _name, _codec, _bs in _KINDS:
    CATALOGUE |= {
        f"six_in_a_pes_{_name}_{_bs}b": Recipe(
            make=lambda codec=_codec, bs=_bs: _sent(part_of(b_frames=bs), codec, lambda units: together(units, 6))
        ),
        f"stamped_once_{_name}_{_bs}b": Recipe(
            make=lambda codec=_codec, bs=_bs: _sent(part_of(b_frames=bs), codec, lambda units: stamped_once(units, GOP))
        ),
    }
CATALOGUE["pts_alone_h264"] = Recipe(
    make=lambda: _sent(part_of(), "libx264", lambda units: stamped_once(units, GOP, "pts"))
)
