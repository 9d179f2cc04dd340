"""
How the guest's daemon says it is: one line of JSON a second, read with suspicion, and what it means.

A guest that was broken into must not be able to harm the host's helper by what it writes here: lines have a limit,
every field its type and length, and no control character comes through to a terminal or a log.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: A line of the daemon has about 400; what is longer is not from it.
MOST_LINE_BYTES = 8192
_MOST_TEXT = 300
_MOST_COUNT = 10**9
SCHEMA = 1


class Condition(StrEnum):
    """What the host may believe of the guest's daemon."""

    UNHEARD = "unheard"  #: no line yet
    HEALTHY = "healthy"  #: fresh, gate not closed, no problems
    DEGRADED = "degraded"  #: fresh, and it tells of something that is wrong
    SILENT = "silent"  #: no line for longer than the limit


class Gate(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    UNTRIED = "untried"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthJob:
    """`done_ratio` is 0 to 1, `speed_x` recorded seconds per second; None where the daemon does not know."""

    id: int
    recording: str
    done_ratio: float | None
    speed_x: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One line. `at_s` is the guest's clock, which may be wrong: freshness is judged by the host's."""

    version: str
    pid: int
    worker: str
    at_s: float
    status: str
    gate: Gate
    gate_reason: str
    encoder: str | None
    render_node: str | None
    runtime: str | None
    job: HealthJob | None
    queued: int
    coming: int
    paused: bool
    problems: int

    @classmethod
    def parse(cls, line: bytes) -> Health | None:
        """Read one line, without its end; None when it is not a health line of a schema that is known here."""
        if len(line) > MOST_LINE_BYTES:
            return None
        try:
            told = json.loads(line.decode("utf-8", "replace"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None
        if not isinstance(told, dict) or told.get("type") != "health" or _count(told, "schema") != SCHEMA:
            return None
        gate = told.get("gate")
        if not isinstance(gate, str) or gate not in set(Gate):
            return None
        return cls(
            version=_text(told, "version") or "",
            pid=_count(told, "pid"),
            worker=_text(told, "worker") or "",
            at_s=_number(told, "at") or 0.0,
            status=_text(told, "status") or "",
            gate=Gate(gate),
            gate_reason=_text(told, "gate_reason") or "",
            encoder=_text(told, "encoder"),
            render_node=_text(told, "render_node"),
            runtime=_text(told, "runtime"),
            job=_job(told.get("job")),
            queued=_count(told, "queued"),
            coming=_count(told, "coming"),
            paused=told.get("paused") is True,
            problems=_count(told, "problems"),
        )

    def as_json(self) -> dict[str, Any]:
        job = self.job
        return {
            "version": self.version, "pid": self.pid, "worker": self.worker, "at": self.at_s, "status": self.status,
            "gate": str(self.gate), "gate_reason": self.gate_reason, "encoder": self.encoder,
            "render_node": self.render_node, "runtime": self.runtime,
            "job": job and {
                "id": job.id, "recording": job.recording, "done_ratio": job.done_ratio, "speed_x": job.speed_x
            },
            "queued": self.queued, "coming": self.coming, "paused": self.paused, "problems": self.problems,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The last line that was understood, and when it came, in the host's monotonic seconds."""

    health: Health
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    condition: Condition
    message: str


def judge(last: Heard | None, now_s: float, silence_s: float) -> Judgement:
    """Say what the last line is worth `now_s`; both times are the host's monotonic clock."""
    if last is None:
        return Judgement(condition=Condition.UNHEARD, message="the guest's daemon has said nothing yet")
    age_s = now_s - last.at_s
    if age_s > silence_s:
        return Judgement(condition=Condition.SILENT, message=f"the guest's daemon is silent for {age_s:.0f} s")
    health = last.health
    if health.gate is Gate.CLOSED:
        reason = health.gate_reason or "no reason told"
        return Judgement(condition=Condition.DEGRADED, message=f"the guest encodes nothing: {reason}")
    if health.problems:
        return Judgement(
            condition=Condition.DEGRADED, message=f"{health.problems} problem(s) in the guest: {health.status}"
        )
    return Judgement(condition=Condition.HEALTHY, message=health.status or "healthy")


class Lines:
    """Cuts what comes from the port into lines; one without an end is dropped, never kept growing."""

    def __init__(self, most_bytes: int = MOST_LINE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._begun = b""
        self._too_long = False
        self.dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes, without their ends."""
        complete: list[bytes] = []
        *ended, rest = data.split(b"\n")
        for part in ended:
            line = self._begun + part
            if self._too_long or len(line) > self._most_bytes:
                self.dropped += 1
            else:
                complete.append(line)
            self._begun, self._too_long = b"", False
        if self._too_long or len(self._begun) + len(rest) > self._most_bytes:
            self._begun, self._too_long = b"", True
        else:
            self._begun += rest
        return complete


def printable(text: str, most: int = _MOST_TEXT) -> str:
    """Return `text` on one line, without what steers a terminal, and not longer than `most` characters."""
    shown = "".join(character if character.isprintable() else " " for character in text[: 4 * most])
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _text(told: Mapping[str, Any], key: str) -> str | None:
    value = told.get(key)
    return printable(value) if isinstance(value, str) else None


def _count(told: Mapping[str, Any], key: str) -> int:
    value = told.get(key)
    return min(max(value, 0), _MOST_COUNT) if isinstance(value, int) and not isinstance(value, bool) else 0


def _number(told: Mapping[str, Any], key: str) -> float | None:
    value = told.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and abs(number) < 1e15 else None


def _job(told: object) -> HealthJob | None:
    if not isinstance(told, dict):
        return None
    ratio = _number(told, "done_ratio")
    return HealthJob(
        id=_count(told, "id"),
        recording=_text(told, "recording") or "",
        done_ratio=None if ratio is None else min(max(ratio, 0.0), 1.0),
        speed_x=_number(told, "speed_x"),
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
