"""Who else on this host disposes of PCI devices: driverctl, modprobe.d, libvirt, Proxmox, and what they say of one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from encoderd.errors import SettingsError
from encoderd.pci import PciAddress
from encoderd.root import Root

#: Sources: modprobe.d(5), in the order of precedence.
_MODPROBE_FOLDERS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """
    What another program says: `who` it is, `where` it says so, `says` in its own words, and on which devices: by
    address, or by ids ("8086:46d1"). `driver` is the driver that a claim keeps off the host, "" for none.
    """

    who: str
    where: str
    says: str
    addresses: tuple[PciAddress, ...] = ()
    ids: tuple[str, ...] = ()
    driver: str = ""
    nodes: tuple[str, ...] = ()  #: device nodes that a container gets ("/dev/dri")


def claims(root: Root) -> tuple[Claim, ...]:
    """Return what other programs are set to do with PCI devices; what cannot be read counts as not said."""
    return (*_driverctl(root), *_modprobe(root), *_kernel_line(root), *_libvirt(root), *_proxmox(root))


def _driverctl(root: Root) -> Iterator[Claim]:
    """One file per device, "pci-0000:00:02.0", with the driver's name in it."""
    for name in root.names("/etc/driverctl.d"):
        address = _address(name.removeprefix("pci-"))
        driver = root.text(f"/etc/driverctl.d/{name}").strip()
        if address is not None:
            yield Claim(
                who="driverctl", where=f"/etc/driverctl.d/{name}", says=f"driver {driver or '?'}", addresses=(address,)
            )


def _modprobe(root: Root) -> Iterator[Claim]:
    seen: set[str] = set()
    for folder in _MODPROBE_FOLDERS:
        for name in root.names(folder):
            if not name.endswith(".conf") or name in seen:
                continue
            seen.add(name)
            for line in root.text(f"{folder}/{name}").replace("\\\n", " ").splitlines():
                words = line.split()
                where = f"{folder}/{name}"
                match words:
                    case ["options", ("vfio-pci" | "vfio_pci"), *options]:
                        yield from _pinned_ids(where, options)
                    case ["blacklist", driver] if driver in {"i915", "xe"}:
                        yield Claim(who="modprobe", where=where, says=line.strip(), driver=driver)
                    case ["install", ("i915" | "xe") as driver, *_]:
                        yield Claim(who="modprobe", where=where, says=line.strip(), driver=driver)


def _kernel_line(root: Root) -> Iterator[Claim]:
    where = "the kernel's command line"
    for word in root.text("/proc/cmdline").split():
        name, _, value = word.partition("=")
        if name.replace("-", "_") == "vfio_pci.ids":
            yield from _pinned_ids(where, [f"ids={value}"])
        if name in {"module_blacklist", "modprobe.blacklist"}:
            for driver in {"i915", "xe"} & set(value.split(",")):
                yield Claim(who="the kernel", where=where, says=word, driver=driver)


def _pinned_ids(where: str, options: Iterable[str]) -> Iterator[Claim]:
    """ids=VENDOR:DEVICE[:SUBVENDOR[:SUBDEVICE[:CLASS[:MASK]]]],… (vfio_pci.c)."""
    for option in options:
        name, _, value = option.partition("=")
        if name != "ids":
            continue
        ids = []
        for one in value.strip("\"'").split(","):
            found = re.match(r"(?:0x)?([0-9a-f]{1,4}):(?:0x)?([0-9a-f]{1,4})(?::|$)", one, re.IGNORECASE)
            if found:
                ids.append(f"{int(found[1], 16):04x}:{int(found[2], 16):04x}")
        yield Claim(who="vfio-pci", where=where, says=option, ids=tuple(ids))


