"""Streams that begin late are known from the first packet on; all else is as FFmpeg reads it without that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import InputContainer

from encoderd.encode.joined_input import joining_prefix, open_joined
from encoderd.encode.programmes import choose, late_pids, layout
from encoderd.encode.pyav import demuxed_packets
from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.encode.transport_stream import TransportSample, sample
from tests.encoding import WRAP, noisy, packets_of, retimed
from tests.sections import Es, language, packets_of_section, pmt

SECONDS = 3
TICKS = 90_000 * SECONDS
VIDEO, AUDIO, LATE = 0x100, 0x101, 0x102
OPTIONS = {"probesize": "20000000", "analyzeduration": "10000000", "format_whitelist": "mpegts"}
#: 90 kHz: the first DTS of FFmpeg's own transport streams.
FIRST_DTS = 126_000
PICTURES, MP2_PACKETS = 3 * 90, 125  # 30 pictures a second in three parts; 1152 samples a packet


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Three parts; a second audio in the middle one alone."""
    folder = tmp_path_factory.mktemp("joined")
    made = []
    for number, audio in enumerate([("aac",), ("aac", "mp2"), ("aac",)]):
        spec = SampleSpec(
            duration_s=SECONDS, width=320, height=240, interlaced=False, audio=audio, bit_rate_bps=400_000
        )
        made.append(retimed(make_recording(folder / f"{number}.ts", spec).read_bytes(), number * TICKS))
    return made


def seen(data: bytes) -> TransportSample:
    found = sample(data)
    assert found is not None
    return found


def prefix_of(parts: list[bytes]) -> bytes:
    head, places = parts[0], [part[1000:] for part in parts[1:]]
    found = choose(layout([(n / 3, seen(part)) for n, part in enumerate(parts)]))
    assert found.programme is not None
    return joining_prefix(head, places, found.programme.number, late_pids(found.programme, seen(head)))


@contextmanager
def joined(path: Path, prefix: bytes) -> Iterator[InputContainer]:
    fd = os.open(path, os.O_RDONLY)
    try:
        with open_joined(f"/proc/self/fd/{fd}", prefix, OPTIONS) as container:
            yield container
    finally:
        os.close(fd)


