"""
A root that remembers what was looked at: the sources of all facts, found by watching those who gather them.

What is written down is what the reader saw: text and first bytes, names in folders, links, sizes, and that something
was not there. What a folder is only listed to have is kept as an empty entry.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from encoderd.root import Root

#: As the kernel's own limit (path_resolution(7)).
_MOST_LINKS = 40


class Kind(StrEnum):
    FOLDER = "folder"
    FILE = "file"  #: or anything else that is no folder and no link
    LINK = "link"


@dataclass(slots=True, kw_only=True)
class Entry:
    """
    One path. `data` are the bytes that were read, `target` what a link says. `size_bytes` and `mode` (permission bits)
    are None where nobody asked.
    """

    kind: Kind
    data: bytes = b""
    target: str = ""
    size_bytes: int | None = None
    mode: int | None = None


@dataclass(slots=True, kw_only=True)
class Recording:
    """What was seen, by path without links in its folders; `absent` are paths that were asked for and are not there."""

    entries: dict[str, Entry] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)


class RecordingRoot(Root):
    """Reads as a Root does, and keeps all of it in `recording`. Not for several threads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.recording = Recording()
        self._folders: dict[str, str | None] = {"/": "/"}  # as asked → without links; None where there is none

    def at(self, path: str) -> Path:
        """Whoever asks for the place itself may look at kind, size and mode; contents are not kept."""
        self._status(path)
        return super().at(path)

    def head(self, path: str, most_bytes: int) -> bytes:
        data = super().head(path, most_bytes)
        place = self._walk(path)
        if place is not None and (entry := self.recording.entries[place]).kind is Kind.FILE:
            entry.data = max(entry.data, data, key=len)
        return data

    def names(self, path: str) -> list[str]:
        names = super().names(path)
        place = self._walk(path)
        if place is not None:
            for name in names:
                self._note(posixpath.join(place, name))
        return names

    def link(self, path: str) -> str:
        self._walk(path, follow=False)
        return super().link(path)

    def link_name(self, path: str) -> str | None:
        self._walk(path, follow=False)
        return super().link_name(path)

    def exists(self, path: str) -> bool:
        self._walk(path)
        return super().exists(path)

    def size_bytes(self, path: str) -> int:
        self._status(path)
        return super().size_bytes(path)

    def real(self, path: str) -> str:
        self._walk(path)
        return super().real(path)

    def _place(self, path: str) -> str:
        return os.path.join(self.folder, path.lstrip("/"))

    def _status(self, path: str) -> None:
        place = self._walk(path)
        if place is None:
            return
        try:
            status = os.stat(self._place(place))
        except (OSError, ValueError):
            return
        entry = self.recording.entries[place]
        entry.mode = stat.S_IMODE(status.st_mode)
        entry.size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None

    def _walk(self, path: str, *, follow: bool = True) -> str | None:
        """
        Note every folder and link on the way to `path`, and what is there; return where that is, without links.

        None when there is nothing. An absolute link counts from this root.
        """
        folder, name = posixpath.split(posixpath.normpath("/" + path.lstrip("/")))
        for _ in range(_MOST_LINKS):
            inside = self._folder(folder)
            if inside is None:
                return None
            if not name:
                self._note(inside)
                return inside
            place = posixpath.join(inside, name)
            entry = self._note(place)
            if entry is None or entry.kind is not Kind.LINK or not follow:
                return place if entry is not None else None
            folder, name = posixpath.split(posixpath.normpath(posixpath.join(inside, entry.target)))
        return None

    def _folder(self, path: str) -> str | None:
        if path not in self._folders:
            self._folders[path] = None  # a link that leads to itself ends here
            place = self._walk(path)
            entry = self.recording.entries.get(place or "")
            self._folders[path] = place if entry is not None and entry.kind is Kind.FOLDER else None
        return self._folders[path]

    def _note(self, place: str) -> Entry | None:
        known = self.recording.entries.get(place)
        if known is not None:
            return known
        try:
            mode = os.lstat(self._place(place)).st_mode
            if stat.S_ISLNK(mode):
                entry = Entry(kind=Kind.LINK, target=os.readlink(self._place(place)))
            else:
                entry = Entry(kind=Kind.FOLDER if stat.S_ISDIR(mode) else Kind.FILE)
        except (OSError, ValueError):
            self.recording.absent.add(place)
            return None
        self.recording.entries[place] = entry
        return entry


def parents(path: str) -> Iterator[str]:
    """Yield the folders above a path, the nearest first, without "/"."""
    while (path := posixpath.dirname(path)) != "/":
        yield path
