"""The operator takes what can be made of a recording whose own damage is all that speaks against its output."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from encoderd.errors import JobRefused
from encoderd.jobs import Acceptance, Job, JobEvent, JobState
from encoderd.queue import tables
from encoderd.queue.history import move


def accept(connection: Connection, job: Job, *, now: float) -> Job:
    """Queue a failed job again with its acceptance. Raises JobRefused unless it failed for damage alone."""
    if job.state is JobState.FAILED and job.acceptance is not Acceptance.POSSIBLE:
        raise JobRefused(
            f"Job {job.id} failed for a reason that cannot be accepted: {job.reason}",
            remedy=job.remedy or f"See its history: encoderd queue show {job.id}",
        )
    return move(
        connection, job, JobEvent.ACCEPTED, now=now, reason="accepted by operator",
        changes={"attempts": 0, "interruptions": 0, "next_try_at": now, "acceptance": str(Acceptance.GIVEN)},
    )  # fmt: skip


def counts(connection: Connection) -> tuple[int, int]:
    """Return how many jobs are done with accepted damage, and how many failed that can be accepted."""
    columns = tables.job.c
    asked = select(columns.acceptance, columns.state, func.count()).where(tables.ACCEPTANCE)
    rows = connection.execute(asked.group_by(columns.acceptance, columns.state)).all()
    found = {(Acceptance(acceptance), JobState(state)): count for acceptance, state, count in rows}
    return found.get((Acceptance.GIVEN, JobState.DONE), 0), found.get((Acceptance.POSSIBLE, JobState.FAILED), 0)
