"""
What is done in the outer machine: each step returns what it saw, and the tests judge it.

A step brings the machine back first (`fresh`), so that it does not depend on how the one before ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e_vfio import host
from tests.e2e_vfio.host import GPU, VM
from tests.e2e_vfio.rig import CHECKOUT


@dataclass(frozen=True, slots=True)
class Step:
    run: Callable[[], dict[str, Any]]
    limit_s: float


STEPS: dict[str, Step] = {}


def step(limit_s: float) -> Callable[[Callable[[], dict[str, Any]]], Callable[[], dict[str, Any]]]:
    """Register a step under its function's name; it costs the machine to take longer than `limit_s`."""

    def register(run: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        STEPS[run.__name__] = Step(run, limit_s)
        return run

    return register


# --- looking


@step(120)
def machine() -> dict[str, Any]:
    """The machine itself, so that a rig that is not what it should be shows."""
    devices = {}
    for place in sorted(host.DEVICES.iterdir()):
        group = place / "iommu_group"
        devices[place.name] = {
            "ids": f"{_hex(place / 'vendor')}:{_hex(place / 'device')}",
            "class": _hex(place / "class")[:4],
            "driver": host.driver(place.name),
            "group": os.readlink(group).rsplit("/", 1)[1] if group.is_symlink() else "",
        }
    return {
        "devices": devices,
        "kvm": Path("/dev/kvm").exists(),
        "iommus": sorted(os.listdir("/sys/class/iommu")),
        "release": os.uname().release,
        "shown": host.shown(),
    }


def _hex(path: Path) -> str:
    return path.read_text().strip().removeprefix("0x")


@step(120)
def check() -> dict[str, Any]:
    host.fresh()
    host.write_settings()
    before = host.shown()
    told = host.command("check", "--json")
    return {"told": told, "unchanged": before == host.shown()}


@step(400)
def semantics() -> dict[str, Any]:
    """The table that the tests' double of the kernel stands for, on this kernel."""
    host.fresh()
    subprocess.run(["modprobe", "-a", "vfio-pci", "vfio_iommu_type1"], check=True)
    runner = [sys.executable, str(CHECKOUT / "tests/hosts/semantics_runner.py"), "--yes-this-machine-is-emulated"]
    done = subprocess.run([*runner, "--device", GPU], capture_output=True, text=True, check=False)
    told: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"results": []}
    return {**told, "code": done.returncode, "err": done.stderr, "after": host.shown()}


# --- taking and giving


@step(240)
def take_and_give() -> dict[str, Any]:
    """The way there and back, each half a second time, and each first only said."""
    host.fresh()
    host.write_settings()
    seen: dict[str, Any] = {"before": host.shown()}
    seen["dry_take"] = host.quick("take", "--dry-run")
    seen["after_dry_take"] = host.shown()
    seen["take"] = host.command("take")
    seen["taken"] = host.shown()
    seen["take_again"] = host.quick("take")
    seen["taken_again"] = host.shown()
    seen["status"] = host.quick("status", "--json")
    seen["dry_give"] = host.quick("give", "--dry-run")
    seen["after_dry_give"] = host.shown()
    seen["give"] = host.command("give")
    seen["given"] = host.shown()
    seen["give_again"] = host.quick("give")
    return seen


def _refused(*words: str) -> dict[str, Any]:
    """Run a command that must change nothing."""
    before = host.shown()
    told = host.quick(*words)
    return {"told": told, "before": before, "after": host.shown()}


@step(180)
def take_refused() -> dict[str, Any]:
    """On a machine where it must not be: without an IOMMU, for one."""
    host.fresh()
    host.write_settings()
    return {"check": host.quick("check", "--json"), "take": _refused("take")}


@step(180)
def boot_refused() -> dict[str, Any]:
    """The same by way of boot, which must leave the device where it was."""
    host.fresh()
    host.write_settings()
    return {"boot": _refused("boot"), "qemus": host.processes("qemu-system")}


