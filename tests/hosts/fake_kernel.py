"""
A kernel in a folder: what Linux does when sysfs's PCI files are written, on a `HostTree`.

Its rules are the table in `semantics.py`, which is run on it and, in the nested machine, on a real kernel. Beyond the
table it has switches for what goes wrong: see `fail`, `lies`, `udev_after`, `after_operation`.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from encoderd.errors import EncoderdError
from encoderd.host.kernel import KernelHangs, KernelRefused
from encoderd.root import Root
from tests.hosts.tree import HostTree

DEVICES = "/sys/bus/pci/devices"
DRIVERS = "/sys/bus/pci/drivers"

#: A sysfs file is a page at most: PAGE_SIZE, base/driver.c, driver_set_override.
PAGE_BYTES = 4096

#: What may be loaded: module → driver folders that appear with it.
MODULES = {"vfio-pci": ("vfio-pci",), "vfio_iommu_type1": (), "pci-stub": ("pci-stub",)}


@dataclass(kw_only=True)
class Failure:
    """A write to a path that ends so answers `number`, `times` times, after `skip` that go through."""

    path: str
    number: int
    times: int = 1
    skip: int = 0


@dataclass
class FakeKernel:
    """
    Implements `Kernel` on a tree.

    `ids` says which drivers know a device by its ids, by address: at first the one it is bound to. `modules` are those
    that modprobe finds. `log` has every operation, also those that fail: ("write", path, data), ("module", name, "").
    `operations` counts them; `after_operation` is called after each with that count (tests kill the process there).
    `before_write` is called before each write with path and data (tests let somebody else act there).
    """

    tree: HostTree
    ids: dict[str, set[str]] = field(default_factory=dict)
    modules: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(MODULES))
    log: list[tuple[str, str, str]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    lies: int = 0  #: that many drivers_probe succeed and bind nothing, whatever they should do
    udev_after: int = 0  #: /dev/vfio/N appears only after that many pauses
    after_operation: Callable[[int], None] = lambda count: None
    before_write: Callable[[str, str], None] = lambda path, data: None
    operations: int = 0
    paused_s: float = 0.0

    def __post_init__(self) -> None:
        self._waiting: list[tuple[str, str]] = []  # (driver, device) whose unbind waits for a holder
        self._late: dict[str, int] = {}  # node → pauses until udev makes it
        memory = Path(str(self.tree.folder) + ".kernel")  # what this kernel knows, beside what it shows
        self._memory = memory
        for address in self.root.names(DEVICES):
            driver = self._driver_of(address)
            known = memory / address / "ids"
            if known.exists():
                self.ids.setdefault(address, set(known.read_text().split()))
            elif address not in self.ids:
                self.ids[address] = {driver} - {"vfio-pci", "pci-stub", ""}
        for address, drivers in self.ids.items():
            (memory / address).mkdir(parents=True, exist_ok=True)
            (memory / address / "ids").write_text(" ".join(sorted(drivers)))
        self.tree.make("/dev/vfio")
        if not self.boot_id:
            self.reboot("5f0b6c1e-0000-4000-8000-000000000001")
        for name in self.root.names(DRIVERS):
            if not self.tree.at(f"{DRIVERS}/{name}/remove_id").exists():
                self.tree.driver(name)

    # --- Kernel

    @property
    def root(self) -> Root:
        return self.tree.root

    @property
    def boot_id(self) -> str:
        return self.root.text("/proc/sys/kernel/random/boot_id").strip()

    @property
    def release(self) -> str:
        return self.root.text("/proc/sys/kernel/osrelease").strip() or "6.1.0-test"

    def write(self, path: str, data: str, limit_s: float) -> None:
        self.before_write(path, data)
        self.log.append(("write", path, data))
        try:
            self.settle()
            self._fail_as_told(path)
            self._write(path, data, limit_s)
        finally:
            self._counted()

    def load_module(self, name: str, limit_s: float) -> None:
        del limit_s
        if self.root.exists(f"/sys/module/{name.replace('-', '_')}"):
            return
        self.log.append(("module", name, ""))
        if name not in self.modules:
            raise EncoderdError(
                f"modprobe {name} failed (1): not found", remedy=f"See what it says: modprobe -v {name}"
            )
        self.tree.make(f"/sys/module/{name.replace('-', '_')}")
        for driver in self.modules[name]:
            self.tree.driver(driver)
            for address in self.root.names(DEVICES):  # a new driver is offered every device that has none
                if not self._driver_of(address):
                    self._attach(address)
        self._counted()

    def pause(self, seconds: float) -> None:
        self.paused_s += seconds
        for node in list(self._late):
            self._late[node] -= 1
            if self._late[node] <= 0:
                del self._late[node]
                self.tree.write(node, "")
        self.settle()

    # --- for tests

    def fail(self, path: str, number: int, *, times: int = 1, skip: int = 0) -> None:
        """Let writes to a path that ends so fail."""
        self.failures.append(Failure(path=path, number=number, times=times, skip=skip))

    def reboot(self, boot_id: str) -> None:
        """Give the boot another name; what sysfs shows stays as the test made it."""
        self.tree.write("/proc/sys/kernel/random/boot_id", boot_id + "\n")

    def settle(self) -> None:
        """Let the unbinds that waited go through whose holders are gone."""
        for driver, address in list(self._waiting):
            if not self.holders(address):
                self._waiting.remove((driver, address))
                self._detach(address)

    @property
    def written(self) -> list[tuple[str, str]]:
        return [(path, data) for kind, path, data in self.log if kind == "write"]

    def holders(self, address: str) -> list[int]:
        """Who has the device's group open: processes of the tree."""
        node = f"/dev/vfio/{self._group_of(address)}"
        return [
            int(pid)
            for pid in self.root.names("/proc")
            if pid.isdigit()
            for number in self.root.names(f"/proc/{pid}/fd")
            if self.root.link(f"/proc/{pid}/fd/{number}") == node
        ]

    # --- the rules

    def _counted(self) -> None:
        self.operations += 1
        self.after_operation(self.operations)

    def _fail_as_told(self, path: str) -> None:
        for failure in self.failures:
            if path.endswith(failure.path) and failure.times > 0:
                if failure.skip > 0:
                    failure.skip -= 1
                    continue
                failure.times -= 1
                raise KernelRefused(path, failure.number)

    def _write(self, path: str, data: str, limit_s: float) -> None:
        real = self.root.real(path)
        if not self.root.exists(real):
            raise KernelRefused(path, errno.ENOENT)
        folder, _, file = real.rpartition("/")
        if file == "driver_override":
            self._override(path, folder, data)
        elif real == "/sys/bus/pci/drivers_probe":
            self._probe(path, data.rstrip("\n"))
        elif folder.startswith(f"{DRIVERS}/") and file in {"bind", "unbind", "new_id", "remove_id"}:
            driver = folder.removeprefix(f"{DRIVERS}/")
            match file:
                case "bind":
                    self._bind(path, driver, data.rstrip("\n"))
                case "unbind":
                    self._unbind(path, driver, data.rstrip("\n"), limit_s)
                case _:
                    self._id(path, driver, file, data)
        elif folder.startswith("/sys/class/vtconsole/") and file == "bind":
            self.tree.write(real, data.strip() + "\n")
        else:  # sysfs lets nobody write where no mode does, not even root
            raise KernelRefused(path, errno.EACCES)

    def _override(self, path: str, folder: str, data: str) -> None:
        data = data[:PAGE_BYTES]  # one write(2) hands over a page at most
        if not data:
            return
        if len(data.encode()) >= PAGE_BYTES - 1:
            raise KernelRefused(path, errno.EINVAL)
        self.tree.write(f"{folder}/driver_override", (data.split("\n")[0] or "(null)") + "\n")

    def _probe(self, path: str, address: str) -> None:
        if not self.root.exists(f"{DEVICES}/{address}"):
            raise KernelRefused(path, errno.ENODEV)
        if self.lies > 0:
            self.lies -= 1
        elif not self._driver_of(address):
            self._attach(address)

    def _bind(self, path: str, driver: str, address: str) -> None:
        if not self.root.exists(f"{DEVICES}/{address}") or not self._matches(driver, address):
            raise KernelRefused(path, errno.ENODEV)
        if self._driver_of(address):
            raise KernelRefused(path, errno.EBUSY)
        if not self._started(driver, address):
            raise KernelRefused(path, errno.EINVAL)

    def _unbind(self, path: str, driver: str, address: str, limit_s: float) -> None:
        if not self.root.exists(f"{DEVICES}/{address}") or self._driver_of(address) != driver:
            raise KernelRefused(path, errno.ENODEV)
        if driver == "vfio-pci" and self.holders(address):
            self._waiting.append((driver, address))
            raise KernelHangs(path, 4242, "S", limit_s)
        self._detach(address)

    def _id(self, path: str, driver: str, file: str, data: str) -> None:
        known = self._memory / f"{driver}.ids"
        ids = known.read_text().splitlines() if known.exists() else []
        if (data.strip() in ids) == (file == "new_id"):
            raise KernelRefused(path, errno.EEXIST if file == "new_id" else errno.ENODEV)
        ids = [*ids, data.strip()] if file == "new_id" else [other for other in ids if other != data.strip()]
        known.write_text("\n".join(ids))

    def _attach(self, address: str) -> None:
        """Offer the device to the drivers that match, until one starts."""
        for driver in self.root.names(DRIVERS):
            if self._matches(driver, address) and self._started(driver, address):
                return

    def _matches(self, driver: str, address: str) -> bool:
        override = self.root.text(f"{DEVICES}/{address}/driver_override").strip()
        if override != "(null)":
            return driver == override
        return driver in self.ids.get(address, set())

    def _started(self, driver: str, address: str) -> bool:
        """Bind, if the driver can start on the device; what appears with it."""
        folder = f"{DEVICES}/{address}"
        if driver == "vfio-pci":
            group = self._group_of(address)
            if not group or self.root.text(f"{folder}/class").startswith("0x0604"):
                return False
            node = f"/dev/vfio/{group}"
            if not self.root.exists(node):
                if self.udev_after:
                    self._late[node] = self.udev_after
                else:
                    self.tree.write(node, "")
        self.tree.link(f"{folder}/driver", f"{DRIVERS}/{driver}")
        self.tree.link(f"{DRIVERS}/{driver}/{address}", folder)
        kept = self._memory / address / driver
        if kept.exists():
            shutil.copytree(kept / "drm", self.tree.at(f"{folder}/drm"), dirs_exist_ok=True)
            for node in (kept / "nodes").read_text().split():
                self.tree.write(node, "")
        return True

    def _detach(self, address: str) -> None:
        """Let go; what disappears with it. Open DRM nodes do not stop it."""
        folder, driver, group = f"{DEVICES}/{address}", self._driver_of(address), self._group_of(address)
        if self.root.exists(f"{folder}/drm"):
            kept = self._memory / address / driver
            nodes = [f"/dev/dri/{name}" for name in self.root.names(f"{folder}/drm")]
            kept.mkdir(parents=True, exist_ok=True)
            (kept / "nodes").write_text("\n".join(nodes))
            shutil.copytree(self.tree.at(f"{folder}/drm"), kept / "drm", dirs_exist_ok=True)
            for node in nodes:
                self.tree.at(node).unlink(missing_ok=True)
            self.tree.remove(f"{folder}/drm")
        self.tree.at(f"{folder}/driver").unlink(missing_ok=True)
        self.tree.at(f"{DRIVERS}/{driver}/{address}").unlink(missing_ok=True)
        if driver == "vfio-pci":
            others = [name for name in self.root.names(f"/sys/kernel/iommu_groups/{group}/devices") if name != address]
            if not any(self._driver_of(name) == "vfio-pci" for name in others):
                self.tree.at(f"/dev/vfio/{group}").unlink(missing_ok=True)
                self._late.pop(f"/dev/vfio/{group}", None)

    def _driver_of(self, address: str) -> str:
        return self.root.link_name(f"{DEVICES}/{address}/driver") or ""

    def _group_of(self, address: str) -> str:
        return self.root.link_name(f"{DEVICES}/{address}/iommu_group") or ""


def snapshot(tree: HostTree) -> dict[str, str]:
    """Everything below /sys and /dev: path → text, or "→ target". Two are equal when nothing was changed."""
    found: dict[str, str] = {}
    for top in ("sys", "dev"):
        for folder, folders, files in os.walk(tree.folder / top):
            for name in sorted([*folders, *files]):
                place = Path(folder, name)
                key = f"/{place.relative_to(tree.folder)}"
                if place.is_symlink():
                    found[key] = f"→ {os.readlink(place)}"
                elif place.is_file():
                    found[key] = place.read_text(errors="replace")
                else:
                    found[key] = "/"
    return found
