"""What happened on the way from source to output: numbers for the judgement and the receipt."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

#: Of a track that is heard at least one packet in so many can be decoded; of noise FFmpeg takes one in 200 (measured).
AUDIBLE = 20


@dataclass(slots=True, kw_only=True)
class StreamFacts:
    """
    One stream as it went through: times in seconds on the output timeline, `end_s` includes the last duration.

    Of audio: `heard` packets could be decoded, `damaged` ones could not; `filled` packets of silence were put into gaps
    (`filled_s` seconds of them), `cut` packets overlapped what was there already, `converted` ones had another
    configuration than the track and were encoded anew; `largest_skew_s` is how far a packet was placed from its own
    time. `told_end_s` is where the recording's last stamp has the track's end, `told_by_length_s` where its first stamp
    and the lengths of its packets have it; None where no one clock tells.
    """

    codec: str
    packets: int = 0
    muxed: int = 0
    dropped: int = 0
    heard: int = 0
    damaged: int = 0
    filled: int = 0
    filled_s: Fraction = Fraction(0)
    cut: int = 0
    converted: int = 0
    largest_skew_s: Fraction = Fraction(0)
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    told_end_s: Fraction | None = None
    told_by_length_s: Fraction | None = None

    @property
    def audible(self) -> bool:
        """Whether more of a track's packets can be decoded than of noise."""
        return AUDIBLE * self.heard >= self.heard + self.damaged

    def cover(self, start_s: Fraction, end_s: Fraction) -> None:
        self.start_s = start_s if self.start_s is None else min(self.start_s, start_s)
        self.end_s = end_s if self.end_s is None else max(self.end_s, end_s)


@dataclass(slots=True)
class Trail:
    """
    How some counters went together: rows of `width` integers, in the order they were added.

    A recording of many hours costs no more than a short one: when MOST rows are there, every second one goes, and from
    then on only every second new one is kept, and so on. The first row always stays.
    """

    width: int
    rows: list[tuple[int, ...]] = field(default_factory=list)
    _every: int = 1
    _skipped: int = 0

    MOST: ClassVar[int] = 4096

    def add(self, *row: int) -> None:
        assert len(row) == self.width
        self._skipped += 1
        if self.rows and self._skipped < self._every:
            return
        self._skipped = 0
        self.rows.append(row)
        if len(self.rows) >= self.MOST:
            del self.rows[1::2]
            self._every *= 2


@dataclass(slots=True, kw_only=True)
class TranscodeFacts:
    """What happened, for verification and the receipt. `streams` is in the order of the output's streams."""

    streams: list[StreamFacts]
    zero_s: Fraction = Fraction(0)  # the output's zero on the source's clock
    frames_decoded: int = 0
    frames_filtered: int = 0  # came out of the filters
    frames_held: int = 0  # of these, repeated in gaps
    frames_left_out: int = 0  # repeats of telecined film
    frames_due: int = 0  # had to come out of the filters
    captions_lost: int = 0  # caption triplets of left out pictures that found no other picture
    frames_encoded: int = 0  # given to the encoder
    packets_encoded: int = 0  # got from it
    decode_errors: int = 0
    corrupt_packets: int = 0
    corrupt_frames: int = 0
    frames_refused: int = 0  # of a size or form that no filter takes
    geometry_changes: int = 0
    last_position: int = 0  # byte offset of the last packet read
    read_error: str = ""  # why reading ended before the end of the file, in FFmpeg's words
    startup_s: float = 0.0  # from the start of the process to the first encoded packet
    places: Trail = field(default_factory=lambda: Trail(2))  # (output time in ms, byte position) as it was read
    pace: Trail = field(default_factory=lambda: Trail(3))  # (output time in ms, wall time in ms, bytes written)
    granted: dict[str, str] = field(default_factory=dict)
    discontinuities: list[dict[str, Any]] = field(default_factory=list)  # "at_s", "step_s", "stream", "kind"
    gaps: list[dict[str, Any]] = field(default_factory=list)  # "stream" is its place in `streams`
    pauses: list[dict[str, Any]] = field(default_factory=list)  # the same, where only another sign makes it a gap
    discontinuity_count: int = 0
    gap_count: int = 0
    outlier_count: int = 0
    duplicate_count: int = 0
    largest_skew_s: float = 0.0
