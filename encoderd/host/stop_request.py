"""End the VM from another process: through its helper while that lives, and without it when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from encoderd.errors import EncoderdError
from encoderd.host.machine import attach
from encoderd.host.qmp import QmpError
from encoderd.host.run_folder import boot_id, is_alive, locked, qemu_of, read_state, write_state
from encoderd.host.settings import HostSettings
from encoderd.host.state import Recorded, RunState
from encoderd.host.stopping import Stopped, longest_s, plan, stop
from encoderd.root import Root

_ROOT = Root(Path("/"))
_POLL_S = 0.2
#: What the helper needs beside the ladder, for the shares' daemons and its own end.
_SLACK_S = 15.0


def request_stop(
    settings: HostSettings,
    *,
    give: Callable[[], None],
    devices: int,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """
    End the VM, and return when it has ended and its devices were given back.

    While the helper lives it gets SIGTERM, once, and does all of it. When it is gone its QEMU is ended here, by the
    same ladder, and `give` gives the devices back; so it does when nothing runs at all, which costs nothing.

    Raises:
        VmRuns: a helper holds the VM and has not written down who it is.
        EncoderdError: it did not end.
    """
    recorded = read_state(_ROOT, settings.run_folder)
    if recorded is not None and is_alive(_ROOT, recorded.pid, recorded.pid_start):
        _through_helper(recorded, settings, devices, report)
        return
    with locked(settings):
        qemu = qemu_of(_ROOT, settings)
        if qemu is None:
            report("no QEMU of this VM runs")
        else:
            _note(settings, recorded, RunState.STOPPING, qemu)
            report(f"the helper is gone; ending its QEMU (PID {qemu[0]}) without it")
            stopped = asyncio.run(_without_helper(qemu[0], settings, devices, report))
            if not stopped.ended:
                raise EncoderdError(
                    f"QEMU (PID {qemu[0]}) does not end, not even by SIGKILL: the kernel holds it.",
                    remedy=f"See what it waits for: cat /proc/{qemu[0]}/stack; when it has ended: encoderd-host give",
                )
        if devices:
            report("giving the devices back")
        give()
        _note(settings, recorded, RunState.READY, None)


def _through_helper(recorded: Recorded, settings: HostSettings, devices: int, report: Callable[[str], None]) -> None:
    """SIGTERM to the very process that wrote state.json, then wait; its steps are read from there."""
    try:
        pidfd = os.pidfd_open(recorded.pid)
    except ProcessLookupError:
        return
    limit_s = longest_s(settings.limits, devices=devices) + settings.limits.give_s * max(devices, 1) + _SLACK_S
    if recorded.state in {RunState.TAKING, RunState.STARTING}:
        limit_s += settings.limits.take_s + settings.limits.qmp_s
    try:
        if not is_alive(_ROOT, recorded.pid, recorded.pid_start):  # the number may be another's by now
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        told, end_s = "", time.monotonic() + limit_s
        while not select.select([pidfd], [], [], _POLL_S)[0]:
            now = read_state(_ROOT, settings.run_folder)
            line = f"{now.state}: {now.message}" if now is not None else ""
            if line and line != told:
                told = line
                report(line)
            if time.monotonic() > end_s:
                raise EncoderdError(
                    f"The helper (PID {recorded.pid}) has not ended within {limit_s:.0f} s; it is at: {told}",
                    remedy="See what it does: encoderd-host status; journalctl -u encoderd-vm",
                )
    finally:
        os.close(pidfd)
    last = read_state(_ROOT, settings.run_folder)
    if last is not None and last.state is RunState.FAILED:
        message, _, remedy = last.message.partition(" → ")
        raise EncoderdError(f"The VM has ended, but: {message}", remedy=remedy or "encoderd-host status")


async def _without_helper(pid: int, settings: HostSettings, devices: int, report: Callable[[str], None]) -> Stopped:
    machine = await attach(pid, settings.run_folder / "qmp.sock")
    if machine is None:
        return Stopped(ended=True, by=None, guest_powered_off=False, took_s=0.0)
    runs = False
    with contextlib.suppress(QmpError):
        runs = await machine.status() == "running"
    steps = plan(settings.limits, devices=devices, guest_runs=runs, has_agent=settings.vm.guest_agent)
    try:
        return await stop(machine, steps, settings.run_folder / "agent.sock", report)
    finally:
        await machine.close()


def _note(settings: HostSettings, recorded: Recorded | None, state: RunState, qemu: tuple[int, int] | None) -> None:
    """Write down how far this is. No helper is named: SIGTERM to this process would end it in the middle."""
    pid, start = qemu if qemu is not None else (0, 0)
    write_state(
        settings.run_folder,
        Recorded(
            state=state,
            since=time.time(),
            pid=0,
            pid_start=0,
            boot_id=boot_id(_ROOT),
            qemu_pid=pid,
            qemu_start=start,
            addresses=recorded.addresses if recorded is not None else (),
            message="ended by encoderd-host stop" if state is RunState.READY else "stopping, without the helper",
            lives=recorded.lives if recorded is not None else 0,
        ),
    )
