"""
From a verified partial file to a published one: names, space, the rename that never overwrites.

Order: fsync of the file (the child did it), rename without overwriting, fsync of the folder. Only then is it done.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from encoderd.encode.failures import Place, device, no_space

#: The longest file name that Linux file systems take, in bytes.
LONGEST_NAME = 255
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_PARTIAL = ".encoderd-{job}.partial"


def partial_path(output: Path, relative_path: str, job: int) -> Path:
    """Return where job `job` writes: a hidden file beside its target. The name is the same at every attempt."""
    source = Path(relative_path)
    ending = _PARTIAL.format(job=job)
    return output / source.parent / ("." + _cut(source.stem, LONGEST_NAME - 1 - len(ending)) + ending)


def job_of_partial(name: str) -> int | None:
    """Return the job that wrote a file of this name, None when the name is not one of ours."""
    head, found, tail = name.rpartition(".encoderd-")
    number = tail.removesuffix(".partial")
    ours = found and head.startswith(".") and tail.endswith(".partial") and number.isascii() and number.isdigit()
    return int(number) if ours else None


def targets(output: Path, relative_path: str, container: str) -> Iterator[Path]:
    """Yield the names a recording's output may get, best first: "x.mp4", "x (2).mp4", "x (3).mp4", …"""
    source = Path(relative_path)
    number = 1
    while True:
        ending = (f" ({number})" if number > 1 else "") + f".{container}"
        yield output / source.parent / (_cut(source.stem, LONGEST_NAME - len(ending)) + ending)
        number += 1


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
