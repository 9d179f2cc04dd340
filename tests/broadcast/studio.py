"""What most recordings are made of: streams of measurable pictures and sounds, one programme, a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cache

from tests.broadcast import making
from tests.broadcast.making import NTSC, Part, Piece
from tests.broadcast.transport import ADTS, H264, HEVC, HZ, MPEG2, Elementary, Service, Unit
from tests.sections import language

VIDEO_PID, AUDIO_PID, SECOND_PID, PMT_PID = 0x100, 0x110, 0x111, 0x1F0
#: Where the clock stands at the beginning, unless the recording is about that.
BASE = 20_000 * HZ
STREAM_TYPES = {"mpeg2video": MPEG2, "libx264": H264, "libx265": HEVC}


def frames(seconds: float, rate: Fraction = NTSC) -> int:
    return round(Fraction(seconds) * rate)


def video(parts: Sequence[Part], codec: str = "mpeg2video", pid: int = VIDEO_PID) -> Elementary:
    return Elementary(pid=pid, stream_type=STREAM_TYPES[codec], units=_pictures(codec, tuple(parts)))


def audio(
    parts: Sequence[Part], *, pid: int = AUDIO_PID, voice: int = 0, codes: Iterable[str] = ("jpn",)
) -> Elementary:
    """AAC stereo for as long as the pictures last."""
    units = _sound(tuple(making.pieces_of(parts)), voice)
    return Elementary(pid=pid, stream_type=ADTS, units=units, descriptors=language(*codes))


# Many recordings are made of the same pictures and sounds.


@cache
def _pictures(codec: str, parts: tuple[Part, ...]) -> list[Unit]:
    return making.encoded_pictures(codec, parts)


@cache
def _sound(pieces: tuple[Piece, ...], voice: int) -> list[Unit]:
    samples = making.burst_samples(making.events_of(pieces), pieces[-1].end_s, voice)
    return making.encoded_sound("aac", [samples], "stereo")


def service(*streams: Elementary) -> list[Service]:
    return [Service(number=101, pmt_pid=PMT_PID, streams=streams)]


def steady(base: int = BASE) -> Callable[[int], int]:
    return lambda ticks: ticks + base


def stepping(at_s: Fraction, step_s: int) -> Callable[[int], int]:
    """A clock that jumps by `step_s` at what is shown at `at_s`."""
    edge = round(at_s * HZ)
    return lambda ticks: ticks + BASE + (step_s * HZ if ticks >= edge else 0)


TFF = Part(frames=frames(6), scan="tff")
PROGRESSIVE = Part(frames=frames(6))
