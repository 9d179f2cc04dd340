"""
MPEG transport streams from their bytes: packet size, scrambling, programmes and their elementary streams.

FFmpeg shows streams but not, through PyAV, which programme they belong to; and of a scrambled recording it only says
that there are no codec parameters. Sources: ISO/IEC 13818-1, 2.4.3 (packets), 2.4.4 (PSI sections); what the streams
of a PMT are is `elementary_streams`' to say.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from encoderd.encode.elementary_streams import ElementaryStream, parse_streams

SYNC = 0x47
PACKET = 188
NULL_PID = 0x1FFF
PAT, PMT = 0x00, 0x02
_TDT, _TOT = 0x70, 0x73
#: Packet size in bytes → offset of the sync byte: plain, with a 4-byte arrival time (m2ts), with 16 bytes of FEC.
_SHAPES = {188: 0, 192: 4, 204: 0}
#: How many sync bytes in a row are looked at, and how many there must be at least.
_MARKS, _LEAST_MARKS = 40, 5
#: This many wrong sync bytes in a row mean that bytes are missing or too many; fewer are damaged bytes.
_LOST_SYNC = 3
#: Places with a row of sync bytes that are looked at closely for the first packet.
_MOST_RIVALS = 1000
#: PMTs of one piece that are kept; a recording has a handful, noise has any number.
_MOST_TABLES = 256
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """
    One programme as one PMT describes it: its number and its elementary streams, in the order of the PMT.

    `section` is the PMT itself, `pmt_pid` where it was sent.
    """

    number: int
    streams: tuple[ElementaryStream, ...]
    pcr_pid: int = NULL_PID
    pmt_pid: int = 0
    version: int = 0
    section: bytes = field(default=b"", repr=False)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(stream.pid for stream in self.streams)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSample:
    """
    What a piece of a transport stream tells. `scrambled_ratio` is the share (0…1) of packets with payload.

    `programmes` has the last PMT of each programme in the order of the PAT, `tables` all that differ in the order they
    came; `starts_by_pid` counts the PES packets that begin, clear ones; `pat` is the last association table. Bytes by
    PID count whole packets of 188 bytes that have payload, clear
    ones and encrypted ones.
    """

    packets: int
    scrambled_ratio: float
    programmes: tuple[Programme, ...]
    tables: tuple[Programme, ...] = ()
    bytes_by_pid: Mapping[int, int] = field(default_factory=dict)
    scrambled_by_pid: Mapping[int, int] = field(default_factory=dict)
    starts_by_pid: Mapping[int, int] = field(default_factory=dict)
    pat: bytes = field(default=b"", repr=False)


def crc32(data: bytes) -> int:
    """Return the CRC of ISO/IEC 13818-1 annex A; 0 over a section that ends with its own."""
    # zlib's is the same polynomial, bits in the other order
    found = zlib.crc32(data.translate(_REVERSED)) ^ 0xFFFFFFFF
    return int.from_bytes(found.to_bytes(4, "little").translate(_REVERSED), "big")


def packet_shape(data: bytes) -> tuple[int, int, int] | None:
    """
    Return (packet size, offset of the first packet, offset of its sync byte), None if this is no such stream.

    Reception is not perfect: a tenth of the sync bytes may be wrong, and the first half may be anything.
    """
    for begin in (0, len(data) // 2):
        for size, ahead in _SHAPES.items():
            found = [
                start
                for start in range(begin, begin + size)
                if _is_row(data[start + ahead : start + ahead + size * _MARKS : size])
            ]
            if found:
                return size, max(found, key=lambda start: _plausible(data, start + ahead, size)), ahead
    return None


def first_packet(data: bytes, most_before: int) -> tuple[int, int, int] | None:
    """
    Return `packet_shape` of the first steady rhythm of sync bytes that begins within `most_before` bytes.

    Steady is what holds for as many packets as are looked at, or to the end of `data`.
    """
    view = np.frombuffer(data, np.uint8)
    found = []
    for size, ahead in _SHAPES.items():
        at = next_sync(view[: most_before + size * _MARKS], size, ahead)
        for _ in range(_MOST_RIVALS):
            if at is None or at - ahead > most_before:
                break
            marks = data[at : at + size * _MARKS : size]
            if _is_row(marks) and _plausible(data, at, size) * 10 >= len(marks) * 8:
                found.append((size, at - ahead, ahead))
                break
            at = next_sync(view[: most_before + size * _MARKS], size, at + 1)
    return min(found, key=lambda shape: shape[1], default=None)


def _is_row(marks: bytes) -> bool:
    return len(marks) >= _LEAST_MARKS and marks.count(SYNC) * 10 >= len(marks) * 9


def _plausible(data: bytes | npt.NDArray[np.uint8], at: int, size: int) -> int:
    """
    Return how many of the next packets have a header that makes sense.

    Other bytes look like sync bytes too: the arrival time's first stands still for half a second.
    """
    return sum(
        data[place] == SYNC and not data[place + 1] & 0x80 and data[place + 3] & 0x30 != 0
        for place in range(at, min(at + size * _MARKS, len(data) - 3), size)
    )


def packet_runs(data: npt.NDArray[np.uint8], size: int, at: int) -> tuple[npt.NDArray[np.int64], list[int], int | None]:
    """
    Return where whole packets begin (their sync bytes) in a piece whose first may begin at `at`, where bytes begin that
    are no packets, and where the packet behind the last would begin (None: unknown).

    A packet whose sync byte is damaged is left out; behind bytes that are no packets the next row of sync bytes counts.
    """
    runs: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    losses: list[int] = []
    behind: int | None = at
    while behind is not None and behind + PACKET <= len(data):
        at = behind
        marks = data[at : len(data) - PACKET + 1 : size] == SYNC
        lost = _first_run(~marks)
        whole = len(marks) if lost is None else lost
        runs.append(at + np.flatnonzero(marks[:whole]) * size)
        behind = at + whole * size
        if lost is not None:
            losses.append(behind)
            # the packet before may be cut off itself
            behind = next_sync(data, size, behind - size + 1 if lost else behind)
    return np.concatenate(runs), losses, behind


def packet_places(data: npt.NDArray[np.uint8], size: int, at: int) -> npt.NDArray[np.int64]:
    """Return where whole packets begin."""
    return packet_runs(data, size, at)[0]


def next_sync(data: npt.NDArray[np.uint8], size: int, at: int) -> int | None:
    """Return the first place from `at` on with five sync bytes a packet apart, None when there is none."""
    window = 1 << 11  # mostly it is near
    beyond = size * (_LEAST_MARKS - 1)
    while at + beyond < len(data):
        piece = data[at : at + window + beyond] == SYNC
        count = len(piece) - beyond
        rows = piece[:count].copy()
        for mark in range(1, _LEAST_MARKS):
            rows &= piece[mark * size : mark * size + count]
        found = np.flatnonzero(rows)
        if len(found):
            rivals: list[int] = (at + found[found < found[0] + size]).tolist()
            return rivals[0] if len(rivals) == 1 else max(rivals, key=lambda one: _plausible(data, one, size))
        at, window = at + count, min(window * 4, 1 << 20)
    return None


def _first_run(wrong: npt.NDArray[np.bool_]) -> int | None:
    """Return where the first `_LOST_SYNC` in a row begin; a shorter row at the very end does not count."""
    if len(wrong) < _LOST_SYNC or not wrong.any():
        return None
    rows = wrong[: len(wrong) - _LOST_SYNC + 1].copy()
    for step in range(1, _LOST_SYNC):
        rows &= wrong[step : len(wrong) - _LOST_SYNC + 1 + step]
    return int(rows.argmax()) if rows.any() else None


def headers(data: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Return the packets' four header bytes, each as one big-endian number."""
    rows = np.lib.stride_tricks.as_strided(data, (max(0, len(data) - 3), 4), (1, 1), writeable=False)[places]
    return np.ascontiguousarray(rows).view(">u4")[:, 0].astype(np.uint32)


