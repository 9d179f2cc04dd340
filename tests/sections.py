"""Transport streams made by hand: packets, and the tables of ISO/IEC 13818-1 and EN 300 468 with true checksums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from encoderd.encode.transport_stream import crc32

TS = 188
VIDEO_MPEG2, AUDIO_MPEG1, PRIVATE, AUDIO_ADTS, AUDIO_LATM, VIDEO_H264 = 0x02, 0x03, 0x06, 0x0F, 0x11, 0x1B


@dataclass(frozen=True)
class Es:
    """One entry of a PMT; `descriptors` ready-made."""

    stream_type: int
    pid: int
    descriptors: bytes = b""


def packet(
    pid: int,
    payload: bytes = b"",
    *,
    counter: int = 0,
    start: bool = False,
    scrambled: bool = False,
    error: bool = False,
    adaptation: bytes | None = None,
) -> bytes:
    """One packet; `adaptation` is the field without its length byte. Without payload there is only that field."""
    control = (0x80 if scrambled else 0) | (0x10 if payload else 0) | (0 if adaptation is None else 0x20) | counter & 15
    head = bytes([0x47, (0x80 if error else 0) | (0x40 if start else 0) | pid >> 8, pid & 0xFF, control])
    if adaptation is not None:
        if not payload:
            adaptation = adaptation.ljust(183, b"\xff")
        head += bytes([len(adaptation)]) + adaptation
    return (head + payload).ljust(TS, b"\xff")[:TS]


def clock_field(ticks: int, *, discontinuity: bool = False) -> bytes:
    """An adaptation field (for `packet`) with a PCR of `ticks` of 90 kHz."""
    return bytes([0x10 | (0x80 if discontinuity else 0)]) + ((ticks % 2**33) << 15 | 0x7E00).to_bytes(6, "big")


def section(
    table_id: int, extension: int, version: int, body: bytes, *, current: bool = True, number: int = 0
) -> bytes:
    """A section in the long form, with its CRC; `number` of two, where it is not the first."""
    content = extension.to_bytes(2, "big") + bytes([0xC0 | (version & 31) << 1 | current, number, number]) + body
    head = bytes([table_id, 0xB0 | (len(content) + 4) >> 8, (len(content) + 4) & 0xFF])
    return head + content + crc32(head + content).to_bytes(4, "big")


def packets_of_section(pid: int, whole: bytes, counter: int = 0, *, room: int = 184) -> list[bytes]:
    """A section over as many packets as it needs; `room` below 184 fills up with an adaptation field."""
    data, packets = b"\0" + whole, []
    field = None if room == 184 else b"\0" * (183 - room)
    for number, at in enumerate(range(0, len(data), room)):
        piece = data[at : at + room].ljust(room, b"\xff")
        packets.append(packet(pid, piece, counter=counter + number, start=at == 0, adaptation=field))
    return packets


def descriptor(tag: int, body: bytes) -> bytes:
    return bytes([tag, len(body)]) + body


def language(*codes: str) -> bytes:
    """ISO 639 language descriptor."""
    return descriptor(0x0A, b"".join(code.encode() + b"\0" for code in codes))


def component_tag(tag: int) -> bytes:
    """Stream identifier descriptor."""
    return descriptor(0x52, bytes([tag]))


def pat(programmes: Mapping[int, int], version: int = 0) -> bytes:
    """{programme number: PMT PID}"""
    entries = (n.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for n, pid in programmes.items())
    return section(0, 1, version, b"".join(entries))


def pmt(
    number: int,
    pcr_pid: int,
    streams: Iterable[Es],
    version: int = 0,
    descriptors: bytes = b"",
    *,
    current: bool = True,
) -> bytes:
    body = (0xE000 | pcr_pid).to_bytes(2, "big") + (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    for one in streams:
        body += bytes([one.stream_type]) + (0xE000 | one.pid).to_bytes(2, "big")
        body += (0xF000 | len(one.descriptors)).to_bytes(2, "big") + one.descriptors
    return section(2, number, version, body, current=current)


def sdt(services: Mapping[int, tuple[bytes, bytes]], network: int = 0x2000, version: int = 0) -> bytes:
    """{service: (provider, name)}, both as coded text."""
    body = network.to_bytes(2, "big") + b"\xff"
    for number, (provider, name) in services.items():
        one = descriptor(0x48, bytes([1, len(provider)]) + provider + bytes([len(name)]) + name)
        body += number.to_bytes(2, "big") + b"\xfc" + (0x8000 | len(one)).to_bytes(2, "big") + one
    return section(0x42, 1, version, body)


def bcd(value: int) -> int:
    return value // 10 << 4 | value % 10


def broadcast_time(day: int, hour: int, minute: int, second: int) -> bytes:
    """A modified Julian date and a time of the day, as EN 300 468 annex C codes them."""
    return day.to_bytes(2, "big") + bytes(map(bcd, (hour, minute, second)))


def eit(
    service: int,
    events: Sequence[tuple[int, bytes, int, bytes, bytes]],
    network: int = 0x2000,
    version: int = 0,
    code: bytes = b"eng",
    number: int = 0,
) -> bytes:
    """[(event, its start as `broadcast_time`, duration in s, title, text)]; section 0 is present, 1 following."""
    body = b"\0\1" + network.to_bytes(2, "big") + b"\0\x4e"
    for event, start, duration_s, title, text in events:
        one = descriptor(0x4D, code + bytes([len(title)]) + title + bytes([len(text)]) + text)
        length = bytes(map(bcd, (duration_s // 3600, duration_s // 60 % 60, duration_s % 60)))
        body += event.to_bytes(2, "big") + start + length + (0x8000 | len(one)).to_bytes(2, "big") + one
    return section(0x4E, service, version, body, number=number)


def tot(at: bytes, descriptors: bytes = b"") -> bytes:
    """A time offset table; without descriptors as ARIB sends it."""
    content = at + (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    head = bytes([0x73, 0x70 | (len(content) + 4) >> 8, (len(content) + 4) & 0xFF])
    return head + content + crc32(head + content).to_bytes(4, "big")


def tdt(at: bytes) -> bytes:
    """A time and date table: no CRC."""
    return bytes([0x70, 0x70, len(at)]) + at
