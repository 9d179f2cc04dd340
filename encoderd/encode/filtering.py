"""Decoded frames → frames the encoders take: pictures deinterlaced and of one size, audio of one form."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av.error
import av.filter
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame

from encoderd.encode.plan import AudioPlan
from encoderd.encode.pyav import shown_at
from encoderd.encode.video_plan import VideoPlan

#: Matrix coefficients that can be converted into each other → libavutil's names. Source: ITU-T H.273, table 4.
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc"}
_FULL = 2  # color_range
_SAME = {6: 5}  # two names of BT.601's matrix

Form = tuple[int, int, str, int, int]  # width, height, pixel format, matrix, range


class FilterChain:
    """
    The plan's filters; rebuilt at the frame where size, pixel format or colours change.

    `push` and `drain` yield VideoFrames of the planned size and pixel format, pts in their own time_base. A recording
    that changes its resolution goes on in one geometry: what differs from the plan is scaled to it, and colours are
    converted to the ones the output is tagged with. Frames that no filter takes (a damaged header may claim any size)
    are left out; `refused` counts them.
    """

    def __init__(self, plan: VideoPlan) -> None:
        self._plan = plan
        self._graph: av.filter.Graph | None = None
        self._form: Form | None = None
        self.rebuilds = 0
        self.refused = 0

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Give a decoded frame in, yield those that come out; one of a form that no graph takes counts as refused."""
        self._label(frame)
        form = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if form != self._form:
            yield from self.drain()
            self.rebuilds += self._form is not None
            self._form = form
            try:
                self._graph = self._build(frame, form)
            except MemoryError:
                raise
            except av.error.FFmpegError:
                self._graph = None
        if self._graph is None:
            self.refused += 1
            return
        self._graph.push(frame)
        yield from self._pull()

    def _label(self, frame: VideoFrame) -> None:
        """
        Take colours that are not told, or cannot be converted, for the planned ones.

        Otherwise a picture without tags would be converted from a default that nobody meant.
        """
        planned, found = self._plan.colorspace, int(frame.colorspace)
        convertible = planned in _MATRICES and found in _MATRICES
        if not convertible or _SAME.get(planned, planned) == _SAME.get(found, found):
            frame.colorspace = planned
        if (int(frame.color_range) == _FULL) == (self._plan.color_range == _FULL) or not int(frame.color_range):
            frame.color_range = self._plan.color_range

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
            frame.pts = shown_at(frame.pts)
            frame.pict_type = 0  # the source's picture types are not the encoder's business
            yield frame

    def _build(self, frame: VideoFrame, form: Form) -> av.filter.Graph:
        width, height, pix_fmt, colorspace, color_range = form
        plan = self._plan
        aspect = plan.sample_aspect_ratio or Fraction(1)
        time_base = frame.time_base or Fraction(1, 90_000)
        graph = av.filter.Graph()
        source = graph.add(
            "buffer",
            f"video_size={width}x{height}:pix_fmt={pix_fmt}:time_base={time_base.numerator}/{time_base.denominator}"
            f":pixel_aspect={aspect.numerator}/{aspect.denominator}"
            f":colorspace={colorspace}:range={color_range}",
        )
        chain = [source, *(graph.add(name, arguments) for name, arguments in plan.filters[:-1])]
        if (width, height) != (plan.width, plan.height):
            if (width // 2 * 2, height // 2 * 2) == (plan.width, plan.height):
                chain.append(graph.add("crop", f"{plan.width}:{plan.height}:0:0"))
            else:
                chain.append(graph.add("scale", f"{plan.width}:{plan.height}:flags=bicubic"))
        name, arguments = plan.filters[-1]
        if colorspace != plan.colorspace:
            arguments += f":color_spaces={_MATRICES[plan.colorspace]}"
        if color_range != plan.color_range:
            arguments += f":color_ranges={'pc' if plan.color_range == _FULL else 'tv'}"
        chain += [graph.add(name, arguments), graph.add("buffersink")]
        graph.link_nodes(*chain)
        graph.configure()
        return graph


class AudioChain:
    """
    The resampler of one audio stream; rebuilt where the source changes its rate, channels or sample format.

    A broadcast goes from stereo to 5.1 and back with each programme; the output's AAC has one form.
    """

    def __init__(self, plan: AudioPlan) -> None:
        self._plan = plan
        self._resampler: AudioResampler | None = None
        self._form: tuple[str, str, int] | None = None

    def push(self, frame: AudioFrame) -> list[AudioFrame]:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        held: list[AudioFrame] = []
        if form != self._form or self._resampler is None:
            held = self.drain()
            self._resampler = AudioResampler(format="fltp", layout=self._plan.layout, rate=self._plan.sample_rate_hz)
            self._form = form
        return held + self._resampler.resample(frame)

    def drain(self) -> list[AudioFrame]:
        """Return what the resampler still holds; the next push builds it anew."""
        held: list[AudioFrame] = [] if self._resampler is None else self._resampler.resample(None)
        self._resampler = None
        return [frame for frame in held if frame is not None]
