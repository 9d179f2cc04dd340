"""
One running QEMU: started as a child, proven to be what was asked for, watched, and never lost sight of.

QEMU starts with `-S`, so that no event can happen before somebody listens. Its process is held by a pidfd: a signal
never hits a stranger that got its number. It lives in a session of its own and survives its helper; what it says goes
into a file, not into a pipe that would end with the helper.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderd.errors import EncoderdError
from encoderd.host.qmp import Qmp, QmpError, QmpEvent, QmpGone
from encoderd.host.run_folder import bound_log, open_log, started_at
from encoderd.host.settings import HostSettings
from encoderd.root import Root

#: Proxmox waits four times as long with passed-through devices: the kernel pins all memory, and resets them.
DEVICES_FACTOR = 4
_RETRY_S = 0.01
#: A refusal comes at once, but not in the last millisecond of a limit: that was taken for a QEMU that hangs.
_LEAST_S = 1.0
_TAIL_BYTES = 8192
_MOST_HAPPENINGS = 1000
#: QEMU answers this one in a millisecond, unless it hangs.
_STATUS_S = 3.0


class LaunchFailed(EncoderdError):
    """QEMU did not come to life; `stderr` is what it said, the end of it."""

    def __init__(self, message: str, *, stderr: str, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.stderr = stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedDevice:
    """A device that the guest must have: its id on the command line, and the ids it must show."""

    qdev_id: str
    vendor: int
    device: int


class Machine:
    """A QEMU that runs; made by `launch`, or by `attach` for one that another helper started."""

    def __init__(self, pid: int, pidfd: int, log: Path | None = None, log_from: int = 0) -> None:
        self.pid = pid
        self.qmp: Qmp | None = None
        self.happenings: asyncio.Queue[QmpEvent | None] = asyncio.Queue(_MOST_HAPPENINGS)
        self._pidfd = pidfd
        self._log = log
        self._log_from = log_from
        self._process: subprocess.Popen[bytes] | None = None
        self._exited = asyncio.Event()
        self._guest_off = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        asyncio.get_running_loop().add_reader(pidfd, self._has_exited)

    @property
    def start(self) -> int:
        """When the process started, as `run_folder.started_at` tells it."""
        return started_at(Root(Path("/")), self.pid)

    async def ended(self, limit_s: float) -> bool:
        """Wait up to `limit_s` seconds for the process's end; say whether it has ended."""
        if limit_s <= 0:
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(limit_s, 0.01)):
                await self._exited.wait()
        return self._exited.is_set()

    async def guest_down(self, limit_s: float) -> bool:
        """Wait up to `limit_s` seconds until the guest has powered off, or QEMU has ended."""
        waits = [asyncio.create_task(event.wait()) for event in (self._guest_off, self._exited)]
        done, pending = await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()
        return bool(done)

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    async def status(self) -> str:
        """Return QEMU's run state ("prelaunch", "running", "io-error", …). Raises QmpError."""
        if self.qmp is None:
            raise QmpGone("QEMU cannot be talked to.", remedy="encoderd-host status")
        told = await self.qmp.execute("query-status", limit_s=_STATUS_S)
        return str(told.get("status")) if isinstance(told, dict) else ""

    async def missing(self, expected: Sequence[ExpectedDevice]) -> tuple[str, ...]:
        """
        Compare the guest's PCI devices with those expected; returns the ids that cannot be seen yet.

        Behind a root port nothing is seen before the firmware has numbered the buses; that such a device exists is
        then seen in QEMU's own tree, and its ids only after `resume`.

        Raises:
            LaunchFailed: a device is not there, or shows other ids than the host's.
            QmpError: QEMU cannot be asked.
        """
        if not expected or self.qmp is None:
            return ()
        seen = {device["qdev_id"]: device["id"] for device in _devices(await self.qmp.execute("query-pci"))}
        listed = await self.qmp.execute("qom-list", {"path": "/machine/peripheral"})
        exist = {str(child.get("name")) for child in listed if isinstance(child, dict)}
        unseen = []
        for device in expected:
            wanted = f"{device.vendor:04x}:{device.device:04x}"
            if device.qdev_id not in exist:
                raise self._failed(f"QEMU runs without the device {device.qdev_id} ({wanted}) that it was given.")
            if device.qdev_id not in seen:
                unseen.append(device.qdev_id)
                continue
            ids = seen[device.qdev_id]
            shown = f"{int(ids.get('vendor', 0)):04x}:{int(ids.get('device', 0)):04x}"
            if shown != wanted:
                raise self._failed(
                    f"The guest would see {device.qdev_id} as {shown}, and this host's sysfs says {wanted}: "
                    "the device fell off the bus, or its ids are overridden."
                )
        return tuple(unseen)

    async def pin(self, cpus: Sequence[int]) -> None:
        """
        Pin each virtual CPU's thread to the host CPU of the same place in `cpus`.

        Raises:
            EncoderdError: the host has no such CPU, or it may not be used.
        """
        if not cpus or self.qmp is None:
            return
        told = await self.qmp.execute("query-cpus-fast")
        for virtual in told:
            index, thread = int(virtual["cpu-index"]), int(virtual["thread-id"])
            if index >= len(cpus):
                continue
            try:
                os.sched_setaffinity(thread, {cpus[index]})
            except OSError as error:
                raise EncoderdError(
                    f"Virtual CPU {index} cannot be pinned to the host's CPU {cpus[index]}: {error.strerror}",
                    remedy="Name CPUs in vm.pin_cpus that this host has: lscpu -e",
                ) from error

    async def resume(self) -> None:
        """Let the guest run."""
        if self.qmp is not None:
            await self.qmp.execute("cont")

    def last_words(self) -> str:
        """Return the end of what this QEMU said, as far as it was kept."""
        if self._log is None:
            return ""
        try:
            with open(self._log, "rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(min(self._log_from, size), size - _TAIL_BYTES))
                return log.read(_TAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""

    def bound_log(self) -> None:
        """Keep QEMU's log from growing for ever."""
        if self._log is not None and bound_log(self._log):
            self._log_from = 0

    async def close(self) -> int | None:
        """Let go of it; returns its exit code when it was our child and has ended (negative: the signal's number)."""
        asyncio.get_running_loop().remove_reader(self._pidfd)  # nothing happens where it was removed already
        if self.qmp is not None:
            await self.qmp.close()
        if self._listening is not None:
            await self._listening
        os.close(self._pidfd)
        if self._process is None or not self._exited.is_set():
            return None
        return self._process.wait()  # it has ended: this only collects it

    # --- how it comes to be

    def _has_exited(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)  # it stays readable for ever
        self._exited.set()

    def _failed(self, message: str) -> LaunchFailed:
        return LaunchFailed(message, stderr=self.last_words(), remedy="See what QEMU says: encoderd-host status")

    def _listen(self, qmp: Qmp) -> None:
        self.qmp = qmp
        self._listening = asyncio.create_task(self._hear(qmp))

    async def _hear(self, qmp: Qmp) -> None:
        async for event in qmp.events():
            if event.name == "SHUTDOWN":
                self._guest_off.set()
            self._happened(event)
        self._happened(None)

    def _happened(self, event: QmpEvent | None) -> None:
        if self.happenings.full():
            self.happenings.get_nowait()
        self.happenings.put_nowait(event)

    async def _greeted(self, socket: Path, limit_s: float) -> None:
        """Wait for QEMU's socket or its end, whichever comes first: a QEMU that died leaves its socket behind."""
        clock = asyncio.get_running_loop().time
        end_s = clock() + limit_s
        while True:
            left_s = end_s - clock()
            if left_s > 0:
                with contextlib.suppress(QmpGone):
                    self._listen(await Qmp.connect(socket, max(left_s, _LEAST_S)))
                    return
            if self._exited.is_set():
                raise self._failed("QEMU ended at its start.")
            if left_s <= 0:
                raise self._failed(f"QEMU has said nothing on {socket} for {limit_s:g} s.")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S):
                    await self._exited.wait()


async def launch(
    argv: Sequence[str],
    settings: HostSettings,
    *,
    devices: int,
    started: Callable[[Machine], None] = lambda _: None,
) -> Machine:
    """
    Start QEMU and wait until it greets, paused before the guest's first instruction.

    `devices` is how many are passed through. The run folder must be prepared. `started` is called as soon as there is
    a process, so that it can be found if this one dies.

    Raises:
        LaunchFailed: it ended, or said nothing within its limit; then it was killed.
    """
    limit_s = settings.limits.qmp_s * (DEVICES_FACTOR if devices else 1)
    log, log_from = open_log(settings)
    try:
        # Not asyncio's: its watcher may collect a child that dies at once before there is a pidfd.
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    except OSError as error:
        raise LaunchFailed(
            f"{argv[0]} cannot be started: {error.strerror}",
            stderr="",
            remedy="Install QEMU (apt-get install qemu-system-x86), or name it in vm.qemu.",
        ) from error
    finally:
        os.close(log)
    machine = Machine(process.pid, os.pidfd_open(process.pid), settings.state_folder / "qemu.log", log_from)
    machine._process = process
    try:
        started(machine)
        await machine._greeted(settings.run_folder / "qmp.sock", limit_s)
        status = await machine.status()
        if status != "prelaunch":
            raise machine._failed(f"QEMU should wait before the guest's start, and is {status!r}.")
    except BaseException as error:  # whatever it was: nobody would ever end this QEMU
        machine.send_signal(signal.SIGKILL)
        await machine.ended(settings.limits.kill_s)
        words = machine.last_words()
        await machine.close()
        if isinstance(error, QmpError):
            raise LaunchFailed(error.message, stderr=words, remedy=error.remedy) from error
        raise
    return machine


async def attach(pid: int, qmp_socket: Path, limit_s: float = 5.0) -> Machine | None:
    """Take hold of a QEMU that an earlier helper started; None when it has ended. Its QMP may be out of reach."""
    try:
        machine = Machine(pid, os.pidfd_open(pid))
    except ProcessLookupError:
        return None
    with contextlib.suppress(QmpError):
        machine._listen(await Qmp.connect(qmp_socket, limit_s))
    return machine


def _devices(buses: object) -> Iterator[Mapping[str, Any]]:
    """Yield all devices that query-pci tells of, those behind bridges too."""
    for bus in buses if isinstance(buses, list) else []:
        for device in bus.get("devices", []) if isinstance(bus, dict) else []:
            yield device
            yield from _devices([device.get("pci_bridge", {})])
