"""
The queue's file: opened with care, brought up to date, one connection, explicit transactions.

Every error of SQLite or SQLAlchemy leaves here as one of ours. A file that cannot be used is never changed.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote_from_bytes

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from encoderd.errors import DatabaseError
from encoderd.logs import get_logger
from encoderd.queue import database_errors as errors
from encoderd.queue.migrations import REVISIONS, SCRIPTS, upgrade

#: Up to this size a file is read whole at the daemon's start (quick_check, about 0.15 s); damage in a larger
#: one is found when the damaged page is read.
QUICK_CHECK_BYTES = 64 * 2**20
#: A write-ahead log that a large admission blew up is cut back to this at the next checkpoint.
WAL_LIMIT_BYTES = 16 * 2**20


class Database:
    """One open connection. `writing` and `reading` are the only ways to it."""

    def __init__(self, path: Path, raw: sqlite3.Connection) -> None:
        self.path = path
        self._raw = raw
        self._begin = "BEGIN"
        engine = create_engine("sqlite://", creator=lambda: raw, poolclass=NullPool)
        event.listen(engine, "begin", lambda _connection: raw.execute(self._begin))
        self._connection = engine.connect()

    @classmethod
    def open(cls, path: Path, *, busy_timeout_s: float, migrate: bool) -> Database:
        """
        Open the file; with `migrate` create it and bring its schema up to date, else take it as it is or refuse.

        Raises:
            DatabaseError: or the child of it that names the cause; the file is then as it was before.
        """
        _check_place(path, create=migrate)
        with _translating(path):
            raw = _connect(path, busy_timeout_s, create=migrate)
            try:
                _set_up(raw)
                _check_health(path, raw, whole=migrate)
                _check_revision(path, revision_of(path, raw), migrate=migrate)
                if migrate:
                    _write_ahead(path, raw, busy_timeout_s)
                database = cls(path, raw)
                if migrate:
                    database.bring_up_to_date()
            except BaseException:
                raw.close()
                raise
        return database

    def close(self) -> None:
        with suppress(SQLAlchemyError, sqlite3.Error):  # nothing is uncommitted here, and nobody is left to tell
            self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """
        Yield the connection in a transaction that holds the write lock from its beginning; commit at the end.

        A transaction that first reads and then asks for the lock could be refused in the middle (SQLITE_BUSY_SNAPSHOT).
        """
        self._begin = "BEGIN IMMEDIATE"
        with _translating(self.path), self._connection.begin():
            yield self._connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield the connection in a transaction that sees one moment of the database and waits for no writer."""
        self._begin = "BEGIN"
        with _translating(self.path), self._connection.begin():
            yield self._connection

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed. Reads shared memory, no file."""
        with _translating(self.path):
            return int(self._raw.execute("PRAGMA data_version").fetchone()[0])

    def bring_up_to_date(self, revisions: tuple[str, ...] = REVISIONS, scripts: Path = SCRIPTS) -> None:
        """
        Migrate to the last of `revisions` in one transaction, after keeping a copy of a file that has a schema.

        The lock is taken first, so that of two daemons that start at once the second finds the work done; it also
        shows now, and not at the first job, whether the file can be written.
        """
        with self.writing() as connection:
            revision = revision_of(self.path, self._raw, revisions)
            if revision == revisions[-1]:
                return
            copy = None if revision is None else _keep_copy(self.path, revisions[-1])
            try:
                upgrade(connection, revisions[-1], scripts)
            except BaseException:
                if copy is not None:
                    copy.unlink()  # the old schema stays; a copy for each attempt would only fill the disk
                raise
        if copy is not None:
            get_logger().info("queue.schema_upgraded", database=self.path, revision=revisions[-1], copy=copy)


def revision_of(path: Path, raw: sqlite3.Connection, revisions: tuple[str, ...] = REVISIONS) -> str | None:
    """
    Return the schema's revision, "" before the first one, None for a file without tables.

    Raises:
        DatabaseTooNew, DatabaseError: not among `revisions`; not encoderd's database.
    """
    names = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not names:
        return None
    if "alembic_version" not in names:
        raise errors.foreign(path)
    row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    revision = "" if row is None else str(row[0])
    if revision and revision not in revisions:
        raise errors.too_new(path, revision) if "job_event" in names else errors.foreign(path)
    return revision


def _check_place(path: Path, *, create: bool) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if not create:
            raise errors.never_ran(path) from None
        if not path.parent.is_dir():
            raise errors.no_folder(path) from None
    except OSError as error:
        raise errors.read_only(path, error.strerror or "not allowed") from error
    else:
        if not stat.S_ISREG(mode):
            raise errors.no_file(path)


def _connect(path: Path, busy_timeout_s: float, *, create: bool) -> sqlite3.Connection:
    uri = f"file:{quote_from_bytes(os.fsencode(path.absolute()))}?mode={'rwc' if create else 'rw'}"
    # isolation_level=None: the driver begins nothing by itself; DDL is then part of our transactions.
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_timeout_s)


def _set_up(raw: sqlite3.Connection) -> None:
    raw.execute("PRAGMA foreign_keys = ON")
    raw.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut: "done" is never forgotten
    raw.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")


def _check_health(path: Path, raw: sqlite3.Connection, *, whole: bool) -> None:
    """Reading the header finds files that are not SQLite's or were cut short; `whole` reads all of a small file."""
    raw.execute("PRAGMA schema_version").fetchone()
    if whole and path.stat().st_size <= QUICK_CHECK_BYTES:
        verdict = str(raw.execute("PRAGMA quick_check(1)").fetchone()[0])
        if verdict != "ok":
            raise errors.corrupt(path, verdict)


def _check_revision(path: Path, revision: str | None, *, migrate: bool) -> None:
    if not migrate and revision != REVISIONS[-1]:
        raise errors.too_old(path, revision or "", REVISIONS[-1])


def _write_ahead(path: Path, raw: sqlite3.Connection, busy_timeout_s: float) -> None:
    """
    Switch the file to a write-ahead log; it stays so. Readers then never wait for the writer.

    SQLite does not wait for its busy timeout here, so that two daemons that make the file together need this loop.
    """
    give_up_at = time.monotonic() + busy_timeout_s
    while True:
        try:
            mode = str(raw.execute("PRAGMA journal_mode = WAL").fetchone()[0])
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
        time.sleep(0.02)
    if mode != "wal":
        raise errors.no_shared_memory(path, mode)


def _keep_copy(path: Path, revision: str) -> Path:
    """Copy the file beside itself as `queue.db.before-<revision>`, under the next free name if that is taken."""
    partial = path.with_name(f"{path.name}.copying")
    try:
        partial.unlink(missing_ok=True)  # left by a crash in the middle of copying
        with closing(_connect(path, 1.0, create=False)) as source, closing(sqlite3.connect(partial)) as target:
            source.backup(target)
        _fsync(partial)
        for number in range(1000):
            copy = path.with_name(f"{path.name}.before-{revision}" + (f".{number}" if number else ""))
            with suppress(FileExistsError):
                os.link(partial, copy)  # unlike a rename it never replaces an earlier copy
                _fsync(path.parent)
                return copy
        raise DatabaseError(
            f"There are too many copies {errors.shown(path)}.before-{revision}.*",
            remedy=f"Look why the upgrade fails (journalctl -u encoderd), then remove some: ls {errors.typed(path)}.*",
        )
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise errors.full(path) from error
        raise errors.read_only(path, f"the copy before the upgrade failed, {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise errors.translated(error, path) from error
