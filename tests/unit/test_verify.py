"""The judgement on a written file: what is in order passes, and each finding can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from encoderd.encode.damage import MAIN_SOUND, PICTURE, DamageLog, Kind
from encoderd.encode.facts import StreamFacts, TranscodeFacts
from encoderd.encode.media import CaptionInfo, MediaInfo, Tags
from encoderd.encode.messages import VideoRequest
from encoderd.encode.plan import AudioPlan, EncodePlan
from encoderd.encode.verify import decodes_all, judge, verdict
from encoderd.encode.video_plan import VideoPlan
from encoderd.encode.written import DecodedSpot, OutputFacts, OutputStream, PictureTags, ProofFacts, SecondLikeness
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
        colorspace=1,
        color_primaries=1,
        color_trc=1,
        color_range=1,
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
    format="wtv", size_bytes=SIZE, start_s=Fraction(1), duration_s=Fraction(1800), video=(), audio=(), other=()
)
TAGS = PictureTags(sample_aspect_ratio=Fraction(4, 3), color_primaries=1, color_trc=1, colorspace=1, color_range=1)
FIRST = Tags(dispositions=("default",))
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
        OutputStream(codec=codec, kind=kind, packets=packets, start_s=Fraction(0), end_s=Fraction(1800), tags=tags)
        for codec, kind, packets, tags in (
            ("h264", "video", 45_000, FIRST),
            ("aac", "audio", 84_375, FIRST),
            ("ac3", "audio", 56_250, Tags()),
        )
    )
    return OutputFacts(size_bytes=SIZE // 4, streams=streams, spots=(SPOT,), width=1440, height=1080, tags=TAGS)


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
        "streams", "sound", "frames", "durations", "timeline", "audio", "source_read", "duration", "decodes", "skew",
        "geometry", "dynamic_range", "tags", "captions", "left_out", "damage", "rate_control", "granted",
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
        ("decodes", replace(output(), spots=(SPOT, replace(SPOT, place="beside", error="after 3 pictures: …")))),
        ("timeline", with_stream(output(), 1, backward=1)),
        ("timeline", replace(output(), repeated_pts=1)),
        ("geometry", replace(output(), tags=replace(TAGS, sample_aspect_ratio=Fraction(1)))),
        ("geometry", replace(output(), tags=replace(TAGS, sample_aspect_ratio=Fraction(0)))),
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
    happened.frames_due = happened.frames_filtered + 1


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


@pytest.mark.parametrize(
    ("changes", "last_position", "verdict"),
    [
        ({"format": "mpegts"}, SIZE - 1000, Verdict.PASS),
        ({"format": "mpegts"}, SIZE // 2, Verdict.FAIL),
        ({"stated_end": SIZE}, SIZE - 1000, Verdict.PASS),
        ({"stated_end": SIZE, "end_byte": SIZE - 10**8}, SIZE - 10**8 - 1000, Verdict.PASS),
        ({"stated_end": SIZE}, 0, Verdict.FAIL),
        ({"stated_end": SIZE + 1}, SIZE - 1000, Verdict.FAIL),
        ({}, SIZE - 1000, Verdict.FAIL),
    ],
)
def test_what_is_there_outweighs_a_claim(changes: dict[str, Any], last_position: int, verdict: Verdict) -> None:
    """26 hours claimed for half an hour: wrong where the file is known to be whole and was read to its end."""
    happened = facts()
    happened.last_position = last_position
    media = replace(MEDIA, duration_s=Fraction(95_090), **changes)

    assert verdicts(media, happened, output())["duration"] is verdict


@pytest.mark.parametrize(
    ("told_s", "by_length_s", "change", "verdict"),
    [
        (1800, 1800, {}, Verdict.PASS),
        (165, 165, {}, Verdict.FAIL),  # 165 s of sound that play for half an hour
        (165, 1800, {}, Verdict.PASS),  # stamps that stand still
        (1800, 1650, {}, Verdict.PASS),  # gaps
        (1950, 1950, {}, Verdict.FAIL),
        (1950, 1950, {"damaged": 3}, Verdict.PASS),
        (None, None, {}, Verdict.PASS),
    ],
)
def test_a_track_ends_where_the_recording_tells(
    told_s: int | None, by_length_s: int | None, change: dict[str, int], verdict: Verdict
) -> None:
    happened = facts()
    track = happened.streams[1]
    track.told_end_s = None if told_s is None else Fraction(told_s)
    track.told_by_length_s = None if by_length_s is None else Fraction(by_length_s)
    track.damaged = change.get("damaged", 0)

    assert verdicts(MEDIA, happened, output())["audio"] is verdict


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


@pytest.mark.parametrize(
    ("check", "found"),
    [
        ("timeline", replace(output(), streams=tuple(replace(one, start_s=Fraction(1)) for one in output().streams))),
        ("geometry", replace(output(), tags=replace(TAGS, colorspace=6))),
        ("geometry", replace(output(), tags=replace(TAGS, color_range=2))),
        ("geometry", replace(output(), tags=replace(TAGS, color_trc=2))),
    ],
)
def test_a_file_that_a_viewer_should_look_at(check: str, found: OutputFacts) -> None:
    assert verdicts(MEDIA, facts(), found)[check] is Verdict.WARN


@pytest.mark.parametrize(
    "tags",
    [
        TAGS,
        replace(TAGS, color_range=0),  # what nobody tells is limited
        replace(TAGS, sample_aspect_ratio=Fraction(3999, 3000)),  # Matroska's whole pixels
        None,
    ],
)
def test_geometry_as_planned(tags: PictureTags | None) -> None:
    assert verdicts(MEDIA, facts(), replace(output(), tags=tags))["geometry"] is Verdict.PASS


@pytest.mark.parametrize(
    ("skew", "expected"), [(Fraction(20, 1000), Verdict.PASS), (Fraction(21, 1000), Verdict.WARN)]
)  # fmt: skip
def test_sound_that_was_moved_is_told(skew: Fraction, expected: Verdict) -> None:
    """20 ms beside where the source had it is what the timeline promises."""
    happened = facts()
    happened.streams[1].largest_skew_s = skew

    assert verdicts(MEDIA, happened, output())["timeline"] is expected


@pytest.mark.parametrize(
    ("lost", "end_s", "expected"),
    [(0, 1799, Verdict.PASS), (0, 1700, Verdict.PASS), (3, 1799, Verdict.PASS), (3, 1700, Verdict.WARN)],
)
def test_a_track_that_ends_early(lost: int, end_s: int, expected: Verdict) -> None:
    """As in the recording, unless packets of it were lost on the way."""
    happened = facts()
    happened.streams[1].end_s = Fraction(end_s)
    happened.streams[1].dropped = lost

    assert verdicts(MEDIA, happened, with_stream(output(), 1, end_s=Fraction(end_s)))["audio"] is expected


def test_captions_never_fail_a_job() -> None:
    """Those that were planned inside and are not there are told; the other streams are compared as ever."""
    caption = CaptionInfo(index=5, pid=0x130, codec="dvb_subtitle", language="jpn")
    plan = replace(PLAN, inside=(caption,))
    happened = facts()
    happened.streams.append(StreamFacts(codec="dvb_subtitle", packets=9, muxed=9))
    inside = OutputStream(codec="dvbsub", kind="subtitle", packets=9, start_s=Fraction(3), end_s=Fraction(1700))
    inside = replace(inside, tags=Tags(language="jpn"))
    chapters = OutputStream(codec="", kind="data", packets=4, start_s=Fraction(0), end_s=Fraction(1800))
    there = replace(output(), streams=(*output().streams, inside, chapters))

    def found(shown: OutputFacts) -> dict[str, Verdict]:
        return {finding.check: finding.verdict for finding in judge(MEDIA, plan, happened, shown)}

    assert {Verdict.PASS} == set(found(there).values())
    assert [("captions", Verdict.WARN)] == [item for item in found(output()).items() if item[1] is not Verdict.PASS]


@pytest.mark.parametrize(("gap_s", "expected"), [(0.5, Verdict.PASS), (2.0, Verdict.WARN), (900.0, Verdict.WARN)])
def test_damage_is_a_share_of_the_time(gap_s: float, expected: Verdict) -> None:
    """More than a thousandth of it is worth a look; whether the recording has failed is for the operator's limit."""
    log = DamageLog(0.04, 0.02)
    log.note(Kind.GAP, 60.0, PICTURE, span_s=gap_s)
    log.note(Kind.FILLED, 60.0, MAIN_SOUND, span_s=gap_s)
    findings = judge(MEDIA, PLAN, facts(), output(), damage=log.assess(1800.0))
    damage = next(finding for finding in findings if finding.check == "damage")

    assert expected is damage.verdict
    assert f"1 gap of {gap_s:.1f} s at 00:01:00" in damage.evidence


