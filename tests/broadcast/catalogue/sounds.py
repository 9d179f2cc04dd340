"""What happens to sound, each with what a viewer has to get."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache

from tests.broadcast import making, transport
from tests.broadcast.containers import Head, Said, remuxed
from tests.broadcast.making import Part
from tests.broadcast.studio import AUDIO_PID, audio, frames, service, steady, video
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


def sent_as(codec: str, units: Sequence[Unit], pid: int = AUDIO_PID) -> Elementary:
    """A stream of frames of that codec."""
    told = {"aac": language("jpn"), "mp2": language("jpn"), "ac3": language("jpn") + descriptor(0x6A, b"\0")}[codec]
    stream_type = {"aac": ADTS, "mp2": MPEG1_AUDIO, "ac3": PRIVATE}[codec]
    return Elementary(pid=pid, stream_type=stream_type, units=units, descriptors=told)


def jittering(codec: str, wrong: Callable[[int], float]) -> Made:
    """`wrong` says by how many frames the timestamp of each frame, which are all there, is beside its place."""
    length = {"aac": AAC, "mp2": MP2, "ac3": AC3}[codec]
    units: Sequence[Unit] = _units(codec)
    stamps = [max(0, unit.pts + round(wrong(number) * length)) for number, unit in enumerate(units)]
    # Sent in their order, whatever their timestamps say.
    sent = [replace(unit, pts=stamp, dts=stamp, sent=unit.dts) for unit, stamp in zip(units, stamps, strict=True)]
    sound = sent_as(codec, sent)
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


def noise_in_frames(codec: str, is_noise: Callable[[int], bool]) -> list[Unit]:
    """The frames whose number `is_noise` keep the first bytes of their headers, which tell form and length."""
    noise, head = random.Random(1), {"aac": 7, "ac3": 8}[codec]
    return [
        replace(unit, data=unit.data[:head] + noise.randbytes(len(unit.data) - head)) if is_noise(number) else unit
        for number, unit in enumerate(_units(codec))
    ]


def noise_beside(codec: str) -> Made:
    """The second track is noise, but for one frame."""
    pid, count = AUDIO_PID + 1, len(_units(codec))
    noise = sent_as(codec, noise_in_frames(codec, lambda number: number != 80), pid)
    data = transport.multiplexed(service(video(PARTS), audio(PARTS), noise), clock=steady())
    name = {"aac": "AAC", "ac3": "AC-3"}[codec]
    says = (
        f"not heard: {name} on PID {pid:#x}, of which 1 of {count - 1} packets can be decoded",
    )  # the last may be cut off
    return Made(data=data, truth=truth_of(PARTS, doubts=("audio", "sound"), says=says))


def noise_for_a_while(codec: str, length: int) -> Made:
    """Half a second of noise in the only track, between two bursts."""
    begin, count = round(2.3 * 90_000 / length), round(0.5 * 90_000 / length)
    sound = sent_as(codec, noise_in_frames(codec, lambda number: begin <= number < begin + count))
    data = transport.multiplexed(service(video(PARTS), sound), clock=steady())
    name = {"aac": "AAC", "ac3": "AC-3"}[codec]
    says = (f"{count} of {len(_units(codec))} packets of {name} on PID {AUDIO_PID:#x} cannot be decoded",)
    lost = ((Fraction(9, 4), Fraction(3)),)
    track = Track(codec=codec)
    return Made(data=data, truth=truth_of(PARTS, tracks=(track,), lost=lost, doubts=("damage", "sound"), says=says))


def standing_still(number: int) -> float:
    """Each timestamp is a hundredth of a frame behind the one before."""
    return -0.99 * number


def at_half_speed(number: int) -> float:
    return -number / 2


def primed() -> Made:
    """MP4 that says to skip the first 1105 samples, nearly all of the first packet."""
    begin_s = Fraction(1105, 48_000)
    parts = [Part(frames=frames(5), at_s=begin_s)]
    pieces = making.pieces_of(parts)
    samples = making.burst_samples(making.events_of(pieces), pieces[-1].end_s, 0)
    sound = sent_as("mp2", making.encoded_sound("mp2", [samples], "stereo"))
    data = transport.multiplexed(service(video(parts, "libx264"), sound), clock=steady())
    said = [Said(), Said(language="jpn")]
    # The first picture begins between two ticks of MP4's clock, and is skipped with the sound.
    truth = truth_of(parts, doubts=(), missing=1)
    return Made(data=remuxed(data, "mp4", said, Head(), start_s=-begin_s), truth=truth)


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
        ("aac", "standing_still", standing_still),
        ("mp2", "standing_still", standing_still),
        ("ac3", "at_half_speed", at_half_speed),
    )
} | {
    "primed_mp2": Recipe(make=primed, suffix=".mp4"),
    "noise_beside_aac": Recipe(make=lambda: noise_beside("aac")),
    "noise_beside_ac3": Recipe(make=lambda: noise_beside("ac3")),
    "noise_for_a_while_aac": Recipe(make=lambda: noise_for_a_while("aac", AAC)),
    "noise_for_a_while_ac3": Recipe(make=lambda: noise_for_a_while("ac3", AC3)),
}
