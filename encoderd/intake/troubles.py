"""What keeps intake from seeing recordings, as findings with a way out."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from encoderd.findings import Finding, failed, warned
from encoderd.jobs import readable

#: So many files are named in a finding; the others are counted.
NAMED = 5

#: What inotify says when one of its limits is reached → the limit's name, and what it should be at least.
INOTIFY_LIMITS = {
    errno.ENOSPC: ("fs.inotify.max_user_watches", 524_288),
    errno.EMFILE: ("fs.inotify.max_user_instances", 512),
}

_MISSING = {errno.ENOENT, errno.ENOTDIR}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file or subfolder that could not be opened; `owner` is uid:gid and `mode` octal, "?" when not to be had."""

    relative_path: str
    error: str
    owner: str
    mode: str


def folder_unreadable(watch: str, path: str, error: OSError) -> Finding:
    """Judge a watch folder that cannot be read at all."""
    path = readable(path)
    if error.errno in _MISSING:
        remedy = f"Create it, or mount what belongs there: findmnt --target {path}"
    elif error.errno in _FORBIDDEN:
        remedy = f"Let the user that encoderd runs as read and search it: namei -l {path}"
    else:
        remedy = f"Look after the disk or the share: findmnt --target {path}; dmesg | tail"
    return failed(
        "watch_folder", f"The watch folder {watch} ({path}) cannot be read: {error.strerror or error}", remedy
    )


def folder_hangs(watch: str, path: str, since_s: float) -> Finding:
    """Judge a watch folder whose file system has not answered for `since_s` seconds."""
    path = readable(path)
    return failed(
        "watch_folder",
        f"The watch folder {watch} ({path}) has not answered for {since_s:.0f} s: its server or disk hangs",
        f"Look after the share: findmnt --target {path}; umount -f or -l it if the server is gone for good",
    )


def folder_hollow(watch: str, path: str, recordings: int) -> Finding:
    """Judge a watch folder that is another one than before, and empty."""
    path = readable(path)
    return warned(
        "watch_folder",
        f"The watch folder {watch} ({path}) is not the folder it was, and empty; it held {recordings} recordings",
        f"Is the share mounted? findmnt --target {path}",
    )


def recordings_unreadable(watch: str, unreadable: Sequence[Unreadable]) -> Finding:
    """Judge the files and subfolders that could not be opened; the first few are named with owner and mode."""
    named = "; ".join(
        f"{readable(one.relative_path)}: {one.error} (owner {one.owner}, mode {one.mode})" for one in unreadable[:NAMED]
    )
    more = f"; and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
    return warned(
        "watch_file",
        f"Not readable in the watch folder {watch}: {named}{more}",
        "Let the user that encoderd runs as read them: add it to the group that owns them, or setfacl -m u:encoderd:r",
    )


def events_unavailable(watch: str, error: OSError, limit: int = 0) -> Finding:
    """
    Judge a watch folder for which inotify could not be set up; it is scanned more often instead.

    `limit` is the kernel's, of what `error` says is used up (`INOTIFY_LIMITS`); 0 where it is not known.
    """
    if error.errno in INOTIFY_LIMITS:
        name, least = INOTIFY_LIMITS[error.errno]
        more = max(least, 2 * limit)
        return warned(
            "watch_events",
            f"inotify limit reached ({name}={limit or '?'}): the watch folder {watch} is polled",
            f"sysctl -w {name}={more}; and to keep it: echo {name}={more} > /etc/sysctl.d/60-encoderd.conf. "
            "It is tried again within ten minutes, at once after systemctl reload encoderd.",
        )
    return warned("watch_events", f"No events for the watch folder {watch}, only scans: {error.strerror}")


def scanner_failed(watch: str, error: Exception) -> Finding:
    """Judge a defect of ours that ended a scan; the next one is tried all the same."""
    return failed(
        "watch_folder",
        f"The watch folder {watch} could not be scanned: {type(error).__name__}: {readable(str(error))}",
        "This is a defect of encoderd: report it with the log line intake.scan_failed",
    )
