"""
Preflight with the children it needs: what this machine is, what its PyAV says, which runtimes load, what encodes.

Preflight itself loads nothing, because a library of a driver can hang or crash whoever loads it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from encoderd.encode.failures import EncodeFailed
from encoderd.encode.messages import (
    Build,
    BuildRequest,
    Loaded,
    LoadRequest,
    OptionsChecked,
    OptionsRequest,
    TrialDone,
    TrialRequest,
    VideoRequest,
)
from encoderd.encode.supervisor import Child, run_to_end
from encoderd.errors import SettingsError
from encoderd.findings import Finding, warned
from encoderd.jobs import JobEvent
from encoderd.preflight.checks import BuildFacts, TrialFacts, diagnose, judge, judge_build, judge_trial
from encoderd.preflight.facts import GpuFacts, gather
from encoderd.preflight.runtimes import HANGS, to_load
from encoderd.settings import Settings
from encoderd.video_settings import GpuHere

#: A runtime that takes longer than this to load does not load.
LOAD_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What was found, and what that rests on. `granted` is by encoder, of the trials that passed."""

    findings: tuple[Finding, ...]
    facts: GpuFacts
    build: Build | None
    loads: Mapping[str, str]
    granted: Mapping[str, Mapping[str, str]]


def look(root: Path = Path("/")) -> GpuFacts:
    """Gather preflight's facts of the machine below `root`."""
    return gather(root, os.environ)


def gpu_of(facts: GpuFacts) -> GpuHere | None:
    """Return the Intel GPU that encodes, None when there is none or it is newer than our table."""
    return None if facts.gpu is None else GpuHere(gpu=facts.gpu, full_driver=facts.full_driver)


def examine(
    wanted: Mapping[VideoRequest, Sequence[str]], facts: GpuFacts, limit_s: float, *, gpu: str, low_power: str = "auto"
) -> Readiness:
    """
    Try all that jobs would ask for, and judge it with the machine's `facts`.

    `wanted` are the requests with the names of the watch folders whose jobs make them. `gpu` is "required", "welcome"
    or "unused", `low_power` is the setting's own word. A trial may take `limit_s` seconds.
    """
    loads = {path: _load(path) for path in to_load(facts.runtimes)} if gpu != "unused" else {}
    stuck = [path for path, error in loads.items() if error == HANGS]
    trials: list[TrialFacts] = []
    granted: dict[str, Mapping[str, str]] = {}
    doubts: list[Finding] = []
    build: Build | None = None
    for video, watches in wanted.items():
        whose = f" ({video.rate_control} for {', '.join(watches)})" if len(wanted) > 1 else ""
        if stuck and video.encoder == "h264_qsv":
            error = f"not tried: {stuck[0]} hangs when it is loaded, and so would every encode"
            trials.append(TrialFacts(encoder=video.encoder, error=error, remedy="Remove or reinstall that runtime."))
            continue
        child = try_video(video, limit_s)
        build = build or child.build
        if isinstance(child.outcome, TrialDone):
            done = child.outcome
            granted[video.encoder] = done.granted
            trials.append(
                TrialFacts(encoder=done.encoder, wall_s=done.wall_s, frames=done.frames, psnr_db=done.psnr_db)
            )
            if done.differences:
                remedy = "Ask for what this GPU does, or leave it: every receipt says what was granted."
                doubts.append(warned("granted", "; ".join(done.differences) + whose, remedy))
        else:
            assert isinstance(child.outcome, EncodeFailed)
            failure = child.outcome
            trials.append(TrialFacts(encoder=video.encoder, error=failure.message + whose, remedy=failure.remedy))
    error = ""
    if build is None:
        build, error = _build(limit_s)
    known = build_facts(build) if build is not None else None
    if gpu == "unused":
        findings = [*judge_build(known, error), *(judge_trial(trial, required=True) for trial in trials)]
    else:
        findings = judge(
            facts, known, loads, trials, required=gpu == "required", low_power=low_power, build_error=error
        )
    return Readiness(findings=(*findings, *doubts), facts=facts, build=build, loads=loads, granted=granted)


def check_extra(settings: Settings) -> None:
    """
    Ask this FFmpeg for the further options of the encoders in the settings. Costs a child where there are any.

    Raises:
        SettingsError: an option, or its value, is unknown to the encoder that the settings name.
    """
    sections = {f"watch folder {folder.name!r}: ": settings.encode_for(folder.name) for folder in settings.watch}
    asked: set[OptionsRequest] = set()
    for where, encode in {"": settings.encode, **sections}.items():
        encoder = "libx264" if encode.encoder == "libx264" else "h264_qsv"
        request = OptionsRequest(encoder=encoder, extra=tuple(sorted(encode.extra.items())))
        if not request.extra or request in asked:
            continue
        asked.add(request)
        outcome = run_to_end(request, settings.preflight.trial_limit_s, time.monotonic).outcome
        if isinstance(outcome, OptionsChecked) and outcome.problems:
            raise SettingsError(
                f"{where}encode.extra: {'; '.join(outcome.problems)}.",
                remedy=f"Correct encode.extra (ffmpeg -h encoder={encoder} lists what there is), then: "
                "encoderd config check",
            )


def try_video(video: VideoRequest, limit_s: float) -> Child:
    """Run a trial encode in a child of `limit_s` seconds at most; returns it with its outcome."""
    with tempfile.TemporaryDirectory(prefix="encoderd-") as folder:
        return run_to_end(TrialRequest(video=video), limit_s, time.monotonic, log=Path(folder) / "trial.log")


def _load(path: str) -> str:
    """Return "" when the library loads in a child, else why it does not."""
    child = run_to_end(LoadRequest(path=path), LOAD_LIMIT_S, time.monotonic)
    if isinstance(child.outcome, Loaded):
        return child.outcome.error
    assert isinstance(child.outcome, EncodeFailed)
    return HANGS if child.outcome.event is JobEvent.STALLED else child.outcome.message


def _build(limit_s: float) -> tuple[Build | None, str]:
    outcome = run_to_end(BuildRequest(), limit_s, time.monotonic).outcome
    if isinstance(outcome, EncodeFailed):
        return None, outcome.message
    assert isinstance(outcome, Build)
    return outcome, ""


def build_facts(build: Build) -> BuildFacts:
    return BuildFacts(pyav=build.pyav, ffmpeg=build.ffmpeg, encoders=build.encoders, hardware=build.hardware)


def diagnosed(failure: EncodeFailed, build: Build | None, low_power: str, facts: GpuFacts) -> tuple[str, str]:
    """
    Return (reason, remedy) of a failed trial of h264_qsv: the first thing to repair, then the trial's own words.

    "Error -9" alone may be any of five things; the machine shows which one it is. `build` is None when the child died
    before it could say what it is.
    """
    if build is None:
        return failure.message, failure.remedy
    trial = TrialFacts(encoder="h264_qsv", error=failure.message, remedy=failure.remedy)
    findings = judge(facts, build_facts(build), {}, [trial], required=True, low_power=low_power)
    return diagnose(findings, failure.message)
