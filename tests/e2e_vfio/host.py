"""The outer machine as a host of encoderd: its settings, the helper's commands, what the kernel shows."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.e2e_vfio.rig import MARK

GPU = "0000:00:02.0"
SETTINGS = Path("/etc/encoderd/encoderd-host.toml")
RUN, STATE = Path("/run/encoderd-host"), Path("/var/lib/encoderd-host")
VM = "rig"
DEVICES = Path("/sys/bus/pci/devices")

#: The stand-in is shown to the inner guest as Haswell's graphics, which its i915 must leave alone: there is no GPU.
HASWELL = {"x-pci-vendor-id": 0x8086, "x-pci-device-id": 0x0412}


def word(name: str) -> str:
    """Return what follows `encoderd.rig.NAME=` on the kernel's command line."""
    words = dict(item.partition("=")[::2] for item in Path("/proc/cmdline").read_text().split())
    return words[f"{MARK}.{name}"]


def write_settings(
    vm: Mapping[str, Any] | None = None, gpu: Mapping[str, Any] | None = None, more: str = "", guest: str = ""
) -> None:
    """Write the settings file of this machine; `guest` are words for the inner kernel."""
    vm_settings = {
        "name": VM,
        "cpus": 1,
        "memory_mib": 384,
        "cpu": "auto",
        "accelerator": word("accelerator"),
        "kernel": word("kernel"),
        "initrd": word("initrd"),
        "kernel_arguments": f"console=ttyS0 quiet panic=-1 modprobe.blacklist=i915 tsc=reliable {guest}".strip(),
        **(vm or {}),
    }
    gpu_settings = {"address": GPU, "stand_in": True, "properties": HASWELL, **(gpu or {})}
    # emulation within emulation: everything takes thirty times as long
    limits = {"take_s": 60, "give_s": 20, "qmp_s": 60, "agent_s": 120, "health_s": 120, "silence_s": 20}
    SETTINGS.parent.mkdir(parents=True, exist_ok=True)
    sections = {"vm": vm_settings, "gpu": gpu_settings, "limits": limits}
    SETTINGS.write_text("".join(_section(name, values) for name, values in sections.items()) + more)


def _section(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"{key} = {_toml(value)}\n" for key, value in values.items()]
    return f"[{name}]\n{''.join(lines)}\n"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


def command(*words: str, limit_s: float = 150) -> dict[str, Any]:
    """Run `encoderd-host WORDS` as a person does: exit code, what it said, how long it took."""
    started_s = time.monotonic()
    argv = [word("helper"), *words]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s, check=False
        )
        code, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        code, out, err = None, str(late.stdout or ""), f"still running after {limit_s} s: {late.stderr!r}"
    return {"code": code, "out": out, "err": err, "wall_s": round(time.monotonic() - started_s, 2)}


