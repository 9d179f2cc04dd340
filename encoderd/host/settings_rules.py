"""
What a setting of the host's helper may say, and which ones contradict each other.

Refused here is what can never work, whatever the host is: then it is told before anything was taken from its driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from encoderd.errors import SettingsError
from encoderd.pci import PciAddress

#: Slots that the command line keeps for each kind, so that a device's place in the guest never depends on another kind.
MOST = {"disk": 8, "network": 4, "share": 4, "usb": 15}
#: 8 functions each on four slots; on i440fx the slots 18 to 1e themselves, for it has no root ports.
MOST_PCI_Q35, MOST_PCI_I440FX = 32, 7
#: sun_path holds 108 bytes with the NUL that ends it. Source: unix(7).
_MOST_SOCKET_BYTES = 107
_USB_PORT = re.compile(r"[1-9][0-9]{0,2}-[1-9][0-9]{0,2}(?:\.[1-9][0-9]{0,2}){0,5}")
_USB_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_INTERFACE = re.compile(r"[^\s/:,%]{1,15}")
_PROPERTY = re.compile(r"[A-Za-z0-9_.-]+")
_OUR_PLACE = "encoderd-host gives the device its place in the guest itself"
#: Properties of vfio-pci that are ours → why.
_OWN_PROPERTIES = {
    "host": "the host's device is named by address",
    "sysfsdev": "the host's device is named by address",
    "fd": "the host's device is named by address",
    "id": "encoderd-host finds the device again by the id it gave it",
    "bus": _OUR_PLACE,
    "addr": _OUR_PLACE,
    "driver": "the driver is vfio-pci",
}
_WATCHED = "encoderd-host waits for QEMU and tells its end from the guest's"
#: QEMU's options that extra_args must not have → why.
_OWN_OPTIONS = {
    "daemonize": _WATCHED + "; in the background it would be lost",
    "S": "encoderd-host starts the guest itself, after it has compared its devices with the host's",
    "incoming": "a guest with a passed-through device cannot be migrated",
    "loadvm": "a guest with a passed-through device has no snapshots",
    "pidfile": "encoderd-host has its own",
    "name": "it is vm.name",
    "action": _WATCHED,
    "no-shutdown": _WATCHED,
    "no-reboot": _WATCHED,
    "nographic": "it would move the serial console away from its socket",
    "readconfig": "it can hold what encoderd-host decides; write its lines as options",
    "writeconfig": "QEMU would end after writing it",
    "preconfig": "encoderd-host does not speak to a QEMU in that state",
    "machine": "it is vm.profile's",
    "M": "it is vm.profile's",
    "accel": "it is vm.accelerator",
    "enable-kvm": "it is vm.accelerator",
    "no-kvm": "it is vm.accelerator",
    "cpu": "it is vm.cpu",
    "smp": "it is vm.cpus",
    "m": "it is vm.memory_mib",
    "h": "QEMU would print its help and end",
    "help": "QEMU would print its help and end",
    "version": "QEMU would print its version and end",
}


def pci_address(text: str) -> str:
    """Return the address as sysfs writes it, with its domain; ValueError when it is none."""
    try:
        return str(PciAddress.parse(text))
    except SettingsError:
        raise ValueError("write a PCI address as lspci -D shows it, for example 0000:03:00.0") from None


def gpu_address(text: str) -> str:
    """As `pci_address`, and "auto" and "none" too."""
    if text in {"auto", "none"}:
        return text
    try:
        return pci_address(text)
    except ValueError:
        raise ValueError('write "auto", "none" or a PCI address as lspci -D shows it, like 0000:00:02.0') from None


def usb_port(text: str) -> str:
    if _USB_PORT.fullmatch(text) is None:
        raise ValueError('write BUS-PORT as in /sys/bus/usb/devices, for example "1-4.2"')
    return text


def usb_id(text: str) -> str:
    if _USB_ID.fullmatch(text.lower()) is None:
        raise ValueError('write VENDOR:PRODUCT in hexadecimal as lsusb shows it, for example "0bda:2838"')
    return text.lower()


def mac(text: str) -> str:
    """Return "auto" or the address in lower case with colons; ValueError when it is not one card's address."""
    address = text.lower().replace("-", ":")
    if address != "auto" and _MAC.fullmatch(address) is None:
        raise ValueError('write "auto" or six pairs of hexadecimal digits, for example 52:54:00:12:34:56')
    if address != "auto" and int(address[:2], 16) & 1:
        raise ValueError("that is a group's (multicast) address; the first pair must be even")
    if address == "00:00:00:00:00:00":
        raise ValueError("that is no card's address")
    return address


