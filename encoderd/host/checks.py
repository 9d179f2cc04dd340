"""
Is this host fit to give its Intel GPU to a guest? From facts to findings, in the order in which one repairs them.

Where one trouble follows from another, the later check only warns: its cause has the remedy.
"""

from __future__ import annotations

from typing import assert_never

from encoderd.findings import Finding, failed, passed, warned
from encoderd.host.facts import HostFacts, Kvm, VfioDriver
from encoderd.pci import PciDevice

_KERNEL_LINE = (
    "in the kernel's command line (GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then update-grub; "
    "with systemd-boot /etc/kernel/cmdline), then reboot"
)

#: Drivers that leave a group usable for VFIO; None is "nothing bound". Source: vfio.rst, "group viability".
_HARMLESS_DRIVERS = {None, "vfio-pci", "pci-stub"}

#: Broadwell's GPUs, which the kernel takes out of VT-d: quirk_iommu_igfx in drivers/iommu/intel/iommu.c.
_BROADWELL = range(0x1602, 0x163F)


def host_findings(facts: HostFacts) -> list[Finding]:
    """Return one finding per check; on a recorded machine KVM is left out, because only the host itself can tell."""
    findings = [
        _processor(facts),
        _kvm(facts),
        _vtd(facts),
        _iommu(facts),
        _gpu(facts),
        _kernel_flags(facts),
        _iommu_group(facts),
        _companions(facts),
        _vfio_pci(facts),
    ]
    return [finding for finding in findings if finding is not None]


def _processor(facts: HostFacts) -> Finding:
    name = facts.processor or "an unknown processor"
    if not facts.is_intel:
        return failed(
            "processor", f"{name} is not from Intel", "Use a host with an Intel processor that has Quick Sync."
        )
    if facts.vmx:
        return passed("processor", f"{name}, VT-x is on")
    return failed(
        "processor",
        f"{name} has no VT-x (flag vmx), or it is off",
        "Enable Intel Virtualization Technology (VT-x) in the firmware set-up (BIOS).",
    )


def _kvm(facts: HostFacts) -> Finding | None:
    evidence = f"/dev/kvm: {facts.kvm}"
    match facts.kvm:
        case Kvm.NOT_TRIED:
            return None
        case Kvm.WORKS:
            return passed("kvm", evidence)
        case Kvm.FORBIDDEN:
            return failed("kvm", evidence, "Run this as root, or: usermod -aG kvm USER, then log in anew.")
        case Kvm.MISSING | Kvm.BROKEN:
            if not facts.vmx:
                return warned("kvm", f"{evidence}, as it must be without VT-x")
            return failed("kvm", evidence, "Load the module: modprobe kvm_intel; what it says is in: dmesg | grep kvm")
    assert_never(facts.kvm)


def _vtd(facts: HostFacts) -> Finding:
    if facts.dmar_table:
        return passed("vt_d", "the firmware describes VT-d (ACPI table DMAR)")
    return failed(
        "vt_d",
        "the firmware has no ACPI table DMAR: VT-d is off, or this board does not have it",
        "Enable VT-d in the firmware set-up (BIOS), often below System Agent, Chipset or Virtualization.",
    )


def _iommu(facts: HostFacts) -> Finding:
    """The kernel's working units are the proof; flags on its command line are only an intention."""
    if facts.iommu_units:
        return passed("iommu", f"on: {', '.join(facts.iommu_units)}")
    if not facts.dmar_table:
        return warned("iommu", "off, as it must be without VT-d")
    off = [flag for flag in facts.kernel_flags if flag in {"iommu=off", "intel_iommu=off"}]
    if off:
        return failed("iommu", f"switched off by {' '.join(off)}", f"Replace it by intel_iommu=on {_KERNEL_LINE}.")
    return failed("iommu", "off although the firmware offers it", f"Add intel_iommu=on iommu=pt {_KERNEL_LINE}.")


