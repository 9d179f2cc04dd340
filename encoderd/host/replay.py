"""
A recorded host, from a file of `encoderd-host collect` or from a folder, to be judged like the one it was.

The file may come from anybody: nothing of it is written outside of a folder made for it, nothing in it leads out of
that folder, and it cannot fill the disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import os
import posixpath
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from encoderd.errors import EncoderdError
from encoderd.host.collect import MANIFEST, SCHEMA, TREE, is_plain_target
from encoderd.host.kvm import Kvm, KvmStart
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.settings import HostSettings
from encoderd.root import Root

#: Unpacked, and in memory. A host with 500 processes makes 10 MiB.
MOST_BYTES, MOST_ENTRIES, MOST_NAME_BYTES = 128 * 2**20, 100_000, 1024
#: Sizes are given back as holes; more than any disk has.
_MOST_SIZE_BYTES = 2**46
Facts = TypeVar("Facts")


class ReplayRoot(Root):
    """Reads a recorded tree, with the links that it could not hold as links and the sizes of what was not read."""

    def __init__(self, folder: Path, links: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        super().__init__(folder)
        self._links, self._sizes = links, sizes

    def size_bytes(self, path: str) -> int:
        return self._sizes.get(self.real(path), super().size_bytes(path))

    def link(self, path: str) -> str:
        return self._told(path) or super().link(path)

    def link_name(self, path: str) -> str | None:
        told = self._told(path)
        return told.rpartition("/")[2] if told else super().link_name(path)

    def _told(self, path: str) -> str:
        if not self._links:
            return ""
        folder, name = posixpath.split("/" + path.strip("/"))
        return self._links.get(posixpath.join(self.real(folder), name), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """
    A recorded host. `settings` and `qemu` are those that were in force there, None where the recording has none;
    `learnt` is what trying said there (see `with_learnt`), `made_by` the version that recorded it.
    """

    root: Root
    settings: HostSettings | None = None
    qemu: QemuProperties | None = None
    learnt: Mapping[str, Any] = field(default_factory=dict)
    made_by: str = ""


@contextlib.contextmanager
def open_collected(path: Path, most_bytes: int = MOST_BYTES) -> Iterator[Recorded]:
    """
    Give a recorded host for the length of the block: a file that `collect` wrote, its unpacked folder, or any folder
    with proc and sys in it.

    Raises:
        EncoderdError: there is no such file or folder, or it is not what it should be.
    """
    if path.is_dir():
        yield _recorded(path) if (path / MANIFEST).is_file() else Recorded(root=Root(path))
        return
    with tempfile.TemporaryDirectory(prefix="encoderd-host-") as folder:
        try:
            _unpack(path, Path(folder), most_bytes)
        except FileNotFoundError:
            raise EncoderdError(
                f"There is no {path}.", remedy="Name a file that encoderd-host collect wrote, or a folder."
            ) from None
        except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
            raise _not_ours(path, str(error)) from error
        yield _recorded(Path(folder))


def with_learnt(facts: Facts, learnt: Mapping[str, Any]) -> Facts:
    """Return the host's facts (facts.HostFacts) with what trying said where it was recorded."""
    platform: Any = facts.platform  # type: ignore[attr-defined]  # HostFacts, or a test's
    with contextlib.suppress(ValueError, TypeError, KeyError):
        start = learnt["kvm_start"]
        platform = dataclasses.replace(
            platform, kvm=Kvm(learnt["kvm"]), kvm_start=None if start is None else KvmStart(**start)
        )
    return dataclasses.replace(facts, platform=platform)  # type: ignore[type-var]


def _recorded(folder: Path) -> Recorded:
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            raise ValueError(f"it has no {MANIFEST} of a kind that is known here")
        links, sizes = manifest.get("links", {}), manifest.get("sizes", {})
        for table, kind in ((links, str), (sizes, int)):
            if not isinstance(table, dict) or not all(isinstance(value, kind) for value in table.values()):
                raise ValueError(f"{MANIFEST} has links or sizes that are none")
        qemu, learnt = manifest.get("qemu"), manifest.get("learnt")
        return Recorded(
            root=ReplayRoot(folder / TREE, links, sizes),
            settings=HostSettings.model_validate(manifest["settings"]) if "settings" in manifest else None,
            qemu=QemuProperties.from_json(json.dumps(qemu)) if qemu is not None else None,
            learnt=learnt if isinstance(learnt, dict) else {},
            made_by=str(manifest.get("encoderd", ""))[:40],
        )
    except (OSError, ValueError, RecursionError, EncoderdError) as error:
        raise _not_ours(folder, str(error)) from error


def _not_ours(path: Path, reason: str) -> EncoderdError:
    return EncoderdError(
        f"{path} is no recording of a host: {' '.join(reason.split())[:200]}.",
        remedy="Make one on that host: encoderd-host collect FILE",
    )


def _unpack(path: Path, folder: Path, most_bytes: int) -> None:
    """Write folders and files, then links, so that nothing is ever written through a link."""
    links: list[tuple[str, str]] = []
    with gzip.open(path) as packed:
        data = packed.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError("it is larger than any recording")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for entries, member in enumerate(archive):
            if entries > MOST_ENTRIES or not 0 <= member.size <= most_bytes:
                raise ValueError("it is larger than any recording")
            name = _safe_name(member.name)
            place = folder / name
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            elif member.issym():
                _check_target(name, member.linkname)
                links.append((name, member.linkname))
            elif member.isreg():
                source = archive.extractfile(member)
                place.parent.mkdir(parents=True, exist_ok=True)
                with open(place, "xb") as file:
                    file.write(source.read(member.size) if source is not None else b"")
                place.chmod(member.mode & 0o777 | 0o400)
            else:
                raise ValueError(f"{name} is neither file, folder nor link")
    _restore_sizes(folder)
    for name, target in links:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    for name, _ in links:
        if any((folder / above).is_symlink() for above in parents_of(name)):
            raise ValueError(f"{name} lies below a link")


def parents_of(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


def _safe_name(name: str) -> str:
    parts = name.rstrip("/").split("/")
    if len(name.encode("utf-8", "surrogateescape")) > MOST_NAME_BYTES or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"it has a file that would lie elsewhere: {name[:80]!r}")
    if parts[0] not in (TREE, MANIFEST):
        raise ValueError(f"it has a file of another kind: {name[:80]!r}")
    return "/".join(parts)


def _check_target(name: str, target: str) -> None:
    """A link may climb as far as the tree's own root, and no further."""
    ups = re.match(r"(?:\.\.(?:/|$))*", target)
    climbs = len(ups[0].split("..")) - 1 if ups is not None else 0
    if not is_plain_target(target) or climbs > name.count("/") - 1 or len(target) > MOST_NAME_BYTES:
        raise ValueError(f"it has a link that leads elsewhere: {name[:80]!r} → {target[:80]!r}")


def _restore_sizes(folder: Path) -> None:
    """Large files were not read as a whole: they get their size as a hole."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sizes = json.loads((folder / MANIFEST).read_text("utf-8")).get("sizes", {})
        for path, size_bytes in sizes.items():
            if path.startswith(("/proc/", "/sys/")):
                continue  # a page, whatever is in it
            place = folder / TREE / _safe_name(f"{TREE}{path}").partition("/")[2]
            if isinstance(size_bytes, int) and 0 < size_bytes <= _MOST_SIZE_BYTES and place.is_file():
                with contextlib.suppress(OSError):
                    os.truncate(place, max(size_bytes, place.stat().st_size))
