"""One life of the guest, from its first instruction to its end: what it tells is heard, judged, and passed on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from enum import StrEnum

from encoderd.host.agent import Agent, AgentError
from encoderd.host.health import Condition, Health, Heard, Judgement, Lines, judge, printable
from encoderd.host.machine import ExpectedDevice, LaunchFailed, Machine
from encoderd.host.qmp import QmpError, QmpEvent
from encoderd.host.run_folder import bound_log
from encoderd.host.settings import HostSettings
from encoderd.host.share_daemons import ShareDaemons
from encoderd.host.state import RunState

_TICK_S = 0.5
_AGENT_RETRY_S = 2.0
_AGENT_ANSWER_S = 3.0
_RECONNECT_S = 1.0
#: A guest that floods its health port is read this often and no faster: the port's buffer fills, and it waits.
_READ_PAUSE_S = 0.05
_READ_BYTES = 65536
#: A guest that makes events without end must not keep the operator's wish from being heard.
_MOST_AT_ONCE = 100
#: QEMU pauses a guest whose disk has no space left; from time to time it is tried whether there is some again.
_IO_RETRY_S = 30.0
#: Firmware has numbered the buses by then, or there is none that does.
_DEVICES_S = 60.0

#: What QEMU says when it was the host that ended the guest. Source: qapi/run-state.json, ShutdownCause.
_BY_HOST = "host-"

Tell = Callable[[RunState, str, Health | None], None]


class Ending(StrEnum):
    """Why a life ended."""

    ASKED = "asked"  #: somebody wants the VM to stop; the guest still runs
    POWERED_OFF = "powered off"  #: by the guest itself
    REBOOTED = "rebooted"  #: it wants to; QEMU holds it, so that it can begin cold
    PANICKED = "panicked"
    ENDED_BY_HOST = "ended by the host"  #: QEMU got a signal or a command from somebody else
    DIED = "died"  #: QEMU has ended and said no word over QMP


class Life:
    """
    Watches one QEMU whose guest runs.

    `asked` is set when the VM is to stop. `tell` hears every change, and at least every second that the daemon speaks.
    """

    def __init__(
        self,
        machine: Machine,
        settings: HostSettings,
        *,
        tell: Tell,
        asked: asyncio.Event,
        daemons: ShareDaemons,
        unseen: Sequence[ExpectedDevice] = (),
    ) -> None:
        self._machine = machine
        self._settings = settings
        self._tell = tell
        self._asked = asked
        self._daemons = daemons
        self._unseen = tuple(unseen)
        self._clock = asyncio.get_running_loop().time
        self._began_s = self._clock()
        self._heard: Heard | None = None
        self._agent_met_s: float | None = None
        self._agent_port_open = asyncio.Event()
        self._troubles: dict[str, str] = {}
        self._resume_at_s: float | None = None

    async def watch(self) -> Ending:
        """Return when the life ends, however it does."""
        vm = self._settings.vm
        listening = [
            *([asyncio.create_task(self._hear_health())] if vm.health_port else []),
            *([asyncio.create_task(self._meet_agent())] if vm.guest_agent else []),
        ]
        happening = asyncio.create_task(self._machine.happenings.get())
        asked = asyncio.create_task(self._asked.wait())
        try:
            while True:
                await asyncio.wait({happening, asked}, timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
                for _ in range(_MOST_AT_ONCE):
                    if not happening.done():
                        break
                    ending = await self._after(happening.result())
                    if ending is not None:
                        return ending
                    happening = asyncio.create_task(self._machine.happenings.get())
                    await asyncio.sleep(0)
                if asked.done():
                    return Ending.ASKED
                await self._tick()
        finally:
            for task in (happening, asked, *listening):
                task.cancel()
            await asyncio.gather(happening, asked, *listening, return_exceptions=True)

    async def _after(self, event: QmpEvent | None) -> Ending | None:
        """Take note of an event; returns the ending when it is one."""
        if event is None:
            return Ending.DIED
        data = event.data
        match event.name:
            case "SHUTDOWN":
                return _ending(str(data.get("reason")))
            case "GUEST_PANICKED":
                return Ending.PANICKED
            case "RESET" if data.get("guest") is True:  # a warm reboot: this QEMU goes on, what was known is not
                self._heard, self._agent_met_s, self._began_s = None, None, self._clock()
                self._agent_port_open.clear()
                self._tell(RunState.BOOTING, "the guest reboots", None)
            case "VSERPORT_CHANGE":
                self._port_changed(str(data.get("id")), data.get("open") is True)
            case "BLOCK_IO_ERROR":
                self._troubles["disk"] = (
                    f"the disk {data.get('node-name') or data.get('device')} fails to {data.get('operation')}: "
                    f"{printable(str(data.get('reason')))}; is there space? df -h"
                )
                if data.get("action") == "stop":
                    self._resume_at_s = self._clock() + _IO_RETRY_S
            case "STOP" if self._resume_at_s is None:
                self._troubles["paused"] = "the guest is paused, by nobody here; go on: system_reset or cont over QMP"
            case "RESUME":
                self._resume_at_s = None
                self._troubles.pop("paused", None)
                self._troubles.pop("disk", None)
            case "DEVICE_DELETED" | "DEVICE_UNPLUG_GUEST_ERROR" if data.get("device"):
                self._troubles["device"] = f"the guest lost its device {data['device']}; restart the VM"
            case "WATCHDOG":
                self._troubles["watchdog"] = "the guest's watchdog fired: it hung"
        return None

    def _port_changed(self, port: str, is_open: bool) -> None:
        if port == "agent0port":
            if is_open:
                self._agent_port_open.set()
            else:
                self._agent_port_open.clear()
        elif port == "health0port" and not is_open and self._heard is not None:
            # The daemon closed its end, or died: no need to wait until the silence has become long.
            at_s = self._clock() - self._settings.limits.silence_s - 1
            self._heard = Heard(health=self._heard.health, at_s=min(self._heard.at_s, at_s))

    async def _tick(self) -> None:
        now_s = self._clock()
        self._machine.bound_log()
        bound_log(self._settings.run_folder / "serial.log")
        dead = self._daemons.dead()
        if dead:
            self._troubles["share"] = f"virtiofsd of {', '.join(dead)} has ended; restart the VM"
        if self._resume_at_s is not None and now_s >= self._resume_at_s:
            self._resume_at_s = now_s + _IO_RETRY_S
            with contextlib.suppress(QmpError):
                await self._machine.resume()
        await self._see_devices(now_s)
        judged = judge(self._heard, now_s, self._settings.limits.silence_s)
        health = self._heard.health if self._heard is not None else None
        state, message = self._state(judged, now_s)
        self._tell(state, message, health)

    def _state(self, judged: Judgement, now_s: float) -> tuple[RunState, str]:
        if self._troubles:
            return RunState.DEGRADED, "; ".join(self._troubles.values())
        match judged.condition:
            case Condition.HEALTHY:
                return RunState.HEALTHY, judged.message
            case Condition.DEGRADED | Condition.SILENT:
                return RunState.DEGRADED, judged.message
            case Condition.UNHEARD:
                return self._unheard(now_s)

    def _unheard(self, now_s: float) -> tuple[RunState, str]:
        """Nothing came from the daemon yet: say what is waited for, and since when it should have come."""
        vm, limits = self._settings.vm, self._settings.limits
        met_s = self._agent_met_s
        state = RunState.BOOTING if met_s is None else RunState.AGENT
        late = []
        if vm.guest_agent and met_s is None and now_s - self._began_s > limits.agent_s:
            late.append(f"the guest's agent has not answered for {now_s - self._began_s:.0f} s")
        since_s = met_s if met_s is not None else self._began_s + (limits.agent_s if vm.guest_agent else 0)
        if vm.health_port and now_s - since_s > limits.health_s:
            late.append(f"its daemon has said nothing for {now_s - self._began_s:.0f} s; does encoderd run there?")
        if late:
            return state, ", and ".join(late)
        if not vm.health_port:
            return state, "running; without vm.health_port nobody tells how the daemon is"
        return state, "the guest boots" if met_s is None else "the guest's agent answers"

    async def _see_devices(self, now_s: float) -> None:
        """Compare those devices that could not be seen before the firmware ran."""
        if not self._unseen:
            return
        try:
            still = await self._machine.missing(self._unseen)
        except LaunchFailed as error:
            self._troubles["device"] = error.message
            still = ()
        except QmpError:
            return  # it ends; the events tell so
        over = now_s - self._began_s > _DEVICES_S
        self._unseen = () if over else tuple(device for device in self._unseen if device.qdev_id in still)

    async def _meet_agent(self) -> None:
        """Ask the agent from the moment its port opens, until it has answered once."""
        socket = self._settings.run_folder / "agent.sock"
        while True:
            await self._agent_port_open.wait()
            if self._agent_met_s is None:
                with contextlib.suppress(AgentError):
                    async with Agent.connect(socket, _AGENT_ANSWER_S) as agent:
                        await agent.ping(_AGENT_ANSWER_S)
                    self._agent_met_s = self._clock()
            await asyncio.sleep(_AGENT_RETRY_S)

    async def _hear_health(self) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError):
                reader, writer = await asyncio.open_unix_connection(str(self._settings.run_folder / "health.sock"))
                try:
                    await self._read_health(reader)
                finally:
                    writer.close()
            await asyncio.sleep(_RECONNECT_S)

    async def _read_health(self, reader: asyncio.StreamReader) -> None:
        lines = Lines()
        while data := await reader.read(_READ_BYTES):
            for line in reversed(lines.feed(data)):  # the newest that can be understood is all that counts
                health = Health.parse(line)
                if health is not None:
                    self._heard = Heard(health=health, at_s=self._clock())
                    break
            await asyncio.sleep(_READ_PAUSE_S)


def _ending(reason: str) -> Ending:
    """Source: qapi/run-state.json, ShutdownCause."""
    if reason == "guest-reset":
        return Ending.REBOOTED
    if reason == "guest-panic":
        return Ending.PANICKED
    return Ending.ENDED_BY_HOST if reason.startswith(_BY_HOST) else Ending.POWERED_OFF
