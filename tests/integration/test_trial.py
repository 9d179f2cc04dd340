"""
The trial encode with the real libavcodec: what passes is sound, and each way in which a GPU fails is told apart.

h264_qsv runs against the simulated runtime (tests/vplsim): what it is asked for, what it grants, what goes wrong.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from encoderd.encode.failures import EncodeFailed, Place
from encoderd.encode.messages import Encoded, TrialDone, TrialRequest, VideoRequest
from encoderd.encode.supervisor import run_to_end
from encoderd.jobs import FailureKind
from tests.encoding import Done, encode, try_encode
from tests.often import often
from tests.simulated import Simulated

LIMIT_S = 30.0
RATES: dict[str, Any] = {"bitrate_bps": 4_000_000, "max_bitrate_bps": 6_000_000}
EVERY_RATE_CONTROL: list[dict[str, Any]] = [
    {"rate_control": "icq"},
    {"rate_control": "la_icq", "look_ahead_depth": 40},
    {"rate_control": "cqp"},
    {"rate_control": "qvbr", **RATES},
    {"rate_control": "vbr", **RATES},
    {"rate_control": "vbr", "bitrate_bps": 4_000_000},
    {"rate_control": "vbr", "look_ahead_depth": 30, **RATES},
    {"rate_control": "cbr", "bitrate_bps": 4_000_000},
    {"rate_control": "cbr", "bitrate_bps": 80_000_000, "look_ahead_depth": 30},
]
IDS = ["-".join(str(value) for value in asked.values()) for asked in EVERY_RATE_CONTROL]


class Trials:
    """Runs trials in a real child, on the simulated GPU that `gpu` chooses."""

    def __init__(self, simulated: Simulated, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._simulated, self._patch, self._folder = simulated, patch, folder

    def gpu(self, **traits: Any) -> None:
        for name, value in self._simulated.environment(**traits).items():
            self._patch.setenv(name, value)

    def run(self, encoder: str = "h264_qsv", **asked: Any) -> TrialDone:
        video = VideoRequest(**{"encoder": encoder, "bframes": 2, **asked})
        done = run_to_end(TrialRequest(video=video), LIMIT_S, time.monotonic, log=self._folder / "log").outcome
        if isinstance(done, EncodeFailed):
            raise done
        assert isinstance(done, TrialDone)
        return done

    def failure(self, **asked: Any) -> EncodeFailed:
        with pytest.raises(EncodeFailed) as caught:
            self.run(**asked)
        assert caught.value.remedy
        return caught.value


@pytest.fixture
def trials(simulated: Simulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trials:
    made = Trials(simulated, monkeypatch, tmp_path)
    made.gpu()
    return made


@pytest.mark.parametrize("asked", often(4, EVERY_RATE_CONTROL), ids=IDS)
def test_libavcodec_makes_of_the_options_what_was_asked(trials: Trials, asked: dict[str, Any]) -> None:
    """Each rate control and its numbers come back as asked; no option is left over, no picture changed."""
    done = trials.run(**asked)

    assert (asked["rate_control"], []) == (done.granted["rate_control"], done.differences)
    assert ("2", "90", "medium") == (done.granted["bframes"], done.granted["gop"], done.granted["preset"])
    assert done.granted["runtime"].endswith("/new/libvplsim.so.1")
    assert done.psnr_db == 99.0, "the simulated encoder loses nothing"


@pytest.mark.parametrize("asked", EVERY_RATE_CONTROL, ids=IDS)
@pytest.mark.slow
def test_x264_takes_every_rate_control(trials: Trials, asked: dict[str, Any]) -> None:
    """What the CPU is asked for when it stands in: no option is unknown to it."""
    done = trials.run("libx264", preset="veryfast", level="4.1", **asked)

    assert {"icq": "crf", "la_icq": "crf", "qvbr": "crf"}.get(asked["rate_control"], asked["rate_control"]) == (
        done.granted["rate_control"]
    )
    assert done.differences == []


@pytest.mark.parametrize(
    "asked",
    often(
        1,
        [
            {"quality": 51},
            {"rate_control": "cqp", "quality": 51},
            {"rate_control": "cbr", "bitrate_bps": 100_000},
            {"profile": "baseline"},
        ],
    ),
    ids=str,
)
def test_the_worst_pictures_that_can_be_asked_for_still_pass(trials: Trials, asked: dict[str, Any]) -> None:
    assert trials.run("libx264", preset="veryfast", **asked).psnr_db > 25


def test_every_stage_of_the_encoder_fills_up(trials: Trials) -> None:
    """Look-ahead, asynchronous depth and B-frames together keep back more pictures than a short trial would have."""
    done = trials.run(rate_control="la_icq", look_ahead_depth=40, async_depth=8, bframes=7)

    assert done.frames > 40 + 8 + 7


@pytest.mark.parametrize(
    ("platform", "asked", "granted"),
    often(
        2,
        [
            ("mtl", {"rate_control": "la_icq", "look_ahead_depth": 40}, ["asked la_icq, granted icq"]),
            ("tgl", {"low_power": "on"}, ["asked 2 B-frames, granted 0"]),
            ("tgl", {"low_power": "off"}, []),
            ("tgl", {"profile": "main", "level": "4.1", "gop": 48}, []),
            ("tgl", {"profile": "baseline"}, []),
        ],
    ),
)
def test_what_the_gpu_grants_otherwise_is_told(
    trials: Trials, platform: str, asked: dict[str, Any], granted: list[str]
) -> None:
    trials.gpu(platform=platform)

    assert granted == trials.run(**asked).differences


@pytest.mark.parametrize(
    ("fault", "words"),
    often(
        6,
        [
            ("desc", "no session with the GPU could be made"),
            ("session=-17", "(FFmpeg: Error creating a MFX session: -9)"),
            ("query=-3", "some encoding parameters are not supported"),
            ("init=-17", "the GPU failed"),
            ("init=-4", "no memory"),
            ("init=-15", "(FFmpeg: Error initializing the encoder: invalid video parameters (-15))"),
            ("nohdr", "does not say what it will write"),
            ("async=-17@6", "the GPU failed"),
            ("async=-21@6", "the GPU hung"),
            ("async=-13@6", "the GPU is gone"),
            ("async=-12@6", "gave the frame up"),
            ("async=-16@6", "lost its state"),
            ("async=5@6", "5 packets out; FFmpeg: Warning during encoding: incompatible video parameters (5)"),
            ("sync=-21@6", "(FFmpeg: Invalid FrameType:0)"),
            ("syncquiet@6", "has 0 bytes"),
            ("nodata@9", "has 0 bytes"),
            ("drop@5x1", "14 frames in, 13 packets out"),
            ("trunc@9x1", "cannot be decoded"),
            ("garble@9x1", "other pictures"),
            ("badpts@7x1", "other times"),
        ],
    ),
)
def test_a_gpu_that_fails_does_not_pass(trials: Trials, fault: str, words: str) -> None:
    """Whether it says so, or loses and spoils pictures in silence. In a trial there is no recording to blame."""
    trials.gpu(fault=fault)
    failure = trials.failure()

    assert (FailureKind.DEVICE, Place.ENCODER) == (failure.kind, failure.place)
    assert words in failure.message


def test_a_gpu_that_is_busy_for_a_while_passes(trials: Trials) -> None:
    trials.gpu(fault="busy@3x10")

    assert trials.run().differences == []


@pytest.mark.parametrize("encoder", ["h264_qsv", "libx264"])
def test_an_option_that_the_encoder_does_not_know_is_named(trials: Trials, encoder: str) -> None:
    """FFmpeg would ignore it."""
    assert f"{encoder} has no option named rd0." in trials.failure(encoder=encoder, extra=(("rd0", "1"),)).message


def test_a_value_that_cannot_be_is_told_in_ffmpeg_s_words(trials: Trials) -> None:
    failure = trials.failure(extra=(("rdo", "blue"),))

    assert "encode.extra" in failure.message
    assert "blue" in failure.message


# Jobs on the same runtime: what no trial can foresee


def job(trials: Trials, source: Path, **asked: Any) -> Done:
    return encode(source, **{"encoder": "h264_qsv", "bframes": 2, "verify": "auto", **asked})


def test_a_job_tells_what_it_was_granted(trials: Trials, recording: Path) -> None:
    """The receipt holds what was asked, what was granted and how they differ; of a wish alone no recording is kept."""
    trials.gpu(platform="mtl")
    receipt = job(trials, recording, rate_control="la_icq", look_ahead_depth=40).receipt

    assert ("la_icq", "icq") == (receipt["asked"]["video"]["rate_control"], receipt["granted"]["rate_control"])
    assert ["asked la_icq, granted icq"] == receipt["differences"]
    assert "pass" == receipt["verdict"]
    assert ["granted"] == [finding["check"] for finding in receipt["findings"] if finding["verdict"] == "warn"]


@pytest.mark.parametrize("container", often(2, ["mp4", "mkv"]))
@pytest.mark.parametrize("bframes", often(1, [0, 2, 7]))
def test_b_frames_survive_a_gap_in_the_recording(
    trials: Trials, long_recording: Path, tmp_path: Path, container: str, bframes: int
) -> None:
    """The runtime's own DTS would run backwards there, and the muxer lose a picture."""
    data = long_recording.read_bytes()
    packet = 188
    part = len(data) // packet // 20
    gap = tmp_path / "gap.ts"
    gap.write_bytes(data[: 2 * part * packet] + data[3 * part * packet : 5 * part * packet])
    done = job(trials, gap, container=container, bframes=bframes)

    assert "pass" == done.verdicts["frames"] == done.verdicts["decodes"]
    assert done.receipt["facts"]["gaps"] != []


@pytest.mark.parametrize(
    "fault", often(2, ["trunc@20x1", "nodata@20x1", "drop@20x1", "sync@20x1", "async=5@20x1", "badpts@20x1"])
)
def test_what_a_gpu_spoils_in_silence_never_becomes_a_file(trials: Trials, recording: Path, fault: str) -> None:
    trials.gpu(fault=fault)
    outcome = try_encode(recording, recording.with_name("spoilt.mp4"), encoder="h264_qsv", bframes=2, verify="auto")

    assert not isinstance(outcome, Encoded)
    assert (FailureKind.DEVICE, Place.ENCODER) == (outcome.kind, outcome.place)