def _libvirt(root: Root) -> Iterator[Claim]:
    """<hostdev type='pci'><source><address domain= bus= slot= function=/></source> of each domain's XML."""
    for name in root.names("/etc/libvirt/qemu"):
        if not name.endswith(".xml"):
            continue
        domain = name.removesuffix(".xml")
        running = root.exists(f"/run/libvirt/qemu/{domain}.pid") or root.exists(f"/run/libvirt/qemu/{name}")
        text = root.text(f"/etc/libvirt/qemu/{name}")
        addresses = []
        for source in re.findall(r"<hostdev\b[^>]*>.*?<source\b[^>]*>(.*?)</source>", text, re.DOTALL):
            for tag in re.findall(r"<address\b([^>]*)>", source):
                values = dict(re.findall(r"(\w+)\s*=\s*['\"]([^'\"]*)['\"]", tag))
                address = _address_of_parts(values)
                if address is not None:
                    addresses.append(address)
        if addresses:
            yield Claim(
                who="libvirt",
                where=f"/etc/libvirt/qemu/{name}",
                says=f"it belongs to the guest {domain}, which {'runs' if running else 'is off'}",
                addresses=tuple(addresses),
            )


def _proxmox(root: Root) -> Iterator[Claim]:
    place = "/run/qemu-server/pci-id-reservations"
    for line in root.text(place).splitlines():  # "0000:00:02.0 100 pid:1234" (PVE/QemuServer/PCI.pm)
        words = line.split()
        address = _address(words[0]) if len(words) >= 2 else None
        if address is not None:
            yield Claim(who="Proxmox", where=place, says=f"guest {words[1]} has reserved it", addresses=(address,))
    mappings = _proxmox_mappings(root)
    for name in root.names("/etc/pve/qemu-server"):
        if not name.endswith(".conf"):
            continue
        for line in _current_section(root.text(f"/etc/pve/qemu-server/{name}")):
            key, _, value = line.partition(":")
            if re.fullmatch(r"hostpci\d+", key):
                addresses = tuple(_proxmox_addresses(value.strip(), mappings))
                yield Claim(
                    who="Proxmox",
                    where=f"/etc/pve/qemu-server/{name}",
                    says=f"guest {name.removesuffix('.conf')} has {line.strip()}",
                    addresses=addresses,
                )
    for name in root.names("/etc/pve/lxc"):
        for line in _current_section(root.text(f"/etc/pve/lxc/{name}")) if name.endswith(".conf") else ():
            found = re.search(r"/?(dev/dri(?:/\w+)?)", line)
            if found and not line.startswith("#"):
                yield Claim(
                    who="Proxmox",
                    where=f"/etc/pve/lxc/{name}",
                    says=f"container {name.removesuffix('.conf')} has {line.strip()}",
                    nodes=(f"/{found[1]}",),
                )


def _current_section(text: str) -> Iterator[str]:
    """Yield the lines before the first snapshot, which begins with its name in brackets."""
    for line in text.splitlines():
        if line.startswith("["):
            return
        yield line


def _proxmox_mappings(root: Root) -> dict[str, list[str]]:
    """Return the devices of each mapping: "name" above "map id=…,node=…,path=0000:00:02.0" in mapping/pci.cfg."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in root.text("/etc/pve/mapping/pci.cfg").splitlines():
        if line and not line[0].isspace():
            name = line.split(":", 1)[-1].strip()
        found.setdefault(name, []).extend(re.findall(r"path=([0-9a-f:.;]+)", line, re.IGNORECASE))
    return found


def _proxmox_addresses(value: str, mappings: dict[str, list[str]]) -> Iterator[PciAddress]:
    """hostpciN: 0000:00:02.0,pcie=1 or 00:02 (all functions; the first stands for them) or mapping=NAME."""
    options = dict(part.partition("=")[::2] for part in value.split(","))
    first = value.split(",", 1)[0]
    named = options.get("host", first if "=" not in first else "")
    for text in [named, *mappings.get(options.get("mapping", ""), ())]:
        for one in text.split(";"):
            address = _address(one if "." in one else f"{one}.0")
            if address is not None:
                yield address


def _address(text: str) -> PciAddress | None:
    try:
        return PciAddress.parse(text)
    except SettingsError:
        return None


def _address_of_parts(values: dict[str, str]) -> PciAddress | None:
    """A USB device's address in libvirt's XML has a bus and a device, but no slot."""
    try:
        return PciAddress(
            int(values.get("domain", "0"), 0), int(values["bus"], 0), int(values["slot"], 0), int(values["function"], 0)
        )
    except (KeyError, ValueError):
        return None
