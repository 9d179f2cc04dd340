"""A fresh Debian with systemd as its first process, in a container: encoderd is installed there as README says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PACKAGES = "systemd-sysv,make,python3-venv"
TOOLS = ("mmdebstrap", "systemd-nspawn")
BOOT_LIMIT_S = 300


def missing() -> str:
    """Return why such a container cannot be made here, "" when it can."""
    if os.geteuid() != 0:
        return "only root can make a container"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"missing: {', '.join(lacking)} (apt-get install mmdebstrap systemd-container)"
    if sys.version_info[:2] != (3, 11):
        return f"the wheels are made with this Python, and {SUITE} has 3.11"
    return ""


def make_guest(root: Path) -> Path:
    """Make the container's root folder and install encoderd in it with `make install`; returns `root`."""
    _run("mmdebstrap", "--quiet", "--variant=apt", f"--include={PACKAGES}", SUITE, str(root))
    wheels, source = root / "srv/wheels", root / "srv/encoderd"
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels), f"{CHECKOUT}", "hatchling")
    tracked = subprocess.run(
        ["git", "-C", CHECKOUT, "ls-files", "-co", "--exclude-standard", "-z"], check=True, capture_output=True
    ).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, tracked)):
        if (CHECKOUT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, source / name)
    environment = ["PIP_NO_INDEX=1", "PIP_FIND_LINKS=/srv/wheels", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    _run("chroot", str(root), "env", "-i", *environment, "make", "-C", "/srv/encoderd", "install")
    return root


def boot(root: Path, script: str) -> str:
    """
    Boot the container, run `script` as root when the system is up, power off; returns what the script printed.

    The container has no network, and sees this machine's kernel.
    """
    (root / "srv/lab.sh").write_text(f"exec >/srv/lab.out 2>&1\n{script}\nsystemctl poweroff --force\n")
    (root / "etc/systemd/system/lab.service").write_text(
        "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nExecStart=/bin/bash /srv/lab.sh\n"
    )
    (root / "etc/systemd/system/lab.target").write_text(
        "[Unit]\nRequires=multi-user.target\nAfter=multi-user.target\nWants=lab.service\nAllowIsolate=yes\n"
    )
    container = [
        "systemd-nspawn",
        "--quiet",
        "-D",
        str(root),
        "--register=no",
        "--keep-unit",
        "--private-network",
        "-b",
    ]
    with open(os.devnull, "w") as nowhere:
        subprocess.run(
            [*container, "systemd.unit=lab.target"],
            stdin=subprocess.DEVNULL,
            stdout=nowhere,
            stderr=nowhere,
            timeout=BOOT_LIMIT_S,
            check=False,
        )
    return (root / "srv/lab.out").read_text(encoding="utf-8", errors="replace")


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