def interface(text: str) -> str:
    """A network interface's name. Source: dev_valid_name, net/core/dev.c; QEMU's syntax takes no comma."""
    if _INTERFACE.fullmatch(text) is None or text in {".", ".."}:
        raise ValueError("a network interface has 1 to 15 characters, without blanks, / : , and %")
    return text


def forwards(texts: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[int] = set()
    for text in texts:
        host_port, _, guest_port = text.partition(":")
        numbers = [int(part) if re.fullmatch(r"[0-9]{1,5}", part) else 0 for part in (host_port, guest_port)]
        if not all(1 <= number <= 65_535 for number in numbers):
            raise ValueError(f'{text!r} is not "HOSTPORT:GUESTPORT", each from 1 to 65535, for example "2222:22"')
        if numbers[0] in seen:
            raise ValueError(f"port {numbers[0]} of the host is forwarded twice")
        seen.add(numbers[0])
    return texts


def properties(values: Any) -> Any:
    """Judge what stands for a device's properties, before its type was judged: a table of text, numbers and truths."""
    if not isinstance(values, Mapping):
        raise ValueError("write a table, for example { x-igd-gms = 2 }")
    for name, value in values.items():
        if not isinstance(value, str | int):
            raise ValueError(f"the value of {name} must be text, a whole number, true or false")
        if name in _OWN_PROPERTIES:
            raise ValueError(f"{name} is not yours to set: {_OWN_PROPERTIES[name]}")
        if _PROPERTY.fullmatch(name) is None:
            raise ValueError(f"{name!r} is not the name of a property")
    return values


def extra_args(arguments: tuple[str, ...]) -> tuple[str, ...]:
    for argument in arguments:
        option = argument.removeprefix("-").removeprefix("-") if argument.startswith("-") else ""
        if option in _OWN_OPTIONS:
            raise ValueError(f"{argument} cannot be among them: {_OWN_OPTIONS[option]}")
        if re.search(r"\bvfio-pci\b", argument):
            raise ValueError(f"{argument!r}: name the device in [[pci]], so that it is taken and given back too")
    return arguments


def absolute(path: PurePath | None) -> Any:
    if path is not None:
        printable(str(path))
    if path is not None and not path.is_absolute():
        raise ValueError("the path must be absolute (start with /)")
    return path


def printable(text: str) -> str:
    """No option of QEMU and no path here needs a control character, and NUL cannot be in an argument."""
    found = re.search(r"[\x00-\x1f\x7f]", text)
    if found is not None:
        raise ValueError(f"the control character {found[0]!r} cannot be in it")
    return text


def vm_contradiction(vm: Any) -> str:
    """Return what in section `vm` cannot be together, "" when it adds up."""
    if vm.faithful and vm.profile != "blog-2014":
        return 'faithful belongs to profile = "blog-2014"'
    if vm.profile == "display" and vm.firmware == "uefi":
        return 'profile = "display" is QEMU\'s legacy mode, which needs SeaBIOS: firmware = "bios"'
    if vm.kernel is None and (vm.initrd is not None or vm.kernel_arguments):
        return "initrd and kernel_arguments need kernel"
    if vm.hugepages and vm.memory_mib % 2:
        return f"a huge page has 2 MiB: with hugepages, memory_mib must be even, not {vm.memory_mib}"
    if vm.pin_cpus and len(vm.pin_cpus) != vm.cpus:
        return f"pin_cpus names {len(vm.pin_cpus)} host CPUs for {vm.cpus} virtual ones; name one each, or none"
    if len(set(vm.pin_cpus)) != len(vm.pin_cpus):
        return "pin_cpus names a host CPU twice: two virtual CPUs would wait for each other there"
    return ""


def contradiction(settings: Any) -> str:
    """Return what in the settings as a whole cannot be together, "" when it adds up."""
    return next(filter(None, (rule(settings) for rule in _RULES)), "")


def _places(settings: Any) -> str:
    counts = {kind: len(getattr(settings, kind)) for kind in MOST}
    for kind, most in MOST.items():
        if counts[kind] > most:
            return f"there are {counts[kind]} [[{kind}]]; the VM has places for {most}"
    most = MOST_PCI_I440FX if settings.vm.profile == "display" else MOST_PCI_Q35
    if len(settings.pci) > most:
        return f'there are {len(settings.pci)} [[pci]]; with profile = "{settings.vm.profile}" there are {most} places'
    return ""


def _devices_once(settings: Any) -> str:
    addresses = [settings.gpu.address, *(device.address for device in settings.pci)]
    found = _twice(address for address in addresses if address not in {"auto", "none"})
    if found:
        return f"the PCI device {found} is there twice"
    found = _twice(device.port for device in settings.usb if device.port is not None)
    if found:
        return f"the USB port {found} is there twice"
    found = _twice(device.id for device in settings.usb if device.id is not None)
    if found:
        return f"the USB device {found} is there twice; of two alike, name each by its port"
    return ""


def _vf_is_one(settings: Any) -> str:
    if settings.vm.profile == "vf" and settings.gpu.address == "0000:00:02.0":
        return 'gpu.address = "0000:00:02.0" is the GPU itself; profile = "vf" takes one of its functions, 0000:00:02.1'
    return ""


def _disks_once(settings: Any) -> str:
    found = _twice(disk.path for disk in settings.disk if not disk.read_only)
    shared = {disk.path for disk in settings.disk if disk.read_only}
    clash = found or next((str(d.path) for d in settings.disk if not d.read_only and d.path in shared), "")
    return f"the disk {clash} is there twice: the guest would destroy it" if clash else ""


def _networks_apart(settings: Any) -> str:
    for number, network in enumerate(settings.network):
        if network.forwards and network.mode != "user":
            return f'network.{number}: forwards belong to mode = "user"; here the guest is reached by its own address'
    taken = _twice(forward.partition(":")[0] for network in settings.network for forward in network.forwards)
    if taken:
        return f"port {taken} of the host is forwarded twice"
    tap = _twice(network.tap for network in settings.network if network.mode == "tap")
    if tap:
        return f"the tap device {tap} is there twice"
    address = _twice(network.mac for network in settings.network if network.mac != "auto")
    return f"the MAC address {address} is there twice" if address else ""


def _shares_apart(settings: Any) -> str:
    tag = _twice(share.tag for share in settings.share)
    return f"two shares have the tag {tag!r}" if tag else ""


def _sockets_fit(settings: Any) -> str:
    names = ["serial.sock", *(f"share-{share.tag}.sock" for share in settings.share)]
    longest = max((str(settings.run_folder / name) for name in names), key=lambda path: len(path.encode()))
    if len(longest.encode()) > _MOST_SOCKET_BYTES:
        return (
            f"the socket's path {longest} has {len(longest.encode())} bytes, the kernel takes {_MOST_SOCKET_BYTES}: "
            "shorten vm.run_dir, vm.name or the share's tag"
        )
    return ""


def _our_sockets(settings: Any) -> str:
    folder = str(settings.run_folder)
    for argument in settings.vm.extra_args:
        if folder in argument:
            return f"vm.extra_args {argument!r} names {folder}: the sockets there are encoderd-host's own; take another"
    return ""


def _twice(values: Iterable[Any]) -> str:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            return str(value)
        seen.add(value)
    return ""


_RULES = (
    _places,
    _devices_once,
    _vf_is_one,
    _disks_once,
    _networks_apart,
    _shares_apart,
    _sockets_fit,
    _our_sockets,
)
