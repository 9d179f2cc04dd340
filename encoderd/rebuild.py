"""The receipts in the state folder, put back into a queue that does not know them."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from encoderd.jobs import Job, readable
from encoderd.queue.rebuilding import FinishedJob
from encoderd.queue.store import Store
from encoderd.state_folder import StateFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """
    What a rebuild did: `jobs` are new in the queue, `known` receipts were there. `gone` are receipts whose output is
    not where it was published, `unreadable` those that tell too little, each with the reason.
    """

    jobs: tuple[Job, ...]
    known: int
    gone: tuple[str, ...]
    unreadable: tuple[str, ...]
    last_number: int

    @property
    def sentence(self) -> str:
        told = [f"{len(self.jobs)} finished jobs were rebuilt from their receipts", f"{self.known} were there already"]
        if self.gone:
            told.append(f"{len(self.gone)} were left out, because their output is not where it was published")
        if self.unreadable:
            told.append(f"{len(self.unreadable)} receipts cannot be read")
        return f"{', '.join(told)}. The next job is {self.last_number + 1}."


def rebuild(store: Store, state: StateFolder) -> Rebuilt:
    """
    Put every finished job into the queue whose receipt and output are there and which the queue does not know.

    Numbers go on behind the highest of all receipts and logs: no old receipt is ever overwritten.

    Raises:
        DatabaseError: the queue is as it was before.
    """
    finished, gone, unreadable = [], [], []
    for number, path in state.receipts():
        try:
            job = FinishedJob.from_receipt(json.loads(path.read_bytes()))
            if job.id != number:
                raise ValueError(f"it is the receipt of job {job.id}")
        except (OSError, KeyError, TypeError, ValueError) as error:
            unreadable.append(f"{path.name}: {type(error).__name__}: {readable(str(error))}")
            continue
        if _is_there(Path(job.output), job.published["size_bytes"]):
            finished.append(job)
        else:
            gone.append(f"{path.name}: {job.published['path']}")
    last = highest_number(state)
    jobs = store.adopt(finished, last_number=last)
    return Rebuilt(
        jobs=tuple(jobs),
        known=len(finished) - len(jobs),
        gone=tuple(gone),
        unreadable=tuple(unreadable),
        last_number=store.last_number(),
    )


def highest_number(state: StateFolder) -> int:
    """Return the highest number of a job that left a receipt or a log, 0 when none did."""
    found: Iterable[tuple[int, Path]] = [*state.receipts(), *state.job_logs()]
    return max((number for number, _ in found), default=0)


def _is_there(path: Path, size_bytes: int) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size_bytes
