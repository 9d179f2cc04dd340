"""
Writes captions into an MPEG transport stream of their own: the one container that holds teletext and ARIB captions.

FFmpeg's muxer could, but PyAV cannot tell it what such a stream's descriptors say (a stream that no decoder knows has
no codec context): ARIB captions came back as binary data, teletext without its page. So the descriptors are the
broadcast's own where they are known. Captions are a few packets per second at most, so Python is fast enough.

Sources: ISO/IEC 13818-1, 2.4.3 (packets, PES) and 2.4.4 (tables); ETSI EN 300 468, 6.2.41 and 6.2.43 (descriptors);
ETSI EN 300 472, 4.2 (teletext PES); ETSI EN 300 743, 6 (DVB subtitles); ARIB STD-B10 part 2, 6.2.20, and TR-B14.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from encoderd.encode.display_sets import in_pieces

#: The codecs that can be written, in libavcodec's words.
CODECS = frozenset({"dvb_subtitle", "dvb_teletext", "arib_caption"})
#: The clock's ticks per second, and where it wraps.
CLOCK_HZ, WRAP = 90_000, 2**33
#: The longest payload of one PES packet, in bytes.
LONGEST_PAYLOAD = 65_535 - 3 - 0x24 - 3
_PACKET, _PAYLOAD = 188, 184
_SYNC = 0x47
_PRIVATE_PES = 0x06  # stream_type: "PES packets containing private data"
_PRIVATE_STREAM_1 = 0xBD
_LANGUAGE, _STREAM_IDENTIFIER, _TELETEXT, _SUBTITLING, _DATA_COMPONENT = 0x0A, 0x52, 0x56, 0x59, 0xFD
#: What says that a stream is scrambled: it no longer is.
_ACCESS = 0x09
#: Component tags by which players know captions and superimposed text. Source: ARIB TR-B14 volume 3, 4.2.8.1.
_ARIB_TAGS = frozenset({*range(0x30, 0x40), 0x87, 0x88})
#: Every so many caption packets the tables come again, so that a reader may begin in the middle.
_TABLES_EVERY = 20
#: A PID that is free in nearly every broadcast; the next ones are taken where it is not.
_OWN_PIDS = 0x1F00
#: How long before a caption its clock reference says the stream is, in ticks: readers doubt teletext of which they
#: cannot see that it is at most 140 ms ahead (libavformat/mpegts.c), and a decoder wants some time.
_AHEAD = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionStream:
    """
    One stream to write. `descriptors` are those of the broadcast's PMT, b"" when not known; `language` is ISO 639-2,
    several with a comma between; `pages` are a DVB subtitle's composition and ancillary page and its type (5 bytes a
    language), b"" when not known.
    """

    pid: int
    codec: str
    language: str = ""
    descriptors: bytes = b""
    pages: bytes = b""


class TransportWriter:
    """
    Turns caption packets into transport packets: `write` returns the bytes to append to the file.

    Raises (constructor): ValueError, when a codec is none of CODECS or there are more streams than a table holds.
    """

    def __init__(self, streams: Sequence[CaptionStream]) -> None:
        unknown = sorted({stream.codec for stream in streams} - CODECS)
        if unknown:
            raise ValueError(f"a transport stream of ours does not hold {', '.join(unknown)}")
        self._streams = tuple(streams)
        used: set[int] = set()
        self._pids = [_free(stream.pid, used) for stream in streams]
        self._pmt_pid, self._pcr_pid = _free(_OWN_PIDS, used), _free(_OWN_PIDS, used)
        self._pmt = self._programme_map()
        self._counters: dict[int, int] = {}
        self._written = 0

    def write(self, position: int, payload: bytes, pts: int) -> bytes:
        """
        Return one caption as transport packets; `payload` as FFmpeg demuxes it, `pts` in ticks of 90 kHz (modulo 2³³).

        Raises:
            ValueError: it is longer than a PES packet.
        """
        stream, pid = self._streams[position], self._pids[position]
        pieces = in_pieces(payload, LONGEST_PAYLOAD) if stream.codec == "dvb_subtitle" else [payload]
        if max(map(len, pieces)) > LONGEST_PAYLOAD:
            raise ValueError(f"a caption of {len(payload)} bytes")
        tables = self._tables() if self._written % _TABLES_EVERY == 0 else b""
        self._written += 1
        clock = self._clock_reference(max(0, pts % WRAP - _AHEAD))
        pes = (self._packets(pid, _pes(stream.codec, piece, pts)) for piece in pieces)
        return tables + clock + b"".join(chain.from_iterable(pes))

    def _tables(self) -> bytes:
        pat = b"\x00\x01" + _pid(self._pmt_pid)
        association = _section(0x00, b"\x00\x01\xc1\x00\x00" + pat)
        return b"".join([*self._packets(0, b"\0" + association), *self._packets(self._pmt_pid, b"\0" + self._pmt)])

    def _programme_map(self) -> bytes:
        body = b"\x00\x01\xc1\x00\x00" + _pid(self._pcr_pid) + b"\xf0\x00"
        tags: set[int] = set()
        for stream, pid in zip(self._streams, self._pids, strict=True):
            descriptors = _descriptors(stream, tags)
            body += bytes([_PRIVATE_PES]) + _pid(pid) + (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
        return _section(0x02, body)

    def _clock_reference(self, at: int) -> bytes:
        field = (at << 15 | 0x3F << 9).to_bytes(6, "big")
        counter = self._counters.get(self._pcr_pid, 0)  # a packet without payload does not count
        head = bytes([_SYNC]) + (self._pcr_pid).to_bytes(2, "big") + bytes([0x20 | counter])
        return (head + bytes([_PAYLOAD - 1, 0x10]) + field).ljust(_PACKET, b"\xff")

    def _packets(self, pid: int, data: bytes) -> Iterator[bytes]:
        """Cut a PES packet, or a section with its pointer, into transport packets; a PES ends one with stuffing."""
        for at in range(0, len(data), _PAYLOAD):
            piece = data[at : at + _PAYLOAD]
            counter = self._counters.get(pid, 0)
            self._counters[pid] = (counter + 1) % 16
            start = 0x4000 if at == 0 else 0
            head = bytes([_SYNC]) + (start | pid).to_bytes(2, "big")
            missing = _PAYLOAD - len(piece)
            if not missing:
                yield head + bytes([0x10 | counter]) + piece
            elif pid in {0, self._pmt_pid}:
                yield head + bytes([0x10 | counter]) + piece.ljust(_PAYLOAD, b"\xff")
            else:
                stuffing = bytes([missing - 1]) + (b"\0" + b"\xff" * (missing - 2) if missing > 1 else b"")
                yield head + bytes([0x30 | counter]) + stuffing + piece


def _free(wanted: int, used: set[int]) -> int:
    """Return the wanted PID, or the next one that is free; 0x10 to 0x1FFE may carry anything (0 to 0x1F by DVB not)."""
    pid = wanted if 0x20 <= wanted < 0x1FFF else 0x100
    while pid in used:
        pid = pid + 1 if pid < 0x1FFE else 0x20
    used.add(pid)
    return pid


def _pid(pid: int) -> bytes:
    return (0xE000 | pid).to_bytes(2, "big")


def _section(table: int, body: bytes) -> bytes:
    length = len(body) + 4
    if length > 1021:
        raise ValueError("more caption streams than one table holds")
    data = bytes([table]) + (0xB000 | length).to_bytes(2, "big") + body
    return data + _crc(data).to_bytes(4, "big")


def _crc(data: bytes) -> int:
    """CRC-32 as ISO/IEC 13818-1, annex A, has it: binascii's is the mirror image, of the bytes and of the sum."""
    mirrored = data.translate(_MIRROR)
    return int(f"{binascii.crc32(mirrored) ^ 0xFFFFFFFF:032b}"[::-1], 2)


