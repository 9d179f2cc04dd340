"""What FFmpeg's tools see in a file, as plain values. Times are seconds on the file's own clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Each picture is looked at as so many luma samples: width, height.
THUMB = (32, 18)
#: Sound is looked at as one channel of so many samples per second.
SOUND_HZ = 8000

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A picture as shown: pixels after rotation, and display aspect ratio (width over height)."""

    width: int
    height: int
    aspect: float

    def __str__(self) -> str:
        return f"{self.width}×{self.height} as {self.aspect:.3f} : 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """
    All decoded pictures in the order of the decoder.

    `at_s` has one time for each (NaN: none), `luma` one row of THUMB[0] × THUMB[1] bytes. The last three map what was
    seen to how many pictures had it; `side` has the kinds of side data.
    """

    at_s: NDArray[np.float64]
    luma: NDArray[np.uint8]
    interlaced: int = 0
    shapes: dict[Shape, int] = field(default_factory=dict)
    colours: dict[str, int] = field(default_factory=dict)
    side: dict[str, int] = field(default_factory=dict)
    errors: int = 0
    words: str = ""

    @property
    def step_s(self) -> float:
        """The usual distance of two pictures; 0.04 where there are not two."""
        steps = np.diff(self.at_s[~np.isnan(self.at_s)])
        steps = steps[(steps > 1e-4) & (steps < 2)]
        return float(np.median(steps)) if len(steps) else 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """
    A decoded track: pieces of SOUND_HZ, each with its begin.

    A piece ends where the next sample's time is more than 5 ms from the end of the one before.
    """

    pieces: list[tuple[float, NDArray[np.float32]]] = field(default_factory=list)
    errors: int = 0
    words: str = ""

    @property
    def length_s(self) -> float:
        return sum(len(samples) for _, samples in self.pieces) / SOUND_HZ

    @property
    def begin_s(self) -> float:
        return min((at_s for at_s, _ in self.pieces), default=float("nan"))

    @property
    def end_s(self) -> float:
        return max((at_s + len(samples) / SOUND_HZ for at_s, samples in self.pieces), default=float("nan"))

    def between(self, begin_s: float, end_s: float) -> NDArray[np.float32]:
        """Return the samples of that time, zero where there are none."""
        found = np.zeros(max(0, round((end_s - begin_s) * SOUND_HZ)), np.float32)
        for at_s, samples in self.pieces:
            first = round((at_s - begin_s) * SOUND_HZ)
            begin, end = max(0, first), min(len(found), first + len(samples))
            if begin < end:
                found[begin:end] = samples[begin - first : end - first]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A file as ffprobe describes it (its own JSON), and as ffmpeg decodes it; sounds by index of the stream."""

    streams: list[Json] = field(default_factory=list)
    chapters: list[Json] = field(default_factory=list)
    format: Json = field(default_factory=dict)
    programmes: list[Json] = field(default_factory=list)
    video: int = -1
    pictures: Pictures | None = None
    sounds: dict[int, Sound] = field(default_factory=dict)
    trouble: str = ""

    def of_kind(self, kind: str) -> list[Json]:
        return [stream for stream in self.streams if stream.get("codec_type") == kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What encoderd made of it: a receipt, or why there is none."""

    receipt: Json = field(default_factory=dict)
    refusal: str = ""
    remedy: str = ""
    kind: str = ""
    beside: list[Json] = field(default_factory=list)
    log: str = ""
    wall_s: float = 0.0
