"""The guest's disk images, firmware and kernel as they lie on the host; looked at and never locked or written."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from encoderd.host.lifelines import block_uses
from encoderd.host.processes import pids
from encoderd.host.qcow2 import HEAD_BYTES, MARK_BYTES, Qcow2, image_format, read_qcow2
from encoderd.host.settings import DiskSettings
from encoderd.root import Root

#: A chain of backing files longer than this is a mistake; QEMU has no limit of its own.
_LONGEST_CHAIN = 64

#: QEMU locks single bytes of an image: 100 + N, "I use permission N"; 200 + N, "nobody else may use it". Permission 1
#: is to write, 3 to resize. Source: RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE in block/file-posix.c, BLK_PERM_* in
#: include/block/block-common.h.
_WRITES = (101, 103)
_FORBIDS_WRITING = (201,)


class FileKind(StrEnum):
    MISSING = "missing"
    FILE = "file"
    BLOCK = "block device"
    OTHER = "neither file nor block device"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """A file that QEMU opens. `usable` says whether this user can open it as QEMU will; None on a recorded host."""

    path: str
    kind: FileKind
    size_bytes: int = 0
    head: bytes = b""
    usable: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """
    A disk image.

    `format` is what its first bytes say, "" when they could not be read. `chain` are the files below it, nearest first,
    with their headers: `broken_chain` says why it does not end well. `being_written` and `guarded` are QEMU's locks of
    others: somebody writes to it, somebody relies on nobody writing; `open_in` names who has it open. `free_bytes` is
    what the file system has left, `allocated_bytes` what the image takes now; None on a recorded host.
    """

    file: FileFacts
    settings: DiskSettings
    real: str = ""  #: the path without symbolic links
    format: str = ""
    header: Qcow2 | None = None
    chain: tuple[str, ...] = ()
    broken_chain: str = ""
    unformatted: str = ""  #: the first file of the chain that does not say its backing file's format
    being_written: bool = False
    guarded: bool = False
    used: tuple[str, ...] = ()  #: what the host does with it, if it is a block device: "sda2, mounted on /"
    open_in: tuple[str, ...] = ()
    free_bytes: int | None = None
    allocated_bytes: int | None = None


def file_facts(root: Root, path: Path, *, live: bool, write: bool = False, head_bytes: int = 0) -> FileFacts:
    """Look at one file; of its contents no more than `head_bytes` are read, for they may be anybody's."""
    place = root.at(str(path))
    try:
        status = place.stat()
    except (OSError, ValueError):
        return FileFacts(path=str(path), kind=FileKind.MISSING)
    kind = FileKind.OTHER
    if stat.S_ISREG(status.st_mode):
        kind = FileKind.FILE
    elif stat.S_ISBLK(status.st_mode):
        kind = FileKind.BLOCK
    return FileFacts(
        path=str(path),
        kind=kind,
        size_bytes=status.st_size,
        head=_block_head(place, head_bytes) if live and kind is FileKind.BLOCK else root.head(str(path), head_bytes),
        usable=os.access(place, os.R_OK | (os.W_OK if write else 0), effective_ids=True) if live else None,
    )


def image_facts(root: Root, disk: DiskSettings, *, live: bool) -> ImageFacts:
    """Read an image's first bytes and those it is based on; only a live host is asked who has it locked."""
    write = not disk.read_only
    file = file_facts(root, disk.path, live=live, write=write, head_bytes=MARK_BYTES)
    if file.kind not in (FileKind.FILE, FileKind.BLOCK):
        return ImageFacts(file=file, settings=disk, real=root.real(file.path))
    found = image_format(file.head) if file.head or file.kind is FileKind.FILE else ""
    header = None
    if found == "qcow2":
        file = file_facts(root, disk.path, live=live, write=write, head_bytes=HEAD_BYTES)
        header = read_qcow2(file.head)
    chain, broken, unformatted = _chain(root, file.path, header) if header is not None else ((), "", "")
    written, guarded = _locks(root.at(file.path)) if live else (False, False)
    return ImageFacts(
        file=file,
        settings=disk,
        real=root.real(file.path),
        format=found,
        header=header,
        chain=chain,
        broken_chain=broken,
        unformatted=unformatted,
        being_written=written,
        guarded=guarded,
        used=block_uses(root, file.path) if root.real(file.path).startswith("/dev/") else (),
        open_in=_open_in(root, file.path) if written or guarded else (),
        free_bytes=_free_bytes(root.at(file.path)) if live and file.kind is FileKind.FILE else None,
        allocated_bytes=_allocated_bytes(root.at(file.path)) if live and file.kind is FileKind.FILE else None,
    )


