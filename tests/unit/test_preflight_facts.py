"""What sysfs and /dev/dri say, read from a recorded machine; and from one whose every file is rubbish."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encoderd.preflight.checks import judge_gpu
from encoderd.preflight.facts import gather

RUBBISH = [b"", b"\n", b"\x00\xff\xfe" * 50, b"0x", b"-1", b"zz" * 5000, "１２".encode(), b"99999999999999999999999"]
FILES = ("vendor", "device", "class", "boot_vga")


def machine(root: Path) -> Path:
    """An Intel GPU at 00:02.0 with i915 and a render node, and a virtual display that has none; returns the GPU."""
    gpu = root / "sys/devices/pci0000:00/0000:00:02.0"
    other = root / "sys/devices/pci0000:00/0000:00:01.0"
    for place, vendor, device in ((gpu, "0x8086", "0x1912"), (other, "0x1234", "0x1111")):
        place.mkdir(parents=True)
        for name, text in zip(FILES, (vendor, device, "0x030000", "1"), strict=True):
            (place / name).write_text(f"{text}\n")
        listed = root / "sys/bus/pci/devices" / place.name
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.symlink_to(place)
    driver = root / "sys/bus/pci/drivers/i915"
    driver.mkdir(parents=True)
    (gpu / "driver").symlink_to(driver)
    (gpu / "iommu_group").symlink_to(root / "sys/kernel/iommu_groups/1")
    drm = root / "sys/class/drm/renderD128"
    drm.mkdir(parents=True)
    (drm / "device").symlink_to(gpu)
    dri = root / "dev/dri"
    dri.mkdir(parents=True)
    (dri / "renderD128").touch()
    (dri / "card0").touch()
    (root / "proc").mkdir()
    (root / "proc/cmdline").write_text("BOOT_IMAGE=/vmlinuz quiet intel_iommu=on\n")
    return gpu


def test_a_recorded_machine(tmp_path: Path) -> None:
    machine(tmp_path)
    facts = gather(tmp_path)
    node = facts.render_nodes[0]

    assert [(str(device.address), device.ids, device.driver) for device in facts.displays] == [
        ("0000:00:01.0", "1234:1111", None),
        ("0000:00:02.0", "8086:1912", "i915"),
    ]
    assert (node.path, node.address, node.vendor, node.driver, node.error) == (
        "/dev/dri/renderD128", "0000:00:02.0", 0x8086, "i915", "",
    )  # fmt: skip
    assert node.owner.endswith(" 0644")
    assert facts.kernel_options == ("BOOT_IMAGE=/vmlinuz", "quiet", "intel_iommu=on")
    assert facts.user
    assert [finding.verdict for finding in judge_gpu(facts, required=True)] == ["pass", "pass"]


def test_a_machine_without_anything(tmp_path: Path) -> None:
    """A container: neither sysfs nor /dev/dri nor /proc."""
    facts = gather(tmp_path)

    assert (facts.displays, facts.render_nodes, facts.kernel_options) == ((), (), ())
    assert [finding.verdict for finding in judge_gpu(facts, required=True)] == ["fail"]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
@pytest.mark.parametrize("name", [*FILES, "cmdline"])
def test_rubbish_in_a_file(tmp_path: Path, name: str, rubbish: bytes) -> None:
    """Findings come of it, whatever they are; never a traceback."""
    gpu = machine(tmp_path)
    (tmp_path / "proc/cmdline" if name == "cmdline" else gpu / name).write_bytes(rubbish)

    assert judge_gpu(gather(tmp_path), required=True)


def loop(place: Path) -> None:
    place.unlink()
    place.symlink_to(place)


def folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def dangling(place: Path) -> None:
    place.unlink()
    place.symlink_to("nowhere")


@pytest.mark.parametrize("spoil", [loop, folder, dangling, Path.unlink])
@pytest.mark.parametrize(
    "name",
    [
        "sys/class/drm/renderD128/device",
        "sys/devices/pci0000:00/0000:00:02.0/driver",
        "sys/devices/pci0000:00/0000:00:02.0/vendor",
        "sys/bus/pci/devices/0000:00:02.0",
        "dev/dri/renderD128",
        "proc/cmdline",
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, name: str, spoil: object) -> None:
    machine(tmp_path)
    assert callable(spoil)
    spoil(tmp_path / name)

    assert judge_gpu(gather(tmp_path), required=True)


def test_names_that_are_no_addresses(tmp_path: Path) -> None:
    machine(tmp_path)
    for name in ("garbage", "0000:00:02", "0000:00:zz.0", os.fsdecode(b"\xff"), "x" * 200):
        (tmp_path / "sys/bus/pci/devices" / name).mkdir()
        (tmp_path / "dev/dri" / f"renderD{name[:20]}").touch()

    facts = gather(tmp_path)
    assert len(facts.displays) == 2
    assert len(facts.render_nodes) == 6
    assert judge_gpu(facts, required=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_node_that_this_user_may_not_open(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "dev/dri/renderD128").chmod(0)

    assert gather(tmp_path).render_nodes[0].error == "EACCES"


def test_a_node_that_is_gone_when_it_is_opened(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "dev/dri/renderD128").unlink()
    (tmp_path / "dev/dri/renderD128").symlink_to("nowhere")
    node = gather(tmp_path).render_nodes[0]

    assert (node.error, node.owner) == ("ENOENT", "")
