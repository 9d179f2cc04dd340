"""Damage, scrambling and clocks, counted from the packets of a whole file."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.byte_clock import CLOCK_HZ, CLOCK_WRAP
from encoderd.encode.continuity import MOST_EVENTS, ContinuityCounter, Fault, FaultKind, PidCount
from tests.sections import TS, clock_field, packet

PID = 0x100


def run(counters: str, pid: int = PID) -> list[bytes]:
    """One packet for each hexadecimal digit, which is its counter."""
    return [packet(pid, b"x" * 184, counter=int(digit, 16)) for digit in counters]


def counted(packets: list[bytes], block: int = 1 << 20, *, buckets: int = 4) -> ContinuityCounter:
    data = b"".join(packets)
    counter = ContinuityCounter(TS, 0, size_bytes=len(data), buckets=buckets)
    for at in range(0, len(data), block):
        counter.feed(data[at : at + block], at)
    return counter


def lost(packets: list[bytes], block: int = 1 << 20) -> list[int]:
    """The numbers of the packets in front of which something is missing."""
    return [one.position // TS for one in counted(packets, block).events() if one.kind is FaultKind.LOST]


FIVE = run("56789")
REST = [*FIVE, *run("abcdef0123")]


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        (run("0123456789abcdef0123"), []),
        (run("56789abc"), []),  # the first may have any number
        (run("0124567"), [3]),
        (run("0123012"), [4]),
        (run("01233456"), []),  # sent twice
        (run("01233345"), [5]),  # three times is once too many
        (run("0123") + run("9abc", 0x101) + run("4567"), []),
        (run("0123") + run("9abd", 0x101) + run("4578"), [7, 10]),
        (run("0123") + run("00000000", 0x1FFF) + run("4567"), []),
        # a packet that is only an adaptation field does not count on, whatever its counter
        ([*run("0123"), packet(PID, counter=3, adaptation=b"\x00"), *run("4567")], []),
        ([*run("0123"), packet(PID, counter=9, adaptation=b"\x00"), *run("4567")], []),
        ([*run("0123"), packet(PID, counter=3, adaptation=b"\x00"), *run("5678")], [5]),
        # discontinuity_indicator, on the packet itself and on one without payload before it
        ([*run("0123"), packet(PID, b"x" * 182, counter=9, adaptation=b"\x80"), *run("abcd")], []),
        ([*run("0123"), packet(PID, counter=3, adaptation=b"\x80"), *run("9abc")], []),
        ([*run("0123"), packet(PID, b"x" * 182, counter=9, adaptation=b"\x80"), *run("bcd")], [5]),
        # encrypted ones count too
        ([*run("012"), packet(PID, b"x" * 184, counter=4, scrambled=True), *run("5678")], [3]),
        # reserved adaptation_field_control 00: no packet at all
        ([*run("0123"), bytes([71, 1, 0, 9]) + b"x" * 184, *run("4567")], []),
    ],
)
@pytest.mark.parametrize("block", [1 << 20, TS, TS * 3, 700])
def test_counters_tell_what_is_missing(packets: list[bytes], expected: list[int], block: int) -> None:
    """However the file is cut into blocks."""
    assert expected == lost([*packets, *run("0" * 6, 0x1FFF)], block)


def test_an_error_is_one_damage() -> None:
    """The packet that could not be corrected may say anything: the next one's counter is not asked."""
    counter = counted([*run("0123"), packet(PID, b"x" * 184, counter=11, error=True), *run("5678"), *run("abcdef")])

    assert (PidCount(pid=PID, packets=15, lost=1, errors=1, scrambled=0),) == counter.counts()
    assert (
        Fault(position=4 * TS, pid=PID, kind=FaultKind.ERROR),
        Fault(position=9 * TS, pid=PID, kind=FaultKind.LOST),
    ) == counter.events()


def test_scrambling_is_counted_by_pid() -> None:
    hidden = [packet(0x111, b"x" * 184, counter=n, scrambled=True) for n in range(7)]
    counter = counted([*run("0123456"), *hidden, packet(0x111, adaptation=b"\0", scrambled=True)])

    assert (
        PidCount(pid=PID, packets=7, lost=0, errors=0, scrambled=0),
        PidCount(pid=0x111, packets=8, lost=0, errors=0, scrambled=7),
    ) == counter.counts()
    assert (Fault(position=7 * TS, pid=0x111, kind=FaultKind.SCRAMBLED, amount=7),) == counter.events()
    assert (0, 0, 0, 0) == counter.histogram()


