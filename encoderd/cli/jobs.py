"""`encoderd queue`: see and steer the jobs. The daemon hears of it through the database."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from encoderd.cli.job_page import show_page
from encoderd.cli.output import ConfigOption, JsonOption, complain, explained, say_json, settings_of, size, table
from encoderd.errors import EncoderdError, ExitCode, JobRefused, NoSuchJob, SettingsError
from encoderd.jobs import Acceptance, Candidate, Job, JobState, readable
from encoderd.queue.store import Store
from encoderd.rebuild import rebuild as rebuild_queue
from encoderd.settings import Settings
from encoderd.state_folder import StateFolder

app = typer.Typer(help="See and steer the jobs.", no_args_is_help=True)

JobArgument = Annotated[int, typer.Argument(help="The job's number, as `encoderd queue list` shows it.")]
JobsArgument = Annotated[list[int], typer.Argument(help="The jobs' numbers.")]


@contextmanager
def _store(config: Path | None) -> Iterator[tuple[Store, Settings]]:
    settings = settings_of(config)
    with Store.open(settings.database, busy_timeout_s=settings.queue.busy_timeout_s, migrate=False) as store:
        yield store, settings


@app.command("list")
@explained
def list_jobs(
    state: Annotated[list[JobState] | None, typer.Option("--state", "-s", help="Only these states.")] = None,
    watch: Annotated[str | None, typer.Option("--watch", "-w", help="Only this watch folder.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 100,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List jobs: running first, then the queue in its order, then what is over, newest first."""
    with _store(config) as (store, _):
        jobs = store.jobs(states=state or (), watch=watch, limit=limit)
        if json:
            say_json([_as_json(job) for job in jobs])
            return
        rows = [
            [str(job.id), str(job.state), job.watch, readable(job.relative_path), size(job.size_bytes), _remark(job)]
            for job in jobs
        ]
        table(["job", "state", "folder", "recording", "size", ""], rows, "The queue is empty.")


