"""
What the guest's daemon tells the host of itself: one JSON object per line, 1 kB at most.

| key | meaning |
|---|---|
| type, schema | "health", 1; unknown keys are to be ignored |
| version, pid, worker | of the daemon |
| at | when it was said: seconds since the epoch by the guest's clock |
| status | the sentence of `encoderd status`, or "stopping" |
| gate, gate_reason | "open", "closed" or "untried": does a trial encode pass? and why not |
| encoder | what encodes now, or would |
| render_node, runtime | of the Intel GPU; null without one |
| job | {id, recording, done_ratio (0…1), speed_x (multiples of real time)}; null while nothing is encoded |
| queued, coming, paused, problems | jobs that wait, recordings not whole yet, the operator's pause, things to repair |
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from encoderd import __version__
from encoderd.jobs import readable

if TYPE_CHECKING:
    from encoderd.status import Status

SCHEMA = 1
#: The longest line in bytes, with its newline: the host keeps no more of one that never ends.
LINE_BYTES = 1024
#: What is written once the daemon has begun to stop.
STOPPING = "stopping"

#: The longest text in bytes, as JSON writes it. All together and the rest of the line are less than LINE_BYTES.
_STATUS_BYTES, _REASON_BYTES, _RECORDING_BYTES, _WORKER_BYTES, _NAME_BYTES = 220, 170, 150, 40, 40


class GateWord(StrEnum):
    OPEN = "open"  #: the last trial passed
    CLOSED = "closed"  #: the last trial failed, or a job lost the GPU since
    UNTRIED = "untried"  #: no job has needed it yet


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSeen:
    """
    All of the gate's doors as one: a closed one counts most. `encoder` is what encodes, or what the settings prefer;
    `reason` says why nothing encodes, or why a better encoder does not.
    """

    word: GateWord
    reason: str
    encoder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSeen:
    """The way to the GPU as preflight sees it: "/dev/dri/renderD128", "libmfx-gen.so.1.2"; None where there is none."""

    render_node: str | None = None
    runtime: str | None = None


def health_line(status: Status, gate: GateSeen, gpu: GpuSeen, at: float) -> bytes:
    """Return the line, with its newline; `at` is in seconds since the epoch."""
    running = status.running[0] if status.running else None
    job = running and {
        "id": running.job,
        "recording": _cut(running.recording, _RECORDING_BYTES),
        "done_ratio": _number(running.done_ratio),
        "speed_x": _number(running.speed_x),
    }
    line = {
        "type": "health",
        "schema": SCHEMA,
        "version": __version__,
        "pid": status.pid,
        "worker": _cut(status.worker, _WORKER_BYTES),
        "at": round(at, 3),
        "status": _cut(status.status, _STATUS_BYTES),
        "gate": gate.word,
        "gate_reason": _cut(gate.reason, _REASON_BYTES),
        "encoder": running.encoder if running is not None else gate.encoder,
        "render_node": gpu.render_node and _cut(gpu.render_node, _NAME_BYTES),
        "runtime": gpu.runtime and _cut(gpu.runtime, _NAME_BYTES),
        "job": job,
        "queued": status.counts.get("queued", 0),
        "coming": status.coming_count,
        "paused": status.paused,
        "problems": len(status.problems),
    }
    return _json(line).encode() + b"\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _number(value: float) -> float:
    return round(value, 3) if math.isfinite(value) else 0.0


def _cut(text: str, most_bytes: int) -> str:
    """Return `text` as one printable line that JSON writes in at most `most_bytes`; "…" stands for what is missing."""
    shown = readable(text)
    if _size_bytes(shown) <= most_bytes:
        return shown
    kept: list[str] = []
    left = most_bytes - _size_bytes("…")
    for character in shown:
        left -= _size_bytes(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _size_bytes(text: str) -> int:
    return len(_json(text).encode()) - 2
