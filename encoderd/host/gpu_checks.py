"""
Can this GPU be given to a guest? From facts to findings; what only says who uses it now is `usage_checks`' affair.

One cause fails once: what follows from it only warns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from encoderd.errors import SettingsError
from encoderd.findings import Finding, failed, passed, warned
from encoderd.host.generations import Generation, Standing
from encoderd.host.gpu_facts import IGPU, GpuFacts
from encoderd.host.kernel_checks import igfx_off, kernel_line
from encoderd.host.platform import PlatformFacts
from encoderd.host.settings import HostSettings
from encoderd.pci import PciAddress, PciDevice

#: Drivers that leave a group usable for VFIO; None is "nothing bound". Source: vfio.rst, "group viability".
HARMLESS_DRIVERS = {None, "vfio-pci", "pci-stub", "xe-vfio-pci"}

_VGA, _DISPLAY = 0x0300, 0x0380

#: vfio-pci itself evicts firmware framebuffers since Linux 6.0 ("vfio/pci: Remove console drivers").
_EVICTS = (6, 0)


def gpu_findings(gpu: GpuFacts, platform: PlatformFacts, settings: HostSettings) -> list[Finding]:
    """Return the judgement of the GPU itself, of its IOMMU group, and of what the firmware left on it."""
    chosen = gpu.gpu
    if gpu.wanted == "none":
        return [passed("gpu", "none is wanted (address = none in [gpu])")]
    findings = [_gpu(gpu, platform, settings)]
    if chosen is None:
        return [*findings, warned("iommu_group", "none without a GPU"), warned("group_members", "none without a GPU")]
    if gpu.generation is not None:
        findings.append(_generation(gpu.generation, chosen, platform, settings))
    findings += [
        _iommu_group(gpu, chosen, platform),
        _members(gpu, chosen, settings),
        *_reserved(gpu, chosen),
        *_on_the_bus(gpu, chosen),
        *_framebuffers(gpu, chosen, platform),
    ]
    return findings


def described(device: PciDevice) -> str:
    return f"{device.address} [{device.ids}], driver {device.driver or 'none'}"


# --- which one


def _gpu(gpu: GpuFacts, platform: PlatformFacts, settings: HostSettings) -> Finding:
    if gpu.gpu is None:
        return _no_gpu(gpu, platform, settings)
    device = gpu.gpu
    kind = gpu.generation.name if gpu.generation is not None else "not from Intel, taken as a stand-in"
    shown = f"{described(device)}, {kind}"
    if gpu.whole is not None:
        return passed("gpu", f"{shown}: a virtual function of {gpu.whole.address}")
    first = next((display for display in gpu.displays if display.boot_vga and display != device), None)
    if device.class_code >> 8 == _DISPLAY and first is not None:
        return passed("gpu", f"{shown}; {first.address} [{first.ids}] is the primary one, as is best")
    if gpu.wanted == "auto" and device.address != IGPU and device.is_intel_display:
        return warned(
            "gpu",
            f"{shown}: there is no integrated one at {IGPU}, so this is the first Intel display device",
            f'If it is the right one, name it: address = "{device.address}" in [gpu].',
        )
    return passed("gpu", shown)


def _no_gpu(gpu: GpuFacts, platform: PlatformFacts, settings: HostSettings) -> Finding:
    if gpu.wanted != "auto":
        return _not_at_address(gpu)
    if gpu.whole is not None:
        return failed(
            "gpu",
            f"{described(gpu.whole)} has no virtual functions (sriov_numvfs {gpu.sriov_numvfs}, "
            f"sriov_totalvfs {gpu.sriov_totalvfs}), which the profile vf needs",
            _how_to_split(gpu),
        )
    if platform.is_foreign:
        return warned("gpu", "no Intel display device")
    if _sold_without_gpu(platform.processor):
        return failed(
            "gpu",
            f"no Intel display device: {platform.processor} is sold without a GPU (an F in its number)",
            "Use a processor without the F, or put an Intel Arc card into this host.",
        )
    others = ", ".join(f"{display.address} [{display.ids}]" for display in gpu.displays)
    return failed(
        "gpu",
        f"no Intel display device on the PCI bus{f', only {others}' if others else ''}: the firmware switched the "
        "processor's GPU off, or it has none",
        "Enable it in the firmware set-up (BIOS): iGPU Multi-Monitor, Internal Graphics or Primary Display = auto.",
    )


def _not_at_address(gpu: GpuFacts) -> Finding:
    candidates = [str(device.address) for device in gpu.displays if device.is_intel_display]
    remedy = f'Set address = "{candidates[0]}"' if candidates else 'Set address = "auto"'
    if gpu.named is None:
        return failed("gpu", f"there is no device at {gpu.wanted}", f"{remedy} in [gpu]; all there are: lspci -D")
    device = gpu.named
    what = (
        "is a display device, but not Intel's: it has no Quick Sync"
        if device.is_display
        else f"is no display device (class {device.class_code:#08x})"
    )
    return failed("gpu", f"{described(device)} {what}", f"{remedy} in [gpu].")


def _how_to_split(gpu: GpuFacts) -> str:
    if gpu.whole is not None and gpu.sriov_totalvfs:
        return f"echo 1 > /sys/bus/pci/devices/{gpu.whole.address}/sriov_numvfs"
    return (
        "Take the profile headless, which gives the whole GPU; or install the driver that makes virtual functions "
        "(i915-sriov-dkms, with i915.enable_guc=3 i915.max_vfs=7; xe since Linux 6.17 for the newest GPUs)."
    )


def _sold_without_gpu(processor: str) -> bool:
    """Core i5-9400F, i9-9900KF, Ultra 7 265KF: the suffix that has an F. A Xeon's number says nothing."""
    found = re.search(r"(?:i[3579]-\d{4,5}|Ultra \d \d{3})([A-Z]*)", processor)
    return found is not None and "F" in found[1]


