"""Recordings changed at byte level, encoded by the real child, and the outputs looked into."""

from __future__ import annotations

import os
import random
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from encoderd.encode.failures import EncodeFailed
from encoderd.encode.messages import Encoded, EncodeRequest, VideoRequest
from encoderd.encode.supervisor import Child, Limits

#: Longest wait for a child. Nothing here takes a tenth of it, but a busy machine may.
LIMIT_S = 60.0
LIMITS = Limits(startup_s=LIMIT_S, stall_s=LIMIT_S, drain_s=LIMIT_S)
TS = 188
WRAP = 2**33


def request_for(source: Path, partial: Path, **changes: Any) -> EncodeRequest:
    """What the daemon would ask for, with `changes`, of the video encoder too."""
    found = source.stat()
    values: dict[str, Any] = {
        "job": 7,
        "source": str(source),
        "partial": str(partial),
        "size_bytes": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "container": "mp4",
        "deinterlace": "auto",
        "audio_bit_rate_bps": 128_000,
        "verify": "quick",
    }
    video: dict[str, Any] = {"encoder": "libx264", "quality": 30, "preset": "veryfast"}
    asked = {field.name for field in fields(VideoRequest)}
    video |= {name: value for name, value in changes.items() if name in asked}
    values |= {name: value for name, value in changes.items() if name not in asked}
    return EncodeRequest(video=VideoRequest(**video), **values)


def outcome_of(child: Child, limit_s: float = LIMIT_S) -> Any:
    """Poll until the child has ended; kills it in any case."""
    deadline_s = time.monotonic() + limit_s
    try:
        while (outcome := child.poll(time.monotonic())) is None:
            assert time.monotonic() < deadline_s, "the child did not end"
            select.select([child], [], [], 0.05)
        return outcome
    finally:
        child.kill()


def failure_of(child: Child) -> EncodeFailed:
    """Wait for the child's end, which must be a failure, and for the process to be gone."""
    outcome = outcome_of(child)
    assert isinstance(outcome, EncodeFailed), outcome
    assert not exists(child.pid)
    return outcome


def exists(pid: int) -> bool:
    """Whether the process runs; one that is dead but not yet waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll for `condition`; fails with `what` after the limit."""
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.01)


@dataclass(frozen=True, kw_only=True)
class Done:
    """A finished encode: its receipt, and where the file is."""

    path: Path
    receipt: dict[str, Any]

    @property
    def verdicts(self) -> dict[str, str]:
        return {finding["check"]: finding["verdict"] for finding in self.receipt["findings"]}

    @property
    def doubts(self) -> dict[str, str]:
        return {
            finding["check"]: finding["evidence"]
            for finding in self.receipt["findings"]
            if finding["verdict"] != "pass"
        }


def encode(source: Path, **changes: Any) -> Done:
    """Encode with the real child; the output stands beside `source`. Fails when the child does."""
    container = changes.get("container", "mp4")
    target = source.with_name(f"{source.name}.out.{container}")
    outcome = try_encode(source, target, **changes)
    assert isinstance(outcome, Encoded), f"{outcome}\n{source.with_name('log').read_text('utf-8', 'replace')[-2000:]}"
    return Done(path=target, receipt=outcome.receipt)


def try_encode(source: Path, target: Path, **changes: Any) -> Encoded | EncodeFailed:
    log = source.with_name("log")
    child = Child(request_for(source, target, **changes), LIMITS, now_s=time.monotonic(), log=log)
    outcome = outcome_of(child)
    assert isinstance(outcome, Encoded | EncodeFailed)
    assert "Traceback" not in log.read_text("utf-8", "replace")
    return outcome


@dataclass(kw_only=True)
class Stream:
    """One stream as demuxed: times are exact seconds; `data` in the order of decoding."""

    codec: str
    language: str | None
    pts: list[Fraction] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)


