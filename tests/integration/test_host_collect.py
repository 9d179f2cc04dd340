"""A host's recording: it tells the same facts elsewhere, and nothing of whose host it is."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from encoderd.errors import EncoderdError
from encoderd.host.checks import host_findings
from encoderd.host.collect import CollectedFile, collect, learnt_of
from encoderd.host.facts import HostFacts, gather
from encoderd.host.kvm import Kvm, KvmStart
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.replay import Recorded, open_collected, with_learnt
from encoderd.host.settings import DiskSettings, HostSettings, NetworkSettings, ShareSettings, VmSettings
from encoderd.root import Root
from tests.hosts.machines import MACHINES, Machine, everything_healthy
from tests.hosts.tree import HostTree
from tests.often import often

PLAIN = HostSettings()
QEMU = QemuProperties(version=(7, 2, 0), machines=frozenset({"q35"}), devices={"vfio-pci": {"host": ""}})


def made(machine: HostTree, target: Path, settings: HostSettings = PLAIN) -> CollectedFile:
    def look(root: Root) -> HostFacts:
        return gather(root, settings, live=False, qemu=QEMU)

    return collect(machine.root, settings, target, gather=look, qemu=QEMU, learnt=learnt_of)


@pytest.fixture
def replayed(tmp_path: Path) -> Iterator[Callable[..., Recorded]]:
    """Collect a machine and open what was collected."""
    opened: list[Any] = []

    def open_it(machine: HostTree, settings: HostSettings = PLAIN) -> Recorded:
        target = tmp_path / "host.tar.gz"
        made(machine, target, settings)
        context = open_collected(target)
        opened.append(context)
        return context.__enter__()

    yield open_it
    for context in opened:
        context.__exit__(None, None, None)


def without_disk_names(facts: HostFacts) -> HostFacts:
    """The kernel's command line names the root file system, and findings are not made of its name."""
    words = tuple(word for word in facts.platform.kernel.words if not word.startswith(("root=", "boot=")))
    kernel = dataclasses.replace(facts.platform.kernel, words=words)
    return dataclasses.replace(facts, platform=dataclasses.replace(facts.platform, kernel=kernel))


@pytest.mark.parametrize("name", often(5, MACHINES))
def test_a_recorded_host_is_judged_like_the_host(name: str, tmp_path: Path, replayed: Callable[..., Recorded]) -> None:
    """Whatever was read is in the file: the same facts, and the same findings word by word."""
    machine = MACHINES[name](tmp_path / "host")
    there = replayed(machine)
    assert there.settings is not None
    before = gather(machine.root, PLAIN, live=False, qemu=QEMU)
    after = gather(there.root, there.settings, live=False, qemu=there.qemu)

    assert without_disk_names(before) == without_disk_names(after)
    assert host_findings(before, PLAIN) == host_findings(after, there.settings)
    assert there.qemu == QEMU


SECRETS = {
    "host": "aurora77",
    "user": "wilhelmine",
    "full name": "Wilhelmine",
    "vm": "steuerrechner",
    "container": "urlaubsfotos",
    "mac": "a4:bb:6d:12:34:56",
    "mac in a name": "a4bb6d654321",
    "ip": "192.168.178.44",
    "ip in a route": "2CB2A8C0",
    "ipv6": "fd12:3456:789a:1::5",
    "root file system": "2b1f6b1e-77e5-4a2e-8f2b-6a0e8d8f1c55",
    "label": "FAMILIENARCHIV",
    "fat volume": "4C1F-2A90",
    "volume group": "geheimvg",
    "machine id": "0f3c5a7798b14de0a1c2d3e4f5a6b7c8",
    "serial": "S3Z9NX0M123456",
    "board serial": "MB-9981-22",
    "disk by id": "ata-Samsung_SSD_S3Z9NX0M123456",
    "ssh key": "AAAAB3NzaC1yc2EAAAADAQABAAABgQDgeheim",
    "command line": "--password=hunter2",
    "open file": "tagebuch.odt",
    "image": "rechnungen2025",
    "folder": "privatvideos",
    "share": "oma-aufnahmen",
    "backing": "grundsystem-fuer-alle",
    "kernel argument": "cryptdevice-xyz-geheim",
    "mount option": "credentials=/root/smbpass",
    "nas": "nas-im-keller",
    "container id": "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0",
    "comment": "Passwort fuer den Router",
}


