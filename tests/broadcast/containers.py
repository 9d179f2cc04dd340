"""Recordings in MP4, MOV and Matroska: a transport stream's packets in another container, with all that it can say."""

from __future__ import annotations

import base64
import io
import struct
import zlib
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
ATTACHED_PICTURE = 0x400
#: PyAV opens no encoder for text, so a stream of it is made like one that is there: a movie of timed text alone, as
#: FFmpeg 5.1 writes it, and a file of one caption.
_TIMED_TEXT = zlib.decompress(
    base64.b85decode(
        b"c-oy(u};G<5Iwi5%1{Xe9Rn&-*`R6*2(cBW4s5`JSe)9SQSBzOuN5#c@H6}e6B8f62k-&x<(#I}4H5&VIQQ(_z4N^b00a>}q_Isj"
        b"Kna|u)z#@y2LRS0BPIDQEjW^|^rcb>0VuucB$*OWdO8%aV&zYO>N_xS&(hdxRB_*fKdnRwUugJ<@GXwAn&sbYRM)%6Kk7E6KubQ5"
        b"%HlF3=go4N(jw*r8d?;3UqA1`&hyjtYqo0-g))mzHbmuzUQR-cQOQ0Z3ng6`tLu0i5vYyz4{uY<&jMj&<aJP+7}dz}hsDrw3yW5G"
        b"F;{qhc;|P`X7rjB)YzDj5!#H9hqPyvGZS;iR}axFG}zBq!(ygSJ`-B5=cTFv-C^L>WceJ}Jl8%J=Hoc3xvyIsBwnto7fu8^t#7o<"
        b"yt7?jSDJ<4X}Y5AK|CMc-U}v<aGQQ#zPRKCpGL>0t?o&y({6tQVUuJJ"
    )
)
_PLAIN_TEXT = b"1\n00:00:00,000 --> 00:00:01,000\n.\n\n"
CAN_CHAPTERS, CAN_ATTACH = (hasattr(OutputContainer, name) for name in ("set_chapters", "add_attachment"))


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
    texts: Sequence[tuple[Fraction, Fraction, str]] = ()  # captions in a stream of their own: begin, end
    cover: str = ""  # a picture in a stream of its own, before all others: "marked" as such, or "plain"


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
        cover = _cover_stream(target, head.cover) if head.cover else None
        added = {}
        for stream, said in zip(source.streams, streams, strict=True):
            new: Any = target.add_stream_from_template(stream)
            new.metadata.update(
                {key: value for key, value in (("language", said.language), ("title", said.title)) if value}
            )
            if muxer == "mp4" and said.title:  # the one form that every FFmpeg reads
                new.metadata["handler_name"] = said.title
            new.disposition = sum(DISPOSITIONS[name] for name in said.dispositions)
            added[stream.index] = new
        for name, kind, content in head.attachments if CAN_ATTACH else ():
            adder: Any = target.add_attachment
            adder(name, kind, content)
        texts = _text_stream(target) if head.texts else None
        packets = [packet for packet in source.demux() if packet.size and packet.dts is not None]
        if cover is not None:
            target.mux(_cover_packet(cover))
        first_s = min((packet.pts or 0) * Fraction(packet.time_base or 1) for packet in packets)
        for packet in packets:
            ticks = round((first_s - start_s) / Fraction(packet.time_base or 1))
            packet.pts, packet.dts = (packet.pts or 0) - ticks, (packet.dts or 0) - ticks
            packet.stream = added[packet.stream_index]
            target.mux(packet)
        for begin_s, end_s, text in head.texts:
            target.mux(_text_packet(texts, begin_s, end_s, text.encode(), timed=muxer in {"mp4", "mov"}))
    return out.getvalue()


