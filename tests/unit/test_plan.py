"""What becomes of each stream, with which filters and which codec options."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from encoderd.encode.codec_options import codec_options
from encoderd.encode.failures import EncodeFailed
from encoderd.encode.media import AudioInfo, LeftOut, MediaInfo, VideoInfo
from encoderd.encode.messages import EncodeRequest, VideoRequest
from encoderd.encode.plan import COMMENT, make_plan
from encoderd.jobs import FailureKind, JobEvent

VIDEO = VideoInfo(
    index=0,
    pid=0x100,
    codec="mpeg2video",
    width=1440,
    height=1080,
    pix_fmt="yuv420p",
    frame_rate=Fraction(30_000, 1001),
    sample_aspect_ratio=Fraction(4, 3),
    time_base=Fraction(1, 90_000),
)
AUDIO = AudioInfo(
    index=1,
    pid=0x110,
    codec="aac",
    sample_rate_hz=48_000,
    channels=2,
    layout="stereo",
    bit_rate_bps=192_000,
    language="jpn",
    title="",
    default=True,
    time_base=Fraction(1, 90_000),
)
MEDIA = MediaInfo(
    format="mpegts",
    size_bytes=10_000_000,
    start_s=Fraction(1),
    duration_s=Fraction(60),
    video=(VIDEO,),
    audio=(AUDIO,),
)


def request(**changes: Any) -> EncodeRequest:
    values: dict[str, Any] = {
        "job": 7,
        "source": "/in/a.ts",
        "partial": "/out/.a.partial",
        "size_bytes": 10_000_000,
        "mtime_ns": 1,
        "video": VideoRequest(encoder="libx264"),
        "container": "mp4",
        "deinterlace": "auto",
        "audio_bit_rate_bps": 160_000,
        "verify": "quick",
    }
    return EncodeRequest(**{**values, **changes})


@pytest.mark.parametrize("encoder", ["h264_qsv", "libx264"])
def test_the_encoder_is_asked_for_what_the_request_says(encoder: str) -> None:
    """At the recording's frame rate; the plan keeps the request, to compare with what is granted."""
    asked = VideoRequest(encoder=encoder, quality=30, bframes=1)
    video = make_plan(MEDIA, request(video=asked)).video

    assert (encoder, asked) == (video.encoder, video.asked)
    assert codec_options(asked, VIDEO.frame_rate) == video.options


@pytest.mark.parametrize(
    ("rate", "gop"),
    [
        (Fraction(30_000, 1001), "90"),
        (Fraction(25), "75"),
        (Fraction(50), "150"),
        (Fraction(1, 5), "1"),
        (Fraction(0), "90"),
    ],
)
def test_a_key_frame_stands_every_three_seconds(rate: Fraction, gop: str) -> None:
    """Of a rate that is unknown or less than one picture in three seconds, too."""
    plan = make_plan(replace(MEDIA, video=(replace(VIDEO, frame_rate=rate),)), request())

    assert gop == plan.video.options["g"]


@pytest.mark.parametrize(
    ("size", "planned"),
    [((1440, 1080), (1440, 1080)), ((641, 361), (640, 360)), ((2, 3), (2, 2)), ((1919, 1080), (1918, 1080))],
)
def test_odd_sizes_become_even(size: tuple[int, int], planned: tuple[int, int]) -> None:
    """4:2:0 has no half colour samples; one column or line is cut off."""
    plan = make_plan(replace(MEDIA, video=(replace(VIDEO, width=size[0], height=size[1]),)), request())

    assert planned == (plan.video.width, plan.video.height)


@pytest.mark.parametrize(
    ("codec", "copied"),
    [
        ("aac", True),
        ("ac3", True),
        ("eac3", True),
        ("mp2", False),
        ("dca", False),
        ("pcm_s16le", False),
        ("opus", False),
    ],
)
def test_audio_that_both_containers_take_is_copied(codec: str, copied: bool) -> None:
    """Everything else becomes AAC of the asked-for rate."""
    audio = make_plan(replace(MEDIA, audio=(replace(AUDIO, codec=codec),)), request()).audio[0]

    assert copied == audio.copied
    assert (0 if copied else 160_000) == audio.bit_rate_bps


