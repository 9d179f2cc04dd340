"""Commands on the running VM: boot, status, wait, stop, console."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

from encoderd.errors import ExitCode
from encoderd.findings import blocking
from encoderd.host.boot import boot as boot_vm
from encoderd.host.cli.output import ConfigOption, JsonOption, explained, say, say_json, settings_of, show_findings
from encoderd.host.console import attach_console
from encoderd.host.preparation import Preparation
from encoderd.host.state import RunState
from encoderd.host.status import Goal, VmStatus, guest_findings, look, wait_for
from encoderd.host.stop_request import request_stop


@explained
def boot(config: ConfigOption = None) -> None:
    """
    Check, take the devices, boot the VM, watch it, and give the devices back when it has ended.

    Stays in the foreground: this is what encoderd-vm.service runs. Ctrl-C and SIGTERM shut the guest down.
    """
    preparation = Preparation(settings_of(config))
    raise typer.Exit(int(boot_vm(preparation.settings, preparation.deeds(say), report=say)))


@explained
def status(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    guest: Annotated[bool, typer.Option("--guest", help="Also run encoderd check inside the guest.")] = False,
) -> None:
    """
    Say where the VM and its devices stand, as the kernel sees it, and what the guest's daemon tells.

    Exit code: 1 when something has failed, or a check in the guest does.
    """
    preparation = Preparation(settings_of(config))
    found = look(preparation.kernel.root, preparation.settings, standing=preparation.standing)
    inside = guest_findings(preparation.settings) if guest else []
    if as_json:
        say_json({**found.as_json(), **({"guest": [one.as_json() for one in inside]} if guest else {})})
    else:
        for line in _lines(found):
            typer.echo(line)
        show_findings(inside)
    raise typer.Exit(int(ExitCode.FAILED if found.state is RunState.FAILED or blocking(inside) else ExitCode.OK))


def _lines(found: VmStatus) -> list[str]:
    since = "" if found.since is None else f", since {datetime.fromtimestamp(found.since):%Y-%m-%d %H:%M:%S}"
    lines = [f"{found.state}: {found.message}{since}"]
    if found.remedy:
        lines.append(f"  → {found.remedy}")
    if found.qemu_pid is not None:
        lines.append(f"QEMU: PID {found.qemu_pid}; helper: PID {found.helper_pid or 'none'}")
    if found.health is not None:
        told = found.health
        lines.append(f"guest: {told.get('status', '')}")
        lines.append(
            f"  gate {told.get('gate')}, {told.get('render_node') or 'no render node'}, "
            f"{told.get('runtime') or 'no runtime'}, {told.get('queued')} queued, encoderd {told.get('version')}"
        )
    for device in found.devices:
        lines.append(f"{device.address}: {device.word}, driver {device.driver or 'none'}")
        if device.remedy:
            lines.append(f"  → {device.remedy}")
    return lines


@explained
def wait(
    goal: Annotated[Goal, typer.Option("--for", help="What to wait for.")],
    config: ConfigOption = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait at most.")] = 300.0,
) -> None:
    """Wait until the guest is healthy, its agent answers, or the VM is off; exit code 1 when that did not come."""
    preparation = Preparation(settings_of(config))
    wait_for(
        goal,
        lambda: look(preparation.kernel.root, preparation.settings, standing=preparation.standing),
        timeout_s,
        report=lambda found: say(f"{found.state}: {found.message}"),
    )


@explained
def stop(config: ConfigOption = None) -> None:
    """Shut the guest down, with more force step by step, and give the devices back; returns when all that is done."""
    preparation = Preparation(settings_of(config))
    request_stop(
        preparation.settings,
        give=lambda: _give(preparation),
        devices=len(preparation.standing()),
        report=say,
    )


def _give(preparation: Preparation) -> None:
    for note in preparation.give(report=say).notes:
        say(note)


@explained
def console(config: ConfigOption = None) -> None:
    """Use the guest's serial console; Ctrl-] leaves it."""
    settings = settings_of(config)
    typer.echo("Ctrl-] leaves this console.", err=True)
    attach_console(settings.run_folder / "serial.sock", sys.stdin.fileno(), sys.stdout.fileno())