def read(container: InputContainer, shift: int = 0) -> dict[int, list[tuple[Any, ...]]]:
    """{PID: what each packet is}; `shift` is taken from the positions."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    for packet in demuxed_packets(container, list(container.streams)):
        if packet.size:
            at = None if packet.pos is None or packet.pos < 0 else packet.pos - shift
            what = (packet.pts, packet.dts, packet.duration, at, packet.is_corrupt, packet.is_keyframe, bytes(packet))
            found.setdefault(packet.stream.id, []).append(what)
    return found


@pytest.mark.parametrize("at_s", [None, SECONDS * 0.5, SECONDS * 1.5, SECONDS * 2.5, 0.01, 0.0])
def test_the_streams_of_the_head_are_as_if_there_were_no_prefix(
    tmp_path: Path, parts: list[bytes], at_s: float | None
) -> None:
    """Times, sizes, positions and content, wherever the 33-bit clock wraps; and the late stream is there, in time."""
    moved = parts if at_s is None else [retimed(part, -FIRST_DTS - round(at_s * 90_000)) for part in parts]
    path = tmp_path / "recording.ts"
    path.write_bytes(b"".join(moved))
    prefix = prefix_of(moved)
    with av.open(str(path), container_options=OPTIONS) as container:
        alone = read(container)
        starts = {stream.id: stream.start_time for stream in container.streams}
        duration = container.duration
    with joined(path, prefix) as container:
        found = read(container, len(prefix))
        late_starts = {stream.id: stream.start_time for stream in container.streams}

        assert duration == container.duration

    assert {VIDEO, AUDIO} == set(starts)
    for pid in starts:
        assert alone[pid] == found[pid]
        assert starts[pid] == late_starts[pid]
    assert {VIDEO, AUDIO, LATE} == set(late_starts)
    # its first packet belongs beside the audio of the middle part
    assert MP2_PACKETS == len(found[LATE])
    assert abs(found[LATE][0][0] - starts[AUDIO] - TICKS) < 9000
    assert found[LATE][0][3] > len(parts[0])


def test_times_are_those_of_the_file(tmp_path: Path, parts: list[bytes]) -> None:
    """The late stream's, modulo 33 bits, beside a demuxer that sees that part alone."""
    moved = [retimed(part, -FIRST_DTS - TICKS * 3 // 2) for part in parts]
    path, middle = tmp_path / "recording.ts", tmp_path / "middle.ts"
    path.write_bytes(b"".join(moved))
    middle.write_bytes(moved[1])
    with av.open(str(middle), container_options=OPTIONS) as container:
        expected = [(pts % WRAP, content) for pts, *_, content in read(container)[LATE]]
    with joined(path, prefix_of(moved)) as container:
        assert expected == [(pts % WRAP, content) for pts, *_, content in read(container)[LATE]]


@pytest.mark.parametrize(("size", "before", "after"), [(192, b"\0\1\2\3", b""), (204, b"", b"\x11" * 16)])
def test_packets_of_other_sizes_are_joined_in_theirs(
    tmp_path: Path, parts: list[bytes], size: int, before: bytes, after: bytes
) -> None:
    framed = [b"".join(before + bytes(packet) + after for _, packet in packets_of(part)) for part in parts]
    path = tmp_path / "recording.ts"
    path.write_bytes(b"".join(framed))
    prefix = prefix_of(framed)

    assert 0 == len(prefix) % size
    with joined(path, prefix) as container:
        found = read(container)
        assert {VIDEO: PICTURES, LATE: MP2_PACKETS} == {pid: len(found[pid]) for pid in (VIDEO, LATE)}


def elsewhere(part: bytes) -> bytes:
    """The part with all its streams on other PIDs, 0x100 higher, and a PMT that says so."""
    streams = [Es(0x02, VIDEO + 0x100), Es(0x0F, AUDIO + 0x100), Es(0x03, LATE + 0x100, language("deu"))]
    table = packets_of_section(0x1000, pmt(1, VIDEO + 0x100, streams, 1))[0]
    packets = []
    for pid, packet in packets_of(part):
        if pid == 0x1000:
            packet = bytearray(table[:3] + bytes([packet[3]]) + table[4:])
        elif pid in (VIDEO, AUDIO, LATE):
            packet[1] += 1
        packets.append(bytes(packet))
    return b"".join(packets)


@pytest.mark.parametrize("at_s", [None, SECONDS * 0.5, SECONDS * 1.5])
def test_streams_that_move_to_other_pids_and_back_are_all_read(
    tmp_path: Path, parts: list[bytes], at_s: float | None
) -> None:
    """One track of video and one of audio, in two streams each, without a gap or a jump between them."""
    moved = [parts[0], elsewhere(parts[1]), parts[2]]
    moved = moved if at_s is None else [retimed(part, -FIRST_DTS - round(at_s * 90_000)) for part in moved]
    path = tmp_path / "recording.ts"
    path.write_bytes(b"".join(moved))
    found = choose(layout([(n / 3, seen(part)) for n, part in enumerate(moved)])).programme
    with joined(path, prefix_of(moved)) as container:
        streams = {stream.id: stream for stream in container.streams}
        known = {pid: streams[pid].codec_context.name for pid in (VIDEO, VIDEO + 0x100, AUDIO + 0x100, LATE + 0x100)}
        size = streams[VIDEO + 0x100].codec_context.width
        language_tag = streams[LATE + 0x100].language
        packets = read(container)

    assert found is not None
    assert [(VIDEO, VIDEO + 0x100), (AUDIO, AUDIO + 0x100), (LATE + 0x100,)] == [track.pids for track in found.tracks]
    assert {VIDEO: "mpeg2video", VIDEO + 0x100: "mpeg2video", AUDIO + 0x100: "aac", LATE + 0x100: "mp2"} == known
    assert (320, "deu") == (size, language_tag)
    assert {VIDEO: 180, VIDEO + 0x100: 90, LATE + 0x100: MP2_PACKETS} == {
        pid: len(packets[pid]) for pid in (VIDEO, VIDEO + 0x100, LATE + 0x100)
    }
    times = sorted(dts for pid in (VIDEO, VIDEO + 0x100) for _, dts, *_ in packets[pid])
    # a picture is 3003 ticks, and 90 of them are 270 more than three seconds
    assert {3003, 3003 - 270} == {after - before for before, after in pairwise(times)}


def test_streams_that_appear_after_opening_do_not_end_reading_with_an_error(tmp_path: Path, parts: list[bytes]) -> None:
    """What PyAV makes of them: an IndexError at the end, or nothing; here one empty packet a stream, in their order."""
    path = tmp_path / "recording.ts"
    path.write_bytes(b"".join(parts))
    with av.open(str(path), container_options={"probesize": "60000"}) as container:
        streams = list(container.streams)
        packets = [(packet.stream.id, packet.size) for packet in demuxed_packets(container, streams)]

    assert [(VIDEO, 0), (AUDIO, 0)] == packets[-2:]
    assert PICTURES == len([pid for pid, size in packets if pid == VIDEO and size])
    assert 0 == packets[:-2].count((VIDEO, 0)) + packets[:-2].count((AUDIO, 0))
    assert {VIDEO, AUDIO} == {pid for pid, _ in packets}


def test_nothing_late_needs_no_prefix(parts: list[bytes]) -> None:
    assert b"" == joining_prefix(parts[0], parts[1:], 1, [])
    assert b"" == joining_prefix(parts[0], [parts[2]], 1, [LATE])
    assert b"" == joining_prefix(parts[0], [parts[1]], 2, [LATE])
    assert b"" == joining_prefix(parts[0], [b"", bytes(100_000)], 1, [LATE])
    assert b"" == joining_prefix(b"", [parts[1]], 1, [LATE])


def test_no_prefix_is_so_long_that_the_head_is_out_of_sight(parts: list[bytes]) -> None:
    """Half of what the demuxer reads at first, however many places there are."""
    long = [parts[1] * 30 for _ in range(4)]

    assert len(prefix_of([parts[0] * 30, *long])) < 10_000_000


@pytest.mark.parametrize("seed", range(4))
def test_noise_ends_in_a_container_or_in_no_prefix(tmp_path: Path, parts: list[bytes], seed: int) -> None:
    """One byte in a thousand of it all is wrong: whatever is found opens, and reads to its end."""
    damaged = [noisy(part, 1e-3, seed * 10 + n) for n, part in enumerate(parts)]
    path = tmp_path / "recording.ts"
    path.write_bytes(b"".join(damaged))
    prefix = joining_prefix(damaged[0], damaged[1:], 1, [LATE, 0x1234])
    with joined(path, prefix) as container:
        assert {VIDEO, AUDIO} <= set(read(container))
