"""
Can the kernel that runs give a device to a guest? Its command line, how it was built, and its VFIO modules.

What runs outweighs what is configured: an option counts as lacking only where nothing that runs proves the contrary.
"""

from __future__ import annotations

from collections.abc import Iterator

from encoderd.findings import Finding, failed, passed, warned
from encoderd.host.booted_kernel import BootedKernel, Loader, ModuleState
from encoderd.host.gpu_facts import GpuFacts
from encoderd.host.kvm import Kvm
from encoderd.host.platform import PlatformFacts
from encoderd.host.settings import HostSettings

#: Where the words of the kernel's command line are kept, and what makes the loader see them.
_COMMAND_LINE = {
    Loader.GRUB: "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot",
    Loader.PROXMOX: "the one line of /etc/kernel/cmdline, then: proxmox-boot-tool refresh && reboot",
    Loader.SYSTEMD_BOOT: (
        'the one line of /etc/kernel/cmdline, then: kernel-install add "$(uname -r)" "/boot/vmlinuz-$(uname -r)" && '
        "reboot"
    ),
    Loader.UNKNOWN: (
        "the kernel's command line (with GRUB: GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then update-grub; "
        "Proxmox with systemd-boot: /etc/kernel/cmdline, then proxmox-boot-tool refresh), then: reboot"
    ),
}

_ORDINARY_KERNEL = "Boot the distribution's ordinary kernel (Debian: apt-get install linux-image-amd64 && reboot)."


def kernel_line(kernel: BootedKernel, *, add: str = "", delete: str = "") -> str:
    """Return the remedy that changes the kernel's command line, as this host's boot loader wants it."""
    where = _COMMAND_LINE[kernel.loader]
    if add and delete:
        return f"Replace {delete} by {add} in {where}"
    return f"Add {add} to {where}" if add else f"Delete {delete} from {where}"


def kernel_findings(platform: PlatformFacts, gpu: GpuFacts, settings: HostSettings) -> list[Finding]:
    """Return the judgement of the kernel; only for a guest that is to get a device."""
    return [
        _kernel_options(platform, settings),
        _kernel_flags(platform, gpu),
        _vfio_pci(platform),
        *_vfio_options(platform, settings),
    ]


def lacking_options(platform: PlatformFacts) -> list[str]:
    """Return the options that this kernel was built without, where nothing that runs proves the contrary."""
    kernel = platform.kernel
    proven = {
        "KVM_INTEL": platform.kvm_module or platform.kvm is Kvm.WORKS or not platform.is_intel,
        "INTEL_IOMMU": platform.iommu_on or platform.is_foreign,
        "IRQ_REMAP": platform.interrupts_remapped is True,
        "VFIO_PCI": kernel.vfio_pci is not ModuleState.MISSING,
    }
    lacking = [option for option, shown in proven.items() if kernel.configured(option) == "n" and not shown]
    if kernel.vfio_iommu_type1 is ModuleState.MISSING and (
        kernel.configured("VFIO_IOMMU_TYPE1") == kernel.configured("IOMMUFD_VFIO_CONTAINER") == "n"
    ):
        lacking.append("VFIO_IOMMU_TYPE1")
    return lacking


def uses_vga(settings: HostSettings) -> bool:
    """Does the guest get the host's VGA ranges, so that what VFIO says of VGA matters?"""
    return settings.vm.profile == "display" or (settings.vm.profile == "blog-2014" and settings.vm.faithful)


def _kernel_options(platform: PlatformFacts, settings: HostSettings) -> Finding:
    kernel = platform.kernel
    lacking = [
        option for option in lacking_options(platform) if option != "KVM_INTEL" or settings.vm.accelerator == "kvm"
    ]
    if lacking:
        listed = ", ".join(f"CONFIG_{option}" for option in lacking)
        return failed(
            "kernel_options", f"kernel {kernel.release} was built without {listed} ({kernel.configuration_file})",
            _ORDINARY_KERNEL,
        )  # fmt: skip
    if not kernel.configuration:
        return passed("kernel_options", f"no configuration of kernel {kernel.release} found; judged by what runs")
    if uses_vga(settings) and kernel.configured("VFIO_PCI_VGA") == "n":
        return warned(
            "kernel_options",
            f"no CONFIG_VFIO_PCI_VGA ({kernel.configuration_file}), which x-vga needs: QEMU will refuse it",
            "Take the profile headless, or another kernel.",
        )
    return passed("kernel_options", f"kernel {kernel.release} has what is needed ({kernel.configuration_file})")