@pytest.mark.parametrize(
    ("size", "ahead", "before", "after"), [(188, 0, b"", b""), (192, 4, b"GGGG", b""), (204, 0, b"", b"G" * 16)]
)
@pytest.mark.parametrize("block", [50, 204, 1000, 1 << 20])
def test_packets_of_all_sizes_are_counted(size: int, ahead: int, before: bytes, after: bytes, block: int) -> None:
    """Also where what is around them looks like sync bytes."""
    data = b"".join(before + one + after for one in run("0123456789abcdef" * 40))
    counter = ContinuityCounter(size, ahead)
    for at in range(0, len(data), block):
        counter.feed(data[at : at + block], at)

    assert (PidCount(pid=PID, packets=640, lost=0, errors=0, scrambled=0),) == counter.counts()
    assert counter.sync_losses == 0


@pytest.mark.parametrize("block", [1 << 20, 5000, 1880])
def test_bytes_that_are_no_packets_are_one_damage_more(block: int) -> None:
    """Packets are found again behind them, and the counters say that some are missing."""
    data = b"".join(run("0123456789abcdef" * 5)) + b"\0" * 1000 + b"".join(run("56789abcdef" + "0123456789abcdef" * 9))
    counter = ContinuityCounter(TS, 0)
    for at in range(0, len(data), block):
        counter.feed(data[at : at + block], at)
    (count,) = counter.counts()

    assert (1, 1) == (counter.sync_losses, count.lost)
    assert count.packets > 220
    assert [FaultKind.SYNC, FaultKind.LOST] == [one.kind for one in counter.events()]


def test_one_wrong_sync_byte_costs_its_packet() -> None:
    packets = run("0123456789abcdef")
    packets[7] = b"\0" + packets[7][1:]

    assert [8] == lost(packets)
    assert 0 == counted(packets).sync_losses


def test_a_gap_between_blocks_is_no_damage() -> None:
    """What was not read cannot be missed."""
    counter = ContinuityCounter(TS, 0)
    counter.feed(b"".join(run("0123456789")), 0)
    counter.feed(b"".join(run("3456789abc")), 50 * TS)

    assert [0] == [count.lost for count in counter.counts()]


