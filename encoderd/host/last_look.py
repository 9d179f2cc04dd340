"""
The last look before a write: may this very device go, as sysfs shows it now?

`checks.refusals` judged facts that may be seconds old. What a mistake here would cost is the host's disk, its way into
the network or the screen of somebody who works on it, so each endpoint of the group is looked at anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from encoderd.findings import Finding, failed
from encoderd.host.binding import HARMLESS_DRIVERS, VFIO, Endpoint
from encoderd.host.lifelines import Stake, lifelines
from encoderd.host.processes import holds, minds_unbinding, open_files, uses
from encoderd.host.settings import HostSettings
from encoderd.host.standing import endpoint, endpoints_of, group_of
from encoderd.pci import INTEL, PciAddress
from encoderd.root import Root

_BRIDGE = 0x06  # base class: host, ISA and PCI bridges


def listed(settings: HostSettings) -> set[PciAddress]:
    """Return the devices that [[pci]] names."""
    return {PciAddress.parse(device.address) for device in settings.pci}


def movable(root: Root, settings: HostSettings, address: PciAddress) -> list[Endpoint]:
    """
    Return the endpoints of a device's group that go with it: itself, and what [[pci]] names.

    The others stay as they are; where one of them has a driver of the host, `refusals_of` says so.
    """
    group = group_of(root, address)
    if group is None:
        return []
    wanted = {address, *listed(settings)}
    return [one for one in endpoints_of(root, group) if one.address in wanted]


def refusals_of(
    root: Root, settings: HostSettings, address: PciAddress, *, is_gpu: bool, together: Iterable[PciAddress] = ()
) -> list[Finding]:
    """
    Return why a device, or its group, must not be touched; [] when it may.

    `together` are devices that go in the same handover: a [[pci]] device may share its group with the GPU.
    """
    now = endpoint(root, address)
    if now is None:
        return [failed("device", f"there is no PCI device {address}", "See what there is: lspci -D")]
    kind = _wrong_kind(root, settings, now, is_gpu=is_gpu)
    if kind is not None:
        return [kind]
    group = group_of(root, address)
    if group is None:
        return [
            failed(
                "iommu_group",
                f"{address} is in no IOMMU group: it would lose its driver and get no other",
                "Turn the IOMMU on: encoderd-host check says how.",
            )
        ]
    moving = movable(root, settings, address)
    return [
        *_vital(root, [one.address for one in moving]),
        *_not_viable(address, group, endpoints_of(root, group), {one.address for one in moving} | set(together)),
        *_in_use(root, group, moving),
    ]


def _wrong_kind(root: Root, settings: HostSettings, device: Endpoint, *, is_gpu: bool) -> Finding | None:
    if is_gpu:
        vendor = root.text(f"/sys/bus/pci/devices/{device.address}/vendor").strip()
        if not device.is_display:
            return failed(
                "gpu",
                f"{device.address} is no display device (class {device.class_code:#08x})",
                'Set gpu.address to the GPU that lspci -D shows, or to "auto".',
            )
        if vendor != f"{INTEL:#06x}" and not settings.gpu.stand_in:
            return failed(
                "gpu",
                f"{device.address} is not from Intel (vendor {vendor})",
                'Set gpu.address to Intel\'s, or "auto".',
            )
    elif device.address not in listed(settings):
        return failed(
            "pci",
            f"{device.address} is neither the GPU nor named in [[pci]]",
            "Add it to the settings, if it is meant.",
        )
    elif device.class_code >> 16 == _BRIDGE:
        return failed("pci", f"{device.address} is a bridge", "Name the device behind it in [[pci]] instead.")
    return None


def _vital(root: Root, addresses: list[PciAddress]) -> list[Finding]:
    return [
        failed(
            "root_disk" if line.stake is Stake.DISK else "default_route",
            f"{address} carries {line.what}",
            f"Take {address} out of [[pci]]: without it this host stops.",
        )
        for line in lifelines(root)
        if line.stake.is_vital
        for address in addresses
        if line.is_on_pci(address)
    ]


def _not_viable(address: PciAddress, group: int, members: Iterable[Endpoint], moving: set[PciAddress]) -> list[Finding]:
    return [
        failed(
            "group_members",
            f"the host uses {one.address} (driver {one.driver}), which is in group {group} with {address}",
            f"Give {one.address} to the guest too, as [[pci]], or move the card to another slot.",
        )
        for one in members
        if one.address not in moving and one.driver not in HARMLESS_DRIVERS
    ]


def _in_use(root: Root, group: int, moving: list[Endpoint]) -> list[Finding]:
    files = open_files(root).openers
    bound = [one.address for one in moving if one.driver != VFIO]
    users = [user for user in files if minds_unbinding(user) and any(uses(user, address) for address in bound)]
    users += [user for user in files if holds(user, group, tuple(one.address for one in moving))]
    seen = dict.fromkeys((user.pid, user.name, user.node, user.container) for user in users)
    return [
        failed(
            "openers",
            f"process {pid} ({name}{', ' + container if container else ''}) has {node} open",
            f"Stop it first: {name} would break, and the driver with it.",
        )
        for pid, name, node, container in seen
    ]
