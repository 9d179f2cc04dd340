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

#: Pictures that must tell top and bottom by turns, all flagged interlaced, and how long each is shown at most.
LEAST_FIELDS, LONGEST_FIELD_S = 4, Fraction(1, 40)


def are_fields(top_first: Sequence[bool], interlaced: int, spacing_s: Fraction) -> bool:
    """Whether each picture is one field; `top_first` and `interlaced` are what decoded pictures in a row say."""
    by_turns = all(one is not other for one, other in pairwise(top_first))
    enough = interlaced == len(top_first) >= LEAST_FIELDS
    return enough and by_turns and 0 < spacing_s < LONGEST_FIELD_S


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
    `lost` counts fields that are left out.
    """

    def __init__(self, first: VideoFrame) -> None:
        self._size = first.width, first.height
        self._order = FieldOrder()
        self._top_first = self._order.is_top_first(first)
        source = (
            f"video_size={first.width}x{first.height}:pix_fmt={first.format.name}:time_base=1/90000"
            f":colorspace={int(first.colorspace)}:range={int(first.color_range)}"
        )
        order = f"first_field={'top' if self._top_first else 'bottom'}"
        self._graph = _graph(("buffer", source), ("weave", order), ("buffersink", ""))
        self._held: VideoFrame | None = None
        self.lost = 0

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Take the next picture; yield a frame with every second one."""
        if (frame.width, frame.height) != self._size:
            yield frame
            return
        if self._order.is_top_first(frame) is self._top_first:
            self.lost += self._held is not None
            self._held = frame
            return
        first, self._held = self._held, None
        if first is None or not _is_next(first, frame):
            self.lost += 1 + (first is not None)
            return
        pts, time_base = first.pts, first.time_base or frame.time_base or Fraction(1, 90_000)
        for field in (first, frame):
            field.colorspace, field.color_range = frame.colorspace, frame.color_range
            self._graph.push(field)
        woven = self._graph.pull()
        assert isinstance(woven, VideoFrame)
        woven.pts, woven.time_base = pts, time_base
        yield woven


def _is_next(first: VideoFrame, second: VideoFrame) -> bool:
    if first.pts is None or second.pts is None or not first.time_base:
        return True
    return 0 < (second.pts - first.pts) * first.time_base < 2 * LONGEST_FIELD_S


def _graph(*chain: tuple[str, str]) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.link_nodes(*(graph.add(name, arguments) for name, arguments in chain)).configure()
    return graph