def _chain(root: Root, path: str, header: Qcow2) -> tuple[tuple[str, ...], str, str]:
    """Return the files below an image, why the chain is broken ("" when it is not), and whose format is unsaid."""
    chain: list[str] = []
    unformatted = ""
    while True:
        for name in (header.data_file, header.backing):
            if name is not None and not _is_remote(name) and not root.exists(_beside(path, name)):
                what = "data" if name is header.data_file else "backing"
                return (
                    tuple(chain),
                    f"{path} needs the {what} file {_beside(path, name)}, which is missing",
                    unformatted,
                )
        if header.backing is None:
            return tuple(chain), "", unformatted
        if not header.backing_format:
            unformatted = unformatted or path
        below = header.backing if _is_remote(header.backing) else _beside(path, header.backing)
        if below in chain or len(chain) >= _LONGEST_CHAIN:
            return tuple(chain), f"its backing files go round in a circle at {below}", unformatted
        chain.append(below)
        head = root.head(below, HEAD_BYTES)
        is_qcow2 = image_format(head) == "qcow2" and header.backing_format in ("", "qcow2")
        if _is_remote(below) or not is_qcow2:
            return tuple(chain), "", unformatted
        path, header = below, read_qcow2(head)
        if header.broken:
            return tuple(chain), f"{path} is broken: {header.broken}", unformatted


def _is_remote(name: str) -> bool:
    """Is it "nbd://…" or "json:{…}", which only QEMU understands? A name with a "/" before its ":" is a file."""
    before, colon, _ = name.partition(":")
    return bool(colon) and "/" not in before and before != "file"


def _beside(path: str, name: str) -> str:
    return os.path.normpath(Path(path).parent / name.removeprefix("file:"))


def _block_head(place: Path, most_bytes: int) -> bytes:
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(descriptor, most_bytes)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _locks(place: Path) -> tuple[bool, bool]:
    """
    Ask for QEMU's locks: does somebody write to the image, does somebody forbid it?

    Asking (F_OFD_GETLK) takes no lock, so it cannot disturb a guest that starts in this moment.
    """
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False, False
    try:
        return any(_is_locked(descriptor, byte) for byte in _WRITES), any(
            _is_locked(descriptor, byte) for byte in _FORBIDS_WRITING
        )
    except OSError:  # a network file system without locks
        return False, False
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, byte: int) -> bool:
    """struct flock as 64-bit Linux has it: type, whence, start, length, process (fcntl(2))."""
    question = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, question)
    return int(struct.unpack_from("h", answer)[0]) != fcntl.F_UNLCK


def _open_in(root: Root, path: str) -> tuple[str, ...]:
    real = root.real(path)
    return tuple(
        f"{root.text(f'/proc/{pid}/comm').strip()} (PID {pid})"
        for pid in pids(root)
        if any(root.link(f"/proc/{pid}/fd/{number}") == real for number in root.names(f"/proc/{pid}/fd"))
    )


def _free_bytes(place: Path) -> int | None:
    try:
        status = os.statvfs(place)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def _allocated_bytes(place: Path) -> int | None:
    try:
        return place.stat().st_blocks * 512  # always in units of 512 bytes: stat(2)
    except OSError:
        return None