SECOND = SecondLikeness(at_s=0.0, frames=8, psnr_db=38.0, ssim=0.97, thin_db=45.0, beside_db=28.0)
PROOF = ProofFacts(frames=45_000, packets=45_000, error="", crc=7, compared=45_000, seconds=(SECOND,) * 20)


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        (PROOF, Verdict.PASS),
        (replace(PROOF, seconds=()), Verdict.PASS),
        # Quality 51, a still picture, snow at quality 30.
        (replace(PROOF, seconds=(replace(SECOND, psnr_db=26.4, thin_db=29.9, beside_db=27.8),)), Verdict.PASS),
        (replace(PROOF, seconds=(replace(SECOND, beside_db=99.0),)), Verdict.PASS),
        (replace(PROOF, seconds=(replace(SECOND, psnr_db=13.5, thin_db=25.3, beside_db=20.9),)), Verdict.WARN),
        (replace(PROOF, seconds=(SECOND, SECOND, replace(SECOND, psnr_db=13.5))), Verdict.PASS),
        (replace(PROOF, compared=30_000), Verdict.WARN),
        (replace(PROOF, wrong=1, wrong_at_s=1.5, worst_db=7.0, worst_at_s=1.5), Verdict.FAIL),
        (replace(PROOF, seconds=(replace(SECOND, thin_db=24.0, beside_db=38.0),) * 3), Verdict.FAIL),
    ],
)
def test_pictures_are_the_ones_that_went_in(proof: ProofFacts, expected: Verdict) -> None:
    """One that is another is a failure; poor ones are a doubt; coarse ones are what was asked for."""
    findings = judge(MEDIA, PLAN, facts(), output(), proof=proof)

    assert [expected] == [finding.verdict for finding in findings if finding.check == "likeness"]
