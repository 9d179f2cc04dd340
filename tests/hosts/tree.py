"""A host in a folder: the files of /proc, /sys and /dev that the helper reads, put there one by one."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from encoderd.root import Root


class HostTree:
    """
    Builds below `folder`. Paths are absolute, as on the host ("/proc/cmdline").

    Links are relative like sysfs's own, and point to folders that exist: `driver` into /sys/bus/pci/drivers,
    `iommu_group` into /sys/kernel/iommu_groups (where `devices/` lists the members).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = Root(folder)

    def at(self, path: str) -> Path:
        return self.folder / path.lstrip("/")

    def write(self, path: str, data: str | bytes) -> None:
        target = self.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data if isinstance(data, bytes) else data.encode())

    def make(self, path: str) -> None:
        """Make a folder."""
        self.at(path).mkdir(parents=True, exist_ok=True)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, or replace it; an absolute `target` below the tree becomes a relative one."""
        place = self.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if target.startswith("/sys/"):
            above = Path(*[".."] * (len(Path(path).parts) - 2))
            target = str(above / target.lstrip("/"))
        place.symlink_to(target)

    def remove(self, path: str) -> None:
        place = self.at(path)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()

    # --- what a host is made of

    def driver(self, name: str, bus: str = "pci") -> None:
        """Load a driver: its folder with the files that are written to."""
        for file in ("bind", "unbind", "new_id", "remove_id"):
            self.write(f"/sys/bus/{bus}/drivers/{name}/{file}", "")
        self.write("/sys/bus/pci/drivers_probe", "")

    def device(
        self,
        address: str,
        vendor: int,
        device: int,
        class_code: int,
        *,
        driver: str | None = None,
        group: int | None = None,
        files: Mapping[str, str] | None = None,
        drm: Iterable[str] = (),
    ) -> str:
        """
        Add a PCI device, or put another one in its place; returns its folder's path in the tree.

        `files` are further ones in its folder ("boot_vga": "1\\n"); `drm` its nodes ("card0", "renderD128").
        """
        folder = f"/sys/bus/pci/devices/{address}"
        if self.at(folder).exists():
            self.remove(folder)
        for name, value in (
            ("vendor", f"{vendor:#06x}"),
            ("device", f"{device:#06x}"),
            ("class", f"{class_code:#08x}"),
        ):
            self.write(f"{folder}/{name}", value + "\n")
        self.write(f"{folder}/driver_override", "(null)\n")
        for name, text in (files or {}).items():
            self.write(f"{folder}/{name}", text)
        for node in drm:
            self.make(f"{folder}/drm/{node}")
            self.write(f"/dev/dri/{node}", "")
        if driver is not None:
            self.driver(driver)
            self.link(f"{folder}/driver", f"/sys/bus/pci/drivers/{driver}")
            self.link(f"/sys/bus/pci/drivers/{driver}/{address}", folder)
        if group is not None:
            self.make(f"/sys/kernel/iommu_groups/{group}/devices")
            self.link(f"{folder}/iommu_group", f"/sys/kernel/iommu_groups/{group}")
            self.link(f"/sys/kernel/iommu_groups/{group}/devices/{address}", folder)
        return folder

    def process(self, pid: int, name: str, files: Mapping[int, str], cgroup: str = "/") -> None:
        """Add a process: its name, its open files by descriptor, its cgroup (v2 path)."""
        self.write(f"/proc/{pid}/comm", name + "\n")
        self.write(f"/proc/{pid}/cmdline", name + "\0")
        self.write(f"/proc/{pid}/cgroup", f"0::{cgroup}\n")
        self.make(f"/proc/{pid}/fd")
        for number, path in files.items():
            self.at(f"/proc/{pid}/fd/{number}").symlink_to(path)
