"""
MPEG transport streams from their bytes: packet size, scrambling, programmes and their PIDs.

FFmpeg shows streams but not, through PyAV, which programme they belong to; and of a scrambled recording it only says
that there are no codec parameters. Sources: ISO/IEC 13818-1, 2.4.3 (packets), 2.4.4 (PSI sections).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SYNC = 0x47
NULL_PID = 0x1FFF
#: Packet size in bytes → offset of the sync byte: plain, with a 4-byte arrival time (m2ts), with 16 bytes of FEC.
_SHAPES = {188: 0, 192: 4, 204: 0}
#: How many sync bytes in a row are looked at, and how many there must be at least.
_MARKS, _LEAST_MARKS = 40, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """One programme: its number and the PIDs of its elementary streams, in the order of the PMT."""

    number: int
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSample:
    """What a piece of a transport stream tells. `scrambled_ratio` is the share (0…1) of packets with payload."""

    packets: int
    scrambled_ratio: float
    programmes: tuple[Programme, ...]


def packet_shape(data: bytes) -> tuple[int, int, int] | None:
    """
    Return (packet size, offset of the first packet, offset of its sync byte), None if this is no such stream.

    Reception is not perfect: a tenth of the sync bytes may be wrong, and the first half may be anything.
    """
    for begin in (0, len(data) // 2):
        for size, ahead in _SHAPES.items():
            for start in range(begin, begin + size):
                marks = data[start + ahead : start + ahead + size * _MARKS : size]
                if len(marks) >= _LEAST_MARKS and marks.count(SYNC) * 10 >= len(marks) * 9:
                    return size, start, ahead
    return None


def sample(data: bytes) -> TransportSample | None:
    """
    Judge a piece of a transport stream that may begin anywhere; a few MiB show the tables several times.

    Returns None when `data` is no transport stream.
    """
    shape = packet_shape(data)
    if shape is None:
        return None
    count = scrambled = payloads = 0
    sections: dict[int, bytearray] = {}
    programmes: dict[int, int] = {}  # PMT PID → programme number
    found: dict[int, Programme] = {}
    for packet in _packets(data, *shape):
        count += 1
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if pid == NULL_PID or not packet[3] & 0x10:
            continue
        payloads += 1
        if packet[3] & 0xC0:
            scrambled += 1
            continue
        if pid != 0 and pid not in programmes:
            continue
        section = _section(sections, pid, packet)
        if section is None:
            continue
        if pid == 0 and section[0] == 0x00:
            programmes.update(_pat(section))
        elif pid in programmes and section[0] == 0x02:
            found[programmes[pid]] = Programme(number=programmes[pid], pids=_pmt(section))
    ordered = tuple(found[number] for number in programmes.values() if number in found)
    return TransportSample(packets=count, scrambled_ratio=scrambled / payloads if payloads else 0.0, programmes=ordered)


def _packets(data: bytes, size: int, start: int, ahead: int) -> Iterator[bytes]:
    for at in range(start + ahead, len(data) - 187, size):
        if data[at] == SYNC:
            yield data[at : at + 188]


def _section(sections: dict[int, bytearray], pid: int, packet: bytes) -> bytes | None:
    """Collect a PID's section over packets; return it when it is whole."""
    payload = packet[4:]
    if packet[3] & 0x20:
        payload = payload[1 + payload[0] :]
    if not payload:
        return None
    if packet[1] & 0x40:
        sections[pid] = bytearray(payload[1 + payload[0] :])
    elif pid in sections:
        sections[pid] += payload
    collected = sections.get(pid)
    if collected is None or len(collected) < 3:
        return None
    length = 3 + ((collected[1] & 0x0F) << 8 | collected[2])
    if len(collected) < length or length < 12:
        return None
    del sections[pid]
    return bytes(collected[:length])


def _pat(section: bytes) -> dict[int, int]:
    """Return {PMT PID: programme number}; number 0 is the network table, not a programme."""
    entries = section[8:-4]
    table = {}
    for at in range(0, len(entries) - 3, 4):
        number = entries[at] << 8 | entries[at + 1]
        if number:
            table[(entries[at + 2] & 0x1F) << 8 | entries[at + 3]] = number
    return table


def _pmt(section: bytes) -> tuple[int, ...]:
    at = 12 + ((section[10] & 0x0F) << 8 | section[11])
    pids = []
    while at + 5 <= len(section) - 4:
        pids.append((section[at + 1] & 0x1F) << 8 | section[at + 2])
        at += 5 + ((section[at + 3] & 0x0F) << 8 | section[at + 4])
    return tuple(pids)
