"""The life of a VM with a guest in it: a kernel, an agent, a daemon's words, a power button, a panic."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from encoderd.errors import EncoderdError
from encoderd.host.status import guest_findings
from tests.booting import CHECKOUT, QEMU, Booted, settings_in
from tests.e2e.tiny_guest import TinyGuest, missing, tiny_guest

#: A tiny guest needs four seconds on an idle machine; others may have its cores.
BOOT_S = 90

Boot = Callable[..., Booted]


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> TinyGuest:
    why_not = missing() if QEMU.exists() else "no QEMU (apt-get install qemu-system-x86)"
    if why_not:
        pytest.skip(why_not)
    return tiny_guest(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def boot(guest: TinyGuest, tmp_path: Path) -> Boot:
    def booted(
        words: str = "", limits: Mapping[str, Any] | None = None, more: tuple[str, ...] = (), **vm: object
    ) -> Booted:
        settings = settings_in(
            tmp_path,
            vm={
                "kernel": str(guest.kernel), "initrd": str(guest.initrd), "memory_mib": 256, "cpus": 2,
                "kernel_arguments": f"console=ttyS0 quiet panic=-1 {words}", **vm,
            },
            limits={"shutdown_s": 30, "powerdown_s": 15, **(limits or {})},
        )  # fmt: skip
        return Booted(tmp_path, settings, more=more)

    return booted


def rungs(out: str) -> list[str]:
    """The rungs that were climbed, in order, and what came of each."""
    return re.findall(r"^stopping: (\S+: (?:the guest is off|no effect|QEMU has ended|The guest agent))", out, re.M)


def test_boot_agent_healthy_and_off_by_the_agent(boot: Boot) -> None:
    """The whole way, and the guest's own word for it; `encoderd check` is run inside through the agent."""
    seen: list[str] = []
    with boot() as booted:
        healthy = booted.until(lambda status: seen.append(str(status.state)) or status.state == "healthy", BOOT_S)
        end_s = time.monotonic() + 30
        while True:
            try:
                findings = guest_findings(booted.settings)
                break
            except EncoderdError:
                assert time.monotonic() < end_s
        booted.ask()
        code, out = booted.end(60)

    order = list(dict.fromkeys(state for state in seen if state in {"booting", "agent", "healthy"}))
    assert order in (["booting", "agent", "healthy"], ["booting", "healthy"])
    assert ("tiny", "open") == ((healthy.health or {})["worker"], (healthy.health or {})["gate"])
    assert [("tiny", "pass", "works")] == [(one.check, one.verdict, one.evidence) for one in findings]
    assert (0, ["take", "give"]) == (code, booted.deeds), out
    assert ["agent: the guest is off", "quit: QEMU has ended"] == rungs(out)


def test_without_an_agent_the_button_does_it(boot: Boot) -> None:
    with boot("tiny.agent=no") as booted:
        booted.until_state("healthy", limit_s=BOOT_S)
        booted.ask()
        code, out = booted.end(60)

    assert 0 == code, out
    assert ["agent: The guest agent", "powerdown: the guest is off", "quit: QEMU has ended"] == rungs(out)


def test_a_guest_that_ignores_both_is_quit(boot: Boot) -> None:
    """The agent answers and does nothing, and nobody hears the button."""
    limits = {"shutdown_s": 2, "powerdown_s": 1}
    with boot("tiny.agent=deaf tiny.button=no tiny.health=none", limits) as booted:
        booted.until_state("agent", limit_s=BOOT_S)
        booted.ask()
        code, out = booted.end(60)

    assert 0 == code, out
    assert ["agent: no effect", "powerdown: no effect", "powerdown: no effect", "quit: QEMU has ended"] == rungs(out)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("closed", "the guest encodes nothing: no render node"),
        ("problems", "2 problem(s) in the guest: idle"),
        ("silent", "the guest's daemon is silent for"),
    ],
)
def test_what_the_daemon_says_is_judged(word: str, message: str, boot: Boot) -> None:
    with boot(f"tiny.agent=no tiny.health={word}") as booted:
        status = booted.until(lambda status: message in status.message, BOOT_S)

    assert "degraded" == status.state


