"""
May the further PCI and USB devices go to the guest? From facts to findings.

Whether the PCI devices are in use, and by whom, is judged in usage_checks.
"""

from __future__ import annotations

from collections.abc import Iterator

from encoderd.errors import SettingsError
from encoderd.findings import Finding, failed, passed, warned
from encoderd.host.gpu_facts import GpuFacts
from encoderd.host.lifelines import Lifeline
from encoderd.host.ports import UsbDevice
from encoderd.host.settings import HostSettings, UsbSettings
from encoderd.host.usage_checks import addresses_asked, lifeline_finding
from encoderd.pci import PciAddress, PciDevice

_BRIDGES = 0x06  # PCI code and ID assignment: base class 06h, bridges of all kinds
_PCI_BRIDGE = 0x0604
_SOUND = 0x0403
_HARMLESS_DRIVERS = {None, "vfio-pci", "pci-stub"}  # vfio.rst, "group viability"


def pci_findings(settings: HostSettings, gpu: GpuFacts) -> list[Finding]:
    """Judge every [[pci]], in the settings' order."""
    grouped = any(device.iommu_group is not None for device in gpu.devices)
    findings: list[Finding] = []
    seen: set[PciAddress] = set()
    for entry in settings.pci:
        try:
            address = PciAddress.parse(entry.address)
        except SettingsError as error:
            findings.append(failed("pci", error.message, error.remedy))
            continue
        if address in seen:
            findings.append(failed("pci", f"{address} is named twice", "Delete one of the two [[pci]] sections."))
            continue
        seen.add(address)
        findings.append(_pci(address, settings, gpu, grouped=grouped))
    return findings


def _pci(address: PciAddress, settings: HostSettings, gpu: GpuFacts, *, grouped: bool) -> Finding:
    device = gpu.device(address)
    if device is None:
        return failed("pci", f"there is no device {address}", "lspci -D shows what there is; correct [[pci]] address.")
    shown = f"{address} [{device.ids}]"
    if gpu.gpu is not None and address == gpu.gpu.address:
        return failed("pci", f"{shown} is the GPU, which the guest gets anyway", "Delete this [[pci]] section.")
    if device.class_code >> 16 == _BRIDGES:
        return failed(
            "pci", f"{shown} is a bridge, which stays with the host", "Name the device behind it: lspci -D -t shows it."
        )
    if device.iommu_group is None:
        if not grouped:
            return warned("pci", f"{shown} is in no IOMMU group, as it must be without an IOMMU")
        return failed("pci", f"{shown} is in no IOMMU group", "It cannot be given to a guest; take it out of [[pci]].")
    company = _company(device, settings, gpu)
    if company:
        along = ", ".join(f"{one.address} [{one.ids}], driver {one.driver or 'none'}" for one in company)
        busy = [one for one in company if one.driver not in _HARMLESS_DRIVERS and not _is_own_sound(one, device)]
        if busy:
            return failed(
                "pci",
                f"{shown} shares IOMMU group {device.iommu_group} with devices that the host uses: {along}",
                f"Give {', '.join(str(one.address) for one in busy)} to the guest too ([[pci]]), or move the card to "
                "another slot: a group goes to one guest as a whole.",
            )
        return warned("pci", f"{shown} takes the rest of IOMMU group {device.iommu_group} along: {along}")
    return passed("pci", f"{shown}, driver {device.driver or 'none'}, IOMMU group {device.iommu_group}")


def _is_own_sound(other: PciDevice, device: PciDevice) -> bool:
    """A display device's sound, for its monitors, is taken along without being named."""
    return device.is_display and other.class_code >> 8 == _SOUND


def _company(device: PciDevice, settings: HostSettings, gpu: GpuFacts) -> list[PciDevice]:
    """Return who is in its group and not named in the settings; bridges between PCI buses do not count."""
    named = {*addresses_asked(settings), *([gpu.gpu.address] if gpu.gpu is not None else [])}
    return [
        other
        for other in gpu.devices
        if other.iommu_group == device.iommu_group
        and other.address != device.address
        and other.address not in named
        and other.class_code >> 8 != _PCI_BRIDGE
    ]


def usb_findings(
    settings: HostSettings, gpu: GpuFacts, devices: tuple[UsbDevice, ...], lifelines: tuple[Lifeline, ...]
) -> list[Finding]:
    """Judge every [[usb]]: one that is missing only warns, for QEMU waits until it is plugged in."""
    findings: list[Finding] = []
    taken: set[str] = set()
    for entry in settings.usb:
        fitting = [device for device in devices if device.port == entry.port or device.id == (entry.id or "").lower()]
        if not fitting:
            findings.append(_absent(entry))
            continue
        if len(fitting) > 1:
            ports = ", ".join(device.port for device in fitting)
            findings.append(
                warned(
                    "usb",
                    f"{entry.id} is there {len(fitting)} times (ports {ports}): which one the guest gets is chance",
                    f'Name the port instead: port = "{fitting[0].port}".',
                )
            )
        twice = [device for device in fitting if device.port in taken]
        if twice and len(fitting) == 1:
            findings.append(
                failed("usb", f"port {twice[0].port} is named twice", "Delete one of the two [[usb]] sections.")
            )
            continue
        taken |= {device.port for device in fitting}
        findings += [
            finding for device in fitting for finding in _usb(device, settings, gpu, lifelines, alone=len(fitting) == 1)
        ]
    return findings


def _absent(entry: UsbSettings) -> Finding:
    if entry.port is not None:
        return warned("usb", f"nothing is plugged into port {entry.port}", "Plug it in; QEMU waits for it. lsusb -t")
    return warned("usb", f"no device {entry.id} is plugged in", "Plug it in; QEMU waits for it. lsusb shows the ids.")


def _usb(
    device: UsbDevice, settings: HostSettings, gpu: GpuFacts, lifelines: tuple[Lifeline, ...], *, alone: bool
) -> Iterator[Finding]:
    shown = f"{device.port} [{device.id}]" + (f" {device.name}" if device.name else "")
    carried = [line for line in lifelines if line.is_on_usb(device.port)]
    controller = _controller_given(device, settings)
    if device.is_hub:
        yield failed(
            "usb", f"{shown} is a hub, which QEMU cannot pass on", "Name the port behind it: lsusb -t shows it."
        )
    elif carried:
        yield lifeline_finding("usb", shown, carried)
    elif controller is not None:
        yield failed(
            "usb",
            f"{shown} is plugged into {controller}, which the guest gets as a whole",
            "Delete this [[usb]] section: the guest sees the device anyway.",
        )
    elif alone:
        yield passed("usb", shown)


def _controller_given(device: UsbDevice, settings: HostSettings) -> PciAddress | None:
    return next((address for address in addresses_asked(settings) if str(address) in device.path.split("/")), None)
