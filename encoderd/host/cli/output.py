"""How `encoderd-host` speaks: findings and tables for people, JSON where it is asked for, never a traceback."""

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
from encoderd.findings import Finding, Verdict, as_lines
from encoderd.host.settings import DEFAULT_FILE, HostSettings, load

P = ParamSpec("P")
R = TypeVar("R")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help=f"Settings file. [default: {DEFAULT_FILE} if it exists]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_COLOURS = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}


def settings_of(config: Path | None) -> HostSettings:
    """Load the settings a command works with."""
    return load(file_of(config))


def file_of(config: Path | None) -> Path | None:
    if config is not None:
        return config
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """Turn every error a person can repair into message, remedy and exit code."""

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
            where = f"{error.filename}: " if error.filename is not None else ""
            remedy = "Run it as root." if isinstance(error, PermissionError) else "Look at that path: dmesg | tail"
            complain(f"{where}{error.strerror or error}.", remedy)
            raise typer.Exit(int(ExitCode.FAILED)) from error

    return guarded


def complain(message: str, remedy: str) -> None:
    """Say what happened and what to do on standard error."""
    typer.echo(f"encoderd-host: {message}\n  → {remedy}", err=True)


def say(line: str) -> None:
    """Print a line at once: a command that takes minutes is followed by people and by tools."""
    typer.echo(line)
    sys.stdout.flush()


def say_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


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
    for finding, line in zip(findings, as_lines(findings), strict=True):
        text = Text(finding.evidence)
        if finding.remedy:
            text.append(f"\n→ {finding.remedy}", style="bold" if finding.verdict is Verdict.FAIL else "")
        shown.add_row(Text(line[0], style=_COLOURS[finding.verdict]), Text(finding.check), text)
    Console().print(shown)
