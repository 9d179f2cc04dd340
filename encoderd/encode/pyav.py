"""
What PyAV 14.2 to 18 on FFmpeg 7.1 to 8.1 do differently, so that nobody else has to know.

The distribution's PyAV, which HD Graphics needs, is the oldest (Debian 13: 14.2.0 with FFmpeg 7.1.5). Where one way
works with all of them it is taken for all of them, without asking for a version. In order of discovery:

- A stream's disposition is no number before PyAV 17.1.
- A codec context's `pix_fmt` that is not known yet ends the process in PyAV 17.1; its `format` is None in all.
- `av.open(options=…)` gives the options to each stream's decoder too, and frees more of them than it made when probing
  finds further streams (FLV, MPEG-PS, several programmes): memory is corrupted, before PyAV 17.1.
- `demux()` reads beyond its own list, and ends with an IndexError, where streams appeared after the file was opened.
- PyAV 14.2 reads and writes no chapters, and dies when asked for the type of a stream for which FFmpeg has no word.
- A frame and its side data hold each other, and a frame is all of its picture's memory.
- An AudioFrame with 8 planes or more ends the process in `to_ndarray`, in PyAV 18.1: `sound_clock.samples_of` does not.
- Deinterlacers of FFmpeg before 8.1 calculate with the timestamp that a frame does not have.
- FFmpeg 7.1 tells no duration of MP4 packets that were reordered.
- FFmpeg 7.1.0 alone takes an encoder's own options for the general ones of the same name.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import count
from math import atan2, hypot, pi
from struct import Struct
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Stream

from encoderd.encode.dispositions import bits_of, kept
from encoderd.encode.media import Chapter

#: libavcodec of FFmpeg 7.1.0; 7.1.1 has 61.19.101. Source: FFmpeg 020d9f2b4886, "avcodec_open2: … codec_whitelist".
_GENERAL_FIRST = (61, 19, 100)
#: H.264's profiles as numbers (ISO/IEC 14496-10, A.2): the general option knows the names of other codecs' only.
_PROFILES = {"baseline": "66", "main": "77", "high": "100"}
#: Handler's names that writers give to all tracks of a kind: "SoundHandle(r)", "Core Media Audio", "ISO Media file …".
_NO_TITLE = re.compile(
    r"handler|handle$|core media|iso media|gpac|l-smash|mainconcept|@|"
    r"^(sound|video|audio|text|subtitle|data|alis|url )?$",
    re.IGNORECASE,
)
#: libavformat's own, where a writer names none.
_UNNAMED = frozenset({"VideoHandler", "SoundHandler", "SubtitleHandler", "DataHandler"})
#: FFmpeg 8 takes a MP4 track's name of so many bytes for Mac Roman. Source: libavformat/mov.c, mov_read_udta_string.
_MISREAD_BYTES = 4
#: Timestamps are 64 bits with a sign; the lowest stands for "none", and what was calculated from it is near.
_NO_TIME = -(2**62)
_MATRIX, _MASTERING, _CONTENT_LIGHT = Struct("=9i"), Struct("=22i"), Struct("=2I")
#: So many frames whose side data was asked for may wait for the collector; one of 1440 × 1080 takes 2.3 MB.
COLLECT_EVERY = 8
_asked = count(1)


def open_input(path: str, options: Mapping[str, str]) -> InputContainer:
    """Open a file with the demuxer's options; the caller closes it. Raises what `av.open` raises."""
    return av.open(path, "r", container_options=dict(options), metadata_errors="replace")


def demuxed_packets(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet[Any]]:
    """
    Yield the packets of these streams, then for each stream one empty packet, which empties its decoder.

    PyAV ends with an IndexError where streams appeared after the file was opened, and a packet that is empty in the
    middle would end the decoder. Raises what demuxing raises; then no empty packets come.
    """
    going_on = True
    while going_on:
        going_on = False
        try:
            for packet in container.demux(*streams):
                if packet.size:
                    going_on = True
                    yield packet
            break
        except IndexError:
            continue  # read on, with all streams known now; without a packet since the last time it was the end
    for stream in streams:
        last: Packet[Any] = Packet()
        last.stream, last.time_base = stream, Fraction(stream.time_base or 0)
        yield last


