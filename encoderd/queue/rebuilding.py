"""
A queue that was lost, made again from the receipts: what was published is known to be done, and numbers go on.

A receipt tells all that the queue knew of a finished job. What waited or had failed has none: intake finds those
recordings again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from os import fsdecode
from typing import Any

from sqlalchemy import Connection, insert, text
from sqlalchemy.dialects.sqlite import insert as insert_unless

from encoderd.jobs import Acceptance, Job, JobEvent, JobState
from encoderd.queue import tables
from encoderd.queue.history import job_of

REASON = "rebuilt from its receipt"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedJob:
    """What a receipt tells of its job. `published_at` is in seconds since the epoch, `published` as in `Job`."""

    id: int
    watch: str
    relative_path: str
    size_bytes: int
    mtime_ns: int
    attempts: int
    worker: str
    published_at: float
    published: Mapping[str, Any]

    @classmethod
    def from_receipt(cls, receipt: Mapping[str, Any]) -> FinishedJob:
        """Raises KeyError, TypeError or ValueError where the receipt does not tell enough."""
        asked = receipt["asked"]
        published = {
            "path": str(receipt["published_as"]),
            "path_hex": _name_hex(receipt, "published"),
            "size_bytes": int(receipt["published_bytes"]),
            "mtime_ns": int(receipt.get("published_mtime_ns", 0)),
            "receipt": dict(receipt),
        }
        return cls(
            id=int(receipt["job"]),
            watch=str(receipt["watch"]),
            relative_path=fsdecode(bytes.fromhex(_name_hex(receipt, "recording"))),
            size_bytes=int(asked["size_bytes"]),
            mtime_ns=int(asked["mtime_ns"]),
            attempts=int(receipt["attempt"]),
            worker=str(receipt["worker"]),
            published_at=datetime.fromisoformat(receipt["published_at"]).timestamp(),
            published=published,
        )

    @property
    def output(self) -> str:
        return fsdecode(bytes.fromhex(self.published["path_hex"]))


def _name_hex(receipt: Mapping[str, Any], name: str) -> str:
    """Receipts of earlier versions have the name for people alone, which is the file's where nothing was escaped."""
    told = receipt.get(f"{name}_hex")
    if told is None:
        shown = str(receipt["published_as" if name == "published" else name])
        if "\\" in shown:
            raise ValueError(f"the name {shown} has bytes that cannot be printed, and it tells no others")
        return shown.encode().hex()
    return str(told)


def adopt(connection: Connection, finished: Iterable[FinishedJob]) -> list[Job]:
    """Insert those whose number and recording are not in the queue; returns them as they are there."""
    adopted = []
    for one in sorted(finished, key=lambda job: job.id):
        values = {
            "id": one.id,
            "watch": one.watch,
            "relative_path": one.relative_path,
            "size_bytes": one.size_bytes,
            "mtime_ns": one.mtime_ns,
            "state": str(JobState.DONE),
            "attempts": one.attempts,
            "added_at": one.published_at,
            "finished_at": one.published_at,
            "reason": REASON,
            "published": dict(one.published),
            "acceptance": str(Acceptance.GIVEN if one.published["receipt"].get("accepted") else Acceptance.NONE),
        }
        statement = insert_unless(tables.job).on_conflict_do_nothing().returning(tables.job)
        row = connection.execute(statement, values).one_or_none()
        if row is None:
            continue
        job = job_of(row)
        adopted.append(job)
        place = {key: value for key, value in one.published.items() if key != "receipt"}
        history: list[dict[str, Any]] = [
            {"event": str(JobEvent.ADDED), "state_to": str(JobState.QUEUED)},
            {"event": str(JobEvent.PUBLISHED), "state_from": str(JobState.ENCODING), "state_to": str(JobState.DONE)},
        ]
        history[1] |= {"detail": place, "worker": one.worker}
        for moved in history:
            common = {"job_id": job.id, "at": one.published_at, "reason": REASON}
            connection.execute(insert(tables.job_event).values({**common, **moved}))
    return adopted


def last_number(connection: Connection) -> int:
    """Return the highest number that a job ever had in this queue, 0 when it had none."""
    return int(connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'job'")).scalar() or 0)


def number_from(connection: Connection, last: int) -> None:
    """Let new jobs have numbers above `last`; it never goes back."""
    if last > last_number(connection):
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = 'job'"))
        connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES ('job', :last)"), {"last": last})
