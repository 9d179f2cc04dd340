"""What the finding on the sound says, as a table: what became of two tracks, and its verdict."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from encoderd.encode.facts import StreamFacts, TranscodeFacts
from encoderd.encode.media import AudioInfo, MediaInfo
from encoderd.encode.sound_check import judge_sound
from encoderd.findings import Verdict
from tests.unit.test_verify import PLAN

AUDIO = AudioInfo(
    index=1, pid=0x110, codec="mp2", sample_rate_hz=48_000, channels=2, layout="stereo", bit_rate_bps=0, language="",
    title="", default=True, time_base=Fraction(1, 90_000),
)  # fmt: skip
MEDIA = MediaInfo(
    format="mpegts",
    size_bytes=1,
    start_s=None,
    duration_s=None,
    video=(),
    audio=(AUDIO, replace(AUDIO, index=2, pid=0x111, codec="ac3")),
    other=(),
)


def judged(first: dict[str, Any], second: dict[str, Any]) -> tuple[Verdict, str]:
    streams = [
        StreamFacts(codec=codec, **{"packets": 1000, "muxed": 1000, "heard": 1000, **changes})
        for codec, changes in (("mpeg2video", {}), ("mp2", first), ("ac3", second))
    ]
    finding = judge_sound(MEDIA, PLAN, TranscodeFacts(streams=streams), ())
    return finding.verdict, finding.evidence


@pytest.mark.parametrize(
    ("first", "second", "verdict", "says"),
    [
        ({}, {}, Verdict.PASS, "2 of 2 tracks are heard"),
        ({"damaged": 2, "cut": 30}, {"damaged": 3}, Verdict.PASS, "2 of 2 tracks are heard"),
        ({"damaged": 40}, {}, Verdict.WARN, "40 of 1040 packets of MPEG audio on PID 0x110 cannot be decoded"),
        ({"cut": 900}, {}, Verdict.WARN, "900 of 1000 packets of MPEG audio on PID 0x110 overlap others and are cut"),
        (
            {},
            {"heard": 0, "damaged": 1000, "muxed": 0},
            Verdict.WARN,
            "not heard: AC-3 on PID 0x111, of which nothing can be decoded",
        ),
        (
            {"heard": 0, "damaged": 1000, "muxed": 0},
            {"heard": 40, "damaged": 960},
            Verdict.FAIL,
            "the only sound is MPEG audio on PID 0x110, of which nothing can be decoded, AC-3 on PID 0x111, of which "
            "40 of 1000 packets can be decoded",
        ),
    ],
)
def test_what_is_said_of_the_sound(first: dict[str, Any], second: dict[str, Any], verdict: Verdict, says: str) -> None:
    assert judged(first, second) == (verdict, says)
