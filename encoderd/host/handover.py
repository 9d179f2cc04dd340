"""
Take devices from the host for the guest, and give them back: journaled, verified, undone when it fails.

Nothing is written before everything was looked at; every write is preceded by a journal that says how to undo it; what
counts is the driver's link afterwards, never a write's success. Whoever kills the helper in between finds in `standing`
where it stands, and `give` (or `take`) goes on from there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from encoderd.errors import EncoderdError
from encoderd.findings import Finding, failed
from encoderd.host import checks
from encoderd.host.binding import VFIO, Step, plan_relight, plan_take
from encoderd.host.consoles import vt_consoles
from encoderd.host.facts import HostFacts
from encoderd.host.giving import back_steps, free_consoles_of, give_back
from encoderd.host.journal import Journal, JournalUnreadable, Phase, locked
from encoderd.host.kernel import Kernel, KernelHangs
from encoderd.host.last_look import movable, refusals_of
from encoderd.host.settings import HostSettings
from encoderd.host.standing import Standing, endpoint, endpoints_of, group_of, pinned_by, standing, taken_by
from encoderd.host.steps import Desk, carry_out, verify_taken
from encoderd.pci import PciAddress

__all__ = [
    "GiveResult", "HandoverFailed", "HandoverRefused", "Standing", "TakeResult", "give", "standing", "take",
    "take_devices", "taken_by",
]  # fmt: skip

Report = Callable[[str], None]

#: What QEMU needs beside vfio-pci: its IOMMU's back end.
_MODULES = ("vfio-pci", "vfio_iommu_type1")


class HandoverRefused(EncoderdError):
    """Nothing was written; `findings` say why, the first of them is the message."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(f"Nothing was taken: {findings[0].evidence}{more}.", remedy=findings[0].remedy)
        self.findings = tuple(findings)


class HandoverFailed(EncoderdError):
    """It went wrong on the way; the message says what, and whether everything was put back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeResult:
    """
    `taken` now, `already` before, `foreign` with vfio-pci by somebody else (they will not be given back). `steps` are
    the writes, done or (dry run) to be done; `notes` are for a person.
    """

    taken: tuple[PciAddress, ...] = ()
    already: tuple[PciAddress, ...] = ()
    foreign: tuple[PciAddress, ...] = ()
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveResult:
    """
    `given` back now; `kept` with vfio-pci by the settings or because somebody else wants it so; `nothing` to give.

    `trouble` says what looks wrong with a device that is back, "" when it was a clean round trip.
    """

    given: tuple[PciAddress, ...] = ()
    kept: tuple[PciAddress, ...] = ()
    nothing: tuple[PciAddress, ...] = ()
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    trouble: str = ""


def _silent(line: str) -> None:
    del line


def take(
    kernel: Kernel,
    settings: HostSettings,
    facts: HostFacts,
    addresses: Sequence[PciAddress],
    *,
    dry_run: bool = False,
    report: Report = _silent,
) -> TakeResult:
    """
    Take the devices, the GPU first, each with all of its group that may go; does nothing for those that are taken.

    Raises:
        HandoverRefused: a check or the last look forbids it; nothing was written.
        HandoverFailed: it was begun and undone, or could not be undone: the message tells.
    """
    return take_devices(
        kernel,
        settings,
        addresses,
        gpu=facts.gpu.gpu.address if facts.gpu.gpu is not None else None,
        refused=checks.refusals(facts, settings),
        dry_run=dry_run,
        report=report,
    )


def take_devices(
    kernel: Kernel,
    settings: HostSettings,
    addresses: Sequence[PciAddress],
    *,
    gpu: PciAddress | None,
    refused: Sequence[Finding] = (),
    dry_run: bool = False,
    report: Report = _silent,
) -> TakeResult:
    """Do as `take` does, where the GPU's address and the refusals of the checks are known."""
    desk = Desk(kernel=kernel, settings=settings, report=report, limit_s=settings.limits.take_s)
    ordered = sorted(dict.fromkeys(addresses), key=lambda address: address != gpu)
    notes: list[str] = []
    with _alone(desk, ordered, dry_run=dry_run):
        if not dry_run:
            notes += _tidy(desk, ordered)
        stands = standing(kernel.root, settings, ordered, kernel.boot_id)
        wanted = [stand for stand in stands if stand.word != "taken"]
        already = tuple(stand.address for stand in stands if stand.word == "taken")
        notes += [f"{address} is taken already." for address in already]
        if wanted:
            _refuse(desk, wanted, gpu, refused)
        foreign = [stand for stand in wanted if stand.word == "foreign"]
        notes += [f"{stand.address} is with vfio-pci already. {stand.remedy}" for stand in foreign]
        journals = _begun(desk, [stand for stand in wanted if stand.word != "foreign"], gpu)
        steps = tuple(step for journal in journals for step in _forth_steps(desk, journal))
        if not dry_run and journals:
            _take_all(desk, journals)
    return TakeResult(
        taken=() if dry_run else tuple(stand.address for stand in wanted if stand.word != "foreign"),
        already=already,
        foreign=tuple(stand.address for stand in foreign),
        steps=steps,
        notes=tuple(notes),
    )


