"""The judgement on a written file: what is in order passes, and each finding can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from encoderd.encode.facts import DecodedSpot, OutputFacts, OutputStream, StreamFacts, TranscodeFacts
from encoderd.encode.media import MediaInfo
from encoderd.encode.messages import VideoRequest
from encoderd.encode.plan import AudioPlan, EncodePlan
from encoderd.encode.verify import decodes_all, judge, verdict
from encoderd.encode.video_plan import VideoPlan
from encoderd.findings import Finding, Verdict, failed, passed, warned

ICQ = VideoRequest(encoder="h264_qsv", rate_control="icq", bframes=2)
PLAN = EncodePlan(
    video=VideoPlan(
        index=0,
        encoder="libx264",
        width=1440,
        height=1080,
        pix_fmt="nv12",
        frame_rate=Fraction(25),
        sample_aspect_ratio=Fraction(4, 3),
        filters=(),
        options={},
        asked=ICQ,
        decoder_threads=1,
    ),
    audio=(
        AudioPlan(
            index=1,
            codec="mp2",
            bit_rate_bps=160_000,
            sample_rate_hz=48_000,
            layout="stereo",
            language="",
            title="",
            default=True,
        ),
        AudioPlan(
            index=2,
            codec="ac3",
            bit_rate_bps=0,
            sample_rate_hz=48_000,
            layout="5.1",
            language="",
            title="",
            default=False,
        ),
    ),
    muxer="mp4",
    muxer_options={},
    comment="",
    notes=(),
)
SIZE = 1_000_000_000
MEDIA = MediaInfo(
    format="mpegts", size_bytes=SIZE, start_s=Fraction(1), duration_s=Fraction(1800), video=(), audio=(), other=()
)
SPOT = DecodedSpot(place="start", at_s=0.0, frames=12, error="")


def facts() -> TranscodeFacts:
    """Half an hour at 25 frames per second with nothing wrong."""
    streams = [
        StreamFacts(codec=codec, packets=packets, muxed=packets, start_s=Fraction(0), end_s=Fraction(1800))
        for codec, packets in (("mpeg2video", 45_000), ("mp2", 75_000), ("ac3", 56_250))
    ]
    return TranscodeFacts(
        streams=streams,
        frames_decoded=45_000,
        frames_encoded=45_000,
        packets_encoded=45_000,
        last_position=SIZE - 1000,
    )


def output() -> OutputFacts:
    streams = tuple(
        OutputStream(codec=codec, kind=kind, packets=packets, start_s=Fraction(0), end_s=Fraction(1800))
        for codec, kind, packets in (("h264", "video", 45_000), ("aac", "audio", 84_375), ("ac3", "audio", 56_250))
    )
    return OutputFacts(size_bytes=SIZE // 4, streams=streams, spots=(SPOT,), width=1440, height=1080)


def with_stream(found: OutputFacts, number: int, **changes: object) -> OutputFacts:
    streams = list(found.streams)
    streams[number] = replace(streams[number], **changes)  # type: ignore[arg-type]  # of that stream's fields
    return replace(found, streams=tuple(streams))


def verdicts(media: MediaInfo, happened: TranscodeFacts, found: OutputFacts) -> dict[str, Verdict]:
    findings = judge(media, PLAN, happened, found)
    assert all(finding.evidence for finding in findings)
    return {finding.check: finding.verdict for finding in findings}


def test_a_file_in_order_passes_every_check() -> None:
    names = [
        "streams", "frames", "durations", "source_read", "duration", "decodes", "skew", "damage", "rate_control",
        "granted",
    ]  # fmt: skip

    assert dict.fromkeys(names, Verdict.PASS) == verdicts(MEDIA, facts(), output())


@pytest.mark.parametrize(
    ("check", "found"),
    [
        ("streams", with_stream(output(), 0, codec="hevc")),
        ("streams", with_stream(output(), 2, packets=0)),
        ("streams", replace(output(), streams=output().streams[:2])),
        ("streams", replace(output(), height=1088)),
        ("frames", with_stream(output(), 0, packets=44_999)),
        ("durations", with_stream(output(), 1, end_s=Fraction(1799))),
        ("durations", with_stream(output(), 0, end_s=Fraction(1801))),
        ("skew", with_stream(output(), 1, start_s=Fraction(1, 2), end_s=Fraction(3601, 2))),
        ("decodes", replace(output(), spots=(SPOT, replace(SPOT, place="end", error="corrupt frame")))),
        ("decodes", replace(output(), spots=())),
    ],
)
def test_a_file_that_is_not_what_was_written_fails(check: str, found: OutputFacts) -> None:
    """Whatever the encoder and the muxer said: the file read back decides."""
    assert verdicts(MEDIA, facts(), found)[check] is Verdict.FAIL


def _lost_packets(happened: TranscodeFacts) -> None:
    happened.packets_encoded -= 1


def _no_picture(happened: TranscodeFacts) -> None:
    happened.frames_encoded = happened.packets_encoded = 0


def _stopped_early(happened: TranscodeFacts) -> None:
    happened.last_position = SIZE // 2


def _half_as_long(happened: TranscodeFacts) -> None:
    for stream in happened.streams:
        stream.end_s = Fraction(900)


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("frames", _lost_packets),
        ("frames", _no_picture),
        ("source_read", _stopped_early),
        ("duration", _half_as_long),
    ],
)
def test_an_encode_that_lost_something_fails(check: str, change: Callable[[TranscodeFacts], None]) -> None:
    happened = facts()
    change(happened)

    assert verdicts(MEDIA, happened, output())[check] is Verdict.FAIL


def _read_error(happened: TranscodeFacts) -> None:
    happened.read_error = "Invalid data found when processing input"


def _lost_in_filters(happened: TranscodeFacts) -> None:
    happened.frames_decoded += 1


def _damaged(happened: TranscodeFacts) -> None:
    happened.corrupt_packets = 500


def _dropped(happened: TranscodeFacts) -> None:
    happened.streams[1].dropped = 500


def _jumped(happened: TranscodeFacts) -> None:
    _half_as_long(happened)
    happened.discontinuities = [{"at_s": 1.0, "step_s": 900.0}]


def _longer(happened: TranscodeFacts) -> None:
    for stream in happened.streams:
        stream.end_s = Fraction(1900)


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("source_read", _read_error),
        ("frames", _lost_in_filters),
        ("damage", _damaged),
        ("damage", _dropped),
        ("duration", _jumped),
        ("duration", _longer),
    ],
)
def test_what_the_recording_explains_is_a_warning(check: str, change: Callable[[TranscodeFacts], None]) -> None:
    """The file is published; someone should look."""
    happened = facts()
    change(happened)

    assert verdicts(MEDIA, happened, output())[check] is Verdict.WARN


@pytest.mark.parametrize(
    "media",
    [
        replace(MEDIA, duration_s=None),
        replace(MEDIA, duration_s=Fraction(1800) + Fraction(17)),
        replace(MEDIA, duration_s=Fraction(1800) - Fraction(17)),
    ],
)
def test_a_source_s_own_claim_is_an_estimate(media: MediaInfo) -> None:
    """It may be missing, or 1 % beside."""
    assert verdicts(media, facts(), output())["duration"] is Verdict.PASS


def test_short_recordings_may_differ_by_two_seconds() -> None:
    happened = facts()
    for stream in happened.streams:
        stream.end_s = Fraction(3)

    assert verdicts(replace(MEDIA, duration_s=Fraction(49, 10)), happened, output())["duration"] is Verdict.PASS
    assert verdicts(replace(MEDIA, duration_s=Fraction(6)), happened, output())["duration"] is Verdict.FAIL


def test_the_index_at_the_end_is_no_loss() -> None:
    """Of what stands behind the last packet, 4 MiB or 2 % are the container's own."""
    happened = facts()
    happened.last_position = SIZE - SIZE // 50

    assert verdicts(MEDIA, happened, output())["source_read"] is Verdict.PASS


