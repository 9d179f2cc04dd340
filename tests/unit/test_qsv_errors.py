"""From libavcodec's words and PyAV's numbers to what they mean. The words were seen with FFmpeg 8.1."""

from __future__ import annotations

import errno

import pytest

from encoderd.encode.qsv_errors import (
    BUG,
    EXTERNAL,
    FIELDS,
    INVALID_DATA,
    UNKNOWN,
    WORDS,
    Fault,
    meaning_of,
    telling,
)

REFUSED = "some encoding parameters are not supported by the QSV runtime. Please double check the input parameters."
#: What the encoder says at every opening, before anything goes wrong; none of it tells of a trouble.
QUIET = [
    "Encoder: input is system memory surface",
    "Use Intel(R) oneVPL to create MFX session, the required implementation version is 1.1",
    "Initialized an internal MFX session using hardware accelerated implementation",
    "Using the intelligent constant quality (ICQ) ratecontrol method",
    "TargetUsage: 4; RateControlMethod: ICQ",
]
D, S, P = Fault.DEVICE, Fault.SETTINGS, Fault.PICTURE

SAID = [
    ("opening", UNKNOWN, ["Error creating a MFX session: -9."], D, "no session with the GPU"),
    ("opening", EXTERNAL, ["Failed to create a VAAPI device."], D, "no VA display"),
    ("opening", errno.ENOSYS, ["Selected ratecontrol mode is unsupported", REFUSED], S, "rate control"),
    ("opening", errno.ENOSYS, ["Low power mode is unsupported", REFUSED], S, "encode.low_power"),
    ("opening", errno.ENOSYS, ["Current profile is unsupported", REFUSED], S, "profile"),
    ("opening", errno.ENOSYS, ["Current picture structure is unsupported", REFUSED], S, "structure"),
    ("opening", errno.ENOSYS, ["Current resolution is unsupported", REFUSED], P, "size"),
    ("opening", errno.ENOSYS, ["Current frame rate is unsupported", REFUSED], P, "frame rate"),
    ("opening", errno.ENOSYS, ["Current codec type is unsupported", REFUSED], D, "no H.264 encoder"),
    (
        "opening",
        errno.ENOSYS,
        ["Selected ratecontrol mode is unsupported", "Current resolution is unsupported", REFUSED],
        S,
        "rate control",
    ),
    (
        "opening",
        errno.ENOSYS,
        [
            "Selected ratecontrol mode is unsupported",
            "Current frame rate is unsupported",
            "Current picture structure is unsupported",
            "Current resolution is unsupported",
            "Current pixel format is unsupported",
            REFUSED,
        ],
        D,
        "refuses all that was asked for",
    ),
    ("opening", errno.ENOSYS, [REFUSED], S, "cannot tell what"),
    (
        "opening",
        errno.ENOSYS,
        ["Error querying (IOSurf) the encoding parameters: unsupported (-3)"],
        D,
        "refuses all that was asked for",
    ),
    ("opening", errno.EIO, ["Error initializing the encoder: device failed (-17)"], D, "the GPU failed"),
    ("opening", errno.ENOMEM, ["Error initializing the encoder: failed to allocate memory (-4)"], D, "no memory"),
    (
        "opening",
        errno.EINVAL,
        ["Error initializing the encoder: incompatible video parameters (-14)"],
        P,
        "does not take a video",
    ),
    ("opening", errno.EINVAL, ["Error initializing the encoder: invalid video parameters (-15)"], P, "does not take"),
    (
        "opening",
        UNKNOWN,
        ["No extradata returned from libmfx.", "Error retrieving encoding parameters."],
        D,
        "does not say what it will write",
    ),
    ("opening", UNKNOWN, ["Failed to set parameter: Wrong"], S, "encode.extra"),
    ("encoding", errno.EIO, ["Error during encoding: device failed (-17)"], D, "the GPU failed"),
    ("encoding", errno.EIO, ["Error during encoding: GPU Hang (-21)"], D, "the GPU hung"),
    ("encoding", errno.EIO, ["Error during encoding: device lost (-13)"], D, "the GPU is gone"),
    ("encoding", UNKNOWN, ["Error during encoding: operation aborted (-12)"], D, "gave the frame up"),
    ("encoding", BUG, ["Error during encoding: undefined behavior (-16)"], D, "lost its state"),
    ("encoding", errno.EINVAL, ["Error during encoding: invalid video parameters (-15)"], D, "would not take a frame"),
    ("encoding", INVALID_DATA, ["Invalid FrameType:0."], D, "did not finish"),
    ("encoding", None, ["Warning during encoding: incompatible video parameters (5)"], D, "never came out"),
]


@pytest.mark.parametrize(("stage", "number", "lines", "fault", "words"), SAID)
def test_what_libavcodec_says_has_a_meaning(
    stage: str, number: int | None, lines: list[str], fault: Fault, words: str
) -> None:
    """The line that says it may stand anywhere among those that say little; each meaning has a way out."""
    trouble = meaning_of("\n".join([*QUIET, *lines]), number, stage)

    assert fault is trouble.fault
    assert words in trouble.means
    assert trouble.remedy


@pytest.mark.parametrize(
    ("stage", "number", "words"),
    [
        ("opening", UNKNOWN, "no session with the GPU"),
        ("opening", errno.ENOSYS, "refuses all that was asked for"),
        ("opening", EXTERNAL, "no VA display"),
        ("opening", errno.EIO, "the GPU failed"),
        ("opening", errno.EINVAL, "cannot tell what"),
        ("opening", BUG, "does not say what it will write"),
        ("encoding", INVALID_DATA, "did not finish"),
        ("encoding", errno.EIO, "the GPU failed"),
        ("encoding", errno.ENOMEM, "no memory"),
        ("encoding", None, "not sound"),
        ("encoding", 12345, "not sound"),
    ],
)
def test_without_words_the_number_has_to_do(stage: str, number: int | None, words: str) -> None:
    """As when the log is a terminal, which cannot be read back. No recording is ever blamed for a number."""
    trouble = meaning_of("", number, stage)

    assert words in trouble.means
    assert trouble.fault is not Fault.PICTURE


def test_the_message_repeats_what_tells_of_the_trouble() -> None:
    lines = [
        f"[h264_qsv @ 0x55eb36f17440] {line}" for line in (*QUIET, "Low power mode is unsupported", REFUSED, REFUSED)
    ]
    nested = "[h264_qsv @ 0x55eb] [Eval @ 0x7ffc02f2b240] Undefined constant or missing '(' in 'blue'"

    assert telling(lines) == f"Low power mode is unsupported; {REFUSED.rstrip('.')}"
    assert telling([nested]) == "Undefined constant or missing '(' in 'blue'"
    assert telling([f"[h264_qsv @ 0x1] {line}" for line in QUIET]) == ""


def test_every_meaning_can_be_acted_on() -> None:
    for trouble in [*FIELDS.values(), *(trouble for _, trouble in WORDS)]:
        assert trouble.means[0].islower() or trouble.means.startswith("H.264")
        assert not trouble.means.endswith(".")
        assert trouble.remedy
