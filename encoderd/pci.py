"""PCI devices as sysfs shows them, read under a root folder so that a recorded machine reads like a real one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from encoderd.errors import SettingsError
from encoderd.root import Root

INTEL = 0x8086
_DEVICES = "/sys/bus/pci/devices"
_ADDRESS = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class PciAddress:
    """A device's place: domain, bus, device (slot), function. Written "0000:00:02.0"."""

    domain: int
    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str) -> PciAddress:
        """
        Read "0000:00:02.0" or "00:02.0".

        Raises:
            SettingsError: the text is not a PCI address.
        """
        match = _ADDRESS.fullmatch(text.strip())
        if match is None:
            raise SettingsError(
                f"{text!r} is not a PCI address.",
                remedy="Write it as lspci -D shows it, for example 0000:00:02.0",
            )
        domain, bus, device, function = match.groups(default="0")
        return cls(int(domain, 16), int(bus, 16), int(device, 16), int(function, 16))

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    """
    One device. `class_code` is the 24-bit class ("0x030000" is a VGA controller); `driver` is None when nothing is
    bound; `iommu_group` is None when the device is in none. `bar_bytes` are the sizes of its memory windows, in bytes,
    without those that have no address: () when none has, None when it is unknown.
    """

    address: PciAddress
    vendor: int
    device: int
    class_code: int
    driver: str | None
    iommu_group: int | None
    boot_vga: bool
    enabled: bool = True
    bar_bytes: tuple[int, ...] | None = None

    @property
    def is_display(self) -> bool:
        return self.class_code >> 16 == 0x03

    @property
    def is_intel_display(self) -> bool:
        return self.is_display and self.vendor == INTEL

    @property
    def ids(self) -> str:
        """Vendor and device as lspci -n writes them: "8086:1912"."""
        return f"{self.vendor:04x}:{self.device:04x}"


def pci_devices(root: Root | Path = Path("/")) -> list[PciDevice]:
    """
    Return all PCI devices below `root`/sys, by address.

    A device whose files cannot be read or understood is left out: sysfs entries can vanish while they are read.
    """
    view = root if isinstance(root, Root) else Root(root)
    found = (_read(view, name) for name in view.names(_DEVICES))
    return [device for device in found if device is not None]


def _read(root: Root, name: str) -> PciDevice | None:
    folder = f"{_DEVICES}/{name}"
    try:
        group = root.link_name(f"{folder}/iommu_group")
        return PciDevice(
            address=PciAddress.parse(name),
            vendor=int(root.text(f"{folder}/vendor"), 16),
            device=int(root.text(f"{folder}/device"), 16),
            class_code=int(root.text(f"{folder}/class"), 16),
            driver=root.link_name(f"{folder}/driver"),
            iommu_group=int(group) if group is not None and group.isdecimal() else None,
            boot_vga=root.text(f"{folder}/boot_vga").strip() == "1",
            enabled=root.text(f"{folder}/enable").strip() != "0",
            bar_bytes=_bar_bytes(root.text(f"{folder}/resource")),
        )
    except (ValueError, SettingsError):
        return None


def _bar_bytes(text: str) -> tuple[int, ...] | None:
    """Parse "start end flags" in hexadecimal, a BAR a line; flag 0x200 is memory. Source: sysfs-pci.rst."""
    lines = [line.split() for line in text.splitlines()[:6]]
    try:
        bars = [(int(start, 16), int(end, 16), int(flags, 16)) for start, end, flags in lines]
    except ValueError:
        return None
    return tuple(end - start + 1 for start, end, flags in bars if start and flags & 0x200) if bars else None
