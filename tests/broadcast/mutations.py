"""
Valid recordings, tiny, and what reception, disks and software do to them: seeded mutations, for fuzzing.

A mutation takes a random generator and bytes and returns bytes. Each case is made of a seed alone, so that a failure
can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from encoderd.encode.sample import SampleSpec, make_recording
from tests.broadcast import making, transport
from tests.broadcast.catalogue import CATALOGUE
from tests.broadcast.making import Part
from tests.broadcast.studio import AUDIO_PID, PMT_PID, SECOND_PID, VIDEO_PID, audio, service, steady, video
from tests.broadcast.transport import ADTS, HZ, Elementary, Packetizer
from tests.encoding import TS, payload_at, retimed, scrambled
from tests.sections import Es, language, pat, pmt

Mutation = Callable[[random.Random, bytes], bytes]
SIZE = (128, 96)
TFF = Part(frames=60, size=SIZE, scan="tff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A mutated recording: its bytes, the ending of its name, and what was done to it."""

    seed: int
    data: bytes
    suffix: str
    story: str


# --- what is mutated


def originals(folder: Path) -> dict[str, bytes]:
    """Make the valid recordings, 2 s each; `folder` is for those that a muxer has to write to a file."""
    captions = transport.between(CATALOGUE["captions"].make().data, 0, 3 * HZ)
    return {**few_originals(folder), **_more_streams(), "captions.ts": captions}


def few_originals(folder: Path) -> dict[str, bytes]:
    """Those that are made in a moment."""
    mpeg2 = transport.multiplexed(service(video([TFF]), audio([TFF])), clock=steady())
    found = {"mpeg2.ts": mpeg2, "x.m2ts": transport.as_m2ts(mpeg2)}
    spec = SampleSpec(duration_s=2.0, width=SIZE[0], height=SIZE[1], bit_rate_bps=400_000, audio=("aac", "mp2", "ac3"))
    boxed = replace(spec, video="libx264", interlaced=False, audio=("aac",))
    kinds = {"three.ts": spec, "x.mp4": replace(boxed, muxer="mp4"), "x.mkv": replace(boxed, muxer="matroska")}
    return {**found, **{name: make_recording(folder / name, kind).read_bytes() for name, kind in kinds.items()}}


def _more_streams() -> dict[str, bytes]:
    wide = Part(frames=30, size=(160, 96))
    streams = {
        "h264.ts": [video([TFF], "libx264"), audio([TFF])],
        "hevc.ts": [video([replace(TFF, scan="progressive")], "libx265"), audio([TFF])],
        "changes.ts": [video([wide, TFF, replace(wide, size=SIZE)]), _changing_audio([wide, TFF, wide])],
        "two.ts": [video([TFF]), audio([TFF]), audio([TFF], pid=SECOND_PID, voice=1, codes=("eng",))],
    }
    return {name: transport.multiplexed(service(*several), clock=steady()) for name, several in streams.items()}


def _changing_audio(parts: list[Part]) -> Elementary:
    pieces = making.pieces_of(parts)
    samples = making.burst_samples(making.events_of(pieces), pieces[-1].end_s, 0)
    layouts = [(Fraction(0), "stereo"), (Fraction(1), "5.1"), (Fraction(2), "mono")]
    units = making.changing_sound(samples, layouts, pieces[-1].end_s)
    return Elementary(pid=AUDIO_PID, stream_type=ADTS, units=units, descriptors=language("jpn"))


# --- mutations of any file


def flips(noise: random.Random, data: bytes) -> bytes:
    """Bits of the whole file, a few to thousands."""
    changed = bytearray(data)
    for _ in range(2 ** noise.randrange(13)):
        changed[noise.randrange(len(changed))] ^= 1 << noise.randrange(8)
    return bytes(changed)


def head_flips(noise: random.Random, data: bytes) -> bytes:
    """Bytes of the first kilobytes, where headers are."""
    changed, reach = bytearray(data), min(len(data), 2 ** noise.randrange(5, 13))
    for _ in range(noise.randrange(1, 64)):
        changed[noise.randrange(reach)] = noise.randrange(256)
    return bytes(changed)


def block_of_noise(noise: random.Random, data: bytes) -> bytes:
    """A sector or more is noise, zeros or ones."""
    begin, length = noise.randrange(len(data)), 512 * 2 ** noise.randrange(8)
    filled = noise.choice([noise.randbytes(length), bytes(length), b"\xff" * length])
    return data[:begin] + filled[: len(data) - begin] + data[begin + length :]


