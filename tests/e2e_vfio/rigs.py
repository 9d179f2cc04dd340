"""The outer machines: which display is in them, what the IOMMU is like, and what is done there."""

from __future__ import annotations

from tests.e2e_vfio.rig import Rig

#: The stand-in for the GPU: class 0380, as an integrated GPU whose host has another one for its screen.
DISPLAY = ("-device", "bochs-display,addr=2.0")
#: The other stand-in: class 0300, started by the firmware, with the host's console on it.
VGA = ("-device", "VGA,addr=2.0")
#: Two displays in one IOMMU group: a bridge from PCI Express to PCI cannot tell who of them speaks.
PAIR = (
    "-device", "pcie-pci-bridge,id=bridge,addr=5.0",
    "-device", "bochs-display,bus=bridge,addr=1.0",
    "-device", "bochs-display,bus=bridge,addr=2.0",
)  # fmt: skip

RIGS = {
    rig.name: rig
    for rig in (
        Rig(
            name="display",
            devices=(*DISPLAY, *PAIR),
            steps=(
                "machine", "semantics", "check", "take_and_give", "holder_of_card", "holder_of_group", "foreign_member",
                "whole_group", "profiles", "life_headless",
            ),
        ),
        Rig(name="deaths", devices=DISPLAY, steps=("machine", "killed_taking", "killed_giving", "killed_booting")),
        Rig(name="vga", devices=VGA, steps=("machine", "console_refused", "profiles", "life_blog")),
        Rig(
            name="no-iommu",
            devices=DISPLAY,
            intel=True,
            iommu="",
            steps=("machine", "semantics", "take_refused", "boot_refused"),
        ),
        Rig(
            name="iommu-off",
            devices=DISPLAY,
            intel=True,
            options="intel_iommu=off",
            steps=("machine", "take_refused"),
        ),
        Rig(
            name="no-remapping",
            devices=DISPLAY,
            intel=True,
            iommu="intel-iommu,intremap=off",
            steps=("machine", "take_refused", "boot_refused", "qemu_refuses"),
        ),
    )
}  # fmt: skip
