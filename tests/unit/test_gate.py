"""The gate: which encoder a setting may use, when a trial is due, and what is said. Real children, a scripted clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from encoderd.encode.failures import device
from encoderd.encode.messages import TrialDone
from encoderd.gate import Gate
from encoderd.settings import EncodeSettings, PreflightSettings

RECHECK_S = 60.0


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(PreflightSettings(recheck_s=RECHECK_S), EncodeSettings(preset="veryfast"), tmp_path / "trial.log")
    yield made
    made.stop()


def passes(gate: Gate, encoder: str, now_s: float = 0.0) -> None:
    gate._conclude(encoder, TrialDone(encoder=encoder, frames=12, wall_s=0.1, psnr_db=40.0, granted={}), now_s)


def fails(gate: Gate, encoder: str, now_s: float = 0.0, reason: str = "no GPU") -> None:
    gate._conclude(encoder, device(reason, remedy="get one"), now_s)


@pytest.mark.parametrize(
    ("setting", "qsv", "cpu", "answer"),
    [
        ("h264_qsv", None, None, None),
        ("h264_qsv", True, None, "h264_qsv"),
        ("h264_qsv", False, True, None),
        ("auto", None, True, None),  # the better one has not been tried yet
        ("auto", True, True, "h264_qsv"),
        ("auto", False, None, None),
        ("auto", False, True, "libx264"),
        ("auto", False, False, None),
        ("libx264", None, True, "libx264"),
        ("libx264", True, None, None),
        ("libx264", True, False, None),
    ],
)
def test_which_encoder_a_setting_gets(
    gate: Gate, setting: str, qsv: bool | None, cpu: bool | None, answer: str | None
) -> None:
    """None: not tried, True: the trial passed, False: it failed."""
    for encoder, passed in (("h264_qsv", qsv), ("libx264", cpu)):
        if passed is not None:
            (passes if passed else fails)(gate, encoder)

    assert gate.encoder_for(setting) == answer


def test_why_it_is_closed(gate: Gate) -> None:
    """Nothing while a first trial is to come; then every encoder's own reason; nothing once one is open."""
    assert gate.why_closed("h264_qsv") == ("", "")
    fails(gate, "h264_qsv")
    assert gate.why_closed("h264_qsv") == ("no GPU", "get one")
    assert gate.why_closed("auto") == ("", "")
    fails(gate, "libx264", reason="no libx264")
    assert gate.why_closed("auto") == ("no GPU no libx264", "get one")
    passes(gate, "libx264")
    assert gate.why_closed("auto") == ("", "")
    assert gate.why_closed("libx264") == ("", "")
    assert gate.reason("h264_qsv") == "no GPU"


@pytest.mark.parametrize(
    ("now_s", "settings", "due"),
    [
        (0.0, set(), None),
        (0.0, {"h264_qsv"}, None),
        (RECHECK_S - 1, {"auto", "h264_qsv"}, "libx264"),  # never tried: at once
        (RECHECK_S, {"h264_qsv"}, "h264_qsv"),
        (RECHECK_S, {"auto"}, "libx264"),
        (10 * RECHECK_S, {"libx264"}, "libx264"),
    ],
)
def test_which_trial_is_due(gate: Gate, now_s: float, settings: set[str], due: str | None) -> None:
    """After h264_qsv has failed at 0 s. One that nobody waits for is never tried."""
    fails(gate, "h264_qsv", 0.0)

    assert gate._next_trial(now_s, settings) == due


def test_an_open_gate_is_not_tried_again(gate: Gate) -> None:
    """And where the better encoder is open, the other one needs no trial."""
    passes(gate, "h264_qsv")

    assert gate._next_trial(10 * RECHECK_S, {"h264_qsv", "auto"}) is None


def test_a_device_failure_closes_it(gate: Gate) -> None:
    """Until the next trial, which comes after `recheck_s`; closing a closed one is no news."""
    passes(gate, "h264_qsv")
    with capture_logs() as lines:
        gate.close("h264_qsv", "GPU HANG", "reboot", 100.0)
        gate.close("h264_qsv", "GPU HANG", "reboot", 101.0)

    assert gate.encoder_for("h264_qsv") is None
    assert gate.why_closed("h264_qsv") == ("GPU HANG", "reboot")
    assert gate._next_trial(101.0 + RECHECK_S - 0.1, {"h264_qsv"}) is None
    assert gate._next_trial(101.0 + RECHECK_S, {"h264_qsv"}) == "h264_qsv"
    assert [line["event"] for line in lines] == ["gate.closed"]


def test_the_same_reason_is_told_once(gate: Gate) -> None:
    with capture_logs() as lines:
        for reason in ("no GPU", "no GPU", "no driver", "no driver", "no GPU"):
            fails(gate, "h264_qsv", reason=reason)
        passes(gate, "h264_qsv")

    told = [(line["event"], line.get("reason")) for line in lines]
    assert told == [
        ("gate.closed", "no GPU"),
        ("gate.closed", "no driver"),
        ("gate.closed", "no GPU"),
        ("gate.opened", None),
    ]


def test_a_real_trial(gate: Gate) -> None:
    """One child; nothing else is started while it runs; what it says opens the gate."""
    gate.tick(time.monotonic(), {"libx264"})
    child = gate.trial
    assert child is not None
    give_up_s = time.monotonic() + 30
    while gate.trial is not None and time.monotonic() < give_up_s:
        assert gate.trial is child
        gate.tick(time.monotonic(), {"libx264"})
        time.sleep(0.02)

    assert gate.encoder_for("libx264") == "libx264"


def test_stop_ends_the_trial(gate: Gate) -> None:
    gate.tick(time.monotonic(), {"libx264"})
    child = gate.trial
    assert child is not None
    gate.stop()

    assert gate.trial is None
    assert not Path(f"/proc/{child.pid}").exists()


def test_a_trial_that_cannot_be_started(tmp_path: Path) -> None:
    """No place for its log: the gate stays closed with that reason, and the daemon lives."""
    (tmp_path / "trial.log").mkdir()
    gate = Gate(PreflightSettings(), EncodeSettings(), tmp_path / "trial.log")
    gate.tick(0.0, {"libx264"})
    reason, remedy = gate.why_closed("libx264")

    assert "could not be started" in reason
    assert "trial.log" in reason
    assert remedy
    assert gate.trial is None
