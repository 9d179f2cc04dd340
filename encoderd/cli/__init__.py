"""The `encoderd` command. Talks to the daemon through the database and the state folder."""

from __future__ import annotations

import io
import sys
import traceback
from typing import Annotated

import typer

from encoderd import __version__
from encoderd.cli import checking, configuration, encoding, jobs, service
from encoderd.cli.output import complain
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no name of a recording may end a command
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.FAILED))
    except Exception as error:  # noqa: BLE001 - the last door: a defect of ours, with all that its report needs
        traceback.print_exc()
        complain(f"A defect of encoderd: {type(error).__name__}: {error}", "Report it with the lines above.")
        sys.exit(int(ExitCode.INTERNAL))
