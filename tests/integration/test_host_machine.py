"""A VM with a real QEMU (TCG) and no guest but its firmware: what starts, hangs and dies, and how it is ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from encoderd.errors import EncoderdError
from encoderd.host.run_folder import is_alive, started_at
from encoderd.host.status import Goal, VmStatus, wait_for
from encoderd.host.stop_request import request_stop
from tests.booting import ADDRESS, QEMU, ROOT, Booted, settings_in
from tests.sockets import tmp_path as tmp_path  # a fixture

pytestmark = pytest.mark.skipif(not QEMU.exists(), reason="no QEMU (apt-get install qemu-system-x86)")


def hanging(folder: Path, words: str) -> Path:
    """A program in QEMU's place."""
    file = folder / "not-qemu"
    file.write_text(f"#!/bin/sh\n{words}\n")
    file.chmod(0o755)
    return file


def test_asked_to_stop_it_climbs_the_ladder_and_gives(tmp_path: Path) -> None:
    """SeaBIOS hears neither agent nor button, so QEMU is told to quit. A second SIGTERM skips nothing."""
    (tmp_path / "give.slow").touch()
    with Booted(tmp_path, settings_in(tmp_path)) as booted:
        running = booted.until_state("booting")
        mode = (tmp_path / "run/t").stat().st_mode & 0o777
        booted.ask()
        booted.until_state("stopping")
        booted.ask()
        booted.until_state("giving")
        booted.ask(signal.SIGINT)
        code, out = booted.end()

        after = booted.look()
    assert running.qemu_pid is not None
    assert (0, ["take", "give"]) == (code, booted.deeds), out
    assert (0o700, None, None, "ready") == (mode, after.helper_pid, after.qemu_pid, after.state)
    rungs = re.findall(r"^stopping: (\S+): (?:no effect|QEMU has ended|The guest agent)", out, re.MULTILINE)
    assert ["agent", "powerdown", "powerdown", "quit"] == rungs


@pytest.mark.slow
def test_a_stopped_qemu_is_killed(tmp_path: Path) -> None:
    """A process that is stopped answers nothing and takes no SIGTERM: only the last rung is left."""
    limits = {"shutdown_s": 0.2, "quit_s": 0.3, "terminate_s": 0.3}
    with Booted(tmp_path, settings_in(tmp_path, limits=limits)) as booted:
        qemu = booted.until_state("booting").qemu_pid
        assert qemu is not None
        os.kill(qemu, signal.SIGSTOP)
        booted.ask()
        code, out = booted.end()

    assert (0, ["take", "give"]) == (code, booted.deeds), out
    assert "SIGKILL: QEMU has ended" in out
    assert not is_alive(ROOT, qemu, started_at(ROOT, qemu))


def test_a_qemu_that_dies_at_once_is_explained(tmp_path: Path) -> None:
    """Its own words are turned into cause and remedy, and what was taken is given back."""
    settings = settings_in(tmp_path, vm={"extra_args": ["-device", "e1000e,bus=nowhere"]})
    with Booted(tmp_path, settings) as booted:
        code, out = booted.end()

        after = booted.look()
    assert (1, ["take", "give"]) == (code, booted.deeds), out
    assert "QEMU ended at its start." in out
    assert "nowhere" in (tmp_path / "state/t/qemu.log").read_text()
    assert ("failed", True) == (after.state, after.message.startswith("QEMU ended at its start."))
    assert after.remedy


def test_a_program_that_hangs_before_qmp_is_killed(tmp_path: Path) -> None:
    program = hanging(tmp_path, "echo 'waiting for nothing' >&2; exec sleep 60")
    with Booted(tmp_path, settings_in(tmp_path, limits={"qmp_s": 0.4}), argv=[str(program)], address="") as booted:
        code, out = booted.end()

        after = booted.look()
    assert 1 == code
    assert "has said nothing" in out
    assert "waiting for nothing" in out
    assert after.qemu_pid is None
    assert not shutil.which("sleep") or "sleep" not in children_of(booted.process.pid)


