"""
Can this host's processor, firmware and kernel give a device to a guest? From facts to findings.

What runs outweighs what is configured, and one cause fails once: what follows from it only warns, for its remedy is the
cause's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from encoderd.findings import Finding, failed, passed, warned
from encoderd.host.gpu_facts import GpuFacts
from encoderd.host.kernel_checks import kernel_line, lacking_options
from encoderd.host.kvm import Kvm
from encoderd.host.platform import PlatformFacts
from encoderd.host.settings import HostSettings

_FIRMWARE = "the firmware set-up (BIOS)"


def passes_devices(gpu: GpuFacts, settings: HostSettings) -> bool:
    """Is the guest to get any PCI device at all? Without one nothing of VT-d and VFIO is needed."""
    return gpu.wanted != "none" or bool(settings.pci)


def platform_findings(platform: PlatformFacts, gpu: GpuFacts, settings: HostSettings) -> list[Finding]:
    """Return the judgement of what does not depend on the GPU; KVM is left out where it was not tried."""
    findings: list[Finding] = [_processor(platform, gpu, settings), *_kvm(platform, gpu, settings)]
    if passes_devices(gpu, settings):
        findings += [
            _vt_d(platform),
            *_dmar(platform, gpu),
            _iommu(platform),
            _interrupt_remapping(platform),
            _address_width(platform, settings),
        ]
    return findings


# --- the processor


def _processor(platform: PlatformFacts, gpu: GpuFacts, settings: HostSettings) -> Finding:
    name = platform.processor or "an unknown processor"
    if platform.is_foreign:
        maker = f" ({platform.vendor})" if platform.vendor else ""
        amd = "; its IOMMU is AMD's (table IVRS), on which nothing here was tried" if platform.ivrs_table else ""
        if gpu.gpu is not None or not passes_devices(gpu, settings):
            return warned("processor", f"{name}{maker} is not from Intel{amd}")
        return failed(
            "processor",
            f"{name}{maker} is not from Intel, so it has no GPU with Quick Sync{amd}",
            "Use a host with an Intel processor of the 6th generation or later that has a GPU.",
        )
    if platform.virtualization:
        inside = "; this host is itself a virtual machine" if platform.nested else ""
        return passed("processor", f"{name}, VT-x is on{inside}")
    if settings.vm.accelerator == "tcg":
        return warned("processor", f"{name} has no VT-x, which accelerator = tcg does not need")
    if platform.nested:
        return failed(
            "processor",
            f"{name} shows no VT-x (flag vmx in /proc/cpuinfo): this host is itself a virtual machine",
            "Switch nested virtualisation on in the hypervisor above: options kvm_intel nested=1, and -cpu host.",
        )
    return failed(
        "processor",
        f"{name} shows no VT-x (flag vmx in /proc/cpuinfo): it is off, or the processor has none",
        f"Enable Intel Virtualization Technology (VT-x, sometimes VMX) in {_FIRMWARE}.",
    )


# --- KVM


def _kvm(platform: PlatformFacts, gpu: GpuFacts, settings: HostSettings) -> Iterator[Finding]:
    evidence = f"/dev/kvm: {platform.kvm}"
    if platform.kvm is Kvm.NOT_TRIED or settings.vm.accelerator == "tcg":
        return
    match platform.kvm:
        case Kvm.WORKS:
            yield passed("kvm", evidence)
            yield from _kvm_start(platform, settings)
        case Kvm.FORBIDDEN:
            yield failed("kvm", evidence, "Run this as root, or: usermod -aG kvm USER, then log in anew.")
        case Kvm.MISSING | Kvm.BROKEN:
            lacking = platform.kernel.configured("KVM_INTEL") == "n" and not platform.kvm_module
            if not platform.virtualization:
                yield warned("kvm", f"{evidence}, as it must be without VT-x")
            elif lacking and passes_devices(gpu, settings):
                yield warned("kvm", f"{evidence}, as it must be without CONFIG_KVM_INTEL")
            else:
                loaded = "module kvm_intel is loaded" if platform.kvm_module else "module kvm_intel is not loaded"
                yield failed(
                    "kvm", f"{evidence}; {loaded}", "modprobe kvm_intel; what hinders it is in: dmesg | grep -i kvm"
                )
        case _:
            assert_never(platform.kvm)


def _kvm_start(platform: PlatformFacts, settings: HostSettings) -> Iterator[Finding]:
    start = platform.kvm_start
    if start is None:
        return
    if start.missing:
        yield warned("kvm_start", f"not tried: {start.refused}")
    elif not start.model:
        yield failed(
            "kvm_start",
            f"QEMU does not start with KVM, not even stopped and without devices: {start.refused}",
            "See dmesg | grep -i kvm; inside another hypervisor only accelerator = tcg may be left ([vm], slow).",
        )
    elif not start.refused:
        yield passed("kvm_start", f"{settings.vm.qemu} starts with KVM and -cpu {start.model}")
    else:
        yield warned(
            "kvm_start",
            f"KVM takes -cpu {start.model}, which cpu = auto uses then, but refused {start.refused}",
            "" if settings.vm.cpu == "auto" else f'Set cpu = "auto" or cpu = "{start.model}" in [vm].',
        )


# --- VT-d


def _vt_d(platform: PlatformFacts) -> Finding:
    if platform.dmar_table:
        return passed("vt_d", "the firmware describes VT-d (ACPI table DMAR)")
    if platform.units:
        return passed("vt_d", "the kernel uses it, though ACPI table DMAR is not to be seen")
    if platform.is_foreign:
        return warned("vt_d", "not from Intel: " + ("AMD-Vi (table IVRS)" if platform.ivrs_table else "no table DMAR"))
    if platform.nested:
        return failed(
            "vt_d",
            "no ACPI table DMAR: this host is itself a virtual machine, and has no virtual IOMMU",
            "Give it one in the hypervisor above: -machine q35,kernel-irqchip=split -device intel-iommu,intremap=on",
        )
    return failed(
        "vt_d",
        "no ACPI table DMAR (/sys/firmware/acpi/tables/DMAR): VT-d is off, or this board does not have it",
        f"Enable VT-d in {_FIRMWARE}, often below System Agent, Chipset or Virtualization; it is not the same as VT-x.",
    )


def _dmar(platform: PlatformFacts, gpu: GpuFacts) -> Iterator[Finding]:
    """What the table says; a kernel that uses it knows better than a reader of torn bytes."""
    table = platform.dmar
    if not platform.dmar_table:
        return
    if table is None:
        yield warned("dmar", "the table DMAR is not readable, or is none", "Run this as root: only root may read it.")
        return
    facts = [
        f"{len(table.units)} VT-d unit{'s' * (len(table.units) != 1)}",
        f"{table.address_bits}-bit addresses",
        f"interrupt remapping {'offered' if table.interrupt_remapping else 'not offered'}",
        *(["asks the kernel to leave x2APIC off"] if table.x2apic_opt_out else []),
        *([f"{len(table.reserved)} reserved memory regions"] if table.reserved else []),
    ]
    update = "Look for a newer firmware (BIOS) of this board."
    if table.torn:
        yield warned("dmar", f"damaged: {table.torn}; read so far: {', '.join(facts)}", update)
    elif gpu.gpu is not None and not table.covers(gpu.gpu.address) and gpu.gpu.iommu_group is None:
        yield warned("dmar", f"no VT-d unit covers {gpu.gpu.address}; {', '.join(facts)}", update)
    elif not table.interrupt_remapping:
        yield warned("dmar", ", ".join(facts))
    else:
        yield passed("dmar", ", ".join(facts))


def _iommu(platform: PlatformFacts) -> Finding:
    """The kernel's working units are the proof; words on its command line are only an intention."""
    kernel = platform.kernel
    if platform.iommu_on:
        units = ", ".join([*(unit.name for unit in platform.units), *platform.amd_units])
        options = kernel.options("intel_iommu")
        by_default = [
            f"CONFIG_{option}"
            for option in ("INTEL_IOMMU_DEFAULT_ON", "INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF")
            if kernel.configured(option) == "y"
        ]
        if platform.units and "on" not in options and by_default:
            return passed("iommu", f"on: {units}, by this kernel's default ({by_default[0]})")
        return passed("iommu", f"on: {units}")
    if platform.is_foreign:
        return warned("iommu", "off", f"Switch the IOMMU (AMD-Vi) on in {_FIRMWARE}.")
    if not platform.dmar_table:
        return warned("iommu", "off, as it must be without VT-d")
    if "INTEL_IOMMU" in lacking_options(platform):
        return warned("iommu", "off, as it must be without CONFIG_INTEL_IOMMU")
    off = [word for word in kernel.words if word == "iommu=off" or word == kernel.word_with("intel_iommu", "off")]
    if off:
        return failed(
            "iommu",
            f"/sys/class/iommu is empty: switched off by {' '.join(off)} on the kernel's command line",
            kernel_line(kernel, add="intel_iommu=on", delete=" ".join(off)),
        )
    if "on" in kernel.options("intel_iommu"):
        return failed(
            "iommu",
            "/sys/class/iommu is empty although intel_iommu=on is given: the kernel met something it does not like",
            f"What it was is in: dmesg | grep -e DMAR -e IOMMU; then look for a newer {_FIRMWARE} or kernel.",
        )
    return failed(
        "iommu",
        "/sys/class/iommu is empty: the firmware offers VT-d, the kernel was not told to use it",
        kernel_line(kernel, add="intel_iommu=on iommu=pt"),
    )


