"""Who is to blame for an attempt that failed, and what has to wait."""

from __future__ import annotations

import errno

import pytest

from encoderd.encode.failures import EncodeFailed, Place, encoder_failed, output_failed
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


def test_an_encoder_on_the_gpu_that_fails_closes_the_gate() -> None:
    failure = encoder_failed("h264_qsv", "opening", "Error creating a MFX session: -9")

    assert verdict(failure) == (D, JobEvent.DEVICE_LOST, Place.ENCODER)
    assert "MFX session: -9" in failure.message


def test_an_encoder_on_the_cpu_that_fails_is_a_crash() -> None:
    assert verdict(encoder_failed("libx264", "encoding", "words")) == (C, JobEvent.CRASHED, Place.NONE)