def children_of(pid: int) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        fields = ROOT.text(str(folder / "stat")).rpartition(")")[2].split()
        if len(fields) > 1 and fields[1] == str(pid):
            found.append(ROOT.text(str(folder / "comm")).strip())
    return found


def test_a_program_that_is_missing_is_told(tmp_path: Path) -> None:
    with Booted(tmp_path, settings_in(tmp_path), argv=[str(tmp_path / "none")]) as booted:
        code, out = booted.end()

    assert (1, ["take", "give"]) == (code, booted.deeds), out
    assert "cannot be started: No such file" in out
    assert "apt-get install qemu-system-x86" in out


def test_asked_to_stop_while_qemu_starts(tmp_path: Path) -> None:
    """The wish is heard at once, not after the limit of the start."""
    program = hanging(tmp_path, "exec sleep 60")
    with Booted(tmp_path, settings_in(tmp_path), argv=[str(program)]) as booted:
        booted.until(lambda status: "was started" in status.message)
        began_s = time.monotonic()
        booted.ask()
        code, out = booted.end()

    assert (0, ["take", "give"]) == (code, booted.deeds), out
    assert time.monotonic() - began_s < 5


def test_a_qemu_that_is_killed_is_told_and_given_back(tmp_path: Path) -> None:
    with Booted(tmp_path, settings_in(tmp_path)) as booted:
        qemu = booted.until_state("booting").qemu_pid
        assert qemu is not None
        os.kill(qemu, signal.SIGKILL)
        code, out = booted.end()

    assert (1, ["take", "give"]) == (code, booted.deeds), out
    assert "QEMU died (signal SIGKILL)" in out
    assert "oom" in out


def test_a_second_boot_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    second = tmp_path / "second"
    second.mkdir()
    with Booted(tmp_path, settings) as booted:
        first = booted.until_state("booting")
        with Booted(second, settings) as other:
            code, out = other.end()
            still = booted.look()
            deeds = other.deeds
            booted.ask()
            booted.end()

    assert (1, []) == (code, deeds)
    assert f"in the hands of another encoderd-host (PID {first.helper_pid}, booting)" in out
    assert first.qemu_pid == still.qemu_pid


def test_a_failing_check_or_take_touches_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "check.fails").touch()
    with Booted(tmp_path, settings_in(tmp_path)) as booted:
        refused = booted.end()
        deeds_refused = booted.deeds
    (tmp_path / "check.fails").unlink()
    (tmp_path / "take.fails").touch()
    with Booted(tmp_path, settings_in(tmp_path)) as booted:
        failing = booted.end()

        after = booted.look()
    assert (1, []) == (refused[0], deeds_refused)
    assert "This host is not ready: not fit\n  → Repair it." in refused[1]
    assert (1, ["take"]) == (failing[0], booted.deeds)
    assert ("failed", "take failed.", "This is a test.") == (after.state, after.message, after.remedy)


@pytest.mark.slow
def test_a_failing_give_is_told(tmp_path: Path) -> None:
    (tmp_path / "give.fails").touch()
    with Booted(tmp_path, settings_in(tmp_path)) as booted:
        booted.until_state("booting")
        booted.ask()
        code, out = booted.end()

        after = booted.look()
    assert (1, "failed", "give failed.") == (code, after.state, after.message), out


@pytest.mark.slow
def test_after_the_helper_was_killed_stop_does_it_all(tmp_path: Path) -> None:
    """QEMU outlives its helper; status tells, boot refuses, and stop climbs the ladder and gives by itself."""
    settings, given, told = settings_in(tmp_path), [], []
    with Booted(tmp_path, settings) as booted:
        before = booted.until_state("booting")
        booted.process.kill()
        booted.process.wait()
        orphan = booted.look()
        again = Booted(tmp_path, settings)
        refused = again.end()
        request_stop(settings, give=lambda: given.append("give"), devices=1, report=told.append)

        after = booted.look()
        request_stop(settings, give=lambda: given.append("give"), devices=1)
    assert ("failed", None, before.qemu_pid) == (orphan.state, orphan.helper_pid, orphan.qemu_pid)
    assert "still runs; it says that it is running" in orphan.message
    assert "encoderd-host stop" in orphan.remedy
    assert (1, True) == (refused[0], "still runs" in refused[1])
    assert "quit: QEMU has ended" in told
    assert (["give", "give"], "ready", None) == (given, after.state, after.qemu_pid)


