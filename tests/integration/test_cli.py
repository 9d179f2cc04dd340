"""The commands by themselves: help, JSON, and every wrong turn with a message, a remedy and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer

from encoderd import __version__
from encoderd.cli import app
from encoderd.errors import ExitCode
from encoderd.jobs import Candidate
from encoderd.queue.store import Store
from tests.integration.commands import run, settings_for

CLI = [sys.executable, "-m", "encoderd"]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Commands set up the log for their own streams, which end with them."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return settings_for(tmp_path)


@pytest.fixture
def queue(config: Path, tmp_path: Path) -> Path:
    """The same with a queue of one job."""
    (tmp_path / "state" / "jobs").mkdir(parents=True)
    with Store.open(tmp_path / "state" / "queue.db", busy_timeout_s=5) as store:
        store.add(Candidate(watch="tv", relative_path="a.ts", size_bytes=5, mtime_ns=1), now=1.0)
    return config


def told(result: Any, code: ExitCode) -> str:
    """Return the message of a command that refused; it has a remedy, and is no traceback."""
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    message, arrow, remedy = result.stderr.partition("\n  → ")
    assert message.startswith("encoderd: ")
    assert arrow
    assert remedy.strip()
    assert "Traceback" not in result.stderr
    return message.removeprefix("encoderd: ")


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    group = typer.main.get_command(app) if group is None else group
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*words, name))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    result = run(*words, "--help")

    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert run(*words, "-h").stdout == result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("queue", "list"),
        ("queue", "show", "1"),
        ("queue", "priority", "1", "3"),
        ("queue", "pause"),
        ("queue", "resume"),
        ("queue", "cancel", "1"),
        ("queue", "retry", "1"),
        ("logs",),
        ("status",),
        ("config", "show"),
        ("config", "check"),
    ],
    ids=" ".join,
)
def test_json_is_json_whatever_comes_out(queue: Path, words: tuple[str, ...]) -> None:
    result = run(*words, "--json", "--config", queue)

    assert isinstance(json.loads(result.stdout), dict | list)
    assert "\x1b" not in result.stdout


def test_a_list_in_a_pipe_is_plain(queue: Path) -> None:
    assert run("queue", "list", "-c", queue).stdout == "1\tqueued\ttv\ta.ts\t5 B\t\n"
    assert run("queue", "list", "-c", queue, "--state", "done").stdout == ""


def test_the_version() -> None:
    assert run("--version").stdout == f"{__version__}\n"


def test_settings_that_are_wrong(config: Path, tmp_path: Path) -> None:
    """A typing error names the key that was meant; so does a file that is not there, or no TOML."""
    good = config.read_text("utf-8")
    config.write_text(good.replace("preset", "presett"), encoding="utf-8")
    assert "Did you mean preset?" in told(run("config", "check", "-c", config), ExitCode.SETTINGS)
    assert "Did you mean preset?" in told(run("run", "-c", config), ExitCode.SETTINGS)
    assert "Did you mean preset?" in told(run("check", "-c", config), ExitCode.SETTINGS)
    config.write_text("this is not TOML", encoding="utf-8")
    assert "cannot be read" in told(run("status", "-c", config), ExitCode.SETTINGS)
    assert "There is no settings file" in told(run("queue", "list", "-c", tmp_path / "gone.toml"), ExitCode.SETTINGS)


@pytest.mark.parametrize(
    "words",
    [
        ("queue", "list"),
        ("queue", "show", "1"),
        ("queue", "cancel", "1"),
        ("queue", "pause"),
        ("queue", "add", "input/a.ts"),
    ],
    ids=" ".join,
)
def test_before_the_daemon_ever_ran(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """No command makes the database: that is the daemon's."""
    (tmp_path / "input" / "a.ts").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)

    assert "has never run here" in told(run(*words, "-c", config), ExitCode.DATABASE)
    assert not (tmp_path / "state").exists()


def test_status_and_logs_before_the_daemon_ever_ran(config: Path) -> None:
    status = run("status", "-c", config)

    assert status.exit_code == 1
    assert status.stdout == "encoderd does not run: it never ran with this state folder\n"
    assert run("logs", "-c", config).stdout == ""
    assert "Job 7 has no log" in told(run("logs", "7", "-c", config), ExitCode.FAILED)


def test_a_status_file_that_nobody_can_read(config: Path, tmp_path: Path) -> None:
    """Half a file, or another program's: the daemon is taken as one that never spoke."""
    (tmp_path / "state").mkdir()
    for text in ("", "{", "[]", '{"pid": "x"}', '{"status": 3, "pid": 1}', "\x00\xff"):
        (tmp_path / "state" / "status.json").write_text(text, encoding="latin-1")
        assert run("status", "-c", config).stdout.startswith("encoderd does not run")