def _generation(known: Generation, device: PciDevice, platform: PlatformFacts, settings: HostSettings) -> Finding:
    evidence = f"{known.name} [{device.ids}]: {known.advice}"
    if settings.vm.profile == "vf" and known.sriov:
        evidence += f" It has {known.sriov}."
    elif settings.vm.profile == "vf":
        evidence += " It has no virtual functions."
    match known.verdict:
        case Standing.BLOCKED if device.iommu_group is None and platform.iommu_on:
            return failed("generation", evidence, "Use a machine of another generation, Skylake or later.")
        case Standing.BLOCKED if device.iommu_group is not None:
            return warned("generation", f"{evidence} This kernel put it into group {device.iommu_group} all the same.")
        case Standing.BLOCKED:
            return warned("generation", evidence, "Use a machine of another generation, Skylake or later.")
        case Standing.WORKS:
            return passed("generation", evidence)
    return warned("generation", f"{known.verdict}: {evidence}")


# --- its group


def _iommu_group(gpu: GpuFacts, device: PciDevice, platform: PlatformFacts) -> Finding:
    if device.iommu_group is not None:
        kind = f", domain {gpu.group_type}" if gpu.group_type else ""
        unit = f", behind {gpu.iommu_unit}" if gpu.iommu_unit else ""
        return passed("iommu_group", f"{device.address} is in group {device.iommu_group}{unit}{kind}")
    if not platform.iommu_on and platform.is_foreign:  # there the iommu itself is no failure: nobody may need it
        return failed(
            "iommu_group",
            f"{device.address} is in no IOMMU group: the IOMMU is off",
            "Switch the IOMMU on in the firmware set-up (BIOS), often below Advanced or Chipset.",
        )
    if not platform.iommu_on:
        return warned("iommu_group", "none, as it must be without an IOMMU")
    if gpu.generation is not None and gpu.generation.verdict is Standing.BLOCKED:
        return warned("iommu_group", f"none, as it must be with a {gpu.generation.name}")
    if igfx_off(platform.kernel):
        return warned("iommu_group", "none, because of igfx_off")
    if platform.dmar is not None and not platform.dmar.torn and not platform.dmar.covers(device.address):
        return failed(
            "iommu_group",
            f"{device.address} is in no IOMMU group: no VT-d unit of the table DMAR covers it",
            "Look for a newer firmware (BIOS) of this board; put a card into another slot.",
        )
    given = "on" in platform.kernel.options("intel_iommu")
    return failed(
        "iommu_group",
        f"{device.address} is in no IOMMU group although the IOMMU is on"
        + (" and intel_iommu=on is given" if given else ""),
        "What took it out is in: dmesg | grep -i -e 'IOMMU for graphics' -e DMAR. Try a newer kernel."
        if given
        else kernel_line(platform.kernel, add="intel_iommu=on"),
    )


