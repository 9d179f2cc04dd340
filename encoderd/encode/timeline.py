"""
One clock for all streams of a recording.

Broadcast clocks wrap (33 bits of 90 kHz), jump at splices, and stand still for nobody. Every stream is placed on one
output timeline that starts at zero and runs on across the jumps. Each jump opens an *epoch* with its own shift;
streams move into it one by one, when their own timestamps arrive there. So a packet of the old epoch that comes late
in the interleaving is not taken for a jump back, and audio and video keep their distance across the jump.

Timestamps are integers in the stream's time base; shifts are exact fractions of a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

#: A step forward longer than this is a jump of the clock; a shorter one is a gap in the recording and is kept.
#: Source: FFmpeg's dts_delta_threshold is 10 s for the same question.
FORWARD_JUMP_S = Fraction(10)
#: A step back longer than this is a jump. Muxers reorder by less.
BACKWARD_JUMP_S = Fraction(1, 2)
#: The same where one of the two timestamps is a pts without a dts: pictures are shown in another order than they are
#: sent, by up to 16 of them in H.264, and some recordings have 5 in a second.
REORDERED_S = Fraction(5)
#: A gap of more than this is noted; less is a picture or two that were lost, or a slide show.
GAP_S = Fraction(1)
#: A step of less is no question at all: jitter, a lost packet.
NO_STEP_S = Fraction(1, 5)
#: Two streams' steps that differ by less are the same event. What the first stream took it for, gap or jump, binds
#: the other, or a step at the edge between the two would part audio and video.
SAME_STEP_S = Fraction(1)
#: How far from its expected time a stream may land to belong to an epoch that another stream opened.
SAME_EPOCH_S = Fraction(5)
#: The clock of MPEG-2 systems: 33 bits at 90 kHz.
WRAP_S = Fraction(2**33, 90_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discontinuity:
    """A jump of the clock, or a gap: at `at_s` on the output timeline, by `step_s` seconds of source time."""

    at_s: float
    step_s: float
    stream: int


@dataclass(slots=True)
class ShownAt:
    """
    When decoded pictures are shown: by their pts, or by their dts in recordings whose pts are wrong more often.

    AVI has no pts, and what FFmpeg makes of that is not in order where pictures were reordered. A timestamp is wrong
    when it does not come after the one before. Source: FFmpeg's own rule (libavcodec/decode.c, guess_correct_pts).
    """

    _wrong_pts: int = 0
    _wrong_dts: int = 0
    _last_pts: int | None = None
    _last_dts: int | None = None

    def place(self, pts: int | None, dts: int | None) -> int | None:
        """
        Return the time of the next picture in the order of the decoder, in the ticks of its timestamps.

        None means that it simply follows the one before: the last pictures come without a dts.
        """
        if dts is not None:
            self._wrong_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        if pts is not None:
            self._wrong_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        if pts is None or (self._last_dts is not None and self._wrong_pts > self._wrong_dts):
            return dts
        return pts


@dataclass(slots=True)
class _Stream:
    time_base: Fraction
    epoch: int = 0
    last_dts: int | None = None  # source ticks
    last_is_pts: bool = False  # the packet had no dts
    duration: int = 0  # of the last packet, source ticks
    offset: int = 0  # ticks to add


@dataclass(slots=True)
class Timeline:
    """
    Places packets; `origin_s` is the source time that becomes zero (None: the first packet's).

    `discontinuities` lists the jumps and `gaps` the times without any packet, in the order they were met.
    """

    origin_s: Fraction | None = None
    discontinuities: list[Discontinuity] = field(default_factory=list)
    gaps: list[Discontinuity] = field(default_factory=list)
    _shifts: list[Fraction] = field(default_factory=list)
    _streams: dict[int, _Stream] = field(default_factory=dict)
    _kept: dict[int, tuple[int, Fraction]] = field(default_factory=dict)  # epoch → the last step kept: stream, seconds

    def add_stream(self, index: int, time_base: Fraction) -> None:
        """Declare a stream; `time_base` is seconds per tick of its timestamps."""
        self._streams[index] = _Stream(time_base)
        if self.origin_s is not None:
            self._open(-self.origin_s)
            self._enter(self._streams[index], 0)

    def place(self, index: int, pts: int | None, dts: int | None, duration: int) -> tuple[int | None, int | None]:
        """
        Return (pts, dts) on the output timeline, in the stream's own ticks.

        `duration` in ticks is 0 when unknown. Timestamps that are None stay None.
        """
        stream = self._streams[index]
        known = dts if dts is not None else pts
        if known is None:
            return None, None
        if not self._shifts:
            self.origin_s = known * stream.time_base
            self._open(-self.origin_s)
        if stream.last_dts is None:
            self._enter(stream, len(self._shifts) - 1)
        else:
            self._follow(index, stream, known, reordered=dts is None or stream.last_is_pts)
        stream.last_dts, stream.last_is_pts = known, dts is None
        stream.duration = duration
        shifted_pts = None if pts is None else pts + stream.offset
        return shifted_pts, None if dts is None else dts + stream.offset

    def _follow(self, index: int, stream: _Stream, dts: int, *, reordered: bool) -> None:
        assert stream.last_dts is not None
        expected = stream.last_dts + stream.duration
        step_s = (dts - expected) * stream.time_base
        if abs(step_s) <= NO_STEP_S:
            return
        due_s = expected * stream.time_base + self._shifts[stream.epoch]
        for epoch in range(stream.epoch + 1, len(self._shifts)):
            beside_s = abs(dts * stream.time_base + self._shifts[epoch] - due_s)
            if beside_s <= SAME_EPOCH_S and beside_s < abs(step_s):
                self._enter(stream, epoch)
                return
        kept_by, kept_s = self._kept.get(stream.epoch, (index, step_s))
        agreed = kept_by != index and abs(kept_s - step_s) <= SAME_STEP_S
        if agreed or -(REORDERED_S if reordered else BACKWARD_JUMP_S) <= step_s <= FORWARD_JUMP_S:
            self._kept[stream.epoch] = (index, step_s)
            if step_s > GAP_S:
                self.gaps.append(Discontinuity(at_s=float(due_s), step_s=float(step_s), stream=index))
            return
        self.discontinuities.append(Discontinuity(at_s=float(due_s), step_s=float(step_s), stream=index))
        shift = due_s - dts * stream.time_base
        wrapped = self._shifts[stream.epoch] + (WRAP_S if step_s < 0 else -WRAP_S)
        self._open(wrapped if abs(wrapped - shift) <= FORWARD_JUMP_S else shift)
        self._enter(stream, len(self._shifts) - 1)

    def _open(self, shift: Fraction) -> None:
        if not self._shifts or self._shifts[-1] != shift:
            self._shifts.append(shift)

    def _enter(self, stream: _Stream, epoch: int) -> None:
        stream.epoch = epoch
        stream.offset = round(self._shifts[epoch] / stream.time_base)
