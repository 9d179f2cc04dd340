"""The host's unit, judged by systemd's own tools and held against the limits of the steps it waits for."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path

import pytest

from encoderd.host.machine import DEVICES_FACTOR
from encoderd.host.settings import DEFAULT_FILE, HostSettings
from encoderd.host.stopping import longest_s
from encoderd.notify import Notifier
from tests.unit.test_unit_file import REPOSITORY, run, tool

UNIT = REPOSITORY / "systemd/encoderd-vm.service"
TARGETS = ("sysinit", "basic", "shutdown", "local-fs", "remote-fs", "multi-user", "network")

#: More devices than anybody passes through: the GPU, a tuner of four, a USB controller.
DEVICES = 6


@pytest.fixture
def analyze() -> str:
    return tool("systemd-analyze")


def setting(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


def verified(analyze: str, folder: Path, text: str) -> tuple[int, str]:
    program = folder / "opt/encoderd/bin/encoderd-host"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n", "ascii")
    program.chmod(0o755)
    units = folder / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for target in TARGETS:
        (units / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n", "ascii")
    unit = folder / "etc/systemd/system/encoderd-vm.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(text, "utf-8")
    return run(analyze, "verify", "--man=no", "--recursive-errors=one", f"--root={folder}", str(unit))


def test_systemd_finds_nothing_wrong(analyze: str, tmp_path: Path) -> None:
    assert (0, "") == verified(analyze, tmp_path, UNIT.read_text("utf-8"))


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("WatchdogSec=60", "WatchDogSecs=60"),
        ("Restart=no", "Restart=hardly"),
        ("ExecStopPost=-/opt/encoderd/", "ExecStopPost=/usr/local/"),
        ("LimitMEMLOCK=infinity", "LimitMEMLOCK=all"),
    ],
)
def test_systemd_would_find_a_mistake(line: str, instead: str, analyze: str, tmp_path: Path) -> None:
    text = UNIT.read_text("utf-8")
    assert line in text

    code, output = verified(analyze, tmp_path, text.replace(line, instead))

    assert 0 != code
    assert "encoderd-vm.service" in output


def test_systemd_waits_longer_than_every_rung() -> None:
    """Only a helper that hangs is systemd's to kill, also where it takes no request for more time."""
    limits = HostSettings().limits

    assert int(setting("TimeoutStopSec")[0]) >= longest_s(limits, devices=DEVICES) + limits.give_s
    assert int(setting("TimeoutStartSec")[0]) >= limits.take_s + limits.qmp_s * DEVICES_FACTOR


def test_a_start_that_fails_does_not_loop() -> None:
    assert ["no"] == setting("Restart")
    assert ["mixed"] == setting("KillMode")


def test_nothing_hides_what_the_helper_works_with() -> None:
    """Each of these makes /sys read-only, hides devices or processes, or keeps memory from being pinned."""
    forbidden = [
        "ProtectKernelTunables", "ProtectKernelModules", "PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectProc",
        "ProtectClock", "ProtectControlGroups", "ProtectSystem", "PrivateTmp", "PrivateNetwork", "PrivateUsers",
        "NoNewPrivileges", "MemoryDenyWriteExecute", "RestrictNamespaces", "ProcSubset", "CapabilityBoundingSet",
    ]  # fmt: skip

    assert [] == [name for name in forbidden if setting(name)]
    assert ["infinity"] == setting("LimitMEMLOCK")


def test_the_folders_and_the_commands_are_ours() -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    vm = HostSettings().vm

    assert [str(vm.run_dir)] == [f"/run/{name}" for name in setting("RuntimeDirectory")]
    assert [str(vm.state_dir)] == [f"/var/lib/{name}" for name in setting("StateDirectory")]
    commands = [f"/opt/encoderd/bin/encoderd-host {verb} --config {DEFAULT_FILE}" for verb in ("boot", "give")]
    assert commands == [*setting("ExecStart"), *(line.removeprefix("-") for line in setting("ExecStopPost"))]
    assert "encoderd-host" in scripts


def test_more_time_is_asked_for_in_systemd_s_words(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        Notifier(str(tmp_path / "notify")).extend(30)

        assert b"EXTEND_TIMEOUT_USEC=30000000" == systemd.recv(100)
