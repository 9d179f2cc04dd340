"""What looks damaged and is not, and what really is, each with what a viewer has to get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial

from tests.broadcast import making, transport
from tests.broadcast.captions import arib_units, dvb_display_set_units, teletext_units
from tests.broadcast.containers import Head, Said, remuxed
from tests.broadcast.making import Part
from tests.broadcast.studio import AUDIO_PID, PROGRESSIVE, TFF, VIDEO_PID, audio, frames, service, steady, video
from tests.broadcast.transport import ADTS, HZ, LATM, PRIVATE, Elementary
from tests.broadcast.truth import Made, Recipe, truth_of
from tests.encoding import packets_of, payload_at
from tests.sections import component_tag, descriptor

SUBTITLES_PID = 0x120
ALONE = (("bf", "0"), ("g", "1"))  # each picture stands for itself


def slides(every_s: int, count: int) -> Made:
    """A picture each few seconds, beside sound that is whole: its full seconds are marked where pictures begin."""
    parts = [Part(frames=count, rate=Fraction(1, every_s), options=ALONE)]
    sound = audio([Part(frames=count * every_s, rate=Fraction(1))])
    data = transport.multiplexed(service(video(parts, "libx264"), sound), clock=steady())
    # Each picture is white at its beginning or not, so flashes and bursts tell nothing here.
    silent = count * every_s
    return Made(data=data, truth=truth_of(parts, silent=silent, doubts=()))


def screen(muxer: str) -> Made:
    """A screen at 60 pictures a second that stands still for 9 s: that picture is shown behind those that follow it."""
    parts = [
        Part(frames=60, rate=Fraction(60)),
        Part(frames=1, rate=Fraction(1, 9)),
        Part(frames=60, rate=Fraction(60)),
    ]
    data = transport.multiplexed(service(video(parts, "libx264"), audio(parts)), clock=steady())
    data = remuxed(data, muxer, [Said(), Said(language="jpn")], Head())
    # What is white from 1 to 10 s shows no flash there.
    return Made(data=data, truth=truth_of(parts, silent=1, doubts=()))


def watching(rate: int, options: tuple[tuple[str, str], ...] = ALONE) -> Made:
    """A camera over a door: a few pictures a second."""
    parts = [Part(frames=8 * rate, rate=Fraction(rate), options=options)]
    data = transport.multiplexed(service(video(parts, "libx264"), audio(parts)), clock=steady())
    return Made(data=data, truth=truth_of(parts, silent=8 * (rate == 1), doubts=()))


def dead_camera() -> Made:
    """Pictures stop for 6 s, each of the others alone, and the sound goes on."""
    parts = [Part(frames=frames(12), options=ALONE)]
    picture = video(parts)
    kept = replace(picture, units=[unit for unit in picture.units if not 3 * HZ <= unit.pts < 9 * HZ])
    data = transport.multiplexed(service(kept, audio(parts)), clock=steady())
    return Made(data=data, truth=truth_of(parts, lost=((Fraction(29, 10), Fraction(91, 10)),), tells=("gaps",)))


def _wrong_lengths(pid: int, off: int, every: int = 1) -> Made:
    """PES_packet_length is off by some bytes in each packet of a PID, or in some; nothing is missing."""
    streams = video([TFF]), audio([TFF])
    sizes = [len(unit.data) + (13 if unit.pts != unit.dts else 8) for one in streams if one.pid == pid
             for unit in one.units]  # fmt: skip
    number, out = 0, []
    for of, packet in packets_of(transport.multiplexed(service(*streams), clock=steady())):
        if of == pid and packet[1] & 0x40:
            at = payload_at(packet)
            length = sizes[number] + (0 if number % every else off)
            packet[at + 4 : at + 6] = (length if 0 < length < 2**16 else 0).to_bytes(2, "big")
            number += 1
        out.append(bytes(packet))
    return Made(data=b"".join(out), truth=truth_of([TFF]))


def cut_anywhere(codec: str, latm: bool, begin: float, end: float) -> Made:
    """A recorder begins and stops in mid-packet, so that the first and last picture and sound are not whole."""
    parts = [TFF if codec == "mpeg2video" else PROGRESSIVE]
    sound = audio(parts)
    units = making.as_latm(sound.units) if latm else transport.together(sound.units, 3)
    sound = replace(sound, stream_type=LATM if latm else ADTS, units=units)
    data = transport.multiplexed(service(video(parts, codec), sound), clock=steady())
    cut = data[round(begin * len(data)) : round(end * len(data))]
    lost = (Fraction(0), Fraction(2)), (Fraction(4), Fraction(7))
    late_s = Fraction(1)  # the first whole picture is a key frame
    return Made(data=cut, truth=truth_of(parts, lost=lost, late_picture_s=late_s, doubts=()))


#: When the display sets are shown: the first before the pictures, and the last when they are over, as captions are
#: that somebody types.
SHARED_TIMES_S = (0.0, 1.2, 1.6, 2.0, 5.0, 12.0)


def shared_times(*others: Elementary) -> Made:
    """Five PES packets of a display set share a PTS."""
    subtitles = Elementary(
        pid=SUBTITLES_PID,
        stream_type=PRIVATE,
        units=dvb_display_set_units(SHARED_TIMES_S),
        descriptors=descriptor(0x59, b"ger\x10\x00\x01\x00\x01"),
    )
    data = transport.multiplexed(service(video([TFF]), audio([TFF]), subtitles, *others), clock=steady())
    captions = {stream.pid: [unit.data for unit in stream.units] for stream in (subtitles, *others)}
    shown = tuple((Fraction(at_s), (8, 2)) for at_s in SHARED_TIMES_S)
    return Made(data=data, truth=truth_of([TFF], doubts=()), captions=captions, shown=shown)


def all_share_times() -> Made:
    """Two packets of teletext and of ARIB captions share each second too."""
    arib = component_tag(0x30) + descriptor(0xFD, b"\x00\x08\x3d")
    return shared_times(
        *(
            Elementary(
                pid=pid,
                stream_type=PRIVATE,
                units=sorted([*make(range(1, 5)), *make(range(1, 5))], key=lambda unit: unit.pts),
                descriptors=own,
            )
            for pid, make, own in (
                (0x121, teletext_units, descriptor(0x56, b"ger\x10\x88")),
                (0x122, arib_units, arib),
            )
        )
    )


LENGTHS: dict[str, Callable[[], Made]] = {
    f"{kind}_pes_length_{off:+d}{'_at_times' if every > 1 else ''}": partial(_wrong_lengths, pid, off, every)
    for kind, pid, off, every in (
        ("video", VIDEO_PID, 1, 1),
        ("video", VIDEO_PID, -2, 1),
        ("video", VIDEO_PID, 40, 5),
        ("audio", AUDIO_PID, 1, 1),
        ("audio", AUDIO_PID, 2, 5),
        ("audio", AUDIO_PID, -2000, 1),  # none at all: 0
    )
}

CUT: dict[str, Callable[[], Made]] = {
    f"cut_anywhere_{codec}": partial(cut_anywhere, codec, latm, begin, end)
    for codec, latm, begin, end in (
        ("mpeg2video", False, 0.13, 0.8002),
        ("libx264", True, 0.13, 0.8302),
        ("libx265", False, 0.21, 0.8002),
    )
}
#: Of these nothing is damaged or missing.
WHOLE = ("slides_2s", "slides_10s", "watching_1", "watching_5", *LENGTHS)

CATALOGUE: dict[str, Recipe] = {
    "slides_2s": Recipe(make=partial(slides, 2, 6)),
    "slides_10s": Recipe(make=partial(slides, 10, 3)),
    "watching_1": Recipe(make=partial(watching, 1)),
    "watching_1_with_b_frames": Recipe(make=partial(watching, 1, (("bf", "2"), ("g", "10")))),
    "watching_5": Recipe(make=partial(watching, 5)),
    "screen_matroska": Recipe(make=partial(screen, "matroska"), suffix=".mkv"),
    "screen_mp4": Recipe(make=partial(screen, "mp4"), suffix=".mp4"),
    "dead_camera": Recipe(make=dead_camera),
    "shared_times": Recipe(make=shared_times, asked={"container": "mkv"}),
    "shared_times_beside": Recipe(make=shared_times),
    "all_share_times": Recipe(make=all_share_times),
    **{name: Recipe(make=make) for name, make in {**CUT, **LENGTHS}.items()},
}
