"""The library behind QMP is tamed: ends are ordinary, events are not kept, and every answer has a limit."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import QMPClient

from encoderd.host.qmp import Qmp, QmpEvent, QmpGone, QmpRefused, QmpSilent
from tests.booting import CHECKOUT, QEMU
from tests.sockets import tmp_path as tmp_path  # a fixture

GREETING = {"QMP": {"version": {"qemu": {"major": 9, "minor": 2, "micro": 1}, "package": ""}, "capabilities": []}}
Reply = Callable[[dict[str, Any]], list[dict[str, Any] | None]]


def event(name: str, **data: object) -> dict[str, Any]:
    return {"event": name, "data": data, "timestamp": {"seconds": 5, "microseconds": 250_000}}


@asynccontextmanager
async def scripted(folder: Path, reply: Reply, *, greets: bool = True) -> AsyncIterator[Path]:
    """A QEMU that answers as told; None in an answer hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greets:
            writer.write(json.dumps(GREETING).encode() + b"\n")
        begun = ""
        while data := await reader.read(65536):
            begun += data.decode()
            try:
                request, end = json.JSONDecoder().raw_decode(begun)  # the library writes no line ends
            except ValueError:
                continue
            begun = begun[end:]
            negotiates = request["execute"] == "qmp_capabilities"
            for answer in [{"return": {}}] if negotiates else reply(request):
                if answer is None:
                    writer.close()
                    return
                known = {} if "event" in answer or negotiates else {"id": request["id"]}
                writer.write(json.dumps({**known, **answer}).encode() + b"\r\n")

    path = folder / "qmp.sock"
    async with await asyncio.start_unix_server(talk, str(path)):
        yield path


def talked(folder: Path, reply: Reply, deed: Callable[[Qmp], Awaitable[None]]) -> None:
    async def talk() -> None:
        async with scripted(folder, reply) as path:
            qmp = await Qmp.connect(path, 5)
            await deed(qmp)
            await qmp.close()

    asyncio.run(talk())


def test_a_command_is_answered_and_the_version_is_known(tmp_path: Path) -> None:
    async def deed(qmp: Qmp) -> None:
        assert ({"status": "running"}, (9, 2, 1)) == (await qmp.execute("query-status"), qmp.version)

    talked(tmp_path, lambda request: [{"return": {"status": "running"}}], deed)


def test_an_error_has_its_class(tmp_path: Path) -> None:
    async def deed(qmp: Qmp) -> None:
        with pytest.raises(QmpRefused, match="QEMU refuses nonsense: no such thing") as caught:
            await qmp.execute("nonsense")
        assert "CommandNotFound" == caught.value.error_class

    talked(tmp_path, lambda request: [{"error": {"class": "CommandNotFound", "desc": "no such thing"}}], deed)


def test_a_late_answer_has_a_limit_and_disturbs_nobody(tmp_path: Path) -> None:
    """An answer that comes after its limit belongs to nobody; the next command gets its own."""
    answers: list[list[dict[str, Any] | None]] = [[], [{"return": "late", "id": "__qmp#00000"}, {"return": "right"}]]

    async def deed(qmp: Qmp) -> None:
        with pytest.raises(QmpSilent, match=r"does not answer first within 0\.1 s"):
            await qmp.execute("first", limit_s=0.1)
        assert "right" == await qmp.execute("second")

    talked(tmp_path, lambda request: answers.pop(0), deed)


def test_the_end_of_the_link_is_ordinary(tmp_path: Path) -> None:
    """The command under way is told, the events end, further commands are refused, and closing is quiet."""

    async def deed(qmp: Qmp) -> None:
        with pytest.raises(QmpGone, match="ended before it answered quit"):
            await qmp.execute("quit")
        assert ["SHUTDOWN"] == [event.name async for event in qmp.events()]
        assert qmp.gone
        with pytest.raises(QmpGone):
            await qmp.execute("query-status")

    talked(tmp_path, lambda request: [event("SHUTDOWN", guest=False), None], deed)


def test_events_have_their_data_and_their_time(tmp_path: Path) -> None:
    async def deed(qmp: Qmp) -> None:
        await qmp.execute("cont")
        heard = await anext(aiter(qmp.events()))
        assert QmpEvent(name="SHUTDOWN", data={"guest": True}, at_s=5.25) == heard

    talked(
        tmp_path,
        lambda request: [event("RTC_CHANGE", offset=1), {"event": "SHUTDOWN", "data": {"guest": True},
                         "timestamp": {"seconds": 5, "microseconds": 250_000}}, {"return": {}}],
        deed,
    )  # fmt: skip


def test_a_flood_of_events_is_not_kept(tmp_path: Path) -> None:
    """The library's own listener would keep each for ever; here the newest are kept, and not one beside them."""
    flood = [event("RTC_CHANGE", offset=1)] * 3000 + [event("VSERPORT_CHANGE", id="p", open=True)] * 3000

    async def deed(qmp: Qmp) -> None:
        await qmp.execute("cont")
        assert 1000 == qmp._events.qsize()
        client: QMPClient = qmp._client
        assert [((), True)] == [(listener.history, listener.empty()) for listener in client._listeners]

    talked(tmp_path, lambda request: [*flood, {"return": {}}], deed)


def test_nobody_and_somebody_who_is_silent(tmp_path: Path) -> None:
    async def talk() -> None:
        with pytest.raises(QmpGone, match="does not answer at"):
            await Qmp.connect(tmp_path / "none.sock", 5)
        with pytest.raises(QmpGone, match="does not answer at"):
            await Qmp.connect(tmp_path / ("x" * 200), 5)
        async with scripted(tmp_path, lambda request: [], greets=False) as path:
            with pytest.raises(QmpSilent, match=r"does not greet at .* within 0\.2 s"):
                await Qmp.connect(path, 0.2)

    asyncio.run(talk())


@pytest.mark.skipif(not QEMU.exists(), reason="no QEMU (apt-get install qemu-system-x86)")
@pytest.mark.parametrize("how", ["quit", "kill", "close", "forget"])
def test_a_real_qemu_s_end_leaves_no_word_behind(how: str, tmp_path: Path) -> None:
    """Neither asyncio nor the library prints anything, whoever ends first; nor when nobody closes the link."""
    program = f"""
import asyncio, gc, subprocess, sys
from pathlib import Path
from encoderd.host.qmp import Qmp, QmpGone
async def main():
    path = Path({str(tmp_path / "qmp.sock")!r})
    monitor = f"unix:{{path}},server=on,wait=off"
    qemu = subprocess.Popen([{str(QEMU)!r}, "-M", "none", "-S", "-display", "none", "-qmp", monitor])
    while True:
        try:
            qmp = await Qmp.connect(path, 5)
            break
        except QmpGone:
            await asyncio.sleep(0.02)
    if {how!r} == "quit":
        await qmp.execute("quit")
    elif {how!r} == "close":
        await qmp.close()
        qemu.kill()
    else:
        qemu.kill()
    if {how!r} != "forget":
        print([event.name async for event in qmp.events()], qmp.gone)
        await qmp.close()
    qemu.wait()
    await asyncio.sleep(0.1)
    del qmp
    gc.collect()
asyncio.run(main())
gc.collect()
"""
    done = subprocess.run(
        [sys.executable, *([] if how == "forget" else ["-W", "always::ResourceWarning"]), "-c", program],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said = {"quit": "['SHUTDOWN'] True\n", "kill": "[] True\n", "close": "[] True\n", "forget": ""}[how]

    assert (0, said, "") == (done.returncode, done.stdout, done.stderr)
