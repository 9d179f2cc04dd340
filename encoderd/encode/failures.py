"""Why an attempt ended without a file: whose fault it is, in words an operator can act on."""

from __future__ import annotations

import errno
from enum import StrEnum

from encoderd.errors import EncoderdError
from encoderd.jobs import FailureKind, JobEvent


class Place(StrEnum):
    """Where a device failure sits, and so what has to wait for it."""

    NONE = ""
    ENCODER = "encoder"  #: the gate closes: no recording is tried until a trial encode succeeds
    FOLDER = "folder"  #: recordings of this watch folder wait until its output folder can be written again


class EncodeFailed(EncoderdError):
    """
    An attempt that has to end.

    `kind` says who is to blame, `event` what happens to the job, `place` what has to wait with it.
    """

    def __init__(
        self, message: str, *, remedy: str, kind: FailureKind, event: JobEvent, place: Place = Place.NONE
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.kind = kind
        self.event = event
        self.place = place


def rejected(message: str, remedy: str) -> EncodeFailed:
    """The recording cannot become a file; the same again would fail again."""
    return EncodeFailed(message, remedy=remedy, kind=FailureKind.RECORDING, event=JobEvent.RECORDING_REJECTED)


def device(message: str, remedy: str, place: Place = Place.ENCODER) -> EncodeFailed:
    """GPU, driver or folder: the recording is not to blame."""
    return EncodeFailed(message, remedy=remedy, kind=FailureKind.DEVICE, event=JobEvent.DEVICE_LOST, place=place)


def no_space(message: str) -> EncodeFailed:
    return EncodeFailed(
        message,
        remedy="Free space in the output folder; the queue goes on by itself.",
        kind=FailureKind.DEVICE,
        event=JobEvent.NO_SPACE,
        place=Place.FOLDER,
    )


def source_changed(message: str) -> EncodeFailed:
    """The recording is no longer what was admitted; the attempt is void."""
    return EncodeFailed(
        message,
        remedy="Nothing: it is encoded once it has settled again.",
        kind=FailureKind.RECORDING,
        event=JobEvent.SOURCE_CHANGED,
    )


def crashed(message: str, remedy: str) -> EncodeFailed:
    return EncodeFailed(message, remedy=remedy, kind=FailureKind.CRASH, event=JobEvent.CRASHED)


def stalled(message: str, remedy: str) -> EncodeFailed:
    return EncodeFailed(message, remedy=remedy, kind=FailureKind.CRASH, event=JobEvent.STALLED)


_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FOLDER = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ESTALE}


def output_failed(number: int | None, text: str, folder: str) -> EncodeFailed:
    """Classify an error while the output was opened or written, by its errno."""
    if number in _NO_SPACE:
        return no_space(f"No space is left in {folder} ({text}).")
    if number in _FOLDER:
        return device(
            f"The output folder {folder} cannot be written ({text}).",
            remedy=f"Make {folder} exist and writable for the daemon's user; the queue goes on by itself.",
            place=Place.FOLDER,
        )
    return crashed(
        f"Writing the output failed: {text}.",
        remedy="See the job's log; if the disk reports errors (dmesg), replace it.",
    )


def encoder_failed(encoder: str, stage: str, text: str) -> EncodeFailed:
    """Classify an error that the encoder itself raised; `stage` is "opening" or "encoding"."""
    if encoder == "h264_qsv":
        return device(
            f"h264_qsv failed while {stage}: {text}. The GPU, its driver or the VPL runtime is not sound.",
            remedy="encoderd check names the part that is missing.",
        )
    return crashed(f"{encoder} failed while {stage}: {text}.", remedy="See the job's log: encoderd logs JOB")
