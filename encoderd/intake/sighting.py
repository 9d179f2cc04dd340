"""
The door to one file: open it, fstat it, and look whether someone has it open for writing.

Never a bare stat alone: on some shares a growing file shows a frozen size to stat and the true one to fstat.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from pathlib import Path

from encoderd.intake.completeness import Sighting, Writer

#: O_NONBLOCK: what scandir called a regular file may have become a FIFO since, and an open must not wait for it.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class NotRegular(OSError):
    """What was opened is not a regular file (any more)."""


def take_sighting(watch: str, relative_path: str, path: str, clock: Callable[[], float]) -> tuple[Sighting, int]:
    """
    Open the regular file at `path` and return what fstat says, and how many names (hard links) it has.

    Raises:
        NotRegular: it became something else since the folder was read.
        OSError: it cannot be opened.
    """
    asked_at_s = clock()
    descriptor = os.open(path, _FLAGS)
    try:
        return _sighting(watch, relative_path, descriptor, asked_at_s, clock, None)
    finally:
        os.close(descriptor)


def look_for_writers(
    watch: str, files: Iterable[tuple[str, str]], *, leases_tell: bool, clock: Callable[[], float]
) -> tuple[list[Sighting], list[str]]:
    """
    Take a last look at each (relative path, path): a sighting that says whether someone has it open for writing.

    `leases_tell`: the file system is local, so that a lease knows every writer. Where it does not, or a file is not
    ours to lease, the open descriptors of all processes are searched: once for all files.

    Return the sightings, and the relative paths of files that cannot be opened.
    """
    seen: list[Sighting] = []
    lost: list[str] = []
    undecided = list(files)
    if leases_tell:
        leased, undecided = undecided, []
        for relative_path, path in leased:
            sighting = _look(watch, relative_path, path, clock, None)
            if sighting is None:
                lost.append(relative_path)
            elif sighting.writer is Writer.UNKNOWN:
                undecided.append((relative_path, path))
            else:
                seen.append(sighting)
    if undecided:
        # The search comes before the fstat: what a writer wrote until it closed the file is then in the sighting.
        written = open_for_writing({os.path.basename(path) for _, path in undecided})
        for relative_path, path in undecided:
            sighting = _look(watch, relative_path, path, clock, written)
            if sighting is None:
                lost.append(relative_path)
            else:
                seen.append(sighting)
    return seen, lost


def open_for_writing(names: Set[str], proc: Path = Path("/proc")) -> set[tuple[int, int]]:
    """
    Return (device, inode) of the files with one of these names that a visible process has open for writing.

    Only links with a wanted name are followed: a stat of any other open file could hang on a share that does.
    Processes of other users are visible to root (CAP_SYS_PTRACE) only.
    """
    written = set()
    for process in [entry.path for entry in os.scandir(proc) if entry.name.isdigit()]:
        with suppress(OSError):  # it ended, or is not ours to see
            for number in os.listdir(f"{process}/fd"):
                with suppress(OSError, ValueError):
                    link = f"{process}/fd/{number}"
                    if os.path.basename(os.readlink(link)) in names and _may_write(f"{process}/fdinfo/{number}"):
                        status = os.stat(link)
                        written.add((status.st_dev, status.st_ino))
    return written


def _may_write(fdinfo: str) -> bool:
    """Raise ValueError when there is no line "flags:" with an octal number, proc_pid_fdinfo(5)."""
    for line in Path(fdinfo).read_bytes().splitlines():
        key, _, value = line.partition(b":")
        if key == b"flags":
            return int(value, 8) & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR)
    raise ValueError(f"no flags in {fdinfo}")


def _look(
    watch: str, relative_path: str, path: str, clock: Callable[[], float], written: Set[tuple[int, int]] | None
) -> Sighting | None:
    """Look at one file; `written` None asks for a lease. Return None when it cannot be opened."""
    asked_at_s = clock()
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    try:
        if written is None:
            # The lease is held over the fstat: nobody can begin to write between the two.
            writer = lease_says(descriptor)
            return _sighting(watch, relative_path, descriptor, asked_at_s, clock, writer)[0]
        status = os.fstat(descriptor)
        writer = Writer.OPEN if (status.st_dev, status.st_ino) in written else Writer.UNKNOWN
        return _sighting(watch, relative_path, descriptor, asked_at_s, clock, writer)[0]
    except OSError:
        return None
    finally:
        os.close(descriptor)  # gives the lease back, too


def lease_says(descriptor: int) -> Writer:
    """
    Take a read lease on a file that is open for reading only; the caller closes it soon, which ends the lease.

    The kernel refuses it with EAGAIN while anybody has the file open for writing or mapped writable. Only the file's
    owner, or a process with CAP_LEASE, is answered; for others, and where there are no leases, the answer is UNKNOWN.

    Who opens the file for writing meanwhile waits until we close it, microseconds later (or is refused, if it said
    O_NONBLOCK), and the kernel sends us a signal. By default that is SIGIO, which would end the daemon: SIGURG is
    ignored by default.
    Source: fcntl(2), "Leases".
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return Writer.OPEN
    except OSError:
        return Writer.UNKNOWN
    return Writer.NONE


def _sighting(
    watch: str,
    relative_path: str,
    descriptor: int,
    asked_at_s: float,
    clock: Callable[[], float],
    writer: Writer | None,
) -> tuple[Sighting, int]:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular(f"{relative_path!r} is not a regular file")
    seen = Sighting(
        watch=watch,
        relative_path=relative_path,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        device=status.st_dev,
        inode=status.st_ino,
        asked_at_s=asked_at_s,
        answered_at_s=clock(),
        writer=writer,
    )
    return seen, status.st_nlink
