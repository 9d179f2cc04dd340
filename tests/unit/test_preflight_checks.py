"""The GPU path judged: facts in, findings out, in the order in which one repairs them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from encoderd.findings import Finding, Verdict
from encoderd.pci import PciAddress, PciDevice
from encoderd.preflight.checks import BuildFacts, TrialFacts, judge_build, judge_gpu, judge_trial
from encoderd.preflight.facts import GpuFacts, RenderNode

HD530 = PciDevice(
    address=PciAddress(0, 0, 2, 0), vendor=0x8086, device=0x1912, class_code=0x030000, driver="i915", iommu_group=1,
    boot_vga=True,
)  # fmt: skip
VIRTUAL = replace(HD530, address=PciAddress(0, 0, 1, 0), vendor=0x1234, device=0x1111, driver="bochs-drm")
NODE = RenderNode(
    path="/dev/dri/renderD128", address="0000:00:02.0", vendor=0x8086, driver="i915", error="",
    owner="root:render 0660",
)  # fmt: skip
SOUND = GpuFacts(displays=(VIRTUAL, HD530), render_nodes=(NODE,), kernel_options=("quiet",), user="encoderd")


def verdicts(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, str(finding.verdict)) for finding in findings]


def test_a_sound_gpu() -> None:
    assert verdicts(judge_gpu(SOUND, required=True)) == [("gpu_device", "pass"), ("render_node", "pass")]


@pytest.mark.parametrize(
    ("facts", "check", "evidence", "remedy"),
    [
        (replace(SOUND, displays=(), render_nodes=()), "gpu_device", "no display device at all", "encoderd-host check"),
        (replace(SOUND, displays=(VIRTUAL,)), "gpu_device", "0000:00:01.0 1234:1111", "passed through"),
        (replace(SOUND, displays=(replace(HD530, driver=None),)), "gpu_device", "driver none", "modprobe i915"),
        (replace(SOUND, displays=(replace(HD530, driver="vfio-pci"),)), "gpu_device", "vfio-pci", "modprobe i915"),
        (
            replace(SOUND, displays=(replace(HD530, driver=None),), kernel_options=("nomodeset",)),
            "gpu_device", "driver none", "Remove nomodeset",
        ),
        (
            replace(SOUND, displays=(replace(HD530, driver=None),), kernel_options=("module_blacklist=i915",)),
            "gpu_device", "driver none", "Remove module_blacklist=i915",
        ),
        (replace(SOUND, render_nodes=()), "render_node", "none under /dev/dri", "modprobe"),
        (
            replace(SOUND, render_nodes=(replace(NODE, vendor=0x1234, path="/dev/dri/renderD129"),)),
            "render_node", "/dev/dri/renderD129", "modprobe",
        ),
        (
            replace(SOUND, render_nodes=(replace(NODE, error="EACCES"),)),
            "render_node", "does not open for encoderd: EACCES", "usermod -aG render encoderd",
        ),
        (replace(SOUND, render_nodes=(replace(NODE, error="EPERM"),)), "render_node", "EPERM", "DeviceAllow=char-drm"),
        (
            replace(SOUND, render_nodes=(replace(NODE, error="EACCES", owner=""),)),
            "render_node", "EACCES", "SupplementaryGroups=render",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_gpu(facts: GpuFacts, check: str, evidence: str, remedy: str) -> None:
    """A failure where the GPU is required, with a way out; the same as a warning where the CPU will do."""
    required = [finding for finding in judge_gpu(facts, required=True) if finding.verdict is not Verdict.PASS]
    allowed = [finding for finding in judge_gpu(facts, required=False) if finding.verdict is not Verdict.PASS]

    assert [finding.check for finding in required] == [check]
    assert required[0].verdict is Verdict.FAIL
    assert evidence in required[0].evidence
    assert remedy in required[0].remedy
    assert allowed == [replace(required[0], verdict=Verdict.WARN)]


def test_one_of_two_nodes_is_locked() -> None:
    """Each node has a finding of its own."""
    other = replace(NODE, path="/dev/dri/renderD129", error="EACCES")
    findings = judge_gpu(replace(SOUND, render_nodes=(NODE, other)), required=True)

    assert verdicts(findings) == [("gpu_device", "pass"), ("render_node", "pass"), ("render_node", "fail")]


def test_the_build() -> None:
    build = BuildFacts(pyav="18.1.0", ffmpeg="8.1.2", encoders=["libx264"], hardware=[])

    assert verdicts(judge_build(build)) == [
        ("pyav", "pass"),
        ("encoder_h264_qsv", "warn"),
        ("encoder_libx264", "pass"),
    ]
    broken = judge_build(None, "libva.so.2: cannot open shared object file")
    assert verdicts(broken) == [("pyav", "fail")]
    assert "libva.so.2" in broken[0].evidence
    assert judge_build(None)[0].evidence


def test_the_trial() -> None:
    passed = TrialFacts(encoder="h264_qsv", wall_s=0.25, frames=12, psnr_db=41.96)
    failed = TrialFacts(encoder="h264_qsv", error="no session", remedy="")

    assert judge_trial(passed, required=True).evidence == "12 frames in 0.25 s, PSNR 42.0 dB"
    assert judge_trial(failed, required=True).verdict is Verdict.FAIL
    assert judge_trial(failed, required=True).remedy
    assert judge_trial(failed, required=False).verdict is Verdict.WARN
    assert judge_trial(failed, required=True).check == "trial_h264_qsv"
