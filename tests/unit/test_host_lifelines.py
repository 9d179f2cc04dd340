"""What the host itself lives on is found whatever lies between: partitions, volumes, bridges, bonds, USB, NVMe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.findings import Verdict
from encoderd.host.gpu_facts import gpu_facts
from encoderd.host.lifelines import Lifeline, Stake, lifelines
from encoderd.host.settings import GpuSettings, HostSettings
from encoderd.host.usage import usage_facts
from encoderd.host.usage_checks import usage_findings
from encoderd.pci import PciAddress
from encoderd.root import Root
from tests.hosts.tree import HostTree

DISK = PciAddress.parse("0000:00:17.0")
OTHER_DISK = PciAddress.parse("0000:04:00.0")
CARD = PciAddress.parse("0000:03:00.0")
BEHIND = "/sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda"
ROUTE = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


def disk(tree: HostTree, name: str, place: str, *partitions: str) -> None:
    """A disk at `place` below /sys/devices, with the links that the kernel makes."""
    tree.make(f"{place}/holders")
    for part in partitions:
        tree.make(f"{place}/{part}/holders")
    tree.link(f"/sys/block/{name}", place)


def card(tree: HostTree, name: str, address: str = "0000:03:00.0", *, plugged: bool = True) -> None:
    place = f"/sys/devices/pci0000:00/0000:00:1c.0/{address}/net/{name}"
    tree.write(f"{place}/carrier", f"{int(plugged)}\n")
    tree.link(f"/sys/class/net/{name}", place)


def default_route(tree: HostTree, interface: str) -> None:
    tree.write("/proc/net/route", f"{ROUTE}{interface}\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")


def found(tree: HostTree) -> list[tuple[Stake, str]]:
    return [(line.stake, line.what) for line in lifelines(tree.root)]


def carried_by(tree: HostTree, address: PciAddress) -> list[str]:
    return [line.what for line in lifelines(tree.root) if line.is_on_pci(address)]


def test_a_mounted_partition_is_the_controller_s(tmp_path: Path) -> None:
    """A mount counts by its source's name or by its device's number; the bridge above carries it too."""
    tree = HostTree(tmp_path)
    disk(tree, "sda", BEHIND, "sda1", "sda2")
    tree.write("/proc/mounts", "/dev/sda2 / ext4 rw 0 0\n")

    assert carried_by(tree, DISK) == ["sda2, mounted on /"]
    assert carried_by(tree, CARD) == []

    tree.remove("/proc/mounts")
    tree.link("/sys/dev/block/8:1", f"{BEHIND}/sda1")
    tree.write("/proc/self/mountinfo", "26 1 8:1 / /srv/two\\040words rw shared:1 - ext4 /dev/root rw\n")

    assert carried_by(tree, DISK) == ["sda1, mounted on /srv/two words"]


def test_what_a_container_has_mounted_counts(tmp_path: Path) -> None:
    """Its mounts are in its own namespace only."""
    tree = HostTree(tmp_path)
    disk(tree, "sda", BEHIND)
    tree.link("/sys/dev/block/8:0", BEHIND)
    tree.process(812, "postgres", {})
    tree.link("/proc/812/ns/mnt", "mnt:[4026532281]")
    tree.write("/proc/812/mountinfo", "26 1 8:0 / /data rw - xfs /dev/sda rw\n")

    assert carried_by(tree, DISK) == ["sda, mounted on /data"]


@pytest.mark.parametrize(
    ("files", "links", "expected"),
    [
        ({"/proc/swaps": "Filename\tType\n/dev/sda2   partition 1 0 -2\n"}, {}, "sda2, used for swapping"),
        ({f"{BEHIND}/sda2/holders/dm-0/x": ""}, {}, "sda2, part of dm-0"),
        ({f"{BEHIND}/holders/md127/x": ""}, {}, "sda, part of md127"),
        (
            {"/proc/cmdline": "quiet root=UUID=ab-cd ro\n", "/dev/sda1": ""},
            {"/dev/disk/by-uuid/ab-cd": "../../sda1"},
            "sda1, named by root=UUID=ab-cd on the kernel's command line",
        ),
        (
            {
                "/proc/mounts": "/dev/mapper/vg-root / ext4 rw 0 0\n",
                f"{BEHIND}/sda2/holders/dm-0/x": "",
                "/dev/dm-0": "",
            },
            {"/dev/mapper/vg-root": "../dm-0"},
            "sda2, part of dm-0",
        ),
        ({"/sys/fs/btrfs/0f-1e/devices/sda2/x": ""}, {}, "sda2, part of a mounted btrfs"),
        ({"/proc/mounts": "/dev/nothing:/dev/sda1 /b bcachefs rw 0 0\n"}, {}, "sda1, mounted on /b"),
        (
            {
                "/proc/mounts": "rpool/ROOT/pve-1 / zfs rw 0 0\n",
                "/run/udev/data/b8:2": "E:ID_FS_TYPE=zfs_member\n",
            },
            {"/sys/dev/block/8:2": f"{BEHIND}/sda2"},
            "sda2, part of a pool of ZFS",
        ),
    ],
)
def test_every_use_of_a_disk_counts(
    tmp_path: Path, files: dict[str, str], links: dict[str, str], expected: str
) -> None:
    """Swap, LVM, RAID, encryption, btrfs, bcachefs, ZFS, and the root that the kernel was told."""
    tree = HostTree(tmp_path)
    disk(tree, "sda", BEHIND, "sda1", "sda2")
    for path, text in files.items():
        tree.write(path, text)
    for path, target in links.items():
        tree.link(path, target)

    assert found(tree) == [(Stake.DISK, expected)]


def test_a_disk_that_nobody_uses_may_go(tmp_path: Path) -> None:
    tree = HostTree(tmp_path)
    disk(tree, "sda", BEHIND, "sda1")
    tree.write("/proc/mounts", "/dev/sdb1 / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n")

    assert found(tree) == []


def test_an_nvme_disk_with_several_paths_hangs_on_all_of_them(tmp_path: Path) -> None:
    """With native multipath the disk's own folder is a virtual one: only its subsystem knows the controllers."""
    tree = HostTree(tmp_path)
    subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    disk(tree, "nvme0n1", f"{subsystem}/nvme0n1", "nvme0n1p2")
    tree.link(f"{subsystem}/nvme0n1/device", subsystem)
    for name, address in (("nvme0", DISK), ("nvme1", OTHER_DISK)):
        controller = f"/sys/devices/pci0000:00/{address}/nvme/{name}"
        tree.make(controller)
        tree.link(f"{subsystem}/{name}", controller)
    tree.write("/proc/mounts", "/dev/nvme0n1p2 / ext4 rw 0 0\n")

    assert carried_by(tree, DISK) == carried_by(tree, OTHER_DISK) == ["nvme0n1p2, mounted on /"]


