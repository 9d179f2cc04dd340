"""
Who has a device open: every process's open files, held against the device nodes of the PCI devices.

The kernel takes a GPU away from under its users without a word, and never again gives up an unbinding from vfio-pci
while somebody holds the device. So the processes are asked before anything is written.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from encoderd.errors import SettingsError
from encoderd.host.cgroups import owner
from encoderd.pci import PciAddress
from encoderd.root import Root

#: An address as a folder's name below /sys/devices.
_FOLDER = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")

#: Open in every process, and never a node of a PCI device.
_EVERYWHERE = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random", "/dev/pts/", "/dev/shm/")

#: Nodes whose users notice an unplugged device and go on.
_BEAR_UNPLUGGING = ("/dev/input/", "/dev/hidraw", "/dev/bus/usb/", "/dev/usb/", "/dev/ttyUSB", "/dev/ttyACM")

#: A device's file in hand without the node it was opened by. Source: vfio_main.c, anon_inode_getfile("[vfio-device]").
_NAMELESS = "anon_inode:[vfio-device]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """
    A device node: its path, its kind and number ("c226:128", "" when it is not known), and what it belongs to.

    `device` is the PCI device below which the kernel made it, `group` the IOMMU group for /dev/vfio/N.
    """

    path: str
    number: str
    device: PciAddress | None = None
    group: int | None = None

    @property
    def is_vfio(self) -> bool:
        return self.path.startswith("/dev/vfio/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """
    A process that has a node open.

    `container` is its owner as `cgroups.owner` words it, `node` the host's path. Of `device` and `group` one is known,
    neither for a VFIO device that cannot be told.
    """

    pid: int
    name: str
    node: str
    container: str
    device: PciAddress | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFiles:
    """Who has which node open, by PID; `unseen` counts the processes whose files this user may not see."""

    openers: tuple[Opener, ...]
    unseen: int


def openers(root: Root, device: PciAddress) -> tuple[Opener, ...]:
    """Return who uses a device through its driver: /dev/dri, /dev/fbN, /dev/i2c-N, /dev/snd, /dev/dvb, disks."""
    return tuple(opener for opener in open_files(root).openers if uses(opener, device))


def holders(root: Root, group: int | None, devices: tuple[PciAddress, ...]) -> tuple[Opener, ...]:
    """Return who holds an IOMMU group (/dev/vfio/N) or one of these devices (/dev/vfio/devices/vfioX)."""
    return tuple(opener for opener in open_files(root).openers if holds(opener, group, devices))


def uses(opener: Opener, device: PciAddress) -> bool:
    """Does it have the device open through its driver?"""
    return opener.device == device and not opener.node.startswith("/dev/vfio/")


def holds(opener: Opener, group: int | None, devices: Iterable[PciAddress]) -> bool:
    """Does it hold the group or one of the devices through VFIO? One that cannot be told might be it."""
    if opener.node == _NAMELESS:
        return opener.device is None or opener.device in devices
    if not opener.node.startswith("/dev/vfio/"):
        return False
    return (group is not None and opener.group == group) or (opener.device is not None and opener.device in devices)


def minds_unbinding(opener: Opener) -> bool:
    """
    Does it break, or block, when the driver is unbound? Who has an input or a USB node open sees it unplugged, and goes
    on.
    """
    return not opener.node.startswith(_BEAR_UNPLUGGING)


def open_files(root: Root, known: tuple[Node, ...] | None = None) -> OpenFiles:
    """
    Return who has one of the `known` nodes open; without them, what belongs to any PCI device or to VFIO.

    On the running host a file counts by its device number, because a container may call its node otherwise; on a
    recorded one by its path. Processes come and go meanwhile: one that has gone has nothing open.
    """
    live = is_live(root)
    known = nodes(root) if known is None else known
    by_number = {node.number: node for node in known if node.number}
    by_path = {node.path: node for node in known}
    found: dict[tuple[int, str], Opener] = {}
    unseen = 0
    for pid in pids(root):
        links = [(number, root.link(f"/proc/{pid}/fd/{number}")) for number in root.names(f"/proc/{pid}/fd")]
        if _is_hidden(root, pid, [link for _, link in links]):
            unseen += 1
        hits: list[tuple[str, Node | None]] = []
        for number, link in links:
            if link.startswith("/dev/") and not link.startswith(_EVERYWHERE):
                path = link.removesuffix(" (deleted)")
                node = by_number.get(_number(root, f"/proc/{pid}/fd/{number}")) if live else by_path.get(path)
                if node is not None:
                    hits.append((node.path, node))
            elif link == _NAMELESS:
                hits.append((link, _told_by_fdinfo(root, pid, number)))
        # Whoever also has a node of VFIO open holds that one; the nameless file came from it.
        named = any(node is not None and node.is_vfio for _, node in hits)
        for path, node in hits:
            if (pid, path) in found or (path == _NAMELESS and node is None and named):
                continue
            found[pid, path] = Opener(
                pid=pid,
                name=root.text(f"/proc/{pid}/comm").strip() or "?",
                node=path,
                container=owner(root.text(f"/proc/{pid}/cgroup")),
                device=node.device if node is not None else None,
                group=node.group if node is not None else None,
            )
    return OpenFiles(openers=tuple(sorted(found.values(), key=lambda opener: (opener.pid, opener.node))), unseen=unseen)


def nodes(root: Root) -> tuple[Node, ...]:
    """Return the nodes of all PCI devices, and those of VFIO's groups."""
    found: dict[str, Node] = {}
    for kind, folder in (("c", "/sys/dev/char"), ("b", "/sys/dev/block")):
        for number in root.names(folder):
            device = nearest(root.link(f"{folder}/{number}"))
            if device is not None and (path := _devname(root, f"{folder}/{number}")):
                found[path] = Node(path=path, number=f"{kind}{number}", device=device)
    for device in _addresses(root.names("/sys/bus/pci/devices")):
        for node in _nodes_below(root, device):
            found.setdefault(node.path, node)
    for name in {*root.names("/dev/vfio"), *root.names("/sys/class/vfio")}:
        group = name.removeprefix("noiommu-")
        if group.isdecimal():
            number = root.text(f"/sys/class/vfio/{name}/dev").strip()
            found[f"/dev/vfio/{name}"] = Node(
                path=f"/dev/vfio/{name}", number=f"c{number}" if number else "", group=int(group)
            )
    return tuple(found.values())


