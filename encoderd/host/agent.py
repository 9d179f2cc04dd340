"""
Talk to the guest's agent (qemu-guest-agent) through the Unix socket of its port.

The other end is the guest: whatever it says may be late, cut off, or meant to harm. Every answer has a limit in time
and size, and is looked at before it is believed. The library behind `qmp` cannot do this one: the mark before the
answer of guest-sync-delimited is no JSON.

Source: qga/qapi-schema.json and docs/interop/qemu-ga.rst in QEMU's tree.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderd.errors import EncoderdError

#: The agent captures 16 MiB of a command at most (GUEST_EXEC_MAX_OUTPUT, qga/commands.c), which base64 makes 22.
_MOST_ANSWER_BYTES = 24 * 2**20
_DELIMITER = b"\xff"
_POLL_S = 0.1


class AgentError(EncoderdError):
    """The guest's agent cannot be used."""


class AgentSilent(AgentError):
    """It did not answer within the limit: it is not there (yet), or it hangs."""


class AgentRefused(AgentError):
    """It answered with an error, or with nonsense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that ran in the guest; `code` is None when a signal ended it."""

    code: int | None
    signal: int | None
    out: bytes
    err: bytes


class Agent:
    """A conversation with the agent. One at a time: its port has one end on the host."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, path: Path, limit_s: float) -> AsyncIterator[Agent]:
        """
        Connect and come into step with the agent, so that no answer to somebody else is taken for ours.

        Raises:
            AgentSilent: no socket, or no answer within `limit_s` seconds.
        """
        try:
            async with asyncio.timeout(limit_s):
                reader, writer = await asyncio.open_unix_connection(str(path), limit=_MOST_ANSWER_BYTES)
        except (OSError, TimeoutError, ValueError) as error:
            raise AgentSilent(
                f"The guest agent's socket {path} cannot be reached: {error}",
                remedy="Is the VM running? Try: encoderd-host status",
            ) from error
        agent = cls(reader, writer)
        try:
            await agent.sync(limit_s)
            yield agent
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    async def sync(self, limit_s: float) -> None:
        """
        Send a random number and read until it comes back.

        The byte 0xff before it makes the agent drop half a request that an earlier client may have left; the one
        before the answer marks where old answers end.
        """
        number = secrets.randbelow(2**31)
        try:
            async with asyncio.timeout(limit_s):
                await self._send("guest-sync-delimited", {"id": number}, before=_DELIMITER)
                while True:
                    with contextlib.suppress(asyncio.LimitOverrunError, AgentRefused):
                        await self._reader.readuntil(_DELIMITER)
                        if (await self._answer("guest-sync-delimited")).get("return") == number:
                            return
                        continue
                    await self._reader.read(65536)  # more than any answer has: none of it is ours
        except TimeoutError:
            raise _silent("guest-sync-delimited", limit_s) from None
        except (OSError, EOFError) as error:
            raise _silent("guest-sync-delimited", limit_s) from error

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None, limit_s: float = 5.0) -> Any:
        """
        Run one of the agent's commands and return what it returns.

        Raises:
            AgentSilent: no answer within `limit_s` seconds, or the link ended.
            AgentRefused: an error; a distribution may have disabled the command.
        """
        try:
            async with asyncio.timeout(limit_s):
                await self._send(command, arguments)
                answer = await self._answer(command)
        except (TimeoutError, OSError, EOFError) as error:
            raise _silent(command, limit_s) from error
        if "return" in answer:
            return answer["return"]
        raise _refused(command, answer.get("error"))

    async def ping(self, limit_s: float = 5.0) -> None:
        await self.execute("guest-ping", limit_s=limit_s)

    async def shut_down(self, limit_s: float = 5.0) -> None:
        """
        Ask the guest to power off; that it does is for others to see: success has no answer.

        Raises:
            AgentRefused: it will not.
            AgentSilent: the request could not be sent.
        """
        try:
            async with asyncio.timeout(limit_s):
                await self._send("guest-shutdown", {"mode": "powerdown"})
            async with asyncio.timeout(min(limit_s, 0.5)):
                answer = await self._answer("guest-shutdown")
        except TimeoutError:
            return
        except EOFError:
            return  # it is gone already
        except OSError as error:
            raise _silent("guest-shutdown", limit_s) from error
        if "error" in answer:
            raise _refused("guest-shutdown", answer["error"])

    async def osinfo(self, limit_s: float = 5.0) -> dict[str, str]:
        """Return what the guest says it is: "pretty-name", "kernel-release", …"""
        told = await self.execute("guest-get-osinfo", limit_s=limit_s)
        return (
            {str(key): value for key, value in told.items() if isinstance(value, str)} if isinstance(told, dict) else {}
        )

    async def disabled(self, limit_s: float = 5.0) -> frozenset[str]:
        """Return the commands that the guest's configuration forbids."""
        told = await self.execute("guest-info", limit_s=limit_s)
        commands = told.get("supported_commands") if isinstance(told, dict) else None
        return frozenset(
            str(command.get("name"))
            for command in (commands if isinstance(commands, list) else [])
            if isinstance(command, dict) and command.get("enabled") is False
        )

    async def run(self, argv: Sequence[str], limit_s: float = 60.0) -> Ran:
        """
        Run a program in the guest and wait for its end.

        Raises:
            AgentSilent: it did not end within `limit_s` seconds; it goes on in the guest.
            AgentRefused: it could not be started, or guest-exec is forbidden.
        """
        end_s = asyncio.get_running_loop().time() + limit_s
        started = await self.execute(
            "guest-exec", {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}, min(limit_s, 10.0)
        )
        pid = started.get("pid") if isinstance(started, dict) else None
        if not isinstance(pid, int):
            raise _refused("guest-exec", started)
        while True:
            left_s = end_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                raise AgentSilent(
                    f"{argv[0]} did not end in the guest within {limit_s:g} s.",
                    remedy="Look in the guest what it waits for: encoderd-host console",
                )
            told = await self.execute("guest-exec-status", {"pid": pid}, max(left_s, 0.1))
            if not isinstance(told, dict):
                raise _refused("guest-exec-status", told)
            if told.get("exited") is True:
                code, signal = told.get("exitcode"), told.get("signal")
                return Ran(
                    code=code if isinstance(code, int) else None,
                    signal=signal if isinstance(signal, int) else None,
                    out=_decoded(told.get("out-data")),
                    err=_decoded(told.get("err-data")),
                )
            await asyncio.sleep(_POLL_S)

    async def _send(self, command: str, arguments: Mapping[str, object] | None, before: bytes = b"") -> None:
        request = {"execute": command, **({"arguments": dict(arguments)} if arguments else {})}
        self._writer.write(before + json.dumps(request).encode() + b"\n")
        await self._writer.drain()

    async def _answer(self, command: str) -> dict[str, Any]:
        try:
            line = await self._reader.readline()
        except ValueError as error:
            raise AgentRefused(
                f"The guest agent answers {command} with more than {_MOST_ANSWER_BYTES} bytes.", remedy=_UPDATE
            ) from error
        if not line:
            raise EOFError
        try:
            answer = json.loads(line.lstrip(_DELIMITER))
        except (ValueError, RecursionError) as error:
            raise AgentRefused(
                f"The guest agent answers {command} with no JSON: {line[:80]!r}", remedy=_UPDATE
            ) from error
        if not isinstance(answer, dict):
            raise AgentRefused(f"The guest agent answers {command} with {line[:80]!r}.", remedy=_UPDATE)
        return answer


_UPDATE = "Install the guest's own qemu-guest-agent anew, and restart it there: systemctl restart qemu-guest-agent"


def _silent(command: str, limit_s: float) -> AgentSilent:
    return AgentSilent(
        f"The guest agent does not answer {command} within {limit_s:g} s.",
        remedy="In the guest: apt-get install qemu-guest-agent; then: systemctl status qemu-guest-agent",
    )


def _refused(command: str, error: object) -> AgentRefused:
    told = error if isinstance(error, dict) else {}
    message = str(told.get("desc") or error)[:300]
    if told.get("class") == "CommandNotFound" or "has been disabled" in message:
        return AgentRefused(
            f"The guest forbids {command}: {message}",
            remedy=f"Take {command} out of block-rpcs (or add it to allow-rpcs) in the guest's /etc/qemu/qemu-ga.conf "
            "or /etc/sysconfig/qemu-ga, then there: systemctl restart qemu-guest-agent",
        )
    return AgentRefused(
        f"The guest agent refuses {command}: {message}",
        remedy="See the guest's journal: journalctl -u qemu-guest-agent",
    )


def _decoded(data: object) -> bytes:
    try:
        return base64.b64decode(data) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        return b""