def test_qemu_is_found_without_state_json(tmp_path: Path) -> None:
    """A helper may be killed before it wrote down whom it started; QEMU's own PID file names it then."""
    with Booted(tmp_path, settings_in(tmp_path)) as booted:
        before = booted.until_state("booting")
        booted.process.kill()
        booted.process.wait()
        (tmp_path / "run/t/state.json").write_text('{"torn')

        assert before.qemu_pid == booted.look().qemu_pid


def test_stop_goes_through_the_helper_while_it_lives(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "give.slow").touch()
    with Booted(tmp_path, settings_in(tmp_path)) as booted:
        booted.until_state("booting")
        request_stop(booted.settings, give=lambda: told.append("not here"), devices=1, report=told.append)
        code, out = booted.end()

    assert (0, ["take", "give"]) == (code, booted.deeds), out
    assert f"giving: giving {ADDRESS} back" in told
    assert "not here" not in told


@pytest.mark.slow
def test_waiting_ends_when_it_is_reached_or_cannot_be(tmp_path: Path) -> None:
    with Booted(tmp_path, settings_in(tmp_path)) as booted:
        booted.until_state("booting")
        with pytest.raises(EncoderdError, match=r"is not healthy after 0\.3 s, but booting"):
            wait_for(Goal.HEALTHY, booted.look, 0.3)
        booted.ask()

        off = wait_for(Goal.OFF, booted.look, 20)
    assert "ready" == off.state

    (tmp_path / "take.fails").touch()
    with Booted(tmp_path, settings_in(tmp_path)) as booted:
        booted.end()
        seen: list[VmStatus] = []
        with pytest.raises(EncoderdError, match=r"The VM has failed: take failed\."):
            wait_for(Goal.HEALTHY, booted.look, 20, seen.append)
    assert ["failed"] == [status.state for status in seen]


def test_a_device_that_is_not_the_host_s_ends_the_start(tmp_path: Path) -> None:
    """What QEMU shows of a device is held against sysfs before the guest's first instruction."""
    settings = settings_in(tmp_path, vm={"extra_args": ["-device", "bochs-display,id=gpu0,bus=pcie.0,addr=2"]})
    right = {"qdev_id": "gpu0", "vendor": 0x1234, "device": 0x1111}
    outcomes = []
    for expected in ([right], [{**right, "device": 0x0412}], [{**right, "qdev_id": "gpu1"}]):
        (tmp_path / "expected.json").write_text(json.dumps(expected))
        with Booted(tmp_path, settings) as booted:
            if expected == [right]:
                booted.until_state("booting")
                booted.ask()
            outcomes.append(booted.end())

    assert [0, 1, 1] == [code for code, _ in outcomes]
    assert "would see gpu0 as 1234:1111, and this host's sysfs says 1234:0412" in outcomes[1][1]
    assert "QEMU runs without the device gpu1 (1234:1111)" in outcomes[2][1]
    assert ["take", "give"] * 3 == booted.deeds


def test_virtual_cpus_are_pinned(tmp_path: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0), reverse=True)[:2]
    with Booted(tmp_path, settings_in(tmp_path, vm={"cpus": len(cpus), "pin_cpus": cpus})) as booted:
        qemu = booted.until_state("booting").qemu_pid
        names = {
            ROOT.text(str(thread / "comm")).strip(): os.sched_getaffinity(int(thread.name))
            for thread in Path(f"/proc/{qemu}/task").iterdir()
        }
        booted.ask()
        booted.end()

    virtual = [where for name, where in sorted(names.items()) if name.startswith("CPU ")]
    assert [{cpu} for cpu in cpus] == virtual, names


def test_a_cpu_that_the_host_has_not_is_told(tmp_path: Path) -> None:
    with Booted(tmp_path, settings_in(tmp_path, vm={"pin_cpus": [4000]})) as booted:
        code, out = booted.end()

    assert 1 == code
    assert "cannot be pinned to the host's CPU 4000" in out
