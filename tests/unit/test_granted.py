"""What an encoder says that it does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.granted import from_parameter_sets, from_qsv_log

SPS_HIGH_4_1 = bytes.fromhex("6764002aacd100")  # profile 100, level 42
AVCC = bytes.fromhex("0164002affe1") + (7).to_bytes(2, "big") + SPS_HIGH_4_1 + b"\x01\x00\x04\x68\xee\x3c\x80"


@pytest.mark.parametrize(
    ("extradata", "expected"),
    [
        (b"\0\0\0\x01" + SPS_HIGH_4_1 + b"\0\0\0\x01\x68\xee", {"profile": "High", "level": "4.2"}),
        (b"\0\0\x01\x09\x10\0\0\x01\x67\x4d\x00\x1f", {"profile": "Main", "level": "3.1"}),
        (AVCC, {"profile": "High", "level": "4.2"}),
        (b"\0\0\0\x01\x67\xf4\x00\x0a", {"profile": "244", "level": "1.0"}),
        (b"", {}),
        (b"\x01", {}),
        (b"\0\0\x01\x67\x64", {}),
        (b"\0\0\0\x01\x68\xee\x3c\x80", {}),
    ],
)
def test_profile_and_level_stand_in_the_parameter_sets(extradata: bytes, expected: dict[str, str]) -> None:
    """Annex B and avcC; a picture parameter set alone tells neither."""
    assert expected == from_parameter_sets(extradata)


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_no_bytes_make_it_raise(extradata: bytes) -> None:
    from_parameter_sets(extradata)
    from_parameter_sets(b"\x01" + extradata)


def test_qsv_says_at_opening_what_the_runtime_granted() -> None:
    """Only its own lines count, and only the words that an operator knows."""
    lines = """
[mpeg2video @ 0x1] GopPicSize: 15
[h264_qsv @ 0x2] profile: avc high; level: 40
[h264_qsv @ 0x2] GopPicSize: 90; GopRefDist: 3; GopOptFlag:closed; IdrInterval: 0
[h264_qsv @ 0x2] TargetUsage: 4; RateControlMethod: ICQ
[h264_qsv @ 0x2] ICQQuality: 23
"""
    expected = {
        "gop_size": "90",
        "gop_ref_dist": "3",
        "target_usage": "4",
        "rate_control": "ICQ",
        "icq_quality": "23",
    }

    assert expected == from_qsv_log(lines)
    assert from_qsv_log("") == {}
