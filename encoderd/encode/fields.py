"""
Pictures that hold one field each, put together to frames.

HEVC has no other way of coding interlaced video, and FFmpeg's decoder gives each field as a picture of half the height,
at twice the rate. A player that shows them so lets them bob by half a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import av.error
import av.filter
from av.video.frame import VideoFrame

from encoderd.encode.deinterlacing import lies_above
from encoderd.encode.luma import luma_of

#: Pictures that must tell top and bottom by turns, all flagged interlaced, and how long each is shown at most.
LEAST_FIELDS, LONGEST_FIELD_S = 4, Fraction(1, 40)
#: Lines that a field of television has: half of 576 at most, or of 1080 or 1088.
FIELD_LINES = frozenset({*range(2, 289), *range(540, 545)})
#: Every so many columns are compared to find the top field; how much of what was found counts at the next frame.
_COLUMN_STEP, _MEMORY = 24, 0.9


def are_fields(top_first: Sequence[bool], interlaced: int, spacing_s: Fraction) -> bool:
    """Whether each picture is one field; `top_first` and `interlaced` are what decoded pictures in a row say."""
    by_turns = all(one is not other for one, other in pairwise(top_first))
    enough = interlaced == len(top_first) >= LEAST_FIELDS
    return enough and by_turns and 0 < spacing_s < LONGEST_FIELD_S


def may_be_fields(height: int, spacing_s: Fraction) -> bool:
    """Whether pictures of so many lines, that come so fast, may be fields that are not flagged so."""
    return height in FIELD_LINES and 0 < spacing_s < LONGEST_FIELD_S


class FieldOrder:
    """
    Tells the field order of a decoded frame, which PyAV does not: libavfilter does.

    Source: ffmpeg-filters, select: the constant interlace_type.
    """

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._form: tuple[int, int, str] | None = None

    def is_top_first(self, frame: VideoFrame) -> bool:
        """Whether the frame is flagged interlaced, top field first."""
        form = frame.width, frame.height, frame.format.name
        if self._graph is None or self._form != form:
            source = f"video_size={form[0]}x{form[1]}:pix_fmt={form[2]}:time_base=1/90000"
            select = "select", "eq(interlace_type\\,TOPFIRST)"
            self._form, self._graph = form, _graph(("buffer", source), select, ("buffersink", ""))
        self._graph.push(frame)
        try:
            self._graph.pull()
        except av.error.BlockingIOError:
            return False
        return True


class Weaver:
    """
    Makes a frame of each two fields, at the time of the first; a field that has lost its other one is left out.

    The field that comes first, a key frame's, is the first of each frame. Pictures of another size pass as they are.
    `unflagged` fields have turns by their times, `field_s` apart, and are top or bottom by what the pictures show.
    `lost` counts fields that are left out.
    """

    def __init__(self, first: VideoFrame, *, unflagged: bool = False, field_s: Fraction = Fraction(0)) -> None:
        self._size = first.width, first.height
        self._order = FieldOrder()
        self._unflagged, self._field_s = unflagged, field_s
        self._top_first = unflagged or self._order.is_top_first(first)
        self._above = 0.0  # of the first fields, as `lies_above` has it
        self._graphs: dict[bool, av.filter.Graph] = {}
        self._held: VideoFrame | None = None
        self._last: tuple[Fraction, bool] | None = None  # when a field is shown, and whether it is the first of a frame
        self.lost = 0

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Take the next picture; yield a frame with every second one."""
        if (frame.width, frame.height) != self._size:
            yield frame
            return
        if self._is_first(frame):
            self.lost += self._held is not None
            self._held = frame
            return
        first, self._held = self._held, None
        if first is None or not _is_next(first, frame):
            self.lost += 1 + (first is not None)
            return
        pts, time_base = first.pts, first.time_base or frame.time_base or Fraction(1, 90_000)
        graph = self._weaving(first, frame)
        for field in (first, frame):
            field.colorspace, field.color_range = frame.colorspace, frame.color_range
            graph.push(field)
        woven = graph.pull()
        assert isinstance(woven, VideoFrame)
        woven.pts, woven.time_base = pts, time_base
        yield woven

    def _is_first(self, frame: VideoFrame) -> bool:
        if not self._unflagged:
            return self._order.is_top_first(frame) is self._top_first
        at_s = Fraction(frame.pts or 0) * (frame.time_base or 0)
        first = True
        if self._last is not None:
            steps = max(1, round((at_s - self._last[0]) / self._field_s)) if self._field_s else 1
            first = self._last[1] is (steps % 2 == 0)
        self._last = at_s, first
        return first

    def _weaving(self, first: VideoFrame, second: VideoFrame) -> av.filter.Graph:
        """Return what weaves two fields, of which the one or the other is the top one."""
        if self._unflagged:
            seen = lies_above(luma_of(first, _COLUMN_STEP), luma_of(second, _COLUMN_STEP))
            self._above = _MEMORY * self._above + seen
            self._top_first = self._above >= 0
        if self._top_first not in self._graphs:
            source = (
                f"video_size={first.width}x{first.height}:pix_fmt={first.format.name}:time_base=1/90000"
                f":colorspace={int(second.colorspace)}:range={int(second.color_range)}"
            )
            order = f"first_field={'top' if self._top_first else 'bottom'}"
            self._graphs[self._top_first] = _graph(("buffer", source), ("weave", order), ("buffersink", ""))
        return self._graphs[self._top_first]


def _is_next(first: VideoFrame, second: VideoFrame) -> bool:
    if first.pts is None or second.pts is None or not first.time_base:
        return True
    return 0 < (second.pts - first.pts) * first.time_base < 2 * LONGEST_FIELD_S


def _graph(*chain: tuple[str, str]) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.link_nodes(*(graph.add(name, arguments) for name, arguments in chain)).configure()
    return graph
