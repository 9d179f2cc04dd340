"""What the commands and the unit's process need of this host, put together: facts, findings, command line, deeds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from encoderd.errors import EncoderdError
from encoderd.findings import Finding, Verdict, passed
from encoderd.host import handover
from encoderd.host.argv import ArgvFacts, CommandLine, command_line, share_socket, virtiofsd_argv
from encoderd.host.boot import Deeds
from encoderd.host.checks import host_findings
from encoderd.host.explain import explain
from encoderd.host.facts import HostFacts, gather
from encoderd.host.gpu_facts import GpuFacts, gpu_facts
from encoderd.host.handover import GiveResult, Standing, TakeResult
from encoderd.host.kernel import Kernel, LiveKernel
from encoderd.host.machine import ExpectedDevice
from encoderd.host.ports import find_virtiofsd
from encoderd.host.qemu_probe import probe
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.run_folder import qemu_of
from encoderd.host.settings import HostSettings
from encoderd.host.share_daemons import ShareDaemon
from encoderd.host.standing import taken_by
from encoderd.pci import PciAddress

Report = Callable[[str], None]

#: How long virtiofsd may take to say which options it has.
_HELP_LIMIT_S = 5.0
#: What fails while the VM runs because it runs: its group is held, its images are locked, its memory is taken.
_OWN_USE = {"vfio_holder", "disk", "memory", "hugepages"}


class Preparation:
    """This host and the settings of its VM. Facts are gathered anew at each call: a host does not stand still."""

    def __init__(self, settings: HostSettings, kernel: Kernel | None = None) -> None:
        self.settings = settings
        self.kernel: Kernel = kernel or LiveKernel()
        self._seen: HostFacts | None = None

    @cached_property
    def qemu(self) -> QemuProperties:
        """What this QEMU can do. Raises EncoderdError: it cannot be asked."""
        return probe(self.settings.vm.qemu)

    def facts(self) -> HostFacts:
        try:
            qemu = self.qemu
        except EncoderdError:
            qemu = None  # the checks say what is the matter with it
        self._seen = gather(self.kernel.root, self.settings, live=True, qemu=qemu)
        return self._seen

    def findings(self) -> list[Finding]:
        """Return what stands in the way of the VM; while it runs, what it uses itself stands in nobody's way."""
        found = host_findings(self.facts(), self.settings)
        qemu = qemu_of(self.kernel.root, self.settings)
        if qemu is None:
            return found
        kept = [finding for finding in found if finding.verdict is not Verdict.FAIL or finding.check not in _OWN_USE]
        return [passed("vm", f"runs (QEMU PID {qemu[0]}); what it uses itself is left out"), *kept]

    def addresses(self) -> tuple[PciAddress, ...]:
        """
        Return the devices that the guest gets, the GPU first; a virtual function that was taken already stays chosen.

        Raises:
            EncoderdError: gpu.address is "auto" and there is no GPU.
        """
        settings, found = self.settings, []
        if settings.vm.profile == "vf" and settings.gpu.address == "auto" and (taken := self._taken()):
            named = {PciAddress.parse(device.address) for device in settings.pci}
            found += [address for address in taken if address not in named][:1]
        if settings.gpu.address not in {"auto", "none"}:
            found.append(PciAddress.parse(settings.gpu.address))
        elif settings.gpu.address == "auto" and not found:
            gpu = gpu_facts(self.kernel.root, settings.gpu, settings.vm.profile).gpu
            if gpu is None:
                raise EncoderdError(
                    "No GPU for the guest was found on this host.",
                    remedy='encoderd-host check says why; a VM without one has gpu.address = "none"',
                )
            found.append(gpu.address)
        return (*found, *(PciAddress.parse(device.address) for device in settings.pci))

    # --- the devices

    def take(self, *, dry_run: bool = False, report: Report = lambda _: None) -> TakeResult:
        return handover.take(self.kernel, self.settings, self.facts(), self.addresses(), dry_run=dry_run, report=report)

    def _take_seen(self, report: Report) -> TakeResult:
        """Take on the strength of the check that was just made; handover looks at the devices themselves again."""
        facts = self._seen or self.facts()
        return handover.take(self.kernel, self.settings, facts, self.addresses(), report=report)

    def give(self, *, dry_run: bool = False, even_if_kept: bool = False, report: Report = lambda _: None) -> GiveResult:
        return handover.give(
            self.kernel, self.settings, self._owned(), dry_run=dry_run, report=report, even_if_kept=even_if_kept
        )

    def standing(self) -> list[Standing]:
        """Return where the devices stand; [] where none can be named."""
        return handover.standing(self.kernel.root, self.settings, self._owned(), self.kernel.boot_id)

    def _taken(self) -> tuple[PciAddress, ...]:
        return taken_by(self.kernel.root, self.settings, self.kernel.boot_id)

    def _owned(self) -> tuple[PciAddress, ...]:
        """What the settings name, and before that what was taken while they named something else."""
        try:
            named = self.addresses()
        except EncoderdError:
            named = ()
        return tuple(dict.fromkeys((*self._taken(), *named)))

    # --- the VM

    def command_line(self, facts: HostFacts | None = None, qemu: QemuProperties | None = None) -> CommandLine:
        return command_line_of(self.settings, qemu or self.qemu, facts or self.facts())

    def deeds(self, report: Report) -> Deeds:
        """Return what boot does with this host."""
        settings = self.settings
        return Deeds(
            check=self.findings,
            take=lambda: _told(self._take_seen(report).notes, report),
            give=lambda: _told(_notes_of(self.give(report=report)), report),
            argv=lambda: self.command_line(self._seen).argv,  # as the check saw it: looking starts a QEMU of its own
            expected=lambda: expected_devices(settings, gpu_facts(self.kernel.root, settings.gpu, settings.vm.profile)),
            share_daemons=lambda: share_daemons_of(settings, find_virtiofsd(self.kernel.root)),
            explain=explain,
            addresses=tuple(str(address) for address in self.addresses()),
        )


