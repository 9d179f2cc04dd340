"""One daemon per queue and worker name: a lock that the kernel takes back, however its holder ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from encoderd.errors import DatabaseError, WorkerTaken
from encoderd.queue import database_errors as errors


class WorkerLock:
    """
    Holds `<database>.<worker>.lock` exclusively while entered; the file says the holder's pid.

    The file is never removed: a daemon that just opened it would lock a file nobody else can find. Children do not
    inherit the lock (the descriptor closes on exec), so that a left-over child cannot keep the next daemon out.

    Raises:
        WorkerTaken: on entering, when another process holds it.
        DatabaseReadOnly, DatabaseFull, DatabaseError: the file cannot be made or opened.
    """

    def __init__(self, database: Path, worker: str) -> None:
        self.path = database.with_name(f"{database.name}.{worker}.lock")
        self._worker = worker
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            pid = self._holder()
            self._close()
            raise self._taken(pid) from error
        except OSError as error:
            self._close()
            raise self._unusable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _holder(self) -> str:
        """The pid, or "" in the moment between its lock and its writing."""
        assert self._descriptor is not None
        return os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()

    def _taken(self, pid: str) -> WorkerTaken:
        holder = f"process {pid}" if pid else "another process"
        return WorkerTaken(
            f"Another encoderd ({holder}) already works on this queue as {self._worker!r} "
            f"({errors.shown(self.path)} is locked).",
            remedy=f"Stop it (systemctl stop encoderd{f', or kill {pid}' if pid else ''}), or give this one a name "
            "of its own: daemon.worker",
        )

    def _unusable(self, error: OSError) -> DatabaseError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return errors.full(self.path)
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return errors.read_only(self.path, str(error.strerror))
        if error.errno == errno.ENOENT:
            return errors.no_folder(self.path)
        return DatabaseError(
            f"The worker's lock {errors.shown(self.path)} cannot be opened: {error.strerror}.",
            remedy=f"Look at it, and move it away if it is not encoderd's: ls -l {errors.typed(self.path)}",
        )
