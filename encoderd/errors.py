"""What can go wrong, in the words of the person who has to repair it, and the exit code it ends with."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """
    Exit codes of `encoderd` and `encoderd-host`.

    The unit's `RestartPreventExitStatus` names those that a restart cannot cure; a test holds the two together.
    """

    OK = 0
    FAILED = 1  #: a check or a job failed
    SETTINGS = 2  #: bad settings or usage
    DATABASE = 10  #: the database could not be used, for a reason none of the next five names
    DATABASE_LOCKED = 11  #: another process holds the database for longer than the busy timeout
    DATABASE_FULL = 12  #: no space is left where the database is
    DATABASE_READ_ONLY = 13  #: the database or its folder cannot be written
    DATABASE_CORRUPT = 14  #: the file is not a healthy SQLite database
    DATABASE_TOO_NEW = 15  #: written by a newer encoderd
    WORKER_TAKEN = 16  #: another daemon runs with this database and worker name
    FOLDER = 17  #: a watch or output folder cannot be used
    INTERNAL = 70  #: a defect of encoderd itself


class EncoderdError(Exception):
    """
    A failure that a person can do something about.

    `message` says what happened, with the value, and what it usually means; `remedy` says what to type or change.
    """

    exit_code: ExitCode = ExitCode.FAILED
    #: The cause ends without the daemon's doing, and nothing is lost by waiting for it: a daemon holds, and goes on.
    passes: bool = False

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message


class SettingsError(EncoderdError):
    """A setting or an argument cannot be accepted."""

    exit_code = ExitCode.SETTINGS


class FolderError(EncoderdError):
    """A watch, output or state folder cannot be used as configured."""

    exit_code = ExitCode.FOLDER
    passes = True


class DatabaseError(EncoderdError):
    """The queue's database cannot be used; nothing in it was changed."""

    exit_code = ExitCode.DATABASE


class DatabaseLocked(DatabaseError):
    exit_code = ExitCode.DATABASE_LOCKED
    passes = True


class DatabaseFull(DatabaseError):
    exit_code = ExitCode.DATABASE_FULL
    passes = True


class DatabaseReadOnly(DatabaseError):
    exit_code = ExitCode.DATABASE_READ_ONLY


class DatabaseCorrupt(DatabaseError):
    exit_code = ExitCode.DATABASE_CORRUPT


class DatabaseTooNew(DatabaseError):
    exit_code = ExitCode.DATABASE_TOO_NEW


class WorkerTaken(EncoderdError):
    """Another daemon already works on this queue under the same worker name."""

    exit_code = ExitCode.WORKER_TAKEN


class NoSuchJob(EncoderdError):
    """The queue has no job with this number."""


class JobRefused(EncoderdError):
    """The job's state does not allow what was asked."""
