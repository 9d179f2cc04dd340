"""
Which job a whole recording becomes: a new one, the one that waited for it, or none.

Of one path one job waits (queued or settling), under the identity the file had when it was last seen whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects.sqlite import insert as insert_unless

from encoderd.jobs import Candidate, Job, JobEvent, JobState, readable
from encoderd.queue import tables
from encoderd.queue.history import job_of, move

#: Recordings looked up and inserted by one statement each; SQLite takes 32,766 parameters.
_BATCH = 500

_WAITING = (JobState.QUEUED, JobState.SETTLING)


def admit(connection: Connection, candidates: Sequence[Candidate], *, now: float, priority: int) -> list[Job]:
    """
    Return the jobs that were made or put back in the queue; recordings that are known already add none.

    Recordings whose path is new, nearly all at a first start, are inserted together; those that are known under
    the same identity, nearly all at a later start, cost one look together.
    """
    admitted = []
    for start in range(0, len(candidates), _BATCH):
        batch = candidates[start : start + _BATCH]
        known = _jobs_of_paths(connection, batch)
        new: dict[tuple[str, str], Candidate] = {}
        others = []
        for candidate in batch:
            path = (candidate.watch, candidate.relative_path)
            if path in known:
                if not _needs_nothing(candidate, known[path]):
                    others.append(candidate)
            elif path in new:
                others.append(candidate)
            else:
                new[path] = candidate
        admitted += _insert(connection, new.values(), now=now, priority=priority)
        for candidate in others:
            job = _admit_known_path(connection, candidate, now=now, priority=priority)
            admitted += [] if job is None else [job]
    return admitted


def _needs_nothing(candidate: Candidate, jobs: Sequence[Job]) -> bool:
    """The path's only job has this identity and does not wait for it."""
    return len(jobs) == 1 and jobs[0].candidate == candidate and jobs[0].state is not JobState.SETTLING


def _admit_known_path(connection: Connection, candidate: Candidate, *, now: float, priority: int) -> Job | None:
    jobs = _jobs_of_paths(connection, [candidate])[candidate.watch, candidate.relative_path]
    same = next((job for job in jobs if job.candidate == candidate), None)
    waiting = [job for job in jobs if job.state in _WAITING and job is not same]
    if same is not None:
        for job in waiting:
            _supersede(connection, job, same, now=now)
        return _settled(connection, same, candidate, now=now) if same.state is JobState.SETTLING else None
    if waiting:
        return _settled(connection, waiting[0], candidate, now=now)
    if any(job.state is JobState.ENCODING for job in jobs):
        return None  # the daemon voids that attempt itself, and intake offers the recording again
    return next(iter(_insert(connection, [candidate], now=now, priority=priority)), None)


def _jobs_of_paths(connection: Connection, candidates: Iterable[Candidate]) -> dict[tuple[str, str], list[Job]]:
    """Return the jobs of these paths, oldest first within a path. One query per folder: SQLite scans for pairs."""
    names = defaultdict(set)
    for candidate in candidates:
        names[candidate.watch].add(candidate.relative_path)
    found = defaultdict(list)
    for watch, paths in names.items():
        same_paths = select(tables.job).where(tables.job.c.watch == watch, tables.job.c.relative_path.in_(paths))
        for row in connection.execute(same_paths.order_by(tables.job.c.id)):
            found[row.watch, row.relative_path].append(job_of(row))
    return found


def _insert(connection: Connection, candidates: Iterable[Candidate], *, now: float, priority: int) -> list[Job]:
    rows: list[dict[str, Any]] = [
        {
            "watch": candidate.watch,
            "relative_path": candidate.relative_path,
            "size_bytes": candidate.size_bytes,
            "mtime_ns": candidate.mtime_ns,
            "state": str(JobState.QUEUED),
            "priority": priority,
            "added_at": now,
        }
        for candidate in candidates
    ]
    if not rows:
        return []
    # Another worker may have added the same recording: the unique index decides, whoever looked first.
    statement = insert_unless(tables.job).on_conflict_do_nothing().returning(tables.job)
    jobs = sorted((job_of(row) for row in connection.execute(statement, rows)), key=lambda job: job.id)
    events = [
        {"job_id": job.id, "at": now, "event": str(JobEvent.ADDED), "state_to": str(JobState.QUEUED)} for job in jobs
    ]
    if events:
        connection.execute(insert(tables.job_event), events)
    return jobs


def _settled(connection: Connection, job: Job, candidate: Candidate, *, now: float) -> Job:
    """Put the job in the queue under the recording's present identity, as if it had never been tried."""
    detail = {
        "old": {"size_bytes": job.size_bytes, "mtime_ns": job.mtime_ns},
        "new": {"size_bytes": candidate.size_bytes, "mtime_ns": candidate.mtime_ns},
    }
    changes: dict[str, Any] = {"next_try_at": 0.0, **detail["new"]}
    if job.candidate != candidate:
        changes |= {"attempts": 0, "interruptions": 0, "published": None, "acceptance": ""}
    return move(connection, job, JobEvent.SETTLED, now=now, detail=detail, changes=changes)


def _supersede(connection: Connection, job: Job, same: Job, *, now: float) -> None:
    """A waiting job whose recording became one that another job has: it would wait for ever."""
    if job.state is JobState.SETTLING:
        job = move(connection, job, JobEvent.SETTLED, now=now)
    reason = f"{readable(job.relative_path)} is the recording of job {same.id} again."
    move(connection, job, JobEvent.NOT_WANTED, now=now, reason=reason)
