"""
Makes small recordings as broadcasters send them: interlaced MPEG-2 and audio in a transport stream, every picture
different. For the trial encode, the demo and the tests; made by FFmpeg's own generators and encoders, through PyAV.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
from av.video.frame import VideoFrame

#: Frames per second of NTSC countries' television.
RATE = Fraction(30000, 1001)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSpec:
    """
    A recording to make. `duration_s` in seconds, sizes in pixels, `audio` one codec name per track
    ("aac", "mp2", "ac3"). `video` is "mpeg2video", "" for none. `telecined` is film of 4 pictures to 5 frames.
    """

    duration_s: float = 2.0
    width: int = 1440
    height: int = 1080
    rate: Fraction = RATE
    interlaced: bool = True
    telecined: bool = False
    video: str = "mpeg2video"
    audio: tuple[str, ...] = ("aac",)
    sample_aspect_ratio: Fraction = Fraction(4, 3)
    bit_rate_bps: int = 15_000_000
    muxer: str = "mpegts"


def make_recording(path: Path, spec: SampleSpec) -> Path:
    """Write the recording that `spec` describes to `path` and return it."""
    with av.open(str(path), "w", format=spec.muxer) as container:
        feeds: list[tuple[Any, Iterator[Any]]] = []
        if spec.video:
            stream = add_interlaced_video(container, spec)
            feeds.append((stream, moving_pictures(spec)))
        for number, codec in enumerate(spec.audio):
            audio: Any = container.add_stream(codec, rate=48_000)
            audio.codec_context.layout = "stereo"
            audio.codec_context.bit_rate = 192_000
            audio.metadata["language"] = ("jpn", "eng")[number % 2]
            feeds.append((audio, tones(spec.duration_s, 440 * (number + 1))))
        _interleave(container, feeds)
    return path


def add_interlaced_video(container: Any, spec: SampleSpec) -> Any:
    """Add the video stream with its encoder as broadcasters set it: short GOPs, two B-frames, field coding."""
    options = {"g": "15", "bf": "2"}
    if spec.interlaced:
        options["flags"] = "+ildct+ilme"
    if spec.video == "libx264":
        options["preset"] = "ultrafast"
    stream = container.add_stream(spec.video, rate=spec.rate, options=options)
    stream.codec_context.width, stream.codec_context.height = spec.width, spec.height
    stream.codec_context.pix_fmt = "yuv420p"
    stream.codec_context.sample_aspect_ratio = spec.sample_aspect_ratio
    stream.codec_context.bit_rate = spec.bit_rate_bps
    stream.codec_context.time_base = 1 / spec.rate
    return stream


def moving_pictures(spec: SampleSpec) -> Iterator[VideoFrame]:
    """Yield test pictures at `spec.rate`; interlaced ones are woven from pictures at twice the rate."""
    graph = av.filter.Graph()
    rate = spec.rate * (Fraction(4, 5) if spec.telecined else 2 if spec.interlaced else 1)
    nodes = [graph.add("testsrc2", f"size={spec.width}x{spec.height}:rate={rate}:duration={spec.duration_s}")]
    if spec.telecined:
        nodes += [graph.add("telecine", "first_field=top:pattern=23"), graph.add("setfield", "tff")]
    elif spec.interlaced:
        # Top field of one picture, bottom field of the next: what a camera sends.
        nodes += [
            graph.add("separatefields"),
            graph.add("select", "not(mod(n\\,4))+eq(mod(n\\,4)\\,3)"),
            graph.add("weave", "first_field=top"),
            graph.add("setfield", "tff"),
        ]
    nodes += [graph.add("format", "yuv420p"), graph.add("buffersink")]
    graph.link_nodes(*nodes)
    graph.configure()
    yield from _drained(graph)


def tones(duration_s: float, frequency_hz: int) -> Iterator[Any]:
    """Yield stereo audio at 48 kHz: a tone with a beep each second."""
    graph = av.filter.Graph()
    nodes = [
        graph.add("sine", f"frequency={frequency_hz}:beep_factor=4:sample_rate=48000:duration={duration_s}"),
        graph.add("aformat", "channel_layouts=stereo:sample_fmts=fltp"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*nodes)
    graph.configure()
    yield from _drained(graph)


def _time(frame: Any) -> float:
    return float(frame.time)


def _drained(graph: Any) -> Iterator[Any]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            return
        if isinstance(frame, VideoFrame):
            frame.pict_type = 0
        yield frame


def _interleave(container: Any, feeds: list[tuple[Any, Iterator[Any]]]) -> None:
    """Encode all streams side by side in time, as a broadcast has them."""
    waiting = [(stream, feed, next(feed, None)) for stream, feed in feeds]
    while any(frame is not None for _, _, frame in waiting):
        position = min(
            (index for index, entry in enumerate(waiting) if entry[2] is not None),
            key=lambda index: _time(waiting[index][2]),
        )
        stream, feed, frame = waiting[position]
        container.mux(stream.encode(frame))
        waiting[position] = (stream, feed, next(feed, None))
    for stream, _, _ in waiting:
        container.mux(stream.encode(None))
