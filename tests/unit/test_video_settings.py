"""From settings to what an encoder is asked for: every `auto` is decided, for this GPU."""

from __future__ import annotations

from typing import Any

import pytest

from encoderd.preflight.gpus import gpu_for
from encoderd.settings import EncodeSettings
from encoderd.video_settings import GpuHere, video_request

SKYLAKE, TIGER_LAKE, JASPER_LAKE, ARC = 0x1912, 0x9A49, 0x4E61, 0x56A5


def here(device_id: int, full_driver: bool | None = True) -> GpuHere:
    gpu = gpu_for(device_id)
    assert gpu is not None
    return GpuHere(gpu=gpu, full_driver=full_driver)


def asked(encoder: str = "h264_qsv", gpu: GpuHere | None = None, **settings: Any) -> Any:
    return video_request(EncodeSettings.model_validate(settings), encoder, gpu)


@pytest.mark.parametrize(
    ("gpu", "settings", "low_power", "bframes"),
    [
        (None, {}, "auto", 2),
        (here(SKYLAKE), {}, "off", 2),
        (here(SKYLAKE, full_driver=False), {}, "on", 0),  # the free driver has the low-power encoder alone
        (here(SKYLAKE, full_driver=None), {}, "off", 2),
        (here(TIGER_LAKE), {"low_power": "on"}, "on", 0),
        (here(TIGER_LAKE), {"low_power": "on", "bframes": 1}, "on", 1),
        (here(JASPER_LAKE), {}, "on", 0),
        (here(ARC), {}, "on", 3),
        (here(ARC), {"low_power": "off"}, "off", 2),  # refused by the GPU, and told; not changed behind one's back
        (here(ARC), {"profile": "baseline"}, "on", 0),
    ],
)
def test_auto_is_what_suits_the_gpu(
    gpu: GpuHere | None, settings: dict[str, Any], low_power: str, bframes: int
) -> None:
    """What the settings name goes before what the GPU's row says."""
    video = asked(gpu=gpu, **settings)

    assert (video.low_power, video.bframes) == (low_power, bframes)


@pytest.mark.parametrize(
    ("encoder", "settings", "depth"),
    [
        ("h264_qsv", {}, 0),
        ("h264_qsv", {"rate_control": "la_icq"}, 40),
        ("h264_qsv", {"rate_control": "la_icq", "look_ahead_depth": 60}, 60),
        ("libx264", {"rate_control": "la_icq"}, 0),
        ("libx264", {"rate_control": "la_icq", "look_ahead_depth": 60}, 60),
    ],
)
def test_looking_ahead(encoder: str, settings: dict[str, Any], depth: int) -> None:
    """x264 looks ahead as its preset does, unless a depth is named."""
    assert asked(encoder, **settings).look_ahead_depth == depth


@pytest.mark.parametrize(
    ("setting", "encoder", "extra"),
    [
        ("h264_qsv", "h264_qsv", (("mbbrc", "1"),)),
        ("auto", "h264_qsv", (("mbbrc", "1"),)),
        ("auto", "libx264", ()),
        ("libx264", "libx264", (("mbbrc", "1"),)),
    ],
)
def test_extra_options_are_those_of_the_encoder_that_was_meant(
    setting: str, encoder: str, extra: tuple[tuple[str, str], ...]
) -> None:
    """Where `auto` falls back to the CPU, x264 would not know the options of h264_qsv, and not open."""
    video = video_request(EncodeSettings.model_validate({"encoder": setting, "extra": {"mbbrc": "1"}}), encoder)

    assert video.extra == extra