def qcow2(backing: str) -> bytes:
    name = backing.encode()
    head = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 112, len(name), 16, 2**34, 0, *[0] * 9, 4, 104)
    return head.ljust(112, b"\0") + name


def full_of_secrets(folder: Path) -> Machine:
    machine = everything_healthy(folder)
    secret = SECRETS
    user, vm, host = secret["user"], secret["vm"], secret["host"]
    machine.write("/etc/hostname", f"{host}\n")
    machine.write("/proc/sys/kernel/hostname", f"{host}\n")
    machine.write("/etc/machine-id", secret["machine id"] + "\n")
    machine.write("/etc/passwd", f"root:x:0:0:root:/root:/bin/sh\n{user}:x:1000:1000:{secret['full name']},,,:/h:/b\n")
    machine.make(f"/home/{user}")
    machine.cmdline(
        f"BOOT_IMAGE=/boot/vmlinuz root=/dev/{secret['volume group']}/root resume=LABEL={secret['label']} "
        f"cryptdevice={secret['kernel argument']} ip={secret['ip']}::: intel_iommu=on iommu=pt systemd.hostname={host}"
    )
    machine.link(f"/dev/{secret['volume group']}/root", "../sda1")
    machine.link(f"/dev/disk/by-label/{secret['label']}", "../../sda1")
    machine.link(f"/dev/disk/by-id/{secret['disk by id']}", "../../sda")
    mounts = (
        f"/dev/disk/by-label/{secret['label']} / ext4 rw 0 0\n"
        f"//{secret['nas']}/films /mnt/{secret['folder']} cifs rw,addr={secret['ip']},{secret['mount option']} 0 0\n"
        f"UUID={secret['fat volume']} /boot/efi vfat rw 0 0\n"
    )
    machine.write("/proc/mounts", mounts)
    machine.write(
        "/proc/self/mountinfo",
        f"26 1 8:1 / / rw shared:1 - ext4 /dev/{secret['volume group']}/root rw\n"
        f"27 26 0:44 /x /mnt/{secret['folder']} rw - cifs //{secret['nas']}/films rw,{secret['mount option']}\n",
    )
    machine.write(
        "/proc/net/route",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        f"eno1\t00000000\t{secret['ip in a route']}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
    )
    wireless = "/sys/bus/pci/devices/0000:00:1f.6/net/wlx" + secret["mac in a name"]
    machine.write(f"{wireless}/address", secret["mac"] + "\n")
    machine.write(f"{wireless}/carrier", "1\n")
    machine.link("/sys/class/net/wlx" + secret["mac in a name"], wireless)
    machine.write("/sys/class/dmi/id/board_serial", secret["board serial"] + "\n")
    machine.write(
        "/proc/bus/input/devices",
        f'N: Name="{secret["full name"]}s Tastatur"\nP: Phys=\nS: Sysfs=/devices/pci0000:00/0000:00:14.0/usb1/1-1\n'
        f"U: Uniq={secret['mac']}\nB: EV=120013\n\n",
    )
    machine.process(
        812,
        "qemu-system-x86",
        {3: "/dev/dri/card1", 4: f"/home/{user}/{secret['open file']}", 5: "socket:[99]"},
        rf"/machine.slice/machine-qemu\x2d3\x2d{vm}.scope",
    )
    machine.write("/proc/812/cmdline", f"/usr/bin/qemu-system-x86_64\0-name\0{vm}\0{secret['command line']}\0")
    machine.process(900, "ffmpeg", {3: "/dev/dri/renderD128"}, f"/system.slice/docker-{secret['container id']}.scope")
    machine.process(901, "vainfo", {3: "/dev/dri/renderD128"}, f"/lxc/{secret['container']}/ns")
    machine.write(
        f"/etc/libvirt/qemu/{vm}.xml",
        f"<domain><name>{vm}</name><uuid>{secret['root file system']}</uuid><title>{secret['comment']}</title><devices>"
        f"<interface><mac address='{secret['mac']}'/></interface><hostdev mode='subsystem' type='pci'><source>"
        "<address domain='0x0000' bus='0x00' slot='0x02' function='0x0'/></source></hostdev></devices></domain>\n",
    )
    machine.write(
        "/etc/modprobe.d/mine.conf",
        f"# {secret['comment']}\noptions vfio-pci ids=8086:191d\n# {secret['ssh key']}\n"
        f"options dummy name={secret['container']}\n",  # a name that only a process's cgroup explains, and later
    )
    machine.write("/run/systemd/sessions/2", f"UID=1000\nUSER={user}\nTYPE=wayland\nSEAT=seat0\nREMOTE_HOST={host}\n")
    machine.write(f"/srv/{secret['folder']}/{secret['image']}.qcow2", qcow2(f"{secret['backing']}.img"))
    machine.write(f"/srv/{secret['folder']}/{secret['backing']}.img", secret["serial"].encode() + b"\0" * 600)
    machine.make(f"/srv/{secret['share']}")
    return machine


