"""What this host is: processor, IOMMU, kernel and GPU, read and never written."""

from __future__ import annotations

import fcntl
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from encoderd.pci import PciAddress, PciDevice, pci_devices

#: Where every integrated Intel GPU sits.
IGPU = PciAddress(0, 0, 2, 0)

#: _IO(KVMIO, 0x00) and the only answer there has been since Linux 2.6.22: linux/kvm.h, KVM's api.rst section 4.1.
_KVM_GET_API_VERSION = 0xAE00
_KVM_API_VERSION = 12

_PCI_BRIDGE = 0x0604


class Kvm(StrEnum):
    """How /dev/kvm answers."""

    WORKS = "it answers"
    MISSING = "it does not exist"
    FORBIDDEN = "permission denied"
    BROKEN = "it does not answer as KVM does"
    NOT_TRIED = "not tried"  #: a recorded machine has no devices


class VfioDriver(StrEnum):
    """How the kernel has vfio-pci."""

    READY = "ready"  #: loaded, or part of the kernel
    ON_DISK = "on disk"  #: a module that can be loaded
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """
    The host as found.

    `iommu_units` are the kernel's names of the working IOMMUs ("dmar0"); `kernel_flags` the words of its command line.
    `companions` are the other devices of the GPU's IOMMU group; PCI-to-PCI bridges do not count, VFIO allows them.
    """

    processor: str
    is_intel: bool
    vmx: bool
    kvm: Kvm
    dmar_table: bool
    iommu_units: tuple[str, ...]
    kernel_flags: tuple[str, ...]
    gpu: PciDevice | None
    companions: tuple[PciDevice, ...]
    vfio_pci: VfioDriver


def gather(root: Path = Path("/")) -> HostFacts:
    """Read the host below `root`; what cannot be read counts as absent. /dev/kvm is tried only on a live host."""
    cpuinfo = _text(root / "proc/cpuinfo")
    devices = pci_devices(root)
    gpu = _gpu(devices)
    return HostFacts(
        processor=_first(r"^model name\s*:\s*(.+)$", cpuinfo),
        is_intel=_first(r"^vendor_id\s*:\s*(.+)$", cpuinfo) == "GenuineIntel",
        vmx="vmx" in _first(r"^flags\s*:\s*(.+)$", cpuinfo).split(),
        kvm=_kvm(root / "dev/kvm") if root.resolve() == Path("/") else Kvm.NOT_TRIED,
        dmar_table=(root / "sys/firmware/acpi/tables/DMAR").exists(),
        iommu_units=tuple(name for name in _names(root / "sys/class/iommu") if name.startswith("dmar")),
        kernel_flags=tuple(_text(root / "proc/cmdline").split()),
        gpu=gpu,
        companions=tuple(_companions(gpu, devices)),
        vfio_pci=_vfio_pci(root),
    )


def _gpu(devices: list[PciDevice]) -> PciDevice | None:
    """The integrated GPU where there is one, else the first Intel card."""
    displays = [device for device in devices if device.is_intel_display]
    return min(displays, key=lambda device: (device.address != IGPU, device.address), default=None)


def _companions(gpu: PciDevice | None, devices: list[PciDevice]) -> list[PciDevice]:
    if gpu is None or gpu.iommu_group is None:
        return []
    return [
        device
        for device in devices
        if device.iommu_group == gpu.iommu_group and device != gpu and device.class_code >> 8 != _PCI_BRIDGE
    ]


def _vfio_pci(root: Path) -> VfioDriver:
    if (root / "sys/bus/pci/drivers/vfio-pci").is_dir():
        return VfioDriver.READY
    modules = root / "lib/modules" / (_first(r"\A([\w.+~-]+)$", _text(root / "proc/sys/kernel/osrelease")) or "unknown")
    if re.search(r"/vfio-pci\.ko$", _text(modules / "modules.builtin"), re.MULTILINE):
        return VfioDriver.READY
    if any(name.startswith("vfio-pci.ko") for name in _names(modules / "kernel/drivers/vfio/pci")):
        return VfioDriver.ON_DISK
    return VfioDriver.MISSING


def _kvm(device: Path) -> Kvm:
    """That the node exists proves nothing, so it is opened and asked."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return Kvm.MISSING
    except PermissionError:
        return Kvm.FORBIDDEN
    except OSError:
        return Kvm.BROKEN
    try:
        return Kvm.WORKS if fcntl.ioctl(descriptor, _KVM_GET_API_VERSION, 0) == _KVM_API_VERSION else Kvm.BROKEN
    except OSError:
        return Kvm.BROKEN
    finally:
        os.close(descriptor)


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
