"""
A small multiplexer of transport streams, and surgery on its packets (ISO/IEC 13818-1).

Written by hand so that every table, descriptor, clock and counter can be as wrong as a broadcaster's. Times are ticks
of 90 kHz since the recording's first moment; they become 33 bits on the way into the stream.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from tests.encoding import TS, WRAP, packets_of
from tests.sections import Es, pat, pmt

HZ = 90_000
#: Pictures travel this long before they are shown, sound less: what a broadcaster's buffers make of it.
VIDEO_DELAY, AUDIO_DELAY = round(0.7 * HZ), round(0.4 * HZ)
#: Tables are repeated this often. ISO/IEC 13818-1 leaves it open, ETSI TR 101 290 asks for 0.5 s at most.
TABLES_EVERY = HZ // 5
PAT_PID, NULL_PID = 0, 0x1FFF
MPEG2, MPEG1_AUDIO, PRIVATE, ADTS, H264, HEVC, LATM, DATA_CAROUSEL = 0x02, 0x03, 0x06, 0x0F, 0x1B, 0x24, 0x11, 0x0D
FOREVER = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """
    An access unit, as it goes into one PES packet. It is sent in its place by dts, or as if that were `sent`.

    `told` are the stamps in the header: "both", "pts" or "none".
    """

    pts: int
    dts: int
    data: bytes
    sent: int | None = None
    told: str = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Elementary:
    """One PID. Its line stands in the programme's map from `announced` ticks of arrival until `withdrawn`."""

    pid: int
    stream_type: int
    units: Sequence[Unit]
    descriptors: bytes = b""
    announced: int = 0
    withdrawn: int = FOREVER

    @property
    def is_video(self) -> bool:
        return self.stream_type in {MPEG2, H264, HEVC}

    @property
    def stream_id(self) -> int:
        """ISO/IEC 13818-1, table 2-22."""
        if self.is_video:
            return 0xE0
        return 0xC0 if self.stream_type in {MPEG1_AUDIO, ADTS, LATM} else 0xBD

    @property
    def delay(self) -> int:
        return VIDEO_DELAY if self.is_video else AUDIO_DELAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One programme of the stream; its clock travels on the first of `streams`, `descriptors` are its own."""

    number: int
    pmt_pid: int
    streams: Sequence[Elementary]
    descriptors: bytes = b""
    announced: int = 0
    withdrawn: int = FOREVER


# --- packets


@dataclass(slots=True)
class Packetizer:
    """Cuts sections and PES packets into packets, counting per PID."""

    counters: dict[int, int] = field(default_factory=dict)

    def section(self, pid: int, data: bytes) -> Iterator[bytes]:
        padded = b"\0" + data
        padded += b"\xff" * (-len(padded) % 184)
        yield from self.payload(pid, padded, None)

    def payload(self, pid: int, data: bytes, pcr: int | None) -> Iterator[bytes]:
        """Yield the packets of one unit; the clock `pcr` is in the first of them."""
        at = 0
        while at < len(data):
            adaptation = b""
            if at == 0 and pcr is not None:
                adaptation = b"\x10" + ((pcr % WRAP) << 15 | 0x7E00).to_bytes(6, "big")
            room = 184 - (len(adaptation) + 1 if adaptation else 0)
            piece = data[at : at + room]
            missing = room - len(piece)
            if missing and not adaptation:  # the length byte alone is stuffing of one byte
                adaptation, missing, bare = b"\0" if missing > 1 else b"", max(0, missing - 2), True
            else:
                bare = bool(adaptation)
            adaptation += b"\xff" * missing
            counter = self.counters.get(pid, -1) + 1 & 0x0F
            self.counters[pid] = counter
            head = bytes([0x47, (0x40 if at == 0 else 0) | pid >> 8, pid & 0xFF, (0x30 if bare else 0x10) | counter])
            yield head + (bytes([len(adaptation)]) + adaptation if bare else b"") + piece
            at += len(piece)


def stamp(mark: int, ticks: int) -> bytes:
    """A PTS or DTS as in a PES header (2.4.3.7)."""
    ticks %= WRAP
    value = mark << 36 | (ticks >> 30) << 33 | 1 << 32 | (ticks >> 15 & 0x7FFF) << 17 | 1 << 16 | (ticks & 0x7FFF) << 1
    return (value | 1).to_bytes(5, "big")


def pes(stream_id: int, pts: int, dts: int, data: bytes, told: str = "both") -> bytes:
    if told == "none":
        flags, times = 0, b""
    elif told == "pts" or pts == dts:
        flags, times = 0x80, stamp(2, pts)
    else:
        flags, times = 0xC0, stamp(3, pts) + stamp(1, dts)
    rest = bytes([0x84, flags, len(times)]) + times + data
    length = 0 if stream_id == 0xE0 or len(rest) > 0xFFFF else len(rest)
    return b"\0\0\1" + bytes([stream_id]) + length.to_bytes(2, "big") + rest


def multiplexed(services: Sequence[Service], *, clock: Callable[[int], int]) -> bytes:
    """
    Return the transport stream of `services`. `clock` gives the stamp for a time since the start, by what is shown
    then: where it jumps, the streams jump each at their own place.
    """
    arrivals: list[tuple[int, int, Elementary, Unit]] = [
        ((unit.dts if unit.sent is None else unit.sent) - stream.delay, stream.pid, stream, unit)
        for service in services
        for stream in service.streams
        for unit in stream.units
    ]
    arrivals.sort(key=lambda arrival: arrival[:2])
    clocks = {service.streams[0].pid for service in services}
    tables, cutter = _Tables(services), Packetizer()
    out: list[bytes] = []
    for at, pid, stream, unit in arrivals:
        out += tables.due(at, cutter)
        shift = clock(unit.pts) - unit.pts
        data = pes(stream.stream_id, unit.pts + shift, unit.dts + shift, unit.data, unit.told)
        out += cutter.payload(pid, data, at + shift if pid in clocks else None)
    return b"".join(out)


@dataclass(slots=True)
class _Tables:
    """The tables as they are sent again and again, with a new version where they changed."""

    services: Sequence[Service]
    _sent_at: int = -FOREVER
    _versions: dict[int, tuple[bytes, int]] = field(default_factory=dict)

    def due(self, at: int, cutter: Packetizer) -> Iterator[bytes]:
        if at < self._sent_at + TABLES_EVERY:
            return
        self._sent_at, begin = at, max(at, 0)
        present = [entry for entry in self.services if entry.announced <= begin < entry.withdrawn]
        numbers = {entry.number: entry.pmt_pid for entry in present}
        yield from cutter.section(PAT_PID, self._versioned(PAT_PID, partial(pat, numbers)))
        for service in present:
            lines = [
                Es(stream_type=entry.stream_type, pid=entry.pid, descriptors=entry.descriptors)
                for entry in service.streams
                if entry.announced <= begin < entry.withdrawn
            ]
            table = partial(pmt, service.number, service.streams[0].pid, lines, descriptors=service.descriptors)
            yield from cutter.section(service.pmt_pid, self._versioned(service.pmt_pid, table))

    def _versioned(self, pid: int, make: Callable[[int], bytes]) -> bytes:
        plain = make(0)
        before, version = self._versions.get(pid, (plain, 0))
        if before != plain:
            version += 1
        self._versions[pid] = (plain, version)
        return make(version)


def together(units: Sequence[Unit], count: int) -> list[Unit]:
    """Put `count` access units into each PES packet, which has the stamps of the first one (2.4.3.7)."""
    groups = [units[first : first + count] for first in range(0, len(units), count)]
    return [replace(group[0], data=b"".join(unit.data for unit in group)) for group in groups]


def stamped_once(units: Sequence[Unit], every: int, told: str = "both") -> list[Unit]:
    """Leave the stamps to the first of `every` units, and of these as many as `told` says."""
    return [replace(unit, told=told if number % every == 0 else "none") for number, unit in enumerate(units)]


# --- surgery


def clock_of(packet: bytes | bytearray) -> int | None:
    """Return the packet's PCR in ticks, None when it has none."""
    if packet[3] & 0x20 and packet[4] and packet[5] & 0x10:
        return int.from_bytes(packet[6:11], "big") >> 7
    return None


