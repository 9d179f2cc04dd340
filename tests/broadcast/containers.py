"""Recordings in MP4, MOV and Matroska: a transport stream's packets in another container, with all that it can say."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.container import OutputContainer

#: AV_DISPOSITION's bits that recordings use here. Source: libavformat/avformat.h.
DISPOSITIONS = {
    "default": 0x1, "dub": 0x2, "original": 0x4, "comment": 0x8, "forced": 0x40, "hearing_impaired": 0x80,
    "visual_impaired": 0x100, "descriptions": 0x20000,
}  # fmt: skip
CAN_CHAPTERS = hasattr(OutputContainer, "set_chapters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the container says of one stream."""

    language: str = ""
    title: str = ""
    dispositions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the container says of the whole; chapters are (begin, end, title), in seconds of its own clock."""

    words: Mapping[str, str] = field(default_factory=dict)
    chapters: Sequence[tuple[Fraction, Fraction, str]] = ()
    attachments: Sequence[tuple[str, str, bytes]] = ()  # name, type, content


def remuxed(
    transport: bytes, muxer: str, streams: Sequence[Said], head: Head, start_s: Fraction = Fraction(0)
) -> bytes:
    """
    Return the streams of a transport stream in `muxer`'s container, in its order, the earliest packet at `start_s`.

    A negative start makes what is shown before 0 a part that is not played: MP4 says so in an edit list.
    """
    out = io.BytesIO()
    with (
        av.open(io.BytesIO(transport), "r", format="mpegts") as source,
        av.open(out, "w", format=muxer) as target,
    ):
        target.metadata.update(dict(head.words))
        if CAN_CHAPTERS and head.chapters:
            setter: Any = target.set_chapters
            setter([_chapter(number, *one) for number, one in enumerate(head.chapters, start=1)])
        added = {}
        for stream, said in zip(source.streams, streams, strict=True):
            new: Any = target.add_stream_from_template(stream)
            new.metadata.update(
                {key: value for key, value in (("language", said.language), ("title", said.title)) if value}
            )
            new.disposition = sum(DISPOSITIONS[name] for name in said.dispositions)
            added[stream.index] = new
        for name, kind, content in head.attachments:
            adder: Any = target.add_attachment
            adder(name, kind, content)
        packets = [packet for packet in source.demux() if packet.size and packet.dts is not None]
        first_s = min((packet.pts or 0) * Fraction(packet.time_base or 1) for packet in packets)
        for packet in packets:
            ticks = round((first_s - start_s) / Fraction(packet.time_base or 1))
            packet.pts, packet.dts = (packet.pts or 0) - ticks, (packet.dts or 0) - ticks
            packet.stream = added[packet.stream_index]
            target.mux(packet)
    return out.getvalue()


def _chapter(number: int, begin_s: Fraction, end_s: Fraction, title: str) -> dict[str, Any]:
    return {
        "id": number,
        "start": round(begin_s * 1000),
        "end": round(end_s * 1000),
        "time_base": Fraction(1, 1000),
        "metadata": {"title": title},
    }
