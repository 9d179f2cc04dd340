"""
The foreground process of the unit: check → take → start → watch → stop → give.

Whatever happens in between, QEMU is ended before the devices are given back, and they are given back if they were
taken. SIGTERM and SIGINT begin the ladder of `stopping`; a second one changes nothing, because the devices of a host
whose helper ran away are nobody's.

systemd hears READY when the guest runs: what it starts after us may need the VM's disk or network, not the encoder,
and a guest whose daemon never becomes well must not be torn down by a start limit. STATUS tells each step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from encoderd.errors import EncoderdError, ExitCode
from encoderd.findings import Finding, blocking
from encoderd.host.health import Health
from encoderd.host.life import Ending, Life
from encoderd.host.machine import ExpectedDevice, LaunchFailed, Machine, launch
from encoderd.host.qmp import QmpError
from encoderd.host.run_folder import boot_id, locked, prepare, started_at, write_state
from encoderd.host.settings import HostSettings
from encoderd.host.share_daemons import ShareDaemon, ShareDaemons, share_daemons
from encoderd.host.state import Recorded, RunState
from encoderd.host.stopping import plan, stop
from encoderd.notify import Notifier
from encoderd.root import Root

#: More reboots than this within that time are a guest that cannot start; each costs the GPU a reset.
MOST_REBOOTS = 5
REBOOTS_WITHIN_S = 600.0

_TICK_S = 5.0
_DYING_S = 2.0
#: What systemd is asked for again at every tick while something may take long; a few ticks may be lost.
_EXTEND_S = 30.0
_LONG = {RunState.READY, RunState.TAKING, RunState.TAKEN, RunState.STARTING} | {
    RunState.STOPPING,
    RunState.STOPPED,
    RunState.GIVING,
}


class Explained(Protocol):
    """One line of QEMU's stderr; `cause` is "" where it is not understood."""

    @property
    def cause(self) -> str: ...
    @property
    def remedy(self) -> str: ...
    @property
    def harmless(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deeds:
    """
    What boot does with the host, handed in so that its course can be shown without a device.

    Each may take its time, and runs in a thread. `take` and `give` raise EncoderdError when they fail; `take` has put
    back then what it had changed. `argv`, `expected` and `share_daemons` are asked after `take`, before every start.
    """

    check: Callable[[], Sequence[Finding]]
    take: Callable[[], None]
    give: Callable[[], None]
    argv: Callable[[], Sequence[str]]
    expected: Callable[[], Sequence[ExpectedDevice]]
    share_daemons: Callable[[], Sequence[ShareDaemon]]
    explain: Callable[[str], Sequence[Explained]]
    addresses: tuple[str, ...] = ()


def boot(
    settings: HostSettings,
    deeds: Deeds,
    *,
    notifier: Notifier | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> ExitCode:
    """
    Run the VM until it ends, and give its devices back. `report` hears a line for every step.

    Returns OK when it was asked to stop, or when the guest powered itself off.

    Raises:
        VmRuns: another helper has this VM, or an earlier one's QEMU still runs. Nothing was touched.
        EncoderdError: a check failed, or a step did; what had been taken is given back, unless the message says not.
    """
    with locked(settings):
        prepare(settings)
        return asyncio.run(_Boot(settings, deeds, notifier or Notifier(), report).run())


class _Boot:
    def __init__(self, settings: HostSettings, deeds: Deeds, notifier: Notifier, report: Callable[[str], None]) -> None:
        root = Root(Path("/"))
        self._settings = settings
        self._deeds = deeds
        self._notifier = notifier
        self._report = report
        self._asked = asyncio.Event()
        self._reboots: deque[float] = deque()
        self._is_ready = False
        self._may_give = True
        self._recorded = Recorded(
            state=RunState.READY,
            since=time.time(),
            pid=os.getpid(),
            pid_start=started_at(root, os.getpid()),
            boot_id=boot_id(root),
            addresses=deeds.addresses,
        )

    async def run(self) -> ExitCode:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._ask)
        ticking = asyncio.create_task(self._tick())
        try:
            await self._whole()
        except EncoderdError as error:
            self._tell(RunState.FAILED, f"{error.message} → {error.remedy}")
            raise
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
        return ExitCode.OK

    def _ask(self) -> None:
        self._report("already stopping" if self._asked.is_set() else "asked to stop")
        self._asked.set()

    async def _whole(self) -> None:
        self._tell(RunState.READY, "checking the host")
        failing = blocking(await asyncio.to_thread(self._deeds.check))
        if failing:
            first, others = failing[0], len(failing) - 1
            more = f" ({others} more: encoderd-host check)" if others else ""
            raise EncoderdError(f"This host is not ready: {first.evidence}{more}", remedy=first.remedy)
        if self._deeds.addresses:
            self._tell(RunState.TAKING, f"taking {', '.join(self._deeds.addresses)}")
            await asyncio.to_thread(self._deeds.take)
            self._tell(RunState.TAKEN, "the devices are with vfio-pci")
        try:
            while not self._asked.is_set() and await self._life() is Ending.REBOOTED:
                self._count_reboot()
        finally:
            if self._may_give:
                await self._give()

    async def _give(self) -> None:
        if not self._deeds.addresses:
            self._tell(RunState.READY, "the VM has ended")
            return
        self._tell(RunState.GIVING, f"giving {', '.join(self._deeds.addresses)} back")
        await asyncio.to_thread(self._deeds.give)
        kept = self._settings.gpu.after == "keep-vfio"
        self._tell(RunState.TAKEN if kept else RunState.READY, "the VM has ended")

    def _count_reboot(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self._reboots.append(now_s)
        while now_s - self._reboots[0] > REBOOTS_WITHIN_S:
            self._reboots.popleft()
        if len(self._reboots) > MOST_REBOOTS and not self._asked.is_set():
            raise EncoderdError(
                f"The guest rebooted {len(self._reboots)} times within {REBOOTS_WITHIN_S / 60:.0f} minutes.",
                remedy=f"See why in {self._settings.run_folder / 'serial.log'}, then: systemctl start encoderd-vm",
            )

    async def _life(self) -> Ending:
        """Start QEMU, watch it, end it. Raises EncoderdError unless the guest or the operator wanted the end."""
        self._tell(RunState.STARTING, "starting QEMU")
        try:
            async with share_daemons(await asyncio.to_thread(self._deeds.share_daemons), self._settings) as daemons:
                machine = await self._launched()
                if machine is None:
                    return Ending.ASKED
                ending, error = Ending.ASKED, None
                try:
                    life = await self._begun(machine, daemons)
                    ending = await life.watch()
                except (QmpError, EncoderdError) as caught:
                    error = caught
                finally:
                    code = await self._end(machine, ending, error)
        finally:
            if self._may_give:
                self._recorded = replace(self._recorded, qemu_pid=0, qemu_start=0, health=None)
                self._tell(RunState.STOPPED, self._recorded.message)
        if error is not None:
            raise error
        if ending in {Ending.DIED, Ending.PANICKED, Ending.ENDED_BY_HOST}:
            raise self._explained(ending, code, machine.last_words())
        self._report(f"the life ended: {ending}")
        return ending

    async def _launched(self) -> Machine | None:
        """Start QEMU; None when the VM was asked to stop meanwhile."""
        argv = await asyncio.to_thread(self._deeds.argv)
        launching = asyncio.create_task(
            launch(argv, self._settings, devices=len(self._deeds.addresses), started=self._started)
        )
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait({launching, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not launching.done():
            launching.cancel()  # it kills its QEMU
        try:
            return await launching
        except asyncio.CancelledError:
            return None
        except LaunchFailed as error:
            raise self._with_causes(error.message, error.stderr, error.remedy) from error

    def _started(self, machine: Machine) -> None:
        self._recorded = replace(
            self._recorded, qemu_pid=machine.pid, qemu_start=machine.start, lives=self._recorded.lives + 1
        )
        self._tell(RunState.STARTING, f"QEMU was started (PID {machine.pid})")

    async def _begun(self, machine: Machine, daemons: ShareDaemons) -> Life:
        """Compare, pin, and let the guest run."""
        self._tell(RunState.STARTING, "QEMU answers; comparing its devices with the host's")
        expected = await asyncio.to_thread(self._deeds.expected)
        unseen = await machine.missing(expected)
        await machine.pin(self._settings.vm.pin_cpus)
        await machine.resume()
        self._tell(RunState.BOOTING, "the guest boots")
        if not self._is_ready:
            self._notifier.ready(self._recorded.message)
            self._is_ready = True
        return Life(
            machine,
            self._settings,
            tell=self._tell,
            asked=self._asked,
            daemons=daemons,
            unseen=[device for device in expected if device.qdev_id in unseen],
        )

    async def _end(self, machine: Machine, ending: Ending, error: EncoderdError | None) -> int | None:
        """Climb the ladder as far as it is needed; returns QEMU's exit code."""
        runs = False
        if ending is Ending.DIED:
            await machine.ended(_DYING_S)  # its socket closes a moment before it is gone
        if ending is Ending.ASKED and error is None:
            self._notifier.stopping("stopping the guest")
            with contextlib.suppress(QmpError):
                runs = await machine.status() == "running"
        self._tell(RunState.STOPPING, f"the guest {ending}" if ending is not Ending.ASKED else "stopping the guest")
        steps = plan(
            self._settings.limits,
            devices=len(self._deeds.addresses),
            guest_runs=runs,
            has_agent=self._settings.vm.guest_agent,
        )
        stopped = await stop(machine, steps, self._settings.run_folder / "agent.sock", self._step)
        pid = machine.pid
        code = await machine.close()
        if not stopped.ended:
            self._may_give = False
            raise EncoderdError(
                f"QEMU (PID {pid}) does not end, not even by SIGKILL: the kernel holds it. Its devices stay with it.",
                remedy=f"See what it waits for: cat /proc/{pid}/stack, dmesg; when it has ended: encoderd-host give; "
                "else restart the host.",
            )
        return code

    def _step(self, line: str) -> None:
        self._tell(RunState.STOPPING, line)

    def _explained(self, ending: Ending, code: int | None, words: str) -> EncoderdError:
        log = self._settings.run_folder / "serial.log"
        if ending is Ending.PANICKED:
            return EncoderdError("The guest's kernel panicked.", remedy=f"Its last words are in {log}")
        if ending is Ending.ENDED_BY_HOST:
            return EncoderdError(
                "QEMU was told to end by somebody else than this helper.", remedy="Use encoderd-host stop for that."
            )
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return self._with_causes(
            f"QEMU died ({how}).", words, "Was it killed for want of memory? journalctl -k | grep -i oom"
        )

    def _with_causes(self, message: str, stderr: str, remedy: str) -> EncoderdError:
        """Put what QEMU said into words; where no line is known, its last one is told as it is."""
        causes = [line for line in self._deeds.explain(stderr) if line.cause and not line.harmless]
        if causes:
            return EncoderdError(f"{message} {causes[0].cause}", remedy=causes[0].remedy)
        last = stderr.strip().splitlines()[-1:]
        told = f" Its last words: {last[0][:300]}" if last else ""
        log = self._settings.state_folder / "qemu.log"
        return EncoderdError(message + told, remedy=f"{remedy}; all that it said is in {log}")

    def _tell(self, state: RunState, message: str, health: Health | None = None) -> None:
        """Pass on where the VM stands: to state.json, to systemd, and to `report` when something is new."""
        earlier = self._recorded
        recorded = earlier.advanced(state, time.time(), message)
        if health is not None:
            recorded = replace(recorded, health=health.as_json())
        if recorded == earlier and (self._settings.run_folder / "state.json").exists():
            return
        self._recorded = recorded
        write_state(self._settings.run_folder, recorded)
        if (state, message) != (earlier.state, earlier.message):
            self._notifier.status(f"{state}: {message}")
        if state is not earlier.state or state in _LONG:
            self._report(f"{state}: {message}")

    async def _tick(self) -> None:
        period_s = self._notifier.watchdog_period_s or _TICK_S
        while True:
            self._notifier.watchdog()
            if self._recorded.state in _LONG:
                self._notifier.extend(_EXTEND_S)
            await asyncio.sleep(min(period_s, _TICK_S))
