"""Decoded frames → frames the encoder takes: deinterlaced, in its pixel format, all of one size."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av.error
import av.filter
from av.video.frame import VideoFrame

from encoderd.encode.plan import VideoPlan


class FilterChain:
    """
    The plan's filters; rebuilt at the frame where size or pixel format changes.

    `push` and `drain` yield VideoFrames of the planned size and pixel format, pts in their own time_base. A recording
    that changes its resolution goes on in one geometry: what differs from the plan is scaled to it.
    """

    def __init__(self, plan: VideoPlan) -> None:
        self._plan = plan
        self._graph: av.filter.Graph | None = None
        self._geometry: tuple[int, int, str] | None = None
        self.rebuilds = 0

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        geometry = (frame.width, frame.height, frame.format.name)
        if geometry != self._geometry:
            yield from self.drain()
            self._graph = self._build(frame, geometry)
            self.rebuilds += self._geometry is not None
            self._geometry = geometry
        assert self._graph is not None
        self._graph.push(frame)
        yield from self._pull()

    def drain(self) -> Iterator[VideoFrame]:
        """Yield what the filters still hold; the next push builds them anew."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            self._graph = None

    def _pull(self) -> Iterator[VideoFrame]:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, VideoFrame)
            frame.pict_type = 0  # the source's picture types are not the encoder's business
            yield frame

    def _build(self, frame: VideoFrame, geometry: tuple[int, int, str]) -> av.filter.Graph:
        width, height, pix_fmt = geometry
        plan = self._plan
        aspect = plan.sample_aspect_ratio or Fraction(1)
        time_base = frame.time_base or Fraction(1, 90_000)
        graph = av.filter.Graph()
        source = graph.add(
            "buffer",
            f"video_size={width}x{height}:pix_fmt={pix_fmt}:time_base={time_base.numerator}/{time_base.denominator}"
            f":pixel_aspect={aspect.numerator}/{aspect.denominator}"
            f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
        chain = [source, *(graph.add(name, arguments) for name, arguments in plan.filters[:-1])]
        if (width, height) != (plan.width, plan.height):
            if (width // 2 * 2, height // 2 * 2) == (plan.width, plan.height):
                chain.append(graph.add("crop", f"{plan.width}:{plan.height}:0:0"))
            else:
                chain.append(graph.add("scale", f"{plan.width}:{plan.height}:flags=bicubic"))
        name, arguments = plan.filters[-1]
        chain += [graph.add(name, arguments), graph.add("buffersink")]
        graph.link_nodes(*chain)
        graph.configure()
        return graph