@dataclass(slots=True)
class SectionReader:
    """Puts the sections of any number of PIDs together; what is damaged is left out."""

    _open: dict[int, bytearray] = field(default_factory=dict)
    _counters: dict[int, int] = field(default_factory=dict)

    def read(self, packet: bytes) -> list[bytes]:
        """
        Take the next packet (188 bytes) and return the sections that it completes.

        Sections with a wrong CRC are dropped, and those of the short form that are neither TDT nor TOT.
        """
        pid, control = (packet[1] & 0x1F) << 8 | packet[2], packet[3]
        if not control & 0x10 or control & 0xC0 or packet[1] & 0x80:
            return []
        last, self._counters[pid] = self._counters.get(pid), control & 15
        if last == control & 15:
            return []  # sent twice, as a packet may be
        if last is not None and (last + 1) & 15 != control & 15:
            self._open.pop(pid, None)
        payload = packet[5 + packet[4] :] if control & 0x20 else packet[4:]
        if not packet[1] & 0x40:
            return self._continue(pid, payload) if pid in self._open else []
        if not payload or payload[0] >= len(payload):
            self._open.pop(pid, None)
            return []
        tail, begin = payload[1 : 1 + payload[0]], payload[1 + payload[0] :]
        whole = self._continue(pid, tail) if pid in self._open else []
        self._open[pid] = bytearray()
        return whole + self._continue(pid, begin)

    def _continue(self, pid: int, payload: bytes) -> list[bytes]:
        collected = self._open[pid]
        whole: list[bytes] = []
        collected += payload
        while len(collected) >= 3 and collected[0] != 0xFF:
            length = 3 + ((collected[1] & 0x0F) << 8 | collected[2])
            if len(collected) < length:
                return whole
            section = bytes(collected[:length])
            del collected[:length]
            if _is_whole(section):
                whole.append(section)
        if collected[:1] == b"\xff":
            del self._open[pid]  # stuffing up to the packet's end
        return whole


