"""
What was done to a device and how to undo it, on disk before the first write; and who may do it at a time.

One file per taken device and its IOMMU group: state_dir/journal/0000:00:02.0.json. It is of one boot only: what sysfs
was told is gone after the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from encoderd.errors import EncoderdError, SettingsError
from encoderd.host.binding import Endpoint
from encoderd.pci import PciAddress

SCHEMA = 1

#: A journal is a few hundred bytes; more is something else's file.
_MOST_BYTES = 2**20


class JournalUnreadable(EncoderdError):
    """A journal cannot be understood; the file stays where it is."""


class HelperBusy(EncoderdError):
    """Another helper is at it."""


class Phase(StrEnum):
    TAKING = "taking"  #: -> taken, when all devices are with vfio-pci; -> giving, when that fails
    TAKEN = "taken"  #: -> giving
    GIVING = "giving"  #: -> no journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """
    One device that was asked for, with all of its group that went with it.

    `records` say how each endpoint stood before; `consoles` are the vtconsoles to hand back; `is_gpu` says that it was
    asked for as the GPU, not as a [[pci]] device; `vm` is for whom, and `pid` the helper that wrote it.
    """

    address: PciAddress
    vm: str
    group: int
    records: tuple[Endpoint, ...]
    consoles: tuple[str, ...]
    is_gpu: bool
    boot_id: str
    release: str
    phase: Phase
    pid: int

    @property
    def addresses(self) -> tuple[PciAddress, ...]:
        return tuple(record.address for record in self.records)

    def at(self, phase: Phase) -> Journal:
        return replace(self, phase=phase, pid=os.getpid())


class Journals:
    """The journals in a folder. Each change is on disk (fsync of file and folder) when its method returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, address: PciAddress) -> Path:
        return self.folder / f"{address}.json"

    def read(self, address: PciAddress) -> Journal | None:
        """
        Return the journal of a device that was asked for by this address.

        Raises:
            JournalUnreadable: it is torn, of a newer encoderd, or not a journal of this device.
        """
        path = self.path(address)
        try:
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalUnreadable(
                f"The journal {path} cannot be read ({error.strerror}).", remedy="Run this as root."
            ) from error
        try:
            content = json.loads(data)
            if isinstance(content, dict) and isinstance(content.get("schema"), int) and content["schema"] > SCHEMA:
                raise JournalUnreadable(
                    f"The journal {path} was written by a newer encoderd (schema {content['schema']}, this one knows "
                    f"{SCHEMA}).",
                    remedy="Use that version to give the device back; after a reboot the file is not needed.",
                )
            journal = _parsed(content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SettingsError) as error:
            raise JournalUnreadable(
                f"The journal {path} is damaged ({type(error).__name__}), so the device's own driver is not known.",
                remedy=f"See who has it: lspci -nnks {address} . A reboot sets all right; then: mv {path} {path}.bad",
            ) from error
        if journal.address != address:
            raise JournalUnreadable(
                f"The journal {path} is about {journal.address}: somebody copied or renamed it.",
                remedy=f"Give it its own name back, or put it aside: mv {path} {path}.bad",
            )
        return journal

    def addresses(self) -> list[PciAddress]:
        """Return the devices that have a journal, readable or not."""
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except OSError:
            return []
        found = []
        for name in names:
            with contextlib.suppress(SettingsError):
                if name.endswith(".json"):
                    found.append(PciAddress.parse(name.removesuffix(".json")))
        return found

    def about(self, address: PciAddress) -> Journal | None:
        """
        Return the journal that a device is part of, under whatever address it was asked for.

        Raises:
            JournalUnreadable: the device's own journal; another's that cannot be read is passed over.
        """
        own = self.read(address)
        if own is not None:
            return own
        for other in self.addresses():
            with contextlib.suppress(JournalUnreadable):
                journal = self.read(other)
                if journal is not None and address in journal.addresses:
                    return journal
        return None

    def write(self, journal: Journal) -> None:
        path = self.path(journal.address)
        temporary = path.with_suffix(".json.tmp")
        with _translated(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(_content(journal), file, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            self._settle_folder()

    def drop(self, address: PciAddress) -> None:
        path = self.path(address)
        with _translated(path):
            path.with_suffix(".json.tmp").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            self._settle_folder()

    def sweep(self) -> None:
        """Take away what a helper left that was killed while it wrote: the journal itself is never half."""
        for path in self.folder.glob("*.json.tmp"):
            path.unlink(missing_ok=True)

    def put_aside(self, address: PciAddress, word: str) -> Path:
        """Move a journal to old/, under a free name with `word` in it; nothing is lost. Returns where it is now."""
        old = self.folder / "old"
        names = (old / f"{address}-{word}{f'-{number}' if number else ''}.json" for number in range(10_000))
        with _translated(self.path(address)):
            old.mkdir(parents=True, exist_ok=True)
            target = next(path for path in names if not path.exists())
            self.path(address).replace(target)
            self._settle_folder()
        return target

    def _settle_folder(self) -> None:
        if not self.folder.is_dir():
            return
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EncoderdError(
            f"The journal {path} cannot be written ({error.strerror}).",
            remedy="Make room in vm.state_dir, or run this as root: without a journal nothing is taken or given.",
        ) from error


@contextlib.contextmanager
def locked(paths: Iterable[Path]) -> Iterator[None]:
    """
    Hold these lock files, or none.

    Children that write to sysfs inherit them (`LiveKernel`), so they are held until the last write has ended.

    Raises:
        HelperBusy: another process holds one; nothing was waited for.
    """
    with contextlib.ExitStack() as held:
        for path in paths:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            except OSError as error:
                raise EncoderdError(
                    f"The lock {path} cannot be made ({error.strerror}).", remedy="Run this as root; see vm.run_dir."
                ) from error
            held.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise _busy(path, descriptor) from error
            os.set_inheritable(descriptor, True)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield


def _busy(path: Path, descriptor: int) -> HelperBusy:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    if text.isdecimal() and not Path(f"/proc/{text}").exists():
        return HelperBusy(
            f"A write of the helper with PID {text} still waits in the kernel, though that helper has ended ({path}).",
            remedy="Stop what uses the device: it goes on then. See: encoderd-host status",
        )
    return HelperBusy(
        f"The helper with PID {text or '?'} is at it ({path}).", remedy="Wait for it to end; see: encoderd-host status"
    )


def _content(journal: Journal) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "address": str(journal.address),
        "vm": journal.vm,
        "group": journal.group,
        "phase": journal.phase.value,
        "is_gpu": journal.is_gpu,
        "boot_id": journal.boot_id,
        "release": journal.release,
        "pid": journal.pid,
        "consoles": list(journal.consoles),
        "records": [
            {
                "address": str(record.address),
                "class_code": record.class_code,
                "driver": record.driver,
                "module": record.module,
                "override": record.override,
                "drm": list(record.drm),
            }
            for record in journal.records
        ],
    }


def _parsed(content: Any) -> Journal:
    if content["schema"] != SCHEMA:
        raise ValueError("no such schema")
    return Journal(
        address=PciAddress.parse(content["address"]),
        vm=_text(content["vm"]),
        group=_number(content["group"]),
        phase=Phase(content["phase"]),
        is_gpu=content["is_gpu"] is True,
        boot_id=_text(content["boot_id"]),
        release=_text(content["release"]),
        pid=_number(content["pid"]),
        consoles=tuple(_name(name) for name in content["consoles"]),
        records=tuple(
            Endpoint(
                address=PciAddress.parse(record["address"]),
                class_code=_number(record["class_code"]),
                driver=None if record["driver"] is None else _name(record["driver"]),
                module=_name(record["module"], may_be_empty=True),
                override=_name(record["override"], may_be_empty=True),
                drm=tuple(_name(name) for name in record["drm"]),
            )
            for record in content["records"]
        ),
    )


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("not a number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _name(value: object, *, may_be_empty: bool = False) -> str:
    """A name that becomes part of a path in sysfs: no way out of the folder."""
    text = _text(value)
    if "/" in text or "\n" in text or "\0" in text or text in {".", ".."} or not (text or may_be_empty):
        raise ValueError("not a name")
    return text
