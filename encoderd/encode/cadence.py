"""
When pictures are shown: film's repeats are left out, its pictures evenly spread, and gaps hold the last picture.

Frames are VideoFrames in nv12, all in one time_base, in the order in which they are shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import av.filter
import numpy as np
from av.video.frame import VideoFrame

from encoderd.encode.closed_captions import CarriedCaptions
from encoderd.encode.deinterlacing import CYCLE, FIELD_SLACK, LASTING, Lines, Pulldown, difference, fields_of, repeat_of

#: Film's five pictures come at the rate; with repeat flags instead they are four, some a frame and a half apart.
_IN_STEP = Fraction(5, 4)
#: A step from picture to picture of more than so many of the recording's frames is a gap. Film that is sent as 24
#: pictures a second with repeated fields has steps of one and a half.
GAP_FRAMES = Fraction(8, 5)
#: Seconds that a picture is held at most. A damaged timestamp may claim a day; a longer gap stays one.
MOST_HELD_S = 600
#: Every so many lines of each field are compared, and every other column.
_LINE_STEP = 8
_FAR = 255.0


class Showing:
    """
    Decides when each filtered picture is shown: film's repeats are left out, and with `hold` gaps are filled.

    `held` counts the repeats that fill gaps, `left_out` those of film, `captions_lost` caption triplets that found no
    picture to go with.
    """

    def __init__(self, source_rate: Fraction, *, decimated: bool, pulldown: Pulldown | None, hold: bool) -> None:
        self._film = FilmCadence(source_rate) if decimated else None
        self._even = None if pulldown is None else EvenFilm(pulldown)
        self._hold = HeldPictures(source_rate) if hold else None

    @property
    def held(self) -> int:
        return 0 if self._hold is None else self._hold.held

    @property
    def left_out(self) -> int:
        return 0 if self._film is None else self._film.left_out

    @property
    def captions_lost(self) -> int:
        return 0 if self._film is None else self._film.captions.lost + self._film.captions.waiting

    def push(self, frame: VideoFrame | None, *, film: bool) -> Iterator[VideoFrame]:
        """Take the next picture, woven from a film's fields or not; None: what follows belongs to other filters."""
        shown: Iterator[VideoFrame] = iter(() if frame is None else (frame,))
        if self._film is not None:
            shown = self._film.drain() if frame is None else self._film.push(frame, film=film)
        if self._even is not None:
            shown = chain(self._even.spread(shown), self._even.drain() if frame is None else ())
        for one in shown:
            if self._hold is not None:
                yield from self._hold.before(one)
            yield one


class FilmCadence:
    """
    Leaves one of five pictures of telecined film out, at the times of the recording.

    Four pictures take the time of five; each cycle starts where its first picture stood, so nothing drifts, and no
    picture is further than a frame from its time. A cycle without a repeat was never film and passes as it is, and so
    does one that a gap cuts short. Captions of what is left out go on with the next picture.
    """

    def __init__(self, source_rate: Fraction) -> None:
        self._frame_s = 1 / source_rate
        self._cycle: list[VideoFrame] = []
        self._differences: list[float] = []
        self._before: Lines | None = None
        self.captions = CarriedCaptions()
        self.left_out = 0

    def push(self, frame: VideoFrame, *, film: bool) -> Iterator[VideoFrame]:
        """Take the next picture; `film` is False where the recording is progressive and passes untouched."""
        if not film or frame.pts is None:
            yield from self.drain()
            self.captions.give(frame)
            yield frame
            return
        if self._cycle and not self._follows(frame):
            yield from self.drain()
        luma = _luma(frame)
        far = self._before is None or self._before.shape != luma.shape
        self._differences.append(_FAR if far or self._before is None else difference(self._before, luma))
        self._before = luma
        self._cycle.append(frame)
        if len(self._cycle) == CYCLE:
            yield from self._complete()

    def drain(self) -> Iterator[VideoFrame]:
        """Yield what an incomplete cycle holds, as it is."""
        held, self._cycle, self._differences, self._before = self._cycle, [], [], None
        for frame in held:
            self.captions.give(frame)
            yield frame

    def _follows(self, frame: VideoFrame) -> bool:
        last = self._cycle[-1]
        if last.pts is None or frame.pts is None or not frame.time_base:
            return False
        return 0 < (frame.pts - last.pts) * frame.time_base < _IN_STEP * self._frame_s

    def _complete(self) -> Iterator[VideoFrame]:
        cycle, repeat = self._cycle, repeat_of(self._differences)
        self._cycle, self._differences = [], []
        first, last, number = cycle[0].pts, cycle[-1].pts, 0
        assert first is not None and last is not None
        # Five steps, of which four are known, for four pictures.
        step = Fraction(last - first, CYCLE - 1) * CYCLE / (CYCLE - 1)
        self.left_out += repeat is not None
        for position, frame in enumerate(cycle):
            if position == repeat:
                self.captions.take(frame)
                continue
            if repeat is not None:
                frame.pts = first + round(number * step)
            self.captions.give(frame)
            number += 1
            yield frame