@app.command()
@explained
def show(job: JobArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show everything about one job: its history, and the receipt of its output."""
    with _store(config) as (store, _):
        found, events = store.job(job), store.events(job)
    if json:
        say_json({**_as_json(found), "events": [_event_json(event) for event in events]})
        return
    show_page(found, events)


@app.command()
@explained
def add(
    recordings: Annotated[list[Path], typer.Argument(help="Files inside a watch folder.")],
    priority: Annotated[int, typer.Option("--priority", "-p", help="Higher goes first.")] = 0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Queue recordings at once, without waiting for them to settle: you vouch that they are complete."""
    with _store(config) as (store, settings):
        candidates = [_candidate(settings, path) for path in recordings]
        added = [(one, store.add(one, now=time.time(), priority=priority)) for one in candidates]
    if json:
        say_json([_as_json(job) for _, job in added if job is not None])
        return
    for candidate, job in added:
        shown = readable(candidate.relative_path)
        typer.echo(f"job {job.id}: {shown}" if job is not None else f"{shown} is known already: encoderd queue list")


def _candidate(settings: Settings, path: Path) -> Candidate:
    if not path.is_file():
        what = "is no regular file" if os.path.lexists(path) else "does not exist"
        raise SettingsError(f"{readable(str(path))} {what}.", remedy="Name a recording inside a watch folder.")
    real = Path(os.path.realpath(path))
    for folder in settings.watch:
        root = Path(os.path.realpath(folder.path))
        if root in real.parents:
            found = real.stat()
            return Candidate(
                watch=folder.name,
                relative_path=str(real.relative_to(root)),
                size_bytes=found.st_size,
                mtime_ns=found.st_mtime_ns,
            )
    known = ", ".join(str(folder.path) for folder in settings.watch) or "none"
    raise SettingsError(
        f"{readable(str(path))} is in no watch folder ({known}).",
        remedy="Move it into one, or encode it directly: encoderd encode IN OUT",
    )


@app.command()
@explained
def retry(jobs: JobsArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Queue failed, cancelled or skipped jobs again, or end a waiting job's pause. Takes an `accept` back."""
    with _store(config) as (store, _):
        _each(jobs, lambda job: store.retry(job, now=time.time()), lambda job: f"job {job.id} is queued", json)


@app.command()
@explained
def accept(jobs: JobsArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Have what can be made of damaged recordings: queue failed jobs again, to be published as NAME.damaged."""
    with _store(config) as (store, _):
        told = "job {} is queued; its output will be marked, its recording kept"
        _each(jobs, lambda job: store.accept(job, now=time.time()), lambda job: told.format(job.id), json)


@app.command()
@explained
def cancel(jobs: JobsArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Cancel jobs. A running one is ended by the daemon; recordings stay where they are."""

    def told(job: Job) -> str:
        running = job.state is JobState.ENCODING
        return f"job {job.id} " + ("will be ended by its worker" if running else "is cancelled")

    with _store(config) as (store, _):
        _each(jobs, lambda job: store.request_cancel(job, now=time.time()), told, json)


@app.command()
@explained
def priority(job: JobArgument, value: Annotated[int, typer.Argument(help="Higher goes first; 0 is normal.")],
             config: ConfigOption = None, json: JsonOption = False) -> None:  # fmt: skip
    """Give a job another priority."""
    with _store(config) as (store, _):
        _each(
            [job],
            lambda number: store.set_priority(number, value, now=time.time()),
            lambda after: f"job {after.id} has priority {after.priority}",
            json,
        )


@app.command()
@explained
def rebuild(config: ConfigOption = None, json: JsonOption = False) -> None:
    """
    Put finished jobs back that have a receipt and an output but are not in the queue.

    The daemon does it by itself when it starts with a queue that was lost. Exit code 1: a receipt cannot be read.
    """
    with _store(config) as (store, settings):
        done = rebuild_queue(store, StateFolder(settings.daemon.state_dir))
    if json:
        say_json(
            {
                "rebuilt": [job.id for job in done.jobs],
                "known": done.known,
                "gone": done.gone,
                "unreadable": done.unreadable,
                "last_number": done.last_number,
            }
        )
    else:
        for job in done.jobs:
            typer.echo(f"job {job.id}: {readable(job.relative_path)} → {(job.published or {}).get('path')}")
        for told in (*done.gone, *done.unreadable):
            typer.echo(f"left out  {told}")
        typer.echo(done.sentence)
    if done.unreadable:
        raise typer.Exit(int(ExitCode.FAILED))


def _each(numbers: list[int], deed: Callable[[int], Job], told: Callable[[Job], str], json: bool) -> None:
    """Do it for every job, also after one that refuses; the first refusal is raised at the end."""
    refusal: EncoderdError | None = None
    done = []
    for number in numbers:
        try:
            done.append(deed(number))
        except (NoSuchJob, JobRefused) as error:
            if refusal is not None:
                complain(refusal.message, refusal.remedy)
            refusal = error
    if json:
        say_json([_as_json(job) for job in done])
    else:
        for job in done:
            typer.echo(told(job))
    if refusal is not None:
        raise refusal


@app.command()
@explained
def pause(
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; shown in the status.")] = "",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Start no more jobs until `resume`; what runs goes on."""
    with _store(config) as (store, _):
        store.pause(now=time.time(), reason=reason)
    if json:
        say_json({"paused": True, "reason": reason})
    else:
        typer.echo("The queue is paused; running jobs go on.")


@app.command()
@explained
def resume(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Let the queue go on."""
    with _store(config) as (store, _):
        store.resume(now=time.time())
    if json:
        say_json({"paused": False, "reason": ""})
    else:
        typer.echo("The queue goes on.")


def _remark(job: Job) -> str:
    if job.state is JobState.QUEUED and job.next_try_at > time.time():
        return f"again in {job.next_try_at - time.time():.0f} s: {job.reason}"
    if job.state is JobState.DONE and job.published is not None:
        accepted = " (damage accepted)" if job.acceptance is Acceptance.GIVEN else ""
        return f"→ {job.published.get('path')}{accepted}"
    return job.reason


def _as_json(job: Job) -> dict[str, Any]:
    names = (
        "id", "watch", "relative_path", "size_bytes", "mtime_ns", "state", "priority", "attempts", "interruptions",
        "added_at", "next_try_at", "started_at", "finished_at", "worker", "failure_kind", "reason", "remedy",
        "acceptance",
    )  # fmt: skip
    return {
        **{name: getattr(job, name) for name in names},
        "recording": readable(job.relative_path),
        "published": dict(job.published) if job.published is not None else None,
    }


def _event_json(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__dataclass_fields__}
