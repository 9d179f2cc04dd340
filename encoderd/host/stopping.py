"""
End a VM: ask nicely, press the button, pull the plug. One rung after the other, each with its limit.

With `-action shutdown=pause` a guest that powers off leaves QEMU standing; QEMU is then told to quit. Devices may be
given back only when the process has ended: before, the kernel would block the one who tries.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from encoderd.host.agent import Agent, AgentError
from encoderd.host.qmp import Qmp, QmpError, QmpGone, QmpSilent
from encoderd.host.settings import LimitSettings

#: How long the agent may take to come into step; a guest under load needs a second or two.
_AGENT_SYNC_S = 5.0
_COMMAND_S = 5.0


class Rung(StrEnum):
    AGENT = "agent"  #: the guest's agent is asked to power off
    POWERDOWN = "powerdown"  #: the ACPI power button is pressed
    QUIT = "quit"  #: QEMU is told to end, over QMP
    TERMINATE = "SIGTERM"
    KILL = "SIGKILL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A rung, and how long it may take until the next one follows."""

    rung: Rung
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """How it went: whether QEMU's process has `ended`, and by which rung; None when it was gone before."""

    ended: bool
    by: Rung | None
    guest_powered_off: bool
    took_s: float


class Stoppable(Protocol):
    """What the ladder needs of a QEMU, be it our child or one that an earlier helper left behind."""

    qmp: Qmp | None

    async def ended(self, limit_s: float) -> bool: ...

    async def guest_down(self, limit_s: float) -> bool:
        """Wait until the guest has powered off, or QEMU has ended."""
        ...

    def send_signal(self, number: int) -> None: ...


def plan(limits: LimitSettings, *, devices: int, guest_runs: bool, has_agent: bool) -> tuple[Step, ...]:
    """
    Return the rungs in order.

    A guest that does not run (never started, paused, panicked) hears neither agent nor button. `devices` are those
    passed through: the kernel needs time to free each. The numbers are libvirt's and Proxmox's, see `LimitSettings`.
    """
    more_s = devices * limits.per_device_s
    asking = [Step(rung=Rung.POWERDOWN, limit_s=limits.powerdown_s)] * 2  # a first press may only wake the guest
    if has_agent:
        asking.insert(0, Step(rung=Rung.AGENT, limit_s=limits.shutdown_s))
    return (
        *(asking if guest_runs else []),
        Step(rung=Rung.QUIT, limit_s=limits.quit_s + more_s),
        Step(rung=Rung.TERMINATE, limit_s=limits.terminate_s + more_s),
        Step(rung=Rung.KILL, limit_s=limits.kill_s + more_s),
    )


def longest_s(limits: LimitSettings, *, devices: int) -> float:
    """Return how long the ladder can take at most, from the first rung to the last."""
    steps = plan(limits, devices=devices, guest_runs=True, has_agent=True)
    return sum(step.limit_s for step in steps) + _AGENT_SYNC_S + _COMMAND_S * len(steps)


async def stop(
    machine: Stoppable, steps: tuple[Step, ...], agent_socket: Path, report: Callable[[str], None]
) -> Stopped:
    """Climb the ladder until QEMU's process has ended. Each rung is reported in one line; nothing is raised."""
    clock = asyncio.get_running_loop().time
    began_s = clock()
    guest_off = False
    if await machine.ended(0):
        return Stopped(ended=True, by=None, guest_powered_off=False, took_s=0.0)
    for step in steps:
        asks_guest = step.rung in {Rung.AGENT, Rung.POWERDOWN}
        if asks_guest and guest_off:
            continue
        trouble = await _climb(machine, step, agent_socket)
        if trouble is not None:
            report(f"{step.rung}: {trouble}")
            if not await machine.ended(0):
                continue
        else:
            report(f"{step.rung}: waiting up to {step.limit_s:g} s")
        if asks_guest and await machine.guest_down(step.limit_s):
            guest_off = True
            report(f"{step.rung}: the guest is off")
        if await machine.ended(0 if asks_guest else step.limit_s):
            report(f"{step.rung}: QEMU has ended")
            return Stopped(ended=True, by=step.rung, guest_powered_off=guest_off, took_s=clock() - began_s)
        if not guest_off or not asks_guest:
            report(f"{step.rung}: no effect within {step.limit_s:g} s")
    return Stopped(ended=False, by=None, guest_powered_off=guest_off, took_s=clock() - began_s)


async def _climb(machine: Stoppable, step: Step, agent_socket: Path) -> str | None:
    """Do what the rung is; returns why it could not be done, None when it was."""
    try:
        match step.rung:
            case Rung.AGENT:
                async with Agent.connect(agent_socket, min(_AGENT_SYNC_S, step.limit_s)) as agent:
                    await agent.shut_down()
            case Rung.POWERDOWN | Rung.QUIT:
                if machine.qmp is None:
                    return "QEMU cannot be talked to"
                command = "quit" if step.rung is Rung.QUIT else "system_powerdown"
                await machine.qmp.execute(command, limit_s=min(_COMMAND_S, step.limit_s))
            case Rung.TERMINATE:
                machine.send_signal(signal.SIGTERM)
            case Rung.KILL:
                machine.send_signal(signal.SIGKILL)
    except QmpGone:
        return None if step.rung is Rung.QUIT else "QEMU has ended the talk"
    except QmpSilent as error:
        machine.qmp = None  # it hangs: further questions would only cost their limits
        return error.message
    except (AgentError, QmpError) as error:
        return error.message
    return None
