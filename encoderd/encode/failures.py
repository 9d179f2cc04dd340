"""Why an attempt ended without a file: whose fault it is, in words an operator can act on."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from enum import StrEnum

from encoderd.encode.qsv_errors import CONFUSED, EMPTY, LOST, Fault, Trouble, meaning_of, telling
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

    `kind` says who is to blame, `event` what happens to the job, `place` what has to wait with it; `acceptable`: the
    output is as good as this recording allows, and may be published for those who want it nevertheless.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str,
        kind: FailureKind,
        event: JobEvent,
        place: Place = Place.NONE,
        acceptable: bool = False,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.kind = kind
        self.event = event
        self.place = place
        self.acceptable = acceptable


def rejected(message: str, remedy: str, *, acceptable: bool = False) -> EncodeFailed:
    """The recording cannot become a file; the same again would fail again. `acceptable` as in EncodeFailed."""
    event = JobEvent.RECORDING_REJECTED
    return EncodeFailed(message, remedy=remedy, kind=FailureKind.RECORDING, event=event, acceptable=acceptable)


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


def not_wanted(message: str, remedy: str) -> EncodeFailed:
    """An output could be made, but nobody wants it: the job is skipped, the recording stays."""
    return EncodeFailed(message, remedy=remedy, kind=FailureKind.RECORDING, event=JobEvent.NOT_WANTED)


def crashed(message: str, remedy: str) -> EncodeFailed:
    return EncodeFailed(message, remedy=remedy, kind=FailureKind.CRASH, event=JobEvent.CRASHED)


def stalled(message: str, remedy: str) -> EncodeFailed:
    return EncodeFailed(message, remedy=remedy, kind=FailureKind.CRASH, event=JobEvent.STALLED)


def for_job(remedy: str, job: int) -> str:
    """Return a remedy that names its job, so that its commands can be typed as they stand."""
    return remedy.replace(" JOB", f" {job}")


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


def encoder_failed(
    encoder: str, stage: str, text: str, *, lines: Sequence[str] = (), number: int | None = None
) -> EncodeFailed:
    """
    Classify an error that the encoder itself raised; `stage` is "opening" or "encoding".

    `text` and `number` are the exception's, `lines` what the encoder said in the log since it was opened.
    """
    last = lines[-1].partition("] ")[2].strip(". ") if lines and (stage == "opening" or encoder != "h264_qsv") else ""
    said = telling(lines) or last or text
    if encoder == "h264_qsv":
        return qsv_failed(stage, meaning_of("\n".join([*lines, text]), number, stage), f"FFmpeg: {said}")
    return crashed(f"{encoder} failed while {stage}: {said}.", remedy="See the job's log: encoderd logs JOB")


def qsv_failed(stage: str, trouble: Trouble, evidence: str) -> EncodeFailed:
    """h264_qsv's troubles are the device's, but for a picture that no trial can show."""
    message = f"h264_qsv failed while {stage}: {trouble.means} ({evidence})."
    if trouble.fault is Fault.PICTURE:
        return rejected(message, remedy=trouble.remedy)
    return device(message, remedy=trouble.remedy)


def encoder_lost(encoder: str, frames: int, packets: int, lines: Sequence[str] = ()) -> EncodeFailed:
    """The encoder gave back another number of packets than it was given frames, and raised nothing."""
    counts = f"{frames} frames in, {packets} packets out"
    said = telling([line for line in lines if "arning" in line or "rror" in line])
    return _unsound(encoder, LOST, f"{counts}; FFmpeg: {said}" if said else counts)


def encoder_empty(encoder: str, number: int) -> EncodeFailed:
    """The encoder gave back a packet without a byte in it; muxers leave such out in silence."""
    return _unsound(encoder, EMPTY, f"packet {number} has 0 bytes")


def _unsound(encoder: str, trouble: Trouble, evidence: str) -> EncodeFailed:
    if encoder == "h264_qsv":
        return qsv_failed("encoding", trouble, evidence)
    return crashed(f"{encoder} does not encode soundly: {evidence}.", remedy="See the job's log: encoderd logs JOB")


def encoder_confused(said: str) -> EncodeFailed:
    """h264_qsv returned a packet for a time at which no frame went in."""
    return qsv_failed("encoding", CONFUSED, said)


def encoder_missing(encoder: str, ffmpeg: str) -> EncodeFailed:
    """This FFmpeg was built without the encoder; PyAV's wheels have h264_qsv since 16.1."""
    return device(
        f"This PyAV has no {encoder} (FFmpeg {ffmpeg}).",
        remedy="make install chooses the PyAV for this GPU; encoderd check lists the encoders that this one has.",
    )


def options_unknown(encoder: str, names: Iterable[str]) -> EncodeFailed:
    """FFmpeg ignores what it does not know, and the operator would never hear of it. No recording is to blame."""
    return device(
        f"{encoder} has no option named {', '.join(sorted(names))}.",
        remedy=f"Correct encode.extra; ffmpeg -h encoder={encoder} lists what there is.",
    )