@pytest.mark.parametrize(
    ("files", "route", "expected"),
    [
        ({}, "enp3s0", "enp3s0, which carries the default route"),
        ({"br0/brif/enp3s0/x": ""}, "br0", "enp3s0, which carries the default route through br0"),
        (
            {"br0/lower_bond0/x": "", "bond0/bonding/slaves": "enp3s0 enp4s0\n"},
            "br0",
            "enp3s0, which carries the default route through br0",
        ),
        ({"enp3s0.7/lower_enp3s0/x": ""}, "enp3s0.7", "enp3s0, which carries the default route through enp3s0.7"),
        ({}, "wg0", "enp3s0, which may carry the default route through wg0"),
    ],
)  # fmt: skip
def test_the_way_out_is_found_below_what_is_built_on_it(
    tmp_path: Path, files: dict[str, str], route: str, expected: str
) -> None:
    tree = HostTree(tmp_path)
    card(tree, "enp3s0")
    for path, text in files.items():
        tree.write(f"/sys/class/net/{path}", text)
    default_route(tree, route)

    assert found(tree) == [(Stake.ROUTE, expected)]
    assert carried_by(tree, CARD) == [expected]


def test_a_vpn_s_half_of_the_default_route_counts_and_a_refusal_does_not(tmp_path: Path) -> None:
    tree = HostTree(tmp_path)
    card(tree, "enp3s0")
    for line, expected in (
        ("enp3s0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n", Stake.ROUTE),
        ("enp3s0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", Stake.LINK),
        ("*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n", Stake.LINK),
    ):
        tree.write("/proc/net/route", ROUTE + line)

        assert [stake for stake, _ in found(tree)] == [expected]


def test_the_way_out_may_be_ipv6_only(tmp_path: Path) -> None:
    """The kernel's own refusal of everything, on lo, is not a way."""
    tree = HostTree(tmp_path)
    card(tree, "enp3s0")
    line = f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} 00000400 00000001 00000000 00000003 "
    tree.write("/proc/net/ipv6_route", f"{line}      lo\n")

    assert found(tree) == [(Stake.LINK, "enp3s0, which is connected")]

    tree.write("/proc/net/ipv6_route", f"{line}  enp3s0\n")

    assert found(tree) == [(Stake.ROUTE, "enp3s0, which carries the default route")]