def _is_whole(section: bytes) -> bool:
    if section[1] & 0x80:
        return len(section) >= 12 and crc32(section) == 0
    if section[0] == _TDT:
        return len(section) >= 8
    # the TOT is of the short form, and has a CRC nevertheless
    return section[0] == _TOT and len(section) >= 14 and crc32(section) == 0


def sections_of(
    data: bytes, shape: tuple[int, int, int], pids: Iterable[int], most: int = 10_000
) -> Iterator[tuple[int, int, bytes]]:
    """Yield (PID, offset of the packet that completed it, section) of `pids`, from at most `most` of their packets."""
    size, start, ahead = shape
    view = np.frombuffer(data, np.uint8)
    places = packet_places(view, size, start + ahead)
    found = headers(view, places) >> 8 & 0x1FFF
    reader = SectionReader()
    for at in places[np.isin(found, np.fromiter(pids, np.uint32))][:most].tolist():
        for section in reader.read(data[at : at + PACKET]):
            yield (data[at + 1] & 0x1F) << 8 | data[at + 2], at, section


def sample(data: bytes) -> TransportSample | None:
    """
    Judge a piece of a transport stream that may begin anywhere; a few MiB show the tables several times.

    Returns None when `data` is no transport stream.
    """
    shape = packet_shape(data)
    if shape is None:
        return None
    size, start, ahead = shape
    view = np.frombuffer(data, np.uint8)
    places = packet_places(view, size, start + ahead)
    head = headers(view, places)
    pids = head >> 8 & 0x1FFF
    loaded = (head & 0x10 != 0) & (pids != NULL_PID)
    encrypted = loaded & (head & 0xC0 != 0)
    payloads, scrambled = int(loaded.sum()), int(encrypted.sum())
    numbers, pat = _programme_numbers(data, shape)
    tables: dict[bytes, Programme] = {}
    latest: dict[int, Programme] = {}
    if numbers:
        for pid, _, section in sections_of(data, shape, numbers):
            number = section[3] << 8 | section[4]
            if section[0] != PMT or number != numbers[pid] or not section[5] & 1 or len(section) < 16:
                continue
            latest[number] = tables.get(section) or _programme(number, pid, section)
            if len(tables) < _MOST_TABLES:
                tables.setdefault(section, latest[number])
    return TransportSample(
        packets=len(head),
        scrambled_ratio=scrambled / payloads if payloads else 0.0,
        programmes=tuple(latest[number] for number in dict.fromkeys(numbers.values()) if number in latest),
        tables=tuple(tables.values()),
        bytes_by_pid=_bytes_by_pid(pids[loaded & ~encrypted]),
        scrambled_by_pid=_bytes_by_pid(pids[encrypted]),
        starts_by_pid=_starts_by_pid(view, places, head, loaded & ~encrypted),
        pat=pat,
    )


def _starts_by_pid(
    data: npt.NDArray[np.uint8],
    places: npt.NDArray[np.int64],
    head: npt.NDArray[np.uint32],
    clear: npt.NDArray[np.bool_],
) -> dict[int, int]:
    """Count the packets in which a PES packet begins: its start code stands first in their payload."""
    begins = clear & (head & 0xC00000 == 0x400000)  # a start, and no error
    at, pids = places[begins], (head[begins] >> 8 & 0x1FFF)
    ahead = np.where(head[begins] & 0x20 != 0, 5 + data[at + 4].astype(np.int64), 4)
    inside = ahead <= PACKET - 4
    at, pids, ahead = at[inside], pids[inside], ahead[inside]
    first = at + ahead
    is_pes = (data[first] == 0) & (data[first + 1] == 0) & (data[first + 2] == 1) & (data[first + 3] >= 0xBC)
    found, counts = np.unique(pids[is_pes], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _bytes_by_pid(pids: npt.NDArray[np.uint32]) -> dict[int, int]:
    found, counts = np.unique(pids, return_counts=True)
    return dict(zip(found.tolist(), (counts * PACKET).tolist(), strict=True))


def _programme_numbers(data: bytes, shape: tuple[int, int, int]) -> tuple[dict[int, int], bytes]:
    """Return {PMT PID: programme number} of all association tables, and the last of them."""
    numbers: dict[int, int] = {}
    last = b""
    for _, _, section in sections_of(data, shape, [0]):
        if section[0] != PAT or not section[5] & 1:
            continue
        last = section
        for at in range(8, len(section) - 7, 4):
            number = section[at] << 8 | section[at + 1]
            if number:  # 0 is the network table, not a programme
                numbers[(section[at + 2] & 0x1F) << 8 | section[at + 3]] = number
    return numbers, last


def _programme(number: int, pid: int, section: bytes) -> Programme:
    return Programme(
        number=number,
        streams=parse_streams(section),
        pcr_pid=(section[8] & 0x1F) << 8 | section[9],
        pmt_pid=pid,
        version=section[5] >> 1 & 31,
        section=section,
    )
