"""Programmes, packet sizes and scrambling, from the bytes of a transport stream."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.transport_stream import Programme, packet_shape, sample

VIDEO_TYPE, AUDIO_TYPE = 0x02, 0x0F


def packet(pid: int, payload: bytes, *, start: bool = False, scrambled: bool = False, ahead: int = 0) -> bytes:
    """One 188-byte packet; `ahead` bytes of adaptation field, the rest is filled up with 0xff."""
    control = (0x80 if scrambled else 0) | 0x10 | (0x20 if ahead else 0)
    head = bytes([0x47, (0x40 if start else 0) | pid >> 8, pid & 0xFF, control])
    field = bytes([ahead - 1]) + b"\0" * (ahead - 1) if ahead else b""
    return (head + field + payload).ljust(188, b"\xff")[:188]


def section(table: int, number: int, body: bytes) -> bytes:
    """One PSI section with its header and a CRC that nobody checks."""
    content = number.to_bytes(2, "big") + b"\xc1\x00\x00" + body + b"CRC4"
    return bytes([table, 0xB0 | len(content) >> 8, len(content) & 0xFF]) + content


def pat(programmes: dict[int, int]) -> bytes:
    """{programme number: PMT PID}"""
    return section(
        0, 1, b"".join(n.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for n, pid in programmes.items())
    )


def pmt(number: int, streams: list[tuple[int, int]], descriptors: bytes = b"") -> bytes:
    """[(stream type, PID)]; each stream carries `descriptors`."""
    body = (0xE100).to_bytes(2, "big") + (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    for kind, pid in streams:
        body += bytes([kind]) + (0xE000 | pid).to_bytes(2, "big")
        body += (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    return section(2, number, body)


def as_packets(pid: int, whole: bytes, ahead: int = 0) -> list[bytes]:
    """A section over as many packets as it needs; `ahead` shortens each of them."""
    data, packets = b"\0" + whole, []
    room = 184 - ahead
    for at in range(0, len(data), room):
        packets.append(packet(pid, data[at : at + room], start=at == 0, ahead=ahead))
    return packets


def stream(*tables: list[bytes], payload: int = 40, scrambled: int = 0) -> list[bytes]:
    """The tables, then `payload` clear packets of PID 0x100 and `scrambled` encrypted ones."""
    clear = [packet(0x100, bytes([n % 200]) * 184) for n in range(payload)]
    return [*(one for table in tables for one in table), *clear, *[packet(0x100, b"x", scrambled=True)] * scrambled]


ONE = (as_packets(0, pat({0: 0x10, 7: 0x1000})), as_packets(0x1000, pmt(7, [(VIDEO_TYPE, 0x100), (AUDIO_TYPE, 0x110)])))


@pytest.mark.parametrize(
    ("size", "before", "after"), [(188, b"", b""), (192, b"\0\1\2\3", b""), (204, b"", b"\x11" * 16)]
)
@pytest.mark.parametrize("cut", [0, 1, 100, 187])
def test_all_packet_sizes_are_known_wherever_the_piece_begins(size: int, before: bytes, after: bytes, cut: int) -> None:
    data = b"".join(before + one + after for one in stream(*ONE, *ONE))[cut:]
    shape, found = packet_shape(data), sample(data)

    assert shape is not None and found is not None
    assert (size, len(before)) == (shape[0], shape[2])
    assert found.programmes == (Programme(number=7, pids=(0x100, 0x110)),)


def test_tables_may_spread_over_packets() -> None:
    """A PMT with long descriptors takes several packets, and adaptation fields make them shorter still."""
    streams = [(VIDEO_TYPE, 0x100), *((AUDIO_TYPE, 0x110 + n) for n in range(8))]
    table = as_packets(0x1000, pmt(7, streams, b"\x09\x30" + b"D" * 0x30), ahead=20)
    found = sample(b"".join(stream(as_packets(0, pat({7: 0x1000})), table)))

    assert len(table) > 2
    assert found is not None
    assert found.programmes == (Programme(number=7, pids=tuple(pid for _, pid in streams)),)


def test_programmes_come_in_the_order_of_the_association_table() -> None:
    """Programme number 0 is the network's table and no programme."""
    tables = [
        as_packets(0, pat({0: 0x10, 1032: 0x1020, 1024: 0x1010})),
        as_packets(0x1010, pmt(1024, [(VIDEO_TYPE, 0x100)])),
        as_packets(0x1020, pmt(1032, [(VIDEO_TYPE, 0x200)])),
    ]
    found = sample(b"".join(stream(*tables)))

    assert found is not None
    assert [programme.number for programme in found.programmes] == [1032, 1024]


@pytest.mark.parametrize(("clear", "scrambled", "ratio"), [(40, 0, 0.0), (0, 40, 1.0), (30, 10, 0.25)])
def test_scrambled_packets_are_counted_among_those_with_payload(clear: int, scrambled: int, ratio: float) -> None:
    """Null packets, and packets that are only an adaptation field, do not count."""
    fillers = [packet(0x1FFF, b"x")] * 50 + [bytes([0x47, 1, 0, 0x20, 183]) + b"\0" * 183] * 50
    found = sample(b"".join(stream(payload=clear, scrambled=scrambled) + fillers))

    assert found is not None
    assert ratio == found.scrambled_ratio
    assert clear + scrambled + 100 == found.packets


@pytest.mark.parametrize("data", [b"", b"\x47", b"\x47" * 700, b"text\n" * 1000, bytes(4096), bytes(range(256)) * 64])
def test_other_bytes_are_no_transport_stream_or_an_empty_one(data: bytes) -> None:
    found = sample(data)

    assert found is None or found.programmes == ()


def test_bad_reception_does_not_hide_the_stream() -> None:
    """Garbage in the first half, and every 15th sync byte wrong: the tables are still found."""
    packets = stream(*ONE * 20, payload=400)
    damaged = [b"\0" + one[1:] if n % 15 == 3 else one for n, one in enumerate(packets)]
    clean, behind_garbage = sample(b"".join(damaged)), sample(bytes(range(256)) * 250 + b"".join(damaged))

    assert clean is not None and behind_garbage is not None
    assert [7] == [programme.number for programme in clean.programmes]


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    sample(data)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 0x1000, 0x100]), st.booleans(), st.binary(max_size=184)), min_size=5))
def test_no_tables_make_it_raise(pieces: list[tuple[int, bool, bytes]]) -> None:
    """Well-formed packets whose sections are anything."""
    packets = [packet(pid, body, start=start) for pid, start, body in pieces]

    assert sample(b"".join([*as_packets(0, pat({7: 0x1000})), *packets])) is not None


def test_a_look_at_two_places_takes_no_time() -> None:
    """2 × 2 MiB in less than 50 ms of this thread, the best of five."""
    data = b"".join(stream(*ONE, payload=11_000))[: 2 * 1024 * 1024]
    times_s = []
    for _ in range(5):
        begin_s = time.thread_time()
        for _ in range(2):
            assert sample(data) is not None
        times_s.append(time.thread_time() - begin_s)

    assert min(times_s) < 0.05
