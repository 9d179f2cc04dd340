"""Small real recordings through the real child: what comes out is what went in, in another form."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from tests.encoding import TS, Done, encode, frame_times, retimed, streams_of
from tests.often import often

FRAME_S = Fraction(1001, 30_000)
SMALL: dict[str, Any] = {"width": 320, "height": 240, "bit_rate_bps": 1_500_000}
H264: dict[str, Any] = {"video": "libx264", "interlaced": False}
Spec = dict[str, Any]


def make(folder: Path, name: str = "x.ts", **spec: Any) -> Path:
    return make_recording(folder / name, SampleSpec(**{**SMALL, "duration_s": 1.0, **spec}))


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interlaced MPEG-2 with three kinds of audio."""
    return make(tmp_path_factory.mktemp("broadcast"), duration_s=2.0, audio=("aac", "mp2", "ac3"))


@pytest.fixture(scope="module", params=["mp4", "mkv"])
def done(request: pytest.FixtureRequest, broadcast: Path) -> Done:
    return encode(broadcast, container=request.param)


def as_exact(done: Done) -> Fraction:
    """The step of the container's clock in seconds: Matroska counts in milliseconds."""
    return Fraction(1, 1000) if done.path.suffix == ".mkv" else Fraction(1, 90_000)


def test_every_check_passes(done: Done) -> None:
    assert done.doubts == {}
    assert done.receipt["verdict"] == "pass"
    assert done.receipt["facts"]["frames_decoded"] == done.receipt["facts"]["packets_encoded"] == 60


def test_every_picture_keeps_its_time(broadcast: Path, done: Done) -> None:
    """As many as in the source, each exactly where it was, from the recording's first moment on."""
    before, after = streams_of(broadcast), streams_of(done.path)
    origin = min(stream.pts[0] for stream in before)

    assert len(before[0].pts) == len(after[0].pts) == 60
    for old, new in zip(before[0].pts, after[0].pts, strict=True):
        assert abs(old - origin - new) <= as_exact(done) / 2
    assert {later - earlier for earlier, later in pairwise(after[0].pts)} <= {
        FRAME_S,
        Fraction(33, 1000),
        Fraction(34, 1000),
    }


def test_audio_keeps_its_place_beside_the_pictures(broadcast: Path, done: Done) -> None:
    before, after = streams_of(broadcast), streams_of(done.path)
    origin = min(stream.pts[0] for stream in before)

    for old, new in zip(before[1:], after[1:], strict=True):
        assert abs((old.pts[0] - origin) - new.pts[0]) <= Fraction(25, 1000), "an AAC encoder begins one frame early"
        assert abs((old.pts[-1] - origin) - new.pts[-1]) <= Fraction(50, 1000)


def test_copied_audio_is_the_same_to_the_bit(broadcast: Path, done: Done) -> None:
    """AAC loses its ADTS headers, which the containers do not want; AC-3 stays as it is. MP2 becomes AAC."""
    before, after = streams_of(broadcast), streams_of(done.path)

    assert [stream.codec for stream in after] == ["h264", "aac", "aac", "ac3"]
    assert [packet[7:] for packet in before[1].data] == after[1].data
    assert before[3].data == after[3].data


def test_languages_stay(done: Done) -> None:
    assert [stream.language for stream in streams_of(done.path)][1:] == ["jpn", "eng", "jpn"]


def test_the_shape_of_the_picture_stays(done: Done) -> None:
    """320 × 240 with samples of 4:3 is shown as 427 × 240."""
    with av.open(str(done.path)) as container:
        video = container.streams.video[0]
        found = (video.codec_context.width, video.codec_context.height, video.sample_aspect_ratio)

    assert (320, 240, Fraction(4, 3)) == found


def combing(path: Path, pictures: int = 12) -> float:
    """How much neighbouring lines differ, against lines of the same field: above 1 where fields are woven."""
    near = far = 0
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            plane = frame.planes[0]
            data, width = bytes(plane), plane.line_size
            rows = [data[row * width : row * width + frame.width : 5] for row in range(frame.height)]
            for one, two, three in zip(rows, rows[1:], rows[2:], strict=False):
                near += sum(abs(a - b) for a, b in zip(one, two, strict=True))
                far += sum(abs(a - b) for a, b in zip(one, three, strict=True))
            if number == pictures:
                break
    return near / far


def test_interlaced_pictures_are_deinterlaced(broadcast: Path, done: Done) -> None:
    """The output is flagged progressive, and it is: the comb is gone."""
    with av.open(str(done.path)) as container:
        flags = {frame.interlaced_frame for frame in container.decode(video=0)}

    assert flags == {False}
    assert combing(done.path) < 0.85 * combing(broadcast)


def test_without_deinterlacing_the_comb_stays(tmp_path: Path) -> None:
    source = make(tmp_path, audio=())
    kept = encode(source, deinterlace="off", quality=12)

    assert combing(kept.path) > 0.9 * combing(source)