_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _pes(codec: str, payload: bytes, pts: int) -> bytes:
    pts %= WRAP
    stamp = bytes(
        [
            0x21 | (pts >> 30) << 1,
            pts >> 22 & 0xFF,
            0x01 | (pts >> 15 & 0x7F) << 1,
            pts >> 7 & 0xFF,
            0x01 | (pts & 0x7F) << 1,
        ]
    )
    if codec == "dvb_teletext":
        stamp = stamp.ljust(0x24, b"\xff")  # the header's length is fixed, so that its lines fill whole packets
    if codec == "dvb_subtitle":
        payload = b"\x20\x00" + payload + b"\xff"  # data_identifier, subtitle_stream_id, end: FFmpeg takes them off
    after = b"\x84\x80" + bytes([len(stamp)]) + stamp + payload  # aligned; a PTS alone
    return b"\0\0\1" + bytes([_PRIVATE_STREAM_1]) + len(after).to_bytes(2, "big") + after


# --- descriptors


def _descriptors(stream: CaptionStream, tags: set[int]) -> bytes:
    """Return the broadcast's own where they say what the codec is, else ones that do; `tags` are taken already."""
    parsed = [(tag, body) for tag, body in _parsed(stream.descriptors) if tag != _ACCESS]
    known = dict(parsed)
    match stream.codec:
        case "dvb_teletext":
            own = _TELETEXT in known
        case "dvb_subtitle":
            own = _SUBTITLING in known
        case _:
            own = _DATA_COMPONENT in known and (known.get(_STREAM_IDENTIFIER) or b"\0")[0] in _ARIB_TAGS
    if own:
        told = _LANGUAGE in known or stream.codec != "arib_caption"
        kept = b"".join(_descriptor(tag, body) for tag, body in parsed)
        return kept + (b"" if told else _language(stream.language))
    return _made(stream, tags)


