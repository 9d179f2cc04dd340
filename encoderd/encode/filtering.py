"""Decoded frames → frames the encoders take: pictures deinterlaced and of one size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from tempfile import NamedTemporaryFile

import av.error
import av.filter
from av.video.frame import VideoFrame

from encoderd.encode.cadence import GAP_FRAMES, Showing
from encoderd.encode.deinterlacing import Method
from encoderd.encode.fields import Weaver
from encoderd.encode.pictures import UNSPECIFIED, WIDEST_SAMPLE, PictureForm, woven_aspect
from encoderd.encode.pyav import orientation, shown_at
from encoderd.encode.tonemapping import cube
from encoderd.encode.video_plan import (
    VIDEO_TIME_BASE,
    VideoPlan,
    aspect_of,
    filters_for,
    is_tone_mapped,
    labelled,
)

#: Progressive pictures in a row after which a film's weaving is left until the next interlaced one. Telecined film may
#: be flagged progressive where a picture is whole, but never for a second.
PROGRESSIVE_RUN = 30
#: The lens makes pictures so many samples wide, times the aspect; ratios of numbers up to 64 are told apart by it.
_LENS_WIDTH, _LENS_DENOMINATOR = 4096, 64
#: What a lens shows that cannot see: no picture has this aspect.
_BLIND = Fraction(7, 5)


class FilterChain:
    """
    Decoded frames in, frames for the encoder out: the plan's filters, and when each picture is shown.

    `push` and `drain` yield VideoFrames of the planned size and pixel format, pts in VIDEO_TIME_BASE. With `video_gaps`
    "hold" the last picture is repeated through gaps. The two halves may run in threads of their own.
    """

    def __init__(self, plan: VideoPlan, video_gaps: str = "keep") -> None:
        self.filters = Filters(plan)
        rate = plan.source_rate or plan.frame_rate
        how = plan.deinterlacing
        self.showing = Showing(rate, decimated=how.decimated, pulldown=how.pulldown, hold=video_gaps == "hold")

    @property
    def due(self) -> int:
        """Return how many frames must have come out, once drained; fewer were lost in the filters."""
        return self.filters.taken + self.showing.held - self.showing.left_out

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Give a decoded frame in, yield those that come out; one of a form that no graph takes counts as refused."""
        for filtered, film in self.filters.push(frame):
            yield from self.showing.push(filtered, film=film)

    def drain(self) -> Iterator[VideoFrame]:
        """Yield what is still held."""
        for filtered, film in self.filters.drain():
            yield from self.showing.push(filtered, film=film)


#: A filtered frame and whether it is woven film; None: what the frames before it began is to be ended.
Filtered = tuple[VideoFrame | None, bool]


