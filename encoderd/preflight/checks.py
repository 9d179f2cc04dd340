"""Judge the GPU path: findings in the order in which one repairs them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from encoderd.findings import Finding, failed, passed, warned
from encoderd.pci import INTEL
from encoderd.preflight.facts import GpuFacts, RenderNode


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """What a child said of this PyAV; `encoders` are those of ours that it has."""

    pyav: str
    ffmpeg: str
    encoders: Collection[str]
    hardware: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFacts:
    """A trial encode's result: `error` and `remedy` are "" when the pictures came back as they went in."""

    encoder: str
    wall_s: float = 0.0
    frames: int = 0
    psnr_db: float = 0.0
    error: str = ""
    remedy: str = ""


def judge_build(build: BuildFacts | None, error: str = "") -> list[Finding]:
    """Is PyAV there, and which encoders does its FFmpeg have?"""
    if build is None:
        return [
            failed("pyav", error or "PyAV does not load", 'Install it again: pip install --force-reinstall "av<19"')
        ]
    findings = [passed("pyav", f"PyAV {build.pyav} on FFmpeg {build.ffmpeg}")]
    for encoder in ("h264_qsv", "libx264"):
        if encoder in build.encoders:
            findings.append(passed(f"encoder_{encoder}", "in this build"))
        else:
            findings.append(
                warned(f"encoder_{encoder}", "not in this build of FFmpeg", "Use PyPI's wheel of av, which has it.")
            )
    return findings


def judge_gpu(facts: GpuFacts, *, required: bool) -> list[Finding]:
    """
    Is there an Intel GPU, with a render node that this user may open?

    `required` is False where the settings allow the CPU: then a missing GPU is a warning.
    """
    bad = failed if required else _warned
    intel = [device for device in facts.displays if device.vendor == INTEL]
    if not intel:
        seen = ", ".join(f"{device.address} {device.ids}" for device in facts.displays) or "no display device at all"
        return [
            bad(
                "gpu_device",
                f"no Intel display device in this machine ({seen})",
                "Start the VM with the GPU passed through; on the host: encoderd-host check",
            )
        ]
    findings = []
    for device in intel:
        text = f"{device.address} {device.ids}, driver {device.driver or 'none'}"
        if device.driver in {"i915", "xe"}:
            findings.append(passed("gpu_device", text))
        else:
            findings.append(bad("gpu_device", text, _driver_remedy(facts)))
    nodes = [node for node in facts.render_nodes if node.vendor == INTEL]
    if not nodes:
        found = ", ".join(node.path for node in facts.render_nodes) or "none under /dev/dri"
        findings.append(bad("render_node", f"the Intel GPU has no render node ({found})", _driver_remedy(facts)))
    findings += [_judge_node(node, facts.user, required) for node in nodes]
    return findings


def _judge_node(node: RenderNode, user: str, required: bool) -> Finding:
    if not node.error:
        return passed("render_node", f"{node.path} ({node.owner}) opens read-write")
    group = node.owner.partition(":")[2].partition(" ")[0] or "render"
    remedy = f"usermod -aG {group} {user}; in the unit: SupplementaryGroups={group}"
    if node.error == "EPERM":
        remedy = "In the unit: DeviceAllow=char-drm rw"
    bad = failed if required else _warned
    return bad("render_node", f"{node.path} ({node.owner}) does not open for {user}: {node.error}", remedy)


def judge_trial(trial: TrialFacts, *, required: bool) -> Finding:
    """Do pictures come back from the encoder as they went in?"""
    check = f"trial_{trial.encoder}"
    if not trial.error:
        return passed(check, f"{trial.frames} frames in {trial.wall_s:.2f} s, PSNR {trial.psnr_db:.1f} dB")
    bad = failed if required else _warned
    return bad(check, trial.error, trial.remedy or "encoderd check")


def _warned(check: str, evidence: str, remedy: str) -> Finding:
    return warned(check, evidence, remedy)


def _driver_remedy(facts: GpuFacts) -> str:
    for option in facts.kernel_options:
        if option == "nomodeset" or option.startswith(
            ("i915.modeset=0", "modprobe.blacklist=i915", "module_blacklist=")
        ):
            return f"Remove {option} from the kernel command line and reboot."
    return "modprobe i915; a cloud kernel has no i915: apt install linux-image-amd64 firmware-misc-nonfree, reboot."
