"""
From a verified partial file to a published one: names, space, the rename that never overwrites.

Order: fsync of the file (the child did it), rename without overwriting, fsync of the folder. Only then is it done.
What belongs beside an output (its captions) gets its name first, so that an output is never there without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderd.encode.failures import Place, device, no_space
from encoderd.encode.messages import Encoded
from encoderd.jobs import readable

#: The longest file name that Linux file systems take, in bytes.
LONGEST_NAME = 255
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
#: The form of a file with captions, as the child names it → what its name ends in.
_CAPTIONS = {"mks": ".captions.mks", "ts": ".captions.ts"}
#: What the name of an output ends in whose recording's damage was accepted: no media server takes it for a whole one.
DAMAGED = ".damaged"
#: What a job writes beside its partial file: captions, and sidecars while they are copied, one at a time.
_BESIDE = ("", ".captions", ".sidecar")
_PARTIAL = ".encoderd-{job}{beside}.partial"


def partial_path(output: Path, relative_path: str, job: int) -> Path:
    """Return where job `job` writes: a hidden file beside its target. The name is the same at every attempt."""
    return _partial(output, relative_path, job, "")


def captions_partial(output: Path, relative_path: str, job: int) -> Path:
    """Return where job `job` writes captions that its container cannot hold."""
    return _partial(output, relative_path, job, ".captions")


def sidecar_partial(output: Path, relative_path: str, job: int) -> Path:
    """Return where a sidecar of job `job` is while it is copied."""
    return _partial(output, relative_path, job, ".sidecar")


def partials(output: Path, relative_path: str, job: int) -> tuple[Path, ...]:
    """Return every hidden file that job `job` may have in its output folder."""
    return tuple(_partial(output, relative_path, job, beside) for beside in _BESIDE)


def _partial(output: Path, relative_path: str, job: int, beside: str) -> Path:
    source = Path(relative_path)
    ending = _PARTIAL.format(job=job, beside=beside)
    return output / source.parent / ("." + _cut(source.stem, LONGEST_NAME - 1 - len(ending)) + ending)


def job_of_partial(name: str) -> int | None:
    """Return the job that wrote a file of this name, None when the name is not one of ours."""
    head, found, tail = name.rpartition(".encoderd-")
    number, _, _ = tail.removesuffix(".partial").partition(".")
    known = tail.endswith(".partial") and tail.removesuffix(".partial") in {number + ending for ending in _BESIDE}
    ours = found and head.startswith(".") and known and number.isascii() and number.isdigit()
    return int(number) if ours else None


def targets(output: Path, relative_path: str, container: str, beside: str = "") -> Iterator[Path]:
    """
    Yield the names a recording's output may get, best first: "x.mp4", "x (2).mp4", "x (3).mp4", …

    With `beside` (an ending like ".captions.mks") the stem leaves room for that, too: the two share it.
    """
    source = Path(relative_path)
    number = 1
    while True:
        counted = f" ({number})" if number > 1 else ""
        longest = len(counted) + max(len(container) + 1, len(beside))
        yield output / source.parent / f"{_cut(source.stem, LONGEST_NAME - longest)}{counted}.{container}"
        number += 1


def beside_output(target: Path, ending: str) -> Path:
    """Return the file of that ending beside an output, under the output's own stem: "x (2).mp4" → "x (2).err"."""
    name = target.with_name(target.name.removesuffix(DAMAGED))
    return name.with_name(name.name.removesuffix(name.suffix) + ending)


def published_ending(container: str, receipt: Mapping[str, Any]) -> str:
    """Return what an output's name ends in: "mp4", or "mp4.damaged" where its receipt tells of accepted damage."""
    return container + (DAMAGED if receipt.get("accepted") else "")


def _cut(name: str, length: int) -> str:
    """Cut a name to `length` bytes without splitting a character."""
    while len(os.fsencode(name)) > length:
        name = name[:-1]
    return name


def prepare_folder(folder: Path) -> None:
    """
    Make the folder that an output goes to and prove that it can be written.

    Raises:
        EncodeFailed: kind device; the queue waits until it can.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    except OSError as error:
        raise _folder_failed(folder, error) from error
    if not writable:
        raise _folder_failed(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise _folder_failed(folder, OSError(errno.EROFS, os.strerror(errno.EROFS)))


def _folder_failed(folder: Path, error: OSError) -> Exception:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return no_space(f"No space is left for {folder} ({error.strerror}).")
    return device(
        f"The output folder {folder} cannot be used: {error.strerror}.",
        remedy=f"Make it exist, mounted and writable for the daemon's user: ls -ld {folder}",
        place=Place.FOLDER,
    )


def check_space(folder: Path, source_bytes: int, margin_bytes: int) -> None:
    """
    Demand room for an output as large as its source, and `margin_bytes` beside it.

    Raises:
        EncodeFailed: no_space; the recording is not to blame.
    """
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < source_bytes + margin_bytes:
        raise no_space(
            f"{folder} has {free // 2**20} MiB free; {source_bytes // 2**20} MiB are needed for the output "
            f"and {margin_bytes // 2**20} MiB must remain (encode.space_margin_mib)."
        )


def publish(partial: Path, target: Path) -> bool:
    """
    Give `partial` its final name; False when the name is taken. Never replaces a file; the folder is synced.

    Raises:
        OSError: the file system refuses.
    """
    try:
        _rename_noreplace(partial, target)
    except FileExistsError:
        return False
    sync_folder(target.parent)
    return True


def _rename_noreplace(source: Path, target: Path) -> None:
    number = _renameat2(source, target)
    if number in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        _link_or_reserve(source, target)
    elif number:
        raise OSError(number, os.strerror(number), str(target))


def _renameat2(source: Path, target: Path) -> int:
    """Return the errno of renameat2(2) with RENAME_NOREPLACE, 0 when it succeeded."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)
    try:
        return 0 if libc.renameat2(*arguments) == 0 else ctypes.get_errno()
    except AttributeError:  # a C library without it
        return errno.ENOSYS