def secret_settings() -> HostSettings:
    folder = f"/srv/{SECRETS['folder']}"
    return HostSettings(
        vm=VmSettings(name=SECRETS["vm"], extra_args=("-fw_cfg", f"name=opt/x,string={SECRETS['command line']}")),
        disk=(DiskSettings(path=Path(f"{folder}/{SECRETS['image']}.qcow2")),),
        network=(NetworkSettings(mac=SECRETS["mac"]),),
        share=(ShareSettings(path=Path(f"/srv/{SECRETS['share']}"), tag=SECRETS["share"], type="9p"),),
    )


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    """Neither in contents nor in names, in whatever spelling."""
    machine = full_of_secrets(tmp_path / "host")
    extra = ["/sys/class/dmi/id/board_serial", "/etc/machine-id", "/sys/class/net/wlx" + SECRETS["mac in a name"]]

    def look(root: Root) -> HostFacts:
        for path in extra:  # what nobody reads today may be read tomorrow
            root.text(path)
            root.text(f"{path}/address")
        root.text("/etc/hostname")
        root.names("/dev/disk/by-id")
        root.real(f"/dev/disk/by-id/{SECRETS['disk by id']}")
        root.text("/proc/812/cmdline")
        root.head(f"/srv/{SECRETS['folder']}/{SECRETS['backing']}.img", 512)
        root.exists(f"/srv/{SECRETS['folder']}/{SECRETS['open file']}")
        return gather(root, secret_settings(), live=False, qemu=QEMU)

    collect(machine.root, secret_settings(), tmp_path / "host.tar.gz", gather=look, learnt=learnt_of)
    data = gzip.decompress((tmp_path / "host.tar.gz").read_bytes()).lower()
    found = {
        name
        for name, secret in SECRETS.items()
        for form in {secret, secret.replace(":", ""), secret.replace("-", "\\x2d"), secret[:12]}
        if form.lower().encode() in data
    }

    assert found == set()
    assert str(tmp_path).encode() not in data


def test_relations_survive_redaction(tmp_path: Path, replayed: Callable[..., Recorded]) -> None:
    """Who holds what, what is mounted from where, which image stands on which: all of it under other names."""
    machine = full_of_secrets(tmp_path / "host")
    there = replayed(machine, secret_settings())
    assert there.settings is not None
    before = gather(machine.root, secret_settings(), live=False, qemu=QEMU)
    after = gather(there.root, there.settings, live=False, qemu=there.qemu)

    assert [finding.check for finding in host_findings(before, secret_settings())] == [
        finding.check for finding in host_findings(after, there.settings)
    ]
    assert [finding.verdict for finding in host_findings(before, secret_settings())] == [
        finding.verdict for finding in host_findings(after, there.settings)
    ]
    assert [(opener.pid, opener.name, opener.node) for opener in before.usage.open_by] == [
        (opener.pid, opener.name, opener.node) for opener in after.usage.open_by
    ]
    assert [line.path for line in before.usage.lifelines if "wlx" not in line.path] == [
        line.path for line in after.usage.lifelines if "wlx" not in line.path
    ]
    assert {opener.container for opener in after.usage.open_by} == {
        "libvirt vm-1",
        "docker 000000000001",
        "lxc container-1",
    }
    assert [claim.says for claim in after.usage.claims if claim.who == "libvirt"] == [
        "it belongs to the guest vm-1, which is off"
    ]


