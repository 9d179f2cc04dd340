"""
What h264_qsv's troubles mean: from libavcodec's words and error numbers to a sentence and a way out.

libavcodec says the same of very different things ("MFX session: -9" for all that can go wrong before a session), and
its last line is often the one that says least; so all its lines are looked through. Sources: FFmpeg 8.1, libavcodec/
qsv.c (qsv_errors) and qsvenc.c; what PyAV raises was seen with a runtime that fails on order.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# FFmpeg's own error numbers, as PyAV gives them (libavutil/error.h).
UNKNOWN = 1_313_558_101
BUG = 558_323_010
EXTERNAL = 542_398_533
INVALID_DATA = 1_094_995_529


class Fault(StrEnum):
    """What has to change before it can work."""

    DEVICE = "device"  #: GPU, driver or runtime
    SETTINGS = "settings"  #: this GPU does not do what the settings ask for
    PICTURE = "picture"  #: this GPU does not take pictures of this recording's size or rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What it means, as the rest of a sentence after "failed while opening: ", and what to do about it."""

    means: str
    remedy: str
    fault: Fault = Fault.DEVICE


CHECK = "encoderd check names the part that is missing or refused."
_HANG = "dmesg | grep -i 'gpu hang' tells more; if it comes again: another encode.low_power, or restart the guest."
_NEWER = "Update runtime and driver together; encoderd check names the packages."

NO_SESSION = Trouble(
    means="no session with the GPU could be made: no runtime fits it, there is no GPU, its render node may not be "
    "opened, its driver does not start, or it takes no more sessions",
    remedy=CHECK,
)
NOTHING_SUPPORTED = Trouble(
    means="the runtime refuses all that was asked for: it reaches no driver, or the driver has no H.264 encoder "
    "(a legacy runtime without a VA display, or beside a render node that may not be opened, does this)",
    remedy="encoderd check names the runtime and driver that this GPU needs.",
)
DEVICE_FAILED = Trouble(means="the GPU failed: it was reset, or the driver lost it", remedy=_HANG)
HANG_UNSEEN = Trouble(
    means="the GPU gave back a picture that it did not finish; libavcodec overlooks that a GPU hangs, and this is "
    "how it shows",
    remedy=_HANG,
)
NO_MEMORY = Trouble(
    means="there was no memory for the GPU's frames: too many jobs at once, or a guest with too little",
    remedy="Lower daemon.concurrency or encode.async_depth, or give the guest more memory (free -m, dmesg).",
)
REFUSED_PICTURE = Trouble(
    means="the GPU does not take a video of this size, shape or rate with these settings",
    remedy='Encode it on the CPU: encoder = "libx264" for its folder, or encoderd encode --encoder libx264',
    fault=Fault.PICTURE,
)
NO_PARAMETERS = Trouble(means="the runtime opened, but does not say what it will write", remedy=_NEWER)
EMPTY = Trouble(
    means="the GPU returned a packet with nothing in it; one that hangs does this without an error", remedy=_HANG
)
LOST = Trouble(
    means="frames went in that never came out; a GPU that hangs, or refuses a frame with no more than a warning, "
    "does this",
    remedy=_HANG,
)
CONFUSED = Trouble(means="a picture came back that never went in, or came back twice", remedy=_HANG)

#: What libavcodec says that the runtime did not take over → what it means.
FIELDS: dict[str, Trouble] = {
    "Selected ratecontrol mode is unsupported": Trouble(
        means="this GPU does not have the rate control that was asked for: looking ahead needs its full encoder, and "
        "the low-power one needs the HuC firmware for all but cqp",
        remedy="encoderd check tells whether the HuC runs; else ask for another encode.rate_control: icq, then vbr, "
        "then cqp.",
        fault=Fault.SETTINGS,
    ),
    "Low power mode is unsupported": Trouble(
        means="this GPU, with this driver, does not have the encoder that encode.low_power asks for: the low-power one "
        "(VDEnc, for which the HuC firmware must run) or the full one (VME, which Arc and Meteor Lake no longer have)",
        remedy='Write encode.low_power = "auto"; encoderd check tells which encoders there are.',
        fault=Fault.SETTINGS,
    ),
    "Current profile is unsupported": Trouble(
        means="this GPU does not have the profile that was asked for",
        remedy='Write encode.profile = "high" or "main".',
        fault=Fault.SETTINGS,
    ),
    "Current picture structure is unsupported": Trouble(
        means="this GPU does not take frames of this structure",
        remedy="Look for options in encode.extra that ask for interlaced coding, and leave them out.",
        fault=Fault.SETTINGS,
    ),
    "Current resolution is unsupported": Trouble(
        means="this GPU does not take pictures of this size", remedy=REFUSED_PICTURE.remedy, fault=Fault.PICTURE
    ),
    "Current frame rate is unsupported": Trouble(
        means="this GPU does not take this frame rate", remedy=REFUSED_PICTURE.remedy, fault=Fault.PICTURE
    ),
    "Current codec type is unsupported": Trouble(
        means="this driver has no H.264 encoder for this GPU (the free one has none for the oldest)",
        remedy="apt-get install intel-media-va-driver-non-free, which has more encoders than the free driver.",
    ),
    "Current pixel format is unsupported": Trouble(means="the runtime does not take NV12 pictures", remedy=_NEWER),
}
#: So many fields at once are not a wish too many: the runtime can do nothing at all.
MANY_FIELDS = 4
UNNAMED = Trouble(
    means="the GPU refuses something that was asked for, and libavcodec cannot tell what",
    remedy="Leave encode.extra, level, bframes and low_power at their defaults; if that is no cure: encoderd check",
    fault=Fault.SETTINGS,
)

