"""`encoderd check`: everything between this machine and a working encode, in the order in which one repairs it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import typer

from encoderd.cli.output import ConfigOption, JsonOption, explained, file_of, say_json, settings_of, show_findings
from encoderd.encode.failures import EncodeFailed
from encoderd.encode.messages import Build, BuildRequest, TrialDone, TrialRequest
from encoderd.encode.publish import check_space, prepare_folder
from encoderd.encode.supervisor import run_to_end
from encoderd.errors import DatabaseError, EncoderdError, ExitCode
from encoderd.findings import Finding, blocking, failed, passed, warned
from encoderd.gate import CHOICES
from encoderd.intake.mounts import check_mount, read_mountinfo
from encoderd.preflight.checks import BuildFacts, TrialFacts, judge_build, judge_gpu, judge_trial
from encoderd.preflight.facts import gather
from encoderd.queue.store import Store
from encoderd.settings import Settings, WatchSettings


@explained
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Check settings, folders, database, PyAV, GPU, and encode a few frames. Exit code 1 if something fails."""
    settings = settings_of(config)
    findings = [passed("settings", str(file_of(config) or "defaults and the environment"))]
    parts: list[Callable[[Settings], list[Finding]]] = [_folders, _database, _encoders]
    for part in parts:
        try:
            findings += part(settings)
        except OSError as error:
            remedy = "Look at that path; or run this as root or as the service's user: sudo -u encoderd encoderd check"
            findings.append(failed(part.__name__.strip("_"), str(error), remedy))
        except Exception as error:  # noqa: BLE001 - a check that crashes is a finding, not the end of the report
            name = part.__name__.strip("_")
            findings.append(failed(name, f"the check itself broke: {type(error).__name__}: {error}", "Report this."))
    if json:
        say_json([finding.as_json() for finding in findings])
    else:
        show_findings(findings)
    raise typer.Exit(int(ExitCode.FAILED if blocking(findings) else ExitCode.OK))


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


def _encoders(settings: Settings) -> list[Finding]:
    wanted = {settings.encode_for(folder.name).encoder for folder in settings.watch} or {settings.encode.encoder}
    required = "h264_qsv" in wanted
    findings = judge_build(*_build(settings))
    if wanted != {"libx264"}:
        findings += judge_gpu(gather(), required=required)
    names = sorted({name for setting in wanted for name in CHOICES[setting]})
    for name in names:
        findings.append(judge_trial(_trial(settings, name), required=required if name == "h264_qsv" else True))
    return findings


def _build(settings: Settings) -> tuple[BuildFacts | None, str]:
    try:
        build = run_to_end(BuildRequest(), settings.preflight.trial_limit_s, time.monotonic)
    except EncoderdError as error:
        return None, error.message
    assert isinstance(build, Build)
    return BuildFacts(pyav=build.pyav, ffmpeg=build.ffmpeg, encoders=build.encoders, hardware=build.hardware), ""


def try_encoder(request: TrialRequest, limit_s: float) -> TrialDone:
    """Run a trial encode in a child of `limit_s` seconds at most. Raises EncodeFailed with the encoder's own words."""
    with tempfile.TemporaryDirectory(prefix="encoderd-") as folder:
        done = run_to_end(request, limit_s, time.monotonic, log=Path(folder) / "trial.log")
    assert isinstance(done, TrialDone)
    return done


def _trial(settings: Settings, encoder: str) -> TrialFacts:
    request = TrialRequest(encoder=encoder, quality=settings.encode.quality, preset=settings.encode.preset)
    try:
        done = try_encoder(request, settings.preflight.trial_limit_s)
    except EncodeFailed as failure:
        return TrialFacts(encoder=encoder, error=failure.message, remedy=failure.remedy)
    return TrialFacts(encoder=encoder, wall_s=done.wall_s, frames=done.frames, psnr_db=done.psnr_db)
