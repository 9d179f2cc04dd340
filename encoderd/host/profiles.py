"""
How the guest gets its GPU: the machine, the place of every device in it, and the options of vfio-pci.

Each place is fixed, so that a device keeps its name in the guest whatever else is added or removed. 7.2 to 10.1 differ
in what vfio-pci does for an integrated GPU without being asked (QEMU docs/igd-assign.txt, hw/vfio/igd.c), so every
option that decides it is named wherever this QEMU has it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from encoderd.errors import EncoderdError
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.settings import HostSettings
from encoderd.pci import PciDevice

#: The slots of each kind on the machine's own bus. 00 is the host bridge, 1f (q35) or 01 (pc) the rest of the chipset;
#: 02 is where an integrated GPU is on a real board; pc's legacy mode puts an LPC bridge at 1f (hw/vfio/igd.c).
GPU_SLOT = 0x02
SERIAL_SLOT, RNG_SLOT, PANIC_SLOT, USB_SLOT = 0x03, 0x04, 0x05, 0x06
NETWORK_SLOT, DISK_SLOT, SHARE_SLOT, PCI_SLOT, GPU_PORT_SLOT = 0x08, 0x0C, 0x14, 0x18, 0x1C
#: Chassis numbers of root ports: 1 is the GPU's, as in 2014; the further devices' begin here.
_FIRST_CHASSIS = 16

Option = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Some of the options, in the order QEMU needs them, and what is worth knowing about them."""

    options: tuple[Option, ...] = ()
    notes: tuple[str, ...] = ()


def machine(settings: HostSettings) -> str:
    """Return the machine's type: legacy mode exists on pc (i440fx) only, everything else is better on q35."""
    return "pc" if settings.vm.profile == "display" else "q35"


def root_bus(settings: HostSettings) -> str:
    return "pci.0" if machine(settings) == "pc" else "pcie.0"


def gpu(settings: HostSettings, qemu: QemuProperties, device: PciDevice, *, igd_gen: int | None) -> Placed:
    """Return the GPU's options, its root port before it: QEMU looks for a bus among what it has already made."""
    profile = settings.vm.profile
    if profile == "blog-2014":
        placed = _blog_2014(settings, qemu, device)
    elif profile == "display":
        placed = _display(qemu, device, igd_gen)
    elif profile == "vf" or device.address.bus != 0:
        placed = _behind_a_port(qemu, device, vf=profile == "vf")
    else:
        placed = _headless(qemu, device)
    *before, (option, value) = placed.options
    value = _with(value, settings.gpu.properties, "gpu.properties", qemu)
    return Placed(options=(*before, (option, value)), notes=(*placed.notes, *_doubts(settings)))


def _doubts(settings: HostSettings) -> list[str]:
    """What people copy from guides for other GPUs, and why it does harm here."""
    given = settings.gpu.properties
    notes = []
    if given.get("x-vga") in {True, "on"} and not settings.vm.faithful:
        notes.append(_X_VGA)
    if "romfile" in given and settings.vm.profile != "display":
        notes.append("gpu.properties.romfile: a guest without a display never runs the GPU's firmware.")
    return notes


def _headless(qemu: QemuProperties, device: PciDevice) -> Placed:
    """
    At 02.0 as on a board, so that names in the guest (by-path) are those of the bare machine.

    rombar=0: the shadowed VBIOS serves a screen only, and firmware that runs it can hang.
    """
    host = f"vfio-pci,host={device.address},id=gpu0,bus=pcie.0,addr={GPU_SLOT:02x}.0,rombar=0"
    notes = []
    if qemu.version < (10, 0, 0):
        notes.append(
            f"QEMU {qemu.version_text} says that legacy mode is impossible because of address 1f.0: harmless, a guest "
            "without a display needs none."
        )
    return Placed(options=(("-device", host + _without_opregion(qemu)),), notes=tuple(notes))


def _behind_a_port(qemu: QemuProperties, device: PciDevice, *, vf: bool) -> Placed:
    """A card, or a virtual function: an ordinary PCI Express device. Neither has a place of its own on a board."""
    port = _root_port(qemu, "gpuport", f"{GPU_PORT_SLOT:02x}.0", number=1, chassis=1)
    host = f"vfio-pci,host={device.address},id=gpu0,bus=gpuport,addr=00.0"
    if vf:
        host += ",rombar=0" + _without_opregion(qemu)
    elif qemu.has("vfio-pci", "x-igd-opregion"):
        host += ",x-igd-opregion=off"
    notes = ("The guest needs a driver for virtual functions: xe, or i915 from i915-sriov-dkms.",) if vf else ()
    return Placed(options=(("-device", port), ("-device", host)), notes=notes)


def _display(qemu: QemuProperties, device: PciDevice, igd_gen: int | None) -> Placed:
    """Legacy mode: the GPU is the guest's only graphics card, at 02.0 of an i440fx, with the host's VBIOS."""
    host = f"vfio-pci,host={device.address},id=gpu0,bus=pci.0,addr={GPU_SLOT:02x}.0"
    notes = []
    if qemu.has("vfio-pci", "x-igd-legacy-mode"):
        host += ",x-igd-legacy-mode=on"  # where it cannot be had, QEMU says why instead of starting without
    else:
        notes.append(f"QEMU {qemu.version_text} tries legacy mode by itself here, and starts without when it fails.")
    if igd_gen is not None and not 6 <= igd_gen <= 9:
        notes.append("Legacy mode exists from Sandy Bridge to Comet Lake; this GPU's firmware has no VBIOS.")
    return Placed(options=(("-vga", "none"), ("-device", host)), notes=tuple(notes))


