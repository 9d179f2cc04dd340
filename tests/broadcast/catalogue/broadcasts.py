"""
Recordings as broadcasters send them, with their oddities, each with what a viewer has to get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.broadcast import making, transport
from tests.broadcast.captions import arib_units, dvb_subtitle_units, teletext_units
from tests.broadcast.making import BT470BG, BT709, FILM, NTSC, PAL, UNTOLD, Part
from tests.broadcast.studio import (
    AUDIO_PID,
    PMT_PID,
    PROGRESSIVE,
    SECOND_PID,
    TFF,
    VIDEO_PID,
    audio,
    frames,
    service,
    steady,
    stepping,
    video,
)
from tests.broadcast.transport import ADTS, FOREVER, HZ, LATM, MPEG1_AUDIO, PRIVATE, Elementary, Service, Unit
from tests.broadcast.truth import Made, Recipe, Track, truth_of
from tests.closed_captions import with_captions
from tests.dual_mono import dual_mono_adts
from tests.encoding import WRAP, noisy, scrambled
from tests.sections import component_tag, descriptor, language

#: FFmpeg's demuxer and parser each keep a packet of a PID that is gone, until the end of the file (mpegts.c; measured).
KEPT_TO_THE_END = 2


def plain(parts: Sequence[Part], codec: str = "mpeg2video", **more: Any) -> Made:
    data = transport.multiplexed(service(video(parts, codec), audio(parts)), clock=steady())
    return Made(data=data, truth=truth_of(parts, **more))


# --- what changes in mid-stream


def previous_head() -> Made:
    """Begins in the middle of a GOP of another programme, of another size; at its end the clock is another one."""
    head = Part(frames=frames(3), number=40_000, size=(160, 96), sample_aspect_ratio=Fraction(16, 15), scan="tff")
    parts = [head, Part(frames=frames(8), number=0, scan="tff")]
    edge_s = making.pieces_of(parts)[1].at_s
    data = transport.multiplexed(service(video(parts), audio(parts)), clock=stepping(edge_s, -12_345))
    begin = round(0.55 * HZ)  # in arrival time: after the first GOP began
    data = transport.between(data, begin, FOREVER)
    return Made(
        data=data,
        truth=truth_of(
            parts,
            lost=((Fraction(0), Fraction(1)),),
            late_picture_s=Fraction(1),
            tells=("discontinuities",),
        ),
    )


def previous_pids() -> Made:
    """The programme before had other PIDs; the tables change with a new version, 3 s in."""
    parts = [Part(frames=frames(3), scan="tff"), Part(frames=frames(6), scan="tff")]
    edge = round(making.pieces_of(parts)[1].at_s * HZ)
    picture, sound = video(parts), audio(parts)
    arrival = edge - transport.VIDEO_DELAY - HZ // 5
    split = [
        replace(picture, pid=0x200, units=[unit for unit in picture.units if unit.pts < edge], withdrawn=arrival),
        replace(sound, pid=0x210, units=[unit for unit in sound.units if unit.pts < edge], withdrawn=arrival),
        replace(picture, units=[unit for unit in picture.units if unit.pts >= edge], announced=arrival),
        replace(sound, units=[unit for unit in sound.units if unit.pts >= edge], announced=arrival),
    ]
    services = [
        Service(number=101, pmt_pid=PMT_PID, streams=split[:2], withdrawn=arrival),
        Service(number=101, pmt_pid=PMT_PID, streams=split[2:], announced=arrival),
    ]
    return Made(data=transport.multiplexed(services, clock=steady()), truth=truth_of(parts, missing=KEPT_TO_THE_END))


def resolution_change() -> Made:
    """1440 → 1920 → 720 → 1440, scaled down: all of them 16:9, each with its own samples."""
    main = Part(frames=frames(4), size=(192, 144), sample_aspect_ratio=Fraction(4, 3), scan="tff")
    wide = Part(frames=frames(2.5), size=(256, 144), scan="tff")
    small = Part(frames=frames(2), size=(160, 96), sample_aspect_ratio=Fraction(16, 15), scan="tff")
    return plain([main, wide, small, replace(main, frames=frames(1.5))])


def aspect_change() -> Made:
    """16:9 → 4:3 → 16:9 in the same pixels: what is narrower gets bars at its sides."""
    main = Part(frames=frames(4), size=(192, 144), sample_aspect_ratio=Fraction(4, 3), scan="tff")
    return plain([main, replace(main, frames=frames(3), sample_aspect_ratio=Fraction(1)), main])


def interlace_flips() -> Made:
    """Progressive, top field first, bottom field first, progressive: 2.5 s each."""
    scans = ("progressive", "tff", "bff", "progressive")
    return plain([Part(frames=frames(2.5), scan=scan) for scan in scans])


def rate_change() -> Made:
    """29.97 → 59.94 → 29.97 frames per second, as between film and sports on ATSC."""
    return plain([Part(frames=frames(4)), Part(frames=180, rate=NTSC * 2), Part(frames=frames(3))], "libx264")


def layout_change() -> Made:
    """2.0 → 5.1 → 2.0."""
    parts = [replace(TFF, frames=frames(12))]
    pieces = making.pieces_of(parts)
    samples = making.burst_samples(making.events_of(pieces), pieces[-1].end_s, 0)
    layouts = [(Fraction(0), "stereo"), (Fraction(9, 2), "5.1"), (Fraction(15, 2), "stereo")]
    units = making.changing_sound(samples, layouts, pieces[-1].end_s)
    sound = Elementary(pid=AUDIO_PID, stream_type=ADTS, units=units, descriptors=language("jpn"))
    return Made(data=transport.multiplexed(service(video(parts), sound), clock=steady()), truth=truth_of(parts))


# --- clocks


def clock_wrap() -> Made:
    """33 bits run over 4 s in."""
    data = transport.multiplexed(service(video([TFF]), audio([TFF])), clock=steady(WRAP - 4 * HZ))
    return Made(data=data, truth=truth_of([TFF]))


def _jump(step_s: int) -> Made:
    parts = [Part(frames=frames(4), scan="tff"), Part(frames=frames(5), scan="tff")]
    edge_s = making.pieces_of(parts)[1].at_s
    data = transport.multiplexed(service(video(parts), audio(parts)), clock=stepping(edge_s, step_s))
    return Made(data=data, truth=truth_of(parts, tells=("discontinuities",)))


def gap_2s() -> Made:
    """For 2 s nothing was received; the clocks went on."""
    parts = [replace(TFF, frames=frames(10))]
    whole = transport.multiplexed(service(video(parts), audio(parts)), clock=steady())
    data = transport.without(whole, 4 * HZ, 6 * HZ)
    # It was to be seen from 4 to 6 s, and up to the next key frame no more can be; to be heard from 3.7 to 5.7 s.
    return Made(data=data, truth=truth_of(parts, lost=((Fraction(18, 5), Fraction(13, 2)),), tells=("gaps",)))


def gap_60s() -> Made:
    """For a minute nothing was received."""
    first = Part(frames=frames(4), scan="tff")
    parts = [first, replace(first, at_s=Fraction(64), frames=frames(5))]
    pieces, sounds = making.pieces_of(parts), list[Unit]()
    for piece in pieces:
        events = [
            replace(event, at_s=event.at_s - piece.at_s)
            for event in making.events_of(pieces)
            if piece.at_s <= event.at_s < piece.end_s
        ]
        samples = making.burst_samples(events, piece.end_s - piece.at_s, 0)
        sounds += making.encoded_sound("aac", [samples], "stereo", piece.at_s)
    sound = Elementary(pid=AUDIO_PID, stream_type=ADTS, units=sounds, descriptors=language("jpn"))
    data = transport.recounted(transport.multiplexed(service(video(parts), sound), clock=steady()), 30 * HZ, 5)
    # Codecs need a frame or two to swing in; the first second after the gap is whole for sound, but not its start.
    return Made(data=data, truth=truth_of(parts, lost=((Fraction(39, 10), Fraction(641, 10)),), tells=("gaps",)))


def late_audio(announced: bool) -> Made:
    """Sound begins 6 s in; its PID is in the table from the start, or only then."""
    parts = [replace(TFF, frames=frames(10))]
    sound, begin = audio(parts), 6 * HZ
    units = [unit for unit in sound.units if unit.pts >= begin]
    late = replace(sound, units=units, announced=0 if announced else begin - HZ)
    data = transport.multiplexed(service(video(parts), late), clock=steady())
    return Made(data=data, truth=truth_of(parts, tracks=(Track(since_s=Fraction(6)),)))


# --- sound and captions


def two_languages() -> Made:
    sounds = audio([TFF]), audio([TFF], pid=SECOND_PID, voice=1, codes=("eng",))
    data = transport.multiplexed(service(video([TFF]), *sounds), clock=steady())
    return Made(data=data, truth=truth_of([TFF], tracks=(Track(), Track(language="eng", voice=1))))


def latm() -> Made:
    """AAC in LATM, whose packets MP4 takes without their frames."""
    sound = audio([TFF])
    sound = replace(sound, stream_type=LATM, units=making.as_latm(sound.units))
    return Made(data=transport.multiplexed(service(video([TFF]), sound), clock=steady()), truth=truth_of([TFF]))


def _dual_mono(stream_type: int, units: Sequence[Unit]) -> Made:
    sound = Elementary(pid=AUDIO_PID, stream_type=stream_type, units=units, descriptors=language("jpn", "eng"))
    data = transport.multiplexed(service(video([TFF]), sound), clock=steady())
    tracks = (Track(channels=1, title="main"), Track(channels=1, language="eng", voice=1, title="sub"))
    return Made(data=data, truth=truth_of([TFF], tracks=tracks))


def _voices() -> list[NDArray[np.float32]]:
    pieces = making.pieces_of([TFF])
    return [making.burst_samples(making.events_of(pieces), pieces[-1].end_s, voice) for voice in (0, 1)]


def dual_mono_mp2() -> Made:
    """MPEG audio in dual channel mode: left one language, right another."""
    return _dual_mono(MPEG1_AUDIO, making.as_dual_channel(making.encoded_sound("mp2", _voices(), "stereo")))


def dual_mono_aac() -> Made:
    """As ISDB sends it: two single channel elements in one AAC frame."""
    main, sub = (making.encoded_sound("aac", [voice], "mono") for voice in _voices())
    joined = dual_mono_adts([unit.data for unit in main], [unit.data for unit in sub])
    return _dual_mono(ADTS, [replace(unit, data=data) for unit, data in zip(main, joined, strict=True)])


def dual_mono_description() -> Made:
    """The left sound describes what is seen, in the language of the right one."""
    units = making.as_dual_channel(making.encoded_sound("mp2", _voices(), "stereo"))
    told = descriptor(0x0A, b"jpn\x03jpn\0")
    sound = Elementary(pid=AUDIO_PID, stream_type=MPEG1_AUDIO, units=units, descriptors=told)
    data = transport.multiplexed(service(video([TFF]), sound), clock=steady())
    described = Track(channels=1, title="main", dispositions=("visual_impaired", "descriptions"))
    tracks = (described, Track(channels=1, voice=1, title="sub"))
    return Made(data=data, truth=truth_of([TFF], tracks=tracks, first_track=1))


def captions() -> Made:
    """DVB subtitles, teletext and ARIB captions, each on its PID, and a data carousel that is none of these."""
    seconds = range(1, 6)
    kinds = {
        0x120: (dvb_subtitle_units(seconds), descriptor(0x59, b"ger\x10\x00\x01\x00\x01")),
        0x121: (teletext_units(seconds), descriptor(0x56, b"fre\x10\x88")),
        0x122: (
            arib_units(seconds),
            component_tag(0x30) + descriptor(0xFD, b"\x00\x08\x3d"),
        ),
        0x123: (
            [Unit(pts=HZ, dts=HZ, data=b"\x00" * 64)],
            component_tag(0x40) + descriptor(0xFD, b"\x00\x0c\x00"),
        ),
    }
    streams = [
        Elementary(
            pid=pid,
            stream_type=transport.DATA_CAROUSEL if pid == 0x123 else PRIVATE,
            units=units,
            descriptors=told,
        )
        for pid, (units, told) in kinds.items()
    ]
    data = transport.multiplexed(service(video([TFF]), audio([TFF]), *streams), clock=steady())
    sent = {pid: [unit.data for unit in units] for pid, (units, _) in kinds.items() if pid != 0x123}
    return Made(data=data, truth=truth_of([TFF]), captions=sent)


def closed_captions() -> Made:
    """EIA-608 in the user data of MPEG-2 pictures, a pair of bytes for each."""
    picture = video([TFF])
    told = [replace(unit, data=with_captions(unit.data)) for unit in picture.units]
    streams = replace(picture, units=told), audio([TFF])
    return Made(data=transport.multiplexed(service(*streams), clock=steady()), truth=truth_of([TFF]))


# --- programmes, scrambling


def two_programmes() -> Made:
    """Another programme comes first in the tables; the second has the larger pictures, and more of them."""
    other = [Part(frames=frames(4), number=30_000, size=(160, 96))]
    streams = video(other, pid=0x300), audio(other, pid=0x310, voice=1, codes=("eng",))
    services = [Service(number=100, pmt_pid=0x1E0, streams=streams), *service(video([TFF]), audio([TFF]))]
    return Made(data=transport.multiplexed(services, clock=steady()), truth=truth_of([TFF]))


def scrambled_third() -> Made:
    """The card was pulled after two thirds: 8 of 12 s."""
    parts = [replace(TFF, frames=frames(12))]
    whole = transport.multiplexed(service(video(parts), audio(parts)), clock=steady())
    data = scrambled(whole, {VIDEO_PID, AUDIO_PID}, (2 / 3, 1.0))
    return Made(data=data, truth=truth_of(parts, lost=((Fraction(15, 2), Fraction(13)),)))


def mostly_scrambled() -> Made:
    whole = transport.multiplexed(service(video([TFF]), audio([TFF])), clock=steady())
    data = scrambled(whole, {VIDEO_PID, AUDIO_PID}, (0.1, 1.0))
    return Made(data=data, truth=truth_of([TFF], rejected="scrambled"))


# --- damage


def drop_bursts() -> Made:
    """Rain: six bursts of 25 packets are lost, and the continuity counters tell."""
    parts = [replace(TFF, frames=frames(12))]
    whole = transport.multiplexed(service(video(parts), audio(parts)), clock=steady())
    data, _ = transport.bursts_lost(whole, 6, 25, seed=4)
    # A burst costs a GOP of twelve pictures at most, and one second's sound when it falls on it.
    return Made(data=data, truth=truth_of(parts, missing=72, unread=72, silent=3))


def _noise(rate: float, costs: int) -> Made:
    whole = transport.multiplexed(service(video([TFF]), audio([TFF])), clock=steady())
    data = noisy(whole, max(rate, 1 / len(whole)), seed=9)
    return Made(data=data, truth=truth_of([TFF], missing=costs, unread=costs, silent=costs // 24))


def truncated_tail() -> Made:
    """The disk was full: cut in the middle of a packet, after what is shown up to 4 of 6 s."""
    whole = transport.multiplexed(service(video([TFF]), audio([TFF])), clock=steady())
    end = len(transport.between(whole, 0, 4 * HZ)) + 77
    received = replace(TFF, frames=frames(4))
    return Made(data=whole[:end], truth=truth_of([received], missing=3, unread=1, silent=1))


def m2ts() -> Made:
    made = plain([TFF])
    return replace(made, data=transport.as_m2ts(made.data))


# --- forms of pictures


def film() -> Made:
    """24 pictures per second in 60 fields, flagged interlaced: each picture once, at its own time."""
    parts = [Part(frames=144, rate=FILM, scan="film")]
    # A decimator gives even times to pictures that were shown for 2 and 3 fields: up to a field beside, and one of
    # five pictures has to be seen before any is given.
    return plain(parts, tolerance_frames=Fraction(1), missing=2)


PAL_576I = Part(frames=100, rate=PAL, size=(720, 576), sample_aspect_ratio=Fraction(64, 45), scan="tff", colours=UNTOLD)
HD_1080I = Part(
    frames=45, size=(1440, 1080), sample_aspect_ratio=Fraction(4, 3), scan="tff", colours=UNTOLD,
    options=(("b", "8000000"), ("maxrate", "12000000"), ("bufsize", "8000000")),
)  # fmt: skip

CATALOGUE: dict[str, Recipe] = {
    "plain": Recipe(make=lambda: plain([TFF])),
    "previous_head": Recipe(make=previous_head),
    "previous_pids": Recipe(make=previous_pids),
    "resolution_change": Recipe(make=resolution_change),
    "aspect_change": Recipe(make=aspect_change),
    "interlace_flips": Recipe(make=interlace_flips),
    "rate_change": Recipe(make=rate_change),
    "layout_change": Recipe(make=layout_change),
    "clock_wrap": Recipe(make=clock_wrap),
    "jump_forward": Recipe(make=lambda: _jump(3600)),
    "jump_backward": Recipe(make=lambda: _jump(-3600)),
    "gap_2s": Recipe(make=gap_2s),
    "gap_60s": Recipe(make=gap_60s),
    "late_audio": Recipe(make=lambda: late_audio(True)),
    "late_pid": Recipe(make=lambda: late_audio(False)),
    "two_languages": Recipe(make=two_languages),
    "latm": Recipe(make=latm),
    "dual_mono_mp2": Recipe(make=dual_mono_mp2, asked={"dual_mono": "split"}),
    "dual_mono_aac": Recipe(make=dual_mono_aac, asked={"dual_mono": "split"}),
    "dual_mono_description": Recipe(make=dual_mono_description, asked={"dual_mono": "split"}),
    "captions": Recipe(make=captions, asked={"container": "mkv"}),
    "closed_captions": Recipe(make=closed_captions),
    "two_programmes": Recipe(make=two_programmes),
    "scrambled_third": Recipe(make=scrambled_third),
    "mostly_scrambled": Recipe(make=mostly_scrambled),
    "drop_bursts": Recipe(make=drop_bursts),
    "noise_1e-6": Recipe(make=lambda: _noise(1e-6, 12)),
    "noise_1e-4": Recipe(make=lambda: _noise(1e-4, 120)),
    "truncated_tail": Recipe(make=truncated_tail),
    "m2ts": Recipe(make=m2ts, suffix=".m2ts"),
    "film": Recipe(make=film, asked={"deinterlace": "ivtc"}),
    "576i25": Recipe(make=lambda: plain([PAL_576I], colours=BT470BG)),
    "1080i29.97": Recipe(make=lambda: plain([HD_1080I], colours=BT709)),
    "720p59.94": Recipe(make=lambda: plain([Part(frames=360, rate=NTSC * 2)], "libx264")),
    "1080i29.97_h264": Recipe(make=lambda: plain([TFF], "libx264")),
    "hevc": Recipe(make=lambda: plain([PROGRESSIVE], "libx265")),
    "422_mpeg2": Recipe(make=lambda: plain([replace(TFF, pix_fmt="yuv422p")])),
    "422_h264": Recipe(make=lambda: plain([replace(TFF, pix_fmt="yuv422p")], "libx264")),
    "10bit_h264": Recipe(make=lambda: plain([replace(PROGRESSIVE, pix_fmt="yuv420p10le")], "libx264")),
    "10bit_hevc": Recipe(make=lambda: plain([replace(PROGRESSIVE, pix_fmt="yuv420p10le")], "libx265")),
}
