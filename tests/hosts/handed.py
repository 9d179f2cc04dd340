"""A host with a GPU and a tuner, and settings in the same folder: what the tests of the handover stand on."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoderd.host.handover import GiveResult, TakeResult, give, take_devices
from encoderd.host.settings import HostSettings
from encoderd.host.standing import Standing, standing
from encoderd.pci import PciAddress
from tests.hosts.fake_kernel import FakeKernel, snapshot
from tests.hosts.tree import HostTree

GPU = PciAddress.parse("0000:00:02.0")
TUNER = PciAddress.parse("0000:03:00.0")
SOUND = PciAddress.parse("0000:00:03.0")
GROUP, TUNER_GROUP = 1, 14


@functools.cache
def _settings() -> HostSettings:
    return HostSettings.model_validate({"pci": [{"address": str(address)} for address in (TUNER, SOUND)]})


@dataclass
class HandedHost:
    """
    `folder` holds the host's tree, the run folder and the state folder. The GPU has the text console; with `sound` its
    sound device is in its group, and [[pci]] names it. Opened again on the same folder, it finds all as it was left.
    """

    folder: Path
    sound: bool = False
    loaded: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tree = HostTree(self.folder / "host")
        if not self.tree.folder.exists():
            self._build()
        self.kernel = FakeKernel(self.tree)
        base = _settings()
        vm = base.vm.model_copy(update={"run_dir": self.folder / "run", "state_dir": self.folder / "state"})
        gpu = base.gpu.model_copy(update=self.options)
        self.settings = base.model_copy(update={"vm": vm, "gpu": gpu})

    def _build(self) -> None:
        tree = self.tree
        tree.device(
            str(GPU), 0x8086, 0x3E92, 0x030000, driver="i915", group=GROUP, drm=("card0", "renderD128"),
            files={"boot_vga": "1\n"},
        )  # fmt: skip
        tree.device(str(TUNER), 0x1131, 0x7160, 0x048000, driver="saa716x", group=TUNER_GROUP)
        if self.sound:
            tree.device(str(SOUND), 0x8086, 0x0C0C, 0x040300, driver="snd_hda_intel", group=GROUP)
        if self.loaded:
            tree.driver("vfio-pci")
            for module in ("vfio_pci", "vfio_iommu_type1"):
                tree.make(f"/sys/module/{module}")
        for driver in ("i915", "saa716x", "snd_hda_intel"):
            tree.make(f"/sys/module/{driver}")
            if tree.root.exists(f"/sys/bus/pci/drivers/{driver}"):
                tree.link(f"/sys/bus/pci/drivers/{driver}/module", f"/sys/module/{driver}")
        tree.write("/proc/fb", "0 i915drmfb\n")
        tree.link("/sys/class/graphics/fb0/device", f"/sys/bus/pci/devices/{GPU}")
        for number, name, bound in ((0, "(S) dummy device", "0"), (1, "(M) frame buffer device", "1")):
            tree.write(f"/sys/class/vtconsole/vtcon{number}/name", name + "\n")
            tree.write(f"/sys/class/vtconsole/vtcon{number}/bind", bound + "\n")
        tree.write("/proc/sys/kernel/osrelease", "6.1.0-56-amd64\n")

    @property
    def journal_folder(self) -> Path:
        return self.settings.vm.state_dir / "journal"

    def take(self, *addresses: PciAddress, **options: Any) -> TakeResult:
        return take_devices(self.kernel, self.settings, addresses or (GPU, TUNER), gpu=GPU, **options)

    def give(self, *addresses: PciAddress, **options: Any) -> GiveResult:
        return give(self.kernel, self.settings, addresses or (GPU, TUNER), **options)

    def standing(self, *addresses: PciAddress) -> list[Standing]:
        return standing(self.kernel.root, self.settings, addresses or (GPU, TUNER))

    def words(self) -> list[str]:
        return [one.word for one in self.standing()]

    def drivers(self) -> list[str | None]:
        return [one.driver for one in self.standing()]

    def journals(self) -> list[str]:
        """The files of journals that are in force."""
        return sorted(path.name for path in self.journal_folder.glob("*.json*"))

    def sysfs(self) -> dict[str, str]:
        return snapshot(self.tree)

    def hold(self, group: int = GROUP, pid: int = 812) -> None:
        self.tree.process(pid, "qemu-system-x86", {3: f"/dev/vfio/{group}"})

    def release(self, pid: int = 812) -> None:
        self.tree.remove(f"/proc/{pid}")