def disposition(stream: Any) -> int:
    """Return AV_DISPOSITION's bits."""
    return int(stream.disposition.value)


def title_of(stream: Any, *, ours: bool = False) -> str:
    """
    Return a track's title, "" without one.

    MP4 has it in "name", which FFmpeg 7.1 does not read, or as its handler's name, which most programs fill with noise;
    in `ours`, a file that `tell` described, it is the title.
    """
    metadata = stream.metadata
    title, name, handler = (str(metadata.get(key, "")).strip("\0 ") for key in ("title", "name", "handler_name"))
    if handler in _UNNAMED or (not ours and _NO_TITLE.search(handler)):
        handler = ""
    if ours or len(handler.encode("utf-8", "replace")) <= _MISREAD_BYTES:
        name = handler or name
    named = title or name or handler
    return "" if named in _UNNAMED else named


def tell(stream: Any, muxer: str, *, language: str, title: str, dispositions: Iterable[str]) -> None:
    """
    Give an output stream its language, title and dispositions, before the header is written.

    In MP4 the title is the handler's name too: FFmpeg 7.1 and many players read no other.
    """
    if language:
        stream.metadata["language"] = language
    if title:
        stream.metadata["title"] = title
        if muxer == "mp4":
            stream.metadata["handler_name"] = title
    stream.disposition = bits_of(kept(muxer, stream.type, dispositions))


def language_of(stream: Any) -> str:
    """Return a stream's language as the container has it, "" where it is not determined."""
    language = str(stream.metadata.get("language", "") or "")
    return "" if language in {"und", "```"} else language


def pixel_format(context: Any) -> str:
    """Return the pixel format's name, "" while it is unknown."""
    return "" if context.format is None else str(context.format.name)


def shown_at(pts: int | None) -> int | None:
    """Return a filtered frame's pts, None when it has none."""
    return None if pts is None or pts < _NO_TIME else pts


def mastering_peak_nits(frame: Any) -> int:
    """
    Return the peak of the screen that a frame was graded on, in cd/m², 0 when untold.

    Source: libavutil, AVMasteringDisplayMetadata: ten rationals before the highest luminance, then two flags.
    """
    told = side_data(frame, "MASTERING_DISPLAY_METADATA")
    if len(told) < _MASTERING.size:
        return 0
    *_, numerator, denominator, _, has_luminance = _MASTERING.unpack_from(told)
    return round(numerator / denominator) if has_luminance and numerator > 0 and denominator > 0 else 0


def content_peak_nits(frame: Any) -> int:
    """
    Return the brightest sample of all of a frame's programme (MaxCLL) in cd/m², 0 when untold.

    Source: libavutil, AVContentLightMetadata: it is the first of two numbers.
    """
    told = side_data(frame, "CONTENT_LIGHT_LEVEL")
    return int(_CONTENT_LIGHT.unpack_from(told)[0]) if len(told) >= _CONTENT_LIGHT.size else 0


def orientation(frame: Any) -> tuple[int, bool]:
    """
    Return the degrees anticlockwise (0…359) that a player turns a frame by, and whether it mirrors it.

    `frame.rotation` takes the mirrored for turned, or for neither. Quarters are meant within a degree. Source:
    libavutil, display.h: nine numbers, of which the first two rows' first two turn and scale.
    """
    told = side_data(frame, "DISPLAYMATRIX")
    if len(told) < _MATRIX.size:
        return int(frame.rotation) % 360, False
    a, b, _, c, d, *_ = _MATRIX.unpack_from(told)
    widths = hypot(a, c), hypot(b, d)
    if not all(widths):
        return 0, False
    degrees = -atan2(b / widths[1], a / widths[0]) * 180 / pi
    quarters = round(degrees / 90) * 90
    turned = quarters if abs(degrees - quarters) < 1 else round(degrees)
    return turned % 360, a * d - b * c < 0


def side_data(frame: Any, name: str) -> bytes:
    """Return a frame's side data of the type that PyAV calls `name`, b"" when it has none that PyAV can give."""
    try:
        found = side_data_of(frame).get(Type[name])
    except (KeyError, ValueError):  # a type that this PyAV does not know
        return b""
    return b"" if found is None else bytes(found)