def give(
    kernel: Kernel,
    settings: HostSettings,
    addresses: Sequence[PciAddress],
    *,
    dry_run: bool = False,
    report: Report = _silent,
    even_if_kept: bool = False,
) -> GiveResult:
    """
    Give the devices back to the drivers they had, the GPU last; says so where there is nothing to give.

    A GPU stays with vfio-pci where gpu.after says keep-vfio, unless `even_if_kept`. Devices that driverctl or
    modprobe.d give to vfio-pci stay there in any case: their owner wants it so.

    Raises:
        HandoverFailed: a device is in use or did not come back; the others were still tried.
    """
    desk = Desk(kernel=kernel, settings=settings, report=report, limit_s=settings.limits.give_s)
    given: list[PciAddress] = []
    kept: list[PciAddress] = []
    nothing: list[PciAddress] = []
    steps: list[Step] = []
    notes: list[str] = []
    troubles: list[str] = []
    failures: list[EncoderdError] = []
    with _alone(desk, addresses, dry_run=dry_run):
        if not dry_run:
            notes += _tidy(desk, addresses)
        done: set[PciAddress] = set()
        for stand in reversed(standing(kernel.root, settings, list(dict.fromkeys(addresses)), kernel.boot_id)):
            journal = stand.journal
            if journal is None:
                nothing.append(stand.address)
                notes.append(_nothing_to_give(stand))
                continue
            if journal.address in done:
                continue
            done.add(journal.address)
            why = _kept(desk, stand, journal, even_if_kept=even_if_kept)
            if why:
                kept.append(stand.address)
                notes.append(why)
                continue
            steps += back_steps(kernel.root, journal)
            if dry_run:
                continue
            try:
                trouble = give_back(desk, journal, wait_s=settings.limits.give_s)
            except EncoderdError as error:
                failures.append(error)
                continue
            given.append(stand.address)
            if trouble:
                troubles.append(trouble)
    if failures:
        raise HandoverFailed(" ".join(error.message for error in failures), remedy=failures[0].remedy) from failures[0]
    return GiveResult(
        given=tuple(given), kept=tuple(kept), nothing=tuple(nothing), steps=tuple(steps), notes=tuple(notes),
        trouble="; ".join(troubles),
    )  # fmt: skip


@contextlib.contextmanager
def _alone(desk: Desk, addresses: Sequence[PciAddress], *, dry_run: bool) -> Iterator[None]:
    """Lock out other helpers: one at a time, and one per device and its group. A dry run leaves no file behind."""
    if dry_run:
        yield
        return
    root, folder = desk.kernel.root, desk.settings.vm.run_dir
    groups = {group for address in addresses if (group := group_of(root, address)) is not None}
    devices = {*addresses, *(one.address for group in groups for one in endpoints_of(root, group))}
    with locked([folder / "handover.lock", *(folder / f"{address}.lock" for address in sorted(devices))]):
        yield


def _tidy(desk: Desk, addresses: Sequence[PciAddress]) -> list[str]:
    """
    Put aside what is history: journals of another boot, and those that cannot be read of devices that are at home.

    Raises:
        JournalUnreadable: the device is not plainly at home, so the journal would be needed.
    """
    notes = []
    journals = desk.journals
    journals.sweep()
    for address in {*addresses, *journals.addresses()}:
        try:
            journal = journals.read(address)
        except JournalUnreadable as unreadable:
            now = endpoint(desk.kernel.root, address)
            if now is None or now.driver in (None, VFIO) or now.override:
                if address in addresses:
                    raise
                continue
            place = journals.put_aside(address, "unreadable")
            notes.append(f"{unreadable.message} {address} is with {now.driver}, so it is not needed: moved to {place}.")
            continue
        if journal is not None and journal.boot_id != desk.kernel.boot_id:
            place = journals.put_aside(address, f"boot-{''.join(filter(str.isalnum, journal.boot_id))[:8]}")
            notes.append(f"The journal of {address} is of an earlier boot, so of history only: moved to {place}.")
    return notes


def _refuse(desk: Desk, wanted: Sequence[Standing], gpu: PciAddress | None, refused: Sequence[Finding]) -> None:
    root, settings = desk.kernel.root, desk.settings
    findings = list(refused)
    for stand in wanted:
        if stand.word == "foreign" and stand.journal is not None:
            findings.append(failed("driver", f"{stand.address} was moved by somebody else", stand.remedy))
        findings += refusals_of(
            root, settings, stand.address, is_gpu=stand.address == gpu, together=[one.address for one in wanted]
        )
    findings = [one for number, one in enumerate(findings) if one not in findings[:number]]
    if findings:
        raise HandoverRefused(findings)


