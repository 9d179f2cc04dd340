"""What is asked for, in libavcodec's words: no option names the rate control, so which others are there counts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from encoderd.encode.codec_options import b_frames, codec_options, gop_frames, x264_crf
from encoderd.encode.messages import VideoRequest

NTSC = Fraction(30_000, 1001)
RATES: dict[str, Any] = {"bitrate_bps": 4_000_000, "max_bitrate_bps": 6_000_000}
#: What every request gets from its defaults.
QSV = {"preset": "slow", "profile": "high", "g": "90", "bf": "2", "forced_idr": "1", "async_depth": "4"}
X264 = {"preset": "slow", "profile": "high", "g": "90"}


def qsv(**changes: Any) -> dict[str, str]:
    values = {"quality": 20, "preset": "slow", "bframes": 2, **changes}
    return codec_options(VideoRequest(encoder="h264_qsv", **values), NTSC)


def x264(**changes: Any) -> dict[str, str]:
    return codec_options(VideoRequest(encoder="libx264", **{"quality": 20, "preset": "slow", **changes}), NTSC)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"rate_control": "icq"}, {"global_quality": "20"}),
        (
            {"rate_control": "la_icq", "look_ahead_depth": 40},
            {"global_quality": "20", "look_ahead": "1", "look_ahead_depth": "40"},
        ),
        ({"rate_control": "cqp"}, {"flags": "+qscale", "global_quality": "2360"}),
        (
            {"rate_control": "qvbr", **RATES},
            {"global_quality": "20", "b": "4000000", "maxrate": "6000000", "bufsize": "12000000"},
        ),
        ({"rate_control": "vbr", "bitrate_bps": 4_000_000}, {"b": "4000000"}),
        ({"rate_control": "vbr", **RATES}, {"b": "4000000", "maxrate": "6000000", "bufsize": "12000000"}),
        (
            {"rate_control": "vbr", "bitrate_bps": 4_000_000, "look_ahead_depth": 30},
            {"b": "4000000", "extbrc": "1", "look_ahead_depth": "30"},
        ),
        (
            {"rate_control": "cbr", "bitrate_bps": 4_000_000},
            {"b": "4000000", "maxrate": "4000000", "bufsize": "8000000"},
        ),
    ],
)
def test_each_rate_control_of_qsv_has_its_options_and_no_others(
    asked: dict[str, Any], expected: dict[str, str]
) -> None:
    """A quality with a maximal rate is no longer ICQ, a maximal rate like the mean is CBR; QPs come in lambda units."""
    assert {**QSV, **expected} == qsv(**asked)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"rate_control": "icq"}, {"crf": "18"}),
        ({"rate_control": "la_icq", "look_ahead_depth": 50}, {"crf": "18", "rc-lookahead": "50"}),
        ({"rate_control": "cqp"}, {"qp": "20"}),
        ({"rate_control": "qvbr", **RATES}, {"crf": "18", "maxrate": "6000000", "bufsize": "12000000"}),
        ({"rate_control": "vbr", "bitrate_bps": 4_000_000}, {"b": "4000000"}),
        ({"rate_control": "vbr", **RATES}, {"b": "4000000", "maxrate": "6000000", "bufsize": "12000000"}),
        (
            {"rate_control": "cbr", "bitrate_bps": 4_000_000},
            {"b": "4000000", "minrate": "4000000", "maxrate": "4000000", "bufsize": "8000000", "nal-hrd": "cbr"},
        ),
    ],
)
def test_x264_gets_what_comes_nearest(asked: dict[str, Any], expected: dict[str, str]) -> None:
    assert {**X264, **expected} == x264(**asked)


@pytest.mark.parametrize(
    ("asked", "on_qsv", "on_x264"),
    [
        ({"level": "4.1"}, {"level": "41"}, {"level": "4.1"}),
        ({"level": "4.0"}, {"level": "40"}, {"level": "4.0"}),
        ({"low_power": "on"}, {"low_power": "1"}, {}),
        ({"low_power": "off"}, {"low_power": "0"}, {}),
        ({"bframes": 0}, {"bf": "0"}, {"bf": "0"}),
        ({"gop": 250}, {"g": "250"}, {"g": "250"}),
        ({"profile": "baseline", "bframes": 2}, {"profile": "baseline", "bf": "0"}, {"profile": "baseline", "bf": "0"}),
        ({"async_depth": 1}, {"async_depth": "1"}, {}),
        ({"extra": (("scenario", "archive"),)}, {"scenario": "archive"}, {"scenario": "archive"}),
    ],
)
def test_the_rest_is_spelled_as_each_encoder_wants_it(
    asked: dict[str, Any], on_qsv: dict[str, str], on_x264: dict[str, str]
) -> None:
    """A level is a whole number for h264_qsv, which would take "4.1" for 4. The baseline profile has no B-frames."""
    assert {**QSV, "global_quality": "20", **on_qsv} == qsv(**asked)
    assert {**X264, "crf": "18", **on_x264} == x264(**asked)


def test_what_is_left_to_the_encoder_is_not_named() -> None:
    """libavcodec's default for low_power is to ask nothing; B-frames are named whenever they are known."""
    options = qsv(bframes=-1)

    assert {"bf", "low_power", "level"}.isdisjoint(options)


def test_extra_never_wins_over_a_setting() -> None:
    """The settings refuse such a key; here it would at least do nothing."""
    assert qsv(extra=(("g", "1"),)) == qsv()


@pytest.mark.parametrize(
    ("rate", "gop", "frames"),
    [
        (NTSC, 0, 90),
        (Fraction(25), 0, 75),
        (Fraction(50), 0, 150),
        (Fraction(1, 5), 0, 1),
        (NTSC, 48, 48),
    ],
)
def test_a_key_frame_stands_every_three_seconds(rate: Fraction, gop: int, frames: int) -> None:
    """Unless the settings say otherwise; of less than one picture in three seconds, each is one."""
    assert frames == gop_frames(VideoRequest(encoder="h264_qsv", gop=gop), rate)


@pytest.mark.parametrize(("profile", "bframes", "expected"), [("high", 3, 3), ("high", -1, -1), ("baseline", 3, 0)])
def test_baseline_has_no_b_frames(profile: str, bframes: int, expected: int) -> None:
    assert expected == b_frames(VideoRequest(encoder="h264_qsv", profile=profile, bframes=bframes))


@pytest.mark.parametrize(("quality", "crf"), [(25, 23), (23, 21), (51, 49), (2, 1), (1, 1)])
def test_a_cpu_gives_no_less_than_the_gpu(quality: int, crf: int) -> None:
    """ICQ 25 is CRF 23 (measured in public), and neither scale goes below 1."""
    assert crf == x264_crf(quality)
