"""
Where the VM stands, as another process sees it; and waiting until it stands somewhere.

state.json is only what the helper last said. Whether the helper lives, whether QEMU lives, and who drives the devices
is asked of the kernel every time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from encoderd.errors import EncoderdError
from encoderd.findings import Finding, Verdict
from encoderd.host.agent import Agent
from encoderd.host.health import printable
from encoderd.host.machine import attach
from encoderd.host.qmp import QmpError
from encoderd.host.run_folder import is_alive, qemu_of, read_state
from encoderd.host.settings import HostSettings
from encoderd.host.state import RunState, is_running
from encoderd.root import Root

_POLL_S = 0.25
_QMP_S = 2.0


class Standing(Protocol):
    """Where one device stands, as `handover.standing` tells it."""

    @property
    def address(self) -> object: ...
    @property
    def driver(self) -> str | None: ...
    @property
    def word(self) -> str: ...  # host, taken, half-taken, half-given, foreign, missing
    @property
    def remedy(self) -> str: ...


class Goal(StrEnum):
    """What one can wait for."""

    HEALTHY = "healthy"
    AGENT = "agent"  #: the agent answers, or more than that
    OFF = "off"  #: neither QEMU nor a helper runs


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    address: str
    driver: str | None
    word: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VmStatus:
    """
    Where the VM stands. `since` is seconds since the epoch, None when nobody wrote it down.

    `helper_pid` and `qemu_pid` are those that live, None otherwise; `remedy` is what to type, "" when all is well.
    """

    state: RunState
    message: str
    remedy: str
    since: float | None
    helper_pid: int | None
    qemu_pid: int | None
    lives: int
    health: dict[str, Any] | None
    devices: tuple[DeviceStatus, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "state": str(self.state), "message": self.message, "remedy": self.remedy, "since": self.since,
            "helper_pid": self.helper_pid, "qemu_pid": self.qemu_pid, "lives": self.lives, "health": self.health,
            "devices": [
                {"address": device.address, "driver": device.driver, "word": device.word, "remedy": device.remedy}
                for device in self.devices
            ],
        }  # fmt: skip


def look(
    root: Root, settings: HostSettings, *, standing: Callable[[], Sequence[Standing]] = tuple, live: bool = True
) -> VmStatus:
    """
    Say where the VM stands. Never raises for what it finds; `live=False` (a recorded host) asks no process.

    `standing` tells of the devices; without it nothing is said of them.
    """
    recorded = read_state(root, settings.run_folder)
    devices = tuple(
        DeviceStatus(address=str(one.address), driver=one.driver, word=str(one.word), remedy=one.remedy)
        for one in standing()
    )
    helper = recorded.pid if recorded is not None and is_alive(root, recorded.pid, recorded.pid_start) else None
    qemu = qemu_of(root, settings)
    found = VmStatus(
        state=RunState.READY,
        message="nothing runs",
        remedy="",
        since=recorded.since if recorded is not None else None,
        helper_pid=helper,
        qemu_pid=qemu[0] if qemu is not None else None,
        lives=recorded.lives if recorded is not None else 0,
        health=recorded.health if recorded is not None else None,
        devices=devices,
    )
    if recorded is not None and helper is not None:
        if is_running(recorded.state) and qemu is None:
            return replace(found, state=RunState.STOPPED, message="QEMU has just ended", health=None)
        return replace(found, state=recorded.state, message=recorded.message)
    found = replace(found, health=None)
    if qemu is not None and recorded is not None and recorded.pid == 0:
        remedy = "When nobody does so any more: encoderd-host stop"
        return replace(found, state=recorded.state, message=recorded.message, remedy=remedy)
    if qemu is not None:
        return _orphaned(found, qemu[0], settings, live=live)
    if recorded is not None and recorded.state is RunState.FAILED:
        message, _, remedy = recorded.message.partition(" → ")
        return _with_devices(replace(found, state=RunState.FAILED, message=message, remedy=remedy))
    if recorded is not None and recorded.state not in {RunState.READY, RunState.TAKEN}:
        found = replace(
            found,
            state=RunState.FAILED,
            message=f"the helper ended while it was {recorded.state}, without a word: was it killed?",
            remedy="Give the devices back: encoderd-host give; then start anew: systemctl start encoderd-vm",
        )
    return _with_devices(found)


def wait_for(
    goal: Goal,
    see: Callable[[], VmStatus],
    timeout_s: float,
    report: Callable[[VmStatus], None] = lambda _: None,
) -> VmStatus:
    """
    Wait until the VM stands at `goal`; `see` looks, `report` hears every change.

    Raises:
        EncoderdError: it did not come to that within `timeout_s`, or it cannot any more: nothing runs.
    """
    end_s = time.monotonic() + timeout_s
    told: tuple[RunState, str] | None = None
    while True:
        status = see()
        if (status.state, status.message) != told:
            told = (status.state, status.message)
            report(status)
        if _reached(goal, status):
            return status
        ended = status.helper_pid is None and status.qemu_pid is None
        if goal is not Goal.OFF and ended and status.state is RunState.FAILED:
            raise EncoderdError(f"The VM has failed: {status.message}", remedy=status.remedy or "encoderd-host status")
        if time.monotonic() >= end_s:
            raise EncoderdError(
                f"The VM is not {goal} after {timeout_s:g} s, but {status.state}: {status.message}",
                remedy=status.remedy or "See more: encoderd-host status",
            )
        time.sleep(_POLL_S)


def guest_findings(settings: HostSettings, limit_s: float = 60.0) -> list[Finding]:
    """
    Run `encoderd check --json` inside the guest, through its agent, and return what it found.

    Raises:
        AgentError: the agent cannot be used, or may not run programs.
        EncoderdError: the answer is not what encoderd writes: it is not installed there.
    """
    return asyncio.run(_guest_findings(settings.run_folder / "agent.sock", limit_s))


async def _guest_findings(socket: Path, limit_s: float) -> list[Finding]:
    async with Agent.connect(socket, 5.0) as agent:
        ran = await agent.run(["encoderd", "check", "--json"], limit_s)
    try:
        told = json.loads(ran.out)
        return [
            Finding(
                check=printable(str(one["check"])),
                verdict=Verdict(one["verdict"]),
                evidence=printable(str(one["evidence"])),
                remedy=printable(str(one.get("remedy") or "")),
            )
            for one in told
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = printable((ran.err or ran.out).decode("utf-8", "replace"))
        raise EncoderdError(
            f"encoderd check did not run in the guest (exit code {ran.code}): {said}",
            remedy="Install encoderd in the guest: make install, in its source.",
        ) from error


def _reached(goal: Goal, status: VmStatus) -> bool:
    match goal:
        case Goal.OFF:
            return status.qemu_pid is None and status.helper_pid is None
        case Goal.AGENT:
            return status.state in {RunState.AGENT, RunState.HEALTHY, RunState.DEGRADED}
        case Goal.HEALTHY:
            return status.state is RunState.HEALTHY


def _orphaned(found: VmStatus, pid: int, settings: HostSettings, *, live: bool) -> VmStatus:
    """QEMU without a helper: nobody watches it, and nobody gives its devices back."""
    how = asyncio.run(_asked_itself(pid, settings)) if live else ""
    return replace(
        found,
        state=RunState.FAILED,
        message=f"the helper is gone, and its QEMU (PID {pid}) still runs{how}",
        remedy="End it, and give its devices back: encoderd-host stop",
    )


async def _asked_itself(pid: int, settings: HostSettings) -> str:
    machine = await attach(pid, settings.run_folder / "qmp.sock", _QMP_S)
    if machine is None:
        return ""
    try:
        return f"; it says that it is {await machine.status()}"
    except QmpError:
        return "; it does not answer"
    finally:
        await machine.close()


def _with_devices(found: VmStatus) -> VmStatus:
    """Nothing runs: then the devices decide."""
    words = {device.word for device in found.devices}
    odd = [device for device in found.devices if device.word not in {"host", "taken"}]
    if found.state is RunState.FAILED or not words:
        return found
    if "missing" in words:
        state = RunState.ABSENT
    elif odd:
        state = RunState.FAILED
    else:
        state = RunState.TAKEN if "taken" in words else RunState.READY
    message = ", ".join(
        f"{device.address} is {device.word} (driver {device.driver or 'none'})" for device in found.devices
    )
    return replace(found, state=state, message=f"nothing runs; {message}", remedy=odd[0].remedy if odd else "")
