"""
Judge the GPU path: findings in the order in which one repairs them.

Error -9 of FFmpeg ("Error creating a MFX session") stands for any of five faults. Here it is told which one it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from encoderd.findings import Finding, Verdict, failed, passed, warned
from encoderd.preflight.device_checks import judge_device
from encoderd.preflight.facts import GpuFacts
from encoderd.preflight.gpus import NEW_RUNTIME, OLD_RUNTIME
from encoderd.preflight.media_checks import judge_media
from encoderd.preflight.packages import Part, how_to_get
from encoderd.preflight.runtimes import winner

QSV = "h264_qsv"
_TRIAL = "trial_"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """
    What a child said of this PyAV; `encoders` are those of ours that it has.

    `hardware` are FFmpeg's kinds of devices: "vaapi" is among them exactly when it was built with VAAPI.
    """

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


#: What a child's dlopen said of each of `runtimes.to_load()`, by path: "" is good, HANGS when it did not come back.
LoadFacts = Mapping[str, str]


def judge(
    facts: GpuFacts,
    build: BuildFacts | None,
    loads: LoadFacts,
    trials: Iterable[TrialFacts],
    *,
    required: bool,
    low_power: str = "auto",
    build_error: str = "",
) -> list[Finding]:
    """
    Return all findings: the device's, low_power, firmware, va_driver, runtime_path, runtime, pyav, and each trial's.

    What fails is a warning where the GPU is not `required`, or where the trial of h264_qsv passed: what encodes is not
    broken. `build` is None when PyAV does not load, which always fails; `low_power` is the setting.
    """
    tried = list(trials)
    vaapi = build is not None and "vaapi" in build.hardware
    findings = [*judge_device(facts), *judge_media(facts, loads, vaapi=vaapi, low_power=low_power)]
    if build is not None:
        findings.append(_pyav(facts, build, loads))
    encodes = any(trial.encoder == QSV and not trial.error for trial in tried)
    cause = None if encodes else next((finding for finding in findings if finding.verdict is Verdict.FAIL), None)
    if encodes or not required:
        findings = [_lenient(finding) for finding in findings]
    if build is None:
        findings += judge_build(None, build_error)
    for trial in tried:
        finding = judge_trial(trial, required=required or trial.encoder != QSV)
        findings.append(_caused(finding, cause) if trial.encoder == QSV and trial.error else finding)
    return findings


def diagnose(findings: Sequence[Finding], trial_error: str) -> tuple[str, str]:
    """
    Return (reason, remedy) in one sentence each: the first thing to repair, then the trial's own words.

    Where nothing fails the reason is the trial's words alone, and a warning may still know the way.
    """
    path = [finding for finding in findings if not finding.check.startswith(_TRIAL)]
    first = next((finding for finding in path if finding.verdict is Verdict.FAIL), None)
    if first is not None:
        words = f" (the trial encode said: {trial_error})" if trial_error else ""
        return f"{first.check}: {first.evidence}{words}", first.remedy
    suspect = next((finding for finding in path if finding.verdict is Verdict.WARN), None)
    if suspect is not None:
        return trial_error or suspect.evidence, f"Perhaps {suspect.check}: {suspect.evidence}. {suspect.remedy}"
    return trial_error, "encoderd check"


def _lenient(finding: Finding) -> Finding:
    return replace(finding, verdict=Verdict.WARN) if finding.verdict is Verdict.FAIL else finding


def _caused(trial: Finding, cause: Finding | None) -> Finding:
    """A failed trial follows from the first thing that is wrong before it, whatever number it gives."""
    if cause is None:
        return trial
    return replace(trial, remedy=f"Repair {cause.check} first, see above.")


def _pyav(facts: GpuFacts, build: BuildFacts, loads: LoadFacts) -> Finding:
    """
    Can this PyAV drive the runtime that serves this GPU?

    libmfxhw64 never opens a display of its own, and libavcodec gives it one only where it is built with VAAPI: PyPI's
    wheel is not. libmfx-gen opens its own.
    """
    version = f"PyAV {build.pyav} on FFmpeg {build.ffmpeg}"
    vaapi = "vaapi" in build.hardware
    if QSV not in build.encoders:
        remedy = f'Use PyPI\'s wheel, which has it: {facts.pip} install --force-reinstall "av<19"'
        return failed("pyav", f"{version} has no {QSV}", remedy)
    text = f"{version}, {'with' if vaapi else 'without'} VAAPI"
    gpu = facts.gpu
    if gpu is None or not gpu.generation.runtimes or vaapi:
        return passed("pyav", text)
    used = winner(facts.runtimes, gpu, loads)
    runtime = used.kind if used is not None else gpu.generation.runtimes[0]
    if runtime != OLD_RUNTIME:
        return passed("pyav", text)
    distribution = facts.machine.distribution
    if NEW_RUNTIME in gpu.generation.runtimes:
        remedy = how_to_get(Part.NEW_RUNTIME, distribution)
    else:
        remedy = how_to_get(Part.VAAPI_PYAV, distribution, facts.pip)
    return failed(
        "pyav", f"{text}: {gpu.text} encodes through {OLD_RUNTIME}, which only an FFmpeg with VAAPI can drive", remedy
    )


def judge_build(build: BuildFacts | None, error: str = "") -> list[Finding]:
    """Is PyAV there, and which encoders does its FFmpeg have?"""
    if build is None:
        return [
            failed("pyav", error or "PyAV does not load", 'Install it again: pip install --force-reinstall "av<19"')
        ]
    findings = [passed("pyav", f"PyAV {build.pyav} on FFmpeg {build.ffmpeg}")]
    for encoder in (QSV, "libx264"):
        if encoder in build.encoders:
            findings.append(passed(f"encoder_{encoder}", "in this build"))
        else:
            findings.append(
                warned(f"encoder_{encoder}", "not in this build of FFmpeg", "Use PyPI's wheel of av, which has it.")
            )
    return findings


def judge_trial(trial: TrialFacts, *, required: bool) -> Finding:
    """Do pictures come back from the encoder as they went in?"""
    check = f"{_TRIAL}{trial.encoder}"
    if not trial.error:
        return passed(check, f"{trial.frames} frames in {trial.wall_s:.2f} s, PSNR {trial.psnr_db:.1f} dB")
    return (failed if required else warned)(check, trial.error, trial.remedy or "encoderd check")
