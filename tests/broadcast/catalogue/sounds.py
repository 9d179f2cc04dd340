"""What happens to sound, each with what a viewer has to get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from tests.broadcast import making, transport
from tests.broadcast.making import Part
from tests.broadcast.studio import AUDIO_PID, frames, service, steady, video
from tests.broadcast.transport import ADTS, MPEG1_AUDIO, PRIVATE, Elementary, Unit
from tests.broadcast.truth import Made, Recipe, Track, truth_of
from tests.sections import descriptor, language

PARTS = [Part(frames=frames(5))]
#: Ticks that one frame lasts.
AAC, MP2, AC3 = 1920, 2160, 2880


@cache
def _units(codec: str) -> tuple[Unit, ...]:
    pieces = making.pieces_of(PARTS)
    samples = making.burst_samples(making.events_of(pieces), pieces[-1].end_s, 0)
    return tuple(making.encoded_sound(codec, [samples], "stereo"))


def jittering(codec: str, wrong: Callable[[int], float]) -> Made:
    """`wrong` says by how many frames the timestamp of each frame, which are all there, is beside its place."""
    length = {"aac": AAC, "mp2": MP2, "ac3": AC3}[codec]
    units: Sequence[Unit] = _units(codec)
    stamps = [max(0, unit.pts + round(wrong(number) * length)) for number, unit in enumerate(units)]
    # Sent in their order, whatever their timestamps say.
    sent = [replace(unit, pts=stamp, dts=stamp, sent=unit.dts) for unit, stamp in zip(units, stamps, strict=True)]
    told = {"aac": language("jpn"), "mp2": language("jpn"), "ac3": language("jpn") + descriptor(0x6A, b"\0")}[codec]
    stream_type = {"aac": ADTS, "mp2": MPEG1_AUDIO, "ac3": PRIVATE}[codec]
    sound = Elementary(pid=AUDIO_PID, stream_type=stream_type, units=sent, descriptors=told)
    data = transport.multiplexed(service(video(PARTS), sound), clock=steady())
    track = Track(codec={"mp2": "aac"}.get(codec, codec))
    return Made(data=data, truth=truth_of(PARTS, tracks=(track,)))


def now_and_then(number: int) -> float:
    """Late by a frame and by two, early by one, repeated, and a PES packet's worth at a time."""
    late = {15: 1.0, 40: 2.0, 65: -1.0, 90: -1.0, 92: -1.0, 120: 1.5, 121: 1.5, 122: 1.5}
    return late.get(number, 0.0)


def alternating(number: int) -> float:
    return 0.0 if number < 20 else 1.0 if number % 2 else -1.0


def saw_tooth(number: int) -> float:
    return number % 20 / 12 - 0.8


def at_both_ends(number: int) -> float:
    return 1.0 if number in (0, 156, 208, 233) else 0.0


CATALOGUE: dict[str, Recipe] = {
    f"jitter_{name}_{codec}": Recipe(make=lambda codec=codec, wrong=wrong: jittering(codec, wrong))  # type: ignore[misc]  # bound now
    for codec, name, wrong in (
        ("aac", "now_and_then", now_and_then),
        ("mp2", "now_and_then", now_and_then),
        ("ac3", "now_and_then", now_and_then),
        ("aac", "alternating", alternating),
        ("mp2", "alternating", alternating),
        ("aac", "saw_tooth", saw_tooth),
        ("mp2", "saw_tooth", saw_tooth),
        ("aac", "at_both_ends", at_both_ends),
        ("mp2", "at_both_ends", at_both_ends),
    )
}
