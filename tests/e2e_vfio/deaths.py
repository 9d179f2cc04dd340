"""The helper is killed, at every write and in every state: what the next one finds and does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from tests.e2e_vfio import host
from tests.e2e_vfio.steps import step


def _after_death(until: str, code: int | None) -> dict[str, Any]:
    """What the next helper finds and does."""
    seen: dict[str, Any] = {"killed_at": until, "code": code, "found": host.shown()}
    seen["status"] = host.quick("status", "--json")
    held = bool(host.processes("qemu-system"))
    seen["give"] = host.quick("give", first=host.impatient if held else lambda: None)
    seen["after"] = host.shown()
    return seen


@step(400)
def killed_taking() -> dict[str, Any]:
    """SIGKILL before each of take's writes to sysfs, and after the last one."""
    host.fresh()
    host.write_settings(gpu={"allow_console_loss": True})
    before, deaths = host.shown(), []
    for number in range(8):
        told = host.quick("take", first=host.killed_at(number))
        deaths.append(_after_death(f"write {number}", told["code"]))
        if told["code"] != -signal.SIGKILL:
            break
    return {"before": before, "deaths": deaths}


@step(400)
def killed_giving() -> dict[str, Any]:
    """The same with give."""
    host.fresh()
    host.write_settings(gpu={"allow_console_loss": True})
    before, deaths = host.shown(), []
    for number in range(8):
        taken = host.quick("take")
        told = host.quick("give", first=host.killed_at(number))
        deaths.append({"take": taken, **_after_death(f"write {number}", told["code"])})
        if told["code"] != -signal.SIGKILL:
            break
    return {"before": before, "deaths": deaths}


@step(600)
def killed_booting() -> dict[str, Any]:
    """SIGKILL of boot in some states; QEMU lives on. `give` must not touch its device; `stop` ends it and gives."""
    host.fresh()
    host.write_settings()
    before, deaths = host.shown(), []
    for at, is_there in {
        "taking": lambda told: False,  # it dies of itself, before its third write to sysfs
        "starting": lambda told: told.get("state") == "starting" and told.get("qemu_pid"),
        "booting": lambda told: told.get("state") == "booting",
    }.items():
        pid, place = host.begin("boot", first=host.killed_at(2 if at == "taking" else 1000))
        code = None

        def may_go_on(pid: int = pid, is_there: Callable[[dict[str, Any]], Any] = is_there) -> bool:
            nonlocal code
            code = host.ended(pid)
            return code is not None or bool(is_there(host.state()))

        host.wait_until(may_go_on, 120, 0.005)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            code = host.ended(pid, wait=True)
        seen = {"state": host.state().get("state"), "qemus": host.processes("qemu-system")}
        seen["said"] = "".join((place / name).read_text() for name in ("out", "err"))
        deaths.append({**seen, **_after_death(at, code)})
        deaths[-1]["stop"] = host.quick("stop")
        deaths[-1]["give_at_last"] = host.quick("give")
        deaths[-1] |= {"qemus_after": host.processes("qemu-system"), "after": host.shown()}
        host.fresh()
    return {"before": before, "deaths": deaths}
