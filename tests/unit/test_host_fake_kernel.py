"""The double of the kernel obeys the same table that the nested machine proves on a real one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from encoderd.host.kernel import KernelHangs, KernelRefused
from tests.hosts.fake_kernel import FakeKernel, snapshot
from tests.hosts.semantics import ABSENT, GO_HOME, SEMANTICS, Semantic, agrees, filled
from tests.hosts.tree import HostTree

GPU = "0000:00:02.0"
BRIDGE = "0000:00:1c.0"


class Bench:
    """Runs the table's actions on the double."""

    def __init__(self, folder: Path, *, iommu: bool) -> None:
        self.tree = HostTree(folder / "host")
        self.tree.driver("vfio-pci")
        self.tree.device(GPU, 0x8086, 0x3E92, 0x030000, driver="i915", group=1 if iommu else None, drm=("card0",))
        self.tree.device(BRIDGE, 0x8086, 0xA340, 0x060400, group=2 if iommu else None)
        self.kernel = FakeKernel(self.tree)
        self.places = {
            "device": GPU, "driver": "i915", "group": "1" if iommu else "", "bridge": BRIDGE, "absent": ABSENT,
            "folder": f"/sys/bus/pci/devices/{GPU}",
        }  # fmt: skip

    def run(self, action: tuple[str, ...]) -> str:
        kind, *words = (filled(word, self.places) for word in action)
        match kind:
            case "write":
                return self._write(*words)
            case "link":
                return self.kernel.root.link_name(words[0]) or ""
            case "text":
                return self.kernel.root.text(words[0]).strip()
            case "exists":
                return "yes" if self.kernel.root.exists(words[0]) else "no"
            case "hold":
                self.tree.process(812, "qemu-system-x86", {3: f"/dev/vfio/{self.places['group']}"})
            case "release":
                if self.tree.at("/proc/812").exists():
                    self.tree.remove("/proc/812")
            case "finish" | "settle":
                self.kernel.settle()
            case _:
                raise AssertionError(kind)
        return "ok"

    def _write(self, path: str, data: str) -> str:
        try:
            self.kernel.write(path, data, 1)
        except KernelRefused as refused:
            return errno.errorcode[refused.errno]
        except KernelHangs:
            return "hangs"
        return "ok"


@pytest.mark.parametrize("semantic", SEMANTICS, ids=lambda semantic: semantic.name)
def test_the_double_obeys_the_table(semantic: Semantic, tmp_path: Path) -> None:
    """Every rule holds on the double, and leaves the machine as it was."""
    bench = Bench(tmp_path, iommu="no_iommu" not in semantic.needs)
    before = snapshot(bench.tree)

    got = [(action, expected, bench.run(action)) for action, expected in semantic.actions]

    wrong = [(action, expected, result) for action, expected, result in got
             if not agrees(filled(expected, bench.places), result)]  # fmt: skip
    assert [] == wrong
    assert before == snapshot(bench.tree)


def test_going_home_brings_the_device_back_from_anywhere(tmp_path: Path) -> None:
    """What the runner does between two rules."""
    bench = Bench(tmp_path, iommu=True)
    before = snapshot(bench.tree)
    for path, data in (
        (f"/sys/bus/pci/devices/{GPU}/driver_override", "vfio-pci"),
        (f"/sys/bus/pci/devices/{GPU}/driver/unbind", GPU),
        ("/sys/bus/pci/drivers_probe", GPU),
    ):
        bench.kernel.write(path, data, 1)
    assert before != snapshot(bench.tree)

    for action in GO_HOME:
        bench.run(action)

    assert before == snapshot(bench.tree)


def test_rules_have_names_of_their_own() -> None:
    names = [semantic.name for semantic in SEMANTICS]

    assert len(names) == len(set(names))


def test_a_module_brings_its_driver(tmp_path: Path) -> None:
    """Loading makes the driver's folder, once; a device stays with the driver it has."""
    tree = HostTree(tmp_path / "host")
    tree.device(GPU, 0x8086, 0x3E92, 0x030000, driver="i915", group=1)
    kernel = FakeKernel(tree)

    kernel.load_module("vfio-pci", 1)
    kernel.load_module("vfio-pci", 1)

    assert kernel.log == [("module", "vfio-pci", "")]
    assert tree.root.exists("/sys/bus/pci/drivers/vfio-pci/bind")
    assert "i915" == tree.root.link_name(f"/sys/bus/pci/devices/{GPU}/driver")