def _gpu(facts: HostFacts) -> Finding:
    if facts.gpu is not None:
        return passed("gpu", _described(facts.gpu))
    return failed(
        "gpu",
        "no Intel display device: the iGPU is switched off, or the processor has none (types that end in F)",
        "Enable the iGPU in the firmware set-up (BIOS), often called iGPU Multi-Monitor or Internal Graphics.",
    )


def _kernel_flags(facts: HostFacts) -> Finding:
    igfx_off = _igfx_off(facts)
    if igfx_off and (facts.gpu is None or facts.gpu.iommu_group is None):
        return failed("kernel_flags", f"{igfx_off} takes the GPU out of VT-d", f"Delete igfx_off {_KERNEL_LINE}.")
    if any(flag.startswith("pcie_acs_override") for flag in facts.kernel_flags):
        return warned(
            "kernel_flags",
            "pcie_acs_override claims an isolation that the hardware does not have",
            "Use it only where you trust the guest like the host.",
        )
    if igfx_off:
        return warned("kernel_flags", f"{igfx_off} has no effect on this board", f"Delete igfx_off {_KERNEL_LINE}.")
    if "nomodeset" in facts.kernel_flags:
        return warned("kernel_flags", "nomodeset keeps i915 off the GPU on this host; the guest does not mind")
    return passed("kernel_flags", "none that hinders")


def _igfx_off(facts: HostFacts) -> str:
    """Return the word of the kernel's command line that takes the GPU out of VT-d; "" if none does."""
    for flag in facts.kernel_flags:
        name, _, options = flag.partition("=")
        if name == "intel_iommu" and "igfx_off" in options.split(","):
            return flag
    return ""


def _iommu_group(facts: HostFacts) -> Finding:
    if facts.gpu is None:
        return warned("iommu_group", "none without a GPU")
    if facts.gpu.iommu_group is not None:
        return passed("iommu_group", f"{facts.gpu.address} is in group {facts.gpu.iommu_group}")
    if not facts.iommu_units:
        return warned("iommu_group", "none, as it must be without an IOMMU")
    if _igfx_off(facts):
        return warned("iommu_group", "none, because of igfx_off")
    if facts.gpu.device in _BROADWELL:
        return failed(
            "iommu_group",
            f"{facts.gpu.ids} is a Broadwell GPU, which the kernel takes out of VT-d",
            "Use a machine of another generation, Skylake or later: there is no switch for this.",
        )
    return failed(
        "iommu_group",
        f"{facts.gpu.address} is in no IOMMU group although the IOMMU is on",
        f"Add intel_iommu=on {_KERNEL_LINE}.",
    )


def _companions(facts: HostFacts) -> Finding:
    if facts.gpu is None or facts.gpu.iommu_group is None:
        return warned("group_members", "not known without a group")
    if not facts.companions:
        return passed("group_members", "the GPU is alone in its group")
    shown = "; ".join(_described(device) for device in facts.companions)
    busy = [device for device in facts.companions if device.driver not in _HARMLESS_DRIVERS]
    if not busy:
        return warned("group_members", f"these must go to the guest with the GPU: {shown}")
    addresses = ", ".join(str(device.address) for device in busy)
    return failed(
        "group_members",
        f"the host uses devices of the GPU's group: {shown}",
        f"Give {addresses} to the guest too, or move the card to another slot: a group goes to one guest as a whole.",
    )


def _vfio_pci(facts: HostFacts) -> Finding:
    match facts.vfio_pci:
        case VfioDriver.READY:
            return passed("vfio_pci", "the driver is loaded")
        case VfioDriver.ON_DISK:
            return passed("vfio_pci", "the driver can be loaded (modprobe vfio-pci)")
        case VfioDriver.MISSING:
            return failed(
                "vfio_pci",
                "this kernel has no vfio-pci",
                "Boot the distribution's ordinary kernel (on Debian: apt-get install linux-image-amd64, then reboot).",
            )


def _described(device: PciDevice) -> str:
    return f"{device.address} [{device.ids}], driver {device.driver or 'none'}"