def test_a_guest_without_a_daemon_is_said(boot: Boot) -> None:
    """Late is only said: the guest may be at a long check of its disk."""
    with boot("tiny.agent=no tiny.health=none", {"agent_s": 1, "health_s": 1}) as booted:
        told = [booted.until(lambda status, word=word: word in status.message, BOOT_S) for word in ("agent", "daemon")]

    assert ["booting", "booting"] == [status.state for status in told]


def test_a_guest_that_powers_off_ends_the_vm(boot: Boot) -> None:
    with boot("tiny.then=poweroff") as booted:
        code, out = booted.end(BOOT_S)

    assert (0, ["take", "give"]) == (code, booted.deeds), out
    assert "the life ended: powered off" in out


def test_a_panic_is_a_failure(boot: Boot) -> None:
    with boot("tiny.then=panic") as booted:
        code, out = booted.end(BOOT_S)

        after = booted.look()
    assert (1, ["take", "give"]) == (code, booted.deeds), out
    assert ("failed", "The guest's kernel panicked.") == (after.state, after.message)
    assert "sysrq" in (booted.settings.run_folder / "serial.log").read_text(errors="replace")


def test_a_reboot_starts_a_new_qemu(boot: Boot) -> None:
    """A GPU must be reset between two boots, so the guest begins cold; the devices are not given back in between."""
    with boot("tiny.then=reboot tiny.agent=no", more=("-action", "reboot=shutdown")) as booted:
        first = booted.until_state("healthy", limit_s=BOOT_S)
        second = booted.until(lambda status: status.lives == 2 and status.state == "healthy", BOOT_S)
        booted.ask()
        code, out = booted.end(60)

    assert first.qemu_pid != second.qemu_pid
    assert (0, ["take", "give"]) == (code, booted.deeds), out
    assert "the life ended: rebooted" in out


def test_a_guest_that_reboots_warm_boots_again(boot: Boot) -> None:
    """Without devices QEMU goes on; what was known of the guest is forgotten."""
    with boot("tiny.then=reboot tiny.agent=no") as booted:
        first = booted.until_state("healthy", limit_s=BOOT_S)
        booted.until_state("booting", limit_s=BOOT_S)
        again = booted.until_state("healthy", limit_s=BOOT_S)

    assert (first.qemu_pid, 1) == (again.qemu_pid, again.lives)


def test_the_console_talks_to_the_guest(boot: Boot) -> None:
    """Typed at a terminal, answered by the guest's shell; Ctrl-C reaches the guest, Ctrl-] ends it, and the terminal
    is as it was before."""
    program = "import sys; from pathlib import Path; from encoderd.host.console import attach_console as attach; "
    program += "attach(Path(sys.argv[1]), 0, 1)"
    with boot("tiny.agent=no") as booted:
        booted.until_state("healthy", limit_s=BOOT_S)
        ours, theirs = pty.openpty()
        before = subprocess.run(["stty", "-g"], stdin=theirs, capture_output=True, check=True).stdout
        command = [sys.executable, "-c", program, str(booted.settings.run_folder / "serial.sock")]
        console = subprocess.Popen(command, cwd=CHECKOUT, stdin=theirs, stdout=theirs)
        said, end_s = b"", time.monotonic() + 30
        os.set_blocking(ours, False)
        while b"42 and on" not in said and time.monotonic() < end_s:
            os.write(ours, b"\x03echo $((6 * 7)) and on\r")
            time.sleep(0.5)
            try:
                said += os.read(ours, 65536)
            except BlockingIOError:
                continue
        os.write(ours, b"\x1d")
        code = console.wait(timeout=10)
        after = subprocess.run(["stty", "-g"], stdin=theirs, capture_output=True, check=True).stdout
        os.close(ours)
        os.close(theirs)

    assert b"42 and on" in said
    assert (0, before) == (code, after)


def test_a_vm_without_ports_still_lives(boot: Boot) -> None:
    with boot(guest_agent=False, health_port=False) as booted:
        status = booted.until(lambda status: "nobody tells" in status.message, BOOT_S)
        serial = booted.settings.run_folder / "serial.log"
        booted.until(lambda status: b"tiny guest: up" in serial.read_bytes(), BOOT_S)
        booted.ask()
        code, out = booted.end(60)

    assert "booting" == status.state
    assert 0 == code, out
    assert ["powerdown: the guest is off", "quit: QEMU has ended"] == rungs(out)[-2:]