def test_a_container_without_positions_is_judged_by_its_duration() -> None:
    happened = facts()
    happened.last_position = 0

    assert verdicts(MEDIA, happened, output())["source_read"] is Verdict.PASS


@pytest.mark.parametrize(
    ("granted", "doubts"),
    [
        ({}, []),
        ({"rate_control": "icq", "quality": "23", "bframes": "2"}, []),
        ({"rate_control": "icq", "quality": "23", "bframes": "0"}, ["granted"]),
        ({"rate_control": "cqp", "quality": "26", "bframes": "2"}, ["rate_control"]),
        ({"rate_control": "icq", "quality": "51", "bframes": "2"}, ["rate_control"]),
    ],
)
def test_what_was_granted_otherwise_is_a_doubt(granted: dict[str, str], doubts: list[str]) -> None:
    """Another quality than was asked for is one of its own: on that rests whether the recording may go."""
    happened = facts()
    happened.granted = granted
    found = verdicts(MEDIA, happened, output())

    assert doubts == [check for check, judged in found.items() if judged is Verdict.WARN]


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], Verdict.PASS),
        ([passed("frames", "all"), warned("granted", "asked 2 B-frames, granted 0")], Verdict.PASS),
        ([warned("rate_control", "asked icq, granted cqp")], Verdict.WARN),
        ([warned("damage", "some"), failed("frames", "lost", "see the log"), passed("skew", "0 ms")], Verdict.FAIL),
    ],
)
def test_the_verdict_is_on_the_output_alone(findings: list[Finding], expected: Verdict) -> None:
    """A GPU without B-frames makes as good a copy: recordings shall not pile up for ever because of it."""
    assert expected is verdict(findings)


@pytest.mark.parametrize(
    ("wish", "encoder", "expected"),
    [
        ("auto", "h264_qsv", True),
        ("auto", "libx264", False),
        ("quick", "h264_qsv", False),
        ("full", "libx264", True),
        ("full", "h264_qsv", True),
    ],
)
def test_what_a_gpu_made_is_decoded_as_a_whole(wish: str, encoder: str, expected: bool) -> None:
    """Unless the settings say otherwise: libavcodec does not tell that a picture in the middle is cut off."""
    assert expected is decodes_all(wish, encoder)