def _begun(desk: Desk, wanted: Sequence[Standing], gpu: PciAddress | None) -> list[Journal]:
    """Return a journal for each device, not yet written. One that was begun earlier keeps what it knows."""
    root = desk.kernel.root
    journals: list[Journal] = []
    for stand in wanted:
        if any(stand.address in journal.addresses for journal in journals):
            continue  # it goes along with one before it
        group = group_of(root, stand.address)
        assert group is not None  # or else it was refused
        before = stand.journal
        moving = movable(root, desk.settings, stand.address)
        known = before.records if before is not None else ()
        fresh = [
            one for one in moving if one.driver != VFIO and one.address not in {record.address for record in known}
        ]
        consoles = dict.fromkeys([*(before.consoles if before else ()), *free_consoles_of(root, moving)])
        journals.append(
            Journal(
                address=before.address if before is not None else stand.address,
                vm=desk.settings.vm.name,
                group=group,
                records=(*known, *fresh),
                consoles=tuple(consoles),
                is_gpu=before.is_gpu if before is not None else stand.address == gpu,
                boot_id=desk.kernel.boot_id,
                release=desk.kernel.release,
                phase=Phase.TAKING,
                pid=os.getpid(),
            )
        )
    return journals


def _forth_steps(desk: Desk, journal: Journal) -> tuple[Step, ...]:
    root = desk.kernel.root
    now = [one for address in journal.addresses if (one := endpoint(root, address)) is not None]
    bright = [name for name in journal.consoles if root.text(f"/sys/class/vtconsole/{name}/bind").strip() == "1"]
    return plan_take(now, bright)


def _take_all(desk: Desk, journals: Sequence[Journal]) -> None:
    for module in _MODULES:
        desk.kernel.load_module(module, desk.limit_s)
    if not desk.kernel.root.exists(f"/sys/bus/pci/drivers/{VFIO}"):
        raise EncoderdError(
            "The module vfio-pci is loaded, but there is no driver vfio-pci.",
            remedy="See what the kernel said: dmesg | grep vfio",
        )
    begun: list[Journal] = []
    try:
        for journal in journals:
            begun.append(journal)
            desk.journals.write(journal)
            findings = refusals_of(
                desk.kernel.root, desk.settings, journal.address, is_gpu=journal.is_gpu
            )  # since the first look another device was taken, and modules were loaded
            if findings:
                raise HandoverRefused(findings)
            lit = [one.name for one in vt_consoles(desk.kernel.root) if one.is_frame_buffer and one.bound]
            for step in _forth_steps(desk, journal):
                carry_out(desk, step)
            verify_taken(desk, journal)
            dark = [one.name for one in vt_consoles(desk.kernel.root) if one.is_frame_buffer and not one.bound]
            for step in plan_relight(name for name in dark if name in lit and name not in journal.consoles):
                carry_out(desk, step)
            desk.journals.write(journal.at(Phase.TAKEN))
    except (EncoderdError, OSError, KeyboardInterrupt) as error:
        raise _undone(desk, begun, error) from error


def _undone(desk: Desk, begun: Sequence[Journal], error: BaseException) -> HandoverFailed:
    """Undo in reverse order and say what came of it. Behind a write that hangs nothing more is written."""
    troubles = []
    for journal in reversed(begun):
        if isinstance(error, KernelHangs) and journal is begun[-1]:
            troubles.append(f"{journal.address} is left as it is.")
            continue
        desk.report(f"undo what was done to {journal.address}")
        try:
            give_back(desk, journal, wait_s=0, rolling_back=True)
        except (EncoderdError, OSError) as trouble:
            troubles.append(f"It could not be undone: {trouble}")
    what = str(error) or type(error).__name__
    remedy = (
        error.remedy if isinstance(error, EncoderdError) else "Free some space, or run this as root; then try again."
    )
    if not troubles:
        return HandoverFailed(f"{what} Everything was put back as it was.", remedy=remedy)
    return HandoverFailed(f"{what} {' '.join(troubles)}", remedy=f"{remedy} Then: encoderd-host give")


def _kept(desk: Desk, stand: Standing, journal: Journal, *, even_if_kept: bool) -> str:
    """Say why a device stays with vfio-pci, "" when it is to go back. What was only half done always goes back."""
    if stand.word != "taken":
        return ""
    who = next((who for address in journal.addresses if (who := pinned_by(desk.kernel.root, address))), "")
    if who:
        return f"{stand.address} stays with vfio-pci: {who} wants it so."
    if journal.is_gpu and desk.settings.gpu.after == "keep-vfio" and not even_if_kept:
        return f"{stand.address} stays with vfio-pci, as gpu.after says."
    return ""


def _nothing_to_give(stand: Standing) -> str:
    if stand.word == "foreign":
        return f"{stand.address} is with vfio-pci, but its own driver is not known. {stand.remedy}"
    if stand.word == "missing":
        return f"{stand.address} is not there. {stand.remedy}"
    return f"{stand.address} is with {stand.driver or 'no driver'}, and nothing was taken."