class EvenFilm:
    """
    Spreads film's pictures evenly, which last two, three or four fields, as its repeat flags say.

    Where `pulldown.pictures` in a row last `pulldown.fields` together, and not all the same, each of them is shown so
    much after the one before as all of them last on average. The first of a row gets the place from which no picture
    has to be shown before its time; the largest delay is what that row differs by. What is sent otherwise keeps its
    times, and so does film behind a gap.
    """

    def __init__(self, pulldown: Pulldown) -> None:
        self._pulldown = pulldown
        self._held: deque[VideoFrame] = deque()
        self._lasting: deque[int] = deque()  # of each held picture but the last
        self._film = 0  # so many of the held ones, from the first on, belong to film
        self._due_s: Fraction | None = None  # when the next picture of a row is to be shown
        self._even_s = Fraction(0)  # how long each picture of the last row lasts

    def spread(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Yield the pictures, each when a row's length of others has come behind it."""
        for frame in frames:
            if self._held:
                self._lasting.append(self._step(self._held[-1], frame))
            self._held.append(frame)
            if len(self._held) > self._pulldown.pictures:
                if self._is_row():
                    self._film = len(self._held)
                    self._even_s = self._lasting_s() / self._pulldown.pictures
                yield self._release()

    def drain(self) -> Iterator[VideoFrame]:
        """Yield what is held: what follows belongs to something else."""
        while self._held:
            yield self._release()
        self._due_s, self._film = None, 0

    def _step(self, frame: VideoFrame, following: VideoFrame) -> int:
        if frame.pts is None or following.pts is None or not frame.time_base:
            return 0
        return fields_of((following.pts - frame.pts) * frame.time_base, self._pulldown.field_s)

    def _lasting_s(self) -> Fraction:
        """Return how long the held ones last but the last: by the recording's clock, whatever that is worth."""
        first, last = self._held[0], self._held[-1]
        return Fraction(((last.pts or 0) - (first.pts or 0)) * (first.time_base or 0))

    def _is_row(self) -> bool:
        lasting = set(self._lasting)
        return sum(self._lasting) == self._pulldown.fields and len(lasting) > 1 and LASTING >= lasting

    def _release(self) -> VideoFrame:
        frame = self._held.popleft()
        film, self._film = self._film > 0, max(0, self._film - 1)
        if film and frame.pts is not None and frame.time_base:
            at_s = frame.pts * frame.time_base
            if self._due_s is None or not self._is_near(at_s):
                self._due_s = at_s + self._latest() * self._pulldown.field_s
            frame.pts = round(self._due_s / frame.time_base)
            self._due_s += self._even_s
        else:
            self._due_s = None
        if self._lasting:
            self._lasting.popleft()
        return frame

    def _latest(self) -> Fraction:
        """Return by how many fields a picture of the row that begins now is later than its even place, at most."""
        latest = fields = Fraction(0)
        for number, lasting in enumerate(self._lasting, start=1):
            fields += lasting
            latest = max(latest, fields - number * self._pulldown.lasting)
        return latest

    def _is_near(self, at_s: Fraction) -> bool:
        """Whether a picture's even place is its own: not before it, and at most two fields later."""
        assert self._due_s is not None
        late = (self._due_s - at_s) / self._pulldown.field_s
        return -FIELD_SLACK <= late <= 2 + FIELD_SLACK


def _luma(frame: VideoFrame) -> Lines:
    """Return some lines of both fields."""
    plane: Any = frame.planes[0]
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width : 2]
    return np.concatenate([lines[0::_LINE_STEP], lines[3::_LINE_STEP]])


class HeldPictures:
    """Repeats the last picture through gaps, a frame at a time; `held` counts the repeats."""

    def __init__(self, source_rate: Fraction) -> None:
        self._frame_s = 1 / source_rate
        self._last: VideoFrame | None = None
        self.held = 0

    def before(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Yield the repeats that come before the next picture, none when it follows the last one."""
        last, self._last = self._last, frame
        if last is None or last.pts is None or frame.pts is None or not frame.time_base:
            return
        step = self._frame_s / frame.time_base
        if not GAP_FRAMES * step < frame.pts - last.pts <= MOST_HELD_S / frame.time_base:
            return
        still: _Still | None = None
        number = 1
        while last.pts + number * step + step / 2 < frame.pts:
            still = still or _Still(last)
            yield still.at(last.pts + round(number * step), frame.time_base)
            self.held += 1
            number += 1


class _Still:
    """One picture, shown again and again: a copy of its samples, once, without what else went with it."""

    def __init__(self, frame: VideoFrame) -> None:
        self._copy = VideoFrame(frame.width, frame.height, frame.format.name)
        for own, plane in zip(self._copy.planes, frame.planes, strict=True):
            _copy_plane(plane, own)
        self._copy.colorspace, self._copy.color_range = frame.colorspace, frame.color_range
        self._graph = av.filter.Graph()
        self._graph.link_nodes(
            self._graph.add(
                "buffer",
                f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/90000"
                f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
            ),
            self._graph.add("buffersink"),
        ).configure()

    def at(self, pts: int, time_base: Fraction) -> VideoFrame:
        """Return another reference to the copy: the encoder may still hold the ones before."""
        self._graph.push(self._copy)
        shown = self._graph.pull()
        assert isinstance(shown, VideoFrame)
        shown.pts, shown.time_base = pts, time_base
        shown.pict_type = 0
        return shown


def _copy_plane(source: Any, target: Any) -> None:
    """Copy a plane into one whose lines may be padded to another length."""
    rows = np.frombuffer(source, np.uint8).reshape(-1, source.line_size)
    wide = np.zeros((target.height, target.line_size), np.uint8)
    columns = min(source.line_size, target.line_size)
    wide[:, :columns] = rows[: target.height, :columns]
    target.update(wide)
