"""What an encoder says that it does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.granted import (
    differences,
    from_maps,
    from_parameter_sets,
    from_qsv_log,
    from_x264_options,
    other_rates,
)
from encoderd.encode.messages import VideoRequest

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


def said(*lines: str) -> str:
    return "".join(f"[h264_qsv @ 0x55eb36f17440] {line}\n" for line in lines)


#: As FFmpeg 8.1.2 writes them, in this order; 7.1 writes the same.
OPENING = [
    "Encoder: input is system memory surface",
    "Use Intel(R) oneVPL to create MFX session, the required implementation version is 1.1",
    "Using the intelligent constant quality (ICQ) ratecontrol method",
    "profile: avc high; level: 30",
    "GopPicSize: 90; GopRefDist: 3; GopOptFlag: closed; IdrInterval: 0",
]
REST = [
    "NumSlice: 1; NumRefFrame: 2",
    "VDENC: OFF",
    "Entropy coding: CAVLC; MaxDecFrameBuffering: 2",
    "BitrateLimit: OFF; MBBRC: OFF; ExtBRC: OFF",
]
GRANTED = {"preset": "medium", "bframes": "2", "gop": "90", "low_power": "off"}
BUFFER = "BufferSizeInKB: 1500; InitialDelayInKB: 750;"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["TargetUsage: 4; RateControlMethod: ICQ", "ICQQuality: 23"],
            {"rate_control": "icq", "quality": "23"},
        ),
        (
            ["TargetUsage: 4; RateControlMethod: LA_ICQ", "ICQQuality: 23", "LookAheadDepth: 40"],
            {"rate_control": "la_icq", "quality": "23", "look_ahead_depth": "40"},
        ),
        (
            ["TargetUsage: 4; RateControlMethod: CQP", "QPI: 18; QPP: 23; QPB: 30"],
            {"rate_control": "cqp", "quality": "23", "qp": "I 18, P 23, B 30"},
        ),
        (
            ["TargetUsage: 4; RateControlMethod: QVBR", "QVBRQuality: 23"],
            {"rate_control": "qvbr", "quality": "23"},
        ),
        (
            [
                "TargetUsage: 4; RateControlMethod: VBR",
                f"{BUFFER} TargetKbps: 4000; MaxKbps: 6000; BRCParamMultiplier: 1",
            ],
            {"rate_control": "vbr", "bitrate_bps": "4000000", "max_bitrate_bps": "6000000"},
        ),
        (
            ["TargetUsage: 4; RateControlMethod: VBR", f"{BUFFER} TargetKbps: 4000; MaxKbps: 0; BRCParamMultiplier: 1"],
            {"rate_control": "vbr", "bitrate_bps": "4000000"},
        ),
        (
            [
                "TargetUsage: 4; RateControlMethod: CBR",
                f"{BUFFER} TargetKbps: 40000; MaxKbps: 40000; BRCParamMultiplier: 2",
            ],
            {"rate_control": "cbr", "bitrate_bps": "80000000", "max_bitrate_bps": "80000000"},
        ),
    ],
)
def test_qsv_says_at_opening_what_the_runtime_granted(lines: list[str], expected: dict[str, str]) -> None:
    """In the words that it was asked in; a rate above 65 Mb/s is told as a part of it and a multiplier."""
    assert {**GRANTED, **expected} == from_qsv_log(said(*OPENING, *lines, *REST))


def test_only_what_qsv_says_of_itself_counts() -> None:
    other = "[mpeg2video @ 0x1] GopPicSize: 15\n" + said("VDENC: unknown", "GopRefDist: 0; GopPicSize: 12")

    assert {"bframes": "0", "gop": "12"} == from_qsv_log(other)
    assert {} == from_qsv_log("")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"crf": "21"}, {"rate_control": "crf", "quality": "21"}),
        ({"qp": "23"}, {"rate_control": "cqp", "quality": "23"}),
        ({"b": "4000000"}, {"rate_control": "vbr", "bitrate_bps": "4000000"}),
        (
            {"b": "4000000", "minrate": "4000000", "maxrate": "4000000"},
            {"rate_control": "cbr", "bitrate_bps": "4000000", "max_bitrate_bps": "4000000"},
        ),
        (
            {"crf": "21", "maxrate": "6000000"},
            {"rate_control": "crf", "quality": "21", "max_bitrate_bps": "6000000"},
        ),
    ],
)
def test_x264_does_what_its_options_say(options: dict[str, str], expected: dict[str, str]) -> None:
    assert {**expected, "preset": "fast", "gop": "90"} == from_x264_options({**options, "preset": "fast", "g": "90"})


def mapped(*paths: str) -> str:
    """Two lines for each, as the kernel has one for each part of a library."""
    line = "7f2b8c000000-7f2b8c021000 r-xp 00000000 fe:01 1234567                    "
    anonymous = (
        "7ffd1c9e0000-7ffd1ca01000 rw-p 00000000 00:00 0                          [stack]\n7f00-7f01 rw-p 0 00:00 0\n"
    )
    return anonymous + "".join(f"{line}{path}\n{line}{path}\n" for path in paths)


LIB = "/usr/lib/x86_64-linux-gnu"
WHEEL = "/opt/encoderd/venv/lib/python3.13/site-packages/av.libs"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], {}),
        ([f"{WHEEL}/libvpl-e4e9cae8.so.2.16", f"{LIB}/libvpl.so.2.14", f"{LIB}/libmfx.so.1.35"], {}),
        (
            [f"{LIB}/libmfx-gen.so.1.2.14", f"{LIB}/dri/iHD_drv_video.so", f"{LIB}/libva.so.2.2200.0"],
            {"runtime": f"{LIB}/libmfx-gen.so.1.2.14", "va_driver": f"{LIB}/dri/iHD_drv_video.so"},
        ),
        (
            [f"{LIB}/libmfxhw64.so.1.35", f"{LIB}/libmfx-gen.so.1.2.14"],
            {"runtime": f"{LIB}/libmfx-gen.so.1.2.14, {LIB}/libmfxhw64.so.1.35"},
        ),
        (["/a b/libvplsim.so.1"], {"runtime": "/a b/libvplsim.so.1"}),
    ],
)
def test_the_process_s_map_shows_which_runtime_is_loaded(paths: list[str], expected: dict[str, str]) -> None:
    """The dispatcher, of the system or of the wheel, only looks for one and is none itself."""
    assert expected == from_maps(mapped(*paths))


@pytest.mark.parametrize(
    ("asked", "granted", "expected"),
    [
        ({}, {}, []),
        ({}, {"rate_control": "icq", "quality": "23", "preset": "medium", "profile": "High", "gop": "90"}, []),
        ({"bframes": 2}, {"bframes": "0"}, ["asked 2 B-frames, granted 0"]),
        ({"bframes": -1}, {"bframes": "3"}, []),
        ({"profile": "baseline", "bframes": 2}, {"bframes": "0", "profile": "Baseline"}, []),
        ({"low_power": "off"}, {"low_power": "on"}, ["asked low_power off, granted on"]),
        ({"low_power": "auto"}, {"low_power": "on"}, []),
        ({"gop": 48}, {"gop": "50"}, ["asked 48 frames between key frames, granted 50"]),
        ({}, {"gop": "50"}, []),
        ({"level": "4.1"}, {"level": "4.2"}, ["asked level 4.1, granted 4.2"]),
        ({"level": "4.1"}, {"level": "4.1"}, []),
        ({"profile": "main"}, {"profile": "High"}, ["asked profile main, granted high"]),
        ({"preset": "slow"}, {"preset": "medium"}, ["asked preset slow, granted medium"]),
        ({"rate_control": "la_icq", "look_ahead_depth": 40}, {"rate_control": "icq"}, ["asked la_icq, granted icq"]),
        (
            {"rate_control": "la_icq", "look_ahead_depth": 40},
            {"rate_control": "la_icq", "look_ahead_depth": "10"},
            ["asked 40 frames of look-ahead, granted 10"],
        ),
        ({"rate_control": "icq"}, {"rate_control": "cqp", "quality": "26"}, ["asked icq, granted cqp"]),
        ({"quality": 20}, {"rate_control": "icq", "quality": "23"}, ["asked quality 20, granted 23"]),
        (
            {"rate_control": "vbr", "bitrate_bps": 4_000_000, "max_bitrate_bps": 6_000_000},
            {"rate_control": "vbr", "bitrate_bps": "4000000", "max_bitrate_bps": "5000000"},
            ["asked 6000000 bits/s at most, granted 5000000"],
        ),
        (
            {"rate_control": "cbr", "bitrate_bps": 80_000_999},
            {"rate_control": "cbr", "bitrate_bps": "80000000", "max_bitrate_bps": "80000000"},
            [],
        ),
        ({"encoder": "libx264", "rate_control": "icq"}, {"rate_control": "crf", "quality": "21"}, []),
    ],
)
def test_what_was_granted_otherwise_is_told(
    asked: dict[str, object], granted: dict[str, str], expected: list[str]
) -> None:
    """What was left open, or is not told, is no difference."""
    request = VideoRequest(**{"encoder": "h264_qsv", **asked})  # type: ignore[arg-type]  # of its fields

    assert expected == differences(request, granted)


@pytest.mark.parametrize(
    ("asked", "granted", "other"),
    [
        ("la_icq", "icq", False),
        ("la_icq", "cqp", True),
        ("icq", "la_icq", True),
        ("vbr", "cbr", True),
        ("icq", "icq", False),
    ],
)
def test_without_look_ahead_the_quality_is_the_same(asked: str, granted: str, other: bool) -> None:
    """Every other rate control makes other pictures."""
    assert other is bool(other_rates(VideoRequest(encoder="h264_qsv", rate_control=asked), {"rate_control": granted}))
