"""
One watch folder's tree: which files in it are recordings, and what they look like right now.

Only what readdir calls a regular file is ever opened. A symbolic link counts when its target is a regular file inside
the same watch folder that the scan does not take under its own name; linked folders are not entered. Of several names
of one file (hard links, links) one is taken: a name that was offered before, else a real name, else the first.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from encoderd.intake.completeness import Offered, Sighting
from encoderd.intake.patterns import Ignored, NamePatterns
from encoderd.intake.sighting import NotRegular, take_sighting
from encoderd.intake.troubles import Unreadable
from encoderd.settings import WatchSettings

#: A file or folder that was there a moment ago; or one that its writer keeps for itself (a lease, as Samba takes).
_PASSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EAGAIN, errno.ETXTBSY}


class Stopped(Exception):
    """The scan was asked to end before it was through."""


@dataclass(slots=True, kw_only=True)
class Scan:
    """
    What one walk found.

    `sightings`: every recording that is not known under this very identity. `known`: hashes of the names that are.
    `ignored` counts the files that are none. `whole`: every folder could be read. `root`: device and inode of the watch
    folder itself.
    """

    root: tuple[int, int]
    sightings: list[Sighting] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    unreadable: list[Unreadable] = field(default_factory=list)
    ignored: Ignored = field(default_factory=Ignored)
    whole: bool = True


class Tree:
    """The door to one watch folder. `clock` gives monotonic seconds."""

    def __init__(self, settings: WatchSettings, clock: Callable[[], float]) -> None:
        self.watch = settings.name
        self.path = settings.path
        self.root = os.fspath(settings.path).rstrip("/")
        self.patterns = NamePatterns(settings.include, settings.ignore, recursive=settings.recursive)
        self.clock = clock

    def takes(self, path: str) -> bool:
        """Return whether a file of this name may be a recording."""
        return self.patterns.takes(os.path.basename(path))

    def scan(self, offered: Offered, *, thorough: bool, stopping: Callable[[], bool]) -> Scan:
        """
        Walk the folder.

        A recording that was offered under the identity that a bare stat shows is not opened, unless `thorough`.

        Raises:
            OSError: the watch folder itself cannot be read.
            Stopped: `stopping` said so.
        """
        return _Walk(self, offered, thorough=thorough, stopping=stopping).through()

    def locate(self, relative_paths: Iterable[str]) -> tuple[list[tuple[str, str]], list[str]]:
        """Return (relative path, path to open) of those that are regular files or good links, and the others."""
        found, gone = [], []
        real_root = os.path.realpath(self.root or "/")
        for relative_path in relative_paths:
            path: str | None = f"{self.root}/{relative_path}"
            try:
                mode = os.lstat(f"{self.root}/{relative_path}").st_mode
            except OSError:
                path = None
            else:
                if not stat.S_ISREG(mode):
                    path = self.target(f"{self.root}/{relative_path}", real_root) if stat.S_ISLNK(mode) else None
            if path is None:
                gone.append(relative_path)
            else:
                found.append((relative_path, path))
        return found, gone

    def target(self, link: str, real_root: str) -> str | None:
        """Return the file that a link stands for, None when it is not one of ours or has a name of its own here."""
        target = os.path.realpath(link)
        inside = real_root.rstrip("/") + "/"
        if not target.startswith(inside) or self.patterns.reaches(target.removeprefix(inside)):
            return None
        try:
            return target if stat.S_ISREG(os.lstat(target).st_mode) else None
        except OSError:
            return None


class _Walk:
    """One scan on its way through a tree."""

    def __init__(self, tree: Tree, offered: Offered, *, thorough: bool, stopping: Callable[[], bool]) -> None:
        self._tree, self._offered = tree, offered
        self._thorough, self._stopping = thorough, stopping
        status = os.stat(tree.root or "/")
        self._scan = Scan(root=(status.st_dev, status.st_ino))
        #: (relative path, path) of the symbolic links with a recording's name.
        self._links: list[tuple[str, str]] = []
        #: By device and inode: the files that may have several names.
        self._names: dict[tuple[int, int], list[Sighting]] = {}

    def through(self) -> Scan:
        folders = [""]
        while folders:
            prefix = folders.pop()
            try:
                folders += self._take_folder(prefix)
            except OSError as error:
                if not prefix:
                    raise
                if error.errno not in _PASSING:
                    self._scan.whole = False
                    self._note_unreadable(prefix.rstrip("/"), error)
        real_root = os.path.realpath(self._tree.root or "/")
        for relative_path, path in self._links:
            target = self._tree.target(path, real_root)
            if target is not None:
                self._see(relative_path, target, is_link=True)
        self._take_one_name_each()
        return self._scan

    def _take_folder(self, prefix: str) -> list[str]:
        """Take in one folder (`prefix` is its relative path and "/", or ""); return its subfolders' prefixes."""
        folders, patterns = [], self._tree.patterns
        with os.scandir(f"{self._tree.root}/{prefix}") as entries:
            for entry in entries:
                if self._stopping():
                    raise Stopped
                if entry.is_dir(follow_symlinks=False):
                    if patterns.enters(entry.name):
                        folders.append(f"{prefix}{entry.name}/")
                elif patterns.takes(entry.name):
                    relative_path = prefix + entry.name
                    if entry.is_symlink():
                        self._links.append((relative_path, entry.path))
                    elif entry.is_file(follow_symlinks=False) and not self._is_known(relative_path, entry):
                        self._see(relative_path, entry.path)
                else:
                    patterns.note_ignored(entry.name, self._scan.ignored)
        return folders

    def _is_known(self, relative_path: str, entry: os.DirEntry[str]) -> bool:
        watch = self._tree.watch
        if self._thorough or not self._offered.has_name(watch, relative_path):
            return False
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return False  # the open will say what is wrong
        if status.st_nlink > 1 or not self._offered.holds(watch, relative_path, status.st_size, status.st_mtime_ns):
            return False
        self._scan.known.add(hash(relative_path))
        return True

    def _see(self, relative_path: str, path: str, *, is_link: bool = False) -> None:
        watch = self._tree.watch
        try:
            seen, names = take_sighting(watch, relative_path, path, self._tree.clock)
        except NotRegular:
            return
        except OSError as error:
            if error.errno not in _PASSING:
                self._note_unreadable(relative_path, error)
            return
        if names > 1 or is_link:
            self._names.setdefault((seen.device, seen.inode), []).append(seen)
        elif self._offered.holds(watch, relative_path, seen.size_bytes, seen.mtime_ns):
            self._scan.known.add(hash(relative_path))
        else:
            self._scan.sightings.append(seen)

    def _take_one_name_each(self) -> None:
        links = {relative_path for relative_path, _ in self._links}
        for names in self._names.values():
            names.sort(key=lambda seen: (seen.relative_path in links, seen.relative_path))
            before = [seen for seen in names if self._offered.has_name(self._tree.watch, seen.relative_path)]
            self._scan.known.update(hash(seen.relative_path) for seen in before)
            self._scan.sightings.append((before or names)[0])

    def _note_unreadable(self, relative_path: str, error: OSError) -> None:
        try:
            status = Path(self._tree.root, relative_path).lstat()
        except OSError:
            owner = mode = "?"
        else:
            owner, mode = f"{status.st_uid}:{status.st_gid}", f"{stat.S_IMODE(status.st_mode):04o}"
        message = error.strerror or str(error)
        self._scan.unreadable.append(Unreadable(relative_path=relative_path, error=message, owner=owner, mode=mode))
