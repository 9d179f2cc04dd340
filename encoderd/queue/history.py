"""A job moves from state to state, and each move is one row of history, in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from encoderd.errors import JobRefused, NoSuchJob
from encoderd.jobs import (
    LONGEST_PAUSE_S,
    Acceptance,
    FailureKind,
    Job,
    JobEvent,
    JobState,
    after_interruption,
    next_state,
)
from encoderd.queue import tables

ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED})

#: SQLite's largest integer; a larger number cannot even be asked for.
LARGEST_ID = 2**63 - 1

#: What a claim had set and no other state has.
UNCLAIMED: Mapping[str, Any] = {"worker": None, "lease_until": None, "cancel_requested": 0}

#: What no job has that has not failed.
UNBLAMED: Mapping[str, Any] = {"failure_kind": None, "reason": "", "remedy": ""}

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEventRow:
    """One row of a job's history. `at` is wall clock time in seconds, `detail` whatever the event has to add."""

    job_id: int
    at: float
    event: JobEvent
    state_from: JobState | None
    state_to: JobState
    worker: str | None
    reason: str
    detail: Mapping[str, Any] | None = field(default=None, hash=False)


def job_of(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        watch=row.watch,
        relative_path=row.relative_path,
        size_bytes=row.size_bytes,
        mtime_ns=row.mtime_ns,
        state=JobState(row.state),
        priority=row.priority,
        attempts=row.attempts,
        interruptions=row.interruptions,
        added_at=row.added_at,
        next_try_at=row.next_try_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        worker=row.worker,
        lease_until=row.lease_until,
        cancel_requested=bool(row.cancel_requested),
        failure_kind=None if row.failure_kind is None else FailureKind(row.failure_kind),
        reason=row.reason,
        remedy=row.remedy,
        published=row.published,
        acceptance=Acceptance(row.acceptance),
    )


def event_of(row: Row[Any]) -> JobEventRow:
    return JobEventRow(
        job_id=row.job_id,
        at=row.at,
        event=JobEvent(row.event),
        state_from=None if row.state_from is None else JobState(row.state_from),
        state_to=JobState(row.state_to),
        worker=row.worker,
        reason=row.reason,
        detail=row.detail,
    )


def job_with(connection: Connection, job_id: int) -> Job:
    """Return the job; NoSuchJob if there is none with this number."""
    row = None
    if 0 < job_id <= LARGEST_ID:
        row = connection.execute(select(tables.job).where(tables.job.c.id == job_id)).one_or_none()
    if row is None:
        raise NoSuchJob(f"There is no job {job_id}.", remedy="The jobs there are: encoderd queue list")
    return job_of(row)


def claimed_job(connection: Connection, job_id: int, worker: str) -> Job:
    """Return the job that `worker` encodes; JobRefused if its lease was lost or the job has ended."""
    job = job_with(connection, job_id)
    if job.state is not JobState.ENCODING or job.worker != worker:
        held = f"encoding by {job.worker}" if job.state is JobState.ENCODING else str(job.state)
        raise JobRefused(
            f"Job {job_id} is no longer encoded by {worker}; it is {held}.",
            remedy=f"Its lease ran out, or an operator ended it: encoderd queue show {job_id}",
        )
    return job


def move(
    connection: Connection,
    job: Job,
    event: JobEvent,
    *,
    now: float,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] = _NOTHING,
) -> Job:
    """
    Apply `event` to the job as it was read, with `changes` to its columns, and write the history.

    The job's `reason` is that of its last move. A job that leaves ENCODING loses its worker and lease; one that
    ends gets `finished_at`, one that waits has none.

    Raises:
        JobRefused: the state allows no such event, or the job has moved since it was read.
    """
    state = next_state(job.state, event)
    columns: dict[str, Any] = {"state": str(state), **UNBLAMED, "reason": reason}
    if state is not JobState.ENCODING:
        columns |= UNCLAIMED
        columns["finished_at"] = now if state in ENDED else None
        if state not in ENDED:
            columns["started_at"] = None
    row = connection.execute(
        update(tables.job)
        .where(tables.job.c.id == job.id, tables.job.c.state == str(job.state))
        .where(tables.job.c.worker.is_not_distinct_from(job.worker))
        .values({**columns, **changes})
        .returning(tables.job)
    ).one_or_none()
    if row is None:
        raise JobRefused(
            f"Job {job.id} is no longer {job.state}; somebody else was faster.",
            remedy=f"See what became of it: encoderd queue show {job.id}",
        )
    moved = job_of(row)
    record(connection, moved, event, state_from=job.state, now=now, worker=job.worker, reason=reason, detail=detail)
    return moved


def move_with_output(
    connection: Connection, job: Job, event: JobEvent, published: Mapping[str, Any], *, now: float
) -> Job:
    """The receipt is long; it stands in the job, and not in the history too."""
    place = {key: value for key, value in published.items() if key != "receipt"}
    changes: dict[str, Any] = {"published": dict(published)}
    if event is JobEvent.PUBLISHED:  # an acceptance that was given, and then not needed, marks nothing
        needed = (published.get("receipt") or {}).get("accepted")
        changes["acceptance"] = str(Acceptance.GIVEN if needed else Acceptance.NONE)
    return move(connection, job, event, now=now, detail=place, changes=changes)


def requeue(
    connection: Connection,
    job: Job,
    event: JobEvent,
    *,
    now: float,
    reason: str,
    counts: bool,
    changes: Mapping[str, Any],
) -> Job:
    """
    Take a job from its worker so that it can be tried again; without `counts` the attempt is given back.

    If the operator wanted it cancelled in the meantime, that is what becomes of it: nobody else would do it.
    """
    if job.cancel_requested:
        return move(connection, job, JobEvent.CANCELLED, now=now, reason=reason, detail={"instead_of": str(event)})
    attempts = job.attempts if counts else max(job.attempts - 1, 0)
    return move(connection, job, event, now=now, reason=reason, changes={"attempts": attempts, **changes})


def record(
    connection: Connection,
    job: Job,
    event: JobEvent,
    *,
    state_from: JobState | None,
    now: float,
    worker: str | None = None,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append one row to the history; the job is in the state the event led to."""
    connection.execute(
        insert(tables.job_event).values(
            job_id=job.id,
            at=now,
            event=str(event),
            state_from=None if state_from is None else str(state_from),
            state_to=str(job.state),
            worker=worker,
            reason=reason,
            detail=None if detail is None else dict(detail),
        )
    )


def next_try(now: float, pause_s: float) -> float:
    """Return when a job is due after a pause; without one it is due whatever the clock says, should it step back."""
    return now + min(pause_s, LONGEST_PAUSE_S) if pause_s > 0 else 0.0


def interrupted(connection: Connection, job: Job, *, now: float, retry_pause_s: float) -> Job:
    """The worker of this job died: it is queued again, after a pause that grows with the times."""
    times = job.interruptions + 1
    pause_s = after_interruption(times, retry_pause_s)
    return requeue(
        connection, job, JobEvent.LEASE_EXPIRED, now=now, counts=False, reason=f"{job.worker} went away in the middle",
        changes={"interruptions": times, "next_try_at": next_try(now, pause_s)},
    )  # fmt: skip