def igfx_off(kernel: BootedKernel) -> str:
    """Return the word of the kernel's command line that takes the GPU out of VT-d; "" if none does."""
    return kernel.word_with("intel_iommu", "igfx_off")


def _kernel_flags(platform: PlatformFacts, gpu: GpuFacts) -> Finding:
    kernel, word = platform.kernel, igfx_off(platform.kernel)
    without_group = gpu.gpu is not None and gpu.gpu.iommu_group is None
    if word and without_group and platform.iommu_on:
        rest = word.partition("=")[2].replace("igfx_off", "").strip(",").replace(",,", ",")
        instead = f"intel_iommu={rest or 'on'}"
        return failed(
            "kernel_flags",
            f"{word} takes the GPU out of VT-d (it was a work-around for graphics faults long ago)",
            kernel_line(kernel, add=instead, delete=word),
        )
    override = next((found for found in kernel.words if found.startswith("pcie_acs_override")), "")
    if override:
        return warned(
            "kernel_flags",
            f"{override} claims an isolation that the hardware does not have: a guest may reach the host's memory",
            f"Use it only where you trust the guest like the host. {kernel_line(kernel, delete=override)}",
        )
    if word:
        return warned(
            "kernel_flags", f"{word} has no effect now and would take the GPU out of VT-d",
            kernel_line(kernel, delete="igfx_off"),
        )  # fmt: skip
    if "nomodeset" in kernel.words:
        return warned(
            "kernel_flags",
            "nomodeset keeps i915 off the GPU on this host; the guest does not mind",
            'Set after = "keep-vfio" in [gpu], for there is no driver to give it back to.',
        )
    return passed("kernel_flags", "none that hinders")


def _vfio_pci(platform: PlatformFacts) -> Finding:
    kernel = platform.kernel
    for module, state in (("vfio-pci", kernel.vfio_pci), ("vfio_iommu_type1", kernel.vfio_iommu_type1)):
        forbidden = kernel.forbids(module) if state is ModuleState.ON_DISK else ""
        if forbidden:
            return failed(
                "vfio_pci", f"module {module} may not be loaded: {forbidden}", f"Delete it, then: modprobe {module}"
            )
    if kernel.vfio_pci is ModuleState.MISSING:
        if "VFIO_PCI" in lacking_options(platform):
            return warned("vfio_pci", "missing, as it must be without CONFIG_VFIO_PCI")
        if not kernel.has_modules:
            return failed(
                "vfio_pci",
                f"/lib/modules/{kernel.release} is missing or empty: this kernel's modules were removed, by an upgrade "
                "as a rule",
                "Reboot into the kernel that is installed: reboot",
            )
        return failed("vfio_pci", f"kernel {kernel.release} has no vfio-pci", _ORDINARY_KERNEL)
    if kernel.vfio_iommu_type1 is ModuleState.MISSING and kernel.has_modules and (
        kernel.configured("IOMMUFD_VFIO_CONTAINER") != "y"
    ):  # fmt: skip
        if "VFIO_IOMMU_TYPE1" in lacking_options(platform):
            return warned("vfio_pci", "without vfio_iommu_type1, as it must be without CONFIG_VFIO_IOMMU_TYPE1")
        return failed("vfio_pci", f"kernel {kernel.release} has no vfio_iommu_type1", _ORDINARY_KERNEL)
    if kernel.vfio_pci is ModuleState.READY:
        return passed("vfio_pci", "the driver is loaded")
    return passed("vfio_pci", "the driver can be loaded (modprobe vfio-pci), take does so")


def _vfio_options(platform: PlatformFacts, settings: HostSettings) -> Iterator[Finding]:
    """Options of a vfio-pci that is loaded; before that there is nothing to judge."""
    given = platform.kernel.vfio_pci_parameters
    lines = [line for line in platform.kernel.modprobe if (line.command, line.module) == ("options", "vfio_pci")]
    off = given.get("disable_vga") == "Y" or any("disable_vga=1" in line.rest.split() for line in lines)
    if off and uses_vga(settings):
        where = next((line.file for line in lines if "disable_vga=1" in line.rest.split()), "/sys/module/vfio_pci")
        yield warned(
            "vfio_options",
            f"disable_vga=1 ({where}): QEMU will refuse x-vga with “VGA region index 8: Invalid argument”",
            "Take the profile headless, or delete that option and reboot.",
        )
    elif given:
        shown = ", ".join(f"{name}={value}" for name, value in sorted(given.items()) if value)
        yield passed("vfio_options", shown)
