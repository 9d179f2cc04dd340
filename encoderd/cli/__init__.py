"""The `encoderd` command. Talks to the daemon through the database and the state folder."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from encoderd import __version__
from encoderd.cli import checking, configuration, encoding, jobs, service
from encoderd.errors import ExitCode

app = typer.Typer(
    name="encoderd",
    help="Encode television recordings to proven H.264 files on Intel Quick Sync.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(service.run)
app.command()(checking.check)
app.command()(service.status)
app.add_typer(jobs.app, name="queue")
app.command()(encoding.encode)
app.command()(service.logs)
app.add_typer(configuration.app, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; the exit codes are those of `errors.ExitCode`."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.FAILED))
