"""Where a device stands between the host and the guest: what sysfs shows now, held against the journal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from encoderd.host.binding import VFIO, Endpoint
from encoderd.host.journal import Journal, Journals, JournalUnreadable, Phase
from encoderd.host.other_managers import claims
from encoderd.host.settings import HostSettings
from encoderd.pci import PciAddress
from encoderd.root import Root

#: PCI-to-PCI bridges stay with the host: VFIO allows them in a group. Source: pci_ids.h, PCI_CLASS_BRIDGE_PCI.
_PCI_BRIDGE = 0x0604

Word = Literal["host", "taken", "half-taken", "half-given", "foreign", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    One device. `word`: "host" (the host has it), "taken" (all of its group is with vfio-pci, by us), "half-taken" and
    "half-given" (a helper was cut off), "foreign" (with vfio-pci or another driver, but not by us), "missing".

    `remedy` says what to type, "" when nothing needs to be done.
    """

    address: PciAddress
    driver: str | None
    journal: Journal | None
    word: Word
    remedy: str = ""


def standing(root: Root, settings: HostSettings, addresses: Iterable[PciAddress], boot_id: str = "") -> list[Standing]:
    """Return where each device stands; reads only. `boot_id` is the present boot's, read below `root` if not given."""
    boot_id = boot_id or root.text("/proc/sys/kernel/random/boot_id").strip()
    journals = Journals(settings.vm.state_dir / "journal")
    return [_standing(root, journals, address, boot_id) for address in addresses]


def taken_by(root: Root, settings: HostSettings, boot_id: str = "") -> tuple[PciAddress, ...]:
    """
    Return what this VM has taken in this boot, wholly or half, the GPU first: by the journals, not by the settings.

    Settings may have changed since, and "auto" may mean another device once the first one is gone from the host.
    """
    boot_id = boot_id or root.text("/proc/sys/kernel/random/boot_id").strip()
    journals = Journals(settings.vm.state_dir / "journal")
    found = []
    for address in journals.addresses():
        with contextlib.suppress(JournalUnreadable):
            journal = journals.read(address)
            if journal is not None and (journal.boot_id, journal.vm) == (boot_id, settings.vm.name):
                found.append(journal)
    return tuple(journal.address for journal in sorted(found, key=lambda one: (not one.is_gpu, one.address)))


def _standing(root: Root, journals: Journals, address: PciAddress, boot_id: str) -> Standing:
    now = endpoint(root, address)
    driver = now.driver if now is not None else None
    try:
        journal = journals.about(address)
    except JournalUnreadable as unreadable:
        word: Word = "missing" if now is None else "foreign" if driver == VFIO else "host"
        return Standing(
            address=address, driver=driver, journal=None, word=word, remedy=f"{unreadable.message} {unreadable.remedy}"
        )
    if journal is not None and journal.boot_id != boot_id:
        journal = None  # what it tells of went with that boot
    if now is None:
        remedy = "See whether it is there at all: lspci -D; a device that fell off the bus needs a cold start."
        return Standing(address=address, driver=None, journal=journal, word="missing", remedy=remedy)
    if journal is None:
        if driver != VFIO:
            return Standing(address=address, driver=driver, journal=None, word="host")
        who = pinned_by(root, now.address)
        remedy = (
            f"It was given to vfio-pci by {who}, and stays there."
            if who
            else "Not taken by this helper: by hand, or for another program's guest. A reboot undoes it."
        )
        return Standing(address=address, driver=driver, journal=None, word="foreign", remedy=remedy)
    word, remedy = _by_journal(root, journal)
    return Standing(address=address, driver=driver, journal=journal, word=word, remedy=remedy)


def _by_journal(root: Root, journal: Journal) -> tuple[Word, str]:
    now = {record.address: endpoint(root, record.address) for record in journal.records}
    for record in journal.records:
        found = now[record.address]
        if found is not None and found.driver not in (None, VFIO, record.driver):
            return "foreign", (
                f"{record.address} is with {found.driver} now, neither vfio-pci nor {record.driver or 'without one'}: "
                "somebody else moved it. To end our part: encoderd-host give"
            )
    match journal.phase:
        case Phase.GIVING:
            return "half-given", f"The helper with PID {journal.pid} was cut off: encoderd-host give"
        case Phase.TAKEN if all(found is not None and found.driver == VFIO for found in now.values()):
            return "taken", ""
        case Phase.TAKEN:
            return "half-taken", "Somebody took devices of its group from vfio-pci: encoderd-host give"
        case Phase.TAKING:
            return "half-taken", f"The helper with PID {journal.pid} was cut off: encoderd-host give (or take)"


def endpoint(root: Root, address: PciAddress) -> Endpoint | None:
    """Return how a device stands now; None when it is not there."""
    folder = f"/sys/bus/pci/devices/{address}"
    try:
        class_code = int(root.text(f"{folder}/class").strip(), 16)
    except ValueError:
        return None
    driver = root.link_name(f"{folder}/driver")
    override = root.text(f"{folder}/driver_override").strip()
    return Endpoint(
        address=address,
        class_code=class_code,
        driver=driver,
        override="" if override == "(null)" else override,
        module=(root.link_name(f"{folder}/driver/module") or "") if driver else "",
        drm=tuple(name for name in root.names(f"{folder}/drm") if name.startswith(("card", "renderD"))),
    )


def group_of(root: Root, address: PciAddress) -> int | None:
    """Return the number of a device's IOMMU group."""
    name = root.link_name(f"/sys/bus/pci/devices/{address}/iommu_group")
    return int(name) if name is not None and name.isdecimal() else None


def endpoints_of(root: Root, group: int) -> list[Endpoint]:
    """Return the endpoints of an IOMMU group as they stand now, bridges left out."""
    found = []
    for name in root.names(f"/sys/kernel/iommu_groups/{group}/devices"):
        one = endpoint(root, PciAddress.parse(name))
        if one is not None and one.class_code >> 8 != _PCI_BRIDGE:
            found.append(one)
    return found


def pinned_by(root: Root, address: PciAddress) -> str:
    """Return who else's settings give a device to vfio-pci ("driverctl (/etc/…)"), "" for nobody's."""
    folder = f"/sys/bus/pci/devices/{address}"
    ids = ":".join(root.text(f"{folder}/{name}").strip().removeprefix("0x") for name in ("vendor", "device"))
    for claim in claims(root):
        if (claim.who == "driverctl" and address in claim.addresses and VFIO in claim.says) or ids in claim.ids:
            return f"{claim.who} ({claim.where}: {claim.says})"
    return ""


def kept_away(root: Root, driver: str) -> str:
    """Return what keeps a driver from being loaded ("module_blacklist=i915 …"), "" for nothing."""
    for claim in claims(root):
        if claim.driver == driver and claim.says.startswith(("module_blacklist=", "install ")):
            return f"{claim.says} ({claim.where})"
    return ""