def test_events_are_bounded_and_counts_are_not() -> None:
    counter = counted(run("05" * (MOST_EVENTS // 2 + 2000)), 1 << 18)

    assert MOST_EVENTS == len(counter.events())
    assert [MOST_EVENTS + 3999] == [count.lost for count in counter.counts()]


def test_the_histogram_shows_where() -> None:
    """Four parts of the file; `pids` asks for some streams only."""
    packets = [
        *run("0" * 100, 0x1FFF),
        *run("0246"),
        *run("0" * 100, 0x1FFF),
        *run("02", 0x101),
        *run("0" * 190, 0x1FFF),
    ]
    counter = counted(packets)

    assert (0, 3, 1, 0) == counter.histogram()
    assert (0, 3, 0, 0) == counter.histogram([PID])
    assert (0, 0, 1, 0) == counter.histogram([0x101, 0x102])


def clocked(ticks: list[int], spacing: int = 10, restart: int = -1) -> ContinuityCounter:
    """A packet with a PCR, then `spacing` - 1 without; the clock is set anew at number `restart`."""
    packets = []
    for number, one in enumerate(ticks):
        packets.append(packet(PID, b"x" * 100, adaptation=clock_field(one, discontinuity=number == restart)))
        packets += run("0" * (spacing - 1), 0x1FFF)
    return counted(packets)


@pytest.mark.parametrize("begin", [0, CLOCK_WRAP - CLOCK_HZ * 3 - 1])
def test_positions_have_a_time(begin: int) -> None:
    """A second between references, ten packets; the clock may wrap among them."""
    clock = clocked([(begin + second * CLOCK_HZ) % CLOCK_WRAP for second in range(10)]).clock(PID)

    assert 10 == len(clock.positions)
    assert [0, 4000, 4500, 9000, 9900] == [clock.elapsed_ms(TS * n) for n in (0, 40, 45, 90, 99)]


@pytest.mark.parametrize(("jump", "restart"), [(CLOCK_HZ * 5, 5), (CLOCK_HZ * 3600, -1), (-CLOCK_HZ * 3600, -1)])
def test_a_jump_of_the_clock_is_no_time(jump: int, restart: int) -> None:
    """Announced, or so long that it can be nothing else: between the two references no time passes."""
    ticks = [2**32 + n * CLOCK_HZ + (jump if n >= 5 else 0) for n in range(10)]
    clock = clocked(ticks, restart=restart).clock(PID)

    assert [4000, 4000, 5000, 8000] == [clock.elapsed_ms(TS * n) for n in (40, 50, 60, 90)]


def test_references_are_thinned_out() -> None:
    """One of each half second is kept; and a PID that has none has no times."""
    clock = clocked([n * 900 for n in range(1000)], 2).clock(PID)

    assert 20 == len(clock.positions)
    assert [9_500, None] == [clock.elapsed_ms(950 * 2 * TS), clocked([1]).clock(PID).elapsed_ms(0)]
    assert clocked([]).clock(0x55).elapsed_ms(5) is None


def test_a_long_recording_takes_no_more_memory() -> None:
    """When there are too many references, every second one is dropped and fewer are taken."""
    counter = ContinuityCounter(TS, 0)
    at = 0
    for hour in range(2):
        block = b"".join(packet(PID, b"x", adaptation=clock_field((hour * 60_000 + n) * 45_000)) for n in range(60_000))
        counter.feed(block, at)
        at += len(block)
    clock = counter.clock(PID)

    assert 60_000 == len(clock.positions)
    assert 45_000 * 1000 // CLOCK_HZ * 119_000 == clock.elapsed_ms(119_000 * TS)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.binary(max_size=3000), max_size=6), st.sampled_from([(188, 0), (192, 4), (204, 0)]))
def test_no_bytes_make_it_raise(blocks: list[bytes], shape: tuple[int, int]) -> None:
    counter = ContinuityCounter(*shape, size_bytes=9000)
    at = 0
    for block in blocks:
        counter.feed(block, at)
        at += len(block)

    assert len(counter.events()) <= at
    counter.counts(), counter.histogram(), counter.clock(0x100)


def placed(counter: ContinuityCounter) -> list[Fault]:
    """All but the encrypted ones, which are one a block."""
    return [fault for fault in counter.events() if fault.kind is not FaultKind.SCRAMBLED]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 4000))
def test_blocks_do_not_matter(seed: int, block: int) -> None:
    """Noisy packets, cut anywhere: the same as in one piece."""
    noise = random.Random(seed)
    packets = [
        bytearray(packet(noise.choice([0x100, 0x101, 0x1FFF]), noise.randbytes(184), counter=n)) for n in range(60)
    ]
    for _ in range(20):
        noise.choice(packets)[noise.choice([1, 2, 3, 4, 5, 9])] = noise.randrange(256)
    for _ in range(2):
        noise.choice(packets)[0] = 0
    data = b"".join(packets)
    whole, pieces = ContinuityCounter(TS, 0, size_bytes=len(data)), ContinuityCounter(TS, 0, size_bytes=len(data))
    whole.feed(data, 0)
    for at in range(0, len(data), block):
        pieces.feed(data[at : at + block], at)

    assert whole.counts() == pieces.counts()
    assert placed(whole) == placed(pieces)
    assert whole.histogram() == pieces.histogram()


def test_counting_costs_nothing_beside_an_encode() -> None:
    """16 MiB in blocks of 4: at most a second of CPU a GiB, the best of three."""
    data = b"".join(run("0123456789abcdef" * 1400)) * 4
    times_s = []
    for _ in range(3):
        counter = ContinuityCounter(TS, 0, size_bytes=len(data))
        begin_s = time.thread_time()
        for at in range(0, len(data), 1 << 22):
            counter.feed(memoryview(data)[at : at + (1 << 22)], at)
        times_s.append(time.thread_time() - begin_s)

    assert min(times_s) < len(data) / (1 << 30)


def test_noise_costs_little_more() -> None:
    """Random bytes, full of false packets: bounded, not quick."""
    data = random.Random(1).randbytes(1 << 21)
    begin_s = time.thread_time()
    ContinuityCounter(TS, 0).feed(data, 0)

    assert time.thread_time() - begin_s < 0.5
