"""Which job is next: the selects behind claiming, waiting and listing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Row,
    Select,
    UnaryExpression,
    bindparam,
    exists,
    func,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.selectable import ScalarSelect

from encoderd.jobs import LONGEST_PAUSE_S, JobState
from encoderd.queue import tables
from encoderd.queue.history import UNBLAMED

PAUSED = "paused"

_job = tables.job.c
_CLAIM_ORDER: Sequence[ColumnElement[Any] | UnaryExpression[Any]] = (_job.priority.desc(), _job.mtime_ns, _job.id)


def claim_next(
    connection: Connection, *, worker: str, watches: Collection[str], now: float, lease_s: float
) -> Row[Any] | None:
    """Take the next due job for `worker` in one statement; None if nothing is due or the queue is paused."""
    if not watches:
        return None
    given = {"now": now, "by_worker": worker, "until": now + lease_s}
    return connection.execute(_claim(tuple(sorted(watches))), given).one_or_none()


def first_due(connection: Connection, watches: Collection[str], now: float) -> int | None:
    """Return the number of the job that `claim_next` would take if the queue were not paused."""
    return connection.execute(select(_next_due(tuple(sorted(watches)))), {"now": now}).scalar()


@lru_cache(
    maxsize=32
)  # the folders hardly ever change, and SQLAlchemy takes longer to build this than SQLite to run it
def _claim(watches: tuple[str, ...]) -> ReturningUpdate[Any]:
    paused = exists().where(tables.flag.c.key == PAUSED)
    return (
        update(tables.job)
        .where(_job.id == _next_due(watches), _job.state == str(JobState.QUEUED), ~paused)
        .values(
            state=str(JobState.ENCODING),
            attempts=_job.attempts + 1,
            worker=bindparam("by_worker"),
            lease_until=bindparam("until"),
            started_at=bindparam("now"),
            finished_at=None,
            **UNBLAMED,
        )
        .returning(tables.job)
    )


@lru_cache(maxsize=32)
def _next_due(watches: tuple[str, ...]) -> ScalarSelect[int]:
    """
    Build the query for the job that is next among `watches` at `:now`.

    It walks the claim index of each folder to its first due job and takes the best of these. One walk over all
    folders would read every job of a folder that is blocked at the moment.
    """
    now = bindparam("now", type_=Float)
    # A try that lies further ahead than any pause was planned before the clock stepped back: it is due.
    due = or_(_job.next_try_at <= now, _job.next_try_at > now + LONGEST_PAUSE_S)
    firsts = [
        select(_job.id, _job.priority, _job.mtime_ns)
        .where(tables.CLAIMABLE, _job.watch == watch, due)
        .order_by(*_CLAIM_ORDER)
        .limit(1)
        .subquery()
        for watch in watches
    ]
    best = union_all(*(select(first) for first in firsts)).subquery()
    return select(best.c.id).order_by(best.c.priority.desc(), best.c.mtime_ns, best.c.id).limit(1).scalar_subquery()


def earliest_try(watches: Collection[str]) -> Select[Any]:
    return select(func.min(_job.next_try_at)).where(tables.CLAIMABLE, _job.watch.in_(sorted(watches)))


def listing() -> list[Select[Any]]:
    """Return the parts of a listing in the order one wants to see them; the conditions are those of the indexes."""
    jobs = select(tables.job)
    return [
        jobs.where(tables.ENCODING).order_by(_job.started_at, _job.id),
        jobs.where(tables.CLAIMABLE).order_by(*_CLAIM_ORDER),
        jobs.where(_job.state == str(JobState.SETTLING)).order_by(_job.id.desc()),
        jobs.where(tables.ENDED).order_by(_job.finished_at.desc(), _job.id.desc()),
    ]
