"""Bring a journal's devices back to how they were: the second half of a handover, and the undoing of a first."""

from __future__ import annotations

import time

from encoderd.errors import EncoderdError
from encoderd.host import round_trips
from encoderd.host.binding import VFIO, Endpoint, Step, plan_give
from encoderd.host.consoles import console_facts
from encoderd.host.journal import Journal, Phase
from encoderd.host.kernel import KernelHangs
from encoderd.host.standing import endpoint, kept_away
from encoderd.host.steps import PAUSE_S, UDEV_S, Desk, carry_out, holders_now, in_use
from encoderd.pci import PciAddress, pci_devices
from encoderd.root import Root

#: Bits of /proc/sys/kernel/tainted: 7 the kernel died or had an oops, 9 it warned. Source: tainted-kernels.rst.
_TROUBLE_BITS = 1 << 7 | 1 << 9


def back_steps(root: Root, journal: Journal) -> tuple[Step, ...]:
    """Return the writes that are needed from now on."""
    now = [one for record in journal.records if (one := endpoint(root, record.address)) is not None]
    dark = [name for name in journal.consoles if root.text(f"/sys/class/vtconsole/{name}/bind").strip() == "0"]
    return plan_give(journal.records, now, dark)


def give_back(desk: Desk, journal: Journal, *, wait_s: float, rolling_back: bool = False) -> str:
    """
    Undo what the journal tells, prove it, and drop the journal last of all. Returns the trouble seen, "" for none.

    What fails for one device does not keep the others from coming back. `wait_s` is how long somebody may still hold
    the group; nothing is written before it is free.

    Raises:
        EncoderdError: the device is in use, gone, or did not come back; the journal stays.
    """
    root = desk.kernel.root
    _await_free(desk, journal, wait_s)
    tainted = _tainted(root)
    desk.journals.write(journal.at(Phase.GIVING))
    troubles = _load_drivers(desk, journal)
    troubles += _apply(desk, back_steps(root, journal))
    troubles += _not_back(root, journal, troubles)
    shaky = "" if troubles else _shaky(desk, journal, tainted)
    if journal.is_gpu and not rolling_back:
        _remember(desk, "; ".join(troubles) or shaky)
    if troubles:
        raise EncoderdError(
            f"{journal.address} did not come back: {'; '.join(troubles)}",
            remedy="See: encoderd-host status; then: encoderd-host give once more. A reboot brings it back, too; "
            'if it fails each time, set gpu.after = "keep-vfio".',
        )
    desk.journals.drop(journal.address)
    return shaky


def _await_free(desk: Desk, journal: Journal, wait_s: float) -> None:
    root = desk.kernel.root
    ours = [address for address in journal.addresses if _driver(root, address) == VFIO]
    began_s, pauses_s = time.monotonic(), 0.0
    while ours:
        busy = tuple(one for address in ours for one in holders_now(desk, address, journal.group))
        if not busy:
            return
        if max(pauses_s, time.monotonic() - began_s) >= wait_s:  # looking takes time too, where much is open
            raise in_use(journal.address, busy)
        desk.kernel.pause(PAUSE_S)
        pauses_s += PAUSE_S


def _load_drivers(desk: Desk, journal: Journal) -> list[str]:
    """Load the drivers that were unloaded meanwhile."""
    troubles = []
    root = desk.kernel.root
    for record in journal.records:
        if record.driver is None or root.exists(f"/sys/bus/pci/drivers/{record.driver}"):
            continue
        if who := kept_away(root, record.driver):
            troubles.append(f"{record.driver}, which {record.address} had, is not loaded and may not be: {who}")
            continue
        try:
            desk.kernel.load_module(record.module or record.driver, desk.limit_s)
        except EncoderdError as error:
            troubles.append(error.message)
    return troubles


def _apply(desk: Desk, steps: tuple[Step, ...]) -> list[str]:
    troubles: list[str] = []
    failed: set[PciAddress] = set()
    for step in steps:
        if step.address is not None and step.address in failed:
            continue
        try:
            carry_out(desk, step)
        except KernelHangs as hangs:
            return [*troubles, f"{hangs.message} {hangs.remedy}"]  # more writes would hang behind it
        except EncoderdError as error:
            troubles.append(error.message)
            if step.address is not None:
                failed.add(step.address)
    return troubles


def _not_back(root: Root, journal: Journal, told: list[str]) -> list[str]:
    """Say which device is not as it was, if that was not told already. One that another driver has is not ours."""
    found = []
    for record in journal.records:
        now = endpoint(root, record.address)
        if now is None:
            found.append(f"{record.address} is gone from the bus")
        elif not told and now.driver in (None, VFIO) and now.driver != record.driver:
            found.append(f"{record.address} is with {now.driver or 'no driver'}, not {record.driver or 'without one'}")
    return found


def _shaky(desk: Desk, journal: Journal, tainted: int) -> str:
    """Say what shows that the driver is back, and not well: no DRM node, or a warning of the kernel."""
    root = desk.kernel.root
    missing = ""
    for _ in range(int(UDEV_S / PAUSE_S)):
        missing = next((text for record in journal.records if (text := _no_nodes(root, record))), "")
        if not missing:
            break
        desk.kernel.pause(PAUSE_S)
    new = _tainted(root) & ~tainted & _TROUBLE_BITS
    return missing or ("the kernel warned meanwhile (dmesg)" if new else "")


def _no_nodes(root: Root, record: Endpoint) -> str:
    """The numbers of DRM nodes may change; that there are as many kinds of them as before must not."""
    now = endpoint(root, record.address)
    if now is None or now.driver != record.driver:
        return ""
    for kind in ("card", "renderD"):
        if any(name.startswith(kind) for name in record.drm) and not any(
            name.startswith(kind) and root.exists(f"/dev/dri/{name}") for name in now.drm
        ):
            return f"{record.driver} has {record.address} again, but there is no /dev/dri/{kind}*"
    return ""


def _remember(desk: Desk, trouble: str) -> None:
    file = desk.settings.vm.state_dir / "round_trips.json"
    try:
        trips = round_trips.record(file, desk.kernel.release, trouble[:500])
    except OSError as error:
        desk.report(f"How it went could not be written to {file} ({error.strerror}).")
        return
    desk.report(round_trips.advice(trips, desk.kernel.release))


def free_consoles_of(root: Root, moving: list[Endpoint]) -> tuple[str, ...]:
    """
    Return the vtconsoles that show text through these devices' frame buffers, and through nobody else's.

    There is one frame buffer console for all frame buffers: where another card has one, it stays.
    """
    devices = tuple(pci_devices(root))
    every = [line for line in root.text("/proc/fb").splitlines() if line.strip()]
    addresses = {one.address for one in moving if one.is_display}
    consoles = [console_facts(root, device, devices) for device in devices if device.address in addresses]
    own = sum(len(one.frame_buffers) for one in consoles)
    if not own or own != len(every):
        return ()
    return tuple(console.name for console in consoles[0].vt_consoles if console.is_frame_buffer and console.bound)


def _tainted(root: Root) -> int:
    text = root.text("/proc/sys/kernel/tainted").strip()
    return int(text) if text.isdecimal() else 0


def _driver(root: Root, address: PciAddress) -> str | None:
    return root.link_name(f"/sys/bus/pci/devices/{address}/driver")