#: Words → what they mean; the first row that is found counts. Numbers in brackets are the runtime's own (mfxStatus).
WORDS: tuple[tuple[str, Trouble], ...] = (
    (
        r"Failed to create a VAAPI device",
        Trouble(
            means="no VA display could be opened: the first render node is not Intel's, may not be opened, or the "
            "driver iHD is missing",
            remedy=f"{CHECK} vainfo --display drm --device /dev/dri/renderD128 tells more.",
        ),
    ),
    (r"Error (creating|initializing|adding) an? MFX", NO_SESSION),
    (r"GPU Hang \(-21\)", Trouble(means="the GPU hung", remedy=_HANG)),
    (r"device failed \(-17\)", DEVICE_FAILED),
    (r"device lost \(-13\)", Trouble(means="the GPU is gone: reset, unbound or taken away", remedy=f"{CHECK} {_HANG}")),
    (r"operation aborted \(-12\)", Trouble(means="the runtime gave the frame up", remedy=_HANG)),
    (r"undefined behavior \(-16\)", Trouble(means="the runtime lost its state", remedy=_HANG)),
    (r"failed to allocate memory|insufficient input/output buffer|failed to lock the memory", NO_MEMORY),
    (r"Invalid FrameType", HANG_UNSEEN),
    (r"Error initializing the encoder: (incompatible|invalid) video parameters", REFUSED_PICTURE),
    (r"Error querying \(IOSurf\)", NOTHING_SUPPORTED),
    (
        r"Failed to set parameter|Unable to parse|Undefined constant|Error setting option|out of range \[",
        Trouble(
            means="an option of encode.extra has a value that cannot be",
            remedy="Correct encode.extra, or leave it out; the words are FFmpeg's.",
            fault=Fault.SETTINGS,
        ),
    ),
    (r"No extradata|Error retrieving encoding parameters|Error calling GetVideoParam", NO_PARAMETERS),
    (r"Error during encoding", Trouble(means="the runtime would not take a frame", remedy=_HANG)),
    (r"Warning during encoding", LOST),
)
#: Where there are no words (a log that cannot be read back): PyAV's error number, by stage.
NUMBERS: dict[tuple[str, int], Trouble] = {
    ("opening", UNKNOWN): NO_SESSION,
    ("opening", errno.ENOSYS): NOTHING_SUPPORTED,
    ("opening", errno.EINVAL): UNNAMED,
    ("opening", EXTERNAL): WORDS[0][1],
    ("opening", BUG): NO_PARAMETERS,
    ("encoding", INVALID_DATA): HANG_UNSEEN,
    ("opening", errno.EIO): DEVICE_FAILED,
    ("encoding", errno.EIO): DEVICE_FAILED,
    ("opening", errno.ENOMEM): NO_MEMORY,
    ("encoding", errno.ENOMEM): NO_MEMORY,
}
_ANYTHING = Trouble(means="the GPU, its driver or the runtime is not sound", remedy=CHECK)


def meaning_of(words: str, number: int | None, stage: str) -> Trouble:
    """
    Return what `words`, all that the encoder said since it was opened, and PyAV's error number mean.

    `stage` is "opening" or "encoding".
    """
    refused = [trouble for field, trouble in FIELDS.items() if field in words]
    if len(refused) >= MANY_FIELDS:
        return NOTHING_SUPPORTED
    if refused:
        return _all(refused)
    for pattern, trouble in WORDS:
        if re.search(pattern, words):
            return trouble
    if "some encoding parameters are not supported" in words:
        return UNNAMED
    return NUMBERS.get((stage, number or 0), _ANYTHING)


def _all(refused: list[Trouble]) -> Trouble:
    """Several at once: one alone is no cure, and what only the recording's picture would explain is not it alone."""
    faults = {trouble.fault for trouble in refused}
    fault = next(fault for fault in (Fault.DEVICE, Fault.SETTINGS, Fault.PICTURE) if fault in faults)
    return Trouble(
        means="; ".join(trouble.means for trouble in refused),
        remedy=" ".join(dict.fromkeys(trouble.remedy for trouble in refused)),
        fault=fault,
    )


def telling(lines: Sequence[str]) -> str:
    """Return those of the encoder's log lines that tell of a trouble, raw but for its address; "" if none does."""
    said = [_ADDRESS.sub("", line).strip().rstrip(".") for line in lines]
    told = [line for line in dict.fromkeys(said) if any(re.search(words, line) for words in _TELLING)]
    return "; ".join(told[-MOST_LINES:])


#: Lines of one trouble that its message repeats; all stand in the log.
MOST_LINES = 8
_ADDRESS = re.compile(r"\[[^\]]* @ 0x[0-9a-f]+\] ?")
_TELLING = [*map(re.escape, FIELDS), "some encoding parameters", *(words for words, _ in WORDS)]
