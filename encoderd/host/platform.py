"""What this host is: processor, KVM, VT-d and the kernel, read and never written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from encoderd.host.booted_kernel import BootedKernel, booted_kernel
from encoderd.host.dmar import Dmar, parse_dmar
from encoderd.host.kvm import MODELS, Kvm, KvmStart, kvm_answer, start_once
from encoderd.root import Root

_TABLES = "/sys/firmware/acpi/tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class IommuUnit:
    """
    One working VT-d unit: its name, and its capability registers as the kernel shows them.

    Bits: VT-d specification, "Capability Register" and "Extended Capability Register".
    """

    name: str
    capability: int | None
    extended_capability: int | None

    @property
    def address_bits(self) -> int | None:
        """Widest guest address that it translates: its MGAW, and no more than its page tables have (SAGAW)."""
        if self.capability is None:
            return None
        widest = ((self.capability >> 16) & 0x3F) + 1
        tables = [30 + 9 * bit for bit in range(5) if self.capability >> (8 + bit) & 1]
        return min([widest, *([max(tables)] if tables else [])])

    @property
    def remaps_interrupts(self) -> bool | None:
        return None if self.extended_capability is None else bool(self.extended_capability >> 3 & 1)

    @property
    def extended_interrupts(self) -> bool | None:
        """Can it remap interrupts of x2APIC machines (EIM)?"""
        return None if self.extended_capability is None else bool(self.extended_capability >> 4 & 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """
    The host as found, without its GPU.

    `vendor` is "GenuineIntel" or another maker's word. `nested`: this host is itself a virtual machine. `kvm_start` is
    None where QEMU was not started. `dmar_table` says that the firmware has the table; `dmar` what could be read of it.
    `amd_units` are AMD's IOMMUs. `interrupts_remapped` is what /proc/interrupts proves, None when it proves nothing.
    `unsafe_interrupts`: somebody allowed VFIO to do without.
    """

    processor: str
    vendor: str
    virtualization: bool
    nested: bool
    phys_bits: int | None
    kvm_module: bool
    kvm: Kvm
    kvm_start: KvmStart | None
    dmar_table: bool
    dmar: Dmar | None
    ivrs_table: bool
    units: tuple[IommuUnit, ...]
    amd_units: tuple[str, ...]
    interrupts_remapped: bool | None
    unsafe_interrupts: bool
    kernel: BootedKernel

    @property
    def is_intel(self) -> bool:
        return self.vendor == "GenuineIntel"

    @property
    def is_foreign(self) -> bool:
        """Is this another maker's host, without VT-d's table? (An emulated one may have AMD's name and VT-d.)"""
        return not self.is_intel and not self.dmar_table

    @property
    def iommu_on(self) -> bool:
        return bool(self.units or self.amd_units)

    @property
    def iommu_bits(self) -> int | None:
        """Widest guest address that every VT-d unit translates: one mapping serves all devices of a guest."""
        return min((bits for unit in self.units if (bits := unit.address_bits) is not None), default=None)

    @property
    def cpu_model(self) -> str:
        """The processor model for the guest: the first that KVM accepts here; "host" where that was not tried."""
        return self.kvm_start.model if self.kvm_start is not None and self.kvm_start.model else "host"


def platform_facts(root: Root, *, live: bool, qemu: Path | None = None, cpu: str = "auto") -> PlatformFacts:
    """
    Read the host below `root`; what cannot be read counts as absent.

    Only a live host is asked about /dev/kvm, and only there, when `qemu` is given, QEMU is started once: with the
    processor model `cpu`, and when that is "auto" or refused, with those of `kvm.MODELS`.
    """
    cpuinfo = root.text("/proc/cpuinfo")
    flags = _first(r"^flags\s*:(.*)$", cpuinfo).split()
    bits = _first(r"^address sizes\s*:\s*(\d{1,3}) bits physical", cpuinfo)
    names = root.names("/sys/class/iommu")
    unsafe = root.text("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts").strip()
    models = MODELS if cpu == "auto" else (cpu, *MODELS)
    kvm = kvm_answer() if live else Kvm.NOT_TRIED
    return PlatformFacts(
        processor=_first(r"^model name\s*:(.*)$", cpuinfo),
        vendor=_first(r"^vendor_id\s*:(.*)$", cpuinfo),
        virtualization="vmx" in flags or "svm" in flags,
        nested="hypervisor" in flags,
        phys_bits=int(bits) if bits else None,
        kvm_module=root.exists("/sys/module/kvm_intel") or root.exists("/sys/module/kvm_amd"),
        kvm=kvm,
        kvm_start=start_once(qemu, models=models) if kvm is Kvm.WORKS and qemu is not None else None,
        dmar_table=root.exists(f"{_TABLES}/DMAR"),
        dmar=parse_dmar(root.head(f"{_TABLES}/DMAR", 2**20)),
        ivrs_table=root.exists(f"{_TABLES}/IVRS"),
        units=tuple(_unit(root, name) for name in names if name.startswith("dmar")),
        amd_units=tuple(name for name in names if name.startswith("ivhd")),
        interrupts_remapped=_interrupts_remapped(root.text("/proc/interrupts")),
        unsafe_interrupts=unsafe in {"Y", "1"},
        kernel=booted_kernel(root),
    )


def _unit(root: Root, name: str) -> IommuUnit:
    registers = f"/sys/class/iommu/{name}/intel-iommu"
    return IommuUnit(
        name=name,
        capability=_hex(root.text(f"{registers}/cap")),
        extended_capability=_hex(root.text(f"{registers}/ecap")),
    )


def _interrupts_remapped(text: str) -> bool | None:
    """A remapped interrupt's chip is called IR-something; before that, chips that could be must be there at all."""
    if not re.search(r"\b(IO-APIC|PCI-MSIX?)\b", text):
        return None
    return re.search(r"\bIR-(IO-APIC|PCI-MSI)", text) is not None


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else ""


def _hex(text: str) -> int | None:
    try:
        return int(text.strip(), 16)
    except ValueError:
        return None
