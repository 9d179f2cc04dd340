"""
Captions on their way into the output, or into a file beside it, packet by packet and byte by byte as broadcast.

Matroska holds what PyAV can describe to it: DVB subtitles, and whatever else has a decoder. Teletext has no name there,
and ARIB captions need a profile that PyAV cannot set (FFmpeg 8.1 then refuses the header, and with it the whole
output), so these two never go in. The file beside is Matroska too (.mks) where all its streams fit, else a transport
stream (.ts) of our own making. Whatever goes wrong here is a note, never the end of a job.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av.container import OutputContainer
from av.packet import Packet

from encoderd.encode.caption_forms import TIMED_TEXT, fits_matroska, plain_text
from encoderd.encode.display_sets import DisplaySets
from encoderd.encode.languages import three_letters
from encoderd.encode.media import CaptionInfo
from encoderd.encode.pyav import tell
from encoderd.encode.transport_writer import CLOCK_HZ, CODECS, CaptionStream, TransportWriter

#: What FFmpeg, PyAV and the disk say when they refuse.
_REFUSALS = (av.error.FFmpegError, OSError, ValueError)
#: Not 0: FFmpeg's reader takes a DVB subtitle that begins at 0 for the rest of another (libavcodec/dvbsub_parser.c).
_EARLIEST = 1
#: Longest pts that fits anywhere: 300 days, in ticks of 90 kHz.
_LATEST = 2**41


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionsWritten:
    """
    What became of captions that had to go beside. `ending` is "mks" or "ts", "" when there is no file; the file is on
    disk (fsync). `streams` has one entry each: pid, codec, language, packets written, and those that were there.
    """

    ending: str
    size_bytes: int
    mtime_ns: int
    streams: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what the receipt's "captions" tells; "streams" and "notes" even where there is no file."""
        return {**asdict(self), "streams": [dict(stream) for stream in self.streams], "notes": list(self.notes)}


def add_captions(container: OutputContainer, captions: Sequence[CaptionInfo], source_streams: Any) -> dict[int, Any]:
    """
    Add the captions that a Matroska output can hold, before its header; return {stream index: output stream}.

    `source_streams` are the source container's streams, by index. What is missing in the answer has to go beside.
    """
    added: dict[int, Any] = {}
    for caption in captions:
        stream = _added(container, caption, source_streams[caption.index])
        if stream is not None:
            added[caption.index] = stream
    return added


def _added(container: OutputContainer, caption: CaptionInfo, template: Any) -> Any:
    """Return the new stream, None when Matroska would refuse it."""
    if not _fits_matroska(caption, template):
        return None
    try:
        stream: Any = (
            _subrip(container) if caption.codec in TIMED_TEXT else container.add_stream_from_template(template)
        )
    except _REFUSALS:
        return None
    names = ("default", *caption.dispositions) if caption.default else caption.dispositions
    language = three_letters(caption.language.partition(",")[0])
    tell(stream, "matroska", language=language, title=caption.title, dispositions=names)
    return stream


def _subrip(container: OutputContainer) -> Any:
    """Add a stream of plain text: PyAV opens no encoder for one, so a file of one caption stands as its template."""
    with av.open(io.BytesIO(b"1\n00:00:00,000 --> 00:00:01,000\n.\n\n"), "r", format="srt") as template:
        return container.add_stream_from_template(template.streams.subtitles[0])


def _fits_matroska(caption: CaptionInfo, template: Any) -> bool:
    return fits_matroska(caption.codec) and template.codec_context is not None