def pids(root: Root) -> list[int]:
    return sorted(int(name) for name in root.names("/proc") if name.isdecimal())


def is_live(root: Root) -> bool:
    """Is this the running host, whose device nodes are real ones?"""
    return os.path.realpath(root.folder) == "/"


def addresses_in(path: str) -> list[PciAddress]:
    """Return the PCI devices that a path below /sys/devices passes: bridges first, the device itself last."""
    return list(_addresses(part for part in path.split("/") if _FOLDER.fullmatch(part)))


def nearest(path: str) -> PciAddress | None:
    return next(reversed(addresses_in(path)), None)


def _addresses(names: Iterable[str]) -> Iterator[PciAddress]:
    for name in names:
        try:
            yield PciAddress.parse(name)
        except SettingsError:
            continue


def _nodes_below(root: Root, device: PciAddress) -> Iterator[Node]:
    """Yield the nodes that sysfs shows in the device's own folder: all that there is without /sys/dev."""
    folder = f"/sys/bus/pci/devices/{device}"
    for room, place in (("drm", "/dev/dri/"), ("graphics", "/dev/"), ("vfio-dev", "/dev/vfio/devices/")):
        for name in root.names(f"{folder}/{room}"):
            if re.fullmatch(r"(card|renderD|fb|vfio)\d+", name):
                number = root.text(f"{folder}/{room}/{name}/dev").strip()
                yield Node(path=place + name, number=f"c{number}" if number else "", device=device)
    for name in root.names(folder):
        if re.fullmatch(r"i2c-\d+", name):
            yield Node(path=f"/dev/{name}", number=f"c89:{name[4:]}", device=device)  # major 89: devices.txt


def _devname(root: Root, entry: str) -> str:
    """Return the node's path as its uevent file tells it: "DEVNAME=dri/card0"."""
    found = re.search(r"^DEVNAME=(.+)$", root.text(f"{entry}/uevent"), re.MULTILINE)
    return f"/dev/{found[1]}" if found else ""


def _number(root: Root, path: str) -> str:
    try:
        status = root.at(path).stat()
    except (OSError, ValueError):
        return ""
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    return f"{kind}{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if kind else ""


def _told_by_fdinfo(root: Root, pid: int, number: str) -> Node | None:
    """Newer kernels tell which device a nameless file is: "vfio-device-syspath: /sys/devices/…" (proc.rst)."""
    found = re.search(r"^vfio-device-syspath:\s*(\S+)", root.text(f"/proc/{pid}/fdinfo/{number}"), re.MULTILINE)
    device = nearest(found[1]) if found else None
    return Node(path=_NAMELESS, number="", device=device) if device is not None else None


def _is_hidden(root: Root, pid: int, links: list[str]) -> bool:
    """Kernel threads have no files and no command line; whoever has a command line has files."""
    if links:
        return not any(links)
    folder = root.at(f"/proc/{pid}/fd")
    return bool(root.head(f"/proc/{pid}/cmdline", 1)) and folder.is_dir() and not os.access(folder, os.R_OK)