def command_line_of(settings: HostSettings, qemu: QemuProperties, facts: HostFacts) -> CommandLine:
    """Return QEMU's command line for a VM with these settings on a host with these facts. Raises EncoderdError."""
    return command_line(
        settings,
        qemu,
        ArgvFacts(
            gpu=facts.gpu.gpu,
            gpu_generation=facts.gpu.generation if facts.gpu.gpu is not None else None,
            devices={device.address: device for device in facts.gpu.devices},
            phys_bits=facts.platform.phys_bits,
            iommu_bits=facts.platform.iommu_bits,
            cpu="max" if settings.vm.accelerator == "tcg" else facts.platform.cpu_model,
        ),
    )


def expected_devices(settings: HostSettings, facts: GpuFacts) -> list[ExpectedDevice]:
    """Return what the guest must see: the ids as sysfs tells them, or as the settings overrule them."""
    devices = {device.address: device for device in facts.devices}
    wanted = [(f"pci{number}", device.address, device.properties) for number, device in enumerate(settings.pci)]
    if facts.gpu is not None:
        name = "hostpci0" if settings.vm.profile == "blog-2014" else "gpu0"
        wanted.insert(0, (name, str(facts.gpu.address), settings.gpu.properties))
    expected = []
    for name, address, properties in wanted:
        device = devices.get(PciAddress.parse(address))
        if device is not None:
            expected.append(
                ExpectedDevice(
                    qdev_id=name,
                    vendor=_number(properties.get("x-pci-vendor-id"), device.vendor),
                    device=_number(properties.get("x-pci-device-id"), device.device),
                )
            )
    return expected


def share_daemons_of(settings: HostSettings, binary: str) -> list[ShareDaemon]:
    """
    Return what to start for the shares. `binary` is virtiofsd's path, "" where there is none.

    Raises:
        EncoderdError: a share needs virtiofsd and there is none.
    """
    wanted = [share for share in settings.share if share.type == "virtiofs"]
    if not wanted:
        return []
    if not binary:
        raise EncoderdError(
            f"The share {wanted[0].tag} needs virtiofsd, which is not installed.",
            remedy='apt-get install virtiofsd, or set type = "9p" for it',
        )
    told = _help_of(binary)
    return [
        ShareDaemon(
            tag=share.tag,
            argv=tuple(virtiofsd_argv(share, share_socket(settings, share), Path(binary), told)),
            socket=share_socket(settings, share),
        )
        for share in wanted
    ]


def _help_of(binary: str) -> str:
    try:
        run = subprocess.run([binary, "--help"], capture_output=True, timeout=_HELP_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (run.stdout + run.stderr).decode("utf-8", "replace")


def _number(value: str | int | bool | None, otherwise: int) -> int:
    if value is None or isinstance(value, bool):
        return otherwise
    try:
        return value if isinstance(value, int) else int(value, 0)
    except ValueError:
        return otherwise


def _notes_of(result: GiveResult) -> Sequence[str]:
    return (*result.notes, *([result.trouble] if result.trouble else []))


def _told(notes: Sequence[str], report: Report) -> None:
    for note in notes:
        report(note)