def _interrupt_remapping(platform: PlatformFacts) -> Finding:
    check, kernel = "interrupt_remapping", platform.kernel
    if platform.interrupts_remapped:
        return passed(check, "on: /proc/interrupts shows remapped ones (IR-)")
    if not platform.iommu_on:
        return warned(check, "none, as it must be without an IOMMU")
    able = [unit.remaps_interrupts for unit in platform.units]
    if platform.interrupts_remapped is None and able and all(able):
        return passed(check, "all VT-d units can do it (bit 3 of ecap); /proc/interrupts does not tell whether they do")
    if platform.interrupts_remapped is None and None in able and False not in able:
        return warned(check, "not known: neither /proc/interrupts nor the units' register ecap can be read")
    if "IRQ_REMAP" in lacking_options(platform):
        return warned(check, "off, as it must be without CONFIG_IRQ_REMAP")
    words = [word for word in kernel.words if word in {"intremap=off", "nointremap", "noapic"}]
    unable = [unit.name for unit in platform.units if unit.remaps_interrupts is False]
    if words:
        cause = f"switched off by {' '.join(words)} on the kernel's command line"
        remedy = kernel_line(kernel, delete=" ".join(words))
    elif unable:
        cause = f"{', '.join(unable)} cannot do it (bit 3 of ecap is clear)"
        remedy = "Look for a newer firmware (BIOS)"
    elif platform.dmar is not None and not platform.dmar.interrupt_remapping:
        cause = "the firmware does not offer it (bit 0 of the flags in the table DMAR)"
        remedy = "Look for a newer firmware (BIOS), and for x2APIC or interrupt remapping in its set-up"
    else:
        cause = "the units could do it, /proc/interrupts shows no remapped one (IR-)"
        remedy = "What hindered it is in: dmesg | grep DMAR-IR. Look for a newer firmware (BIOS)"
    if platform.unsafe_interrupts:
        return warned(
            check, f"off: {cause}; allow_unsafe_interrupts permits that, a guest could forge interrupts", remedy
        )
    return failed(
        check,
        f"off: {cause}; QEMU would say “Failed to set iommu for container: Operation not permitted”",
        f"{remedy}. Only where you trust the guest like the host: echo options vfio_iommu_type1 "
        "allow_unsafe_interrupts=1 > /etc/modprobe.d/encoderd-vfio.conf, then reboot.",
    )


def _address_width(platform: PlatformFacts, settings: HostSettings) -> Finding:
    host, iommu = platform.phys_bits, platform.iommu_bits
    if host is None or iommu is None:
        known = (
            f"processor {host} bits" if host is not None else f"IOMMU {iommu} bits" if iommu is not None else "nothing"
        )
        return passed("address_width", f"nothing to compare ({known} known)")
    if host <= iommu:
        return passed("address_width", f"processor {host} bits, IOMMU {iommu} bits")
    evidence = f"the processor has {host} address bits, the IOMMU translates {iommu}"
    limited = "phys-bits" in settings.vm.cpu
    if limited or settings.vm.cpu == "auto":
        return passed("address_width", f"{evidence}: {'vm.cpu' if limited else 'cpu = auto'} limits the guest")
    return warned(
        "address_width",
        f"{evidence}; QEMU may say “vfio_dma_map … = -22”",
        f'Set cpu = "auto" in [vm], or append ,host-phys-bits-limit={iommu} to a model host.',
    )
