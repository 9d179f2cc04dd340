"""`encoderd check`: everything between this machine and a working encode, in the order in which one repairs it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from encoderd.cli.output import ConfigOption, JsonOption, explained, file_of, say_json, settings_of, show_findings
from encoderd.cli.report import write_report
from encoderd.encode.failures import EncodeFailed
from encoderd.encode.messages import VideoRequest
from encoderd.encode.publish import check_space, prepare_folder
from encoderd.errors import DatabaseError, ExitCode
from encoderd.findings import Finding, blocking, failed, passed, warned
from encoderd.gate import CHOICES
from encoderd.intake.mounts import check_mount, read_mountinfo
from encoderd.preflight.runtimes import winner
from encoderd.queue.store import Store
from encoderd.readiness import Readiness, check_extra, examine, gpu_of, look
from encoderd.settings import Settings, WatchSettings
from encoderd.video_settings import video_request

ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Write all of it to a file to send when asking for help, without names.")
]


@explained
def check(config: ConfigOption = None, json: JsonOption = False, report: ReportOption = None) -> None:
    """Check settings, folders, database, PyAV, GPU, and encode a few frames. Exit code 1 if something fails."""
    settings = settings_of(config)
    check_extra(settings)
    findings = [passed("settings", str(file_of(config) or "defaults and the environment"))]
    parts: list[Callable[[Settings], list[Finding]]] = [_folders, _database]
    for part in parts:
        findings += _guarded(part.__name__.strip("_"), partial(part, settings))
    readiness: list[Readiness] = []

    def encoders() -> list[Finding]:
        readiness.append(_encoders(settings))
        return list(readiness[0].findings)

    findings += _guarded("encoders", encoders)
    if report is not None:
        write_report(report, settings, findings, _facts(readiness[0]) if readiness else {})
    if json:
        say_json([finding.as_json() for finding in findings])
    else:
        show_findings(findings)
    raise typer.Exit(int(ExitCode.FAILED if blocking(findings) else ExitCode.OK))


def _guarded(name: str, part: Callable[[], list[Finding]]) -> list[Finding]:
    """A check that breaks is a finding, not the end of the report."""
    try:
        return part()
    except OSError as error:
        remedy = "Look at that path; or run this as root or as the service's user: sudo -u encoderd encoderd check"
        return [failed(name, str(error), remedy)]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks are made
        return [failed(name, f"the check itself broke: {type(error).__name__}: {error}", "Report this.")]


def _folders(settings: Settings) -> list[Finding]:
    if not settings.watch:
        return [failed("watch", "no folder is watched", "Add a [[watch]] with name, path and output to the settings.")]
    findings = [_state_folder(settings)]
    for folder in settings.watch:
        mount = check_mount(folder.path, read_mountinfo(), allow_blind=settings.intake.allow_blind_mounts)
        findings += [_readable(folder), mount, _output(settings, folder)]
    return findings


def _state_folder(settings: Settings) -> Finding:
    folder = settings.daemon.state_dir
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return passed("state_dir", str(folder))
    if not folder.exists() and os.access(_nearest(folder), os.W_OK):
        return passed("state_dir", f"{folder} does not exist yet and can be made")
    return failed("state_dir", f"{folder} cannot be written", f"install -d -o encoderd {folder}")


def _nearest(folder: Path) -> Path:
    return next(parent for parent in folder.parents if parent.exists())


def _readable(folder: WatchSettings) -> Finding:
    check = f"{folder.name}.path"
    if not folder.path.is_dir():
        return failed(check, f"{folder.path} is not there", f"Create or mount it: install -d {folder.path}")
    if not os.access(folder.path, os.R_OK | os.X_OK):
        return failed(check, f"{folder.path} cannot be read", f"chmod o+rx {folder.path}, or a group of both")
    return passed(check, str(folder.path))


def _output(settings: Settings, folder: WatchSettings) -> Finding:
    check, encode = f"{folder.name}.output", settings.encode_for(folder.name)
    if not folder.output.exists():  # a check changes nothing: the daemon makes it, as its own user
        nearest = _nearest(folder.output)
        if os.access(nearest, os.W_OK | os.X_OK):
            return passed(check, f"{folder.output} does not exist yet and can be made")
        return failed(check, f"{folder.output} does not exist", f"install -d -o encoderd {folder.output}")
    try:
        prepare_folder(folder.output)
        check_space(folder.output, 0, encode.space_margin_mib * 2**20)
    except EncodeFailed as failure:
        return failed(check, failure.message, failure.remedy)
    found = os.statvfs(folder.output)
    text = f"{folder.output}, {found.f_bavail * found.f_frsize / 2**30:.1f} GiB free"
    if encode.move_to is not None and _device(encode.move_to) != _device(folder.path):
        remedy = "Put move_to on the file system of the watch folder; until then recordings are kept."
        return warned(check, f"{text}; {encode.move_to} is on another file system than the recordings", remedy)
    return passed(check, text)


def _device(folder: Path) -> int:
    return (folder if folder.exists() else _nearest(folder)).stat().st_dev


def _database(settings: Settings) -> list[Finding]:
    path = settings.database
    if not path.exists():
        return [passed("database", f"{path} does not exist yet; the daemon makes it")]
    try:
        with Store.open(path, busy_timeout_s=settings.queue.busy_timeout_s, migrate=False) as store:
            counts = store.counts()
    except DatabaseError as error:
        return [failed("database", error.message, error.remedy)]
    return [passed("database", f"{path}: " + (", ".join(f"{n} {state}" for state, n in counts.items()) or "empty"))]


def _encoders(settings: Settings) -> Readiness:
    """Try what the jobs of every watch folder would ask for, once each."""
    folders = {folder.name: settings.encode_for(folder.name) for folder in settings.watch}
    encodes = folders or {"every folder": settings.encode}
    settings_of_encoder = {encode.encoder for encode in encodes.values()}
    gpu = "required" if "h264_qsv" in settings_of_encoder else "welcome" if "auto" in settings_of_encoder else "unused"
    facts = look()
    wanted: dict[VideoRequest, list[str]] = {}
    for name, encode in encodes.items():
        for encoder in CHOICES[encode.encoder]:
            wanted.setdefault(video_request(encode, encoder, gpu_of(facts)), []).append(name)
    low_power = next((encode.low_power for encode in encodes.values() if encode.low_power != "auto"), "auto")
    return examine(wanted, facts, settings.preflight.trial_limit_s, gpu=gpu, low_power=low_power)


def _facts(readiness: Readiness) -> dict[str, Any]:
    """What the findings rest on, as the report shows it."""
    facts, build = readiness.facts, readiness.build
    used = winner(facts.runtimes, facts.gpu, readiness.loads)
    seen = [
        f"{number}. {runtime.path} (found through {runtime.source}): "
        f"{runtime.damage or readiness.loads.get(runtime.path, 'not loaded') or 'loads'}"
        + (", would be used" if used is runtime else "")
        for number, runtime in enumerate(facts.runtimes, start=1)
    ]
    return {
        "PyAV": asdict(build) if build is not None else "it does not load",
        "Granted in the trials": {encoder: dict(granted) for encoder, granted in readiness.granted.items()},
        "Runtimes as the VPL dispatcher finds them": seen or ["none"],
        "Facts": asdict(facts),
    }
