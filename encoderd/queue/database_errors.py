"""What SQLite says, in sentences: what it means for this file, and what to type."""

from __future__ import annotations

import os
import shlex
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from encoderd.errors import (
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseLocked,
    DatabaseReadOnly,
    DatabaseTooNew,
)
from encoderd.jobs import readable

# Primary result codes, the low byte of the extended ones. Source: https://www.sqlite.org/rescode.html
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def translated(error: SQLAlchemyError | sqlite3.Error, path: Path) -> DatabaseError:
    """Return the error a person understands; raise it `from` the original."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    said = str(cause)
    if primary in _LOCKED:
        return locked(path)
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and no_space_left(path)):
        return full(path)
    if primary in _READ_ONLY:
        return read_only(path, said)
    if primary in _CORRUPT:
        return corrupt(path, said)
    return DatabaseError(
        f"The queue's database {shown(path)} could not be used: {said}.",
        remedy=f"Look for errors of the disk: dmesg | tail; df -h {typed(path.parent)}. Then start encoderd again.",
    )


def locked(path: Path) -> DatabaseLocked:
    return DatabaseLocked(
        f"Another process holds the queue's database {shown(path)} for longer than queue.busy_timeout_s.",
        remedy=f"See who holds it, and end that: fuser -v {typed(path)}",
    )


def full(path: Path) -> DatabaseFull:
    return DatabaseFull(
        f"There is no space left to write the queue's database {shown(path)}.",
        remedy=f"Make space there; nothing was lost: df -h {typed(path.parent)}",
    )


def read_only(path: Path, said: str) -> DatabaseReadOnly:
    return DatabaseReadOnly(
        f"The queue's database {shown(path)} or its folder cannot be written by user {os.geteuid()}: {said}.",
        remedy=f"Run it as the service's user (sudo -u encoderd …), or correct owner and mount: "
        f"ls -ld {typed(path.parent)} {typed(path)}; findmnt -T {typed(path.parent)}",
    )


def corrupt(path: Path, said: str) -> DatabaseCorrupt:
    rescued = typed(path.with_name(path.name + ".rescued"))
    return DatabaseCorrupt(
        f"The queue's database {shown(path)} is damaged or is not an SQLite database: {said}. It was left as it is.",
        remedy=f"Stop encoderd, rescue what is in it: sqlite3 {typed(path)} .recover | sqlite3 {rescued} "
        f"— then put {rescued} in its place, or move all of {typed(path)}* away: the next start makes a new queue "
        "from the receipts, and what is finished is not encoded again.",
    )


def too_new(path: Path, revision: str) -> DatabaseTooNew:
    return DatabaseTooNew(
        f"The queue's database {shown(path)} has schema {revision}: a newer encoderd wrote it.",
        remedy="Install that newer encoderd again, or go back to a copy it kept before it changed the schema: "
        f"ls -l {typed(path)}.before-*",
    )


def too_old(path: Path, revision: str, wanted: str) -> DatabaseError:
    return DatabaseError(
        f"The queue's database {shown(path)} has schema {revision or 'none'}, this encoderd needs {wanted}; "
        "only the daemon changes it.",
        remedy="Start the daemon once: systemctl restart encoderd",
    )


def foreign(path: Path) -> DatabaseError:
    return DatabaseError(
        f"{shown(path)} is an SQLite database of another program; it was left as it is.",
        remedy="Name another file in the settings: queue.database",
    )


def never_ran(path: Path) -> DatabaseError:
    return DatabaseError(
        f"The daemon has never run here: there is no database {shown(path)}.",
        remedy="Start it: systemctl start encoderd; or name the daemon's settings: --config FILE",
    )


def no_file(path: Path) -> DatabaseError:
    return DatabaseError(
        f"{shown(path)} is a folder or a special file; the queue's database is a regular file.",
        remedy=f"Name a file in the settings: queue.database = {str(path / 'queue.db')!r}",
    )


def no_folder(path: Path) -> DatabaseError:
    return DatabaseError(
        f"There is no folder {shown(path.parent)} for the queue's database.",
        remedy=f"Make it: install -d -o encoderd -g encoderd {typed(path.parent)}",
    )


def no_shared_memory(path: Path, mode: str) -> DatabaseError:
    return DatabaseError(
        f"The file system of {shown(path)} cannot hold a database with a write-ahead log (it stays in mode {mode}); "
        "network and host shares often cannot.",
        remedy="Put the queue on a disk of this guest: queue.database",
    )


def no_space_left(path: Path) -> bool:
    """SQLite reports a full disk as a plain I/O error where it was extending its shared-memory file (32 KiB)."""
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < 65_536


def shown(path: Path) -> str:
    return readable(os.fsdecode(path))


def typed(path: Path) -> str:
    """The path as one types it in a shell."""
    return shlex.quote(shown(path))
