"""Tell systemd how the service is doing: the datagrams of sd_notify(3), sent without libsystemd."""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """
    Sends states to the socket that systemd named; does nothing where there is none.

    A datagram that cannot be sent is dropped: a full socket must not stop the daemon.

    Source: sd_notify(3); `@` at the start of the name stands for the abstract name space.
    """

    def __init__(self, socket_name: str | None = None) -> None:
        name = os.environ.get("NOTIFY_SOCKET", "") if socket_name is None else socket_name
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if name else None
        self._status = ""

    @property
    def watchdog_period_s(self) -> float | None:
        """How often WATCHDOG is to be sent: half of the limit in WATCHDOG_USEC; None when nobody watches."""
        limit_us = os.environ.get("WATCHDOG_USEC", "")
        for_us = os.environ.get("WATCHDOG_PID", "")
        if self._socket is None or not limit_us.isdigit() or (for_us and for_us != str(os.getpid())):
            return None
        return int(limit_us) / 2_000_000 or None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={_one_line(status)}")
        self._status = status

    def status(self, status: str) -> None:
        """Say in one line what the daemon is doing; the same line again is not sent again."""
        if status != self._status and self._send(f"STATUS={_one_line(status)}"):
            self._status = status

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def extend(self, more_s: float) -> None:
        """Ask for so much more time from now on, while starting or stopping."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(more_s * 1e6)}")

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={_one_line(status)}")
        self._status = status

    def _send(self, text: str) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendto(text.encode("utf-8", "backslashreplace"), socket.MSG_DONTWAIT, self._address)
        except OSError:
            return False
        return True


def _one_line(text: str) -> str:
    return " ".join(text.split())
