"""
The queue's tables. Migrations make them (migrations/versions); a test compares the two.

States and what leads from one to the next:

    (new)     added              -> queued
    queued    claimed            -> encoding    not_wanted -> skipped       cancelled -> cancelled
    queued    source_changed     -> settling    settled    -> queued        (under its new identity)
    encoding  publishing         -> encoding    published  -> done
    encoding  recording_rejected -> failed      exhausted  -> failed        cancelled -> cancelled
    encoding  device_lost, no_space, stopping, lease_expired -> queued      (the attempt is given back)
    encoding  crashed, stalled   -> queued      (after a pause)             not_wanted -> skipped
    encoding  source_changed     -> settling
    settling  settled            -> queued      cancelled  -> cancelled
    failed, cancelled, skipped   retried -> queued      failed accepted -> queued

`encoderd.jobs.TRANSITIONS` is the same table for the machine.
"""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)


class FileName(TypeDecorator[str]):
    """A path as the bytes it is: names need not be UTF-8. In Python it is what `os.fsdecode` gives."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else os.fsencode(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else os.fsdecode(value)


class Words(TypeDecorator[str]):
    r"""Text for people. It may quote a file name whose bytes are not UTF-8; they are kept as `\udcNN`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value.encode("utf-8", "backslashreplace").decode("utf-8")


metadata = MetaData()

job = Table(
    "job",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("watch", Text, nullable=False),
    Column("relative_path", FileName, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("interruptions", Integer, nullable=False, default=0),
    Column("added_at", Float, nullable=False),
    Column("next_try_at", Float, nullable=False, default=0.0),  # 0: at once, whatever the clock says
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("worker", Text),
    Column("lease_until", Float),
    Column("cancel_requested", Integer, nullable=False, default=0),
    Column("failure_kind", Text),
    Column("reason", Words, nullable=False, default=""),
    Column("remedy", Words, nullable=False, default=""),
    Column("published", JSON(none_as_null=True)),
    Column("acceptance", Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,  # a job number is never used twice, it names log files
)

# SQLite uses a partial index only where the query repeats its condition word for word, without parameters.
CLAIMABLE = text("state = 'queued' AND cancel_requested = 0")
ENCODING = text("state = 'encoding'")
ENDED = text("finished_at IS NOT NULL")
ACCEPTANCE = text("acceptance <> ''")

#: A recording is queued once: adding rests on this index, not on looking first.
identity_index = Index(
    "job_identity", job.c.watch, job.c.relative_path, job.c.size_bytes, job.c.mtime_ns, unique=True
)  # fmt: skip

#: The order of claims within one watch folder. next_try_at is there so that pauses are judged without reading rows.
claim_index = Index(
    "job_claim", job.c.watch, job.c.priority.desc(), job.c.mtime_ns, job.c.id, job.c.next_try_at,
    sqlite_where=CLAIMABLE,
)  # fmt: skip

Index("job_lease", job.c.worker, job.c.lease_until, sqlite_where=ENCODING)
Index("job_state", job.c.state)
Index("job_ended", job.c.finished_at.desc(), job.c.id.desc(), sqlite_where=ENDED)

Index("job_acceptance", job.c.acceptance, job.c.state, sqlite_where=ACCEPTANCE)

#: History. Triggers made by the migration forbid UPDATE and DELETE.
job_event = Table(
    "job_event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, ForeignKey("job.id"), nullable=False),
    Column("at", Float, nullable=False),
    Column("event", Text, nullable=False),
    Column("state_from", Text),
    Column("state_to", Text, nullable=False),
    Column("worker", Text),
    Column("reason", Words, nullable=False, default=""),
    Column("detail", JSON(none_as_null=True)),
)

Index("job_event_job", job_event.c.job_id, job_event.c.id)

#: Standing wishes of the operator. "paused": nothing is claimed while it is there; its value is the reason.
flag = Table(
    "flag",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Words, nullable=False, default=""),
    Column("at", Float, nullable=False),
)