@pytest.mark.parametrize(
    ("given", "taken"),
    [(48_000, 48_000), (44_100, 44_100), (192_000, 96_000), (7_000, 8_000), (30_000, 32_000), (46_000, 44_100)],
)
def test_aac_gets_a_sample_rate_that_it_has(given: int, taken: int) -> None:
    """The source's own where AAC has it, else the nearest."""
    audio = replace(AUDIO, codec="mp2", sample_rate_hz=given)

    assert taken == make_plan(replace(MEDIA, audio=(audio,)), request()).audio[0].sample_rate_hz


def test_languages_titles_and_the_default_track_stay() -> None:
    second = replace(AUDIO, index=2, language="eng", title="Commentary", default=False)
    plan = make_plan(replace(MEDIA, audio=(AUDIO, second)), request())

    assert [("jpn", "", True), ("eng", "Commentary", False)] == [(a.language, a.title, a.default) for a in plan.audio]


@pytest.mark.parametrize(
    ("container", "segment_packets", "muxer", "options"),
    [
        ("mp4", 1000, "mp4", {"movie_timescale": "90000"}),
        ("mp4", 0, "mp4", {"movflags": "+faststart", "movie_timescale": "90000"}),
        ("mkv", 1000, "matroska", {}),
    ],
)
def test_containers(container: str, segment_packets: int, muxer: str, options: dict[str, str]) -> None:
    """
    MP4's edit lists count in 90 kHz so that the first picture stays in place; its index is put in front afterwards,
    unless the muxer is to do it all. Matroska has no segments of ours.
    """
    plan = make_plan(MEDIA, request(container=container, segment_packets=segment_packets))

    assert (muxer, options) == (plan.muxer, plan.muxer_options)
    assert (segment_packets if container == "mp4" else 0) == plan.segment_packets


def test_what_is_left_out_is_said() -> None:
    """Nothing goes missing in silence: further video, subtitles, audio that never began."""
    media = replace(
        MEDIA,
        video=(replace(VIDEO, index=3, width=0, height=0), VIDEO, replace(VIDEO, index=5, codec="h264")),
        audio=(AUDIO, replace(AUDIO, index=2, sample_rate_hz=0)),
        left_out=(LeftOut(what="KLV metadata (PID 0x130)", reason="no container takes it", matters=True),),
        notes=("programme 1024 kept, left out: 1025",),
    )
    plan = make_plan(media, request())

    assert (0, [1]) == (plan.video.index, [audio.index for audio in plan.audio])
    assert plan.notes == (
        "programme 1024 kept, left out: 1025",
        "left out: KLV metadata (PID 0x130): no container takes it",
        "left out: mpeg2video video (stream 3): one picture is kept",
        "left out: h264 video (stream 5): one picture is kept",
        "audio stream 2 (aac) left out: no sample rate or channels in it",
    )


@pytest.mark.parametrize(
    ("media", "words"),
    [
        (replace(MEDIA, video=()), "only audio in mpegts"),
        (replace(MEDIA, video=(), audio=()), "neither video nor audio"),
        (replace(MEDIA, video=(replace(VIDEO, width=0, height=0),)), "mpeg2video video shows no picture size"),
        (replace(MEDIA, comment=f"{COMMENT}, job 3"), "output of encoderd"),
    ],
)
def test_recordings_without_work_are_rejected(media: MediaInfo, words: str) -> None:
    """The recording is to blame, in words that say what it is."""
    with pytest.raises(EncodeFailed) as caught:
        make_plan(media, request())

    assert (FailureKind.RECORDING, JobEvent.RECORDING_REJECTED) == (caught.value.kind, caught.value.event)
    assert words in caught.value.message
    assert caught.value.remedy


def test_outputs_carry_the_mark_by_which_they_are_known() -> None:
    assert make_plan(MEDIA, request()).comment == f"{COMMENT}, job 7"
