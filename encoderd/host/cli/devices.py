"""Commands that hand the devices over: take and give."""

from __future__ import annotations

from typing import Annotated

import typer

from encoderd.host.binding import Step, describe
from encoderd.host.cli.output import ConfigOption, complain, explained, say, settings_of, show_findings
from encoderd.host.handover import HandoverRefused
from encoderd.host.preparation import Preparation

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only print what would be written.")]


@explained
def take(config: ConfigOption = None, dry_run: DryRunOption = False) -> None:
    """
    Hand the GPU, and the other devices of the settings, to vfio-pci; nothing is written where a check forbids it.

    Can be repeated: what is taken stays so. Exit code: 0 when all are taken, 1 when not.
    """
    try:
        result = Preparation(settings_of(config)).take(dry_run=dry_run, report=say)
    except HandoverRefused as refused:
        show_findings(refused.findings)
        raise
    _steps(result.steps, dry_run=dry_run)
    for note in result.notes:
        say(note)
    if result.taken:
        say(f"taken: {', '.join(map(str, result.taken))}")


@explained
def give(
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    all_of_them: Annotated[
        bool, typer.Option("--all", help="Also what gpu.after = keep-vfio leaves with vfio-pci.")
    ] = False,
) -> None:
    """
    Give the devices back to the drivers they had; also after a crash in the middle of take.

    Can be repeated. Refused while a VM uses them. Exit code: 0 when nothing is left to give, 1 when a device is.
    """
    result = Preparation(settings_of(config)).give(dry_run=dry_run, even_if_kept=all_of_them, report=say)
    _steps(result.steps, dry_run=dry_run)
    for note in result.notes:
        say(note)
    if result.given:
        say(f"given back: {', '.join(map(str, result.given))}")
    if result.trouble:
        complain(
            result.trouble, 'If this happens each time: gpu.after = "keep-vfio", and restart the host for its use.'
        )


def _steps(steps: tuple[Step, ...], *, dry_run: bool) -> None:
    for step in steps if dry_run else ():
        say(describe(step))
