"""Recordings whose pictures are known: made by FFmpeg's generators and filters, with the flags that a test asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import numpy as np
import numpy.typing as npt

from tests.closed_captions import captioned

Luma = npt.NDArray[Any]

RATE = Fraction(30_000, 1001)
#: Which of the fields of four go into two interlaced frames, by the field that is first.
_WOVEN = {
    "top": "not(mod(n\\,4))+eq(mod(n\\,4)\\,3)",
    "bottom": "eq(mod(n\\,4)\\,1)+eq(mod(n\\,4)\\,2)",
}


@dataclass(frozen=True, kw_only=True)
class Film:
    """
    Pictures to film: `rate` is of the frames that are sent. `fields` "top" or "bottom" sends each frame as two fields,
    of pictures at twice the rate; `filters` come before coding; `flag` is what the frames say ("prog", "tff", "bff").
    """

    size: tuple[int, int] = (320, 180)
    rate: Fraction = RATE
    frames: int = 30
    fields: str = ""
    filters: tuple[tuple[str, str], ...] = ()
    flag: str = ""
    codec: str = "mpeg2video"
    pix_fmt: str = "yuv420p"
    aspect: Fraction = Fraction(1)
    colours: tuple[int, int, int, int] = (2, 2, 2, 0)
    source: str = "testsrc2"
    captions: bool = False
    options: dict[str, str] = field(default_factory=dict)

    def pictures(self) -> Iterator[Any]:
        """Yield the frames as they are sent."""
        rate = self.rate * (2 if self.fields else 1)
        count = self.frames * (2 if self.fields else 1)
        chain: list[tuple[str, str]] = [
            (self.source, f"size={self.size[0]}x{self.size[1]}:rate={rate}"),
            ("trim", f"end_frame={count}"),
        ]
        if self.fields:
            first = self.fields
            chain += [("separatefields", ""), ("select", _WOVEN[first]), ("weave", f"first_field={first}")]
        chain += self.filters
        yield from filtered([*chain, ("setfield", self.said), ("format", self.pix_fmt)])

    @property
    def said(self) -> str:
        """What the frames are flagged as."""
        return self.flag or {"top": "tff", "bottom": "bff", "": "prog"}[self.fields]

    def write(self, path: Path) -> Path:
        """Write the recording; the name's ending chooses the container."""
        with av.open(str(path), "w") as container:
            interlaced = {"flags": "+ildct+ilme"} if self.said != "prog" else {}
            options = {"g": "12", **interlaced, **self.options}
            stream: Any = container.add_stream(self.codec, rate=self.rate, options=options)
            stream.width, stream.height, stream.pix_fmt = *self.size, self.pix_fmt
            context = stream.codec_context
            context.sample_aspect_ratio = self.aspect
            context.bit_rate = 4_000_000
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = self.colours
            for number, picture in enumerate(self.pictures()):
                picture.pts, picture.time_base, picture.pict_type = number, 1 / self.rate, 0
                self._mux(container, stream.encode(picture))
            self._mux(container, stream.encode(None))
        return path

    def _mux(self, container: Any, packets: list[Any]) -> None:
        for packet in packets:
            whole = packet
            if self.captions:
                whole = av.Packet(captioned(bytes(packet), round(packet.pts * packet.time_base * self.rate)))
                whole.pts, whole.dts, whole.time_base = packet.pts, packet.dts, packet.time_base
                whole.stream, whole.is_keyframe = packet.stream, packet.is_keyframe
            container.mux(whole)


def filtered(chain: list[tuple[str, str]]) -> Iterator[Any]:
    """Yield what comes out of a chain that begins with a generator."""
    graph = av.filter.Graph()
    graph.link_nodes(*(graph.add(name, arguments) for name, arguments in [*chain, ("buffersink", "")])).configure()
    while True:
        try:
            yield graph.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            return


def luma(frame: Any) -> Luma:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width].astype(np.int32)


def psnr_db(one: Luma, other: Luma) -> float:
    """Return the likeness of two pictures, 99 when they are equal."""
    error = float(((one - other) ** 2).mean())
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))
