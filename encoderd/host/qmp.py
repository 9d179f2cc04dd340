"""
Talk to QEMU over its QMP socket; the only home of the library qemu.qmp.

The library is tamed in three places, each held by a test: the end of the link is an ordinary thing here (the library
raises EOFError again from `disconnect`, and complains of a "_GatheringFuture exception was never retrieved" where
nobody calls that); its listeners keep every event for ever, so events are taken off before they are kept; and an
answer that never comes has a limit.

Source: docs/interop/qmp-spec.rst and qapi/run-state.json in QEMU's tree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError, Runstate

from encoderd.errors import EncoderdError

#: What the life of a VM is made of. A guest can make QEMU send others by the thousand (RTC_CHANGE, …).
EVENTS = frozenset(
    {
        "BLOCK_IO_ERROR",
        "DEVICE_DELETED",
        "DEVICE_UNPLUG_GUEST_ERROR",
        "GUEST_PANICKED",
        "POWERDOWN",
        "RESET",
        "RESUME",
        "SHUTDOWN",
        "STOP",
        "VSERPORT_CHANGE",
        "WATCHDOG",
    }
)

#: More than any life needs; a guest that opens and closes a port in a loop loses its own news, not our memory.
_MOST_EVENTS = 1000

_DISCONNECT_S = 2.0


class QmpError(EncoderdError):
    """QEMU cannot be talked to, or refuses."""


class QmpGone(QmpError):
    """The link has ended: QEMU did."""


class QmpSilent(QmpError):
    """QEMU did not answer within the limit: it hangs, or it was stopped."""


class QmpRefused(QmpError):
    """QEMU answered with an error; `error_class` is its name for it."""

    def __init__(self, message: str, *, error_class: str, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.error_class = error_class


@dataclass(frozen=True, slots=True, kw_only=True)
class QmpEvent:
    """`at_s` is QEMU's own clock, in seconds since the epoch."""

    name: str
    data: Mapping[str, Any]
    at_s: float


class Qmp:
    """A link to one QEMU. Made by `connect`, ended by `close`, or by QEMU's end."""

    def __init__(self, client: QMPClient, events: asyncio.Queue[QmpEvent | None]) -> None:
        self._client = client
        self._events = events
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def connect(cls, path: Path, limit_s: float) -> Qmp:
        """
        Connect, take the greeting and leave the negotiation mode.

        Raises:
            QmpGone: nobody listens at `path` (yet), or it ends at once.
            QmpSilent: somebody listens and says nothing for `limit_s` seconds.
        """
        client = QMPClient("encoderd-host")
        events: asyncio.Queue[QmpEvent | None] = asyncio.Queue(_MOST_EVENTS)
        keeps_all, client.events = client.events, _Feed(events)
        client.register_listener(client.events)
        client.remove_listener(keeps_all)
        try:
            # Not wait_for: Python 3.11's loses a cancellation that comes when the connection is just refused.
            async with asyncio.timeout(limit_s):
                await client.connect(str(path))
        except TimeoutError:
            raise QmpSilent(
                f"QEMU does not greet at {path} within {limit_s:g} s: it hangs, or another client talks to it.",
                remedy="See who does: encoderd-host status",
            ) from None
        except (QMPError, OSError, ValueError) as error:
            raise QmpGone(
                f"QEMU does not answer at {path}: {error}", remedy="Is it running? encoderd-host status"
            ) from error
        return cls(client, events)

    @property
    def gone(self) -> bool:
        return self._client.runstate is not Runstate.RUNNING

    @property
    def version(self) -> tuple[int, int, int]:
        """QEMU's version as it greeted; zeros where it told none."""
        greeting = self._client.greeting
        told = greeting.QMP.version.get("qemu") if greeting is not None else None
        if not isinstance(told, dict):
            return 0, 0, 0
        major, minor, micro = (told.get(part) for part in ("major", "minor", "micro"))
        return int(major or 0), int(minor or 0), int(micro or 0)

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None, limit_s: float = 10.0) -> Any:
        """
        Run a command and return what it returns.

        Raises:
            QmpGone, QmpSilent, QmpRefused: see there.
        """
        try:
            async with asyncio.timeout(limit_s):
                return await self._client.execute(command, dict(arguments or {}))
        except TimeoutError:
            raise QmpSilent(
                f"QEMU does not answer {command} within {limit_s:g} s: it hangs.", remedy="Stop it: encoderd-host stop"
            ) from None
        except ExecuteError as error:
            raise QmpRefused(
                f"QEMU refuses {command}: {error}",
                error_class=error.error_class,
                remedy="See what QEMU says: encoderd-host status",
            ) from error
        except (QMPError, OSError, EOFError) as error:
            raise QmpGone(
                f"QEMU ended before it answered {command}.", remedy="See why: encoderd-host status"
            ) from error

    async def events(self) -> AsyncIterator[QmpEvent]:
        """Yield what happens, until the link ends. Meant for one reader."""
        while (event := await self._events.get()) is not None:
            yield event

    async def close(self) -> None:
        """End the link. It never fails: what the library has to say about the end is no news."""
        if self._client.runstate is Runstate.RUNNING:
            await _disconnect(self._client)
        await self._watching

    async def _watch(self) -> None:
        # The library changes its state in this same loop, so no change is missed between the look and the wait.
        if self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        await _disconnect(self._client)
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(None)


class _Feed(EventListener):
    """Hands events on instead of keeping them: the library's listener has a history without an end."""

    def __init__(self, events: asyncio.Queue[QmpEvent | None]) -> None:
        super().__init__()
        self._handed_on = events

    def accept(self, event: Message) -> bool:
        name, data, when = event.get("event"), event.get("data"), event.get("timestamp")
        if isinstance(name, str) and name in EVENTS:
            if self._handed_on.full():
                self._handed_on.get_nowait()
            self._handed_on.put_nowait(
                QmpEvent(name=name, data=data if isinstance(data, dict) else {}, at_s=_seconds(when))
            )
        return False


def _seconds(when: object) -> float:
    """A QMP time is {"seconds": …, "microseconds": …}; -1 stands for a clock that failed."""
    if not isinstance(when, dict):
        return 0.0
    whole, parts = when.get("seconds"), when.get("microseconds")
    return whole + max(parts, 0) / 1e6 if isinstance(whole, int) and isinstance(parts, int) else 0.0


async def _disconnect(client: QMPClient) -> None:
    # It raises again what ended the link, and that is nobody's news. The limit: a QEMU that was stopped reads nothing.
    with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError, AssertionError):
        async with asyncio.timeout(_DISCONNECT_S):
            await client.disconnect()
