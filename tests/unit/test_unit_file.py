"""The unit and the system user, judged by systemd's own tools and held against the settings they serve."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from encoderd.health_port import PORT
from encoderd.settings import Settings, load

REPOSITORY = Path(__file__).parents[2]
UNIT = REPOSITORY / "systemd/encoderd.service"
SYSUSERS = REPOSITORY / "systemd/encoderd.sysusers"
UDEV = REPOSITORY / "systemd/encoderd.udev"

#: In tenths: the unit may reach 2.5 on systemd's scale, where 10 is an open door.
MOST_EXPOSURE = 25

#: What systemd adds to every service by itself, and what the unit names.
TARGETS = ("sysinit", "basic", "shutdown", "local-fs", "remote-fs", "multi-user")


@pytest.fixture
def analyze() -> str:
    return tool("systemd-analyze")


def tool(name: str) -> str:
    """Return where a tool of systemd is. Without systemd the test is skipped, but never in CI, which installs it."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing although CI=true: .ci/run installs systemd")
        pytest.skip(f"{name} is not installed (apt-get install systemd)")
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root folder with just the programs that a minimal Debian and our installation have."""
    for program in ("opt/encoderd/bin/encoderd", "bin/sh"):
        file = tmp_path / program
        file.parent.mkdir(parents=True)
        file.write_text("#!/bin/sh\n", "ascii")
        file.chmod(0o755)
    units = tmp_path / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for target in TARGETS:
        (units / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n", "ascii")
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    return tmp_path


def run(*argv: str) -> tuple[int, str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def verified(analyze: str, tree: Path, text: str) -> tuple[int, str]:
    unit = tree / "etc/systemd/system/encoderd.service"
    unit.write_text(text, "utf-8")
    # Without --recursive-errors an unknown setting is only a warning, and the exit code 0.
    return run(analyze, "verify", "--man=no", "--recursive-errors=one", f"--root={tree}", str(unit))


def setting(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


def test_systemd_finds_nothing_wrong(analyze: str, tree: Path) -> None:
    assert verified(analyze, tree, UNIT.read_text("utf-8")) == (0, "")


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("WatchdogSec=60", "WatchDogSecs=60"),
        ("Type=notify", "Type=notify-and-hope"),
        ("ExecReload=/bin/sh", "ExecReload=/bin/kill"),
        ("ExecStart=/opt/encoderd/", "ExecStart=/usr/local/"),
    ],
)
def test_systemd_would_find_a_mistake(line: str, instead: str, analyze: str, tree: Path) -> None:
    text = UNIT.read_text("utf-8")
    assert line in text

    code, output = verified(analyze, tree, text.replace(line, instead))

    assert code != 0
    assert "encoderd.service" in output


def test_the_sandbox_is_tight(analyze: str) -> None:
    code, report = run(analyze, "security", "--offline=yes", "--no-pager", f"--threshold={MOST_EXPOSURE}", str(UNIT))

    assert code == 0, report


def test_the_user_and_its_groups_can_be_made(tmp_path: Path) -> None:
    sysusers = tool("systemd-sysusers")
    installed = tmp_path / "etc/sysusers.d/encoderd.conf"
    installed.parent.mkdir(parents=True)
    shutil.copy(SYSUSERS, installed)

    code, output = run(sysusers, f"--root={tmp_path}", installed.name)

    assert code == 0, output
    passwd = (tmp_path / "etc/passwd").read_text("utf-8")
    assert re.search(r"^encoderd:x:\d+:\d+:encodes TV recordings:/var/lib/encoderd:\S*nologin$", passwd, re.MULTILINE)
    members = dict(re.findall(r"^(\w+):x:\d+:(.*)$", (tmp_path / "etc/group").read_text("utf-8"), re.MULTILINE))
    assert {group for group, users in members.items() if "encoderd" in users} == {"render", "video"}


def test_the_unit_asks_only_for_groups_and_users_that_are_made() -> None:
    made = set(re.findall(r"^[gu] (\w+)", SYSUSERS.read_text("utf-8"), re.MULTILINE))
    asked = setting("User") + setting("Group") + setting("SupplementaryGroups")[0].split()

    assert set(asked) <= made


def test_the_unit_starts_the_command_that_is_installed() -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]

    assert setting("ExecStart") == ["/opt/encoderd/bin/encoderd run --config /etc/encoderd/encoderd.toml"]
    assert "encoderd" in scripts


def test_the_unit_may_write_where_the_shipped_settings_do() -> None:
    settings = load(REPOSITORY / "config/encoderd.toml")
    writable = {Path(path.removeprefix("-")) for line in setting("ReadWritePaths") for path in line.split()}
    writable |= {Path("/var/lib") / folder for folder in setting("StateDirectory")}

    for folder in (settings.daemon.state_dir, *(watch.output for watch in settings.watch)):
        assert writable & {folder, *folder.parents}, folder


def test_systemd_waits_longer_than_the_daemon_needs_to_stop() -> None:
    """The daemon stops within 10 s; only what hangs beyond that is systemd's to kill."""
    assert int(setting("TimeoutStopSec")[0]) >= max(10, Settings().daemon.stop_limit_s) + 5


def test_the_port_to_the_host_is_the_daemon_s() -> None:
    """
    The rule gives the very port that the daemon opens to the unit's group, and the unit's sandbox lets it through.

    "virtio-portsdev" is its driver's name in /proc/devices (Linux, drivers/char/virtio_console.c).
    """
    rules = [line for line in UDEV.read_text("utf-8").splitlines() if line and not line.startswith("#")]

    assert rules == [
        f'SUBSYSTEM=="virtio-ports", ATTR{{name}}=="{PORT.name}", GROUP="{setting("Group")[0]}", MODE="0660"'
    ]
    assert PORT.parent == Path("/dev/virtio-ports")
    assert "char-virtio-portsdev rw" in setting("DeviceAllow")
    assert "modprobe@virtio_console.service" in setting("After")
