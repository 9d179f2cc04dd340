"""A track that is copied: packets keep their time, gaps get silence, overlaps are cut, other forms are converted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from av.packet import Packet

from encoderd.encode.aac import FRAME_SAMPLES, AacConfiguration
from encoderd.encode.ac3 import Ac3Configuration
from encoderd.encode.audio_configuration import Configuration
from encoderd.encode.conversion import Conversion
from encoderd.encode.epochs import FLICKS
from encoderd.encode.facts import StreamFacts
from encoderd.encode.silence import SilentFrame, silent_frame
from encoderd.encode.sound_source import SoundSource, Unit, is_whole
from encoderd.encode.steady_stamps import SteadyStamps, flicks_of, ticks_of

#: Steps between packets up to this are the rounding of timestamps, or the drift of two clocks: no sound is missing.
NO_STEP_S = Fraction(1, 1000)
#: Wrong checksums over what can be decoded are damage while they are a few, or one in so many; an encoder that does not
#: know how to calculate them is heard.
_FEW_WRONG, _ONE_IN = 8, 4
#: Frames that are kept out of broken packets: ADTS can say no length of more than 8 KB, some 40 frames of one mono.
_MOST_RESCUED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A whole frame until its place is decided; before it came `lost` broken packets and what was `rescued` of more."""

    source: SoundSource
    unit: Unit
    suspect: bool
    rescued: list[Unit]
    lost: int


