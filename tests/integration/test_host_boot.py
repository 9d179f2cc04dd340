"""What a guest and a QEMU do once in a while, done by a program on paper; and a helper killed at each of its steps."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from encoderd.errors import EncoderdError
from encoderd.host.boot import MOST_REBOOTS, Deeds, boot
from encoderd.host.explain import explain
from encoderd.host.life import Ending, _ending
from encoderd.host.run_folder import is_alive, qemu_of, read_state, started_at
from encoderd.host.settings import HostSettings
from encoderd.host.stop_request import request_stop
from tests.booting import ADDRESS, QEMU, ROOT, Booted, settings_in
from tests.often import often
from tests.sockets import tmp_path as tmp_path  # a fixture

PAPER = Path(__file__).parents[1] / "paper_qemu.py"


def event(name: str, **data: object) -> str:
    return json.dumps({"event": name, "data": data})


def paper(folder: Path, limits: dict[str, float] | None, script: tuple[str, ...]) -> tuple[HostSettings, list[str]]:
    ports = {"guest_agent": False, "health_port": False}
    limits = {"powerdown_s": 0.1, "quit_s": 0.3, "terminate_s": 0.3, **(limits or {})}
    settings = settings_in(folder, vm=ports, limits=limits)
    return settings, [
        sys.executable,
        "-S",
        str(PAPER),
        str(settings.run_folder / "qmp.sock"),
        str(folder / "lives"),
        *script,
    ]


def on_paper(folder: Path, *script: str, limits: dict[str, float] | None = None) -> Booted:
    """A helper in a process of its own, for tests that talk to it."""
    settings, argv = paper(folder, limits, script)
    return Booted(folder, settings, argv=argv)


def ended_here(folder: Path, *script: str) -> tuple[int, list[str], str]:
    """Run `boot` in this process until it ends by itself; returns its exit code, the deeds, and what it said."""
    settings, argv = paper(folder, None, script)
    done: list[str] = []
    said: list[str] = []
    deeds = Deeds(
        check=list, take=lambda: done.append("take"), give=lambda: done.append("give"), argv=lambda: argv,
        expected=list, share_daemons=list, explain=explain, addresses=(ADDRESS,),
    )  # fmt: skip
    try:
        code = int(boot(settings, deeds, report=said.append))
    except EncoderdError as error:
        code = int(error.exit_code)
        said.append(f"{error.message} → {error.remedy}")
    return code, done, "\n".join(said)


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ([event("SHUTDOWN", guest=True, reason="guest-shutdown"), event("STOP")], 0, "the life ended: powered off"),
        ([event("GUEST_PANICKED", action="pause"), event("STOP")], 1, "The guest's kernel panicked."),
        ([event("SHUTDOWN", guest=True, reason="guest-panic")], 1, "The guest's kernel panicked."),
        ([event("SHUTDOWN", guest=False, reason="host-signal")], 1, "QEMU was told to end by somebody else"),
        (["die"], 1, "QEMU died (signal SIGSEGV)"),
        ([event("SHUTDOWN", guest=True, reason="guest-shutdown"), "deaf"], 0, "SIGKILL: QEMU has ended"),
    ],
    ids=["power-off", "panic", "panic-7.2", "killed", "crash", "deaf"],
)
def test_every_ending_is_told_and_gives_back(script: list[str], code: int, words: str, tmp_path: Path) -> None:
    ended, deeds, said = ended_here(tmp_path, *script)

    assert (code, ["take", "give"]) == (ended, deeds), said
    assert words in said
    state = read_state(ROOT, tmp_path / "run/t")
    assert state is not None
    assert ("failed" if code else "ready") == state.state


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("guest-shutdown", Ending.POWERED_OFF), ("guest-reset", Ending.REBOOTED), ("guest-panic", Ending.PANICKED),
        ("host-qmp-quit", Ending.ENDED_BY_HOST), ("host-signal", Ending.ENDED_BY_HOST),
        ("subsystem-reset", Ending.POWERED_OFF), ("None", Ending.POWERED_OFF),
    ],
)  # fmt: skip
def test_the_reasons_of_a_shutdown(reason: str, ending: Ending) -> None:
    """Source: qapi/run-state.json, ShutdownCause."""
    assert ending is _ending(reason)


def test_a_guest_that_only_reboots_is_given_up(tmp_path: Path) -> None:
    """Each start resets the GPU; the devices are taken once and given once."""
    code, deeds, out = ended_here(tmp_path, event("SHUTDOWN", guest=True, reason="guest-reset"), event("STOP"))

    assert (1, ["take", "give"]) == (code, deeds), out
    assert MOST_REBOOTS + 1 == len((tmp_path / "lives").read_text())
    assert f"The guest rebooted {MOST_REBOOTS + 1} times within 10 minutes." in out


@pytest.mark.parametrize(
    ("script", "state", "words"),
    [
        ([event("BLOCK_IO_ERROR", device="disk0", operation="write", action="stop", reason="No space left on device")],
         "degraded", "the disk disk0 fails to write: No space left on device; is there space? df -h"),
        ([event("BLOCK_IO_ERROR", device="disk0", operation="read", action="report", reason="\x1bx"), event("RESUME")],
         "booting", "running; without vm.health_port"),
        ([event("DEVICE_DELETED", device="gpu0", path="/p")], "degraded", "the guest lost its device gpu0"),
        ([event("WATCHDOG", action="pause")], "degraded", "the guest's watchdog fired"),
        ([event("STOP")], "degraded", "the guest is paused, by nobody here"),
        ([event("STOP"), event("RESUME")], "booting", "running; without vm.health_port"),
        ([event("VSERPORT_CHANGE", id="agent0port", open=True)] * 3000, "booting", "running; without vm.health_port"),
        ([event("SHUTDOWN_", reason=5), event("VSERPORT_CHANGE", id=[5], open="x"), event("RESET", guest=5)],
         "booting", "running; without vm.health_port"),
    ],
    ids=["full", "repaired", "unplugged", "watchdog", "paused", "resumed", "flood", "nonsense"],
)  # fmt: skip
def test_troubles_degrade_and_end_nothing(script: list[str], state: str, words: str, tmp_path: Path) -> None:
    with on_paper(tmp_path, *script) as booted:
        status = booted.until(lambda status: words in status.message)
        booted.ask()
        code, out = booted.end()

    assert (state, 0) == (status.state, code), out


@pytest.mark.parametrize("step", often(2, ["taking", "starting", "booting", "stopping", "giving"]))
def test_a_helper_killed_at_a_step_is_put_right(step: str, tmp_path: Path) -> None:
    """status says what happened and what to type; stop ends what is left, and gives."""
    for deed in ("take", "give"):
        (tmp_path / f"{deed}.slow").touch()
    script = [event("STOP"), "deaf"] if step == "stopping" else []
    limits = {"quit_s": 1.0, "terminate_s": 0.2}
    with on_paper(tmp_path, *script, limits=limits) as booted:
        if step == "starting":
            booted.process.kill()
            booted.process.wait()
            argv = [shutil.which("sleep") or "sleep", "60"]
            booted = Booted(tmp_path, booted.settings, argv=argv)
        if step in {"stopping", "giving"}:
            booted.until_state("booting", "degraded")
            booted.ask()
        booted.until(lambda status: status.state == step and (step != "starting" or status.qemu_pid is not None))
        booted.process.kill()
        booted.process.wait()
        left = booted.look()
        given: list[str] = []
        request_stop(booted.settings, give=lambda: given.append("give"), devices=1)
        after = booted.look()
        assert qemu_of(ROOT, booted.settings) is None

    assert ("failed", True) == (left.state, "encoderd-host" in left.remedy)
    assert (left.qemu_pid is not None) is (step in {"starting", "booting", "stopping"})
    assert (["give"], "ready") == (given, after.state)


def test_systemd_hears_where_it_is(tmp_path: Path) -> None:
    """READY when the guest runs, once; a status for each step; the watchdog; more time while starting and stopping."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        os.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        try:
            booted = on_paper(tmp_path, event("SHUTDOWN", guest=True, reason="guest-reset"))
        finally:
            del os.environ["NOTIFY_SOCKET"]
        heard: list[str] = []
        reading = threading.Thread(target=lambda: heard.extend(iter(lambda: systemd.recv(4096).decode(), "end")))
        reading.start()
        with booted:
            booted.end()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", str(tmp_path / "notify"))
        reading.join()

    ready = [number for number, text in enumerate(heard) if text.startswith("READY=1")]
    assert 1 == len(ready)
    assert any("STATUS=taking" in text for text in heard[: ready[0]])
    assert "READY=1\nSTATUS=the guest boots" == heard[ready[0]]
    assert {"WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000"} <= set(heard)
    assert "STATUS=failed: The guest rebooted" in "\n".join(heard[ready[0] :])


