"""
`make demo`: the main job, before your eyes. A recording is dropped in slowly, as a recorder writes it; the real daemon
settles, queues, encodes, verifies and publishes it. On the CPU where there is no Intel GPU.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from encoderd.cli.output import size
from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.jobs import Job, JobState, readable
from encoderd.queue.store import Store
from encoderd.state_folder import StateFolder

#: Seconds: the made recording's length, how long its writing takes, how long it has to rest, and the whole demo.
SAMPLE_S, WRITING_S, SETTLE_S, LIMIT_S = 20.0, 8.0, 3.0, 3600.0
#: Pieces in which it is written.
PIECES = 80
WIDTH = 30

_SETTINGS = """\
[daemon]
state_dir = {state}
worker = "demo"
log_format = "json"
[intake]
settle_s = {settle_s}
rescan_s = 1
[encode]
encoder = "auto"
preset = "veryfast"
space_margin_mib = 64
[[watch]]
name = "demo"
path = {recordings}
output = {encoded}
"""


class Stage:
    """One line of what happens: rewritten on a terminal, printed once per step in a pipe."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._bar = ""

    def say(self, text: str) -> None:
        self._clear()
        typer.echo(f"{time.monotonic() - self._started_s:5.1f} s  {text}")

    def bar(self, share: float, text: str) -> None:
        """Show progress; in a pipe only every tenth of the way."""
        filled = "█" * round(share * WIDTH)
        line = f"{time.monotonic() - self._started_s:5.1f} s  {filled:░<{WIDTH}} {share:4.0%}  {text}"
        if self._terminal:
            self._clear()
            self._bar = line
            typer.echo(line, nl=False)
        elif f"{share:.1f}" != self._bar:
            self._bar = f"{share:.1f}"
            typer.echo(line)

    def _clear(self) -> None:
        if self._terminal and self._bar:
            typer.echo("\r\033[K", nl=False)
            self._bar = ""


def main() -> None:
    """Run the demo; exit code 0 when a verified output was published."""
    stage = Stage()
    base = Path(tempfile.mkdtemp(prefix="encoderd-demo-"))
    folders = {name: base / name for name in ("recordings", "encoded", "state")}
    for folder in folders.values():
        folder.mkdir()
    settings = base / "encoderd.toml"
    text = {name: json.dumps(str(folder)) for name, folder in folders.items()}
    settings.write_text(_SETTINGS.format(settle_s=SETTLE_S, **text), encoding="utf-8")
    source = _source(stage, base)
    with _daemon(settings, base / "daemon.log") as process:
        stage.say(f"The daemon runs (process {process.pid}) and watches {folders['recordings']}")
        _drop_in(stage, source, folders["recordings"] / source.name)
        job = _follow(stage, StateFolder(folders["state"]), process)
    _tell(stage, base, folders["state"], job)
    raise SystemExit(0 if job is not None and job.state is JobState.DONE else 1)


def _source(stage: Stage, base: Path) -> Path:
    if len(sys.argv) > 1:
        given = Path(sys.argv[1])
        if not given.is_file():
            raise SystemExit(f"demo: there is no file {given}. Name one with RECORDING=path.")
        return given
    stage.say(f"Making a recording: {SAMPLE_S:.0f} s of interlaced 1440×1080 MPEG-2 with AAC, as broadcast")
    return make_recording(base / "news at nine.ts", SampleSpec(duration_s=SAMPLE_S))


@contextmanager
def _daemon(settings: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "encoderd", "run", "--config", str(settings)],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _drop_in(stage: Stage, source: Path, target: Path) -> None:
    total = source.stat().st_size
    stage.say(f"A recorder writes {readable(target.name)} ({size(total)}); it stays open, so nothing may touch it yet")
    with source.open("rb") as reader, target.open("wb") as recorder:
        piece = max(1, -(-total // PIECES))
        while data := reader.read(piece):
            recorder.write(data)
            recorder.flush()
            stage.bar(reader.tell() / total, "being recorded")
            time.sleep(WRITING_S / PIECES)
    stage.say(f"The recorder closes the file; it has to rest for {SETTLE_S:.0f} s")


def _follow(stage: Stage, state: StateFolder, process: subprocess.Popen[bytes]) -> Job | None:
    """Show what happens to the one job until it is over."""
    seen: JobState | None = None
    until_s = time.monotonic() + LIMIT_S
    while time.monotonic() < until_s and process.poll() is None:
        job = _job(state)
        if job is not None and job.state is not seen:
            seen = job.state
            words = {
                JobState.QUEUED: "it is whole, and in the queue; a trial encode opens the gate",
                JobState.ENCODING: "a child process has it",
                JobState.DONE: "verified and published",
            }
            stage.say(f"job {job.id} is {job.state}: {words.get(job.state, job.reason)}")
        if job is not None and job.state not in {JobState.QUEUED, JobState.ENCODING, JobState.SETTLING}:
            return job
        for one in state.read_status().get("running", []) if seen is JobState.ENCODING else []:
            stage.bar(one["done_ratio"], f"{one['phase']} on {one['encoder']}, {one['fps']:.0f} frames/s")
        time.sleep(0.3)
    return None


def _job(state: StateFolder) -> Job | None:
    database = state.root / "queue.db"
    if not database.exists():
        return None
    with Store.open(database, busy_timeout_s=5, migrate=False) as store:
        return next(iter(store.jobs(limit=1)), None)


def _tell(stage: Stage, base: Path, state_root: Path, job: Job | None) -> None:
    state = StateFolder(state_root)
    if job is None:
        stage.say(f"The daemon ended early; its log: {base / 'daemon.log'}")
        return
    if job.published is None:
        stage.say(f"No output: {job.reason}\n         → {job.remedy}")
    else:
        receipt = job.published["receipt"]
        for finding in receipt["findings"]:
            mark = {"pass": "✔", "warn": "!", "fail": "✘"}[finding["verdict"]]
            typer.echo(f"         {mark} {finding['check']:<12} {finding['evidence']}")
        ratio = job.published["size_bytes"] / job.size_bytes
        stage.say(
            f"{receipt['duration_s']:.1f} s of television in {receipt['wall_s']:.1f} s ({receipt['speed_x']}×, "
            f"{receipt['granted']['encoder']}), {size(job.size_bytes)} became {size(job.published['size_bytes'])} "
            f"({ratio:.0%})"
        )
        typer.echo(f"output       {job.published['path']}\nreceipt      {state.receipt_of(job.id)}")
    typer.echo(f"job's log    {state.log_of(job.id)}\ndaemon's log {base / 'daemon.log'}")
    typer.echo(f"These stay until you remove them: rm -r {base}")


if __name__ == "__main__":
    main()
