"""
What the file system under a folder does to us: do events of other machines' writes arrive, can sizes be believed?

Parsing and judging are pure; `read_mountinfo` is the door.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from encoderd.findings import Finding, failed, passed, warned
from encoderd.jobs import readable

#: File systems whose every writer runs under our own kernel, so that inotify and leases see all of them. What is not
#: named here is taken for a share: then only scans and open descriptors count, which is slower and never wrong.
LOCAL = frozenset({
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "jfs", "msdos", "nilfs2", "ntfs3",
    "overlay", "ramfs", "reiserfs", "rootfs", "tmpfs", "udf", "vfat", "xfs", "zfs",
})  # fmt: skip

#: Bits of 9p's cache mode: metadata cached, no consistency with the host, persistent (fscache). The modes loose (0xf)
#: and fscache (0x8f) have them; none (0), readahead (1) and mmap (5) do not.
#: Source: Documentation/filesystems/9p.rst and enum p9_cache_bits in fs/9p/v9fs.h, Linux 6.4 and later.
_9P_BLIND_BITS = 0x02 | 0x08 | 0x80
_9P_MODES = {"none": 0, "readahead": 1, "mmap": 5, "loose": 0x0F, "fscache": 0x8F}

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mounted file system; `options` are the mount's own and then the file system's, as the kernel shows them."""

    point: str
    fs_type: str
    options: tuple[str, ...]


def parse_mountinfo(mountinfo: str) -> list[Mount]:
    r"""
    Read /proc/self/mountinfo, in its order; lines that are not mounts are left out.

    Source: proc_pid_mountinfo(5). Blanks, tabs, newlines and backslashes in a mount point are octal (`\040`).
    """
    mounts = []
    for line in mountinfo.split("\n"):
        fields, separator, rest = line.partition(" - ")
        own, theirs = fields.split(" "), rest.split(" ")
        if separator and len(own) >= 6 and len(theirs) >= 1:
            options = own[5].split(",") + (theirs[2].split(",") if len(theirs) > 2 else [])
            mounts.append(Mount(point=_unescape(own[4]), fs_type=theirs[0], options=tuple(filter(None, options))))
    return mounts


def mount_of(path: str, mountinfo: str) -> Mount:
    """
    Return the mount that `path` (absolute, links resolved) lies on: the longest mount point, and the last of several.

    Raises:
        ValueError: no mount holds it, which only an empty or foreign mountinfo can say.
    """
    holding = [mount for mount in parse_mountinfo(mountinfo) if _lies_in(path, mount.point)]
    if not holding:
        raise ValueError(f"no mount holds {path!r}")
    longest = max(len(mount.point) for mount in holding)
    return [mount for mount in holding if len(mount.point) == longest][-1]


def mounts_under(path: str, mountinfo: str) -> list[Mount]:
    """Return the mount that `path` lies on (none in a chroot that is no mount point), and those further down."""
    below = {mount.point: mount for mount in parse_mountinfo(mountinfo) if _lies_in(mount.point, path)}
    below.pop(path, None)
    with suppress(ValueError):
        return [mount_of(path, mountinfo), *below.values()]
    return list(below.values())


def events_reach_us(mount: Mount) -> bool:
    """
    Return whether inotify and leases tell of every writer.

    On 9p, virtiofs and NFS no event of the host's writes arrived in a guest (measured), although those of our own
    writes do. A lease there is worse than useless: NFSv4 and CIFS refuse it with the very errno that means "open for
    writing" whenever they hold no delegation or oplock (nfs4_setlease, cifs_setlease).
    """
    return mount.fs_type in LOCAL


def blind_reason(mount: Mount) -> str | None:
    """
    Return why the sizes seen on this mount may be frozen for ever, None if opening a file shows its true size.

    Measured: on 9p with cache=loose a growing file keeps the size of its first stat, whatever one does. On virtiofs
    with cache=always and on NFS a stat may be stale, but an open is not, and intake opens.
    """
    if mount.fs_type != "9p":
        return None
    for option in mount.options:
        if _9p_cache_bits(option) & _9P_BLIND_BITS:
            return f"9p with {option}"
    return None


def check_mount(folder: Path, mountinfo: str, *, allow_blind: bool = False) -> Finding:
    """
    Judge the mounts at and below `folder`: can intake see recordings grow there?

    `folder` is absolute, its links resolved. A mount that can hide growth fails, or warns with `allow_blind`.
    """
    path = str(folder)
    mounts = mounts_under(path, mountinfo)
    if not mounts:
        return warned("watch_mount", f"The kind of the file system is not known: no mount holds {readable(path)}")
    for mount in mounts:
        reason = blind_reason(mount)
        if reason is None:
            continue
        evidence = (
            f"{readable(mount.point)} is {reason}: a recording that grows on the host can keep its first size here, "
            "and half of it would be encoded"
        )
        remedy = f"Mount it with cache=none or cache=mmap: findmnt {readable(mount.point)}"
        if allow_blind:
            return warned("watch_mount", evidence, remedy)
        return failed("watch_mount", evidence, remedy + " (or set intake.allow_blind_mounts, if nothing grows there)")
    for mount in mounts:
        if mount.fs_type.startswith("nfs") and "nocto" in mount.options:
            return warned(
                "watch_mount",
                f"{readable(mount.point)} is NFS with nocto: an open does not ask the server for the size, "
                "which can be as old as the attribute cache (acregmax, 60 s by default)",
                "Mount it without nocto, or keep intake.settle_s well above acregmax",
            )
    kinds = ", ".join(sorted({mount.fs_type for mount in mounts}))
    seen_by = "events and scans" if all(map(events_reach_us, mounts)) else "scans; events do not reach us here"
    return passed("watch_mount", f"{readable(path)} is on {kinds}: recordings are seen by {seen_by}")


def read_mountinfo(file: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the kernel's list of our mounts; bytes that are not UTF-8 become lone surrogates, as in file names."""
    return file.read_bytes().decode("utf-8", "surrogateescape")


def _9p_cache_bits(option: str) -> int:
    """
    Read one option of a 9p mount as cache bits; 0 when it is not about the cache.

    Kernels show the mode as "loose" (before 6.4), "cache=loose" (6.4 on its way), "cache=f" (6.4 and later, hexadecimal
    without a prefix) and "cache=0xf" (the newest). What cannot be read is taken for the worst.
    """
    key, _, value = option.partition("=")
    if key in ("loose", "fscache") and not value:
        return _9P_MODES[key]
    if key != "cache":
        return 0
    if value in _9P_MODES:
        return _9P_MODES[value]
    try:
        return int(value, 16)
    except ValueError:
        return _9P_MODES["fscache"]


def _lies_in(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
