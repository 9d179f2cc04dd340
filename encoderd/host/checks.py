"""Is this host fit to give its Intel GPU to a guest, now? All findings, in the order in which one repairs them."""

from __future__ import annotations

from encoderd.findings import Finding, blocking
from encoderd.host.facts import HostFacts
from encoderd.host.gpu_checks import gpu_findings
from encoderd.host.guest_checks import needs_findings
from encoderd.host.kernel_checks import kernel_findings
from encoderd.host.platform_checks import passes_devices, platform_findings
from encoderd.host.settings import HostSettings
from encoderd.host.usage_checks import usage_findings

#: What is repaired in the firmware's set-up comes first, then what needs another kernel or a reboot, then the rest.
_ORDER = (
    "processor", "vt_d", "gpu", "generation", "dmar",
    "kernel_options", "iommu", "kernel_flags", "interrupt_remapping", "address_width",
    "iommu_group", "group_members", "reserved_regions",
    "kvm", "kvm_start", "vfio_pci", "vfio_options", "gpu_state", "framebuffer",
)  # fmt: skip

#: What forbids taking the GPU from the host, beside all that usage_checks finds: after these the binding itself would
#: fail, or the guest could not use what was taken. Without the others only the guest does not start.
_FORBID_TAKING = {
    "vt_d", "gpu", "generation", "kernel_options", "iommu", "kernel_flags", "iommu_group", "group_members",
    "reserved_regions", "vfio_pci", "gpu_state",
}  # fmt: skip


def host_findings(facts: HostFacts, settings: HostSettings) -> list[Finding]:
    """Return one finding per check or more; on a recorded host KVM is left out, only the host itself can tell."""
    return [
        *_of_the_host(facts, settings),
        *usage_findings(facts.usage, facts.gpu, settings),
        *needs_findings(facts.needs, settings, facts.platform, facts.gpu),
    ]


def refusals(facts: HostFacts, settings: HostSettings) -> list[Finding]:
    """Return what fails and forbids taking the devices from the host; what only a start needs is left out."""
    forbid = _FORBID_TAKING | ({"processor"} if facts.gpu.gpu is None else set())  # VT-x only a start needs
    own = [finding for finding in _of_the_host(facts, settings) if finding.check in forbid]
    return blocking([*own, *usage_findings(facts.usage, facts.gpu, settings)])


def _of_the_host(facts: HostFacts, settings: HostSettings) -> list[Finding]:
    asked = (facts.platform, facts.gpu, settings)
    found = [
        *platform_findings(*asked),
        *(kernel_findings(*asked) if passes_devices(facts.gpu, settings) else ()),
        *gpu_findings(facts.gpu, facts.platform, settings),
    ]
    return sorted(found, key=lambda finding: _ORDER.index(finding.check))