class CopiedAudio:
    """
    Copies the packets of `form`; None for the form of the first packet.

    A stretch of another form begins with two packets of it, one behind the other: a single one is a broken header.
    """

    def __init__(self, form: Configuration | None, facts: StreamFacts) -> None:
        self._form: Configuration | str | None = form
        self._facts = facts
        self._time_base: Fraction | None = None
        self._silent: SilentFrame | None = None
        self._frame = 0  # ticks
        self._no_step = 0
        self._stamps: SteadyStamps[_Waiting] = SteadyStamps()
        self._damaged = False  # the packet before was broken
        self._last_form: Configuration | str | None = form
        self._end: int | None = None  # of what was put out, ticks
        self._last = -1
        self._step = 0  # ticks that steps since the last repair left missing, or (below 0) doubled
        self._rescued: list[Unit] = []  # whole frames out of broken packets
        self._lost = 0  # broken packets behind them
        self._odd: list[tuple[SoundSource, Unit]] = []
        self._conversion: Conversion | None = None
        self._start = 0  # of the conversion, ticks
        self._decoder: Any = None
        self._careless: Any = None  # decodes whatever the checksum says
        self._right_sums, self._wrong_sums = 0, 0

    def push(self, source: SoundSource, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """Take a placed packet; yield those that are ready, in their order."""
        if self._time_base is None:
            self._time_base = Fraction(packet.time_base or Fraction(1, 90_000))
            self._no_step = max(1, round(NO_STEP_S / self._time_base)) + 1
        elif packet.time_base != self._time_base and packet.pts is not None:
            packet.pts = round(packet.pts * Fraction(packet.time_base or self._time_base) / self._time_base)
            packet.time_base = self._time_base
        for unit in source.units(packet):
            if self._form is None and unit.form is not None:
                self._form = unit.form
            if unit.form is None:
                self._facts.damaged += 1
                self._damaged = True
                self._rescue(source, unit)
                continue
            waiting = _Waiting(
                source=source, unit=unit, suspect=packet.is_corrupt, rescued=self._rescued, lost=self._lost
            )
            stamp, sure = flicks_of(unit.pts, self._time_base), self._damaged or unit.form != self._last_form
            self._rescued, self._lost, self._damaged, self._last_form = [], 0, False, unit.form
            for ready, at in self._stamps.push(waiting, stamp, _duration(unit), sure=sure):
                yield from self._take(ready, at)

    def _take(self, waiting: _Waiting, at: int | None) -> Iterator[Packet[Any]]:
        """Put a frame where it belongs, in flicks."""
        assert self._time_base is not None
        source, unit = waiting.source, waiting.unit
        if at is not None:
            unit = replace(unit, pts=ticks_of(at, self._time_base))
        for rescued in self._dated(waiting, unit.pts):
            yield from self._copy(source, rescued, suspect=True)
        if unit.form == self._form:
            yield from self._copy(source, unit, suspect=waiting.suspect)
        else:
            yield from self._convert(source, unit)

    def _rescue(self, source: SoundSource, unit: Unit) -> None:
        """Keep the whole frames of a broken packet until the time of the next whole one is known."""
        found = [rescued for rescued in source.rescued(unit) if rescued.form == self._form]
        if found or not self._rescued:
            self._rescued, self._lost = (self._rescued + found)[-_MOST_RESCUED:], 0
        else:
            self._lost += 1

    def _dated(self, waiting: _Waiting, next_pts: int | None) -> list[Unit]:
        """The frames that were kept, with the times that they had if nothing else was lost before `next_pts`."""
        kept = waiting.rescued
        if next_pts is None or not self._frame:
            return []
        first = next_pts - (len(kept) + waiting.lost) * self._frame
        dated = [replace(unit, pts=first + number * self._frame) for number, unit in enumerate(kept)]
        return [unit for unit in dated if self._end is None or (unit.pts or 0) >= self._end - self._frame // 2]

    def finish(self) -> Iterator[Packet[Any]]:
        """Yield what is still held, of a conversion at the end too."""
        for waiting, at in self._stamps.finish():
            yield from self._take(waiting, at)
        self._facts.damaged += len(self._odd)
        self._odd.clear()
        yield from self._end_conversion(None)

    # --- the track's own form

    def _copy(self, source: SoundSource, unit: Unit, *, suspect: bool) -> Iterator[Packet[Any]]:
        if not self._frame:
            self._measure(source, unit)
        self._facts.damaged += len(self._odd)
        self._odd.clear()
        if not self._sounds(source, unit, suspect=suspect):
            self._facts.damaged += 1
            return
        if self._conversion is not None:
            yield from self._end_conversion(unit.pts)
        pts = unit.pts if unit.pts is not None else self._end or 0
        if self._end is None:
            if pts < -(self._frame // 2):
                self._facts.cut += 1  # before the output's beginning
                return
        else:
            step = pts - self._end
            missing = self._step + (step if abs(step) > self._no_step else 0)
            if missing < -(self._frame // 2) or pts <= self._last:
                self._facts.cut += 1
                return
            self._step = missing
            yield from self._fill(pts)
        yield self._packet(unit.item, pts, self._frame)

    def _measure(self, source: SoundSource, unit: Unit) -> None:
        """Learn how long a frame of this form is, and what its silence looks like."""
        assert self._time_base is not None
        if self._form is None or isinstance(self._form, str):
            known = unit.item.duration if isinstance(unit.item, Packet) else 0
            self._frame = known or self._no_step
            return
        samples = FRAME_SAMPLES if isinstance(self._form, AacConfiguration) else self._form.samples
        self._frame = max(1, round(samples / (self._form.rate_hz * self._time_base)))
        self._silent = silent_frame(self._form, bare=source.bare)

    def _sounds(self, source: SoundSource, unit: Unit, *, suspect: bool) -> bool:
        """
        Whether a decoder can read it; what FFmpeg cannot read is not copied.

        Decoding AAC takes some 60 µs for a frame of stereo: cheaper than a wrong note.
        """
        if self._decoder is None:
            self._decoder = source.new_decoder(unit, checked=True)
            self._careless = source.new_decoder(unit)
        if is_whole(self._decoder, unit):
            self._facts.heard += 1
            self._right_sums += 1
            return True
        if not isinstance(unit.form, Ac3Configuration) or not is_whole(self._careless, unit):
            return False
        self._wrong_sums += 1
        few = self._right_sums and _ONE_IN * self._wrong_sums <= self._right_sums + _ONE_IN * _FEW_WRONG
        if suspect or few:
            return False
        self._facts.heard += 1
        return True

    def _fill(self, until: int) -> Iterator[Packet[Any]]:
        """Yield silence for what is missing before `until`, if that is a frame or more."""
        silent, time_base = self._silent, self._time_base
        if silent is None or time_base is None or self._end is None:  # nothing to fill with, or behind
            return
        length = Fraction(silent.samples) / (silent.rate_hz * time_base)  # ticks, exact
        if self._step < max(length / 2, length - self._no_step):  # a tick may be as long as a frame
            return
        count = round(self._step / length)
        self._step -= round(count * length)
        self._facts.filled += count
        self._facts.filled_s += Fraction(count * silent.samples, silent.rate_hz)
        start = self._end
        each = min(length, Fraction(until - start, count))
        for number in range(count):
            pts = start + round(number * each)
            if pts <= self._last or pts >= until:
                continue
            yield self._packet(silent.data, pts, round(length))

    def _packet(self, item: Packet[Any] | bytes, pts: int, duration: int) -> Packet[Any]:
        assert self._time_base is not None
        packet: Packet[Any] = item if isinstance(item, Packet) else Packet(item)
        packet.pts = packet.dts = self._last = pts
        packet.duration = duration
        packet.time_base = self._time_base
        self._end = pts + duration
        return packet

    # --- other forms

    def _convert(self, source: SoundSource, unit: Unit) -> Iterator[Packet[Any]]:
        if self._conversion is None or self._conversion.form != unit.form:
            if not self._odd or self._odd[0][1].form != unit.form:
                self._facts.damaged += len(self._odd)
                self._odd = [(source, unit)]
                return
            first = self._odd[0][1]
            yield from self._end_conversion(first.pts)
            yield from self._begin_conversion(source, first)
            if self._conversion is None:
                self._facts.damaged += len(self._odd) + 1
                self._odd.clear()
                return
            for _, odd in self._odd:
                yield from self._converted(odd)
            self._odd.clear()
        else:
            self._facts.damaged += len(self._odd)
            self._odd.clear()
        yield from self._converted(unit)

    def _begin_conversion(self, source: SoundSource, first: Unit) -> Iterator[Packet[Any]]:
        if self._form is None or isinstance(self._form, str) or self._time_base is None:
            return
        if not self._frame:
            self._measure(source, first)
        start = max(0, first.pts if first.pts is not None else self._end or 0)
        if self._end is not None:
            self._step += start - self._end
            yield from self._fill(start)
            start = self._end
            self._step = 0
        try:
            self._conversion = Conversion(self._form, source, first, self._facts, start * self._time_base)
        except ValueError:
            return
        self._start = start

    def _converted(self, unit: Unit) -> Iterator[Packet[Any]]:
        assert self._conversion is not None and self._time_base is not None
        yield from self._placed(self._conversion.push(unit, self._time_base))

    def _end_conversion(self, until: int | None) -> Iterator[Packet[Any]]:
        """Yield the rest of the conversion: up to `until`, within half a frame."""
        conversion, form = self._conversion, self._form
        if conversion is None or form is None or isinstance(form, str) or self._time_base is None:
            return
        length = None if until is None else round((until - self._start) * self._time_base * form.rate_hz)
        yield from self._placed(conversion.finish(length))
        self._conversion = None
        self._step = 0

    def _placed(self, packets: Iterator[tuple[int, bytes]]) -> Iterator[Packet[Any]]:
        assert self._conversion is not None and self._time_base is not None and not isinstance(self._form, str | None)
        tick = self._form.rate_hz * self._time_base  # samples in a tick
        duration = round(self._conversion.samples / tick)
        for at, data in packets:
            yield self._packet(data, self._start + round(at / tick), duration)


def _duration(unit: Unit) -> int:
    """Return in flicks how long a frame lasts by its form; 0 when only its container says so, which rounds."""
    form = unit.form
    if form is None or isinstance(form, str):
        return 0
    samples = FRAME_SAMPLES if isinstance(form, AacConfiguration) else form.samples
    return samples * FLICKS // form.rate_hz
