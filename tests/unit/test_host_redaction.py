"""What is replaced in a host's recording, and what has to stay as it is for the facts' sake."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from encoderd.host.dmar import parse_dmar
from encoderd.host.pseudonyms import Pseudonyms
from encoderd.host.qcow2 import read_qcow2
from encoderd.host.redaction import Redactor
from encoderd.host.settings import HostSettings
from tests.hosts.machines import client_dmar

WORDS = {"host": ["aurora", "vm"], "user": ["wilhelmine", "root", "al"], "vm": ["win"]}


def redactor() -> Redactor:
    return Redactor(Pseudonyms(WORDS))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("aurora aurora.example AURORA", "host-1 host-1.example host-1"),
        ("wilhelmines Maus", "user-1s Maus"),
        ("win windows /win/ al", "vm-1 windows /vm-1/ al"),
        ("ether a4:bb:6d:12:34:56 A4-BB-6D-12-34-56", "ether 02:00:00:00:00:01 02-00-00-00-00-01"),
        ("00:00:00:00:00:00 ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00 ff:ff:ff:ff:ff:ff"),
        ("wlxa4bb6d123456 enp3s0", "wlx020000000001 enp3s0"),
        ("from 192.168.1.20 to 10.0.0.1. at 127.0.0.1", "from 192.0.2.1 to 192.0.2.2. at 127.0.0.1"),
        ("fe80::a6bb:6dff:fe12:3456 and ::1", "2001:db8::1 and ::1"),
        ("UUID=2b1f6b1e-77e5-4a2e-8f2b-6a0e8d8f1c55", "UUID=00000000-0000-4000-8000-000000000001"),
        ("UUID=4C1F-2A90 /dev/disk/by-uuid/4C1F-2A90", "UUID=volume-1 /dev/disk/by-uuid/volume-1"),
        ("LABEL=Archiv, /dev/disk/by-label/Archiv", "LABEL=label-1, /dev/disk/by-label/label-1"),
        ("/dev/mapper/vg-root /dev/mapper/control", "/dev/mapper/mapped-1 /dev/mapper/control"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@home", "ssh-key"),
        ("image '/srv/films/new.qcow2', /usr/bin/x", "image '/srv/name-1/name-2.qcow2', /usr/bin/x"),
        ("0000:00:02.0 8086:1912 12:34:56 1:2:3", "0000:00:02.0 8086:1912 12:34:56 1:2:3"),
        ("0x00000000fee00000 6.12.43+deb13-amd64 2.5", "0x00000000fee00000 6.12.43+deb13-amd64 2.5"),
        ("libmfx-gen.so.1.2.9, 62.28.102, /proc/1/fd", "libmfx-gen.so.1.2.9, 62.28.102, /proc/1/fd"),
        (
            "pci:v00008086d00001912sv00001028sd000006B9bc03sc00i00",
            "pci:v00008086d00001912sv00001028sd000006B9bc03sc00i00",
        ),
    ],
)
def test_text(text: str, shown: str) -> None:
    """What identifies gets a stand-in of its own form; versions, PCI ids and times stay. Twice is the same as once."""
    redact = redactor()

    assert shown == redact.text(text)
    assert shown == redact.text(shown)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/sys/bus/pci/devices/0000:00:02.0/driver", "/sys/bus/pci/devices/0000:00:02.0/driver"),
        ("/home/wilhelmine/vm/disk.img", "/home/user-1/vm/name-1.img"),
        ("/home/al/x", "/home/user-2/name-1"),
        ("/var/lib/libvirt/images/tax.qcow2", "/var/lib/libvirt/images/name-1.qcow2"),
        ("/etc/libvirt/qemu/tax.xml", "/etc/libvirt/qemu/vm-2.xml"),
        ("/dev/vg0/lv", "/dev/name-1/name-2"),
        ("/dev/sda1", "/dev/sda1"),
        ("/dev/dri/card0", "/dev/dri/card0"),
        (
            "/sys/fs/cgroup/machine.slice/machine-qemu-1-win.scope",
            "/sys/fs/cgroup/machine.slice/machine-qemu-1-vm-1.scope",
        ),
        ("/", "/"),
    ],
)
def test_paths(path: str, shown: str) -> None:
    assert shown == redactor().path(path)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("intel_iommu=on iommu=pt quiet video=efifb:off", "intel_iommu=on iommu=pt quiet video=efifb:off"),
        ("root=UUID=4C1F-2A90 ro", "root=UUID=volume-1 ro"),
        ("root=/dev/vg0/lv", "root=/dev/name-1/name-2"),
        ("root=/dev/sda2 console=ttyS0,115200n8", "root=/dev/sda2 console=ttyS0,115200n8"),
        (
            r"initrd=\EFI\proxmox\6.1\initrd.img BOOT_IMAGE=/vmlinuz",
            r"initrd=\EFI\proxmox\6.1\initrd.img BOOT_IMAGE=/vmlinuz",
        ),
        ("cryptdevice=x:y ip=10.0.0.1::eth0 my.secret=7", "cryptdevice=… ip=… my.secret=…"),
        ("quiet -- --password hunter2", "quiet "),
    ],
)
def test_kernel_command_lines(words: str, shown: str) -> None:
    """Values are kept of parameters that are known to be harmless, and of no others."""
    assert shown == redactor().content("/proc/cmdline", words.encode()).decode()


@pytest.mark.parametrize(
    ("path", "content", "shown"),
    [
        ("/proc/812/cmdline", "/usr/bin/qemu\0-name\0win\0", "/usr/bin/qemu\0"),
        ("/proc/812/cmdline", "sshd: wilhelmine [priv]", "sshd:\0"),
        ("/proc/812/cgroup", "0::/user.slice/user-1000.slice\n", "0::/user.slice/user-1000.slice\n"),
        (
            "/proc/812/cgroup",
            r"0::/machine.slice/machine-qemu\x2d1\x2dtax\x2dpc.scope",
            "0::/machine.slice/machine-qemu-1-vm-2.scope",
        ),
        ("/proc/812/cgroup", "0::/lxc/101/ns", "0::/lxc/101/ns"),
        ("/proc/mounts", "/dev/sda1 / ext4 rw,relatime 0 0\n", "/dev/sda1 / ext4 rw,relatime 0 0\n"),
        ("/proc/mounts", "nas:/x /mnt/a\\040b nfs rw,addr=1.2.3.4 0 0\n", "name-1/name-2 /mnt/name-3 nfs rw 0 0\n"),
        (
            "/proc/1/mountinfo",
            "26 1 8:1 / /home/al rw - ext4 /dev/sda1 rw,seclabel\n",
            "26 1 8:1 / /home/user-2 rw - ext4 /dev/sda1 rw,seclabel\n",
        ),
        ("/proc/1/mountinfo", "torn\n", "name-1\n"),
        (
            "/proc/net/route",
            "eno1\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\n",
            "eno1\t00000000\t000001C6\t0003\t0\t0\t0\t00000000\n",
        ),
        ("/sys/class/dmi/id/product_serial", "ABC\n", "serial-1\n"),
        ("/sys/class/dmi/id/product_name", "NUC\n", "NUC\n"),
        ("/sys/x/uevent", "DEVNAME=dri/card0\nHID_UNIQ=a4:bb\n", "DEVNAME=dri/card0\n"),
        ("/etc/modprobe.d/x.conf", "# my note\noptions vfio-pci ids=8086:1912\n", "options vfio-pci ids=8086:1912\n"),
        ("/etc/pve/qemu-server/101.conf", "name: tax\nnet0: x=y\nhostpci0: 00:02,pcie=1\n", "hostpci0: 00:02,pcie=1\n"),
        ("/etc/default/grub", 'A=1\nGRUB_CMDLINE_LINUX="quiet ip=1.2.3.4"\n', 'GRUB_CMDLINE_LINUX="quiet ip=…"\n'),
        ("/run/systemd/sessions/2", "USER=al\nTYPE=x11\nREMOTE_HOST=1.2.3.4\n", "USER=user-2\nTYPE=x11\n"),
    ],
)  # fmt: skip
def test_files(path: str, content: str, shown: str) -> None:
    assert shown == redactor().content(path, content.encode()).decode()


def test_an_acpi_table_keeps_its_structures_and_its_checksum() -> None:
    table = client_dmar()
    shown = redactor().content("/sys/firmware/acpi/tables/DMAR", table)

    assert parse_dmar(shown) == parse_dmar(table)
    assert (sum(table) % 256, len(table)) == (sum(shown) % 256, len(shown))
    assert b"INTEL" not in shown
    assert redactor().content("/sys/firmware/acpi/tables/DMAR", b"DMAR") == b"DMAR"


def test_a_network_card_s_serial_number_goes() -> None:
    """Extended capability 3, wherever it is in the list; a list that turns in circles ends."""
    config = bytearray(4096)
    struct.pack_into("<I", config, 0x100, 0x140 << 20 | 1 << 16 | 0x0001)
    struct.pack_into("<I", config, 0x140, 0x100 << 20 | 1 << 16 | 0x0003)
    config[0x144:0x14C] = b"\x56\x34\x12\xff\xff\x6d\xbb\xa4"
    shown = redactor().content("/sys/bus/pci/devices/0000:03:00.0/config", bytes(config))

    assert bytes(8) == shown[0x144:0x14C]
    assert shown[:0x144] == bytes(config[:0x144])


def qcow2(backing: str, version: int = 3) -> bytes:
    name = backing.encode()
    head = struct.pack(">4sIQIIQI", b"QFI\xfb", version, 200, len(name), 16, 2**34, 0).ljust(72, b"\0")
    if version == 3:
        head += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    extension = struct.pack(">II", 0xE2792ACA, 5) + b"qcow2\0\0\0" + struct.pack(">II", 0x6803F857, 6) + b"secret\0\0"
    return (head + extension).ljust(200, b"\0") + name + b"behind it"


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("backing", "shown"),
    [
        ("base.img", "name-2.img"),
        ("../other/base.qcow2", "../name-1/name-2.qcow2"),
        ("/var/lib/libvirt/images/base.img", "/var/lib/libvirt/images/name-1.img"),
        ("nbd://nas/secret", "nbd://…"),
    ],
)
def test_an_image_keeps_its_header_and_its_backing_file(version: int, backing: str, shown: str) -> None:
    head = redactor().content("/srv/films/tv.qcow2", qcow2(backing, version))
    before, after = read_qcow2(qcow2(backing, version)), read_qcow2(head)

    assert (before.virtual_bytes, before.backing_format) == (after.virtual_bytes, after.backing_format)
    assert after.backing == shown
    assert b"secret" not in head
    assert b"behind" not in head


def test_of_other_binary_files_only_their_kind_is_kept() -> None:
    kernel = (b"MZ" + b"private\0" * 100)[:0x202] + b"HdrS" + b"private\0" * 10
    redact = redactor()

    assert redact.content("/srv/x/raw.img", b"private\0" * 100) == bytes(800)
    assert redact.content("/srv/x/vmlinuz", kernel)[0x202:0x206] == b"HdrS"
    assert b"private" not in redact.content("/srv/x/vmlinuz", kernel)


def test_settings_stay_valid() -> None:
    settings = HostSettings.model_validate(
        {
            "vm": {"name": "tax-pc", "extra_args": ["-fw_cfg", "name=opt/x,string=secret"]},
            "disk": [{"path": "/srv/tax/tax-pc.qcow2"}],
            "network": [{"mac": "52:54:00:ab:cd:ef", "forwards": ["2222:22"]}],
            "share": [{"path": "/home/wilhelmine/films", "tag": "wilhelmine"}],
            "usb": [{"id": "0bda:2838"}],
        }
    )
    shown = HostSettings.model_validate(redactor().settings(settings.model_dump(mode="json")))

    assert (shown.vm.name, shown.vm.extra_args) == ("vm-2", ())
    assert [str(disk.path) for disk in shown.disk] == ["/srv/name-1/name-2.qcow2"]
    assert (shown.network[0].mac, shown.network[0].forwards) == ("02:00:00:00:00:01", ("2222:22",))
    assert (str(shown.share[0].path), shown.share[0].tag) == ("/home/user-1/name-3", "share-1")
    assert shown.usb == settings.usb
    assert shown.vm.qemu == Path("/usr/bin/qemu-system-x86_64")
