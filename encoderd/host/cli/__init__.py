"""The `encoderd-host` command, for the hypervisor that owns the GPU."""

from __future__ import annotations

import io
import sys
import traceback
from typing import Annotated

import typer

from encoderd import __version__
from encoderd.errors import ExitCode
from encoderd.host.cli import devices, looking, vm
from encoderd.host.cli.output import complain

app = typer.Typer(
    name="encoderd-host",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(looking.check)
app.command()(looking.argv)
app.command()(devices.take)
app.command()(devices.give)
app.command()(vm.boot)
app.command()(vm.status)
app.command()(vm.wait)
app.command()(vm.stop)
app.command()(vm.console)
app.command()(looking.collect)
app.add_typer(looking.config_app, name="config")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"encoderd-host {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Check the host, hand its Intel GPU to the guest that runs encoderd, boot the guest, and give the GPU back."""


def main() -> None:
    """Run the command line; the exit codes are those of `errors.ExitCode`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # sysfs names and paths may hold any byte
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.FAILED))
    except Exception as error:  # noqa: BLE001 - the last door: a defect of ours, with all that its report needs
        traceback.print_exc()
        complain(f"A defect of encoderd-host: {type(error).__name__}: {error}", "Report it with the lines above.")
        sys.exit(int(ExitCode.INTERNAL))
