"""The real daemon in a process of its own, with the time scaled down: started, asked, killed, read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from encoderd.errors import DatabaseError
from encoderd.jobs import Job, JobState
from encoderd.queue.store import Store

#: Longest wait for something to happen. Nothing here takes a tenth of it, but a busy machine may.
LIMIT_S = 40.0
#: The daemon has this long to end its children and itself.
STOP_S = 10.0

_SETTINGS: dict[str, dict[str, Any]] = {
    "daemon": {"worker": "test", "log_format": "json", "log_level": "info"},
    "intake": {"settle_s": 0.3, "rescan_s": 0.2},
    "queue": {"retry_pause_s": 0.2},
    "preflight": {"recheck_s": 0.5},
    "encode": {"encoder": "libx264", "preset": "veryfast", "space_margin_mib": 1, "max_size_ratio": 0},
}


class RunningDaemon:
    """
    `encoderd run` on folders below `root`, one watch folder "tv" (`input` → `output`).

    Keywords override settings by section: `RunningDaemon(root, encode={"quality": 30}, watch={"recursive": False})`;
    None leaves a key out. Everything it prints is kept over restarts. A context manager that leaves no process.
    """

    def __init__(self, root: Path, **overrides: dict[str, Any]) -> None:
        self.root = root
        self.input, self.output, self.state = root / "input", root / "output", root / "state"
        self.settings_file = root / "encoderd.toml"
        self.stdout, self.stderr = root / "daemon.jsonl", root / "daemon.stderr"
        self.command = [sys.executable, "-m", "encoderd", "run", "--config", str(self.settings_file)]
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._overrides: dict[str, dict[str, Any]] = {}
        self.input.mkdir(parents=True, exist_ok=True)
        self.configure(**overrides)

    # --- settings

    def configure(self, **overrides: dict[str, Any]) -> None:
        """Write the settings file anew, with `overrides` on top of those given before."""
        for section, keys in overrides.items():
            self._overrides[section] = {**self._overrides.get(section, {}), **keys}
        given = self._overrides
        sections = {name: {**_SETTINGS.get(name, {}), **given.get(name, {})} for name in {**_SETTINGS, **given}}
        sections["daemon"] = {"state_dir": str(self.state), **sections["daemon"]}
        watch = {"name": "tv", "path": str(self.input), "output": str(self.output), **sections.pop("watch", {})}
        text = "".join(f"[{name}]\n{_toml(keys)}" for name, keys in sections.items())
        self.settings_file.write_text(f"{text}[[watch]]\n{_toml(watch)}", encoding="utf-8")

    # --- life

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def start(self, *, wait: bool = True) -> Self:
        """Start the daemon; with `wait` return once it says that it has started."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        before = len(self.log("daemon.started"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ENCODERD_")}
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**environment, **self.environment},
                start_new_session=True,
            )
        if wait:
            self.wait_for(lambda: len(self.log("daemon.started")) > before, what="the daemon's start")
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the daemon alone; its children have to notice by themselves (`wait_for` `orphans` to be gone)."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=STOP_S)

    def exit_code(self, limit_s: float = STOP_S) -> int:
        """Wait for the daemon to end by itself."""
        assert self.process is not None
        return self.process.wait(timeout=limit_s)

    def terminate(self, limit_s: float = STOP_S) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.exit_code(limit_s)

    # --- what goes in

    def drop(self, recording: Path, name: str | bytes = "a.ts", *, old: bool = False) -> Path:
        """
        Copy a recording into the watch folder under `name` (bytes: any name a file system takes; may hold a folder).

        With `old` its mtime is an hour ago: a test that drops two of the same size has two identities.
        """
        target = self.input / os.fsdecode(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(recording, target)
        if old:
            os.utime(target, (time.time() - 3600,) * 2)
        return target

    # --- what one sees

    def store(self) -> Store:
        """Open the queue as the command line does."""
        return Store.open(self.state / "queue.db", busy_timeout_s=10, migrate=False)

    def jobs(self) -> list[Job]:
        """Return all jobs by number; none while there is no database yet."""
        try:
            with self.store() as store:
                return sorted(store.jobs(limit=10_000), key=lambda job: job.id)
        except DatabaseError:
            return []

    def job(self, number: int = 1) -> Job:
        with self.store() as store:
            return store.job(number)

    def states(self) -> list[JobState]:
        return [job.state for job in self.jobs()]

    def events(self, number: int = 1) -> list[str]:
        """Return the names of what happened to a job, oldest first."""
        with self.store() as store:
            return [str(event.event) for event in store.events(number)]

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the daemon's log lines, all or those of one event; raises ValueError for a line that is no JSON."""
        if not self.stdout.exists():
            return []
        whole, _, _ = self.stdout.read_bytes().rpartition(b"\n")
        lines = [json.loads(line) for line in whole.splitlines() if line]
        return [line for line in lines if event is None or line["event"] == event]

    def status(self) -> dict[str, Any]:
        """Return status.json; {} before there is one."""
        try:
            status: dict[str, Any] = json.loads((self.state / "status.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return status

    def outputs(self) -> list[str]:
        """Return the visible files below the output folder, as sorted relative names."""
        return sorted(name for name in _names_below(self.output) if not Path(name).name.startswith("."))

    def partials(self) -> list[str]:
        """Return the hidden files below the output folder."""
        return sorted(name for name in _names_below(self.output) if Path(name).name.startswith("."))

    def receipt(self, number: int = 1) -> dict[str, Any]:
        receipt: dict[str, Any] = json.loads((self.state / "jobs" / f"{number:06d}.json").read_text("utf-8"))
        return receipt

    def cpu_s(self) -> float:
        """Seconds of a processor that the daemon itself has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")")[-1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def children(self) -> list[int]:
        """Return the pids of the daemon's children that run now."""
        return [] if self.process is None else [pid for pid, parent in processes() if parent == self.pid]

    def orphans(self) -> list[int]:
        """Return the pids of encode children that name this test's folder on their open files: those left behind."""
        return [pid for pid, _ in processes() if pid != self.pid and _holds_file_below(pid, self.root)]

    # --- waiting

    def wait_for(self, predicate: Callable[[], object], limit_s: float = LIMIT_S, what: str = "") -> None:
        """Wait until `predicate` is true; fail with all there is to know when it is not in time, or the daemon died."""
        give_up_s = time.monotonic() + limit_s
        while not predicate():
            ended = self.process is not None and self.process.poll() is not None
            late = time.monotonic() > give_up_s
            assert not (late or ended), f"{what or 'it'} {'never happened' if late else 'cannot happen'}: {self.tell()}"
            time.sleep(0.03)

    def wait_done(self, number: int = 1, limit_s: float = LIMIT_S) -> Job:
        """Wait for a job to be done; returns it."""
        self.wait_for(
            lambda: any(job.id == number and job.state is JobState.DONE for job in self.jobs()),
            limit_s,
            f"job {number} done",
        )
        return self.job(number)

    def wait_encoding(self, number: int = 1) -> int:
        """Wait until the child of a job writes its partial file; returns the child's pid."""
        ending = f".encoderd-{number}.partial"

        def writes() -> bool:
            return bool(self.children()) and any(
                name.endswith(ending) and (self.output / name).stat().st_size > 0
                for name in self.partials()
                if (self.output / name).exists()
            )

        self.wait_for(writes, what=f"job {number} encoding")
        return self.children()[0]

    def wait_frozen(self, number: int = 1) -> int:
        """
        Wait until a job's child writes, and stop it there (SIGSTOP): the middle of an encode for as long as one likes.

        Returns the child's pid; `os.kill(pid, signal.SIGCONT)` lets it go on. Takes a recording of some length.
        """
        pid = self.wait_encoding(number)
        os.kill(pid, signal.SIGSTOP)
        return pid

    def tell(self) -> str:
        """Return what one wants to read when a test fails."""
        exit_code = None if self.process is None else self.process.poll()
        jobs = "\n".join(
            f"  {job.id} {job.state} {job.relative_path!r} attempts {job.attempts} interruptions {job.interruptions} "
            f"worker {job.worker} next try {job.next_try_at} {job.reason}"
            for job in self.jobs()
        )
        log = self.stdout.read_text("utf-8", "replace")[-6000:] if self.stdout.exists() else ""
        errors = self.stderr.read_text("utf-8", "replace")[-3000:] if self.stderr.exists() else ""
        return f"exit code {exit_code}\njobs:\n{jobs}\nlog:\n{log}\nstderr:\n{errors}"


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie, which nobody has waited for yet, does not."""
    return any(pid == live for live, _ in processes())


def _names_below(folder: Path) -> list[str]:
    return [os.path.relpath(Path(where) / name, folder) for where, _, names in os.walk(folder) for name in names]


def processes() -> list[tuple[int, int]]:
    """Return (pid, parent) of every live process; zombies are dead."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
                if state != "Z":
                    found.append((int(entry.name), int(parent)))
    return found


def _holds_file_below(pid: int, folder: Path) -> bool:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if folder in descriptor.readlink().parents and pid != os.getpid():
                    return True
    return False


def _toml(keys: dict[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in keys.items() if value is not None)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_value(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value)
