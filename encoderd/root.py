"""The file system that is looked at: the real one, or a recorded machine's below some folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

#: More than any file of text that is read here has.
_MOST_BYTES = 4 * 2**20


class Root:
    """
    Reads below `folder`. What cannot be read is "", [] or False, never an error: files of sysfs vanish while they are
    read, and this user may not read them all. Paths are absolute, as on the machine itself ("/proc/cmdline").
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._real = os.path.realpath(folder)

    def at(self, path: str) -> Path:
        return self.folder / path.lstrip("/")

    def text(self, path: str) -> str:
        """Return a regular file's text; what is not UTF-8 in it is replaced."""
        return self.head(path, _MOST_BYTES).decode("utf-8", errors="replace")

    def head(self, path: str, most_bytes: int) -> bytes:
        """Return a regular file's first bytes, b"" for anything else: a FIFO would never answer."""
        try:
            descriptor = os.open(self.at(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            return b""
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return b""
            parts: list[bytes] = []
            # /proc gives a page at a time, and /proc/sys refuses to be asked for 4 MiB at once: ENOMEM from
            # KMALLOC_MAX_SIZE on (proc_sys_call_handler, fs/proc/proc_sysctl.c).
            while most_bytes > 0 and (part := os.read(descriptor, min(most_bytes, 2**16))):
                parts.append(part)
                most_bytes -= len(part)
            return b"".join(parts)
        except OSError:
            return b""
        finally:
            os.close(descriptor)

    def names(self, path: str) -> list[str]:
        """Return what is in a folder, sorted."""
        try:
            return sorted(os.listdir(self.at(path)))
        except (OSError, ValueError):
            return []

    def link_name(self, path: str) -> str | None:
        """Return the last part of what a symbolic link points to: a driver's or a group's name. None without one."""
        try:
            return os.path.basename(os.readlink(self.at(path)))
        except (OSError, ValueError):
            return None

    def link(self, path: str) -> str:
        """Return what a symbolic link says, "" for anything else."""
        try:
            return os.readlink(self.at(path))
        except (OSError, ValueError):
            return ""

    def exists(self, path: str) -> bool:
        try:
            return self.at(path).exists()
        except (OSError, ValueError):
            return False

    def size_bytes(self, path: str) -> int:
        try:
            return self.at(path).stat().st_size
        except (OSError, ValueError):
            return 0

    def real(self, path: str) -> str:
        """Return the path without symbolic links, as seen from inside."""
        try:
            found = os.path.realpath(self.at(path))
        except (OSError, ValueError):
            return path
        inside = os.path.relpath(found, self._real)
        return found if inside.startswith("..") else f"/{inside}"
