"""What happened on the way from source to output, and what the written file holds: numbers for the judgement."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(slots=True, kw_only=True)
class StreamFacts:
    """
    One stream as it went through: times in seconds on the output timeline, `end_s` includes the last duration.

    Of audio: `filled` packets of silence were put into gaps (`filled_s` seconds of them), `cut` packets overlapped what
    was there already, `converted` ones had another configuration than the track and were encoded anew; `largest_skew_s`
    is how far a packet was placed from its own time.
    """

    codec: str
    packets: int = 0
    muxed: int = 0
    dropped: int = 0
    damaged: int = 0
    filled: int = 0
    filled_s: Fraction = Fraction(0)
    cut: int = 0
    converted: int = 0
    largest_skew_s: Fraction = Fraction(0)
    start_s: Fraction | None = None
    end_s: Fraction | None = None

    def cover(self, start_s: Fraction, end_s: Fraction) -> None:
        self.start_s = start_s if self.start_s is None else min(self.start_s, start_s)
        self.end_s = end_s if self.end_s is None else max(self.end_s, end_s)


@dataclass(slots=True, kw_only=True)
class TranscodeFacts:
    """What happened, for verification and the receipt. `streams` is in the order of the output's streams."""

    streams: list[StreamFacts]
    frames_decoded: int = 0
    frames_encoded: int = 0  # given to the encoder
    packets_encoded: int = 0  # got from it
    decode_errors: int = 0
    corrupt_packets: int = 0
    corrupt_frames: int = 0
    frames_refused: int = 0  # of a size or form that no filter takes
    geometry_changes: int = 0
    last_position: int = 0  # byte offset of the last packet read
    read_error: str = ""  # why reading ended before the end of the file, in FFmpeg's words
    granted: dict[str, str] = field(default_factory=dict)
    discontinuities: list[dict[str, float]] = field(default_factory=list)
    gaps: list[dict[str, float]] = field(default_factory=list)  # "stream" is its place in `streams`


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStream:
    """One stream as found in the written file; times in seconds, `packets` counted by reading all of them."""

    codec: str
    kind: str  # "video" or "audio"
    packets: int
    start_s: Fraction | None
    end_s: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedSpot:
    """A stretch of the output that was decoded: where in seconds, how many frames came, what went wrong ("")."""

    place: str  # "start", "middle", "end" or "all"
    at_s: float
    frames: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFacts:
    """The written file, read back. `width` × `height` in pixels as decoded."""

    size_bytes: int
    streams: tuple[OutputStream, ...]
    spots: tuple[DecodedSpot, ...]
    width: int
    height: int
