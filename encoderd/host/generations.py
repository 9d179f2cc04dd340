"""
What is known of passing each generation of Intel's GPUs to a guest, by PCI device id.

Ids and QEMU's numbers: igd_gen() in QEMU 10's hw/vfio/igd.c, which goes by the id's upper byte; what it does not know
has -1. Discrete cards and what is newer: Linux, include/drm/intel/pciids.h. Broadwell: quirk_iommu_igfx() in Linux,
drivers/iommu/intel/iommu.c. GVT-g: Intel's list, 5th to 10th generation. The verdicts are documents and other people's
reports; none of it was tried on such hardware by us.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """How far one may trust that a whole GPU of this generation works in a headless Linux guest."""

    WORKS = "works"  #: many reports, or documented
    UNPROVEN = "unproven"  #: claimed, by few
    BLOCKED = "blocked"  #: Linux itself keeps the GPU out of VT-d
    NEW = "new"  #: newer than what is known here


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """
    One generation as a host sees it.

    `igd_gen` is QEMU's number for it, -1 where QEMU has none. `needs_qemu` is the first (major, minor) that is advised,
    None for any. `sriov` says how it makes virtual functions, "" when it cannot. `gvt` is True where the kernel could
    once make mediated GPUs (GVT-g, given up by Intel in 2024).
    """

    name: str
    igd_gen: int
    verdict: Standing
    advice: str
    needs_qemu: tuple[int, int] | None = None
    sriov: str = ""
    gvt: bool = False
    discrete: bool = False


_SRIOV_DKMS = "virtual functions only with the out-of-tree module i915-sriov-dkms, on the host and in the guest"
_SRIOV_XE = "virtual functions with the kernel's own driver xe, Linux 6.17 or later"
_ANY_GUEST = "Any Linux guest will do."
_GUEST_6_8 = (
    "The guest needs Linux 6.8 or later; Debian 12's own 6.1 is too old for some of these, its backports are not."
)
_LEGACY = "For encoding leave x-vga and romfile out: the guest's driver needs neither."

_SANDY_BRIDGE = Generation(
    name="Sandy or Ivy Bridge", igd_gen=6, verdict=Standing.UNPROVEN,
    advice=f"Nobody is known to encode on one in a guest; the runtimes of Quick Sync for Linux start later. {_LEGACY}",
)  # fmt: skip
_BAY_TRAIL = Generation(
    name="Bay Trail", igd_gen=7, verdict=Standing.UNPROVEN, advice="These processors have no VT-d, as a rule."
)
_HASWELL = Generation(
    name="Haswell", igd_gen=7, verdict=Standing.UNPROVEN,
    advice=(
        "It was reported to work in 2014 and hardly since; H.264 yes, HEVC no. Do not hide KVM from it (kvm=off): "
        "i915 leaves stolen memory alone only where it sees a hypervisor."
    ),
)  # fmt: skip
_BROADWELL = Generation(
    name="Broadwell", igd_gen=8, verdict=Standing.BLOCKED, gvt=True,
    advice="Linux takes Broadwell's GPU out of VT-d because it malfunctions behind it (quirk_iommu_igfx).",
)  # fmt: skip
_CHERRY_TRAIL = Generation(
    name="Cherry Trail", igd_gen=8, verdict=Standing.UNPROVEN, advice="These processors have no VT-d, as a rule."
)
_CANNON_LAKE = Generation(
    name="Cannon Lake", igd_gen=-1, verdict=Standing.UNPROVEN, advice="Hardly any were sold with a GPU that works."
)
_ICE_LAKE = Generation(
    name="Ice Lake", igd_gen=11, verdict=Standing.WORKS,
    advice="Only a headless guest: there is no VGA BIOS for it. QEMU 10.0 or later emulates its memory registers.",
)  # fmt: skip
_ELKHART_LAKE = Generation(
    name="Elkhart or Jasper Lake", igd_gen=11, verdict=Standing.WORKS,
    advice="Only a headless guest: there is no VGA BIOS for it. Its encoder is the fixed-function one and wants HuC.",
)  # fmt: skip
_METEOR_LAKE = Generation(
    name="Meteor Lake", igd_gen=-1, verdict=Standing.WORKS, needs_qemu=(10, 1), sriov=_SRIOV_DKMS,
    advice="QEMU 10.1 or later is advised, and never kvm=off: i915 would touch memory that the guest does not have.",
)  # fmt: skip
_ARROW_LAKE = Generation(
    name="Arrow Lake", igd_gen=-1, verdict=Standing.WORKS, needs_qemu=(10, 1), sriov=_SRIOV_DKMS,
    advice="QEMU 10.1 or later is advised, and never kvm=off; the guest needs Linux 6.9 or later.",
)  # fmt: skip
_LUNAR_LAKE = Generation(
    name="Lunar Lake", igd_gen=-1, verdict=Standing.UNPROVEN, needs_qemu=(10, 1), sriov=_SRIOV_DKMS,
    advice="QEMU 10.1 or later is advised; the guest needs Linux 6.12 or later, whose driver for it is xe.",
)  # fmt: skip
_PANTHER_LAKE = Generation(
    name="Panther Lake", igd_gen=-1, verdict=Standing.NEW, needs_qemu=(10, 1), sriov=_SRIOV_XE,
    advice="The guest needs Linux 6.17 or later, whose driver for it is xe.",
)  # fmt: skip
_ALCHEMIST = Generation(
    name="Arc A (Alchemist)", igd_gen=-1, verdict=Standing.WORKS, discrete=True,
    advice=(
        "An ordinary PCI Express card. When QEMU says vfio_container_dma_map … -22, its large BAR lies above what the "
        "IOMMU can address: switch Resizable BAR off, or limit the guest's address bits."
    ),
)  # fmt: skip
_BATTLEMAGE = Generation(
    name="Arc B (Battlemage)", igd_gen=-1, verdict=Standing.NEW, discrete=True, sriov=_SRIOV_XE + " (Pro cards)",
    advice="An ordinary PCI Express card; the guest needs Linux 6.12 or later, whose driver for it is xe.",
)  # fmt: skip
_DG1 = Generation(
    name="Iris Xe MAX (DG1)", igd_gen=-1, verdict=Standing.UNPROVEN, discrete=True,
    advice="Works only on the boards made for it; the guest needs Linux 6.17 or i915.force_probe.",
)  # fmt: skip
_UNKNOWN = Generation(
    name="unknown", igd_gen=-1, verdict=Standing.NEW, needs_qemu=(10, 1),
    advice="This id is newer than this version of encoderd, as a rule: take the newest kernel and QEMU there is.",
)  # fmt: skip


def _gen9(name: str, *, gvt: bool = True) -> Generation:
    advice = f"The best-supported generation; any QEMU will do. {_ANY_GUEST}"
    return Generation(name=name, igd_gen=9, verdict=Standing.WORKS, advice=advice, gvt=gvt)


def _gen12(name: str, advice: str) -> Generation:
    return Generation(name=name, igd_gen=12, verdict=Standing.WORKS, advice=advice, sriov=_SRIOV_DKMS)


_APOLLO_LAKE = _gen9("Apollo Lake", gvt=False)

#: Ids that their upper byte alone does not tell apart.
_BY_ID = {
    **dict.fromkeys((0x0152, 0x0156, 0x015A, 0x0162, 0x0166, 0x016A), _SANDY_BRIDGE),
    **dict.fromkeys((0x87C0, 0x87CA), _gen9("Amber Lake")),
    **dict.fromkeys((0x46D0, 0x46D1, 0x46D2, 0x46D3, 0x46D4), _gen12("Alder Lake-N", _GUEST_6_8)),
    **dict.fromkeys((0x7D41, 0x7D51, 0x7D67, 0x7DD1, 0xB640), _ARROW_LAKE),
    **dict.fromkeys((0x3EA0, 0x3EA1, 0x3EA2, 0x3EA3, 0x3EA4), _gen9("Whiskey Lake")),
}

_BY_UPPER_BYTE = {
    0x01: _SANDY_BRIDGE,
    **dict.fromkeys((0x04, 0x0A, 0x0C, 0x0D), _HASWELL),
    0x0F: _BAY_TRAIL,
    0x16: _BROADWELL,
    0x19: _gen9("Skylake"),
    0x22: _CHERRY_TRAIL,
    0x31: _gen9("Gemini Lake", gvt=False),
    0x3E: _gen9("Coffee Lake"),
    0x45: _ELKHART_LAKE,
    0x46: _gen12("Alder Lake", f"Many reports of success. {_GUEST_6_8}"),
    0x49: _DG1,
    0x4C: _gen12("Rocket Lake", "Many reports of success; the guest needs Linux 5.14 or later."),
    0x4E: _ELKHART_LAKE,
    0x56: _ALCHEMIST,
    0x59: _gen9("Kaby Lake"),
    0x5A: _CANNON_LAKE,
    0x64: _LUNAR_LAKE,
    0x7D: _METEOR_LAKE,
    0x8A: _ICE_LAKE,
    0x9A: _gen12("Tiger Lake", "Many reports of success; the guest needs Linux 5.9 or later."),
    0x9B: _gen9("Comet Lake"),
    0xA7: _gen12("Raptor Lake", f"Many reports of success. {_GUEST_6_8}"),
    0xB0: _PANTHER_LAKE,
    0xE2: _BATTLEMAGE,
}


def generation(device_id: int) -> Generation:
    """Return what is known of 8086:`device_id`; an id in no table is taken for a new one."""
    if device_id & 0xFFE == 0xA84:  # 0a84, 1a84, 5a84, 5a85: before Haswell's 0axx
        return _APOLLO_LAKE
    return _BY_ID.get(device_id) or _BY_UPPER_BYTE.get(device_id >> 8, _UNKNOWN)