@step(120)
def holder_of_card() -> dict[str, Any]:
    """A program has the display's node open."""
    host.fresh()
    host.write_settings()
    holder = subprocess.Popen(["tail", "-f", "/dev/dri/card0"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        host.wait_until(lambda: _has_open(holder.pid, "/dev/dri/card0"), 10)
        return {"pid": holder.pid, "take": _refused("take")}
    finally:
        holder.kill()
        holder.wait()


def _has_open(pid: int, path: str) -> bool:
    try:
        return any(os.readlink(entry) == path for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@step(120)
def foreign_member() -> dict[str, Any]:
    """Another device of the group is with its own driver."""
    first, second = _behind_bridge()
    host.fresh(first, second)
    host.write_settings(gpu={"address": first})
    seen = {"addresses": [first, second], "take": _refused("take"), "check": host.quick("check", "--json")}
    seen["second"] = host.driver(second)
    return seen


@step(240)
def whole_group() -> dict[str, Any]:
    """Both devices of a group are named: both go, and both come back."""
    first, second = _behind_bridge()
    host.fresh(first, second)
    host.write_settings(gpu={"address": first}, more=f'[[pci]]\naddress = "{second}"\n')
    seen: dict[str, Any] = {"take": host.quick("take")}
    seen["taken"] = [host.driver(first), host.driver(second)]
    seen["give"] = host.quick("give")
    seen["given"] = [host.driver(first), host.driver(second)]
    return seen


def _behind_bridge() -> tuple[str, str]:
    displays = [place.name for place in host.DEVICES.iterdir() if _hex(place / "class").startswith("03")]
    first, second = sorted(set(displays) - {GPU})[:2]
    return first, second


# --- someone else has the group


def _qemu_with(device: str) -> subprocess.Popen[bytes]:
    """Another VM, not started by the helper, that has a device and does nothing with it."""
    words = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "tcg", "-m", "64", "-S"]
    return subprocess.Popen(
        ["qemu-system-x86_64", *words, "-device", f"vfio-pci,host={device}"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@step(300)
def holder_of_group() -> dict[str, Any]:
    """Another VM holds the group: give must refuse at once, and must not write `unbind`, which would never return."""
    host.fresh()
    host.write_settings()
    before = host.kernel_log()
    seen: dict[str, Any] = {"take": host.quick("take")}
    other = _qemu_with(GPU)
    try:
        seen["held"] = host.wait_until(lambda: _has_open(other.pid, "/dev/vfio/1"), 40)
        seen["pid"] = other.pid
        seen["take_again"] = host.quick("take")
        seen["give"] = host.quick("give", first=host.impatient)
        seen["boot"] = host.quick("boot")
        seen["during"] = host.shown()
        seen["alive"] = other.poll() is None
        seen["log"] = [line for line in host.kernel_log() - before if "Relaying" in line or "blocked until" in line]
    finally:
        other.kill()
        other.wait()
    seen["give_after"] = host.quick("give")
    seen["after"] = host.shown()
    return seen


# --- what QEMU makes of each profile

PROFILES: dict[str, dict[str, Any]] = {
    "headless": {},
    "blog-2014": {"profile": "blog-2014"},
    "faithful": {"profile": "blog-2014", "faithful": True},
    "display": {"profile": "display"},
}


@step(480)
def profiles() -> dict[str, Any]:
    """Each profile's command line with the real vfio-pci, without booting anything but the firmware."""
    host.fresh()
    subprocess.run(["modprobe", "-a", "vfio-pci", "vfio_iommu_type1"], check=True)
    host.hand(GPU, "vfio-pci")
    few = _hex(host.DEVICES / GPU / "class").startswith("0380")
    seen = {}
    for name, vm in PROFILES.items():
        if few and name in ("blog-2014", "display"):
            continue  # nothing that the other rig does not show
        host.write_settings(vm=vm)
        seen[name] = host.realised()
    host.hand(GPU, "")
    return {"seen": seen, "after": host.shown()}


@step(120)
def qemu_refuses() -> dict[str, Any]:
    """What QEMU says of a device that it cannot have: where it is not bound, and then where the rig forbids it."""
    host.fresh()
    host.write_settings()
    seen = {"not_bound": host.realised()}
    subprocess.run(["modprobe", "-a", "vfio-pci", "vfio_iommu_type1"], check=True)
    host.hand(GPU, "vfio-pci")
    seen["bound"] = host.realised()
    host.hand(GPU, "")
    return seen


# --- a VM's whole life


def _booted() -> dict[str, Any]:
    """Boot until healthy, look from outside, stop: what each command said, what was bound meanwhile."""
    seen: dict[str, Any] = {"before": host.shown()}
    boot = host.start("boot")
    try:
        host.wait_until(lambda: host.state() or boot.poll() is not None, 120)
        waits = boot.poll() is None
        seen["wait"] = host.command("wait", "--for", "healthy", "--timeout", "300", limit_s=330) if waits else {}
        seen["during"] = host.shown()
        seen["state"] = host.state()
        seen["status"] = host.quick("status", "--json")
        seen["give_meanwhile"] = host.quick("give", first=host.impatient)
        seen["boot_alive"] = boot.poll() is None
        seen["stop"] = host.command("stop")
        seen["boot_ended"] = host.wait_until(lambda: boot.poll() is not None, 60)
        seen["boot_code"] = boot.poll()
    finally:
        boot.kill()
        boot.wait()
        seen["said"] = host.said()
        serial = host.RUN / VM / "serial.log"
        seen["serial"] = serial.read_text("utf-8", errors="replace") if serial.exists() else ""
    seen["after"] = host.shown()
    seen["status_after"] = host.quick("status", "--json")
    seen["qemus"] = host.processes("qemu-system")
    return seen


@step(800)
def life_headless() -> dict[str, Any]:
    """The guest sees the GPU at 00:02.0."""
    host.fresh()
    host.write_settings()
    return _booted()


@step(800)
def life_blog() -> dict[str, Any]:
    """The founding recipe, faithfully: behind the root port, with x-vga, kvm=off and +x2apic."""
    host.fresh()
    host.write_settings(vm={"profile": "blog-2014", "faithful": True}, gpu={"allow_console_loss": True})
    return _booted()


@step(300)
def console_refused() -> dict[str, Any]:
    """The host's only console is on it: not without consent; with it the screen goes dark, and comes back."""
    host.fresh()
    host.write_settings()
    without_serial = Path("/run/cmdline")
    without_serial.write_text(Path("/proc/cmdline").read_text().replace("console=ttyS0 ", ""))
    subprocess.run(["mount", "--bind", str(without_serial), "/proc/cmdline"], check=True)
    try:
        seen: dict[str, Any] = {"take": _refused("take")}
        host.write_settings(gpu={"allow_console_loss": True})
        seen["allowed"] = host.quick("take")
        seen["taken"] = host.shown()
        seen["give"] = host.quick("give")
        seen["given"] = host.shown()
    finally:
        subprocess.run(["umount", "/proc/cmdline"], check=True)
    return seen