def test_jobs_that_are_not_there(queue: Path) -> None:
    """One that refuses does not keep the others from being done."""
    for words in (
        ("show", "7"),
        ("cancel", "7"),
        ("retry", "7"),
        ("priority", "7", "1"),
        ("show", "99999999999999999999"),
    ):
        assert "There is no job" in told(run("queue", *words, "-c", queue), ExitCode.FAILED)
    assert "out of range" in told(run("queue", "priority", "1", "99999999", "-c", queue), ExitCode.FAILED)
    both = run("queue", "cancel", "7", "1", "-c", queue)
    assert "There is no job 7" in told(both, ExitCode.FAILED)
    assert both.stdout == "job 1 is cancelled\n"
    assert "A job that is cancelled" in told(run("queue", "cancel", "1", "-c", queue), ExitCode.FAILED)
    assert "a priority would change nothing" in told(run("queue", "priority", "1", "2", "-c", queue), ExitCode.FAILED)


def test_adding_what_cannot_be_added(queue: Path, tmp_path: Path) -> None:
    """A file outside of the watch folders (links are followed), one that is not there, one that is no file."""
    outside = tmp_path / "b.ts"
    outside.write_bytes(b"x")
    (tmp_path / "input" / "link.ts").symlink_to(outside)
    os.mkfifo(tmp_path / "input" / "fifo.ts")

    def refused(path: Path) -> str:
        return told(run("queue", "add", path, "-c", queue), ExitCode.SETTINGS)

    assert "is in no watch folder" in refused(outside)
    assert "is in no watch folder" in refused(tmp_path / "input" / "link.ts")
    assert "does not exist" in refused(tmp_path / "input" / "gone.ts")
    assert "is no regular file" in refused(tmp_path / "input" / "fifo.ts")
    assert "is no regular file" in refused(tmp_path / "input")


def test_usage_errors_are_settings_errors(queue: Path) -> None:
    for words in (("queue", "show", "x"), ("queue", "list", "--state", "dnoe"), ("nonsense",), ("run", "--wat")):
        result = run(*words)
        assert result.exit_code == ExitCode.SETTINGS
        assert "Traceback" not in result.stderr
        assert result.stderr


def test_the_settings_as_they_are_in_force(config: Path) -> None:
    """TOML that can be read back, and JSON, both with each folder's own encode section."""
    import tomllib

    shown = tomllib.loads(run("config", "show", "-c", config).stdout)
    as_json = json.loads(run("config", "show", "--json", "-c", config).stdout)

    assert shown["encode"]["preset"] == "veryfast"
    assert shown["watch"][0]["encode"] == {"quality": 30}
    assert as_json["watch"][0]["encode"]["quality"] == 30
    assert as_json["watch"][0]["encode"]["preset"] == "veryfast"
    assert "1 watch folder" in run("config", "check", "-c", config).stdout


def test_completion_can_be_had() -> None:
    """Typer finds out the shell from the parent process; bash is asked for by its name."""
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [*CLI, "--show-completion", "bash"], capture_output=True, text=True, env=environment, timeout=30, check=False
    )

    assert done.returncode == 0
    assert "complete" in done.stdout


def test_a_reader_that_goes_away(queue: Path) -> None:
    """`encoderd queue list | head -1` says nothing on stderr."""
    with Store.open(queue.parent / "state" / "queue.db", busy_timeout_s=5) as store:
        store.add_many(
            [Candidate(watch="tv", relative_path=f"{i}.ts", size_bytes=i, mtime_ns=i) for i in range(1, 3000)], now=1.0
        )
    listing = f"'{sys.executable}' -m encoderd queue list -n 3000 -c '{queue}' | head -n 1"
    done = subprocess.run(["sh", "-c", listing], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_defect_of_ours_is_told_as_one(queue: Path) -> None:
    """With the traceback that a report needs, and an exit code of its own."""
    program = (
        "import sys; from encoderd import cli; from encoderd.queue.store import Store\n"
        "Store.counts = Store.jobs = lambda *a, **k: 1 / 0\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "queue", "list", "-c", str(queue)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert done.returncode == ExitCode.INTERNAL
    assert "ZeroDivisionError" in done.stderr
    assert "Report it" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_may_not_read_the_state(queue: Path) -> None:
    """It is said so, and not that the daemon never ran."""
    (queue.parent / "state").chmod(0o700)
    (queue.parent / "state" / "status.json").write_text("{}")
    for folder in (queue.parent, *queue.parents[1:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    program = "import os, tomllib; from encoderd import cli; os.setgid(65534); os.setuid(65534); cli.main()"
    for words in (("status",), ("logs",), ("logs", "1")):
        done = subprocess.run(
            [sys.executable, "-c", program, *words, "-c", str(queue)],
            capture_output=True, text=True, timeout=30, check=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "may not be used by this user" in done.stderr
        assert "sudo -u encoderd" in done.stderr