def _link_or_reserve(source: Path, target: Path) -> None:
    """Rename without overwriting where the file system has no such rename: NFS, 9p and others."""
    try:  # a hard link refuses just as well
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EOPNOTSUPP}:
            raise
    else:
        source.unlink()
        return
    _reserve(source, target)


def _reserve(source: Path, target: Path) -> None:
    """Without hard links the name is reserved by an empty file of our own, which the rename then replaces."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    try:
        source.rename(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Bring the folder's entries to the disk; a file system that cannot sync folders is left alone."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(fd)


def finish_publishing(partial: Path, target: Path, size_bytes: int, mtime_ns: int) -> bool:
    """
    Complete a rename that a crash may have cut off; True when `target` is the file of this size and mtime.

    Nothing is encoded again for it: either the target is that file already, or the partial still is.
    """
    if same_file(target, size_bytes, mtime_ns):
        partial.unlink(missing_ok=True)  # the second name of a hard link
        sync_folder(target.parent)
        return True
    if not same_file(partial, size_bytes, mtime_ns):
        return False
    if target.is_file() and target.stat().st_size == 0:
        partial.replace(target)  # the name that _rename_noreplace had reserved
        sync_folder(target.parent)
        return True
    return publish(partial, target)


def same_file(path: Path, size_bytes: int, mtime_ns: int) -> bool:
    """Whether a regular file of this size and mtime is at `path`: the comparison that spares a second encode."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (size_bytes, mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A file on its way from its partial to its final name; size in bytes and mtime in ns tell it from any other."""

    partial: Path
    target: Path
    size_bytes: int
    mtime_ns: int

    @classmethod
    def from_record(cls, partial: Path, record: Mapping[str, Any]) -> Piece:
        """Return the piece that `as_record` told of; raises KeyError, TypeError or ValueError when it did not."""
        target = Path(os.fsdecode(bytes.fromhex(record["path_hex"])))
        return cls(partial=partial, target=target, size_bytes=record["size_bytes"], mtime_ns=record["mtime_ns"])

    def as_record(self) -> dict[str, Any]:
        """Return what the queue keeps: the path's bytes in hex, and the path for people."""
        return {
            "path": readable(str(self.target)),
            "path_hex": os.fsencode(self.target).hex(),
            "size_bytes": self.size_bytes,
            "mtime_ns": self.mtime_ns,
        }

    @property
    def published(self) -> bool:
        return same_file(self.target, self.size_bytes, self.mtime_ns)

    def finish(self) -> bool:
        """As `finish_publishing`."""
        return finish_publishing(self.partial, self.target, self.size_bytes, self.mtime_ns)

    def take_back(self) -> None:
        """Give the file its partial name again, if the one under the final name is ours."""
        if not self.published:
            return
        if same_file(self.partial, self.size_bytes, self.mtime_ns):
            self.target.unlink()  # the second name of a hard link
        else:
            _rename_noreplace(self.target, self.partial)
        sync_folder(self.target.parent)


def pieces_of(target: Path, partial: Path, captions: Path, encoded: Encoded) -> list[Piece]:
    """Return what a child has written: the output, and before it the captions that its container cannot hold."""
    pieces = [Piece(partial=partial, target=target, size_bytes=encoded.size_bytes, mtime_ns=encoded.mtime_ns)]
    ending = captions_ending(encoded.receipt)
    if ending:
        file = encoded.receipt["captions"]["file"]
        at, size_bytes, mtime_ns = beside_output(target, ending), file["size_bytes"], file["mtime_ns"]
        pieces.insert(0, Piece(partial=captions, target=at, size_bytes=size_bytes, mtime_ns=mtime_ns))
    return pieces


def captions_ending(receipt: Mapping[str, Any]) -> str:
    """Return what the file with captions ends in, as the child's receipt tells; "" when it wrote none."""
    file = (receipt.get("captions") or {}).get("file") or {}
    return _CAPTIONS.get(file.get("ending") or "", "")


def publish_all(pieces: Sequence[Piece]) -> bool:
    """
    Give each piece its final name, the output last; False when one of the names is taken: then none has it.

    Raises:
        OSError: the file system refuses; what had got its name has given it back, if that could be done.
    """
    for number, piece in enumerate(pieces):
        try:
            done = publish(piece.partial, piece.target)
        except OSError:
            if piece is not pieces[-1] or not piece.published:
                _take_back(pieces[: number + 1])
            raise
        if not done:
            _take_back(pieces[:number])
            return False
    return True


def finish_all(pieces: Sequence[Piece]) -> bool:
    """
    Complete what a crash cut off in `publish_all`; False when it cannot be, and then no piece has its final name.

    An output that is there is done: what belongs beside it was there before, and may have been removed since.
    """
    if pieces[-1].published:
        for piece in pieces:
            if not piece.finish():
                piece.partial.unlink(missing_ok=True)
        return True
    for piece in pieces:
        if not piece.finish():
            _take_back(pieces[:-1])
            return False
    return True


def _take_back(pieces: Sequence[Piece]) -> None:
    for piece in pieces:
        with contextlib.suppress(OSError):
            piece.take_back()


def write_receipt(path: Path, receipt: Mapping[str, Any]) -> None:
    """Put the receipt on the disk, whole or not at all: beside, fsync, replace, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(receipt, file, indent=2, ensure_ascii=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)
