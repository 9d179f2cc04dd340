"""Recordings whose clock wraps, jumps or stands still for a while, through the real child."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from tests.encoding import TS, WRAP, Stream, encode, frame_times, retimed, scrambled, streams_of

FRAME_S = Fraction(1001, 30_000)
VIDEO_PID, AUDIO_PID = 0x100, 0x101
#: The first PTS of FFmpeg's own transport streams, about: a little more than 1.4 s.
FIRST_TICKS = 130_000


@pytest.fixture(scope="module")
def two_seconds(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    spec = SampleSpec(duration_s=2.0, width=320, height=240, bit_rate_bps=1_500_000, audio=("aac", "mp2"))
    return make_recording(tmp_path_factory.mktemp("clock") / "x.ts", spec).read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, two_seconds: bytes) -> list[Stream]:
    """The output's streams when nothing is wrong with the clock."""
    return streams_of(encode(source_of(tmp_path_factory.mktemp("plain"), two_seconds)).path)


def source_of(folder: Path, data: bytes) -> Path:
    path = folder / "x.ts"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("before_wrap_s", [0.0, 0.5, 1.0, 1.9])
def test_a_clock_that_wraps_leaves_no_trace(
    tmp_path: Path, two_seconds: bytes, plain: list[Stream], before_wrap_s: float
) -> None:
    """
    26.5 hours after the broadcaster's last reset the clock begins anew. Every picture and every audio packet is where
    it is in the same recording without the wrap.
    """
    wrapping = retimed(two_seconds, WRAP - FIRST_TICKS - round(before_wrap_s * 90_000))
    done = encode(source_of(tmp_path, wrapping))
    found = streams_of(done.path)

    assert [stream.pts for stream in plain] == [stream.pts for stream in found]
    assert plain[1].data == found[1].data
    assert set(done.doubts) <= {"duration"}


@pytest.mark.parametrize("jump_s", [-1.0, -3600.0, 300.0, 7200.0])
def test_a_clock_that_jumps_runs_on(tmp_path: Path, two_seconds: bytes, jump_s: float) -> None:
    """
    Two broadcasts in one recording: no time passes between them, and audio keeps its distance to the pictures.

    The recording cannot tell how long the seam was; a frame or two is all that it may be off.
    """
    second = retimed(two_seconds, round((2.002 + jump_s) * 90_000) % WRAP)
    done = encode(source_of(tmp_path, two_seconds + second))
    times_s = frame_times(done.path)
    steps_s = sorted(later - earlier for earlier, later in pairwise(times_s))

    assert len(times_s) >= 118
    assert steps_s[0] > 0 and steps_s[-1] < 5 * FRAME_S
    assert len(done.receipt["facts"]["discontinuities"]) == 1
    video, *audio = streams_of(done.path)
    for stream in audio:
        assert abs(stream.pts[-1] - video.pts[-1]) < Fraction(1, 10)
    assert len(audio[0].data) >= len(streams_of(tmp_path / "x.ts")[1].data) - 2


def test_audio_and_video_are_moved_by_the_same(tmp_path: Path, two_seconds: bytes, plain: list[Stream]) -> None:
    """Across a jump each packet of the second part is as far from its picture as in the first, to 20 ms."""
    second = retimed(two_seconds, 90_000 * 5000)
    done = encode(source_of(tmp_path, two_seconds + second))
    video, audio = streams_of(done.path)[:2]
    moved_video_s = video.pts[-1] - plain[0].pts[-1]
    moved_audio_s = audio.pts[-1] - plain[1].pts[-1]

    assert abs(moved_video_s - moved_audio_s) <= Fraction(20, 1000)


def test_a_gap_stays_and_is_told(tmp_path: Path, two_seconds: bytes) -> None:
    """Three seconds without reception are three seconds in the output, and a doubt in the receipt."""
    second = retimed(two_seconds, 5 * 90_000)
    done = encode(source_of(tmp_path, two_seconds + second))
    longest_s = max(later - earlier for earlier, later in pairwise(frame_times(done.path)))

    assert Fraction(29, 10) < longest_s < Fraction(31, 10)
    assert "3 gaps that take up to 3.0 s" in done.doubts["damage"]


def test_a_stretch_that_is_scrambled_is_told(tmp_path: Path, two_seconds: bytes) -> None:
    """The pictures are lost, the rest is encoded: what is missing must not go unsaid."""
    data = b"".join(retimed(two_seconds, n * 180_180) for n in range(3))
    part = (1.3 / 6, 3.7 / 6)
    done = encode(source_of(tmp_path, scrambled(data, {VIDEO_PID, AUDIO_PID}, part)))

    assert "% scrambled" in done.doubts["damage"]
    assert "gaps that take up to" in done.doubts["damage"]


def test_a_recorder_that_began_before_its_card_answered_is_encoded(tmp_path: Path, two_seconds: bytes) -> None:
    """The first second is scrambled in many a recording."""
    data = b"".join(retimed(two_seconds, n * 180_180) for n in range(4))
    done = encode(source_of(tmp_path, scrambled(data, {VIDEO_PID, AUDIO_PID}, (0.0, 0.12))))

    assert len(frame_times(done.path)) > 180


def test_a_recording_that_begins_in_the_middle_is_encoded(tmp_path: Path, two_seconds: bytes) -> None:
    """Recorders cut between any two packets: it begins with the first whole picture group."""
    cut = len(two_seconds) // 4 // TS * TS
    done = encode(source_of(tmp_path, two_seconds[cut + 77 :]))

    assert len(frame_times(done.path)) >= 28
    assert streams_of(done.path)[0].pts[0] < Fraction(1)