def side_data_of(frame: Any) -> Any:
    """
    Return a frame's side data by type. Asking for it makes the frame the collector's, so it is asked of few.

    The frames that were asked before this one are dead, but not gone: with the collector's own pace a hundred wait.
    """
    if next(_asked) % COLLECT_EVERY == 0:
        gc.collect()
    return frame.side_data


def last_duration(stream: Any, first_dts: int, last_dts: int, longest_step: int) -> int:
    """
    Return the ticks of a stream's last packet (in the order of decoding) that the packet itself does not tell.

    The rest of what the container says the stream lasts, and no more than the longest step from packet to packet: in a
    file that was cut off the rest is what is gone. 0 when the container says nothing.
    """
    rest = max(0, (stream.duration or 0) - (last_dts - first_dts))
    return min(rest, longest_step) if longest_step else rest


def encoder_options(options: Mapping[str, str], libavcodec: tuple[int, ...] | None = None) -> dict[str, str]:
    """Return `options` in the words that this libavcodec (its version, if not the one that is loaded) understands."""
    asked = dict(options)
    if (libavcodec or av.library_versions["libavcodec"]) == _GENERAL_FIRST:
        if "profile" in asked:
            asked["profile"] = _PROFILES.get(asked["profile"], asked["profile"])
        if "level" in asked:  # the general one counts in tenths, x264 takes either
            level = Fraction(asked["level"])
            asked["level"] = str(round(level * 10 if level < 10 else level))
    return asked


def kind(stream: Stream) -> str:
    """Return "video", "audio", "subtitle" or "data"."""
    return "data" if type(stream) is Stream else str(stream.type)


def number_of(stream: Any) -> int:
    """
    Return the number by which a recording knows a stream: its PID, the container's number, else its place in the file.

    FFmpeg gives all streams of Matroska and FLV the same number.
    """
    numbers = [one.id for one in stream.container.streams]
    unique = stream.container.format.name == "mpegts" or len(set(numbers)) == len(numbers)
    return int(stream.id if unique else stream.index)


def codec_of(stream: Any) -> str:
    """Return the name of a stream's codec, "" where neither a decoder nor PyAV knows it."""
    context = stream.codec_context
    return "" if context is None else str(getattr(context.codec, "canonical_name", context.name))


def chapters_of(container: InputContainer) -> list[Chapter] | None:
    """Return a container's chapters as FFmpeg lists them, None where this PyAV cannot read any."""
    reader = getattr(container, "chapters", None)
    if reader is None:
        return None
    found = []
    for one in reader():
        start_ms, end_ms = (round(one[name] * Fraction(one["time_base"]) * 1000) for name in ("start", "end"))
        title = str(one["metadata"].get("title", ""))
        found.append(Chapter(start_ms=start_ms, end_ms=end_ms if end_ms > start_ms else None, title=title))
    return found


def can_set_chapters() -> bool:
    """Whether this PyAV writes chapters."""
    return hasattr(OutputContainer, "set_chapters")


def is_chapters_track(stream: Any) -> bool:
    """Whether MP4 keeps its chapters' titles in this stream: FFmpeg reads it then and discards its packets."""
    discard = getattr(stream, "discard", None)
    return discard is not None and str(getattr(discard, "name", discard)) == "all" and kind(stream) == "data"


def attached_file(stream: Any) -> bytes | None:
    """Return the content of an attachment, None where this PyAV cannot read or write any."""
    if not hasattr(OutputContainer, "add_attachment"):
        return None
    return bytes(getattr(stream, "data", b"")) or None


def attach(container: OutputContainer, name: str, mimetype: str, data: bytes) -> None:
    """Add a file to a Matroska output, before its header is written."""
    adder: Any = container.add_attachment
    adder(name, mimetype, data)


def set_chapters(container: OutputContainer, chapters: Sequence[Mapping[str, Any]]) -> None:
    """Give the output its chapters before its header is written, where this PyAV can."""
    if chapters and can_set_chapters():
        setter: Any = container.set_chapters
        setter(list(chapters))
