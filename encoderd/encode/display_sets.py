"""
DVB subtitles as whole display sets: what shares a PTS becomes one packet, without the frames of PES packets.

Some multiplexers send each segment of a display set in a PES packet of its own. FFmpeg's reader takes identifiers and
end mark off the first packet of a PTS alone (libavcodec/dvbsub_parser.c); its decoder refuses what is left framed, and
shows nothing of segments that come one by one (libavcodec/dvbsubdec.c). Source: ETSI EN 300 743, 5.1.3, 7.1 and 7.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, TypeVar

Item = TypeVar("Item")

#: data_identifier and subtitle_stream_id; the sync byte of a segment, how long its head is, and the last one's type.
_IDENTIFIERS, _SYNC, _HEAD_BYTES, _END_OF_DISPLAY_SET = b"\x20\x00", 0x0F, 6, 0x80
#: A set that grows beyond this is taken for two.
MOST_BYTES = 1024 * 1024
#: So long after a set's time its packets may still come, where no last segment tells: players read ahead by more.
LATE_S = 1


def segments(data: bytes) -> list[bytes]:
    """Return the whole segments at the beginning of a packet, framed or not."""
    at, found = data.startswith(_IDENTIFIERS) * len(_IDENTIFIERS), []
    while at + _HEAD_BYTES <= len(data) and data[at] == _SYNC:
        end = at + _HEAD_BYTES + int.from_bytes(data[at + 4 : at + 6], "big")
        if end <= len(data):
            found.append(data[at:end])
        at = end
    return found


@dataclass(slots=True)
class DisplaySets(Generic[Item]):
    """
    Joins the packets of one stream. A set is complete with its last segment; where that is not sent, with the next
    time, or when the pictures are there (`reached`). `Item` is a packet: a set is handed out with its first one's.
    """

    _first: tuple[Item, Fraction | None] | None = None
    _data: bytearray = field(default_factory=bytearray)

    def add(self, item: Item, at_s: Fraction | None, data: bytes) -> Iterator[tuple[Item, bytes]]:
        """Take a packet that is shown at `at_s`; yield what is complete. What holds no segment goes as it is."""
        found = segments(data)
        of_this = self._first is not None and at_s in (None, self._first[1])
        if not (found and of_this and len(self._data) + len(data) <= MOST_BYTES):
            yield from self.finish()
        if not found:
            yield item, data
            return
        self._first = self._first or (item, at_s)
        self._data += b"".join(found)
        if found[-1][1] == _END_OF_DISPLAY_SET:
            yield from self.finish()

    def reached(self, at_s: Fraction) -> Iterator[tuple[Item, bytes]]:
        """The pictures are at `at_s`: yield what had to be shown by then."""
        if self._first is not None and (self._first[1] or 0) + LATE_S < at_s:
            yield from self.finish()

    def finish(self) -> Iterator[tuple[Item, bytes]]:
        """Yield the rest."""
        if self._first is not None:
            first, data = self._first, bytes(self._data)
            self._first, self._data = None, bytearray()
            yield first[0], data


def in_pieces(data: bytes, most_bytes: int) -> list[bytes]:
    """Return segments in pieces of at most `most_bytes`, where none of them is longer."""
    if len(data) <= most_bytes:
        return [data]
    pieces = [b""]
    for segment in segments(data):
        if len(pieces[-1]) + len(segment) > most_bytes:
            pieces.append(b"")
        pieces[-1] += segment
    return pieces
