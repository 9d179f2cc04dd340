"""A stretch of a copied track that has another form than the track: decoded, and encoded in the track's own."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av.error

from encoderd.encode.audio_configuration import Configuration
from encoderd.encode.facts import StreamFacts
from encoderd.encode.form_encoder import FormEncoder
from encoderd.encode.sound_clock import SoundClock
from encoderd.encode.sound_source import SoundSource, Unit, decoded, rest_of


class Conversion:
    """
    Packets of `form` for sound of another one; the first begins at `start_s`.

    Yields (samples since the start, data), each packet behind the one before. Raises ValueError when nobody can write
    the form.
    """

    def __init__(
        self, form: Configuration, source: SoundSource, first: Unit, facts: StreamFacts, start_s: Fraction
    ) -> None:
        self._facts = facts
        self._encoder = FormEncoder(form, bare=source.bare)
        self._decoder = source.new_decoder(first)
        self._clock = SoundClock(facts, form.rate_hz, form.layout)
        self._start = round(start_s * form.rate_hz)
        self._clock.position = self._start - self._encoder.lead
        self.samples = self._encoder.samples
        self.form = first.form
        self._leading = True

    def push(self, unit: Unit, time_base: Fraction) -> Iterator[tuple[int, bytes]]:
        """Take a unit of the other form; yield what is ready."""
        if self._leading:
            self._leading = False
            for frame in self._clock.silence(self._encoder.lead):
                yield from self._encoded(frame)
            self._clock.after_damage = True  # the first sound is put where it belongs, however near it is
        self._facts.converted += 1
        try:
            frames = decoded(self._decoder, unit)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            self._facts.damaged += 1
            self._clock.after_damage = True
            return
        self._facts.heard += 1
        at_s = None if unit.pts is None else unit.pts * time_base
        for frame in frames:
            yield from self._sound(frame, at_s)
            at_s = None

    def finish(self, length: int | None) -> Iterator[tuple[int, bytes]]:
        """Yield the rest: no packet that reaches more than half of itself beyond `length` samples (None: all)."""
        for frame in rest_of(self._decoder):
            yield from self._sound(frame, None)
        for frame in self._clock.drain():
            yield from self._encoded(frame)
        for at, data in self._encoded(None):
            if length is None or at + self.samples <= length + self.samples // 2:
                yield at, data

    def _sound(self, frame: Any, at_s: Fraction | None) -> Iterator[tuple[int, bytes]]:
        for placed in self._clock.push(frame, at_s):
            yield from self._encoded(placed)

    def _encoded(self, frame: Any) -> Iterator[tuple[int, bytes]]:
        for position, data in self._encoder.encode(frame):
            if position >= self._start:
                yield position - self._start, data
