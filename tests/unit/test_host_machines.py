"""What the checks say of whole hosts: exactly which fail, and which only warn."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoderd.findings import Finding, Verdict
from encoderd.host.checks import host_findings, refusals
from encoderd.host.facts import gather
from encoderd.host.settings import DiskSettings, HostSettings
from tests.hosts.machines import GUEST_IMAGE, MACHINES

SETTINGS = HostSettings(disk=(DiskSettings(path=Path(GUEST_IMAGE)),))

#: By machine: what fails, what warns, and what forbids taking the GPU.
TABLE: dict[str, tuple[set[str], set[str], set[str]]] = {
    "everything_healthy": (set(), set(), set()),
    "haswell_desktop": ({"console"}, {"generation"}, {"console"}),
    "broadwell": ({"generation", "console"}, {"iommu_group", "group_members"}, {"generation", "console"}),
    "skylake_with_discrete_gpu": (set(), set(), set()),
    "alder_lake_n_headless": (set(), set(), set()),
    "raptor_lake_with_vfs": ({"virtual_functions"}, {"console"}, {"virtual_functions"}),
    "amd_host": ({"processor"}, {"vt_d", "gpu", "iommu_group", "group_members"}, {"processor"}),
    "no_vt_d": ({"vt_d"}, {"iommu", "interrupt_remapping", "iommu_group", "group_members"}, {"vt_d"}),
    "iommu_off": ({"iommu"}, {"interrupt_remapping", "iommu_group", "group_members"}, {"iommu"}),
    "no_interrupt_remapping": ({"interrupt_remapping"}, {"dmar"}, set()),
    "firmware_framebuffer": ({"console"}, {"framebuffer", "kernel_flags"}, {"console"}),
    "group_not_viable": ({"group_members"}, set(), {"group_members"}),
    "driverctl_pinned": (set(), {"other_managers"}, set()),
    "meteor_lake": ({"console"}, set(), {"console"}),
}


def with_verdict(findings: list[Finding], verdict: Verdict) -> set[str]:
    return {finding.check for finding in findings if finding.verdict is verdict}


def test_every_machine_is_in_the_table() -> None:
    assert set(TABLE) == set(MACHINES)


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_s_findings(name: str, tmp_path: Path) -> None:
    """One cause fails once; what follows from it warns."""
    facts = gather(MACHINES[name](tmp_path).root, SETTINGS, live=False)
    findings = host_findings(facts, SETTINGS)
    fails, warns, forbids = TABLE[name]

    assert fails == with_verdict(findings, Verdict.FAIL)
    assert warns == with_verdict(findings, Verdict.WARN)
    assert forbids == {finding.check for finding in refusals(facts, SETTINGS)}


@pytest.mark.parametrize("name", MACHINES)
def test_what_a_machine_s_checks_say_can_be_read(name: str, tmp_path: Path) -> None:
    """One line each, without anything of Python's in it, and evidence that is not empty."""
    for finding in host_findings(gather(MACHINES[name](tmp_path).root, SETTINGS, live=False), SETTINGS):
        for text in (finding.evidence, finding.remedy):
            assert "\n" not in text
            assert "None" not in text
            assert "Standing." not in text
            assert len(text) <= 420, text
        assert finding.evidence


def test_a_virtual_function_can_be_given_where_the_whole_gpu_cannot(tmp_path: Path) -> None:
    """The profile vf takes the first one that the host does not use itself."""
    root = MACHINES["raptor_lake_with_vfs"](tmp_path).root
    settings = SETTINGS.model_copy(update={"vm": SETTINGS.vm.model_copy(update={"profile": "vf"})})
    facts = gather(root, settings, live=False)

    assert facts.gpu.gpu is not None
    assert str(facts.gpu.gpu.address) == "0000:00:02.2"
    assert [] == refusals(facts, settings)


def test_the_order_is_the_one_in_which_one_repairs(tmp_path: Path) -> None:
    """Firmware, kernel, groups, drivers; then who uses it, then what the guest needs besides."""
    machine = MACHINES["everything_healthy"](tmp_path)
    checks = [finding.check for finding in host_findings(gather(machine.root, SETTINGS, live=False), SETTINGS)]
    landmarks = ["processor", "vt_d", "gpu", "iommu", "iommu_group", "vfio_pci", "gpu_users", "qemu", "disk"]

    assert landmarks == [check for check in checks if check in landmarks]
