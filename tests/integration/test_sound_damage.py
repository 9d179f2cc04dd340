"""Sound that cannot be heard is damage too, although silence takes its place without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from tests.conftest import SIZE
from tests.encoding import encode, packets_of, payload_at
from tests.sections import TS

SECONDS = 6.0
AUDIO_PID = 0x101
#: Bytes of a PES head with one timestamp: ISO/IEC 13818-1, 2.4.3.6.
PES_HEAD = 14


def muted(data: bytes, begin: float, end: float) -> bytes:
    """Zeros in place of the sound between two shares of the stream; the heads of PES packets stay, and so do clocks."""
    out, count = bytearray(), len(data) // TS
    for number, (pid, packet) in enumerate(packets_of(data)):
        if pid == AUDIO_PID and begin <= number / count < end:
            place = payload_at(packet) + (PES_HEAD if packet[1] & 0x40 else 0)
            packet[place:] = bytes(TS - place)
        out += packet
    return bytes(out)


@pytest.mark.parametrize("codec", ["aac", "mp2"], ids=["copied", "encoded"])
def test_broken_sound_counts_as_damage(tmp_path: Path, codec: str) -> None:
    """A third of the sound is spoilt: about a third of the time is damaged, and no more than that."""
    spec = SampleSpec(duration_s=SECONDS, audio=(codec,), **SIZE)
    whole = make_recording(tmp_path / "whole.ts", spec)
    source = tmp_path / "a.ts"
    source.write_bytes(muted(whole.read_bytes(), 1 / 3, 2 / 3))

    done = encode(source, max_damage_ratio=1.0)
    damage = done.receipt["damage"]

    assert 0.2 < damage["ratio"] < 0.45, damage
    assert damage["text"]
