"""
The queue as the daemon and the command line see it: one call, one transaction, one row of history per move.

Times come in as `now`, wall clock seconds. Every method may raise a `DatabaseError` whose remedy says what to do;
the database is then as it was before the call. A `Store` is used from the thread that opened it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as insert_unless

from encoderd.errors import JobRefused
from encoderd.jobs import (
    Acceptance,
    Candidate,
    FailureKind,
    Job,
    JobEvent,
    JobState,
    next_state,
)
from encoderd.queue import acceptance, claims, tables
from encoderd.queue.admission import admit
from encoderd.queue.database import Database
from encoderd.queue.history import (
    JobEventRow,
    claimed_job,
    event_of,
    interrupted,
    job_of,
    job_with,
    move,
    move_with_output,
    next_try,
    record,
    requeue,
)
from encoderd.queue.rebuilding import FinishedJob, adopt, last_number, number_from

#: Priorities beyond this are typing errors.
LARGEST_PRIORITY = 1_000_000
#: Rows of history that are looked through for the latest of a kind.
LOOKED_BACK = 100_000

_job = tables.job.c


class Store:
    """The queue, open. A context manager that closes itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: Path, *, busy_timeout_s: float, migrate: bool = True) -> Store:
        """
        Open the queue's file; the daemon creates and upgrades it, others (`migrate=False`) take it as it is.

        Raises:
            DatabaseError: or the child of it that names the cause; the file is then as it was before.
        """
        return cls(Database.open(path, busy_timeout_s=busy_timeout_s, migrate=migrate))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # From intake

    def add(self, candidate: Candidate, *, now: float, priority: int = 0) -> Job | None:
        """
        Queue the recording; None if it is known already under this identity, or is being encoded right now.

        A job that waits for this path (queued or settling) takes the new identity and is returned.
        """
        jobs = self.add_many([candidate], now=now, priority=priority)
        return jobs[0] if jobs else None

    def add_many(self, candidates: Sequence[Candidate], *, now: float, priority: int = 0) -> list[Job]:
        """As `add`, for many recordings in one transaction: all or none are stored. Some 10,000 per second."""
        if not candidates:
            return []
        with self._database.writing() as connection:
            return admit(connection, candidates, now=now, priority=_checked(priority))

    def source_changed(self, job_id: int, *, now: float, reason: str) -> Job:
        """The recording grew after admission: the job waits until `add` sees it whole again. No attempt is lost."""
        with self._database.writing() as connection:
            job = job_with(connection, job_id)
            return requeue(
                connection, job, JobEvent.SOURCE_CHANGED, now=now, reason=reason,
                counts=job.state is not JobState.ENCODING, changes={"published": None},
            )  # fmt: skip

    def skip(self, job_id: int, *, now: float, reason: str, worker: str | None = None) -> Job:
        """An output is not wanted. JobRefused unless the job is queued or encoding; by `worker`, where one is named."""
        with self._database.writing() as connection:
            job = job_with(connection, job_id) if worker is None else claimed_job(connection, job_id, worker)
            return move(connection, job, JobEvent.NOT_WANTED, now=now, reason=reason, changes={"published": None})

    def adopt(self, finished: Sequence[FinishedJob], *, last_number: int) -> list[Job]:
        """
        Put finished jobs into the queue whose number and recording it does not know, all or none; returns those.

        New jobs have numbers above `last_number` from then on.
        """
        with self._database.writing() as connection:
            adopted = adopt(connection, finished)
            number_from(connection, last_number)
            return adopted

    def last_number(self) -> int:
        """Return the highest number that a job ever had in this queue, 0 when it had none."""
        with self._database.reading() as connection:
            return last_number(connection)

    # The worker

    def claim(self, *, worker: str, watches: Collection[str], now: float, lease_s: float) -> Job | None:
        """
        Take the next due job: highest priority, then the oldest recording. None if there is none, or while paused.

        `published` of the job tells of an output that an interrupted attempt may have left: compare it first.
        """
        with self._database.writing() as connection:
            row = claims.claim_next(connection, worker=worker, watches=watches, now=now, lease_s=lease_s)
            if row is None:
                return None
            job = job_of(row)
            record(connection, job, JobEvent.CLAIMED, state_from=JobState.QUEUED, now=now, worker=worker)
            return job

    def heartbeat(self, job_id: int, *, worker: str, now: float, lease_s: float) -> bool:
        """Extend the lease to now + `lease_s`. False: it was lost, the attempt is void and its child must end."""
        statement = update(tables.job).where(_job.id == job_id, _job.worker == worker, tables.ENCODING)
        with self._database.writing() as connection:
            return connection.execute(statement.values(lease_until=now + lease_s)).rowcount == 1

    def publishing(self, job_id: int, *, worker: str, published: Mapping[str, Any], now: float) -> None:
        """Store what is about to get its final name, before it gets it. JobRefused if the lease was lost."""
        with self._database.writing() as connection:
            job = claimed_job(connection, job_id, worker)
            move_with_output(connection, job, JobEvent.PUBLISHING, published, now=now)

    def finish(self, job_id: int, *, worker: str, published: Mapping[str, Any], now: float) -> Job:
        """The output has its final name and is on disk. JobRefused if the lease was lost."""
        with self._database.writing() as connection:
            job = claimed_job(connection, job_id, worker)
            return move_with_output(connection, job, JobEvent.PUBLISHED, published, now=now)

    def fail(
        self,
        job_id: int,
        *,
        worker: str,
        event: JobEvent,
        kind: FailureKind,
        reason: str,
        remedy: str,
        counts: bool,
        pause_s: float,
        now: float,
        acceptable: bool = False,
    ) -> Job:
        """
        An attempt failed; `event`, `counts` and `pause_s` are what `jobs.after_failure` decided.

        A failed job can be accepted where the failure is `acceptable`. Without `counts` the attempt is given back. A
        job that the operator wants cancelled is not queued again.
        """
        with self._database.writing() as connection:
            job = claimed_job(connection, job_id, worker)
            blame = {"failure_kind": str(kind), "remedy": remedy}
            if next_state(job.state, event) is not JobState.QUEUED:
                blame["acceptance"] = str(Acceptance.POSSIBLE if acceptable else Acceptance.NONE)
                return move(connection, job, event, now=now, reason=reason, changes={"published": None, **blame})
            return requeue(
                connection, job, event, now=now, reason=reason, counts=counts,
                changes={"next_try_at": next_try(now, pause_s), "published": _kept(job, event), **blame},
            )  # fmt: skip

    def give_back(self, job_id: int, *, worker: str, event: JobEvent, now: float, reason: str = "") -> Job:
        """Return an unfinished job to the queue with its attempt, due at once (STOPPING and the like)."""
        with self._database.writing() as connection:
            job = claimed_job(connection, job_id, worker)
            return requeue(
                connection, job, event, now=now, reason=reason, counts=False,
                changes={"next_try_at": 0.0, "published": _kept(job, event)},
            )  # fmt: skip

    def cancelled(self, job_id: int, *, worker: str, now: float, reason: str = "") -> Job:
        """The child of a job that the operator cancelled has ended. JobRefused if the lease was lost."""
        with self._database.writing() as connection:
            job = claimed_job(connection, job_id, worker)
            return move(connection, job, JobEvent.CANCELLED, now=now, reason=reason)

    def recover(self, *, now: float, retry_pause_s: float) -> list[Job]:
        """Give back the jobs of all workers whose lease has run out; `retry_pause_s` is that of the settings."""
        return self._take_back(_job.lease_until < now, now=now, retry_pause_s=retry_pause_s)

    def release_worker(self, worker: str, *, now: float, retry_pause_s: float) -> list[Job]:
        """Give back all jobs of `worker` at once. For its successor, which holds its `WorkerLock`: it is dead."""
        return self._take_back(_job.worker == worker, now=now, retry_pause_s=retry_pause_s)

    def _take_back(self, which: ColumnElement[bool], *, now: float, retry_pause_s: float) -> list[Job]:
        dead = select(tables.job).where(tables.ENCODING, which).order_by(_job.id)
        with self._database.reading() as connection:  # nearly always none: ask without taking the write lock
            if connection.execute(dead).first() is None:
                return []
        with self._database.writing() as connection:
            return [
                interrupted(connection, job_of(row), now=now, retry_pause_s=retry_pause_s)
                for row in connection.execute(dead).all()
            ]

    # The operator

    def request_cancel(self, job_id: int, *, now: float, reason: str = "by the operator") -> Job:
        """
        Cancel a waiting job at once; note the wish on one that is encoding, for its daemon (`cancel_requests`).

        Raises:
            NoSuchJob, JobRefused: it is neither waiting nor encoding.
        """
        with self._database.writing() as connection:
            job = job_with(connection, job_id)
            if job.state is JobState.ENCODING:
                return _changed(connection, job, cancel_requested=1)
            return move(connection, job, JobEvent.CANCELLED, now=now, reason=reason)

    def cancel_requests(self, worker: str) -> list[int]:
        """Return the numbers of the jobs that `worker` encodes and the operator wants cancelled."""
        wanted = select(_job.id).where(tables.ENCODING, _job.worker == worker, _job.cancel_requested == 1)
        with self._database.reading() as connection:
            return list(connection.execute(wanted.order_by(_job.id)).scalars())

    def retry(self, job_id: int, *, now: float) -> Job:
        """
        Queue an ended job as if it had never been tried; end the pause of one that is queued.

        Raises:
            NoSuchJob, JobRefused: it is done, encoding or settling.
        """
        with self._database.writing() as connection:
            job = job_with(connection, job_id)
            if job.state is JobState.QUEUED:
                return _changed(connection, job, next_try_at=min(job.next_try_at, now))
            return move(
                connection, job, JobEvent.RETRIED, now=now,
                changes={"attempts": 0, "interruptions": 0, "next_try_at": now, "acceptance": ""},
            )  # fmt: skip

    def accept(self, job_id: int, *, now: float) -> Job:
        """
        Queue a job again that failed for its recording's damage alone: what can be made of it is wanted.

        Raises:
            NoSuchJob, JobRefused: it has not failed, or for another reason.
        """
        with self._database.writing() as connection:
            return acceptance.accept(connection, job_with(connection, job_id), now=now)

    def set_priority(self, job_id: int, priority: int, *, now: float) -> Job:
        """Set the priority (higher is sooner). JobRefused for a job that has ended."""
        with self._database.writing() as connection:
            job = job_with(connection, job_id)
            if job.finished_at is not None:
                raise JobRefused(
                    f"Job {job_id} is {job.state}; a priority would change nothing.",
                    remedy=f"Queue it again first: encoderd queue retry {job_id}",
                )
            return _changed(connection, job, priority=_checked(priority))

    def pause(self, *, now: float, reason: str = "") -> None:
        """Let nothing be claimed, by any worker, until `resume`. What is being encoded goes on."""
        flag = insert_unless(tables.flag).values(key=claims.PAUSED, value=reason, at=now)
        with self._database.writing() as connection:
            connection.execute(flag.on_conflict_do_update(index_elements=["key"], set_={"value": reason, "at": now}))

    def resume(self, *, now: float) -> None:
        with self._database.writing() as connection:
            connection.execute(delete(tables.flag).where(tables.flag.c.key == claims.PAUSED))

    # Reading

    def paused(self) -> bool:
        return self.pause_reason() is not None

    def pause_reason(self) -> str | None:
        """Return what the operator said when pausing ("" if nothing), None when the queue is not paused."""
        with self._database.reading() as connection:
            return connection.execute(
                select(tables.flag.c.value).where(tables.flag.c.key == claims.PAUSED)
            ).scalar_one_or_none()

    def job(self, job_id: int) -> Job:
        """Return the job; NoSuchJob if there is none with this number."""
        with self._database.reading() as connection:
            return job_with(connection, job_id)

    def jobs(
        self, *, states: Collection[JobState] = (), watch: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[Job]:
        """
        Return jobs: first those encoding, then those queued in claim order, then settling, then the newest ended.

        `states` and `watch` narrow it down; without them all are listed.
        """
        rows: list[Any] = []
        with self._database.reading() as connection:
            for part in claims.listing():
                if states:
                    part = part.where(_job.state.in_(sorted(states)))
                if watch is not None:
                    part = part.where(_job.watch == watch)
                rows += connection.execute(part.limit(offset + limit - len(rows))).all()
        return [job_of(row) for row in rows[offset:]]

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state; every state is there."""
        with self._database.reading() as connection:
            rows = connection.execute(select(_job.state, func.count()).group_by(_job.state)).all()
        found = {JobState(state): count for state, count in rows}
        return {state: found.get(state, 0) for state in JobState}

    def acceptances(self) -> tuple[int, int]:
        """Return how many jobs are done with accepted damage, and how many failed that can be accepted."""
        with self._database.reading() as connection:
            return acceptance.counts(connection)

    def events(self, job_id: int) -> list[JobEventRow]:
        """Return the job's history, oldest first; NoSuchJob if there is no such job."""
        history = select(tables.job_event).where(tables.job_event.c.job_id == job_id).order_by(tables.job_event.c.id)
        with self._database.reading() as connection:
            job_with(connection, job_id)
            return [event_of(row) for row in connection.execute(history)]

    def latest_events(self, events: Collection[JobEvent], *, limit: int) -> list[JobEventRow]:
        """Return the newest rows of history with one of these events, newest first, among the last 100,000 of all."""
        table = tables.job_event
        with self._database.reading() as connection:
            last = connection.execute(select(func.max(table.c.id))).scalar() or 0
            wanted = table.c.event.in_([str(event) for event in events]), table.c.id > last - LOOKED_BACK
            rows = connection.execute(select(table).where(*wanted).order_by(table.c.id.desc()).limit(limit))
            return [event_of(row) for row in rows]

    def change_counter(self) -> int:
        """Return a number that changes when another process has written. Cheap enough for every tick."""
        return self._database.data_version()

    def next_due_at(self, *, watches: Collection[str], now: float) -> float | None:
        """Return when the next job of `watches` is due, `now` if one is already; None if none will be by itself."""
        if not watches or self.paused():
            return None
        with self._database.reading() as connection:
            if claims.first_due(connection, watches, now) is not None:
                return now
            earliest = connection.execute(claims.earliest_try(watches)).scalar_one()
        return None if earliest is None else float(earliest)


def _changed(connection: Connection, job: Job, **columns: Any) -> Job:
    """Change what is no state, and so no history."""
    statement = update(tables.job).where(_job.id == job.id).values(columns).returning(tables.job)
    return job_of(connection.execute(statement).one())


def _kept(job: Job, event: JobEvent) -> Mapping[str, Any] | None:
    """
    An output may have got its final name before the worker was stopped, or stand in a folder that is away just now.

    One that crashed removed its own. A record that is out of date does no harm: it is compared with the file.
    """
    return None if event in (JobEvent.CRASHED, JobEvent.STALLED) else job.published


def _checked(priority: int) -> int:
    if abs(priority) > LARGEST_PRIORITY:
        raise JobRefused(
            f"The priority {priority} is out of range.",
            remedy=f"Choose one from -{LARGEST_PRIORITY} to {LARGEST_PRIORITY}; 0 is normal.",
        )
    return priority