def cut(noise: random.Random, data: bytes) -> bytes:
    """The tail is missing, or the head, at any byte."""
    at = noise.randrange(1, len(data))
    return data[:at] if noise.random() < 0.6 else data[at:]


def inserted(noise: random.Random, data: bytes) -> bytes:
    """Bytes that belong to nothing, so that what follows stands elsewhere."""
    at = noise.randrange(len(data))
    return data[:at] + noise.randbytes(noise.randrange(1, 5000)) + data[at:]


def removed(noise: random.Random, data: bytes) -> bytes:
    at = noise.randrange(len(data))
    return data[:at] + data[at + noise.randrange(1, 5000) :]


# --- mutations of transport streams


def _cut_up(data: bytes) -> list[bytes]:
    return [data[at : at + TS] for at in range(0, len(data) - TS + 1, TS)]


def packets_lost(noise: random.Random, data: bytes) -> bytes:
    share = noise.choice([0.001, 0.01, 0.1, 0.5])
    return b"".join(packet for packet in _cut_up(data) if noise.random() >= share)


def packets_doubled(noise: random.Random, data: bytes) -> bytes:
    share = noise.choice([0.001, 0.01, 0.3])
    return b"".join(packet * (1 + (noise.random() < share) * noise.randrange(1, 4)) for packet in _cut_up(data))


def packets_shuffled(noise: random.Random, data: bytes) -> bytes:
    """In windows of some packets, as a network without order does it."""
    packets, window = _cut_up(data), noise.choice([2, 5, 50, 500])
    for at in range(0, len(packets), window):
        if noise.random() < 0.3:
            piece = packets[at : at + window]
            noise.shuffle(piece)
            packets[at : at + window] = piece
    return b"".join(packets)


def pids_moved(noise: random.Random, data: bytes) -> bytes:
    """Some packets say that they belong to another stream."""
    pids = [0, 1, PMT_PID, VIDEO_PID, AUDIO_PID, 0x1FFF, noise.randrange(0x1FFF)]
    out = []
    for packet in _cut_up(data):
        if noise.random() < 0.02:
            pid = noise.choice(pids)
            packet = bytes([packet[0], packet[1] & 0xE0 | pid >> 8, pid & 0xFF]) + packet[3:]
        out.append(packet)
    return b"".join(out)


def packet_heads(noise: random.Random, data: bytes) -> bytes:
    """Flags, counters, adaptation fields and PES headers: the first bytes of packets."""
    out, share = [], noise.choice([0.002, 0.02, 0.2])
    for packet in _cut_up(data):
        if noise.random() < share:
            changed = bytearray(packet)
            for _ in range(noise.randrange(1, 4)):
                changed[noise.randrange(1, 30)] = noise.randrange(256)
            packet = bytes(changed)
        out.append(packet)
    return b"".join(out)


def tables(noise: random.Random, data: bytes) -> bytes:
    """Sections with wrong bytes: mostly the checksum tells, lengths and numbers are wild nevertheless."""
    out = []
    for packet in _cut_up(data):
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if pid in {0, PMT_PID, 0x1000} and noise.random() < 0.5:
            changed = bytearray(packet)
            for _ in range(noise.randrange(1, 6)):
                changed[noise.randrange(4, 60)] = noise.randrange(256)
            packet = bytes(changed)
        out.append(packet)
    return b"".join(out)


def tables_of_another_mind(noise: random.Random, data: bytes) -> bytes:
    """Sound tables, with true checksums, that promise other streams than there are, again and again others."""
    packets, cutter, out = _cut_up(data), Packetizer(), list[bytes]()
    for number, packet in enumerate(packets):
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if pid == PMT_PID and noise.random() < 0.7:
            types = (0x02, 0x03, 0x06, 0x0F, 0x11, 0x1B, 0x24, 0x81, 0x0D, 0x15, noise.randrange(256))
            pids = (VIDEO_PID, AUDIO_PID, SECOND_PID, noise.randrange(0x20, 0x1FFF), PMT_PID, 0x1FFF)
            told = [b"", language("jpn"), language("jpn", "eng"), b"\x0a\xff", noise.randbytes(noise.randrange(12))]
            lines = [
                Es(stream_type=noise.choice(types), pid=noise.choice(pids), descriptors=noise.choice(told))
                for _ in range(noise.randrange(12))
            ]
            clock_pid = noise.choice([VIDEO_PID, AUDIO_PID, 0x1FFF])
            out += cutter.section(PMT_PID, pmt(101, clock_pid, lines, number % 32))
        else:
            out.append(packet)
    return b"".join(out)