def with_matrix(data: bytes, matrix: Sequence[float]) -> bytes:
    """
    Return an MP4 whose first track has this matrix: (x, y) → (a x + c y, b x + d y).

    Source: ISO/IEC 14496-12, 6.2.2.
    """
    a, b, c, d = (round(number * 65_536) for number in matrix)
    upright, turned = (struct.pack(">9i", *rows) for rows in ((1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30),
                                                               (a, b, 0, c, d, 0, 0, 0, 1 << 30)))  # fmt: skip
    at = data.index(upright, data.index(b"tkhd"))
    return data[:at] + turned + data[at + len(turned) :]


#: A chapter of Matroska: begin and end in seconds, title, and the chapters in it.
Atom = tuple[int, int, str, Sequence["Atom"]]


def with_atoms(data: bytes, atoms: Sequence[Atom]) -> bytes:
    """Return a Matroska file with other chapters in the place of its own, which must take up more room."""
    at = data.rindex(_CHAPTERS)
    length = 9 - data[at + 4].bit_length()
    size = int.from_bytes(data[at + 4 : at + 4 + length], "big") & ((1 << 7 * length) - 1)
    new = element(_CHAPTERS, element(b"\x45\xb9", b"".join(map(_atom, atoms))))
    end = at + 4 + length + size
    filling = b"\xec" + (1 << 56 | (end - at - len(new) - 9)).to_bytes(8, "big")
    return data[:at] + new + filling.ljust(end - at - len(new), b"\0") + data[end:]


_CHAPTERS = b"\x10\x43\xa7\x70"


def element(name: bytes, content: bytes) -> bytes:
    """An element of EBML, its size in eight bytes (RFC 8794)."""
    return name + (1 << 56 | len(content)).to_bytes(8, "big") + content


def _atom(atom: Atom) -> bytes:
    begin_s, end_s, title, inner = atom
    times = element(b"\x91", (begin_s * 10**9).to_bytes(8, "big")) + element(
        b"\x92", (end_s * 10**9).to_bytes(8, "big")
    )
    words = element(b"\x80", element(b"\x85", title.encode()) + element(b"\x43\x7c", b"eng"))
    return element(b"\xb6", element(b"\x73\xc4", bytes([begin_s + 1])) + times + words + b"".join(map(_atom, inner)))


def _jpeg() -> bytes:
    context: Any = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 640, 480, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame(640, 480, "yuvj420p")
    for plane in frame.planes:
        plane.update(bytes([90]) * plane.buffer_size)
    frame.pts = 0
    return b"".join(map(bytes, [*context.encode(frame), *context.encode(None)]))


def _cover_stream(target: OutputContainer, form: str) -> Any:
    with av.open(io.BytesIO(_jpeg()), "r", format="mjpeg") as template:
        stream: Any = target.add_stream_from_template(template.streams.video[0])
    stream.disposition = ATTACHED_PICTURE if form == "marked" else 0
    return stream


def _cover_packet(stream: Any) -> Any:
    packet: Any = av.Packet(_jpeg())
    packet.time_base, packet.pts, packet.dts, packet.duration = Fraction(1, 25), 0, 0, 1
    packet.is_keyframe = True
    packet.stream = stream
    return packet


def _text_stream(target: OutputContainer) -> Any:
    data, form = (_TIMED_TEXT, "mov") if target.format.name in {"mp4", "mov"} else (_PLAIN_TEXT, "srt")
    with av.open(io.BytesIO(data), "r", format=form) as template:
        return target.add_stream_from_template(template.streams.subtitles[0])


def _text_packet(stream: Any, begin_s: Fraction, end_s: Fraction, text: bytes, *, timed: bool) -> Any:
    packet: Any = av.Packet(len(text).to_bytes(2, "big") + text if timed else text)
    packet.time_base = Fraction(1, 1000)
    packet.pts = packet.dts = round(begin_s * 1000)
    packet.duration = round((end_s - begin_s) * 1000)
    packet.stream = stream
    return packet


def _chapter(number: int, begin_s: Fraction, end_s: Fraction, title: str) -> dict[str, Any]:
    return {
        "id": number,
        "start": round(begin_s * 1000),
        "end": round(end_s * 1000),
        "time_base": Fraction(1, 1000),
        "metadata": {"title": title},
    }