def timed(data: bytes) -> Iterator[tuple[int, int, bytearray]]:
    """Yield (ticks since the first PCR, PID, packet), as the clock before the packet says."""
    first: int | None = None
    now = 0
    for pid, packet in packets_of(data):
        found = clock_of(packet)
        if found is not None:
            first = found if first is None else first
            now = (found - first) % WRAP
        yield now, pid, packet


def without(data: bytes, begin: int, end: int) -> bytes:
    """Nothing was received from `begin` to `end` (ticks): the packets are gone, the clocks and counters went on."""
    return b"".join(bytes(packet) for at, _, packet in timed(data) if not begin <= at < end)


def between(data: bytes, begin: int, end: int) -> bytes:
    """Only what was received from `begin` to `end` (ticks)."""
    return b"".join(bytes(packet) for at, _, packet in timed(data) if begin <= at < end)


def bursts_lost(data: bytes, bursts: int, packets: int, seed: int) -> tuple[bytes, int]:
    """Lose `bursts` runs of `packets` packets each, evenly spread with some jitter; returns how many are gone."""
    noise, whole = random.Random(seed), [bytes(packet) for _, packet in packets_of(data)]
    step, lost = len(whole) // (bursts + 1), set[int]()
    for number in range(1, bursts + 1):
        begin = number * step + noise.randrange(-step // 8, step // 8 + 1)
        lost |= set(range(begin, begin + packets))
    kept = [packet for number, packet in enumerate(whole) if number not in lost]
    return b"".join(kept), len(whole) - len(kept)


def remapped(data: bytes, pids: Mapping[int, int]) -> bytes:
    """Other PIDs in the packets' headers; the tables are left alone."""
    out = []
    for pid, packet in packets_of(data):
        other = pids.get(pid, pid)
        packet[1], packet[2] = packet[1] & 0xE0 | other >> 8, other & 0xFF
        out.append(bytes(packet))
    return b"".join(out)


def as_m2ts(data: bytes, bit_rate_bps: int = 4_000_000) -> bytes:
    """Packets of 192 bytes: each after its arrival time, 30 bits at 27 MHz. Source: Blu-ray's BDAV, also on disc."""
    ticks = TS * 8 * 27_000_000 // bit_rate_bps
    return b"".join(
        (number * ticks % 2**30).to_bytes(4, "big") + bytes(packet)
        for number, (_, packet) in enumerate(packets_of(data))
    )


def errors_flagged(data: bytes, share: float, seed: int) -> bytes:
    """A receiver that could not repair a packet sets transport_error_indicator, and passes it on spoilt."""
    noise, out = random.Random(seed), []
    for _, packet in packets_of(data):
        if noise.random() < share:
            packet[1] |= 0x80
            packet[20:60] = noise.randbytes(40)
        out.append(bytes(packet))
    return b"".join(out)


def recounted(data: bytes, begin: int, step: int) -> bytes:
    """From `begin` (ticks) on all continuity counters are `step` further, as after a loss."""
    out = []
    for at, _, packet in timed(data):
        if at >= begin:
            packet[3] = packet[3] & 0xF0 | (packet[3] + step & 0x0F)
        out.append(bytes(packet))
    return b"".join(out)
