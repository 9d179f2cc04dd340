"""Carry out one step of a plan and prove it: by reading back, by the driver's link, never by the write's success."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from encoderd.errors import EncoderdError
from encoderd.host.binding import HARMLESS_DRIVERS, PROBE, VFIO, Kind, Step, describe
from encoderd.host.journal import Journal, Journals
from encoderd.host.kernel import Kernel, KernelRefused
from encoderd.host.processes import Opener, holders
from encoderd.host.settings import HostSettings
from encoderd.host.standing import endpoints_of
from encoderd.pci import PciAddress

#: udev may be at a device at the same moment: a first EACCES was seen to pass (Linux 6.1, coldplug). A probe that binds
#: nothing may do so the next time: SPDK's setup.sh tries ten times, half a second apart.
TRIES = 5
PAUSE_S = 0.2
#: How long udev may take for /dev/vfio/N and /dev/dri.
UDEV_S = 5.0

_PASSING = {errno.EACCES, errno.EAGAIN, errno.EBUSY, errno.EINTR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a handover works with. `report` gets a line per step, for a person; `limit_s` is a write's."""

    kernel: Kernel
    settings: HostSettings
    report: Callable[[str], None]
    limit_s: float

    @property
    def journals(self) -> Journals:
        return Journals(self.settings.vm.state_dir / "journal")


def carry_out(desk: Desk, step: Step) -> None:
    """
    Do a step and prove that it did what it says.

    Raises:
        KernelRefused, KernelHangs: as the kernel answered.
        EncoderdError: the kernel said yes, and nothing came of it.
    """
    desk.report(describe(step))
    match step.kind:
        case Kind.OVERRIDE:
            _write(desk, step)
            shown = desk.kernel.root.text(step.path).strip()
            if shown != (step.driver or "(null)"):
                raise EncoderdError(
                    f"{step.path} reads {shown!r} after {step.data!r} was written to it.",
                    remedy="Somebody else writes to it, too: see whether libvirt or driverctl manage this device.",
                )
        case Kind.UNBIND:
            _unbind(desk, step)
        case Kind.PROBE | Kind.BIND:
            _bind(desk, step)
        case Kind.CONSOLE:
            if desk.kernel.root.text(step.path).strip() != step.data:
                try:
                    _write(desk, step)
                except KernelRefused as refused:  # a console that cannot be moved stops nothing
                    desk.report(f"{refused.message} The text console stays as it is.")


def _unbind(desk: Desk, step: Step) -> None:
    assert step.address is not None
    if step.driver == VFIO and (busy := holders_now(desk, step.address)):
        raise in_use(step.address, busy)
    try:
        _write(desk, step)
    except KernelRefused:
        if _driver(desk, step.address) == step.driver:
            raise
    if _driver(desk, step.address) == step.driver:
        raise EncoderdError(
            f"The kernel said that it took {step.address} from {step.driver}, and did not.",
            remedy="See what the kernel said: dmesg | tail",
        )


def _bind(desk: Desk, step: Step) -> None:
    """
    Bind until the link is there. A bind that is refused because the driver does not know the device by its ids may
    still come right through drivers_probe.
    """
    assert step.address is not None
    path, refusal = step.path, None
    for attempt in range(TRIES):
        if attempt:
            desk.kernel.pause(PAUSE_S)
        try:
            desk.kernel.write(path, step.data, desk.limit_s)
        except KernelRefused as refused:
            refusal = refused
            if refused.errno in (errno.ENODEV, errno.ENOENT) and path != PROBE:
                path = PROBE
        if _driver(desk, step.address) == step.driver:
            return
    if refusal is not None:
        raise refusal
    found = _driver(desk, step.address)
    raise EncoderdError(
        f"The kernel was asked {TRIES} times to give {step.address} to {step.driver}, said yes, and "
        + (f"gave it to {found}." if found else "gave it to nobody: the driver failed on the device."),
        remedy=f"See what the kernel said: dmesg | grep {step.address}",
    )


def _write(desk: Desk, step: Step) -> None:
    for attempt in range(TRIES):
        try:
            desk.kernel.write(step.path, step.data, desk.limit_s)
            return
        except KernelRefused as refused:
            if refused.errno not in _PASSING or attempt == TRIES - 1:
                raise
        desk.kernel.pause(PAUSE_S)


def verify_taken(desk: Desk, journal: Journal) -> None:
    """
    Prove that QEMU can have the group: vfio-pci has the devices, udev made the node, nobody else is in the group.

    Raises:
        EncoderdError: not so after `UDEV_S` seconds.
    """
    root = desk.kernel.root
    trouble = ""
    for _ in range(int(UDEV_S / PAUSE_S)):
        members = endpoints_of(root, journal.group)
        astray = [one for one in members if one.address in journal.addresses and one.driver != VFIO]
        foreign = [one for one in members if one.driver not in HARMLESS_DRIVERS]
        if astray or foreign:
            first = (astray or foreign)[0]
            trouble = f"{first.address} of group {journal.group} is with {first.driver or 'no driver'}"
        elif not root.exists(f"/dev/vfio/{journal.group}"):
            trouble = f"/dev/vfio/{journal.group} did not appear within {UDEV_S:g} s"
        else:
            return
        desk.kernel.pause(PAUSE_S)
    raise EncoderdError(
        f"All was written to take {journal.address}, but {trouble}.",
        remedy=f"See what the kernel said: dmesg | grep -e vfio -e {journal.address}; and that udev runs.",
    )


def holders_now(desk: Desk, address: PciAddress, group: int | None = None) -> tuple[Opener, ...]:
    """Return who holds a device through VFIO at this moment."""
    root = desk.kernel.root
    if group is None:
        name = root.link_name(f"/sys/bus/pci/devices/{address}/iommu_group") or ""
        group = int(name) if name.isdecimal() else None
    return holders(root, group, (address,))


def in_use(address: PciAddress, busy: tuple[Opener, ...]) -> EncoderdError:
    """Say who keeps a device from being given back."""
    who = ", ".join(dict.fromkeys(f"{one.name} (PID {one.pid})" for one in busy))
    return EncoderdError(
        f"{address} is still used by {who}: taking it from vfio-pci now would wait in the kernel, past any signal.",
        remedy="End the guest first: encoderd-host stop; then: encoderd-host give",
    )


def _driver(desk: Desk, address: PciAddress) -> str | None:
    return desk.kernel.root.link_name(f"/sys/bus/pci/devices/{address}/driver")
