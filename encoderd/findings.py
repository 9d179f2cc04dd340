"""The common coin of every check: what was looked at, the verdict, the evidence, and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Verdict(StrEnum):
    PASS = "pass"
    WARN = "warn"  #: works, but someone should look
    FAIL = "fail"  #: does not work until the remedy is carried out


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One judgement. A FAIL has a remedy that one person can carry out.

    `check` is a short lower-case name ("render_node"), stable across versions: machines read it.
    """

    check: str
    verdict: Verdict
    evidence: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.verdict is Verdict.FAIL and not self.remedy:
            raise ValueError(f"finding {self.check!r} fails without a remedy")

    def as_json(self) -> dict[str, str]:
        return {key: str(value) for key, value in asdict(self).items()}


def passed(check: str, evidence: str) -> Finding:
    return Finding(check=check, verdict=Verdict.PASS, evidence=evidence)


def warned(check: str, evidence: str, remedy: str = "") -> Finding:
    return Finding(check=check, verdict=Verdict.WARN, evidence=evidence, remedy=remedy)


def failed(check: str, evidence: str, remedy: str) -> Finding:
    return Finding(check=check, verdict=Verdict.FAIL, evidence=evidence, remedy=remedy)


def blocking(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that fail, in the order given."""
    return [finding for finding in findings if finding.verdict is Verdict.FAIL]


#: What stands before a finding where people read it.
MARKS = {Verdict.PASS: "✔", Verdict.WARN: "!", Verdict.FAIL: "✘"}


def as_lines(findings: Iterable[Finding]) -> list[str]:
    """Return one line per finding, as every command shows them: mark, check, evidence, and the way out."""
    shown = list(findings)
    width = max((len(finding.check) for finding in shown), default=0)
    return [
        f"{MARKS[finding.verdict]} {finding.check:<{width}}  {finding.evidence}"
        + (f"  → {finding.remedy}" if finding.remedy else "")
        for finding in shown
    ]