class Filters:
    """
    The plan's filters; rebuilt at the frame where size, shape, pixel format, colours or rotation change.

    A recording that changes its resolution goes on in one geometry: what differs from the plan is deinterlaced, then
    scaled with its aspect kept, and colours are converted to the ones the output is tagged with.

    `rebuilds` counts changes of form. Frames that no filter takes (a damaged header may claim any size) are left out:
    `refused` counts them. `taken` counts the frames that must come out.
    """

    def __init__(self, plan: VideoPlan) -> None:
        self._plan = plan
        self._rate = plan.source_rate or plan.frame_rate
        self._graph: av.filter.Graph | None = None
        self._form: PictureForm | None = None
        self._lens = Lens()
        self._seen: tuple[tuple[int, int], Fraction | None] = ((0, 0), None)  # size, and the aspect told with it
        self._orientation = (0, False)  # rotation, mirrored
        self._weaver: Weaver | None = None
        self._film = False
        self._progressive_run = 0
        self._last: tuple[int | None, bool] = (None, False)  # pts, interlaced
        self._last_field: int | None = None  # pts, of what came out
        self.rebuilds = 0
        self.refused = 0
        self.taken = 0

    def push(self, frame: VideoFrame) -> Iterator[Filtered]:
        """Give a decoded frame in, yield what comes out."""
        if not self._plan.fields:
            yield from self._push(frame)
            return
        if self._weaver is None:
            self._weaver = Weaver(frame, unflagged=self._plan.unflagged, field_s=1 / (2 * self._rate))
        lost = self._weaver.lost
        for woven in self._weaver.push(frame):
            yield from self._push(woven)
        self.refused += self._weaver.lost - lost

    def _push(self, frame: VideoFrame) -> Iterator[Filtered]:
        form = self._form_of(frame)
        film = self._is_film(frame)
        if form != self._form or film is not self._film or self._is_gap(frame):
            yield from self.drain()
            self.rebuilds += self._form is not None and form != self._form
            self._form, self._film = form, film
            try:
                self._graph = self._build(form, frame.time_base or VIDEO_TIME_BASE)
            except MemoryError:
                raise
            except av.error.FFmpegError:
                self._graph = None
        if self._graph is None:
            self.refused += 1
            return
        interlaced = self._plan.deinterlacing.every or bool(frame.interlaced_frame)
        self._last = (frame.pts, interlaced)
        self.taken += 2 if interlaced and self._plan.deinterlacing.method is Method.FIELD else 1
        try:
            self._graph.push(frame)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            self._refuse()
            return
        for filtered in self._pull():
            yield filtered, self._film

    def drain(self) -> Iterator[Filtered]:
        """Yield what the filters still hold; the next push builds them anew."""
        if self._graph is not None:
            self._graph.push(None)
            for filtered in self._pull():
                yield filtered, self._film
            self._graph = None
        yield None, self._film

    def _form_of(self, frame: VideoFrame) -> PictureForm:
        """Return the frame's form; its colours are changed to those that it is converted from."""
        transfer = int(getattr(frame, "color_trc", UNSPECIFIED))  # PyAV 14.2 tells none
        transfer = self._plan.tone_mapped if transfer in {0, UNSPECIFIED} else transfer
        size = (frame.width, frame.height)
        colours = labelled(self._plan, size, int(frame.colorspace), int(frame.color_range), transfer)
        frame.colorspace, frame.color_range = colours.matrix, colours.range
        if hasattr(frame, "color_primaries"):  # PyAV 14.2 has none, and FFmpeg 7.1 does not ask for them
            # Nothing here converts these two, and libswscale refuses numbers that a damaged header made up.
            frame.color_primaries, frame.color_trc = self._plan.color_primaries, self._plan.color_trc
        if frame.key_frame or size != self._seen[0]:  # headers stand before key frames
            told = self._lens.aspect(frame)
            if told and self._weaver is not None:
                told = woven_aspect(told, size[0], size[1] // 2)
            self._seen, self._orientation = (size, told), orientation(frame)
        aspect = aspect_of(self._plan, size, self._seen[1])
        return PictureForm(
            width=frame.width,
            height=frame.height,
            sample_aspect_ratio=aspect,
            pix_fmt=frame.format.name,
            colours=colours,
            rotation=self._orientation[0],
            mirrored=self._orientation[1],
        )

    def _refuse(self) -> None:
        """Count a frame that a filter refuses when it sees it; the next one gets new filters."""
        self._graph, self._form = None, None
        self.taken -= 1
        self.refused += 1

    def _is_film(self, frame: VideoFrame) -> bool:
        """Whether a film's fields are to be woven here; of other recordings never."""
        if self._plan.deinterlacing.method is not Method.IVTC:
            return False
        if frame.interlaced_frame or self._plan.deinterlacing.every:
            self._progressive_run = 0
            return True
        self._progressive_run += 1
        return self._film and self._progressive_run < PROGRESSIVE_RUN

    def _is_gap(self, frame: VideoFrame) -> bool:
        """Whether the last frame's second field would be shown in the middle of a gap: its time is halfway."""
        pts, interlaced = self._last
        if self._plan.deinterlacing.method is not Method.FIELD or not interlaced or pts is None or frame.pts is None:
            return False
        return (frame.pts - pts) * (frame.time_base or VIDEO_TIME_BASE) > GAP_FRAMES / self._rate

    def _pull(self) -> Iterator[VideoFrame]:
        while self._graph is not None:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            except MemoryError:
                raise
            except av.error.FFmpegError:
                self._refuse()
                return
            assert isinstance(frame, VideoFrame)
            pts = shown_at(frame.pts)
            # Deinterlacers halve the time base, other filters do not; what follows compares times across rebuilds.
            at = None if pts is None else round(pts * Fraction(frame.time_base or VIDEO_TIME_BASE) / VIDEO_TIME_BASE)
            frame.pts, frame.time_base = self._time_of(at), VIDEO_TIME_BASE
            frame.pict_type = 0  # the source's picture types are not the encoder's business
            yield frame

    def _time_of(self, pts: int | None) -> int | None:
        """Of a frame that stands alone, bwdif gives both fields the same time: the second is half a frame later."""
        if self._plan.deinterlacing.method is Method.FIELD and pts is not None and pts == self._last_field:
            pts += round(1 / (2 * self._rate * VIDEO_TIME_BASE))
        self._last_field = pts
        return pts

    def _build(self, form: PictureForm, time_base: Fraction) -> av.filter.Graph:
        aspect = form.sample_aspect_ratio or Fraction(1)
        arguments = (
            f"video_size={form.width}x{form.height}:pix_fmt={form.pix_fmt}"
            f":time_base={time_base.numerator}/{time_base.denominator}"
            f":pixel_aspect={aspect.numerator}/{aspect.denominator}"
            f":colorspace={form.colours.matrix}:range={form.colours.range}"
        )
        if self._plan.deinterlacing.method is Method.FIELD:
            # By the rate bwdif knows how many captions go with each field; without, both fields get those of the frame.
            arguments += f":frame_rate={self._rate.numerator}/{self._rate.denominator}"
        with _cube_file(self._plan, form) as name:
            chain = filters_for(self._plan, form, film=self._film, cube=name)
            return _graph(("buffer", arguments), *chain, ("buffersink", ""))


@contextmanager
def _cube_file(plan: VideoPlan, form: PictureForm) -> Iterator[str]:
    """Yield the name of the file that lut3d reads while a graph is built, "" where no colours are mapped."""
    if not is_tone_mapped(plan, form):
        yield ""
        return
    with NamedTemporaryFile("w", encoding="ascii", suffix=".cube") as file:
        file.write(cube(form.colours.transfer, plan.peak_nits))
        file.flush()
        yield file.name


class Lens:
    """
    Tells the sample aspect ratio of a decoded frame, which PyAV does not.

    The scaler evaluates its expressions with each frame's own ratio: a corner of the picture is made so wide that the
    width tells it. Source: ffmpeg-filters, scale: eval=frame, sar.
    """

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._form: tuple[int, int, str, int, int] | None = None

    def aspect(self, frame: VideoFrame) -> Fraction | None:
        """Return the ratio, 1 when none is told; None where libavfilter (7.1) cannot see it or it is no picture's."""
        form = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if form != self._form:
            self._form, self._graph = form, None
            try:
                self._graph = self._build(*form)
            except MemoryError:
                raise
            except av.error.FFmpegError:
                return None
        if self._graph is None:
            return None
        try:
            self._graph.push(frame)
            seen = self._graph.pull()
        except MemoryError:
            raise
        except av.error.FFmpegError:
            return None
        assert isinstance(seen, VideoFrame)
        found = Fraction(seen.width, _LENS_WIDTH)
        if abs(found - _BLIND) < Fraction(1, 1000) or not 1 / WIDEST_SAMPLE <= found <= WIDEST_SAMPLE:
            return None
        return found.limit_denominator(_LENS_DENOMINATOR)

    def _build(self, width: int, height: int, pix_fmt: str, matrix: int, value_range: int) -> av.filter.Graph:
        return _graph(
            (
                "buffer",
                f"video_size={width}x{height}:pix_fmt={pix_fmt}:time_base=1/90000:colorspace={matrix}"
                f":range={value_range}:pixel_aspect={_BLIND.numerator}/{_BLIND.denominator}",
            ),
            ("crop", f"{min(width, 16)}:{min(height, 16)}:0:0"),
            ("scale", f"w=clip(round({_LENS_WIDTH}*sar)\\,1\\,32768):h=2:eval=frame:flags=neighbor"),
            ("buffersink", ""),
        )


def _graph(*chain: tuple[str, str]) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.link_nodes(*(graph.add(name, arguments) for name, arguments in chain)).configure()
    return graph
