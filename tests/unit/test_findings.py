"""A finding is a judgement with its way out, shown the same way by every command."""

from __future__ import annotations

import pytest

from encoderd.findings import Finding, Verdict, as_lines, blocking, failed, passed, warned

FINDINGS = [passed("pyav", "PyAV 18"), warned("gpu", "none", "Pass one through."), failed("disk", "full", "Free some.")]


def test_a_failure_without_a_remedy_is_a_defect() -> None:
    """Nobody is told that something fails without being told what to do."""
    with pytest.raises(ValueError, match="without a remedy"):
        Finding(check="disk", verdict=Verdict.FAIL, evidence="full")


def test_only_failures_block() -> None:
    """A warning lets work go on."""

    assert ["disk"] == [finding.check for finding in blocking(FINDINGS)]


def test_lines_have_mark_check_evidence_and_remedy() -> None:
    """One line each, the evidences below each other."""

    assert [
        "✔ pyav  PyAV 18",
        "! gpu   none  → Pass one through.",
        "✘ disk  full  → Free some.",
    ] == as_lines(FINDINGS)
