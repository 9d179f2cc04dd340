"""What PyAV's versions do differently is known in one place; each rule holds with the one that is installed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from encoderd.encode.pyav import (
    disposition,
    encoder_options,
    last_duration,
    open_input,
    pixel_format,
    shown_at,
    title_of,
)

V7_1_0, V7_1_1 = (61, 19, 100), (61, 19, 101)


@pytest.mark.parametrize("libavcodec", [V7_1_1, (62, 28, 102), None])
def test_options_are_what_was_asked_for(libavcodec: tuple[int, ...] | None) -> None:
    """Name by name, but for one FFmpeg that has a defect."""
    asked = {"profile": "high", "level": "4.1", "crf": "23"}
    if libavcodec is None and av.library_versions["libavcodec"] == V7_1_0:
        pytest.skip("this is the FFmpeg with the defect")

    assert asked == encoder_options(asked, libavcodec)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"profile": "baseline"}, {"profile": "66"}),
        ({"profile": "main", "level": "3.1"}, {"profile": "77", "level": "31"}),
        ({"profile": "high", "level": "41", "crf": "23"}, {"profile": "100", "level": "41", "crf": "23"}),
        ({"level": "4"}, {"level": "40"}),
        ({}, {}),
    ],
)
def test_ffmpeg_7_1_0_reads_profile_and_level_as_numbers(asked: dict[str, str], expected: dict[str, str]) -> None:
    assert expected == encoder_options(asked, V7_1_0)


@pytest.mark.parametrize(("profile", "number"), [("baseline", 66), ("main", 77), ("high", 100)])
def test_libx264_grants_the_profile_that_is_asked_for(profile: str, number: int) -> None:
    """Whatever FFmpeg it is: the sequence parameter set has profile and level."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 320, 240, "nv12"
    context.options = encoder_options({"profile": profile, "level": "3.1", "preset": "veryfast"})
    context.framerate = 25
    context.flags |= 1 << 22  # global header
    context.open()
    sps = bytes(context.extradata or b"").partition(b"\x00\x00\x01")[2]

    assert (number, 31) == (sps[1], sps[3])
    assert {} == dict(context.options)


@pytest.mark.parametrize(
    ("pts", "expected"),
    [(None, None), (0, 0), (-90_000, -90_000), (2**62, 2**62), (-(2**63) + 1, None), (-(2**63) * 2, None)],
)
def test_what_was_calculated_from_no_timestamp_is_none(pts: int | None, expected: int | None) -> None:
    assert expected == shown_at(pts)


@pytest.mark.parametrize(
    ("lasts", "first_dts", "last_dts", "longest_step", "expected"),
    [
        (3000, 0, 2000, 1000, 1000),
        (3000, -1000, 1000, 1000, 1000),
        (3000, 0, 1000, 1000, 1000),  # cut off: two steps are left, one is taken
        (2500, 0, 2000, 1000, 500),
        (1000, 0, 0, 0, 1000),  # one packet
        (1000, 0, 2000, 1000, 0),
        (None, 0, 2000, 1000, 0),
    ],
)
def test_the_last_packet_lasts_for_the_rest(
    lasts: int | None, first_dts: int, last_dts: int, longest_step: int, expected: int
) -> None:
    assert expected == last_duration(SimpleNamespace(duration=lasts), first_dts, last_dts, longest_step)


def test_an_open_file_tells_what_it_is(recording: Path) -> None:
    """Its demuxer's options are all taken; dispositions are numbers and the pixel format is a name."""
    with open_input(str(recording), {"format_whitelist": "mpegts", "probesize": "5000000"}) as container:
        found = [(stream.type, disposition(stream)) for stream in container.streams]
        video = container.streams.video[0].codec_context

        assert [("video", 0), ("audio", 0)] == found
        assert "yuv420p" == pixel_format(video)


def test_an_unknown_pixel_format_has_no_name() -> None:
    """Asking PyAV 17.1 for it the usual way ends the process."""
    assert "" == pixel_format(av.CodecContext.create("h264", "r"))


def test_demuxers_that_are_not_allowed_do_not_open(recording: Path) -> None:
    with pytest.raises((av.error.FFmpegError, OSError)):
        open_input(str(recording), {"format_whitelist": "matroska"})


@pytest.mark.parametrize(
    ("metadata", "theirs", "ours"),
    [
        ({"title": "Sea", "handler_name": "Sound"}, "Sea", "Sea"),
        ({"name": "Stereo", "handler_name": "Apple Sound Media Handler"}, "Stereo", "Apple Sound Media Handler"),
        ({"handler_name": "SoundHandler"}, "", ""),
        ({"title": "SoundHandler"}, "", ""),
        ({"handler_name": "VideoHandle"}, "", "VideoHandle"),
        ({"handler_name": "Audio #1 @ 128k"}, "", "Audio #1 @ 128k"),
        ({"handler_name": "Director\0"}, "Director", "Director"),
        ({"name": "Êó¥", "handler_name": "日"}, "日", "日"),  # as FFmpeg 8 reads a short name
        ({"name": "Stereo", "handler_name": "x"}, "x", "x"),
        ({}, "", ""),
    ],
)
def test_a_title_is_no_writer_s_noise(metadata: dict[str, str], theirs: str, ours: str) -> None:
    """In a file of ours a handler's name is the title; in others it is what programs write everywhere."""
    stream = SimpleNamespace(metadata=metadata)

    assert (theirs, ours) == (title_of(stream), title_of(stream, ours=True))
