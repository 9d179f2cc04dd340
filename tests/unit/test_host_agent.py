"""The talk with the guest's agent, held against agents that are late, cut off, forbidden, or mean."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from encoderd.host import agent as module
from encoderd.host.agent import Agent, AgentError, AgentRefused, AgentSilent, Ran

T = TypeVar("T")
Reply = Callable[[dict[str, Any]], bytes]


def line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def sync(request: dict[str, Any]) -> bytes:
    return b"\xff" + line({"return": request["arguments"]["id"]})


class Guest:
    """An agent at the other end of a socket: what it says to each command is told beforehand."""

    def __init__(self, folder: Path, replies: dict[str, list[Reply] | Reply], *, greeting: bytes = b"") -> None:
        self.socket = folder / "agent.sock"
        self.replies = replies
        self.greeting = greeting
        self.heard: list[dict[str, Any]] = []
        self.raw = b""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting)
        while data := await reader.readline():
            self.raw += data
            request = json.loads(data.lstrip(b"\xff"))
            self.heard.append(request)
            reply = self.replies.get(request["execute"], sync if request["execute"].startswith("guest-sync") else None)
            if isinstance(reply, list):
                reply = reply.pop(0)
            if reply is not None:
                answer = reply(request)
                if answer == b"hang up":
                    break
                writer.write(answer)
        writer.close()

    def told(self, deed: Callable[[Agent], Awaitable[T]], limit_s: float = 0.5) -> T:
        async def talk() -> T:
            server = await asyncio.start_unix_server(self._talk, str(self.socket))
            async with server, Agent.connect(self.socket, limit_s) as agent:
                return await deed(agent)

        return asyncio.run(talk())


def always(value: object) -> Reply:
    return lambda request: line(value)


def test_it_comes_into_step_before_it_asks(tmp_path: Path) -> None:
    """What an earlier client left in the pipe is thrown away: half a line, whole answers, another's number."""
    stale = b'{"return": {}}\n{"return": 5}\n{"half\xff{"return": 17}\n'
    guest = Guest(tmp_path, {"guest-get-osinfo": always({"return": {"id": "debian"}})}, greeting=stale)

    told = guest.told(lambda agent: agent.osinfo())

    assert {"id": "debian"} == told
    assert guest.raw.startswith(b"\xff{")
    assert ["guest-sync-delimited", "guest-get-osinfo"] == [request["execute"] for request in guest.heard]


def test_its_number_is_never_the_same(tmp_path: Path) -> None:
    guest = Guest(tmp_path, {"guest-ping": always({"return": {}})})
    for _ in range(3):
        guest.told(lambda agent: agent.ping())

    numbers = [request["arguments"]["id"] for request in guest.heard if "arguments" in request]
    assert 3 == len(set(numbers))


@pytest.mark.parametrize(
    "answer",
    [b"", b"\xff" * 100_000, b"\xff{}\n" * 1000, b"\xff" + b"[" * 100_000 + b"\n", b"\xff[]\n", b"hang up"],
    ids=["nothing", "marks", "objects", "depth", "list", "hang-up"],
)
def test_an_agent_that_never_answers_rightly_is_silent(answer: bytes, tmp_path: Path) -> None:
    guest = Guest(tmp_path, {"guest-sync-delimited": lambda request: answer})

    with pytest.raises(AgentSilent, match="does not answer guest-sync-delimited"):
        guest.told(lambda agent: agent.ping(), 0.3)


def test_no_socket_is_silence(tmp_path: Path) -> None:
    async def talk() -> None:
        async with Agent.connect(tmp_path / "none", 1):
            pass

    with pytest.raises(AgentSilent, match="cannot be reached"):
        asyncio.run(talk())


def test_a_flood_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ANSWER_BYTES", 4096)
    guest = Guest(tmp_path, {"guest-ping": lambda request: b"x" * 200_000})

    with pytest.raises(AgentRefused, match="more than 4096 bytes"):
        guest.told(lambda agent: agent.ping())


def test_shutdown_needs_no_answer(tmp_path: Path) -> None:
    guest = Guest(tmp_path, {})

    guest.told(lambda agent: agent.shut_down())

    assert {"execute": "guest-shutdown", "arguments": {"mode": "powerdown"}} == guest.heard[-1]


def test_a_refused_shutdown_is_told(tmp_path: Path) -> None:
    error = {"error": {"class": "GenericError", "desc": "child process has failed to shutdown"}}
    guest = Guest(tmp_path, {"guest-shutdown": always(error)})

    with pytest.raises(AgentRefused, match="child process has failed"):
        guest.told(lambda agent: agent.shut_down())


def test_a_forbidden_command_has_its_remedy(tmp_path: Path) -> None:
    """Source of the words: qga/main.c and qapi/qmp-dispatch.c, QEMU 7.2."""
    error = {"error": {"class": "CommandNotFound", "desc": "Command guest-exec has been disabled"}}
    guest = Guest(tmp_path, {"guest-exec": always(error)})

    with pytest.raises(AgentRefused, match="The guest forbids guest-exec") as caught:
        guest.told(lambda agent: agent.run(["true"]))

    assert "block-rpcs" in caught.value.remedy


def test_a_program_is_run_to_its_end(tmp_path: Path) -> None:
    ended = {"exited": True, "exitcode": 3, "out-data": base64.b64encode(b"out\x00").decode(), "err-data": "????"}
    guest = Guest(
        tmp_path,
        {
            "guest-exec": always({"return": {"pid": 7}}),
            "guest-exec-status": [always({"return": {"exited": False}}), always({"return": ended})],
        },
    )

    ran = guest.told(lambda agent: agent.run(["/bin/x", "a b"]))

    assert Ran(code=3, signal=None, out=b"out\x00", err=b"") == ran
    assert {"path": "/bin/x", "arg": ["a b"], "capture-output": True} == guest.heard[1]["arguments"]


def test_a_program_without_an_end_has_a_limit(tmp_path: Path) -> None:
    guest = Guest(
        tmp_path,
        {"guest-exec": always({"return": {"pid": 7}}), "guest-exec-status": always({"return": {"exited": False}})},
    )

    with pytest.raises(AgentSilent, match=r"/bin/x did not end in the guest within 0\.3 s"):
        guest.told(lambda agent: agent.run(["/bin/x"], 0.3))


@pytest.mark.parametrize("answer", [None, 5, "x", [], {}, {"pid": "7"}, {"pid": None}])
def test_nonsense_is_refused(answer: object, tmp_path: Path) -> None:
    guest = Guest(tmp_path, {"guest-exec": always({"return": answer}), "guest-exec-status": always({"return": answer})})

    with pytest.raises(AgentError):
        guest.told(lambda agent: agent.run(["/bin/x"], 0.3))


def test_what_the_guest_is_and_forbids(tmp_path: Path) -> None:
    commands = [{"name": "guest-exec", "enabled": False}, {"name": "guest-ping", "enabled": True}, 5, {}]
    guest = Guest(
        tmp_path,
        {
            "guest-get-osinfo": always({"return": {"pretty-name": "Debian", "n": 5}}),
            "guest-info": always({"return": {"supported_commands": commands}}),
        },
    )

    async def both(agent: Agent) -> tuple[object, object]:
        return await agent.osinfo(), await agent.disabled()

    assert ({"pretty-name": "Debian"}, frozenset({"guest-exec"})) == guest.told(both)
