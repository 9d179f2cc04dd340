"""PCI devices read from small sysfs trees, healthy and broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoderd.errors import SettingsError
from encoderd.pci import PciAddress, PciDevice, pci_devices


def add_device(root: Path, address: str, *, driver: str | None = None, group: str | None = None, **files: str) -> Path:
    """Make a device as sysfs shows it: attributes are files that end in a newline, driver and group are links."""
    device = root / "sys/bus/pci/devices" / address
    device.mkdir(parents=True)
    for name, content in files.items():
        (device / name).write_text(content + "\n", "ascii")
    if driver is not None:
        (device / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")
    if group is not None:
        (device / "iommu_group").symlink_to(f"../../../kernel/iommu_groups/{group}")
    return device


def test_a_tree_is_read_by_address(tmp_path: Path) -> None:
    """The order is the address's, not the one in which the kernel lists them."""
    add_device(tmp_path, "0001:00:00.0", **{"vendor": "0x8086", "device": "0x0001", "class": "0x020000"})
    add_device(tmp_path, "0000:00:1f.3", **{"vendor": "0x8086", "device": "0xa170", "class": "0x040300"})
    add_device(
        tmp_path,
        "0000:00:02.0",
        driver="i915",
        group="1",
        **{"vendor": "0x8086", "device": "0x1912", "class": "0x030000", "boot_vga": "1"},
    )

    first, *others = pci_devices(tmp_path)
    assert first == PciDevice(
        address=PciAddress(0, 0, 2, 0),
        vendor=0x8086,
        device=0x1912,
        class_code=0x030000,
        driver="i915",
        iommu_group=1,
        boot_vga=True,
    )
    assert (first.ids, first.is_display, first.is_intel_display) == ("8086:1912", True, True)
    assert [str(device.address) for device in others] == ["0000:00:1f.3", "0001:00:00.0"]
    assert [(device.driver, device.iommu_group, device.boot_vga) for device in others] == [(None, None, False)] * 2


@pytest.mark.parametrize(
    ("vendor", "class_code", "display", "intel_display"),
    [
        ("0x8086", "0x030000", True, True),
        ("0x8086", "0x038000", True, True),
        ("0x10de", "0x030000", True, False),
        ("0x1234", "0x030200", True, False),
        ("0x8086", "0x040300", False, False),
        ("0x8086", "0x000300", False, False),
    ],
)
def test_what_is_a_display(tmp_path: Path, vendor: str, class_code: str, display: bool, intel_display: bool) -> None:
    """Class 0x03 of any kind: VGA, 3D, and "other", which is how a secondary iGPU calls itself."""
    add_device(tmp_path, "0000:00:02.0", **{"vendor": vendor, "device": "0x0001", "class": class_code})

    (device,) = pci_devices(tmp_path)
    assert (device.is_display, device.is_intel_display) == (display, intel_display)


def test_a_device_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    """Entries vanish while they are read, and a recorded tree may be damaged: the others still count."""
    good = {"vendor": "0x8086", "device": "0x1912", "class": "0x030000"}
    add_device(tmp_path, "0000:00:02.0", **good)
    add_device(tmp_path, "0000:00:03.0", **{**good, "vendor": "grapefruit"})
    add_device(tmp_path, "0000:00:04.0", **{**good, "device": ""})
    add_device(tmp_path, "0000:00:05.0")
    add_device(tmp_path, "not-an-address", **good)
    add_device(tmp_path, "0000:00:20.0", **good)  # there are 32 devices on a bus
    folder = tmp_path / "sys/bus/pci/devices"
    (folder / "0000:00:06.0").symlink_to("../../../devices/gone")
    (folder / "0000:00:07.0").write_bytes(b"\xff\x00")
    (add_device(tmp_path, "0000:00:08.0", **good) / "vendor").write_bytes(b"\xff\xfe0x8086")

    assert [str(device.address) for device in pci_devices(tmp_path)] == ["0000:00:02.0"]


def test_an_odd_group_is_no_group(tmp_path: Path) -> None:
    add_device(tmp_path, "0000:00:02.0", group="none", **{"vendor": "0x8086", "device": "0x1912", "class": "0x030000"})

    assert pci_devices(tmp_path)[0].iommu_group is None


def test_a_machine_without_pci_has_no_devices(tmp_path: Path) -> None:
    assert pci_devices(tmp_path) == []
    (tmp_path / "sys/bus/pci").mkdir(parents=True)
    (tmp_path / "sys/bus/pci/devices").write_text("not a folder", "ascii")
    assert pci_devices(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0000:00:02.0", "0000:00:02.0"),
        ("00:02.0", "0000:00:02.0"),
        (" 0000:3B:1F.7\n", "0000:3b:1f.7"),
        ("10000:e1:00.0", "10000:e1:00.0"),  # Intel VMD counts its domains from 0x10000
    ],
)
def test_an_address_is_read_and_written(text: str, written: str) -> None:
    assert str(PciAddress.parse(text)) == written


@pytest.mark.parametrize(
    "text", ["", "02.0", "0000:00:02", "0000:00:02.8", "0000:00:20.0", "00:02.0; rm -rf /", "8086:1912", "٠٠:٠٢.٠"]
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        PciAddress.parse(text)

    assert "not a PCI address" in refused.value.message
    assert "lspci -D" in refused.value.remedy