def test_a_card_without_a_cable_is_nobody_s_way(tmp_path: Path) -> None:
    tree = HostTree(tmp_path)
    card(tree, "enp3s0", plugged=False)
    default_route(tree, "wg0")

    assert found(tree) == []


def test_a_virtual_function_s_route_is_the_whole_card_s(tmp_path: Path) -> None:
    """Taking the physical function from its driver destroys the virtual ones."""
    tree = HostTree(tmp_path)
    card(tree, "enp3s0v0", "0000:03:10.0")
    tree.make("/sys/bus/pci/devices/0000:03:00.0")
    tree.link("/sys/bus/pci/devices/0000:03:10.0/physfn", "/sys/bus/pci/devices/0000:03:00.0")
    default_route(tree, "enp3s0v0")

    assert carried_by(tree, CARD) == ["enp3s0v0, which carries the default route"]


def test_usb_devices_carry_things_too(tmp_path: Path) -> None:
    """A stick with the root file system is on its port, on the hub above, and on the controller."""
    tree = HostTree(tmp_path)
    place = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4.2/1-4.2:1.0/host6/target6:0:0/6:0:0:0/block/sdb"
    disk(tree, "sdb", place, "sdb1")
    tree.write("/proc/mounts", "/dev/sdb1 / ext4 rw 0 0\n")
    (line,) = lifelines(tree.root)

    assert (line.is_on_usb("1-4.2"), line.is_on_usb("1-4"), line.is_on_usb("1-4.1")) == (True, True, False)
    assert line.is_on_pci(PciAddress.parse("00:14.0"))


def test_the_keyboard_is_told_from_other_things_with_keys(tmp_path: Path) -> None:
    """A power button and a remote control send keys too, yet have no lights."""
    tree = HostTree(tmp_path)
    path = "/devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/0003:046D:C31C.0001/input/input5"
    tree.write(
        "/proc/bus/input/devices",
        'I: Bus=0019 Vendor=0000\nN: Name="Power Button"\nS: Sysfs=/devices/LNXSYSTM:00/input0\nB: EV=3\n\n'
        f'I: Bus=0003 Vendor=046d\nN: Name="Keyboard K120"\nS: Sysfs={path}\nH: Handlers=sysrq kbd\nB: EV=120013\n\n'
        f'I: Bus=0003 Vendor=046d\nN: Name="Remote"\nS: Sysfs={path}\nB: EV=100013\n',
    )

    assert found(tree) == [(Stake.KEYBOARD, 'the keyboard "Keyboard K120"')]


@settings(max_examples=40, deadline=None)
@given(
    data=st.fixed_dictionaries(
        {
            name: st.one_of(st.binary(max_size=120), st.text("/dev:sa1 \n\t=-0\\", max_size=120).map(str.encode))
            for name in (
                "/proc/mounts", "/proc/self/mountinfo", "/proc/swaps", "/proc/cmdline", "/proc/net/route",
                "/proc/net/ipv6_route", "/proc/bus/input/devices", "/sys/class/net/br0/bonding/slaves",
            )
        }
    )
)  # fmt: skip
def test_torn_files_never_raise(tmp_path_factory: pytest.TempPathFactory, data: dict[str, bytes]) -> None:
    tree = HostTree(tmp_path_factory.mktemp("host"))
    disk(tree, "sda", BEHIND, "sda1")
    card(tree, "enp3s0")
    for path, content in data.items():
        tree.write(path, content)

    assert all(isinstance(line, Lifeline) for line in lifelines(tree.root))


def test_this_very_machine_s_root_disk_is_refused() -> None:
    """Looked at, never touched: where the root file system is on a PCI disk, that device must not be taken."""
    number = Path("/").stat().st_dev
    place = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    carriers = [part for part in place.parts if len(part.split(":")) == 3 and "." in part]
    if not carriers:
        pytest.skip("this machine's root file system is on no PCI disk")
    root = Root(Path("/"))
    wanted = HostSettings(gpu=GpuSettings(address="none"), pci=[{"address": carriers[-1]}])
    gpu = gpu_facts(root, wanted.gpu)
    findings = usage_findings(usage_facts(root, gpu), gpu, wanted)

    refusals = [finding.evidence for finding in findings if finding.verdict is Verdict.FAIL]
    assert any(carriers[-1] in evidence and "mounted on /" in evidence for evidence in refusals), findings