def _members(gpu: GpuFacts, device: PciDevice, settings: HostSettings) -> Finding:
    """A group goes to one guest as a whole: what else is in it must be free of the host, or be named in [[pci]]."""
    check = "group_members"
    if device.iommu_group is None:
        return warned(check, "not known without a group")
    if not gpu.members:
        return passed(check, f"the GPU is alone in group {device.iommu_group}")
    named = {address for entry in settings.pci if (address := _address(entry.address)) is not None}
    shown = "; ".join(described(member) for member in gpu.members)
    busy = [member for member in gpu.members if member.driver not in HARMLESS_DRIVERS and member.address not in named]
    if busy:
        lines = " ".join(f'[[pci]] address = "{member.address}"' for member in busy)
        return failed(
            check,
            f"the host uses devices of the GPU's group {device.iommu_group}: {shown}; QEMU would say “group "
            f"{device.iommu_group} is not viable”",
            f"If the host can do without them, give them to the guest too: {lines}. Otherwise move the card to another "
            "slot, or look for ACS in the firmware set-up; pcie_acs_override only pretends.",
        )
    if all(member.address in named for member in gpu.members):
        return passed(check, f"all of group {device.iommu_group} go to the guest: {shown}")
    return warned(check, f"these of group {device.iommu_group} can serve nobody else while the guest runs: {shown}")


def _reserved(gpu: GpuFacts, device: PciDevice) -> Iterator[Finding]:
    if device.iommu_group is None:
        return
    direct = [region for region in gpu.reserved if region.kind == "direct"]
    if direct:
        shown = ", ".join(f"{region.first:#x}-{region.last:#x}" for region in direct)
        yield failed(
            "reserved_regions",
            f"the firmware keeps memory of its own for group {device.iommu_group} (RMRR, direct: {shown}): the kernel "
            "will not give it to a guest (“platform RMRR requirement”)",
            "Look for a newer firmware (BIOS), and in its set-up for what uses the device (USB legacy, remote access).",
        )
        return
    relaxable = sum(region.kind == "direct-relaxable" for region in gpu.reserved)
    shown = f"{relaxable} of the firmware's, which the kernel may ignore (direct-relaxable)" if relaxable else "none"
    yield passed("reserved_regions", shown)


# --- its state


def _on_the_bus(gpu: GpuFacts, device: PciDevice) -> Iterator[Finding]:
    """An all-ones configuration space has header type 0x7f: QEMU calls that an unknown header."""
    power = f", power state {gpu.power_state}" if gpu.power_state else ""
    if gpu.fell_off_the_bus:
        yield failed(
            "gpu_state",
            f"{device.address} does not answer: its configuration space reads as all ones{power}",
            "Switch the host off, wait ten seconds, and on again; if it comes back: echo options vfio-pci "
            "disable_idle_d3=1 > /etc/modprobe.d/encoderd-vfio.conf",
        )
        return
    if gpu.config_head:
        said = int.from_bytes(gpu.config_head[:2], "little"), int.from_bytes(gpu.config_head[2:4], "little")
        if len(gpu.config_head) >= 4 and gpu.whole is None and said != (device.vendor, device.device):
            yield warned(
                "gpu_state", f"its configuration space says {said[0]:04x}:{said[1]:04x}, sysfs says {device.ids}{power}"
            )
            return
    if gpu.power_state in {"D3cold", "error"}:
        yield warned(
            "gpu_state",
            f"{device.address}: power state {gpu.power_state}",
            f"Wake it: echo on > /sys/bus/pci/devices/{device.address}/power/control",
        )
        return
    reset = f"reset by {', '.join(gpu.reset_methods)}" if gpu.reset_methods else ""
    if not reset:
        yield warned(
            "gpu_state",
            f"{device.address} answers{power}, but the kernel knows no way to reset it: each guest begins with what "
            "the last one left, and QEMU says “no available reset mechanism”",
            "Nothing as long as guests start well; otherwise reboot the host between them.",
        )
    else:
        yield passed("gpu_state", f"{device.address} answers{power}, {reset}")


def _framebuffers(gpu: GpuFacts, device: PciDevice, platform: PlatformFacts) -> Iterator[Finding]:
    if not gpu.firmware_framebuffers:
        return
    shown = ", ".join(gpu.firmware_framebuffers)
    version = ".".join(map(str, platform.kernel.version))
    if platform.kernel.version >= _EVICTS and device.class_code >> 8 == _VGA:
        yield passed(
            "framebuffer", f"the firmware's picture ({shown}) is in its memory; vfio-pci of Linux {version} clears it"
        )
        return
    yield warned(
        "framebuffer",
        f"the firmware's picture ({shown}) is in its memory, and Linux {version} leaves it there: QEMU may say “BAR …: "
        "can't reserve” or “Failed to mmap”",
        kernel_line(
            platform.kernel,
            add="initcall_blacklist=sysfb_init" if platform.kernel.version >= (5, 14) else "video=efifb:off",
        ),
    )


def _address(text: str) -> PciAddress | None:
    try:
        return PciAddress.parse(text)
    except SettingsError:
        return None
