"""Which failed checks a person may accept: those that the recording explains, and none that a defect of ours would."""

from __future__ import annotations

import pytest

from encoderd.encode.engine import Judged
from encoderd.encode.failures import EncodeFailed
from encoderd.findings import failed
from encoderd.jobs import FailureKind


@pytest.mark.parametrize(
    ("check", "encoder", "kind", "acceptable"),
    [
        ("source_read", "libx264", FailureKind.RECORDING, True),
        ("duration", "h264_qsv", FailureKind.RECORDING, True),
        ("sound", "libx264", FailureKind.RECORDING, True),
        ("audio", "libx264", FailureKind.RECORDING, True),  # its stamps contradict its packets: it would do so again
        ("dynamic_range", "libx264", FailureKind.RECORDING, True),
        ("frames", "h264_qsv", FailureKind.DEVICE, False),
        ("frames", "libx264", FailureKind.CRASH, False),
        ("times", "libx264", FailureKind.CRASH, False),
        ("tags", "h264_qsv", FailureKind.CRASH, False),
    ],
)
def test_who_is_to_blame_decides(check: str, encoder: str, kind: FailureKind, acceptable: bool) -> None:
    receipt = {
        "accepted": None,
        "asked": {"video": {"encoder": encoder}},
        "damage": {"ratio": 0.0, "limit": 1.0, "text": ""},
    }
    judged = Judged(findings=[failed(check, "what was seen", "what to type")], receipt=receipt)
    with pytest.raises(EncodeFailed) as refusal:
        judged.raise_if_unproven()

    assert (refusal.value.kind, refusal.value.acceptable) == (kind, acceptable)
    assert "what was seen" in refusal.value.message
    assert (judged.accepting().receipt["accepted"] is not None) == acceptable
