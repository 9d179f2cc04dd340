"""The `encoderd-host` command, for the hypervisor that owns the GPU."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from encoderd import __version__
from encoderd.errors import EncoderdError, ExitCode, SettingsError
from encoderd.findings import Verdict, as_lines, blocking
from encoderd.host.checks import host_findings
from encoderd.host.facts import gather

_COLOURS = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"encoderd-host {__version__}")
        raise typer.Exit


@app.callback()
def encoderd_host(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """
    The helper for the host: is this machine fit to give its Intel GPU to the guest that runs encoderd?

    This version only looks (check). Taking the GPU from the host, giving it back and starting the guest (take, give,
    boot) are not in it yet: do that with your hypervisor's own tools.
    """


@app.command()
def check(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    root: Annotated[
        Path, typer.Option("--root", help="Judge a machine recorded below this folder; /dev/kvm is not tried then.")
    ] = Path("/"),
) -> None:
    """
    Say whether the GPU can be given to a guest, and what to do where it cannot.

    Changes nothing. Exit code: 0 when nothing fails, 1 when a check fails.
    """
    if not root.is_dir():
        raise SettingsError(
            f"There is no folder {root}.", remedy="Name one that holds proc and sys, or leave --root out."
        )
    findings = host_findings(gather(root))
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=2))
    for finding, line in zip(findings, as_lines(findings), strict=True) if not as_json else ():
        coloured = sys.stdout.isatty()
        typer.echo(typer.style(line[0], fg=_COLOURS[finding.verdict]) + line[1:] if coloured else line)
    raise typer.Exit(ExitCode.FAILED if blocking(findings) else ExitCode.OK)


def main() -> None:
    """Run the command; what a person can repair is told in two lines and never as a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # sysfs names and paths may hold any byte
    try:
        app()
    except EncoderdError as error:
        print(f"encoderd-host: {error.message}\n  → {error.remedy}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