class CaptionForms:
    """
    Captions in the form that files take, by track of the output: timed text as plain text, DVB subtitles as whole
    display sets. What says nothing is left out. All methods yield (track, packet).
    """

    def __init__(self, captions: Mapping[int, CaptionInfo]) -> None:
        self._timed = {track for track, caption in captions.items() if caption.codec in TIMED_TEXT}
        self._sets: dict[int, DisplaySets[Packet[Any]]] = {
            track: DisplaySets() for track, caption in captions.items() if caption.codec == "dvb_subtitle"
        }

    def push(self, track: int, packet: Packet[Any]) -> Iterator[tuple[int, Packet[Any]]]:
        """Take a packet as demuxed, its times on the output's timeline."""
        if track in self._sets:
            stamp = packet.dts if packet.pts is None else packet.pts
            at_s = None if stamp is None else stamp * Fraction(packet.time_base or 0)
            yield from _with_data(track, self._sets[track].add(packet, at_s, bytes(packet)))
        elif track in self._timed:
            yield from _with_data(track, [(packet, plain_text(bytes(packet)))])
        else:
            yield track, packet

    def reached(self, at_s: Fraction) -> Iterator[tuple[int, Packet[Any]]]:
        """The pictures are at `at_s` of the output."""
        for track, sets in self._sets.items():
            yield from _with_data(track, sets.reached(at_s))

    def finish(self) -> Iterator[tuple[int, Packet[Any]]]:
        """Nothing follows any more."""
        for track, sets in self._sets.items():
            yield from _with_data(track, sets.finish())


def _with_data(track: int, found: Iterable[tuple[Packet[Any], bytes]]) -> Iterator[tuple[int, Packet[Any]]]:
    """PyAV's packets keep their data: another one takes it, with the times."""
    for packet, data in found:
        if data:
            new: Packet[Any] = Packet(data)
            new.pts, new.dts, new.duration, new.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
            yield track, new


