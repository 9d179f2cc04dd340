"""Who is to blame for an attempt that failed, and what has to wait."""

from __future__ import annotations

import errno

import pytest

from encoderd.encode.failures import (
    EncodeFailed,
    Place,
    encoder_confused,
    encoder_empty,
    encoder_failed,
    encoder_lost,
    options_unknown,
    output_failed,
)
from encoderd.jobs import FailureKind, JobEvent

D, C = FailureKind.DEVICE, FailureKind.CRASH


def verdict(failure: EncodeFailed) -> tuple[FailureKind, JobEvent, Place]:
    assert failure.message and failure.remedy
    return failure.kind, failure.event, failure.place


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, (D, JobEvent.NO_SPACE, Place.FOLDER)),
        (errno.EDQUOT, (D, JobEvent.NO_SPACE, Place.FOLDER)),
        (errno.EFBIG, (D, JobEvent.NO_SPACE, Place.FOLDER)),
        (errno.EACCES, (D, JobEvent.DEVICE_LOST, Place.FOLDER)),
        (errno.EROFS, (D, JobEvent.DEVICE_LOST, Place.FOLDER)),
        (errno.ENOENT, (D, JobEvent.DEVICE_LOST, Place.FOLDER)),
        (errno.ESTALE, (D, JobEvent.DEVICE_LOST, Place.FOLDER)),
        (errno.EIO, (C, JobEvent.CRASHED, Place.NONE)),
        (errno.EINVAL, (C, JobEvent.CRASHED, Place.NONE)),
        (None, (C, JobEvent.CRASHED, Place.NONE)),
    ],
)
def test_an_output_that_cannot_be_written(number: int | None, expected: tuple[object, ...]) -> None:
    """No room and no folder are the device's fault and hold up the folder; what nobody has named is a crash."""
    assert expected == verdict(output_failed(number, "words", "/out"))


def qsv(line: str, stage: str = "opening") -> EncodeFailed:
    return encoder_failed("h264_qsv", stage, "[Errno 5] words", lines=[f"[h264_qsv @ 0x1] {line}"], number=errno.EIO)


def test_an_encoder_on_the_gpu_that_fails_closes_the_gate() -> None:
    """The operator reads what it means, what to do, and FFmpeg's own words."""
    failure = qsv("Error creating a MFX session: -9.")

    assert (D, JobEvent.DEVICE_LOST, Place.ENCODER) == verdict(failure)
    assert "no session with the GPU could be made" in failure.message
    assert "(FFmpeg: Error creating a MFX session: -9)." in failure.message


def test_a_picture_that_no_gpu_takes_is_the_recording_s_fault() -> None:
    """A trial with the same settings has passed: tried again and again, the gate would open and close for ever."""
    failure = qsv("Current resolution is unsupported")

    assert (FailureKind.RECORDING, JobEvent.RECORDING_REJECTED, Place.NONE) == verdict(failure)


def test_without_lines_the_error_s_own_words_are_told() -> None:
    failure = encoder_failed("h264_qsv", "encoding", "[Errno 5] words", number=errno.EIO)

    assert "(FFmpeg: [Errno 5] words)." in failure.message
    assert "the GPU failed" in failure.message


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (encoder_lost("h264_qsv", 60, 59), "(60 frames in, 59 packets out)"),
        (
            encoder_lost("h264_qsv", 60, 59, ["[h264_qsv @ 0x1] Warning during encoding: incompatible (5)"]),
            "(60 frames in, 59 packets out; FFmpeg: Warning during encoding: incompatible (5))",
        ),
        (encoder_empty("h264_qsv", 31), "(packet 31 has 0 bytes)"),
        (encoder_confused("packet 5 has the PTS 7"), "(packet 5 has the PTS 7)"),
        (options_unknown("h264_qsv", ["b_stratgy"]), "no option named b_stratgy"),
        (options_unknown("libx264", ["x", "a"]), "no option named a, x"),
    ],
)
def test_what_no_error_tells_is_the_encoder_s_fault_too(failure: EncodeFailed, words: str) -> None:
    """Frames without packets, packets without bytes, pictures of another time, options that nobody knows."""
    assert (D, JobEvent.DEVICE_LOST, Place.ENCODER) == verdict(failure)
    assert words in failure.message


@pytest.mark.parametrize(
    "failure",
    [
        encoder_failed("libx264", "encoding", "words"),
        encoder_lost("libx264", 60, 59),
        encoder_empty("libx264", 1),
        encoder_failed("aac", "encoding", "words"),
    ],
)
def test_an_encoder_on_the_cpu_that_fails_is_a_crash(failure: EncodeFailed) -> None:
    assert (C, JobEvent.CRASHED, Place.NONE) == verdict(failure)
    assert "GPU" not in failure.message


def test_an_encoder_on_the_cpu_says_its_last_line() -> None:
    lines = ["[libx264 @ 0x1] using SAR=1/1", "[libx264 @ 0x1] Error setting profile nonsense."]

    assert "Error setting profile nonsense" in encoder_failed("libx264", "opening", "words", lines=lines).message
