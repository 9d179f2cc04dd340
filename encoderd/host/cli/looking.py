"""Commands that change nothing: check, argv, collect, config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encoderd.errors import EncoderdError, ExitCode, SettingsError
from encoderd.findings import Finding, blocking
from encoderd.host.argv import format_lines
from encoderd.host.checks import host_findings
from encoderd.host.cli.output import (
    ConfigOption,
    JsonOption,
    complain,
    explained,
    file_of,
    say_json,
    settings_of,
    show_findings,
)
from encoderd.host.collect import collect as collect_host
from encoderd.host.collect import learnt_of
from encoderd.host.facts import HostFacts, gather
from encoderd.host.preparation import Preparation, command_line_of
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.replay import open_collected, with_learnt
from encoderd.host.settings import HostSettings
from encoderd.root import Root

config_app = typer.Typer(no_args_is_help=True, help="The settings as they are in force.")

RootOption = Annotated[
    Path | None, typer.Option("--root", help="Judge a recorded host: a file of collect, or a folder with proc and sys.")
]
PropertiesOption = Annotated[
    Path | None, typer.Option("--qemu-properties", help="Write it for another QEMU: a file of qemu-properties.")
]


@explained
def check(config: ConfigOption = None, as_json: JsonOption = False, root: RootOption = None) -> None:
    """
    Say whether the GPU can be given to the guest, and what to do where it cannot.

    Changes nothing. Exit code: 0 when nothing fails, 1 when a check fails.
    """
    findings = _findings(root, config)
    if as_json:
        say_json([finding.as_json() for finding in findings])
    else:
        show_findings(findings)
    raise typer.Exit(int(ExitCode.FAILED if blocking(findings) else ExitCode.OK))


def _findings(root: Path | None, config: Path | None) -> list[Finding]:
    if root is None:
        return Preparation(settings_of(config)).findings()
    return host_findings(*_recorded(root, config))


def _recorded(place: Path, config: Path | None) -> tuple[HostFacts, HostSettings]:
    """The facts of a recorded host, and the settings it had; where it has none, those that are in force here."""
    with open_collected(place) as recorded:
        settings = recorded.settings if recorded.settings is not None and config is None else settings_of(config)
        facts = gather(recorded.root, settings, live=False, qemu=recorded.qemu)
        return with_learnt(facts, recorded.learnt), settings


@explained
def argv(config: ConfigOption = None, root: RootOption = None, qemu_properties: PropertiesOption = None) -> None:
    """
    Print QEMU's command line, an option a line, as it can be pasted into a shell.

    What is unusual in it is explained on standard error.
    """
    qemu = None if qemu_properties is None else _properties(qemu_properties)
    if root is None:
        line = Preparation(settings_of(config)).command_line(qemu=qemu)
    else:
        with open_collected(root) as recorded:
            qemu = qemu or recorded.qemu
        if qemu is None:
            raise SettingsError(f"{root} does not say what its QEMU can do.", remedy="Add --qemu-properties FILE")
        facts, settings = _recorded(root, config)
        line = command_line_of(settings, qemu, facts)
    typer.echo(format_lines(line), nl=False)
    for note in line.notes:
        typer.echo(f"# {note}", err=True)


def _properties(file: Path) -> QemuProperties:
    try:
        return QemuProperties.from_json(file.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is no list of a QEMU's properties.", remedy="Name another file.") from error


@explained
def collect(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The new file, for example host.tar.gz.")],
    config: ConfigOption = None,
) -> None:
    """
    Write one file with a redacted copy of everything that check reads, to send along when asking for help.

    It holds no names, addresses or serial numbers; encoderd-host check --root FILE judges it anywhere.
    """
    preparation = Preparation(settings_of(config))
    try:
        qemu = preparation.qemu
    except EncoderdError:
        qemu = None  # its absence is told by the facts

    def live(root: Root) -> HostFacts:
        return gather(root, preparation.settings, live=True, qemu=qemu)

    written = collect_host(
        preparation.kernel.root, preparation.settings, target, gather=live, qemu=qemu, learnt=learnt_of
    )
    typer.echo(f"{written.path}: {written.entries} files and folders, {written.size_bytes / 1024:.0f} KiB")
    for note in written.notes:
        complain(note, "Run it as root.")


@config_app.command("show")
@explained
def show(config: ConfigOption = None) -> None:
    """Show every setting as it is in force, as JSON."""
    say_json(settings_of(config).model_dump(mode="json"))


@config_app.command("check")
@explained
def check_settings(config: ConfigOption = None) -> None:
    """Read the settings and say whether they are sound; the host itself is not looked at."""
    settings_of(config)
    typer.echo(f"{file_of(config) or 'defaults and the environment'}: sound")
