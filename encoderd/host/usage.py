"""Who uses the GPU and the host's other devices now; facts only, read and never written."""

from __future__ import annotations

import os
from dataclasses import dataclass

from encoderd.host.consoles import ConsoleFacts, console_facts
from encoderd.host.gpu_facts import GpuFacts
from encoderd.host.lifelines import Lifeline, lifelines
from encoderd.host.other_managers import Claim, claims
from encoderd.host.processes import (
    Opener,
    addresses_in,
    holders,
    holds,
    is_live,
    nodes,
    open_files,
    openers,
    uses,
)
from encoderd.pci import PciAddress, PciDevice
from encoderd.root import Root

__all__ = ["Opener", "UsageFacts", "VfioNode", "holders", "openers", "usage_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VfioNode:
    """
    The node of an IOMMU group or of one device. `mode` are the permission bits; `usable` says whether this very user
    can open it, None on a recorded host.
    """

    path: str
    group: int | None
    device: PciAddress | None
    user_id: int
    group_id: int
    mode: int
    usable: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFacts:
    """
    The whole host's present use. `devices` are all PCI devices; `gpu_nodes` the GPU's device nodes ("/dev/dri/card0");
    `open_by` who has which device open, or a VFIO group;
    `unseen` counts the processes whose files this user may not see; `virtual_functions` is how many each device has
    switched on, `mediated` the mdev devices of each; `console` is None without a GPU.
    """

    devices: tuple[PciDevice, ...] = ()
    gpu_nodes: tuple[str, ...] = ()
    open_by: tuple[Opener, ...] = ()
    unseen: int = 0
    lifelines: tuple[Lifeline, ...] = ()
    console: ConsoleFacts | None = None
    virtual_functions: tuple[tuple[PciAddress, int], ...] = ()
    mediated: tuple[tuple[PciAddress, str], ...] = ()
    vfio_nodes: tuple[VfioNode, ...] = ()
    claims: tuple[Claim, ...] = ()

    def device(self, address: PciAddress) -> PciDevice | None:
        return next((device for device in self.devices if device.address == address), None)

    def users_of(self, address: PciAddress) -> tuple[Opener, ...]:
        return tuple(opener for opener in self.open_by if uses(opener, address))

    def holders_of(self, group: int | None, addresses: tuple[PciAddress, ...]) -> tuple[Opener, ...]:
        return tuple(opener for opener in self.open_by if holds(opener, group, addresses))


def usage_facts(root: Root, gpu: GpuFacts) -> UsageFacts:
    """Look at every process and at every device that the host uses; what cannot be read counts as unused."""
    devices = gpu.devices
    files = open_files(root)
    return UsageFacts(
        devices=devices,
        gpu_nodes=tuple(node.path for node in nodes(root) if gpu.gpu is not None and node.device == gpu.gpu.address),
        open_by=files.openers,
        unseen=files.unseen,
        lifelines=lifelines(root),
        console=console_facts(root, gpu.gpu, devices) if gpu.gpu is not None else None,
        virtual_functions=_virtual_functions(root, devices),
        mediated=_mediated(root),
        vfio_nodes=_vfio_nodes(root, devices),
        claims=claims(root),
    )


def _virtual_functions(root: Root, devices: tuple[PciDevice, ...]) -> tuple[tuple[PciAddress, int], ...]:
    counts = ((d.address, root.text(f"/sys/bus/pci/devices/{d.address}/sriov_numvfs").strip()) for d in devices)
    return tuple((address, int(count)) for address, count in counts if count.isdecimal() and int(count) > 0)


def _mediated(root: Root) -> tuple[tuple[PciAddress, str], ...]:
    """Each mdev device is a folder below its parent; /sys/bus/mdev/devices has links to them."""
    found = []
    for name in root.names("/sys/bus/mdev/devices"):
        parents = addresses_in(root.real(f"/sys/bus/mdev/devices/{name}"))
        if parents:
            found.append((parents[-1], name))
    return tuple(found)


def _vfio_nodes(root: Root, devices: tuple[PciDevice, ...]) -> tuple[VfioNode, ...]:
    found = []
    places: list[tuple[str, int | None, PciAddress | None]] = [
        (f"/dev/vfio/{name}", int(name.removeprefix("noiommu-")), None)
        for name in root.names("/dev/vfio")
        if name.removeprefix("noiommu-").isdecimal()
    ]
    for device in devices:
        for name in root.names(f"/sys/bus/pci/devices/{device.address}/vfio-dev"):
            places.append((f"/dev/vfio/devices/{name}", None, device.address))
    for path, group, address in places:
        try:
            status = root.at(path).stat()
            usable = os.access(root.at(path), os.R_OK | os.W_OK, effective_ids=True) if is_live(root) else None
        except (OSError, ValueError):
            continue
        found.append(
            VfioNode(
                path=path,
                group=group,
                device=address,
                user_id=status.st_uid,
                group_id=status.st_gid,
                mode=status.st_mode & 0o7777,
                usable=usable,
            )
        )
    return tuple(found)