def test_what_trying_said_is_kept(tmp_path: Path) -> None:
    """/dev/kvm and the processor model are tried on the host only; elsewhere the answer is given back."""
    machine = everything_healthy(tmp_path / "host")
    start = KvmStart(model="Haswell-noTSX", refused="host: failed to set MSR 0x10a")

    def tried(root: Root) -> HostFacts:
        facts = gather(root, PLAIN, live=False, qemu=QEMU)
        return dataclasses.replace(facts, platform=dataclasses.replace(facts.platform, kvm=Kvm.WORKS, kvm_start=start))

    collect(machine.root, PLAIN, tmp_path / "host.tar.gz", gather=tried, learnt=learnt_of)
    with open_collected(tmp_path / "host.tar.gz") as there:
        facts = with_learnt(gather(there.root, PLAIN, live=False), there.learnt)

    assert (Kvm.WORKS, start) == (facts.platform.kvm, facts.platform.kvm_start)


def test_a_folder_can_be_judged_too(tmp_path: Path) -> None:
    """Unpacked by hand, or a tree that nobody collected."""
    machine = everything_healthy(tmp_path / "host")
    made(machine, tmp_path / "host.tar.gz")
    with tarfile.open(tmp_path / "host.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    with open_collected(tmp_path / "unpacked") as unpacked, open_collected(tmp_path / "host") as tree:
        devices = [sorted(root.names("/sys/bus/pci/devices")) for root in (unpacked.root, tree.root)]

    assert devices[0] == devices[1] != []
    assert (unpacked.qemu, tree.qemu) == (QEMU, None)


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "host.tar.gz").write_text("mine", "utf-8")
    with pytest.raises(EncoderdError, match="exists; it is not replaced"):
        made(everything_healthy(tmp_path / "host"), tmp_path / "host.tar.gz")

    assert (tmp_path / "host.tar.gz").read_text("utf-8") == "mine"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(EncoderdError, match="cannot be written") as raised:
        made(everything_healthy(tmp_path / "host"), tmp_path / "none" / "host.tar.gz")

    assert raised.value.remedy


LARGE = 2**20


def packed(path: Path, members: list[tarfile.TarInfo], manifest: object = None) -> Path:
    """An archive as a stranger might send one."""
    text = json.dumps({"schema": 1, "links": {}} if manifest is None else manifest).encode()
    with tarfile.open(path, "w:gz") as archive:
        first = tarfile.TarInfo("collected.json")
        first.size = len(text)
        archive.addfile(first, io.BytesIO(text))
        for member in members:
            if member.size > LARGE:
                assert archive.fileobj is not None
                archive.fileobj.write(member.tobuf())  # it only says so
            else:
                archive.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 1) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, target, size if kind == tarfile.REGTYPE else 0
    return found


SYMLINK = tarfile.SYMTYPE


@pytest.mark.parametrize(
    "members",
    [
        [member("/etc/cron.d/x")],
        [member("../x")],
        [member("root/../../x")],
        [member("root/a/./b")],
        [member("other/x")],
        [member("root/link", SYMLINK, "/etc/passwd")],
        [member("root/link", SYMLINK, "../x")],
        [member("root/a/link", SYMLINK, "../../x")],
        [member("root/a/link", SYMLINK, "b/../../../x")],
        [member("root/a/link", SYMLINK, "b/..")],
        [member("collected.json/x", SYMLINK, "y")],
        [member("root/a", SYMLINK, "b"), member("root/a/c")],
        [member("root/b", tarfile.DIRTYPE), member("root/a", SYMLINK, "b"), member("root/a/c", SYMLINK, "d")],
        [member("root/hard", tarfile.LNKTYPE, "collected.json")],
        [member("root/null", tarfile.CHRTYPE)],
        [member("root/sda", tarfile.BLKTYPE)],
        [member("root/fifo", tarfile.FIFOTYPE)],
        [member("root/a"), member("root/a")],
        [member("root/a"), member("root/a/b")],
        [member("root/" + "a" * 300)],
        [member("root/" + "a/" * 600 + "b")],
        [member("root/large", size=200 * 2**20)],
    ],
    ids=lambda members: " ".join(f"{one.name[:20]}>{one.linkname[:12]}" for one in members),
)
def test_a_stranger_s_archive_stays_where_it_is(members: list[tarfile.TarInfo], tmp_path: Path) -> None:
    """Refused with a remedy, and nothing is left of it, neither here nor elsewhere."""
    archive = packed(tmp_path / "host.tar.gz", members)
    with pytest.raises(EncoderdError, match="is no recording of a host") as raised, open_collected(archive):
        pass

    assert "encoderd-host collect" in raised.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["host.tar.gz"]


