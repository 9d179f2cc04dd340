"""
What the host itself lives on: its disks in use and its way into the network, and the devices that carry them.

Whoever gives such a device to a guest loses the host. One look at all of them serves every question: may this PCI
device go, may this USB device go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from encoderd.host.processes import addresses_in, pids
from encoderd.pci import PciAddress
from encoderd.root import Root


class Stake(StrEnum):
    """What would be lost."""

    DISK = "disk"  #: the file system, swap space or volume on it
    ROUTE = "route"  #: the way to everyone else
    LINK = "link"  #: a network that is plugged in, but is not the way to everyone
    KEYBOARD = "keyboard"  #: a way to type on the host

    @property
    def is_vital(self) -> bool:
        return self in (Stake.DISK, Stake.ROUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifeline:
    """One thing that the host uses: what it is ("vda, mounted on /"), and its path below /sys/devices."""

    stake: Stake
    what: str
    path: str
    parent: PciAddress | None = None  #: the physical function, when a virtual one carries it

    def is_on_pci(self, address: PciAddress) -> bool:
        return address in addresses_in(self.path) or address == self.parent

    def is_on_usb(self, port: str) -> bool:
        """Is it the USB device on this port ("1-4.2"), or something behind it?"""
        return port in self.path.split("/")


def lifelines(root: Root) -> tuple[Lifeline, ...]:
    """Return what the host uses now, the vital things first."""
    found = [*_disks(root), *_networks(root), *_keyboards(root)]
    return tuple(sorted(found, key=lambda line: (not line.stake.is_vital, line.stake, line.what)))


def _lifelines_at(root: Root, stake: Stake, what: str, path: str) -> Lifeline:
    carriers = addresses_in(path)
    parent = root.link_name(f"/sys/bus/pci/devices/{carriers[-1]}/physfn") if carriers else None
    return Lifeline(
        stake=stake, what=what, path=path, parent=next(iter(addresses_in(parent)), None) if parent is not None else None
    )


# --- disks


def block_uses(root: Root, path: str) -> tuple[str, ...]:
    """Return what the host does with a block device and with the partitions on it: "sda2, mounted on /"."""
    name = root.real(path).rsplit("/", 1)[-1]
    uses = _disk_uses(root)
    for disk in root.names("/sys/block"):
        if name == disk:
            return tuple(_reasons(root, disk, uses))
        if name.startswith(disk) and name in root.names(f"/sys/block/{disk}"):
            whole = _part_reasons(root, f"/sys/block/{disk}", disk, uses)
            return (*whole, *_part_reasons(root, f"/sys/block/{disk}/{name}", name, uses))
    return ()


def _disks(root: Root) -> Iterator[Lifeline]:
    uses = _disk_uses(root)
    for disk in root.names("/sys/block"):
        reasons = _reasons(root, disk, uses)
        for path in _hardware(root, disk) if reasons else ():
            yield _lifelines_at(root, Stake.DISK, reasons[0], path)


def _reasons(root: Root, disk: str, uses: dict[str, list[str]]) -> list[str]:
    folder = f"/sys/block/{disk}"
    parts = [name for name in root.names(folder) if name.startswith(disk)]
    reasons = _part_reasons(root, folder, disk, uses)
    return reasons + [reason for part in parts for reason in _part_reasons(root, f"{folder}/{part}", part, uses)]


def _part_reasons(root: Root, folder: str, name: str, uses: dict[str, list[str]]) -> list[str]:
    """`holders` are the volumes and arrays that are made of it."""
    return [f"{name}, {use}" for use in uses.get(name, ())] + [
        f"{name}, part of {holder}" for holder in root.names(f"{folder}/holders")
    ]


def _hardware(root: Root, disk: str) -> list[str]:
    """Return where a disk hangs; an NVMe disk with several paths hangs on all controllers of its subsystem."""
    path = root.real(f"/sys/block/{disk}")
    if addresses_in(path):
        return [path]
    subsystem = root.real(f"/sys/block/{disk}/device")
    ways = [root.real(f"{subsystem}/{name}") for name in root.names(subsystem) if re.fullmatch(r"nvme\d+", name)]
    return ways if "/nvme-subsystem/" in f"{subsystem}/" else []


def _disk_uses(root: Root) -> dict[str, list[str]]:
    """Return what is done with each disk and partition, by the kernel's name of it ("sda2")."""
    uses: dict[str, list[str]] = {}

    def note(source: str, number: str, use: str) -> None:
        for name in {*_kernel_names(root, source), *_by_number(root, number)}:
            if use not in uses.setdefault(name, []):
                uses[name].append(use)

    for number, place, source in _mounts(root):
        note(source, number, f"mounted on {place}")
    for line in root.text("/proc/swaps").splitlines()[1:]:
        note(_unescaped(line.split(" ", 1)[0].split("\t", 1)[0]), "", "used for swapping")
    for word in root.text("/proc/cmdline").split():
        if word.startswith(("root=", "resume=")):
            note(word.partition("=")[2], "", f"named by {word} on the kernel's command line")
    for file_system in root.names("/sys/fs/btrfs"):  # a mount tells one of its disks only
        for name in root.names(f"/sys/fs/btrfs/{file_system}/devices"):
            note(f"/dev/{name}", "", "part of a mounted btrfs")
    for entry in root.names("/run/udev/data") if any(kind == "zfs" for kind in _mounted_kinds(root)) else ():
        if entry.startswith("b") and "E:ID_FS_TYPE=zfs_member" in root.text(f"/run/udev/data/{entry}"):
            note("", entry[1:], "part of a pool of ZFS")
    return uses


