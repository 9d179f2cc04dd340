"""The daemon's own folder: where the queue, the job logs, the receipts and the status file are."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from encoderd.errors import FolderError


class StateFolder:
    """`root` holds queue.db, status.json, trial.log, and jobs/000012.log and .json for job 12."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """
        Make the folders.

        Raises:
            FolderError: they cannot be made or written.
        """
        try:
            (self.root / "jobs").mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            remedy = f"Make it exist and owned by the daemon's user: install -d -o encoderd {self.root}"
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                remedy = f"Make space there; nothing was lost: df -h {self.root}"
            raise FolderError(
                f"The state folder {self.root} cannot be written: {error.strerror}.", remedy=remedy
            ) from error

    @property
    def trial_log(self) -> Path:
        return self.root / "trial.log"

    def log_of(self, job: int) -> Path:
        return self.root / "jobs" / f"{job:06d}.log"

    def receipt_of(self, job: int) -> Path:
        return self.root / "jobs" / f"{job:06d}.json"

    def job_logs(self) -> list[tuple[int, Path]]:
        """
        Return (job, its log), by job; none where the folder is not there yet.

        Raises:
            OSError: this user may not look into it.
        """
        return self._of_jobs(".log")

    def receipts(self) -> list[tuple[int, Path]]:
        """As `job_logs`: (job, its receipt)."""
        return self._of_jobs(".json")

    def _of_jobs(self, suffix: str) -> list[tuple[int, Path]]:
        try:
            paths = list((self.root / "jobs").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(
            (int(path.stem), path)
            for path in paths
            if path.suffix == suffix and path.stem.isascii() and path.stem.isdigit()
        )

    def sweep_logs(self, older_than: float, keep: Iterable[int]) -> list[int]:
        """
        Delete the logs of jobs that were last written before `older_than` (seconds since the epoch), but those in
        `keep`; returns the jobs. Receipts stay: they are the proof, and small.
        """
        kept, swept = set(keep), []
        logs: list[tuple[int, Path]] = []
        with contextlib.suppress(OSError):
            logs = self.job_logs()
        for job, path in logs:
            with contextlib.suppress(OSError):
                if job not in kept and path.stat().st_mtime < older_than:
                    path.unlink()
                    swept.append(job)
        return swept

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Replace status.json at once; it is for looking at, so it is not synced, and a failure to write it is none."""
        beside = self.root / ".status.json"
        with contextlib.suppress(OSError):
            beside.write_text(json.dumps(status) + "\n", encoding="utf-8")
            beside.replace(self.root / "status.json")

    def read_status(self) -> dict[str, Any]:
        """
        Return what the daemon said last; {} when it never did.

        Raises:
            OSError: this user may not read it.
        """
        try:
            status = json.loads((self.root / "status.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        known = (
            isinstance(status, dict) and isinstance(status.get("status"), str) and isinstance(status.get("pid"), int)
        )
        return status if known else {}