def test_mp4_begins_with_its_index(tmp_path: Path) -> None:
    """A player over the network can start at once."""
    data = encode(make(tmp_path)).path.read_bytes()

    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("name", "container", "spec", "audio"),
    often(5, [
        ("x.mp4", "mkv", {**H264, "muxer": "mp4"}, ["aac"]),
        ("x.mov", "mp4", {**H264, "muxer": "mov"}, ["aac"]),
        ("x.mkv", "mp4", {**H264, "muxer": "matroska", "audio": ("aac", "ac3")}, ["aac", "ac3"]),
        ("x.avi", "mp4", {"video": "mpeg2video", "muxer": "avi", "audio": ("mp2",)}, ["aac"]),
        ("reordered.avi", "mkv", {**H264, "muxer": "avi", "audio": ("mp2",)}, ["aac"]),
        ("x.mpg", "mkv", {"muxer": "mpeg", "audio": ("mp2",)}, ["aac"]),
        ("x.flv", "mp4", {**H264, "muxer": "flv"}, ["aac"]),
        ("x.m2ts", "mkv", {}, ["aac"]),
        ("only video.ts", "mp4", {"audio": ()}, []),
        ("slow.mkv", "mp4", {**H264, "muxer": "matroska", "rate": Fraction(2), "duration_s": 6.0}, ["aac"]),
        ("slow.mp4", "mkv", {**H264, "muxer": "mp4", "rate": Fraction(2), "duration_s": 6.0}, ["aac"]),
        ("slow.ts", "mkv", {**H264, "rate": Fraction(2), "duration_s": 6.0}, ["aac"]),
        ("fast.ts", "mp4", {"interlaced": False, "rate": Fraction(60_000, 1001)}, ["aac"]),
    ]),
)  # fmt: skip
def test_no_container_raises_a_false_alarm(
    tmp_path: Path, name: str, spec: Spec, audio: list[str], container: str
) -> None:
    """Whatever recorders write passes every check, with every picture."""
    source = make(tmp_path, name, **spec)
    done = encode(source, container=container)

    assert done.doubts == {}
    assert [stream.codec for stream in streams_of(done.path)] == ["h264", *audio]
    assert len(frame_times(source)) == len(frame_times(done.path))


def test_a_192_byte_transport_stream_is_one(tmp_path: Path) -> None:
    """The name .m2ts above really made one; positions in it count all its bytes."""
    data = make(tmp_path, "x.m2ts").read_bytes()

    assert (data[4], data[196], data[388]) == (0x47, 0x47, 0x47)


def test_audio_that_changes_its_form_becomes_one_stream(tmp_path: Path) -> None:
    """Mono at 48 kHz, then stereo at 32 kHz: an hour of mp2 must not end with the first programme."""
    from encoderd.encode import sample

    parts = []
    for number, (layout, rate) in enumerate((("mono", 48_000), ("stereo", 32_000))):
        spec = SampleSpec(**SMALL, duration_s=1.0)
        with av.open(str(tmp_path / f"{number}.ts"), "w", format="mpegts") as container:
            video = sample.add_interlaced_video(container, spec)
            audio: Any = container.add_stream("mp2", rate=rate)
            audio.codec_context.layout = layout
            sample._interleave(container, [(video, sample.moving_pictures(spec)), (audio, sample.tones(1.0, 440))])
        parts.append(retimed((tmp_path / f"{number}.ts").read_bytes(), number * 90_000))
    source = tmp_path / "x.ts"
    source.write_bytes(b"".join(parts))
    done = encode(source)
    audio_s = streams_of(done.path)[1].pts

    assert Fraction(19, 10) < audio_s[-1] - audio_s[0] < Fraction(21, 10)
    assert set(done.doubts) <= {"damage"}, "the seam is damage, nothing else"


def test_the_first_programme_is_kept(tmp_path: Path) -> None:
    """A multiplex of two, with clocks that are hours apart: one comes out whole, the other is named."""
    parts = []
    for number, service in enumerate((101, 102)):
        spec = SampleSpec(**SMALL, duration_s=1.0)
        pids = {
            "mpegts_service_id": str(service),
            "mpegts_start_pid": str(0x100 + 0x100 * number),
            "mpegts_pmt_start_pid": str(0x1000 + 0x100 * number),
            "mpegts_flags": "nit",
        }
        path = tmp_path / f"{number}.ts"
        _make_with_options(path, spec, pids)
        parts.append(retimed(path.read_bytes(), number * 90_000 * 10_000))
    source = tmp_path / "x.ts"
    source.write_bytes(_multiplex(parts))
    done = encode(source)

    assert done.receipt["plan"]["notes"][0] == "programme 101 kept, left out: 102"
    assert done.doubts == {}
    assert [stream.codec for stream in streams_of(done.path)] == ["h264", "aac"]
    assert len(frame_times(done.path)) == 30


def _make_with_options(path: Path, spec: SampleSpec, options: dict[str, str]) -> None:
    from encoderd.encode import sample

    with av.open(str(path), "w", format="mpegts", options=options) as container:
        video = sample.add_interlaced_video(container, spec)
        audio: Any = container.add_stream("aac", rate=48_000)
        sample._interleave(container, [(video, sample.moving_pictures(spec)), (audio, sample.tones(1.0, 440))])


def _multiplex(parts: list[bytes]) -> bytes:
    """Packets of all parts in turn, under one association table that names them all."""
    tables = [
        next(part[at : at + TS] for at in range(0, len(part), TS) if part[at + 1 : at + 3] == b"\x40\0")
        for part in parts
    ]
    entries = b"".join(table[5 + 8 : 5 + 3 + (table[6 + 1] | (table[6] & 0xF) << 8) - 4] for table in tables)
    body = (0xB000 | 5 + len(entries) + 4).to_bytes(2, "big") + tables[0][8:13] + entries
    section = b"\0" + body + _crc(b"\0" + body).to_bytes(4, "big")
    count, out = 0, []
    for turn in zip(*([part[at : at + TS] for at in range(0, len(part), TS)] for part in parts), strict=False):
        for packet in turn:
            if packet[1] & 0x1F == 0 and packet[2] == 0:
                packet = (b"\x47\x40\0" + bytes([0x10 | count & 0xF]) + b"\0" + section).ljust(TS, b"\xff")
                count += 1
            out.append(packet)
    return b"".join(out)


def _crc(data: bytes) -> int:
    """CRC-32/MPEG-2 (ISO/IEC 13818-1, annex A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
