"""
The port to the host: what `health_line` says, written once a second to virtio-serial, where there is such a port.

Nothing here may hold the daemon up or end it. The port stays open: each opening and closing is an event on the host.
A host that does not read gets no lines, and a line is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from encoderd.gate import CHOICES, Gate
from encoderd.health_line import STOPPING, GateSeen, GateWord, GpuSeen, health_line
from encoderd.logs import get_logger
from encoderd.preflight.facts import GpuFacts
from encoderd.preflight.runtimes import winner
from encoderd.readiness import look
from encoderd.settings import EncodeSettings
from encoderd.status import Status

#: Where udev puts the port that the host calls org.encoderd.health.
PORT = Path("/dev/virtio-ports/org.encoderd.health")
#: How often a line is written.
PERIOD_S = 1.0
#: How often the way to the GPU is looked at anew: it takes 5 ms.
GPU_S = 60.0

#: What opening says where there is no port now: nothing there, or nobody behind it.
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV}
_RULE = "/etc/udev/rules.d/60-encoderd.rules"
_REMEDIES = {
    errno.EACCES: f"Give it to the group encoderd: {_RULE} does (make install writes it), then: udevadm trigger "
    "--subsystem-match=virtio-ports",
    errno.EPERM: "The unit needs DeviceAllow=char-virtio-portsdev rw, and a port that came after its start a restart: "
    "systemctl restart encoderd",
    errno.EBUSY: f"Only one process can have it: fuser {PORT} names the other one.",
}
_ELSE = "It is opened again by itself when it is back, and only the host misses it: encoderd-host status, there."


class HealthPort:
    """
    A port that may come and go. `write` never blocks and never raises.

    Each change is logged once: `health.port_opened` with the first line that it took,
    `health.port_lost` when it is gone, `health.port_refused` when there is one that cannot be opened.

    Source: Linux, drivers/char/virtio_console.c: a port takes up to 32 KiB at once and whole; EAGAIN without a reader
    on the host or without room, ENODEV once unplugged, EBUSY for a second process.
    """

    def __init__(self, path: Path = PORT) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._rest = b""  # of a line that was written in part
        self._told = ""  # the last event and its reason; nothing is told of a port that never was

    def present(self) -> bool:
        """Open the port if it is not open; returns whether there is anything to write to."""
        if self._descriptor is None:
            self._open()
        return self._descriptor is not None

    def write(self, line: bytes) -> None:
        """Write a whole line, or drop it: when the host does not read, or there is no port."""
        if not self.present() or not (self._finish() and self._send(line)):
            return
        self._tell("opened", "")

    def close(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _ABSENT:
                self._lost(error)
            else:
                self._tell("refused", f"{self._path} cannot be opened: {error.strerror}.", error.errno)
            return
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # it would grow for ever, and nobody would read it
            os.close(descriptor)
            self._tell("refused", f"{self._path} is a plain file and no port.")
            return
        self._descriptor = descriptor

    def _finish(self) -> bool:
        """Write what is left of the line before; False while there is something left."""
        if self._rest and not self._send(self._rest):
            return False
        return not self._rest

    def _send(self, data: bytes) -> bool:
        """Write `data`; what of it was not taken is kept if some of it was. False when nothing was."""
        assert self._descriptor is not None
        try:
            taken = os.write(self._descriptor, data)
        except BlockingIOError:
            return False
        except OSError as error:
            self.close()
            # The host has the beginning of that line: another port, or the same one, starts with its end.
            self._rest = b"\n" if self._rest else b""
            self._lost(error)
            return False
        self._rest = data[taken:] if taken else self._rest
        return taken > 0

    def _lost(self, error: OSError) -> None:
        if self._told.startswith("opened"):
            self._tell("lost", f"{self._path} is gone: {error.strerror}.")

    def _tell(self, what: str, reason: str, number: int | None = None) -> None:
        if self._told == what + reason:
            return
        self._told = what + reason
        if what == "opened":
            get_logger().info("health.port_opened", port=self._path)
        else:
            remedy = _REMEDIES.get(number or 0, _ELSE)
            get_logger().warning(f"health.port_{what}", port=self._path, reason=reason, remedy=remedy)


class Health:
    """
    What the host is told of one daemon. Times called `now_s` are monotonic seconds.

    `machine` gathers preflight's facts, which load nothing.
    """

    def __init__(self, path: Path = PORT, machine: Callable[[], GpuFacts] = look) -> None:
        self._port = HealthPort(path)
        self._machine = machine
        self._gpu = GpuSeen()
        self._gpu_s: float | None = None
        self._last: tuple[Status, GateSeen] | None = None

    @property
    def heard(self) -> bool:
        """Is there a port? Without one nothing needs to be gathered."""
        return self._port.present()

    def tell(self, status: Status, gate: GateSeen, *, now_s: float, at: float) -> None:
        """Write one line; `at` is in seconds since the epoch."""
        if self._gpu_s is None or now_s - self._gpu_s >= GPU_S:
            self._gpu, self._gpu_s = gpu_seen(self._machine()), now_s
        self._last = (status, gate)
        self._port.write(health_line(status, gate, self._gpu, at))

    def stop(self, at: float) -> None:
        """Write the last line, if there ever was one before it, and close the port."""
        if self._last is not None:
            status, gate = self._last
            self._port.write(health_line(replace(status, status=STOPPING), gate, self._gpu, at))
        self._port.close()


def gate_seen(gate: Gate, encodes: Iterable[EncodeSettings], now_s: float) -> GateSeen:
    """
    Sum the gate up for the settings of all watch folders.

    A door that was open when it was last needed counts as open, however long ago that was.
    """
    wanted = list(encodes)
    for encode in wanted:
        reason, _ = gate.why_closed(encode)
        if reason:
            return GateSeen(word=GateWord.CLOSED, reason=reason, encoder=CHOICES[encode.encoder][0])
    for encode in wanted:
        video = gate.video_for(encode, now_s)
        if video is not None:
            return GateSeen(word=GateWord.OPEN, reason=gate.reason(encode), encoder=video.encoder)
        if not gate.reason(encode):
            return GateSeen(word=GateWord.OPEN, reason="", encoder=CHOICES[encode.encoder][0])
    encoder = CHOICES[wanted[0].encoder][0] if wanted else ""
    return GateSeen(word=GateWord.UNTRIED, reason="", encoder=encoder)


def gpu_seen(facts: GpuFacts) -> GpuSeen:
    """Return the render node that encodes and the runtime that serves its GPU, as far as there are any."""
    runtime = winner(facts.runtimes, facts.gpu, {}) if facts.device is not None else None
    return GpuSeen(
        render_node=facts.node.path if facts.node is not None else None,
        runtime=os.path.basename(runtime.path) if runtime is not None else None,
    )
