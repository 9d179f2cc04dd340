"""What the daemon is doing, as one sentence for systemctl and as a value for `encoderd status`."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from encoderd.intake.completeness import Waiting
from encoderd.jobs import JobState, readable

if TYPE_CHECKING:
    from encoderd.attempt import Attempt
    from encoderd.daemon import Daemon

#: Recordings on their way in that are listed; the others are only counted.
LISTED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One attempt: seconds of output made, share of the source read (0…1), multiples of real time."""

    job: int
    recording: str
    encoder: str
    phase: str
    done_ratio: float
    out_time_s: float
    fps: float
    speed_x: float
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """A recording that is not whole yet, and why."""

    watch: str
    recording: str
    size_bytes: int
    waiting: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """
    One look. `status` is the sentence; `problems` are {place: [reason, remedy]}. Of the jobs, `accepted` are done with
    damage that was accepted, `acceptable` failed for nothing but damage. `ignored` is by watch folder.
    """

    pid: int
    worker: str
    status: str
    counts: dict[str, int]
    paused: bool
    running: tuple[Running, ...]
    coming: tuple[Coming, ...]
    coming_count: int
    problems: dict[str, list[str]]
    accepted: int = 0
    acceptable: int = 0
    ignored: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def look(daemon: Daemon) -> Status:
    """Gather the status of a started daemon."""
    running = tuple(_running(attempt) for attempt in daemon.workshop.attempts)
    settling = daemon.watcher.settling()
    problems = {place: [finding.evidence, finding.remedy] for place, finding in daemon.watcher.problems().items()}
    if daemon.held is not None:
        problems["queue"] = [daemon.held.message, daemon.held.remedy]
    problems |= {f"{watch}.output": [reason, remedy] for watch, (reason, remedy) in daemon.folders.reasons().items()}
    queued = daemon.counts.get(JobState.QUEUED, 0)
    if queued:
        for folder in daemon.settings.watch:
            encode = daemon.settings.encode_for(folder.name)
            reason, remedy = daemon.gate.why_closed(encode)
            if reason:
                problems.setdefault(f"gate.{encode.encoder}", [reason, remedy])
    return Status(
        pid=os.getpid(),
        worker=daemon.settings.daemon.worker,
        status=sentence(running, queued, len(settling), daemon.pause_reason, problems),
        counts={str(state): count for state, count in daemon.counts.items()},
        accepted=daemon.acceptances[0],
        acceptable=daemon.acceptances[1],
        paused=daemon.pause_reason is not None,
        running=running,
        coming=tuple(
            Coming(
                watch=file.watch,
                recording=readable(file.relative_path),
                size_bytes=file.size_bytes,
                waiting=str(file.waiting),
            )
            for file in settling[:LISTED]
        ),
        coming_count=len(settling),
        problems=problems,
        ignored=_ignored(daemon, [file.watch for file in settling if file.waiting is Waiting.EMPTY]),
    )


def _ignored(daemon: Daemon, empty: list[str]) -> dict[str, dict[str, Any]]:
    """Of each watch folder that has some: how many files are no recordings to it, and why; `empty` ones wait."""
    told: dict[str, dict[str, Any]] = {}
    for watch, ignored in daemon.watcher.ignored().items():
        count, text = len(ignored) + empty.count(watch), ignored.as_text()
        if count:
            text = ", ".join(filter(None, [text, f"{empty.count(watch)} empty" if empty.count(watch) else ""]))
            told[watch] = {"files": count, "text": text, "empty": empty.count(watch), **asdict(ignored)}
    return told


def _running(attempt: Attempt) -> Running:
    progress = attempt.child.progress if attempt.child is not None else None
    return Running(
        job=attempt.job.id,
        recording=readable(attempt.job.relative_path),
        encoder=attempt.video.encoder,
        phase=progress.phase if progress is not None else "starting",
        done_ratio=progress.done_ratio if progress is not None else 0.0,
        out_time_s=progress.out_time_s if progress is not None else 0.0,
        fps=progress.fps if progress is not None else 0.0,
        speed_x=progress.speed_x if progress is not None else 0.0,
        size_bytes=progress.size_bytes if progress is not None else 0,
    )


def sentence(
    running: tuple[Running, ...], queued: int, coming: int, pause_reason: str | None, problems: dict[str, list[str]]
) -> str:
    """Return one line: what is encoded, what waits, what is wrong. `pause_reason` is None when not paused."""
    parts = [
        f"{one.phase} {one.recording} {one.done_ratio:.0%}" + (f" at {one.speed_x:.1f}×" if one.speed_x else "")
        for one in running
    ]
    if pause_reason is not None:
        parts.append(f"paused ({readable(pause_reason)})" if pause_reason else "paused")
    elif not running:
        parts.append("waiting" if queued else "idle")
    parts.append(f"{queued} queued, {coming} being recorded")
    if problems:
        parts.append("; ".join(f"{place}: {reason}" for place, (reason, _) in problems.items()))
    return "; ".join(parts)
