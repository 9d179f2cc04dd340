"""How the command line speaks: tables on a terminal, plain lines in a pipe, JSON where it is asked for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from encoderd.errors import EncoderdError, ExitCode
from encoderd.findings import MARKS, Finding, Verdict, as_lines
from encoderd.jobs import readable
from encoderd.logs import configure
from encoderd.settings import DEFAULT_FILE, Settings, load

P = ParamSpec("P")
R = TypeVar("R")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help=f"Settings file. [default: {DEFAULT_FILE} if it exists]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_COLOURS = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}


def settings_of(config: Path | None, arguments: dict[str, Any] | None = None) -> Settings:
    """Load the settings a command works with, and let its own log lines go to standard error."""
    settings = load(file_of(config), arguments)
    configure("warning", "console" if sys.stderr.isatty() else "json", stream=sys.stderr)
    return settings


def file_of(config: Path | None) -> Path | None:
    if config is not None:
        return config
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """Turn every error a user can cause into message, remedy and exit code; never a traceback."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except EncoderdError as error:
            complain(error.message, error.remedy)
            raise typer.Exit(int(error.exit_code)) from error
        except BrokenPipeError:  # its reader went away, as `head` does; what is left cannot be said to anyone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(int(ExitCode.FAILED)) from None
        except OSError as error:
            complain(*_what_failed(error))
            raise typer.Exit(int(ExitCode.FAILED)) from error

    return guarded


def _what_failed(error: OSError) -> tuple[str, str]:
    where = readable(str(error.filename)) if error.filename is not None else "a file"
    if isinstance(error, PermissionError):
        return f"{where} may not be used by this user.", "Run it as root or as the service's user: sudo -u encoderd …"
    return f"{where}: {error.strerror or error}.", "Look at that path, and at the disk it is on: dmesg | tail"


def complain(message: str, remedy: str) -> None:
    """Say what happened and what to do on standard error."""
    typer.echo(f"encoderd: {message}\n  → {remedy}", err=True)


def say_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Print rows as a table on a terminal, as tab-separated lines in a pipe (without headings, for cut and awk)."""
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(map(readable, row)))
        return
    if not rows:
        typer.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*(_plain_text(cell) for cell in row))
    Console().print(shown)


def show_findings(findings: Sequence[Finding]) -> None:
    """A table on a terminal: mark, check, evidence with its remedy below; in a pipe one line per finding."""
    if not sys.stdout.isatty():
        for line in as_lines(findings):
            typer.echo(line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, show_header=False, pad_edge=False)
    for options in ({}, {"no_wrap": True}, {"overflow": "fold"}):
        shown.add_column(**options)
    for finding in findings:
        text = Text(finding.evidence)
        if finding.remedy:
            text.append(f"\n→ {finding.remedy}", style="bold" if finding.verdict is Verdict.FAIL else "")
        shown.add_row(Text(MARKS[finding.verdict], style=_COLOURS[finding.verdict]), Text(finding.check), text)
    Console().print(shown)


def _plain_text(cell: str) -> Any:
    from rich.text import Text

    return Text(cell)


def size(size_bytes: float) -> str:
    """Return a size as people read it: 1.9 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.2f} GiB"


def span(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
