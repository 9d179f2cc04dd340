"""
One clock for all streams of a recording.

Broadcast clocks wrap (33 bits of 90 kHz), jump at splices, and stand still for nobody. Every stream is placed on one
output timeline that starts at zero and runs on across the jumps. Each jump opens an *epoch* with its own shift;
streams move into it one by one, when their own timestamps arrive there. So a packet of the old epoch that comes late
in the interleaving is not taken for a jump back, and audio and video keep their distance across the jump.

What a step of a stream's timestamps is, in this order:

1. A *wrap*, when 33 bits more or less explain it. All differences are taken without their wraps.
2. An *outlier*, when the next packets are back on the clock of before: the packet is put where it was expected.
3. The jump that another stream has made, when the packet fits to where the others are in that epoch.
4. A *gap*, when the packet goes on after a pause of this stream, or of all of them up to `MOST_GAP`. It is kept:
   recorders that lose the signal for a minute lose no time by it, and chapters and programme guides agree with it.
5. A *jump* otherwise, forward or backward, and time runs on as if there had been none. So is a gap longer than
   `MOST_UNCOUNTED` of which the counters of a transport stream know nothing: the recording was cut, or paused.

The second question needs the packets that follow: `announce` them. Where none was announced the packet is put where
it was expected, and the next packet of its stream decides what it was: then the first packet after a gap of more than
a second stands before the gap.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction

from encoderd.encode.discontinuities import Discontinuity, Kind, note
from encoderd.encode.epochs import FLICKS, NO_STEP, REORDERED, WRAP, StreamClock, flicks, most_skew, unwrapped
from encoderd.encode.pauses import Pause, Pauses

# All of these are flicks.

#: A longer step forward, of all streams, is a jump of the clock; a shorter one is a gap in the recording and is kept.
#: Signals are away for seconds or for a minute or two (rain, a restarted tuner). Splices join clocks that have nothing
#: to do with each other: with 26.5 hours to choose from, one in 800 is taken for a gap.
MOST_GAP = 120 * FLICKS
#: A step back longer than this is a jump. Muxers reorder by less.
BACKWARD_JUMP = FLICKS // 2
#: A step forward of less needs no second packet to be believed: that much is lost all the time.
BELIEVED = FLICKS
#: Two streams' steps back that differ by less are the same event. What the first stream took it for binds the other,
#: or a step at the edge between kept and jump would part audio and video.
SAME_STEP = FLICKS
#: How far from its expected time, or from the other streams, a packet may land to belong to an epoch.
SAME_EPOCH = 5 * FLICKS
#: Streams stand further apart in a multiplex only where one has paused.
MOST_APART = 2 * FLICKS
#: A longer gap with no packet missing near it, among so many, is no loss of signal.
MOST_UNCOUNTED, NEAR_PACKETS = 10 * FLICKS, 400
#: So few packets follow when a demuxer gives away what it kept.
AT_THE_END = 16
#: Epochs that a stream may be late for. Only recordings that are all damage open so many in a second.
RECENT_EPOCHS = 8


@dataclass(slots=True)
class Timeline:
    """
    Places packets; `origin_s` is the source time that becomes zero (None: the first packet's); `counted`: `announce` is
    told of losses.
    `discontinuities` lists the wraps and jumps, `outliers` the wrong timestamps, each in the order they were met and up
    to `MOST_NOTED`; the counts go on. `pauses` has the times without packets once the timeline was finished.
    `duplicate_count` is that of packets with the same timestamp as the one before them; they keep it.
    """

    origin_s: Fraction | None = None
    counted: bool = False
    discontinuities: list[Discontinuity] = field(default_factory=list)
    pauses: Pauses = field(default_factory=Pauses)
    outliers: list[Discontinuity] = field(default_factory=list)
    discontinuity_count: int = 0
    outlier_count: int = 0
    duplicate_count: int = 0
    _streams: dict[int, StreamClock] = field(default_factory=dict)
    _shifts: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT_EPOCHS))  # of the epochs, flicks
    _wrapped: int = 0  # wraps in the newest epoch that were noted
    _kept: tuple[int, int, int] | None = None  # the last step back that was kept: shift, stream, flicks
    _gap: tuple[int, int] | None = None  # the last one that a stream came to before the others: from, to; flicks
    _announced: int = 0
    _loss: int = -NEAR_PACKETS  # the number of the last packet that was announced beside a loss
    _skew: int = 0  # flicks

    def add_stream(self, index: int, time_base: Fraction, *, sparse: bool = False) -> None:
        """
        Declare a stream, at any time; `time_base` is seconds per tick of its timestamps.

        A sparse stream, of subtitles or data, says nothing for minutes: that is no gap.
        """
        self._streams[index] = StreamClock(time_base, sparse, self.pauses.paced)

    def announce(self, index: int, pts: int | None, dts: int | None, *, lossy: bool = False) -> None:
        """
        Tell the timestamps of a packet that will be placed later: either all packets are announced, in order, or none.

        A second of the recording ahead is enough; the caller holds the packets. `lossy`: transport packets are missing.
        """
        self._streams[index].ahead.append(pts if dts is None else dts)
        self._announced += 1
        if lossy:
            self._loss = self._announced

    @property
    def largest_skew_s(self) -> float:
        """
        Return how far two streams are, or were, from the distance to each other that they have in the source.

        0 where all made every jump together; more than a tick where one's clock jumped and another's, there, did not.
        """
        return max(self._skew, self._skew_now()) / FLICKS

    def place(self, index: int, pts: int | None, dts: int | None, duration: int) -> tuple[int | None, int | None]:
        """
        Return (pts, dts) on the output timeline, in the stream's own ticks.

        `duration` in ticks is 0 when unknown. Timestamps that are None stay None, and a pts that cannot be true
        beside its dts becomes None.
        """
        stream = self._streams[index]
        if stream.ahead:
            stream.ahead.popleft()
        stream.placed += 1
        stamp = pts if dts is None else dts
        if stream.sparse:
            return self._beside(stream, stamp, pts, dts)
        if not 0 < duration <= stream.longest:
            duration = stream.usual
        if stamp is None:
            stream.due += duration
            return None, None
        reorder: int | None = 0
        if pts is None or dts is None:
            pass
        elif not stream.least_reorder <= (reorder := pts - dts) <= stream.most_reorder:
            reorder = stream.reorder(pts, dts)
            if reorder is None:
                stamp, reorder = self._believed(index, stream, pts, dts)
        if not -stream.even <= stamp - stream.due <= stream.even:
            stamp = self._follow(index, stream, stamp, duration, by_pts=dts is None)
        elif stamp == stream.last:
            self.duplicate_count += 1
        stream.last, stream.due, stream.by_pts = stamp, stamp + duration, dts is None
        stream.ends_later = max(stream.ends_later, reorder or 0)
        stamp += stream.offset
        if dts is None:
            return stamp, None
        return None if pts is None or reorder is None else stamp + reorder, stamp

    def _beside(
        self, stream: StreamClock, stamp: int | None, pts: int | None, dts: int | None
    ) -> tuple[int | None, int | None]:
        """
        A caption belongs to where pictures and sound are; it opens no epoch, and it may pause and repeat as it likes.

        Where it would land far from them, and not a little after the caption before, its clock is another one: it is
        shown when it came.
        """
        if stamp is None:
            return None, None
        if not self._shifts:
            self._set_origin(stream, stamp)
        reached = self._reached() or 0
        last = reached if stream.last is None else stream.output(stream.last)
        distance, shift = self._nearest(stream, stamp, [reached])
        if distance > SAME_EPOCH:
            coming = [other.announced_shift() for other in self._streams.values() if not other.sparse]
            shifts = [shift, *(one for one in coming if one is not None)]
            shift = min(shifts, key=lambda one: abs(unwrapped(stream.flicks(stamp) + one - reached)))
        stream.enter(shift, stamp, reached)
        landed = stream.output(stamp)
        if not reached - MOST_GAP <= landed <= max(reached, last) + MOST_GAP:
            stream.offset += stream.ticks(reached - landed)
        stream.last = stamp
        placed = stamp + stream.offset
        return None if pts is None else placed + stream.later(pts, dts), None if dts is None else placed

    def _believed(self, index: int, stream: StreamClock, pts: int, dts: int) -> tuple[int, int | None]:
        """Return the dts, and the pts relative to it, of a packet whose pts and dts contradict each other."""
        if stream.last is None:
            return dts, None
        shown = stream.ticks(stream.step(pts))
        if abs(stream.step(dts)) <= SAME_STEP or not 0 <= shown <= stream.most_reorder:
            self._note_outlier(index, stream, stream.flicks(pts - dts))
            return dts, None
        self._note_outlier(index, stream, stream.step(dts))
        return stream.due, shown

    def _follow(self, index: int, stream: StreamClock, stamp: int, duration: int, *, by_pts: bool) -> int:
        """Decide about a step, and return the timestamp: the one that was expected instead of an outlier."""
        if stream.shift is None:
            return self._begin(index, stream, stamp, duration)
        by_pts = by_pts or stream.by_pts
        if stream.pending is not None:
            self._resolve(index, stream, stamp, by_pts=by_pts)
        assert stream.last is not None
        if stamp == stream.last:
            self.duplicate_count += 1
        if stream.due == stream.last + stream.usual and 0 < stamp - stream.last <= stream.longest:
            stream.usual = stamp - stream.last  # the packet before did not tell how long it lasts
        step = stream.step(stamp)
        due = stream.due + duration
        following = stream.announced()
        if abs(step) > NO_STEP and not by_pts:
            for n, after in enumerate(following):
                if stream.is_back(after, due + n * duration, stamp, duration):
                    self._note_outlier(index, stream, step)
                    return stream.due
        if self._go_on(index, stream, stamp, by_pts=by_pts, confirmed=bool(following)):
            return stamp
        stream.hold(stamp, duration)
        return stream.due

    def _resolve(self, index: int, stream: StreamClock, stamp: int, *, by_pts: bool) -> None:
        """The next packet is there: decide about the one that pends."""
        pending = stream.pending
        assert pending is not None
        stream.settle()
        if stream.is_back(stamp, stream.due, pending.stamp, pending.duration):
            self._note_outlier(index, stream, unwrapped(stream.flicks(pending.stamp - pending.due)))
            return
        stream.last, stream.due = pending.due - 1, pending.due
        self._go_on(index, stream, pending.stamp, by_pts=by_pts, confirmed=True)
        stream.last, stream.due = pending.stamp, pending.stamp + pending.duration

    def _begin(self, index: int, stream: StreamClock, stamp: int, duration: int) -> int:
        """A stream's first packet belongs to where the others are, and the recording's first one to its origin."""
        if not self._shifts:
            self._set_origin(stream, stamp)
        reached = self._reached() or 0
        places = [reached]
        if self._gap is not None and reached <= self._gap[1] + SAME_EPOCH:
            places.append(self._gap[0])  # its packets of before the gap come late in the multiplex
        distance, shift = self._nearest(stream, stamp, places)
        next_stamp = next(iter(stream.announced()), stamp)
        next_distance, next_shift = self._nearest(stream, next_stamp, places)
        if next_distance <= SAME_EPOCH < distance and distance - next_distance > MOST_APART:
            wrong, stamp, shift = stamp, next_stamp - duration, next_shift
            stream.enter(shift, stamp, reached)
            stream.due = stamp
            self._note_outlier(index, stream, unwrapped(stream.flicks(wrong - stamp)))
        stream.enter(shift, stamp, reached)
        landed = stream.output(stamp)
        # A demuxer keeps the last packet of a PID until the next one, or the end: a slide comes late.
        ending = sum(len(other.ahead) for other in self._streams.values()) < AT_THE_END
        is_kept = landed >= -SAME_EPOCH and (ending or landed >= reached - MOST_GAP)
        if landed > reached + MOST_GAP or (landed < min(places) - SAME_EPOCH and not is_kept):
            self._open(index, stream, stamp, reached, landed - reached)
        elif landed > reached:
            stream.led = landed
        return stamp

    def _set_origin(self, stream: StreamClock, stamp: int) -> None:
        if self.origin_s is None:
            self.origin_s = stamp * stream.time_base
        self._shifts.append(-flicks(self.origin_s))

    def _go_on(self, index: int, stream: StreamClock, stamp: int, *, by_pts: bool, confirmed: bool) -> bool:
        """Move the stream to where `stamp` belongs; False when only its next packet can tell."""
        assert stream.shift is not None
        due, step = stream.output(stream.due), stream.step(stamp)
        others = self._reached(but=stream)
        others = due if others is None else others
        if abs(step) > NO_STEP:
            is_kept = self._is_kept(index, stream, step, due, others, by_pts=by_pts, confirmed=confirmed)
            places = [due, others] if others > due + MOST_APART else [due]
            beside = min(abs(due + step - place) for place in places)
            distance, shift = self._nearest(stream, stamp, places)
            if shift != stream.shift and distance <= SAME_EPOCH and (distance < beside or not is_kept):
                stream.enter(shift, stamp, due)
                return True
            if not is_kept and not confirmed:
                return False
            is_gap = 0 < step <= max(0, others - due) + self._most_gap()
            if not is_kept and not is_gap:
                self._open(index, stream, stamp, others if others > due + SAME_EPOCH else due, step)
                return True
            if step < 0:
                self._kept = (stream.shift, index, step)
            elif due + step > others:
                stream.led = due + step
                self._gap = (due, due + step)
            if step > 0:
                self._pause(index, stream, due + step, step)
        self._count_wraps(index, stream, stamp, due)
        return True

    def _pause(self, index: int, stream: StreamClock, end: int, step: int) -> None:
        told = stream.flicks(stream.due - (stream.last or 0))
        self.pauses.add(index, Pause(number=stream.placed, end=end, length=step + told, told=told))

    def finish(self, carrying: int | None = None) -> None:
        """At the end, judge the last packets, and the pauses. What pictures (`carrying`) lack at the end is one."""
        for index, other in self._streams.items():
            if (pending := other.pending) is not None:
                self._note_outlier(index, other, unwrapped(other.flicks(pending.stamp - pending.due)))
        reached, stream = self._reached(), self._streams.get(carrying if carrying is not None else -1)
        if stream is not None and stream.last is not None and reached is not None and stream.placed > 1:
            missing = reached - stream.output(stream.due + stream.ends_later)
            if missing > MOST_APART:
                stream.placed += 1
                self._pause(carrying or 0, stream, reached, missing)
        self.pauses.finish({index: stream.placed for index, stream in self._streams.items()})

    def _is_kept(
        self, index: int, stream: StreamClock, step: int, due: int, others: int, *, by_pts: bool, confirmed: bool
    ) -> bool:
        """Tell whether a step needs no second packet: it is small, or it leads to where the other streams are."""
        own = due + step
        pause = max(0, others - due) if confirmed or own >= others - MOST_APART else 0
        if 0 <= step <= pause:
            return True  # this stream paused, or the others told before what it was
        if confirmed and stream.led is not None and others < stream.led and abs(own - others) <= SAME_EPOCH:
            return True  # it had gone ahead, and nobody followed
        if self._kept is not None and step < 0:
            shift, by, kept = self._kept
            if shift == stream.shift and by != index and abs(kept - step) <= SAME_STEP:
                return True
        back, ahead = (REORDERED, REORDERED) if by_pts else (BACKWARD_JUMP, BELIEVED)
        return -back <= step <= pause + ahead

    def _count_wraps(self, index: int, stream: StreamClock, stamp: int, due: int) -> None:
        assert stream.shift is not None
        wraps = stream.wraps
        stream.enter(stream.shift, stamp, due)
        if stream.wraps not in (wraps, self._wrapped):
            self._note_jump(index, Kind.WRAP, due, (wraps - stream.wraps) * WRAP)
            self._wrapped = stream.wraps

    def _nearest(self, stream: StreamClock, stamp: int, places: list[int]) -> tuple[int, int]:
        """Return the epoch in which `stamp` lands nearest to one of the places: the distance, and its shift."""
        shifts = [other.shift for other in self._streams.values() if other.shift is not None]
        for shift in reversed(self._shifts):
            if shift == stream.shift:
                break  # what is older was left by all, or is in the list
            shifts.append(shift)
        source, nearest = stream.flicks(stamp), (WRAP, shifts[0])
        for shift in shifts:
            for place in places:
                distance = abs(unwrapped(source + shift - place))
                if distance < nearest[0]:
                    nearest = (distance, shift)
        return nearest

    def _open(self, index: int, stream: StreamClock, stamp: int, place: int, step: int) -> None:
        """Open an epoch in which `stamp` lands at a place of the output, or so much later that no stream goes back."""
        self._skew = max(self._skew, self._skew_now())
        shift = place - stream.flicks(stamp)
        shift += self._overlap(stream, shift, step)
        self._shifts.append(shift)
        self._wrapped, self._kept = 0, None
        self._note_jump(index, Kind.FORWARD if step > 0 else Kind.BACKWARD, place, step)
        stream.enter(shift, stamp, place)
        stream.led = None

    def _overlap(self, stream: StreamClock, shift: int, step: int) -> int:
        """
        Return by how much another stream would go back when it follows into an epoch, as far as was announced.

        Where two recordings were joined, the streams of the first one do not end at the same time.
        """
        most = 0
        for other in self._streams.values():
            if other is stream or other.sparse or other.shift != stream.shift:
                continue
            due, duration = other.due, 0 if other.last is None else other.due - other.last
            for stamp in other.ahead:
                if stamp is None:
                    continue
                jumped = unwrapped(other.flicks(stamp - due))
                if abs(jumped) > NO_STEP and abs(jumped - step) <= SAME_EPOCH:
                    most = max(most, unwrapped(other.output(due) - other.flicks(stamp) - shift))
                    break
                due = stamp + duration
        return min(most, SAME_EPOCH)

    def _reached(self, but: StreamClock | None = None) -> int | None:
        """Return the latest time on the output timeline where a stream, or one of the others, is."""
        found: int | None = None
        for stream in self._streams.values():
            if stream is not but and stream.last is not None and not stream.sparse:
                at = stream.output(stream.last)
                found = at if found is None or at > found else found
        return found

    def _most_gap(self) -> int:
        return MOST_UNCOUNTED if self.counted and self._announced - self._loss > NEAR_PACKETS else MOST_GAP

    def _skew_now(self) -> int:
        return most_skew([stream for stream in self._streams.values() if stream.last is not None and not stream.sparse])

    def _note_jump(self, index: int, kind: Kind, at: int, step: int) -> None:
        self.discontinuity_count += 1
        note(self.discontinuities, index, kind, at, step)

    def _note_outlier(self, index: int, stream: StreamClock, step: int) -> None:
        self.outlier_count += 1
        note(self.outliers, index, Kind.OUTLIER, stream.output(stream.due), step)
