"""
The audio tracks of the output: packets on the timeline in, packets without gaps or overlaps out.

One thread calls the tracks, one after the other; what they yield is encoded, and goes to the muxing thread as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet

from encoderd.encode.audio_plan import AudioPlan
from encoderd.encode.copied_audio import CopiedAudio
from encoderd.encode.epochs import FLICKS
from encoderd.encode.facts import AUDIBLE, StreamFacts
from encoderd.encode.failures import encoder_failed
from encoderd.encode.form_encoder import aac_options
from encoderd.encode.pyav import tell
from encoderd.encode.silence import add_like
from encoderd.encode.sound_clock import FORMAT, SoundClock
from encoderd.encode.sound_source import SoundSource, Unit
from encoderd.encode.steady_stamps import SteadyStamps, flicks_of

#: A track begins with so many packets that can be decoded, or with so many packets of its own.
ENOUGH, MOST_HELD = 8, 512


class AudioTrack:
    """
    One audio track of the output.

    `output` is the stream that `add_audio` returned. Packets must stay the caller's only until they are pushed; they
    are moved on the timeline and handed on.
    """

    def __init__(self, plan: AudioPlan, output: Any, facts: StreamFacts) -> None:
        self._sources: dict[Any, SoundSource] = {}
        self._track = CopiedAudio(plan.main, facts) if plan.copied else EncodedAudio(plan, output, facts)
        self._begun = Begun(facts)

    def push(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """
        Take a placed packet of any of the track's streams, in the order of the demuxer; yield what is ready.

        Raises:
            EncodeFailed: the encoder fails.
        """
        stream = packet.stream
        source = self._sources.get(stream)
        if source is None:
            source = self._sources[stream] = SoundSource(stream)
        return self._begun.push(self._track.push(source, packet))

    def finish(self, end_s: Fraction | None = None) -> Iterator[Packet[Any]]:
        """Yield what is left; nothing that begins at or behind `end_s`, and nothing behind the last sound."""
        for packet in self._begun.finish(self._track.finish()):
            if end_s is None or packet.pts is None or packet.pts * Fraction(packet.time_base or 1) < end_s:
                yield packet


class Begun:
    """
    Holds a track back until it is known to be sound: noise in valid frames has one that can be decoded now and then.

    What was held and is no beginning is forgotten; a track of which nothing else comes stays empty.
    """

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._known = facts.heard, facts.damaged
        self._score = 0
        self._held: list[Packet[Any]] | None = []  # None: it has begun

    def push(self, ready: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        if self._held is None:
            yield from ready
            return
        self._held += ready
        heard, damaged = self._facts.heard, self._facts.damaged
        self._score += AUDIBLE * (heard - self._known[0]) - (damaged - self._known[1])
        self._known = heard, damaged
        if self._score >= AUDIBLE * ENOUGH or len(self._held) >= MOST_HELD:
            yield from self._release()
        elif self._score < 0:
            self._score, self._held = 0, []

    def finish(self, ready: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        yield from self.push(ready)
        if self._facts.audible:
            yield from self._release()

    def _release(self) -> list[Packet[Any]]:
        held, self._held = self._held or [], None
        return held


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decoded:
    """A frame until its place is decided."""

    frame: AudioFrame
    dual: bool
    after_damage: bool


class EncodedAudio:
    """A track that is decoded, put onto the sound clock, and encoded to AAC."""

    def __init__(self, plan: AudioPlan, output: Any, facts: StreamFacts) -> None:
        self._output = output
        self._facts = facts
        self._channel = plan.channel
        self._clock = SoundClock(facts, plan.sample_rate_hz, plan.layout, plan.channel)
        self._stamps: SteadyStamps[_Decoded] = SteadyStamps()
        self._damaged = False  # sound was lost before the next frame
        self._used: list[SoundSource] = []

    def push(self, source: SoundSource, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        if source not in self._used:
            self._used.append(source)
        time_base = Fraction(packet.time_base or Fraction(1, 90_000))
        for unit in source.units(packet):
            yield from self._unit(source, unit, time_base)

    def finish(self) -> Iterator[Packet[Any]]:
        for source in self._used:
            for frame in source.rest():
                yield from self._sound(frame, None, dual=False)
        for held, at in self._stamps.finish():
            yield from self._placed(held, at)
        for frame in self._clock.drain():
            yield from self._encode(frame)
        if self._clock.position is not None:
            yield from self._encode(None)

    def _unit(self, source: SoundSource, unit: Unit, time_base: Fraction) -> Iterator[Packet[Any]]:
        try:
            frames = None if unit.form is None else source.decode(unit)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            frames = None
        if frames is None or any(frame.is_corrupt for frame in frames):
            self._facts.damaged += 1
            self._damaged = True
            return
        self._facts.heard += 1
        dual = self._channel >= 0 and source.dual_mono(unit)
        for frame in frames:
            yield from self._sound(frame, flicks_of(frame.pts, time_base), dual=dual)

    def _sound(self, frame: AudioFrame, stamp: int | None, *, dual: bool) -> Iterator[Packet[Any]]:
        decoded = _Decoded(frame=frame, dual=dual, after_damage=self._damaged)
        self._damaged = False
        duration = frame.samples * FLICKS // max(1, frame.sample_rate)
        for held, at in self._stamps.push(decoded, stamp, duration, sure=decoded.after_damage):
            yield from self._placed(held, at)

    def _placed(self, held: _Decoded, at: int | None) -> Iterator[Packet[Any]]:
        self._clock.after_damage |= held.after_damage
        for placed in self._clock.push(held.frame, None if at is None else Fraction(at, FLICKS), dual=held.dual):
            yield from self._encode(placed)

    def _encode(self, frame: AudioFrame | None) -> list[Packet[Any]]:
        try:
            packets: list[Packet[Any]] = self._output.encode(frame)
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError) as error:
            raise encoder_failed("aac", "encoding", str(error), lines=[]) from error
        return packets


def add_audio(container: OutputContainer, plan: AudioPlan, source_streams: Sequence[Any]) -> Any:
    """
    Add the planned track to the output and open its encoder; `source_streams` are the plan's `index` and `also`.

    Raises:
        EncodeFailed: the encoder refuses.
    """
    stream: Any = None
    if plan.copied:
        source = source_streams[0]
        bare = source.codec_context.name == "aac" and source.codec_context.extradata
        if plan.main is not None and not bare:
            stream = add_like(container, plan.main)
        if stream is None:
            stream = container.add_stream_from_template(source)
    else:
        stream = container.add_stream("aac", rate=plan.sample_rate_hz)
        context = stream.codec_context
        context.layout, context.format = plan.layout, FORMAT
        context.bit_rate = plan.bit_rate_bps
        context.options = aac_options(plan.bit_rate_bps, context.layout.nb_channels)
        try:
            context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise encoder_failed("aac", "opening", str(error), lines=[]) from error
    names = ("default", *plan.dispositions) if plan.default else plan.dispositions
    tell(stream, container.format.name, language=plan.language, title=plan.title, dispositions=names)
    return stream