def _parsed(descriptors: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, content); nothing at all when the loop is not well formed."""
    found, at = [], 0
    while at + 2 <= len(descriptors):
        end = at + 2 + descriptors[at + 1]
        found.append((descriptors[at], descriptors[at + 2 : end]))
        at = end
    if at == len(descriptors) <= 255:
        yield from found


def _made(stream: CaptionStream, tags: set[int]) -> bytes:
    languages = _languages(stream.language) or [b"und"]
    match stream.codec:
        case "dvb_teletext":  # the initial page, 100
            return _descriptor(_TELETEXT, b"".join(language + b"\x09\x00" for language in languages))
        case "dvb_subtitle":
            pages = [stream.pages[at : at + 5] for at in range(0, len(stream.pages) - 4, 5)]
            entries = []
            for number, language in enumerate(languages):
                page = pages[number] if number < len(pages) else b"\0\1\0\1\x10"
                entries.append(language + page[4:5] + page[:4])
            return _descriptor(_SUBTITLING, b"".join(entries))
        case _:  # component tags 0x30 to 0x37 are captions, data component 8 is profile A, 0x3D its usual parameters
            tag = next((tag for tag in range(0x30, 0x38) if tag not in tags), 0x37)
            tags.add(tag)
            identifier = _descriptor(_STREAM_IDENTIFIER, bytes([tag]))
            return identifier + _descriptor(_DATA_COMPONENT, b"\x00\x08\x3d") + _language(stream.language)


def _language(language: str) -> bytes:
    return b"".join(_descriptor(_LANGUAGE, code + b"\0") for code in _languages(language)[:1])


def _languages(language: str) -> list[bytes]:
    codes = [code.strip() for code in language.split(",")]
    return [code.encode("ascii") for code in codes if len(code) == 3 and code.isascii()][:16]


def _descriptor(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content
