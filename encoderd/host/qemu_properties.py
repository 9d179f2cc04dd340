"""What one QEMU binary can do: its version, machines, devices with their properties, and objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from encoderd.errors import EncoderdError

#: The devices whose properties are asked for: all that a command line can name, and what a user may add to them.
DEVICES = (
    "vfio-pci",
    "pcie-root-port",
    "ioh3420",
    "qemu-xhci",
    "usb-host",
    "virtio-blk-pci",
    "virtio-net-pci",
    "virtio-serial-pci",
    "virtserialport",
    "virtio-rng-pci",
    "virtio-9p-pci",
    "vhost-user-fs-pci",
    "pvpanic-pci",
)
#: The objects that a command line can name.
OBJECTS = ("memory-backend-memfd", "memory-backend-file", "memory-backend-ram", "iommufd")


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuProperties:
    """
    `version` is (major, minor, micro); `package` what the distributor adds to it ("Debian 1:7.2+dfsg-7").

    `machines` holds names and aliases ("q35"). `devices` maps a device's type to its properties, each with its default
    as JSON text ("true", "4294967295"), "" when QEMU tells none. `objects` are the types that `-object` takes, as far
    as they matter here. `source` says where this was learnt: "asked", or how a snapshot was made.
    """

    version: tuple[int, int, int]
    machines: frozenset[str]
    devices: Mapping[str, Mapping[str, str]]
    objects: frozenset[str] = frozenset()
    package: str = ""
    source: str = "asked"

    def has(self, device: str, property_name: str = "") -> bool:
        """Return whether the device exists and, when one is given, has the property."""
        properties = self.devices.get(device)
        return properties is not None and (not property_name or property_name in properties)

    def default(self, device: str, property_name: str) -> Any:
        """Return the property's default as a Python value; None when there is none or QEMU does not tell it."""
        text = self.devices.get(device, {}).get(property_name, "")
        return json.loads(text) if text else None

    @property
    def version_text(self) -> str:
        return ".".join(str(number) for number in self.version)

    def to_json(self) -> str:
        """Return the snapshot as stable, sorted JSON text."""
        shape = {
            "source": self.source,
            "version": list(self.version),
            "package": self.package,
            "machines": sorted(self.machines),
            "objects": sorted(self.objects),
            "devices": {name: dict(sorted(found.items())) for name, found in sorted(self.devices.items())},
        }
        return json.dumps(shape, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> QemuProperties:
        """
        Read what `to_json` wrote.

        Raises:
            EncoderdError: the text is not a snapshot.
        """
        try:
            shape = json.loads(text)
            major, minor, micro = (int(number) for number in shape["version"])
            return cls(
                version=(major, minor, micro),
                package=str(shape.get("package", "")),
                source=str(shape.get("source", "")),
                machines=frozenset(str(name) for name in shape["machines"]),
                objects=frozenset(str(name) for name in shape.get("objects", ())),
                devices=frozen_devices(shape["devices"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EncoderdError(
                f"This is not a snapshot of QEMU's properties: {type(error).__name__}: {error}",
                remedy="Give a file like those in tests/data/qemu; without one, the installed QEMU is asked",
            ) from None


def frozen_devices(devices: Mapping[str, Mapping[str, str]]) -> Mapping[str, Mapping[str, str]]:
    """Return the same mapping, which nobody can change; TypeError where a default is not JSON text."""
    return MappingProxyType({str(name): MappingProxyType(_checked(found)) for name, found in devices.items()})


def _checked(found: Mapping[str, str]) -> dict[str, str]:
    for name, default in found.items():
        if not isinstance(default, str):
            raise TypeError(f"the default of {name!r} is not text")
        if default:
            json.loads(default)
    return dict(found)