def streams_of(path: Path) -> list[Stream]:
    """All packets of all streams; pts sorted."""
    with av.open(str(path)) as container:
        found = [
            Stream(codec=stream.codec_context.name, language=stream.metadata.get("language"))
            for stream in container.streams
            if stream.codec_context is not None
        ]
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                stream = found[packet.stream_index]
                stream.pts.append(packet.pts * Fraction(packet.time_base))
                stream.data.append(bytes(packet))
    for stream in found:
        stream.pts.sort()
    return found


def frame_times(path: Path) -> list[Fraction]:
    """When each picture is shown, as a decoder says, in exact seconds."""
    with av.open(str(path)) as container:
        return [
            frame.pts * Fraction(frame.time_base or 0) for frame in container.decode(video=0) if frame.pts is not None
        ]


# --- transport streams at byte level


def packets_of(data: bytes) -> Iterator[tuple[int, bytearray]]:
    """Yield (PID, packet)."""
    for at in range(0, len(data) - TS + 1, TS):
        packet = bytearray(data[at : at + TS])
        yield (packet[1] & 0x1F) << 8 | packet[2], packet


def payload_at(packet: bytearray) -> int:
    return 4 + (1 + packet[4] if packet[3] & 0x20 else 0)


def retimed(data: bytes, ticks: int) -> bytes:
    """Every PTS, DTS and PCR of a transport stream `ticks` of 90 kHz later, modulo 33 bits."""
    out = []
    for _, packet in packets_of(data):
        if packet[3] & 0x20 and packet[4] and packet[5] & 0x10:
            base = int.from_bytes(packet[6:11], "big") >> 7
            low = packet[10] & 0x7F
            packet[6:11] = (((base + ticks) % WRAP) << 7 | low).to_bytes(5, "big")
        at = payload_at(packet)
        if packet[1] & 0x40 and packet[3] & 0x10 and packet[at : at + 3] == b"\0\0\1":
            flags = packet[at + 7] >> 6
            for number in range({2: 1, 3: 2}.get(flags, 0)):
                _move(packet, at + 9 + 5 * number, ticks)
        out.append(bytes(packet))
    return b"".join(out)


def _move(packet: bytearray, at: int, ticks: int) -> None:
    """Add to one timestamp of a PES header (ISO/IEC 13818-1, 2.4.3.7): 3, 15 and 15 bits with marker bits."""
    one = packet[at : at + 5]
    value = (one[0] >> 1 & 7) << 30 | one[1] << 22 | (one[2] >> 1) << 15 | one[3] << 7 | one[4] >> 1
    value = (value + ticks) % WRAP
    packet[at] = one[0] & 0xF0 | (value >> 30) << 1 | 1
    packet[at + 1 : at + 3] = ((value >> 15 & 0x7FFF) << 1 | 1).to_bytes(2, "big")
    packet[at + 3 : at + 5] = ((value & 0x7FFF) << 1 | 1).to_bytes(2, "big")


def scrambled(data: bytes, pids: set[int], part: tuple[float, float] = (0.0, 1.0)) -> bytes:
    """Encrypt the payload of `pids` (scrambling bits and noise) in a part of the stream (0…1)."""
    noise, out = random.Random(1), []
    first, last = (int(len(data) * share) for share in part)
    for number, (pid, packet) in enumerate(packets_of(data)):
        if pid in pids and packet[3] & 0x10 and first <= number * TS < last:
            packet[3] |= 0x80
            at = payload_at(packet)
            packet[at:] = noise.randbytes(TS - at)
        out.append(bytes(packet))
    return b"".join(out)


def only(data: bytes, pids: set[int]) -> bytes:
    return b"".join(bytes(packet) for pid, packet in packets_of(data) if pid in pids)


def noisy(data: bytes, rate: float, seed: int) -> bytes:
    """Bytes of the whole file replaced at random, `rate` of them."""
    noise, changed = random.Random(seed), bytearray(data)
    for _ in range(round(len(data) * rate)):
        changed[noise.randrange(len(data))] = noise.randrange(256)
    return bytes(changed)
