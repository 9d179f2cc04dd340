"""The `encoderd-host` command, for the hypervisor that owns the GPU."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from encoderd import __version__
from encoderd.errors import EncoderdError, ExitCode, SettingsError
from encoderd.findings import Finding, Verdict, blocking
from encoderd.host.checks import host_findings
from encoderd.host.facts import gather

_MARKS = {Verdict.PASS: Text("✔", "green"), Verdict.WARN: Text("!", "yellow"), Verdict.FAIL: Text("✘", "bold red")}

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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
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
        print(json.dumps({"ok": not blocking(findings), "findings": [finding.as_json() for finding in findings]}))
    elif sys.stdout.isatty():
        Console().print(as_table(findings))
    else:
        print("\n".join(as_lines(findings)))
    raise typer.Exit(ExitCode.FAILED if blocking(findings) else ExitCode.OK)


def as_table(findings: list[Finding]) -> Table:
    """Return the findings as a table for a terminal."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in findings:
        told = Text(finding.evidence)
        if finding.remedy:
            told.append(f"\n→ {finding.remedy}", "bold")
        table.add_row(_MARKS[finding.verdict], Text(finding.check), told)
    return table


def as_lines(findings: list[Finding]) -> list[str]:
    """Return the findings as plain lines; a remedy stands below its finding."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict.upper():4}  {finding.check:{width}}  {finding.evidence}")
        if finding.remedy:
            lines.append(f"{'':4}  {'':{width}}  -> {finding.remedy}")
    return lines


def main() -> None:
    """Run the command; what a person can repair is told in two lines and never as a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # sysfs names and paths may hold any byte
    try:
        app()
    except EncoderdError as error:
        print(f"encoderd-host: {error.message}\n  -> {error.remedy}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