class CaptionsFile:
    """
    The file beside the output; opened at the first packet, so that captions that never come leave none.

    `streams` are the captions with their source streams; `descriptors` {pid: descriptors of the broadcast's PMT}, where
    they are known. Nothing raises but MemoryError: after an error the file is gone, a note says why, and `write` does
    nothing more. Times are the output's: what comes before 0, or without a time, is shown as soon as it can be.
    """

    def __init__(
        self,
        path: str,
        streams: Sequence[tuple[CaptionInfo, Any]],
        descriptors: Mapping[int, bytes] | None = None,
    ) -> None:
        self._path = path
        self._streams = list(streams)
        self._descriptors = descriptors or {}
        self._packets = [0] * len(self._streams)
        self._taken = [0] * len(self._streams)
        self._last: dict[int, Fraction] = {}
        self._notes: list[str] = []
        self._moved = self._refused = 0
        self._file: _Matroska | _Transport | None = None
        self._broken = not path

    def write(self, number: int, packet: Packet[Any]) -> None:
        """Take a packet of `streams[number]` as CaptionForms gives it, its times on the output's timeline."""
        if not packet.size:
            return
        self._taken[number] += 1
        if self._broken or (self._file is None and not self._open()):
            return
        assert self._file is not None
        try:
            self._packets[number] += self._file.write(number, packet, *self._times_s(number, packet))
        except ValueError:  # FFmpeg's EINVAL and INVALIDDATA too: the packet is to blame, and costs itself
            self._refused += 1
        except _REFUSALS as error:
            self._give_up(error)

    def close(self) -> CaptionsWritten:
        """Finish the file and bring it to the disk; say what is in it."""
        written: os.stat_result | None = None
        if self._file is not None and not self._broken:
            try:
                self._file.close()
                written = _on_disk(self._path)
            except _REFUSALS as error:
                self._give_up(error)
        if self._refused:
            self._notes.append(f"{self._refused} captions could not be written")
        if self._moved:
            self._notes.append(f"{self._moved} captions came without a time, or before the first picture")
        return CaptionsWritten(
            ending="" if written is None or self._file is None else self._file.ending,
            size_bytes=0 if written is None else written.st_size,
            mtime_ns=0 if written is None else written.st_mtime_ns,
            streams=tuple(
                {"pid": info.pid, "codec": info.codec, "language": info.language, "packets": packets, "taken": taken}
                for (info, _), packets, taken in zip(self._streams, self._packets, self._taken, strict=True)
            ),
            notes=tuple(self._notes),
        )

    def abandon(self) -> None:
        """The output failed: leave no file."""
        self._broken = True
        self._drop()

    def _open(self) -> bool:
        try:
            self._file = self._opened()
        except _REFUSALS as error:
            self._give_up(error)
        return not self._broken

    def _opened(self) -> _Matroska | _Transport:
        if all(_fits_matroska(info, stream) for info, stream in self._streams):
            try:
                return _Matroska(self._path, self._streams)
            except ValueError:  # Matroska has no name for one of them
                self._drop()
        unknown = sorted({info.codec for info, _ in self._streams} - CODECS)
        if unknown:
            self._notes.append(f"no file can hold {', '.join(unknown)} beside the others")
        if unknown and len(unknown) == len({info.codec for info, _ in self._streams}):
            raise ValueError(f"no file can hold {', '.join(unknown)}")
        return _Transport(self._path, self._streams, self._descriptors)

    def _times_s(self, number: int, packet: Packet[Any]) -> tuple[Fraction, Fraction]:
        """Return when it is shown, and decoded: not before 0, nor before the stream's packet before it."""
        earliest = self._last.get(number, Fraction(0))
        time_base = Fraction(packet.time_base or self._streams[number][1].time_base or 0)
        stamp = packet.pts if packet.dts is None else packet.dts
        decoded_s = earliest if stamp is None else stamp * time_base
        if stamp is None or decoded_s < earliest:
            self._moved += 1
            decoded_s = earliest
        self._last[number] = decoded_s
        return max(decoded_s, (packet.pts or 0) * time_base), decoded_s

    def _give_up(self, error: BaseException) -> None:
        self._broken = True
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self._notes.append(f"the captions could not be kept: {said}")
        self._packets = [0] * len(self._packets)
        self._drop()

    def _drop(self) -> None:
        """Close what is open, without a word, and remove it."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(*_REFUSALS):
                file.close()
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


class _Matroska:
    """Subtitles alone in Matroska."""

    ending = "mks"

    def __init__(self, path: str, streams: Sequence[tuple[CaptionInfo, Any]]) -> None:
        self._container = av.open(path, "w", format="matroska")
        try:
            self._streams = [_added(self._container, info, template) for info, template in streams]
            if None in self._streams:
                raise ValueError("Matroska has no name for these captions")
            self._container.start_encoding()
        except BaseException:
            self._container.close()
            raise

    def write(self, number: int, packet: Packet[Any], at_s: Fraction, decoded_s: Fraction) -> bool:
        duration_s = max(0, packet.duration or 0) * Fraction(packet.time_base or 0)
        packet.time_base = Fraction(1, CLOCK_HZ)
        packet.pts = min(round(at_s * CLOCK_HZ), _LATEST)
        packet.dts = min(round(decoded_s * CLOCK_HZ), _LATEST)
        packet.duration = min(round(duration_s * CLOCK_HZ), _LATEST)
        packet.stream = self._streams[number]
        self._container.mux_one(packet)
        return True

    def close(self) -> None:
        self._container.close()


class _Transport:
    """Captions alone in a transport stream."""

    ending = "ts"

    def __init__(self, path: str, streams: Sequence[tuple[CaptionInfo, Any]], descriptors: Mapping[int, bytes]) -> None:
        kept = {number: entry for number, entry in enumerate(streams) if entry[0].codec in CODECS}
        self._places = {number: place for place, number in enumerate(kept)}
        self._writer = TransportWriter(
            [
                CaptionStream(
                    pid=info.pid,
                    codec=info.codec,
                    language=info.language,
                    descriptors=descriptors.get(info.pid, b""),
                    pages=_pages(stream),
                )
                for info, stream in kept.values()
            ]
        )
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`

    def write(self, number: int, packet: Packet[Any], at_s: Fraction, _: Fraction) -> bool:
        if number not in self._places:
            return False
        pts = max(_EARLIEST, round(at_s * CLOCK_HZ))
        self._file.write(self._writer.write(self._places[number], bytes(packet), pts))
        return True

    def close(self) -> None:
        self._file.close()


def _pages(stream: Any) -> bytes:
    """DVB subtitles' pages, as libavformat keeps them in the codec's extradata: 5 bytes a language."""
    context = stream.codec_context
    return bytes(context.extradata or b"") if context is not None else b""


def _on_disk(path: str) -> os.stat_result:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
        return os.fstat(fd)
    finally:
        os.close(fd)
