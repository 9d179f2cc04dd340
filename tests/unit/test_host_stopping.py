"""The ladder: which rungs, in which order, each with its limit; and how it is climbed, on a QEMU made of values."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from encoderd.host.qmp import QmpGone, QmpSilent
from encoderd.host.settings import LimitSettings
from encoderd.host.stopping import Rung, Step, Stopped, longest_s, plan, stop

LIMITS = LimitSettings()


@pytest.mark.parametrize(
    ("devices", "guest_runs", "has_agent", "expected"),
    [
        (0, True, True, [("agent", 60), *[("powerdown", 30)] * 2, ("quit", 10), ("SIGTERM", 10), ("SIGKILL", 30)]),
        (3, True, False, [("powerdown", 30), ("powerdown", 30), ("quit", 16), ("SIGTERM", 16), ("SIGKILL", 36)]),
        (1, False, True, [("quit", 12), ("SIGTERM", 12), ("SIGKILL", 32)]),
    ],
)  # fmt: skip
def test_the_rungs(devices: int, guest_runs: bool, has_agent: bool, expected: list[tuple[str, float]]) -> None:
    steps = plan(LIMITS, devices=devices, guest_runs=guest_runs, has_agent=has_agent)

    assert expected == [(str(step.rung), step.limit_s) for step in steps]


def test_the_longest_way_covers_every_rung() -> None:
    steps = plan(LIMITS, devices=4, guest_runs=True, has_agent=True)

    assert longest_s(LIMITS, devices=4) >= sum(step.limit_s for step in steps)


class Talk:
    """QMP of a machine; notes what it is told."""

    def __init__(self, machine: Paper) -> None:
        self._machine = machine

    async def execute(self, command: str, limit_s: float) -> None:
        self._machine.heard(command)
        if self._machine.hangs:
            raise QmpSilent("it hangs", remedy="-")
        if self._machine.alive is False:
            raise QmpGone("it ended", remedy="-")


class Paper:
    """A QEMU on paper: it ends by the commands and signals in `ends_by`, its guest is off after those in `off_by`."""

    def __init__(
        self, *, ends_by: tuple[object, ...] = (), off_by: tuple[object, ...] = (), hangs: bool = False
    ) -> None:
        self.told: list[object] = []
        self.ends_by, self.off_by, self.hangs = ends_by, off_by, hangs
        self.alive, self.guest_on = True, True
        self.qmp: Any = Talk(self)

    def heard(self, word: object) -> None:
        self.told.append(word)
        if not self.hangs or not isinstance(word, str):
            self.alive = self.alive and word not in self.ends_by
            self.guest_on = self.guest_on and self.told.count(word) <= (2 if word not in self.off_by else 0)

    async def ended(self, limit_s: float) -> bool:
        return not self.alive

    async def guest_down(self, limit_s: float) -> bool:
        return not self.guest_on or not self.alive

    def send_signal(self, number: int) -> None:
        self.heard(int(number))


def climbed(machine: Paper, folder: Path) -> tuple[Stopped, list[str]]:
    told: list[str] = []
    steps = plan(LIMITS, devices=0, guest_runs=True, has_agent=False)
    return asyncio.run(stop(machine, steps, folder / "agent.sock", told.append)), told


@pytest.mark.parametrize(
    ("machine", "by", "guest_off", "heard"),
    [
        (Paper(off_by=("system_powerdown",), ends_by=("quit",)), Rung.QUIT, True, ["system_powerdown", "quit"]),
        (Paper(ends_by=("system_powerdown",)), Rung.POWERDOWN, True, ["system_powerdown"]),
        (Paper(ends_by=("quit",)), Rung.QUIT, False, ["system_powerdown"] * 2 + ["quit"]),
        (Paper(ends_by=(15,)), Rung.TERMINATE, False, ["system_powerdown"] * 2 + ["quit", 15]),
        (Paper(ends_by=(9,)), Rung.KILL, False, ["system_powerdown"] * 2 + ["quit", 15, 9]),
        (Paper(), None, False, ["system_powerdown"] * 2 + ["quit", 15, 9]),
        (Paper(ends_by=(15,), hangs=True), Rung.TERMINATE, False, ["system_powerdown", 15]),
    ],
)
def test_it_is_climbed_until_qemu_has_ended(
    machine: Paper, by: Rung | None, guest_off: bool, heard: list[object], tmp_path: Path
) -> None:
    """One that hangs is asked once; one that outlives SIGKILL is said to live."""
    stopped, _ = climbed(machine, tmp_path)

    assert (by is not None, by, guest_off) == (stopped.ended, stopped.by, stopped.guest_powered_off)
    assert heard == machine.told


def test_one_that_has_ended_is_left_alone(tmp_path: Path) -> None:
    machine = Paper()
    machine.alive = False

    stopped, told = climbed(machine, tmp_path)

    assert (True, None, [], []) == (stopped.ended, stopped.by, machine.told, told)


def test_every_rung_is_reported(tmp_path: Path) -> None:
    _, told = climbed(Paper(ends_by=(15,)), tmp_path)

    assert [
        "powerdown: waiting up to 30 s", "powerdown: no effect within 30 s",
        "powerdown: waiting up to 30 s", "powerdown: no effect within 30 s",
        "quit: waiting up to 10 s", "quit: no effect within 10 s",
        "SIGTERM: waiting up to 10 s", "SIGTERM: QEMU has ended",
    ] == told  # fmt: skip


def test_no_agent_costs_no_more_than_its_greeting(tmp_path: Path) -> None:
    told: list[str] = []
    steps = (Step(rung=Rung.AGENT, limit_s=60), Step(rung=Rung.QUIT, limit_s=1))

    stopped = asyncio.run(stop(Paper(ends_by=("quit",)), steps, tmp_path / "none.sock", told.append))

    assert Rung.QUIT is stopped.by
    assert told[0].startswith("agent: The guest agent's socket")
