"""
`encoderd-host collect`: one file with a redacted copy of everything that this host's facts were read from.

Another machine judges it as this one would (`encoderd-host check --root FILE`). What is in it is not listed anywhere:
the facts are gathered through a root that remembers what it was asked for, so no source can be forgotten.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderd import __version__
from encoderd.errors import EncoderdError
from encoderd.host.pseudonyms import Pseudonyms
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.recording import Entry, Kind, Recording, RecordingRoot, parents
from encoderd.host.redaction import Redactor
from encoderd.host.settings import HostSettings
from encoderd.root import Root

SCHEMA = 1
#: What is in the archive: this file, and the tree below this folder.
MANIFEST, TREE = "collected.json", "root"
#: Open files that are no devices tell nothing but that there are some.
_FD = re.compile(r"/proc/\d+/fd/\d+")
_TELLING = ("/dev/", "anon_inode:")
_PLAIN_TARGET = re.compile(r"(?:\.\./)*(?:\.\.|\.|(?!\.\.?(?:/|$))[^/\0]+(?:/(?!\.\.?(?:/|$))[^/\0]+)*)")
_NOT_TELLING = ("/dev/shm/", "/dev/pts/")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedFile:
    """What was written: where, how large, how many files and folders it has, and what a reader should know of it."""

    path: Path
    size_bytes: int
    entries: int
    notes: tuple[str, ...] = ()


def collect(
    root: Root,
    settings: HostSettings,
    target: Path,
    *,
    gather: Callable[[Root], Any],
    qemu: QemuProperties | None = None,
    learnt: Callable[[Any], Mapping[str, Any]] = lambda _facts: {},
) -> CollectedFile:
    """
    Gather the facts of the host below `root` and write their sources, redacted, to the new file `target`.

    `gather` is what gathers (facts.gather with its settings bound); `qemu` is what the binary said of itself; `learnt`
    takes from the facts what was learnt by trying, and not by reading.

    Raises:
        EncoderdError: there is such a file already, or it cannot be written.
    """
    recorder = RecordingRoot(root.folder)
    facts = gather(recorder)
    redactor = Redactor(Pseudonyms(private_words(root, settings)))
    tried = json.dumps(learnt(facts), default=str)
    for _ in range(2):  # a name that is learnt late counts for what came early
        tree = redacted_tree(recorder.recording, redactor)
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "encoderd": __version__,
            "by_root": os.geteuid() == 0,
            "absent": sorted({redactor.folder(path) for path in recorder.recording.absent if not _FD.match(path)}),
            "links": tree.links,
            "sizes": tree.sizes,
            "settings": redactor.settings(settings.model_dump(mode="json")),
            "qemu": None if qemu is None else json.loads(qemu.to_json()),
            "learnt": json.loads(redactor.text(tried)),
        }
    data = _archive(tree, manifest)
    _write_new(target, data)
    notes = () if os.geteuid() == 0 else ("not root: open files of other users and some tables are missing in it",)
    return CollectedFile(path=target, size_bytes=len(data), entries=len(tree.entries), notes=notes)


def private_words(root: Root, settings: HostSettings) -> dict[str, list[str]]:
    """Return names that count wherever they stand: of this host, of its users, of its guests."""
    hosts = [root.text(path).strip() for path in ("/proc/sys/kernel/hostname", "/etc/hostname")]
    hosts += [host.partition(".")[0] for host in hosts] + [root.text("/etc/machine-id").strip()]
    users: list[str] = root.names("/home")
    for line in root.text("/etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) >= 7 and fields[2].isdecimal() and 1000 <= int(fields[2]) < 60_000:
            users += [fields[0], *re.findall(r"\w{3,}", fields[4])]
    guests = [name.removesuffix(".xml") for name in root.names("/etc/libvirt/qemu") if name.endswith(".xml")]
    for name in root.names("/etc/pve/qemu-server"):
        guests += re.findall(r"(?m)^name:\s*(\S+)", root.text(f"/etc/pve/qemu-server/{name}"))
    return {"host": hosts, "user": users, "vm": [settings.vm.name, *guests]}


@dataclass(slots=True)
class RedactedTree:
    """
    `links` are those that cannot be links in an archive: absolute ones, and what only looks like one ("socket:[1]").
    `sizes` are those of files that were not read to their end.
    """

    entries: dict[str, Entry]
    links: dict[str, str]
    sizes: dict[str, int]


def redacted_tree(recording: Recording, redactor: Redactor) -> RedactedTree:
    """Return what is worth keeping of a recording, each file without what identifies people and machines."""
    tree = RedactedTree({}, {}, {})
    for path, entry in _worth_keeping(recording):
        shown = redactor.folder(path) if entry.kind is Kind.FOLDER else redactor.path(path)
        kept = tree.entries.get(shown)
        if kept is not None and (kept.kind is not Kind.FILE or kept.data):
            continue  # two that were told apart by what was private only
        if entry.kind is Kind.LINK:
            tree.entries[shown] = _link(path, shown, entry, recording, redactor, tree.links)
            continue
        data = redactor.content(path, entry.data)
        tree.entries[shown] = Entry(kind=entry.kind, data=data, mode=entry.mode)
        if entry.size_bytes is not None and entry.size_bytes != len(data):
            tree.sizes[shown] = entry.size_bytes
    for path in list(tree.entries):
        for folder in parents(path):
            tree.entries.setdefault(folder, Entry(kind=Kind.FOLDER))
    return tree


def _worth_keeping(recording: Recording) -> Iterator[tuple[str, Entry]]:
    """Of a process's open files that are no devices one is enough."""
    told: set[str] = set()
    for path, entry in sorted(recording.entries.items()):
        telling = entry.target.startswith(_TELLING) and not entry.target.startswith(_NOT_TELLING)
        if _FD.fullmatch(path) and entry.kind is Kind.LINK and not telling:
            folder = posixpath.dirname(path)
            if folder in told:
                continue
            told.add(folder)
        yield path, entry


