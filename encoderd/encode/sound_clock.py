"""
Decoded sound → frames of one form without gaps or overlaps, each at its place on the timeline.

The clock counts samples that were written. Sound that comes much too late or too early gets silence before it, or its
head cut off; a source whose clock runs a little fast or slow is followed by stretching frames by single samples, which
nobody hears.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from encoderd.encode.audio_plan import HEARD_HZ
from encoderd.encode.facts import StreamFacts

Samples = NDArray[np.float32]  # channels × samples

#: Sound that is further than this from its time is moved there at once. Lips and sound part for the eye at some 40 ms.
STEP_S = Fraction(20, 1000)
#: The same behind sound that could not be decoded: what is missing there is known to be missing.
STEP_AFTER_DAMAGE_S = Fraction(1, 1000)
#: Less than this, on average, is no drift: timestamps of Matroska and AVI are that coarse.
DRIFT_S = Fraction(1, 1000)
#: Frames that the average goes over.
_AVERAGED = 16
#: Samples for each one that drift may add or take: 0.1 %, a fiftieth of a semitone.
_DRIFT_SHARE = 1000
#: Silence is handed out in steps of so many samples, so that an hour of it takes no memory.
SILENCE_STEP = 8 * 1024
FORMAT = "fltp"


class SoundClock:
    """
    Puts decoded frames of one track onto the output's grid of samples at `rate_hz`, in `layout`.

    With `channel` 0 or 1 the output is that one sound of a dual mono source; where the source is not dual mono, all of
    its channels. `position` is the next sample to be written, None before the first.
    """

    def __init__(self, facts: StreamFacts, rate_hz: int, layout: str, channel: int = -1) -> None:
        self._facts = facts
        self._rate_hz = rate_hz
        self._layout = layout
        self._channels = AudioLayout(layout).nb_channels
        self._channel = channel
        self._resampler: AudioResampler | None = None
        self._form: tuple[str, str, int] | None = None
        self._given = 0
        self._late = 0  # average over frames × _AVERAGED, samples
        self._dual = False
        self.position: int | None = None
        self.after_damage = False

    def push(self, frame: AudioFrame, at_s: Fraction | None, *, dual: bool = False) -> Iterator[AudioFrame]:
        """
        Yield what comes out for a frame that sounds at `at_s` (None: behind the one before).

        `dual`: its two channels are two sounds. What no resampler takes counts as damaged.
        """
        try:
            frames = self._converted(frame)
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):
            self._facts.heard -= 1
            self._facts.damaged += 1
            self._resampler, self._form, self.after_damage = None, None, True
            return
        self._dual = dual
        at = None if at_s is None else round(at_s * self._rate_hz)
        for converted in frames:
            yield from self._place(converted, at)
            at = None

    def drain(self) -> Iterator[AudioFrame]:
        """Yield what the resampler still holds; the next push builds it anew."""
        for frame in self._rest():
            yield from self._place(frame, None)

    def silence(self, count: int) -> Iterator[AudioFrame]:
        """Yield `count` samples of silence, in steps."""
        while count > 0:
            step = min(count, SILENCE_STEP)
            yield self._written(np.zeros((self._channels, step), np.float32))
            count -= step

    def _place(self, frame: AudioFrame, at: int | None) -> Iterator[AudioFrame]:
        if self.position is None:
            self.position, self.after_damage = max(0, at or 0), True  # the first place is exact
        late = 0 if at is None else at - self.position
        step_s = STEP_AFTER_DAMAGE_S if self.after_damage else STEP_S
        self.after_damage = False
        if abs(late) > step_s * self._rate_hz:
            self._late = 0
            if late > 0:
                self._facts.filled += 1
                self._facts.filled_s += Fraction(late, self._rate_hz)
                yield from self.silence(late)
            else:
                self._facts.cut += 1
                if frame.samples > -late:
                    yield self._written(self._channels_of(frame)[:, -late:])
                return
            late = 0
        elif at is not None:
            self._facts.largest_skew_s = max(self._facts.largest_skew_s, Fraction(abs(late), self._rate_hz))
            self._late += late - self._late // _AVERAGED
        yield self._followed(frame)

    def _followed(self, frame: AudioFrame) -> AudioFrame:
        """The frame as it is, or by a few samples longer or shorter where the source's clock has drifted."""
        average = self._late // _AVERAGED
        if abs(average) > DRIFT_S * self._rate_hz and frame.samples >= 4:
            most = -(-frame.samples // _DRIFT_SHARE)
            change = max(-most, min(most, average))
            self._late -= change * _AVERAGED
            return self._written(stretched(self._channels_of(frame), frame.samples + change))
        if self._channel >= 0:
            return self._written(self._channels_of(frame))
        frame.pts, frame.time_base = self.position, Fraction(1, self._rate_hz)
        self.position = (self.position or 0) + frame.samples
        return frame

    def _channels_of(self, frame: AudioFrame) -> Samples:
        """The samples that this track has of the frame."""
        found = samples_of(frame)
        if self._channel < 0 or len(found) == 1:
            return found
        if self._dual:
            return found[self._channel : self._channel + 1]
        return np.asarray(found.mean(axis=0, keepdims=True), np.float32)

    def _written(self, samples: Samples) -> AudioFrame:
        frame = self._empty(samples.shape[1])
        for number, channel in enumerate(samples):
            frame.planes[number].update(np.ascontiguousarray(channel, np.float32).tobytes())
        frame.pts = self.position
        self.position = (self.position or 0) + samples.shape[1]
        return frame

    def _empty(self, samples: int) -> AudioFrame:
        frame = AudioFrame(format=FORMAT, layout=self._layout, samples=samples)
        frame.sample_rate, frame.time_base = self._rate_hz, Fraction(1, self._rate_hz)
        return frame

    def _converted(self, frame: AudioFrame) -> list[AudioFrame]:
        """The frame in the track's format, rate and layout; of one channel of two, in the layout it is taken from."""
        if frame.sample_rate not in HEARD_HZ:
            raise ValueError(f"{frame.sample_rate} Hz")
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        layout = self._layout
        if self._channel >= 0:
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
        held: list[AudioFrame] = []
        if form != self._form:
            held = self._rest()
            self._form, self._given = form, 0
            if form != (FORMAT, layout, self._rate_hz):
                self._resampler = AudioResampler(format=FORMAT, layout=layout, rate=self._rate_hz)
        if self._resampler is None:
            return [*held, frame]
        frame.pts, frame.time_base = self._given, Fraction(1, frame.sample_rate)
        self._given += frame.samples
        return held + [found for found in self._resampler.resample(frame) if found is not None]

    def _rest(self) -> list[AudioFrame]:
        resampler: Any = self._resampler
        self._resampler, self._form = None, None
        return [] if resampler is None else [frame for frame in resampler.resample(None) if frame is not None]


def samples_of(frame: AudioFrame) -> Samples:
    """
    Return the samples of a planar float frame.

    Not `to_ndarray`: PyAV to 18.1 finds a ninth plane in a frame of eight channels, and the process ends there.
    """
    planes = [memoryview(frame.planes[number]) for number in range(frame.layout.nb_channels)]
    return np.stack([np.frombuffer(plane, np.float32, frame.samples) for plane in planes])


def stretched(samples: Samples, count: int) -> Samples:
    """Return the same sound in `count` samples, interpolated by cubic polynomials through four neighbours."""
    length = samples.shape[1]
    where = np.arange(count) * (length / count)
    left = np.clip(where.astype(np.intp), 1, length - 3)
    x = where - left
    weights = (
        -x * (x - 1) * (x - 2) / 6,
        (x + 1) * (x - 1) * (x - 2) / 2,
        -(x + 1) * x * (x - 2) / 2,
        (x + 1) * x * (x - 1) / 6,
    )
    found = sum(weight * samples[:, left + offset] for offset, weight in enumerate(weights, start=-1))
    return np.asarray(found, np.float32)
