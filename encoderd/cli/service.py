"""`encoderd run | status | logs`: the service itself and what it says."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from encoderd.cli.output import ConfigOption, JsonOption, explained, file_of, say_json, settings_of, size, span, table
from encoderd.errors import EncoderdError, ExitCode, NoSuchJob, SettingsError
from encoderd.jobs import JobState
from encoderd.logs import configure, get_logger
from encoderd.queue.store import Store
from encoderd.readiness import check_extra
from encoderd.settings import Settings, load
from encoderd.state_folder import StateFolder

#: How often `logs -f` looks for more, in seconds.
_FOLLOW_S = 0.5


@explained
def run(config: ConfigOption = None) -> None:
    """Watch the folders, encode what is complete; until SIGTERM. This is what the unit starts."""
    file = file_of(config)
    settings = _checked(file)
    configure(settings.daemon.log_level, settings.daemon.log_format)
    if not settings.watch:
        raise SettingsError(
            "No folder is watched.", remedy=f"Add a [[watch]] with name, path and output to {file or 'a settings file'}"
        )
    from encoderd.daemon import Daemon

    try:
        Daemon(settings, lambda: _checked(file)).run()
    except EncoderdError as error:
        get_logger().critical("daemon.ended", reason=error.message, remedy=error.remedy, exit_code=int(error.exit_code))
        raise
    except Exception as error:
        get_logger().critical(
            "daemon.ended",
            reason=f"A defect of encoderd: {type(error).__name__}: {error}",
            remedy="Report it with the lines before this one; the queue is as it was.",
            exit_code=int(ExitCode.INTERNAL),
            exc_info=True,
        )
        raise typer.Exit(int(ExitCode.INTERNAL)) from error


def _checked(file: Path | None) -> Settings:
    """Settings that FFmpeg's encoders take too; asked again at each reload."""
    settings = load(file)
    check_extra(settings)
    return settings


@explained
def status(
    config: ConfigOption = None,
    json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")] = False,
) -> None:
    """Say what the daemon is doing. Exit code 1 when it does not run or something holds it up."""
    settings = settings_of(config)
    state = StateFolder(settings.daemon.state_dir)
    try:
        while True:
            now = _with_liveness(state.read_status())
            if json:
                say_json(now)
            else:
                if watch and sys.stdout.isatty():
                    typer.echo("\033[H\033[2J", nl=False)
                _show(now)
            if not watch:
                break
            time.sleep(1.0)
    except KeyboardInterrupt:
        return
    raise typer.Exit(int(ExitCode.OK if now["alive"] and not now.get("problems") else ExitCode.FAILED))


def _with_liveness(status: dict[str, Any]) -> dict[str, Any]:
    pid = status.get("pid", 0)
    alive = pid > 0 and _is_encoderd(pid)
    if not status:
        status = {"status": "it never ran with this state folder"}
    elif not alive and status.get("pid"):
        status = {**status, "status": f"not running (the process {pid} is gone)"}
    return {**status, "alive": alive}


def _is_encoderd(pid: int) -> bool:
    """After a crash the number may belong to somebody else by now."""
    try:
        return b"encoderd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _show(status: dict[str, Any]) -> None:
    typer.echo(f"encoderd {'runs' if status['alive'] else 'does not run'}: {status['status']}")
    for one in status.get("running", []) if status["alive"] else []:
        bar = "█" * round(one["done_ratio"] * 30)
        typer.echo(
            f"  job {one['job']}  {one['recording']}\n    {bar:░<30} {one['done_ratio']:4.0%}  {one['phase']}, "
            f"{span(one['out_time_s'])}, {one['fps']:.0f} fps, {one['speed_x']:.1f}×, {size(one['size_bytes'])}, "
            f"{one['encoder']}"
        )
    for one in status.get("coming", []) if status["alive"] else []:
        typer.echo(f"  recording  {one['recording']}  {size(one['size_bytes'])}  {one['waiting']}")
    for watch, one in status.get("ignored", {}).items() if status["alive"] else []:
        typer.echo(f"  {watch}: {one['files']} files ignored: {one['text']}")
    counts = status.get("counts", {})
    if counts:
        typer.echo("  jobs  " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    if status.get("accepted"):
        typer.echo(f"  {status['accepted']} done with accepted damage")
    if status.get("acceptable"):
        remedy = "encoderd queue list --state failed; then encoderd queue accept JOB"
        typer.echo(f"  {status['acceptable']} failed for damage alone\n    → {remedy}")
    for place, (reason, remedy) in status.get("problems", {}).items():
        typer.echo(f"  ! {place}: {reason}\n    → {remedy}")


@explained
def logs(
    job: Annotated[int | None, typer.Argument(help="The job; all jobs' logs are listed without it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the attempt has ended.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print the log of a job: FFmpeg's own lines, one piece per attempt; or list all logs."""
    settings = settings_of(config)
    state = StateFolder(settings.daemon.state_dir)
    if job is None:
        found = [(number, path, path.stat()) for number, path in state.job_logs()]
        if json:
            say_json([{"job": number, "path": str(path), "size_bytes": stat.st_size} for number, path, stat in found])
            return
        when = "%Y-%m-%d %H:%M"
        rows = [
            [str(number), time.strftime(when, time.localtime(stat.st_mtime)), size(stat.st_size), str(path)]
            for number, path, stat in found
        ]
        table(["job", "written", "size", "file"], rows, "No job has a log yet.")
        return
    path = state.log_of(job)
    try:
        with path.open("r", encoding="utf-8", errors="replace") as log:
            _print_log(log, settings, job, follow)
    except (FileNotFoundError, NotADirectoryError):
        raise EncoderdError(f"Job {job} has no log.", remedy="encoderd logs lists those that have one.") from None
    except KeyboardInterrupt:
        return


def _print_log(log: Any, settings: Settings, job: int, follow: bool) -> None:
    while True:
        goes_on = follow and _is_running(settings, job)  # asked before reading: what it says last is read too
        while text := log.read(65_536):
            sys.stdout.write(text)
        sys.stdout.flush()
        if not goes_on:
            return
        time.sleep(_FOLLOW_S)


def _is_running(settings: Settings, job: int) -> bool:
    try:
        with Store.open(settings.database, busy_timeout_s=settings.queue.busy_timeout_s, migrate=False) as store:
            return store.job(job).state is JobState.ENCODING
    except NoSuchJob:
        return False