def table_flood(noise: random.Random, data: bytes) -> bytes:
    """Hundreds of programmes and versions, of streams that never come."""
    cutter, flood = Packetizer(), list[bytes]()
    for version in range(noise.choice([10, 300])):
        numbers = {noise.randrange(1, 0xFFFF): noise.randrange(0x20, 0x1FFF) for _ in range(noise.randrange(1, 40))}
        flood += cutter.section(0, pat(numbers, version % 32))
        for number, pid in list(numbers.items())[:3]:
            lines = [Es(stream_type=noise.choice((2, 15, 27, 6)), pid=noise.randrange(0x20, 0x1FFF)) for _ in range(20)]
            flood += cutter.section(pid, pmt(number, 0x1FFF, lines, version % 32))
    at = noise.randrange(len(data) // TS) * TS if noise.random() < 0.5 else 0
    return data[:at] + b"".join(flood) + data[at:]


def clocks(noise: random.Random, data: bytes) -> bytes:
    """Timestamps that jump, stand still or are random, in a share of the packets or from a place on."""
    kind = noise.choice(["jump", "jumps", "random", "zero"])
    if kind == "jump":
        at = noise.randrange(len(data) // TS) * TS
        return data[:at] + retimed(data[at:], noise.randrange(2**33))
    out, share, shift = [], noise.choice([0.01, 0.1, 0.6]), 0
    for packet in _cut_up(data):
        if noise.random() < share:
            shift = {"jumps": noise.randrange(-HZ * 20, HZ * 20), "random": noise.randrange(2**33), "zero": 0}[kind]
        if kind == "zero" and noise.random() < share:
            packet = _unstamped(packet)
        out.append(retimed(packet, shift) if shift else packet)
    return b"".join(out)


def _unstamped(packet: bytes) -> bytes:
    """A PES header without its times, or with zeros for them."""
    changed = bytearray(packet)
    at = payload_at(changed)
    if changed[1] & 0x40 and at < 160 and changed[at : at + 3] == b"\0\0\1":
        changed[at + 9 : at + 14] = b"\x21\0\1\0\1"
    return bytes(changed)


def scrambling(noise: random.Random, data: bytes) -> bytes:
    begin = noise.random()
    pids = noise.choice([{VIDEO_PID}, {AUDIO_PID}, {VIDEO_PID, AUDIO_PID}])
    return scrambled(data, pids, (begin, begin + noise.random() * 0.6))


def null_packets(noise: random.Random, data: bytes) -> bytes:
    """Stuffing, and much of it in one place: an hour of nothing has no length."""
    filler = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * noise.choice([1, 500, 20_000])
    at = noise.randrange(len(data) // TS) * TS
    return data[:at] + filler + data[at:]


ANY: Mapping[str, Mutation] = {one.__name__: one for one in (flips, head_flips, block_of_noise, cut, inserted, removed)}
OF_PACKETS: Mapping[str, Mutation] = {
    one.__name__: one
    for one in (
        packets_lost,
        packets_doubled,
        packets_shuffled,
        pids_moved,
        packet_heads,
        tables,
        tables_of_another_mind,
        table_flood,
        clocks,
        scrambling,
        null_packets,
    )
}


def case(seed: int, valid: Mapping[str, bytes]) -> Case:
    """Return the case of `seed`: one recording, or two spliced, and one to three mutations."""
    noise = random.Random(seed)
    name = noise.choice(sorted(valid))
    data, story = valid[name], [name]
    packets = name.endswith(".ts")
    if packets and noise.random() < 0.25:
        other = noise.choice([other for other in sorted(valid) if other.endswith(".ts")])
        ends = (noise.randrange(len(part) // TS) * TS for part in (data, valid[other]))
        data = data[: next(ends)] + valid[other][next(ends) :]
        story.append(f"spliced with {other}")
    for _ in range(noise.choice([1, 1, 2, 3])):
        kinds = {**ANY, **OF_PACKETS} if packets and len(data) > 10 * TS else ANY
        kind = noise.choice(sorted(kinds))
        data = kinds[kind](noise, data) or data[:1]
        story.append(kind)
    return Case(seed=seed, data=data, suffix=Path(name).suffix, story=", ".join(story))