@pytest.mark.parametrize(
    "manifest",
    [[], {}, {"schema": 2}, {"schema": 1, "links": []}, {"schema": 1, "links": {"/a": 1}}, {"schema": 1, "qemu": {}},
     {"schema": 1, "settings": {"vm": {"memory_mib": "much"}}}],
)  # fmt: skip
def test_a_recording_that_says_nonsense(manifest: object, tmp_path: Path) -> None:
    archive = packed(tmp_path / "host.tar.gz", [member("root/proc/cmdline")], manifest)
    with pytest.raises(EncoderdError, match="is no recording of a host"), open_collected(archive):
        pass


@pytest.mark.parametrize(
    "data",
    [b"", b"no archive", gzip.compress(b"no tar"), gzip.compress(b"x" * 5000)[:40]],
    ids=["empty", "text", "no tar", "torn"],
)
def test_a_file_that_is_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "host.tar.gz").write_bytes(data)
    with pytest.raises(EncoderdError, match="is no recording of a host"), open_collected(tmp_path / "host.tar.gz"):
        pass


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EncoderdError, match="There is no"), open_collected(tmp_path / "none"):
        pass


def test_a_file_that_unpacks_to_too_much(tmp_path: Path) -> None:
    """A few bytes may stand for many."""
    archive = packed(tmp_path / "host.tar.gz", [member("root/zeros", size=LARGE)])
    with pytest.raises(EncoderdError, match="larger than any recording"), open_collected(archive, most_bytes=LARGE):
        pass

    assert archive.stat().st_size < LARGE / 100


#: Every kind of thing that a Root can meet, and every way of asking for it.
PLACES = (
    "/", "/sys", "/sys/a", "/sys/a/text", "/sys/a/empty", "/sys/a/none", "/sys/b", "/sys/b/text", "/sys/loop",
    "/sys/loop/x", "/sys/a/up", "/sys/a/dangling", "/var/run", "/var/run/lock", "/proc/7/fd/3", "/proc/7/fd/4",
    "/proc/7/ns/mnt", "/sys/a/text/below", "/dev/text", "/dev", "sys/a/text", "/sys//a/", "/proc/7/fd", "/sys/secret",
)  # fmt: skip
QUESTIONS: dict[str, Callable[[Root, str], object]] = {
    "text": lambda root, path: root.text(path),
    "head": lambda root, path: root.head(path, 3),
    "names": lambda root, path: root.names(path),
    "link": lambda root, path: root.link(path),
    "link_name": lambda root, path: root.link_name(path),
    "exists": lambda root, path: root.exists(path),
    "size_bytes": lambda root, path: root.size_bytes(path),
    "real": lambda root, path: root.real(path),
    "is_dir": lambda root, path: root.at(path).is_dir(),
    "mode": lambda root, path: root.at(path).stat().st_mode & 0o777 if root.at(path).is_file() else None,
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_whatever_a_root_answers_the_recording_answers_too(question: str, tmp_path: Path) -> None:
    """Each question is asked of a recording of just that question, so that no other one's notes can help."""
    host = HostTree(tmp_path / "host")
    host.write("/sys/a/text", "some text\n")
    host.write("/sys/a/empty", "")
    host.write("/sys/secret", "closed\n")
    host.at("/sys/secret").chmod(0o640)
    host.link("/sys/b", "a")
    host.link("/sys/a/up", "../a")
    host.link("/sys/a/dangling", "../none")
    host.link("/sys/loop", "loop")
    host.make("/run/lock")
    host.link("/var/run", "../run")
    host.link("/proc/7/fd/3", "socket:[99]")
    host.link("/proc/7/fd/4", "anon_inode:[eventfd]")
    host.link("/proc/7/ns/mnt", "mnt:[4026531841]")
    host.write("/dev/text", b"abc")
    with host.at("/dev/text").open("r+b") as file:
        file.truncate(2**33)
    # On a running kernel what such a link stands for exists; a folder cannot show that.
    magic = question in ("exists", "real", "mode")
    places = [place for place in PLACES if not (magic and place.startswith("/proc/7/")) and place != f"/dev/{question}"]

    def ask(root: Root) -> dict[str, object]:
        return {place: QUESTIONS[question](root, place) for place in places}

    before = ask(host.root)
    collect(host.root, PLAIN, tmp_path / "host.tar.gz", gather=ask)
    with open_collected(tmp_path / "host.tar.gz") as there:
        assert before == ask(there.root)