_X_VGA = (
    "x-vga=on maps the host's legacy VGA ranges into the guest. Only a VBIOS needs them, never a Linux guest without a "
    "display; it fails with class 0380 and with disable_vga=1, and disturbs the host's console."
)
_FAITHFUL = (
    _X_VGA,
    "kvm=off hides KVM from the guest, once for NVIDIA's driver. Intel's needs to know that it is a guest: it keeps "
    "its hands off memory that was not passed through (i915_utils.h, i915_run_as_guest).",
    "+x2apic is part of the Haswell model, and KVM adds it to every model anyway.",
    "Haswell has HLE and RTM, which microcode has taken away since; without faithful the host's own model is used.",
)


def _blog_2014(settings: HostSettings, qemu: QemuProperties, device: PciDevice) -> Placed:
    """
    The line of 2014. Its bus came from a file that only Proxmox has (pve-q35.cfg), so the port is made here first.

    There it was an ioh3420 with multifunction=on, port=1, chassis=1 at 1c.0.
    """
    name, place = "ich9-pcie-port-1", f"{GPU_PORT_SLOT:02x}.0"
    host = f"vfio-pci,host={device.address},id=hostpci0,bus={name},addr=0x0"
    if settings.vm.faithful:
        port = _root_port(qemu, name, place, number=1, chassis=1, driver="ioh3420")
        return Placed(options=(("-device", port), ("-device", host + ",x-vga=on")), notes=_FAITHFUL)
    port = _root_port(qemu, name, place, number=1, chassis=1)
    note = (
        "The line of 2014 without x-vga, kvm=off and +x2apic, which do harm today; vm.faithful = true adds them. "
        "Behind its port the GPU is 01:00.0 in the guest; with headless it is 00:02.0, as on a board."
    )
    options = (("-device", port), ("-device", host + ",rombar=0" + _without_opregion(qemu)))
    return Placed(options=options, notes=(note,))


def _without_opregion(qemu: QemuProperties) -> str:
    """
    With an OpRegion and no monitor, the guest's driver behaves as with a monitor that is switched off.

    Source: QEMU hw/vfio/igd.c, its first comment. Off by default until 10.0, on from 10.1.
    """
    return ",x-igd-opregion=off" if qemu.has("vfio-pci", "x-igd-opregion") else ""


def further_devices(settings: HostSettings, qemu: QemuProperties) -> Placed:
    """Return the options of [[pci]]: on q35 each behind a root port of its own, on pc on the bus itself."""
    options: list[Option] = []
    for number, device in enumerate(settings.pci):
        if machine(settings) == "pc":
            place = f"bus=pci.0,addr={PCI_SLOT + number:02x}.0"
        else:
            slot, function = divmod(number, 8)
            port = _root_port(
                qemu,
                f"port{number}",
                f"{PCI_SLOT + slot:02x}.{function}",
                number=_FIRST_CHASSIS + number,
                chassis=_FIRST_CHASSIS + number,
            )
            options.append(("-device", port))
            place = f"bus=port{number},addr=00.0"
        value = f"vfio-pci,host={device.address},id=pci{number},{place}"
        options.append(("-device", _with(value, device.properties, f"pci.{number}.properties", qemu)))
    return Placed(options=tuple(options))


def _root_port(
    qemu: QemuProperties, name: str, place: str, *, number: int, chassis: int, driver: str = "pcie-root-port"
) -> str:
    """
    hotplug=off: else an unbind on the host makes QEMU ask the guest to eject the device. Every port has its own chassis
    ("Can't add chassis slot" otherwise); multifunction=on on each, for those that share a slot.
    """
    if not qemu.has(driver):
        driver = "pcie-root-port"
    value = f"{driver},id={name},bus=pcie.0,addr={place},multifunction=on,port={number},chassis={chassis}"
    return value + (",hotplug=off" if qemu.has(driver, "hotplug") else "")


def _with(device: str, properties: Mapping[str, str | int | bool], where: str, qemu: QemuProperties) -> str:
    """
    Return the device's option with the user's properties, which replace ours of the same name.

    Raises:
        EncoderdError: this QEMU's vfio-pci has no such property.
    """
    known = qemu.devices["vfio-pci"]
    for name in properties:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise EncoderdError(
                f"{where}: vfio-pci of QEMU {qemu.version_text} has no property {name}.",
                remedy=f"Did you mean {near[0]}?" if near else "List them: qemu-system-x86_64 -device vfio-pci,help",
            )
    kept = [part for part in device.split(",") if part.partition("=")[0] not in properties]
    return ",".join([*kept, *(f"{name}={spelt(value)}" for name, value in properties.items())])


def spelt(value: str | int | bool) -> str:
    """Return a value of a key=value option: on and off, and a comma twice."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).replace(",", ",,")
