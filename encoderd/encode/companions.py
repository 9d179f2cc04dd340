"""
Files beside a recording that follow its output: sidecars are copied (and move with it), chapters are read.

Part of the daemon's process; no FFmpeg here. Nothing about them ever fails a job: what cannot be done is a note.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from encoderd.encode.chapters import Chapters, parse
from encoderd.encode.publish import beside_output, publish
from encoderd.jobs import readable

#: Larger files are no sidecars: whoever names ".ts" as an ending does not want a recording copied.
LARGEST_SIDECAR = 64 * 2**20
#: A film's chapters have 10 KiB.
LARGEST_CHAPTERS = 2**20
#: Endings of files with chapters, the better known form first.
CHAPTERS = (".chapter.txt", ".chapters.txt", ".ffmetadata")
_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A file beside a recording; `ending` is what follows the output's stem in its copy's name."""

    path: Path
    ending: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Names of the files that are where they should be, and notes on those that are not."""

    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def sidecars_of(source: Path, endings: Sequence[str]) -> list[Sidecar]:
    """
    Return what stands beside the recording: NAME + ending, and NAME.EXT + ending, in the order of `endings`.

    Both lose NAME.EXT's extension in the copy's name; where there are both, the second one keeps it.
    """
    found = []
    for ending in dict.fromkeys(endings):
        plain, full = source.with_name(source.stem + ending), source.with_name(source.name + ending)
        has_plain = plain not in {source, full} and os.path.lexists(plain)
        if has_plain:
            found.append(Sidecar(path=plain, ending=ending))
        if os.path.lexists(full):
            found.append(Sidecar(path=full, ending=source.suffix + ending if has_plain else ending))
    return found


def copy_sidecars(source: Path, target: Path, endings: Sequence[str], partial: Path) -> Followed:
    """
    Copy the recording's sidecars beside its output, under the output's stem, with their mtime; never over a file.

    Each is written to `partial`, brought to the disk, and renamed. Again is no harm: a copy that is there is one.
    """
    names, notes = [], []
    for sidecar in sidecars_of(source, endings):
        try:
            copy = beside_output(target, sidecar.ending)
            if _copied(sidecar.path, copy, partial):
                names.append(copy.name)
            else:
                notes.append(f"{readable(copy.name)} exists already, with other content")
        except OSError as error:
            notes.append(f"{readable(sidecar.path.name)}: {error.strerror or error}")
        except ValueError as error:
            notes.append(f"{readable(sidecar.path.name)} {error}")
    return Followed(names=tuple(names), notes=tuple(notes))


def move_sidecars(source: Path, moved: Path, endings: Sequence[str]) -> Followed:
    """Move the sidecars of a recording that was moved to `moved`, beside it; never over a file."""
    names, notes = [], []
    for sidecar in sidecars_of(source, endings):
        name = sidecar.path.name
        if not name.startswith(source.name) and _shares_stem(source):
            notes.append(f"{readable(name)} stays: another recording has this name, too")
            continue
        try:
            if not stat.S_ISREG(sidecar.path.lstat().st_mode):
                notes.append(f"{readable(name)} stays: it is no regular file")
            elif publish(sidecar.path, moved.with_name(name)):
                names.append(name)
            else:
                notes.append(f"{readable(name)} stays: {readable(str(moved.with_name(name)))} exists already")
        except OSError as error:
            notes.append(f"{readable(name)} stays: {error.strerror or error}")
    return Followed(names=tuple(names), notes=tuple(notes))


def chapter_file(source: Path) -> Path | None:
    """Return the file with the recording's chapters; NAME.EXT + ending before NAME + ending. None: there is none."""
    for ending in CHAPTERS:
        for name in (source.name + ending, source.stem + ending):
            path = source.with_name(name)
            with contextlib.suppress(OSError):
                found = path.lstat()
                if stat.S_ISREG(found.st_mode) and 0 < found.st_size <= LARGEST_CHAPTERS:
                    return path
    return None


def read_chapters(path: Path) -> Chapters:
    """Return the chapters in a file; one that cannot be read has none, and a note."""
    try:
        with _opened(path, LARGEST_CHAPTERS) as file:
            return parse(file.read(LARGEST_CHAPTERS))
    except OSError as error:
        return Chapters(notes=(f"{readable(path.name)} cannot be read: {error.strerror or error}",))
    except ValueError as error:
        return Chapters(notes=(f"{readable(path.name)} {error}",))


def _shares_stem(source: Path) -> bool:
    from encoderd.settings import EXTENSIONS  # the child reads chapters here, and starts 0.2 s sooner without settings

    others = (source.with_name(f"{source.stem}.{extension}") for extension in EXTENSIONS)
    return any(other != source and os.path.lexists(other) for other in others)


@contextlib.contextmanager
def _opened(path: Path, largest_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file of a bounded size; ValueError says what else it is. A pipe does not hold anyone up."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("is no regular file")
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is no regular file")
        if found.st_size > largest_bytes:
            raise ValueError(f"has {found.st_size // 2**20} MiB, which is no size for it")
        yield file


def _copied(path: Path, copy: Path, partial: Path) -> bool:
    """Copy a file; False when another one has the copy's name."""
    with _opened(path, LARGEST_SIDECAR) as file:
        if os.path.lexists(copy):
            return _same_content(file, copy)
        partial.unlink(missing_ok=True)
        try:
            with partial.open("xb") as beside:
                shutil.copyfileobj(file, beside, _AT_ONCE)
                beside.flush()
                mtime_ns = os.fstat(file.fileno()).st_mtime_ns
                os.utime(beside.fileno(), ns=(mtime_ns, mtime_ns))
                os.fsync(beside.fileno())
            return publish(partial, copy)
        finally:
            partial.unlink(missing_ok=True)


def _same_content(file: BinaryIO, copy: Path) -> bool:
    try:
        with _opened(copy, LARGEST_SIDECAR) as other:
            while (piece := file.read(_AT_ONCE)) == other.read(_AT_ONCE):
                if not piece:
                    return True
            return False
    except ValueError:
        return False