def _link(
    path: str, shown: str, entry: Entry, recording: Recording, redactor: Redactor, links: dict[str, str]
) -> Entry:
    """A relative link to another entry stays one; of all others the archive holds a file, and the words beside it."""
    folder = posixpath.dirname(path)
    if _FD.fullmatch(path) and not entry.target.startswith(_TELLING):
        links[shown] = entry.target if re.fullmatch(r"\w+:\[\d+\]", entry.target) else "/file"
        return Entry(kind=Kind.FILE)
    inside = posixpath.normpath(posixpath.join(folder, entry.target))
    if entry.target.startswith("/"):
        links[shown] = redactor.link(entry.target)
        if inside not in recording.entries:
            return Entry(kind=Kind.FILE)
    elif re.fullmatch(r"[\w-]+:\[?[\w-]+\]?", entry.target) or "/ns/" in path:
        links[shown] = redactor.link(entry.target)
        return Entry(kind=Kind.FILE)
    if redactor.path(inside) == inside and shown == path and is_plain_target(entry.target):
        return Entry(kind=Kind.LINK, target=entry.target)
    return Entry(kind=Kind.LINK, target=posixpath.relpath(redactor.path(inside), posixpath.dirname(shown)))


def is_plain_target(target: str) -> bool:
    """
    Does a relative link go up some folders and then down, and nowhere else?

    What comes after a ".." of a folder that is itself a link cannot be foreseen.
    """
    return _PLAIN_TARGET.fullmatch(target) is not None


def _archive(tree: RedactedTree, manifest: Mapping[str, Any]) -> bytes:
    """Pack without dates, users and names of this machine."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, MANIFEST, Entry(kind=Kind.FILE, data=json.dumps(manifest, indent=1).encode()))
        for path, entry in sorted(tree.entries.items()):
            if path != "/":
                _add(archive, f"{TREE}{path}", entry)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, entry: Entry) -> None:
    member = tarfile.TarInfo(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    member.mode = 0o755 if entry.kind is Kind.FOLDER else 0o644
    if entry.mode is not None:
        member.mode = entry.mode & 0o777
    if entry.kind is Kind.FOLDER:
        member.type = tarfile.DIRTYPE
    elif entry.kind is Kind.LINK:
        member.type, member.linkname = tarfile.SYMTYPE, entry.target
    else:
        member.size = len(entry.data)
    archive.addfile(member, io.BytesIO(entry.data) if member.isreg() else None)


def _write_new(target: Path, data: bytes) -> None:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
    except FileExistsError:
        raise EncoderdError(
            f"{target} exists; it is not replaced.", remedy="Choose another name, or delete it."
        ) from None
    except OSError as error:
        raise EncoderdError(
            f"{target} cannot be written: {error.strerror}.", remedy="Name a file in a folder that you may write to."
        ) from error


def learnt_of(facts: Any) -> dict[str, Any]:
    """Return what trying said of a host: /dev/kvm's answer, and which processor model started. {} of a recorded one."""
    platform = facts.platform
    start = platform.kvm_start
    return {"kvm": str(platform.kvm), "kvm_start": None if start is None else dataclasses.asdict(start)}