def quick(*words: str, limit_s: float = 150, first: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """
    Do the same in a fork of this process, which has loaded the helper already: that takes four seconds here.

    `first` is run in the fork, before the helper.
    """
    started_s = time.monotonic()
    pid, place = begin(*words, first=first)
    code, deadline_s = None, started_s + limit_s
    while code is None and time.monotonic() < deadline_s:
        code = ended(pid)
        time.sleep(0.02)
    told = {name: (place / name).read_text("utf-8", errors="replace") for name in ("out", "err")}
    if code is None:
        told["err"] += f"\nstill running after {limit_s} s"
        os.kill(pid, signal.SIGKILL)
        ended(pid, wait=True)
    return {"code": code, **told, "wall_s": round(time.monotonic() - started_s, 2)}


def begin(*words: str, first: Callable[[], None] = lambda: None) -> tuple[int, Path]:
    """Start the helper in a fork, in a session of its own; returns its PID and the folder of its files out and err."""
    import encoderd.host.cli  # noqa: F401 - loaded once, for all forks

    place = Path("/run/rig") / f"{time.monotonic_ns()}"
    place.mkdir(parents=True)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid, place
    code = 70
    try:
        os.setsid()
        for number, path in ((0, "/dev/null"), (1, place / "out"), (2, place / "err")):
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            os.dup2(opened, number)
        sys.argv = [word("helper"), *words]
        first()
        runpy.run_path(word("helper"), run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - it must not run on as a second one of us
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int, *, wait: bool = False) -> int | None:
    """Return a child's exit code, minus the signal's number where one ended it; None while it runs."""
    done, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def killed_at(write: int) -> Callable[[], None]:
    """Return what makes the helper kill itself, as SIGKILL does, right before its write number `write` (from 0)."""

    def prepare() -> None:
        from encoderd.host.kernel import LiveKernel

        whole, count = LiveKernel.write, 0

        def counted(kernel: LiveKernel, path: str, data: str, limit_s: float) -> None:
            nonlocal count
            if count == write:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            whole(kernel, path, data, limit_s)

        LiveKernel.write = counted  # type: ignore[method-assign,assignment]

    return prepare


def impatient() -> None:
    """Where give is to refuse anyway: wait one second for the group, not ten."""
    os.environ["ENCODERD_HOST_LIMITS__GIVE_S"] = "1"


def start(*words: str) -> subprocess.Popen[bytes]:
    """Start `encoderd-host WORDS`; what it says goes to /run/rig.log."""
    with open("/run/rig.log", "wb") as log:
        return subprocess.Popen([word("helper"), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def said() -> str:
    log = Path("/run/rig.log")
    return log.read_text("utf-8", errors="replace") if log.exists() else ""


def state() -> dict[str, Any]:
    """Return the VM's state.json, {} while there is none."""
    try:
        found = json.loads((RUN / VM / "state.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def wait_until(is_so: Callable[[], object], limit_s: float, every_s: float = 0.1) -> bool:
    deadline_s = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(every_s)
    return True


def driver(address: str = GPU) -> str:
    """Return the name of the driver that the kernel has bound, "" for none."""
    link = DEVICES / address / "driver"
    return os.readlink(link).rsplit("/", 1)[1] if link.is_symlink() else ""


def shown(address: str = GPU) -> dict[str, Any]:
    """What the kernel shows of a device and of the machine's screens: equal before and after, nothing was changed."""
    folder = DEVICES / address
    return {
        "driver": driver(address),
        "override": (folder / "driver_override").read_text().strip(),
        "drm": sorted(os.listdir(folder / "drm")) if (folder / "drm").is_dir() else [],
        "dev_dri": sorted(os.listdir("/dev/dri")) if Path("/dev/dri").is_dir() else [],
        "fb": Path("/proc/fb").read_text().splitlines(),
        "consoles": {
            place.name: f"{(place / 'name').read_text().strip()}: {(place / 'bind').read_text().strip()}"
            for place in sorted(Path("/sys/class/vtconsole").iterdir())
        },
        "vfio": sorted(os.listdir("/dev/vfio")) if Path("/dev/vfio").is_dir() else [],
        "journals": sorted(path.name for path in STATE.rglob("*.json")) if STATE.is_dir() else [],
    }


def processes(name: str) -> list[int]:
    """Return the PIDs of the programs whose name begins so, by what the kernel calls them."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "comm").read_text().startswith(name) and os.readlink(folder / "exe"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return sorted(found)


def write(path: str, data: str) -> None:
    """Write to sysfs without the helper, once, as it is."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, data.encode())
    finally:
        os.close(descriptor)


def hand(address: str, to: str) -> None:
    """Bind a device by hand: to vfio-pci, or with "" to whichever driver is its own."""
    if driver(address) == to and to:
        return
    folder = str(DEVICES / address)
    write(f"{folder}/driver_override", to or "\n")
    if driver(address):
        write(f"{folder}/driver/unbind", address)
    write("/sys/bus/pci/drivers_probe", address)


def fresh(*addresses: str) -> None:
    """Bring the machine back to where it was after its boot, whatever the step before left."""
    for name in ("encoderd-host", "qemu-system"):
        for pid in processes(name):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes("qemu-system"), 20)
    for address in addresses or (GPU,):
        if driver(address) in ("vfio-pci", "") or (DEVICES / address / "driver_override").read_text() != "(null)\n":
            hand(address, "")
    for console in Path("/sys/class/vtconsole").iterdir():
        if "frame buffer" in (console / "name").read_text() and (console / "bind").read_text().strip() == "0":
            write(str(console / "bind"), "1")
    for folder in (RUN, STATE):
        shutil.rmtree(folder, ignore_errors=True)


def realised(limit_s: float = 40) -> dict[str, Any]:
    """
    Start the very command line that `encoderd-host argv` prints, let the firmware number the buses, and quit.

    No kernel is needed for that: what QEMU's monitor shows of the GPU, or what QEMU said when it refused.
    """
    told = quick("argv")
    if told["code"] != 0:
        return {"argv": told, "err": "", "seen": {}, "status": ""}
    (RUN / VM).mkdir(parents=True, exist_ok=True)
    qemu = subprocess.Popen(
        ["sh", "-c", f"exec {told['out']}"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    path, status = RUN / VM / "qmp.sock", ""
    seen: dict[str, str] = {}
    try:
        if wait_until(lambda: path.exists() or qemu.poll() is not None, limit_s) and qemu.poll() is None:
            with Monitor(path, limit_s) as monitor:
                status = monitor.ask("query-status")["status"]
                monitor.ask("cont")
                wait_until(lambda: seen_by(monitor, seen), 10, 0.3)
                monitor.ask("quit")
        _, err = qemu.communicate(timeout=limit_s)
    except OSError:
        _, err = qemu.communicate(timeout=limit_s)
    finally:
        qemu.kill()
    return {"argv": told, "err": err, "seen": seen, "status": status, "code": qemu.returncode}


class Monitor:
    """QEMU's monitor, asked without the helper's own client."""

    def __init__(self, path: Path, limit_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(limit_s)
        wait_until(lambda: self._socket.connect_ex(str(path)) == 0, limit_s)
        self._lines = self._socket.makefile("rb")
        self._lines.readline()
        self.ask("qmp_capabilities")

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def ask(self, command: str) -> Any:
        self._socket.sendall(json.dumps({"execute": command}).encode() + b"\n")
        while line := self._lines.readline():
            answer = json.loads(line)
            if "event" not in answer:
                return answer.get("return", answer)
        return {}


def seen_by(monitor: Monitor, seen: dict[str, str]) -> dict[str, str]:
    """
    Put the guest's devices into `seen`: id on the command line → "bus:slot vendor:device class".

    Returns the GPU's, once it has its place: while the firmware counts the buses, the one it is at is number ff.
    """
    buses = list(monitor.ask("query-pci"))
    while buses:
        bus = buses.pop()
        for device in bus["devices"]:
            buses += [device["pci_bridge"]] if "devices" in device.get("pci_bridge", {}) else []
            ids, place = device["id"], f"{device['bus']:02x}:{device['slot']:02x}"
            shown = f"{place} {ids['vendor']:04x}:{ids['device']:04x} {device['class_info']['class']:04x}"
            if device["qdev_id"]:
                seen[device["qdev_id"]] = shown
    return {name: shown for name, shown in seen.items() if name in ("gpu0", "hostpci0") and not shown.startswith("ff:")}


def kernel_log() -> set[str]:
    return set(subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout.splitlines())