VIRTIOFSD = next((path for path in ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd") if Path(path).exists()), "")


@pytest.mark.skipif(not (VIRTIOFSD and QEMU.exists() and os.geteuid() == 0), reason="no virtiofsd, QEMU or root")
def test_the_shares_daemons_live_as_long_as_qemu(tmp_path: Path) -> None:
    """Started before QEMU and ended after it; one that dies in between is a trouble, because its share is dead."""
    shared = tmp_path / "shared"
    shared.mkdir()
    settings = settings_in(tmp_path, share=[{"path": str(shared), "tag": "rec", "type": "virtiofs"}])
    outs = []
    for kill in (False, True):
        with Booted(tmp_path, settings, virtiofsd=VIRTIOFSD) as booted:
            booted.until_state("booting")
            daemons = _running(str(settings.run_folder / "share-rec.sock"))
            if kill:
                for pid in daemons:
                    os.kill(pid, 9)
                dead = booted.until_state("degraded")
            booted.ask()
            outs.append(booted.end())
        assert daemons
        assert [] == _running(str(settings.run_folder / "share-rec.sock"))

    assert "virtiofsd of rec has ended" in dead.message
    assert [0, 0] == [code for code, _ in outs], outs


def _running(word: str) -> list[int]:
    """The virtiofsd processes whose command line holds `word`."""
    found = subprocess.run(
        ["pgrep", "-f", f"virtiofsd.*{re.escape(word)}"], capture_output=True, text=True, check=False
    )
    pids = [int(pid) for pid in found.stdout.split()]
    return [pid for pid in pids if is_alive(ROOT, pid, started_at(ROOT, pid))]


def test_a_share_whose_daemon_cannot_start_is_told(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, share=[{"path": str(tmp_path), "tag": "rec", "type": "virtiofs"}])
    with Booted(tmp_path, settings, virtiofsd="/bin/false") as booted:
        began_s = time.monotonic()
        code, out = booted.end()

    assert (1, ["take", "give"]) == (code, booted.deeds), out
    assert "virtiofsd for the share rec ended at its start." in out
    assert time.monotonic() - began_s < 20