def _mounts(root: Root) -> set[tuple[str, str, str]]:
    """
    Return (device number, place, source) of what is mounted, in every mount namespace: containers have disks too.

    mountinfo's fields: proc.rst, section 3.5. Where a file system has no device of its own its number begins with 0.
    """
    found = set()
    seen: set[str] = set()
    for process in ("self", "1", *map(str, pids(root))):
        space = root.link(f"/proc/{process}/ns/mnt") or (process if process in ("self", "1") else "")
        if not space or space in seen:
            continue
        seen.add(space)
        for line in root.text(f"/proc/{process}/mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            fields, kinds = before.split(" "), after.split(" ")
            if len(fields) >= 5 and len(kinds) >= 2:
                found.add((fields[2], _unescaped(fields[4]), _unescaped(kinds[1])))
    for line in root.text("/proc/mounts").splitlines():
        words = line.split(" ")
        if len(words) >= 2:
            found.add(("", _unescaped(words[1]), _unescaped(words[0])))
    return found


def _mounted_kinds(root: Root) -> list[str]:
    return [words[2] for line in root.text("/proc/mounts").splitlines() if len(words := line.split(" ")) >= 3]


def _kernel_names(root: Root, source: str) -> list[str]:
    """Return the names of the disks that a mount's source or a root= stands for: "/dev/mapper/x" is "dm-0"."""
    names = []
    for one in source.split(":/") if source.startswith("/dev/") else [source]:  # bcachefs: /dev/sda:/dev/sdb
        word, _, value = one.partition("=")
        folder = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}
        path = f"/dev/disk/{folder[word]}/{value}" if word in folder else one if one[:1] == "/" else f"/{one}"
        if path.startswith("/dev/"):
            names.append(root.real(path).rsplit("/", 1)[-1])
    return names


def _by_number(root: Root, number: str) -> list[str]:
    name = root.link_name(f"/sys/dev/block/{number}") if number and not number.startswith("0:") else None
    return [name] if name else []


def _unescaped(text: str) -> str:
    r"""Undo the kernel's way of writing spaces in a path: "\040"."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


# --- networks


def _networks(root: Root) -> Iterator[Lifeline]:
    """
    The interfaces below the default route: through bridges, bonds and VLANs, whose parts are their `lower_*` links.

    Where the default route goes over something without hardware below it (a VPN, Open vSwitch), any network that is
    plugged in may carry it.
    """
    hardware = {
        name: path
        for name in root.names("/sys/class/net")
        if addresses_in(path := root.real(f"/sys/class/net/{name}"))
        or addresses_in(path := root.real(f"/sys/class/net/{name}/device"))
    }
    carriers: dict[str, str] = {}
    lost = ""
    for interface in _default_routes(root):
        below = _below(root, interface) & hardware.keys()
        carriers |= dict.fromkeys(below, interface)
        lost = lost or (interface if not below else "")
    for name, path in hardware.items():
        plugged = root.text(f"/sys/class/net/{name}/carrier").strip() == "1"
        if name in carriers:
            over = f" through {carriers[name]}" if carriers[name] != name else ""
            yield _lifelines_at(root, Stake.ROUTE, f"{name}, which carries the default route{over}", path)
        elif lost and plugged:
            yield _lifelines_at(root, Stake.ROUTE, f"{name}, which may carry the default route through {lost}", path)
        elif plugged:
            yield _lifelines_at(root, Stake.LINK, f"{name}, which is connected", path)


def _default_routes(root: Root) -> list[str]:
    """
    Return the interfaces of default routes; a VPN's half of one (0.0.0.0/1) is one too, a refusal ("*", lo) is none.

    Fields: fib_route_seq_show in net/ipv4/fib_trie.c, rt6_info_route in net/ipv6.
    """
    found = []
    for line in root.text("/proc/net/route").splitlines()[1:]:
        words = line.split()
        if len(words) >= 8 and words[1] == "00000000" and words[0] != "*":
            found.append(words[0])
    for line in root.text("/proc/net/ipv6_route").splitlines():
        words = line.split()
        if len(words) >= 10 and words[0] == "0" * 32 and words[1] == "00" and words[9] != "lo":
            found.append(words[9])
    return list(dict.fromkeys(found))


def _below(root: Root, interface: str) -> set[str]:
    """Return an interface and all that it is made of."""
    found: set[str] = set()
    waiting = [interface]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        folder = f"/sys/class/net/{name}"
        waiting += [entry.removeprefix("lower_") for entry in root.names(folder) if entry.startswith("lower_")]
        waiting += root.names(f"{folder}/brif")
        waiting += root.text(f"{folder}/bonding/slaves").split()
    return found


# --- keyboards


def _keyboards(root: Root) -> Iterator[Lifeline]:
    """A keyboard sends keys and repeats them, and has lights: EV bits 0, 1, 4, 17, 20 (input-event-codes.h)."""
    for block in root.text("/proc/bus/input/devices").split("\n\n"):
        lines = dict(line[3:].partition("=")[::2] for line in block.splitlines() if line[1:3] == ": ")
        path = lines.get("Sysfs", "")
        if lines.get("EV", "").strip() == "120013" and addresses_in(path):
            yield _lifelines_at(root, Stake.KEYBOARD, f"the keyboard {lines.get('Name', '').strip()}", path)
