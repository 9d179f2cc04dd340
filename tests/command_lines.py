"""
Configurations whose command lines are kept under tests/data/argv, one file for each QEMU whose properties are known.

After a change that is meant:  python -m tests.command_lines  rewrites the files; git diff shows what QEMU would see.
Another QEMU:  python -m tests.command_lines 10.2 /usr/bin/qemu-system-x86_64 "probed from Debian's package 1:10.2.1"
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from encoderd.host.argv import ArgvFacts, CommandLine, command_line, format_lines
from encoderd.host.generations import generation
from encoderd.host.qemu_probe import probe
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.settings import HostSettings, load
from encoderd.pci import PciAddress, PciDevice

DATA = Path(__file__).parent / "data"
SNAPSHOTS = {path.stem: path for path in sorted((DATA / "qemu").glob("*.json"))}

_DISK = {"path": "/var/lib/libvirt/images/encoder.qcow2"}
_CARD = {"mode": "user", "forwards": ["2222:22"]}
_SHARE = {"path": "/srv/recordings", "tag": "recordings"}

#: Settings of each configuration, and the GPU it is for: PCI address and device id.
CONFIGURATIONS: Mapping[str, tuple[Mapping[str, Any], tuple[str, int] | None]] = {
    "headless": ({"disk": [_DISK], "network": [_CARD], "share": [_SHARE]}, ("0000:00:02.0", 0x3E92)),
    "headless-everything": (
        {
            "vm": {
                "name": "encoder-1",
                "cpus": 6,
                "pin_cpus": [2, 3, 4, 5, 6, 7],
                "memory_mib": 8192,
                "hugepages": True,
                "firmware": "uefi",
                "extra_args": ["-rtc", "base=utc"],
            },
            "gpu": {"properties": {"x-no-mmap": True, "x-igd-gms": 2}},
            "pci": [
                {"address": "0000:03:00.0"},
                {"address": "0000:04:00.0", "properties": {"x-no-kvm-intx": True}},
                {"address": "0001:05:00.1"},
            ],
            "usb": [{"port": "1-4.2"}, {"id": "0bda:2838"}],
            "disk": [
                _DISK,
                {"path": "/srv/images/with space, and comma.raw", "format": "raw"},
                {"path": "/dev/disk/by-id/ata-example", "format": "raw", "read_only": True},
            ],
            "network": [
                {"mode": "user", "forwards": ["2222:22", "8080:80"]},
                {"mode": "bridge", "bridge": "br0"},
                {"mode": "tap", "tap": "tap7", "mac": "52:54:00:AB:CD:EF"},
            ],
            "share": [
                _SHARE,
                {"path": "/srv/encoded", "tag": "encoded", "type": "9p"},
                {"path": "/srv/old", "tag": "old", "type": "9p", "read_only": True},
            ],
        },
        ("0000:00:02.0", 0x46D1),
    ),
    "blog-2014": ({"vm": {"profile": "blog-2014"}, "disk": [_DISK]}, ("0000:00:02.0", 0x0412)),
    "blog-2014-faithful": (
        {"vm": {"profile": "blog-2014", "faithful": True}, "disk": [_DISK]},
        ("0000:00:02.0", 0x0412),
    ),
    "vf": ({"vm": {"profile": "vf"}, "disk": [_DISK], "network": [_CARD]}, ("0000:00:02.1", 0xA780)),
    "display": (
        {"vm": {"profile": "display"}, "pci": [{"address": "0000:03:00.0"}], "disk": [_DISK], "network": [_CARD]},
        ("0000:00:02.0", 0x1912),
    ),
    "card": ({"gpu": {"address": "0000:03:00.0"}, "disk": [_DISK]}, ("0000:03:00.0", 0x56A5)),
    "no-gpu": (
        {
            "vm": {
                "accelerator": "tcg",
                "kernel": "/boot/vmlinuz",
                "initrd": "/boot/initrd.img",
                "kernel_arguments": "console=ttyS0 root=/dev/vda1, quiet",
                "guest_agent": False,
                "health_port": False,
            },
            "gpu": {"address": "none"},
            "disk": [{"path": "/srv/images/root.raw", "format": "raw", "read_only": True}],
        },
        None,
    ),
}


def snapshot(version: str) -> QemuProperties:
    """Return the properties of a QEMU: "7.2" … "10.1"."""
    return QemuProperties.from_json(SNAPSHOTS[version].read_text("utf-8"))


def settings_of(configuration: str) -> HostSettings:
    return load(None, CONFIGURATIONS[configuration][0])


def facts_of(configuration: str) -> ArgvFacts:
    """Return a host whose IOMMU is narrower than its processor where the configuration has everything."""
    _, gpu = CONFIGURATIONS[configuration]
    return ArgvFacts(
        gpu=None if gpu is None else display_device(*gpu),
        gpu_generation=None if gpu is None else generation(gpu[1]),
        devices={},
        phys_bits=46 if configuration == "headless-everything" else 39,
        iommu_bits=39,
        cpu="max" if gpu is None else "host",
    )


def display_device(address: str, device: int, class_code: int = 0x030000) -> PciDevice:
    return PciDevice(
        address=PciAddress.parse(address), vendor=0x8086, device=device, class_code=class_code,
        driver="vfio-pci", iommu_group=1, boot_vga=True,
    )  # fmt: skip


def line_of(configuration: str, version: str) -> CommandLine:
    return command_line(settings_of(configuration), snapshot(version), facts_of(configuration))


def golden_file(configuration: str, version: str) -> Path:
    return DATA / "argv" / f"{configuration}-{version}.argv"


def golden_text(line: CommandLine) -> str:
    """Return the line as `encoderd-host argv` prints it, and what is said about it below."""
    return format_lines(line) + "".join(f"# {note}\n" for note in line.notes)


def main(arguments: list[str]) -> None:
    if arguments:
        version, binary, source = arguments
        path = DATA / "qemu" / f"{version}.json"
        path.write_text(replace(probe(Path(binary)), source=source).to_json(), "utf-8")
        SNAPSHOTS[version] = path
    (DATA / "argv").mkdir(parents=True, exist_ok=True)
    for version in SNAPSHOTS:
        for configuration in CONFIGURATIONS:
            text = golden_text(line_of(configuration, version))
            golden_file(configuration, version).write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
