"""What the guest's network, USB devices and shared folders find on the host; facts only."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass

from encoderd.host.settings import HostSettings, NetworkSettings, ShareSettings
from encoderd.root import Root

_BRIDGE_RULES = "/etc/qemu/bridge.conf"

#: Where distributions put it: first the one in Rust, then QEMU's own, in C, which ended with 7.2.
_VIRTIOFSD = (
    "/usr/libexec/virtiofsd",
    "/usr/lib/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/local/libexec/virtiofsd",
    "/usr/local/bin/virtiofsd",
    "/usr/bin/virtiofsd",
)
_BRIDGE_HELPERS = ("/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper")

_USB_HUB = 0x09  # bDeviceClass: USB-IF, "Defined Class Codes"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbDevice:
    """A USB device: `port` is "1-4.2" as in sysfs, `id` "0bda:2838", `path` its place below /sys/devices."""

    port: str
    id: str
    name: str
    is_hub: bool
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts:
    """
    One of the guest's networks. `exists` is True for user; `allowed` says whether bridge.conf permits the bridge to
    those who are not root; `taken` are the host's ports of its forwards that somebody listens on.
    """

    settings: NetworkSettings
    exists: bool = True
    is_what_it_should_be: bool = True
    allowed: bool = True
    helper: bool = True
    taken: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareFacts:
    """
    A shared folder: `is_folder` is False for what is not there too. `writable` and `free_bytes` (what its file system
    has left) are None on a recorded host.
    """

    settings: ShareSettings
    is_folder: bool
    writable: bool | None = None
    free_bytes: int | None = None


def usb_devices(root: Root) -> tuple[UsbDevice, ...]:
    """Return the USB devices by port, without the root hubs; interfaces ("1-4:1.0") are not devices."""
    found = []
    for name in root.names("/sys/bus/usb/devices"):
        if re.fullmatch(r"\d+-\d+(\.\d+)*", name) is None:
            continue
        folder = f"/sys/bus/usb/devices/{name}"
        vendor, product = (root.text(f"{folder}/{file}").strip().lower() for file in ("idVendor", "idProduct"))
        words = [root.text(f"{folder}/{file}").strip() for file in ("manufacturer", "product")]
        kind = root.text(f"{folder}/bDeviceClass").strip()
        found.append(
            UsbDevice(
                port=name,
                id=f"{vendor}:{product}",
                name=" ".join(filter(None, words)),
                is_hub=bool(re.fullmatch(r"[0-9a-fA-F]{1,2}", kind)) and int(kind, 16) == _USB_HUB,
                path=root.real(folder),
            )
        )
    return tuple(found)


def network_facts(root: Root, settings: HostSettings) -> tuple[NetworkFacts, ...]:
    listening = _listening(root) if any(network.forwards for network in settings.network) else frozenset()
    return tuple(_network(root, network, listening) for network in settings.network)


def share_facts(root: Root, settings: HostSettings, *, live: bool) -> tuple[ShareFacts, ...]:
    found = []
    for share in settings.share:
        place = root.at(str(share.path))
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
            writable = os.access(place, os.R_OK | os.W_OK | os.X_OK, effective_ids=True) if live else None
            free = os.statvfs(place) if live else None
        except (OSError, ValueError):
            is_folder, writable, free = False, None, None
        free_bytes = free.f_bavail * free.f_frsize if free is not None else None
        found.append(ShareFacts(settings=share, is_folder=is_folder, writable=writable, free_bytes=free_bytes))
    return tuple(found)


def find_virtiofsd(root: Root) -> str:
    """Return the path of virtiofsd, "" when the host has none."""
    return next((path for path in _VIRTIOFSD if root.exists(path)), "")


def _network(root: Root, network: NetworkSettings, listening: frozenset[int]) -> NetworkFacts:
    match network.mode:
        case "user":
            wanted = (forward.partition(":")[0] for forward in network.forwards)
            taken = tuple(int(port) for port in wanted if port.isdecimal() and int(port) in listening)
            return NetworkFacts(settings=network, taken=taken)
        case "bridge":
            folder = f"/sys/class/net/{network.bridge}"
            return NetworkFacts(
                settings=network,
                exists=root.exists(folder),
                is_what_it_should_be=root.exists(f"{folder}/bridge"),
                allowed=_bridge_allowed(root, network.bridge),
                helper=any(root.exists(path) for path in _BRIDGE_HELPERS),
            )
        case "tap":
            folder = f"/sys/class/net/{network.tap}"
            return NetworkFacts(
                settings=network,
                exists=root.exists(folder),
                is_what_it_should_be=root.exists(f"{folder}/tun_flags"),
            )


def _bridge_allowed(root: Root, bridge: str) -> bool:
    """
    Read qemu-bridge-helper's rules: the bridge must be allowed somewhere, and denied nowhere.

    Lines: "allow NAME", "allow all", "deny NAME", "deny all", "include FILE". Source: qemu-bridge-helper.c.
    """
    allowed = False
    waiting, seen = [_BRIDGE_RULES], set[str]()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for line in root.text(file).splitlines():
            match line.split("#", 1)[0].split():
                case ["allow", name] if name in (bridge, "all"):
                    allowed = True
                case ["deny", name] if name in (bridge, "all"):
                    return False
                case ["include", other]:
                    waiting.append(other)
    return allowed


def _listening(root: Root) -> frozenset[int]:
    """Return the TCP ports that are listened on for 127.0.0.1 too. Fields: proc_net_tcp.rst; state 0A is LISTEN."""
    found = set()
    for file, everywhere in (("tcp", {"00000000", "0100007F"}), ("tcp6", {"0" * 32})):
        for line in root.text(f"/proc/net/{file}").splitlines()[1:]:
            words = line.split()
            if len(words) < 4 or words[3] != "0A":
                continue
            address, _, port = words[1].partition(":")
            if address in everywhere and re.fullmatch(r"[0-9A-F]{4}", port):
                found.add(int(port, 16))
    return frozenset(found)
