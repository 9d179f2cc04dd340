"""
Runs the table of `semantics.py` on the kernel below it and prints JSON: only inside an emulated machine.

    python3 semantics_runner.py --yes-this-machine-is-emulated --device 0000:00:02.0 [--hold-limit 8] [--only NAME ...]

vfio-pci must be loaded (modprobe vfio-pci; on a kernel with an IOMMU vfio_iommu_type1 as well), and the device at home
with its own driver. Exit code: 0 when every rule that could be tried holds. Imports Python's own library only.

Output: {"release", "device", "driver", "group", "results": [{"name", "ok", "left_out", "actions": [{"action",
"expected", "got"}]}]}. It refuses to start on a machine whose device is not a display device.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from semantics import ABSENT, GO_HOME, SEMANTICS, agrees, filled  # type: ignore[import-not-found]

#: _IO(';', 100 + n): linux/vfio.h.
GROUP_GET_STATUS, GROUP_SET_CONTAINER, SET_IOMMU, GET_DEVICE_FD = 0x3B67, 0x3B68, 0x3B66, 0x3B6A
TYPE1_IOMMU = 1
#: A write that is not back by then hangs, in seconds; ordinary ones take milliseconds (bochs-drm 40 ms under TCG).
HANG_S = 3.0


class Machine:
    """The kernel this runs on; every write is done by a child."""

    def __init__(self, places: dict[str, str], hold_limit_s: float) -> None:
        self.places = places
        self.hold_limit_s = hold_limit_s
        self.holder = 0
        self.hanging: tuple[int, int] | None = None  # (pid, read end of its pipe)

    def run(self, action: tuple[str, ...]) -> str:
        kind, *words = (filled(word, self.places) for word in action)
        return str(getattr(self, f"do_{kind}")(*words))

    def do_write(self, path: str, data: str) -> str:
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                said = "ok" if os.write(descriptor, data.encode()) == len(data) else "short"
            except OSError as error:
                said = errno.errorcode.get(error.errno or 0, str(error.errno))
            os.write(write_end, said.encode())
            os._exit(0)
        os.close(write_end)
        self.hanging = pid, read_end
        return self._answer(HANG_S)

    def _answer(self, limit_s: float) -> str:
        if self.hanging is None:
            return "nothing hangs"
        pid, read_end = self.hanging
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            done, _ = os.waitpid(pid, os.WNOHANG)
            if done:
                said = os.read(read_end, 64).decode()
                os.close(read_end)
                self.hanging = None
                return said
            time.sleep(0.005)
        return "hangs"

    def do_finish(self) -> str:
        return self._answer(self.hold_limit_s)

    def do_link(self, path: str) -> str:
        try:
            return os.path.basename(os.readlink(path))
        except OSError:
            return ""

    def do_text(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return ""

    def do_exists(self, path: str) -> str:
        return "yes" if os.path.exists(path) else "no"

    def do_settle(self) -> str:
        with contextlib.suppress(OSError):  # where there is udev
            subprocess.run(["udevadm", "settle", "--timeout=5"], capture_output=True, check=False)
        time.sleep(0.3)
        return "ok"

    def do_hold(self, device: str) -> str:
        """Open the device as QEMU does: container, group, IOMMU, device. The group node alone does not hold it."""
        read_end, write_end = os.pipe()
        self.holder = os.fork()
        if self.holder == 0:
            said = "ok"
            try:
                container = os.open("/dev/vfio/vfio", os.O_RDWR)
                group = os.open(filled("/dev/vfio/{group}", self.places), os.O_RDWR)
                status = fcntl.ioctl(group, GROUP_GET_STATUS, struct.pack("II", 8, 0))
                said = "ok" if struct.unpack("II", status)[1] & 1 else "not viable"
                fcntl.ioctl(group, GROUP_SET_CONTAINER, struct.pack("i", container))
                fcntl.ioctl(container, SET_IOMMU, TYPE1_IOMMU)
                fcntl.ioctl(group, GET_DEVICE_FD, device.encode() + b"\0")
            except OSError as error:
                said = errno.errorcode.get(error.errno or 0, str(error.errno))
            os.write(write_end, said.encode())
            while said == "ok":
                signal.pause()
            os._exit(0)
        os.close(write_end)
        said = os.read(read_end, 64).decode()
        os.close(read_end)
        return said

    def do_release(self) -> str:
        if not self.holder:
            return "nobody holds it"
        os.kill(self.holder, signal.SIGKILL)
        os.waitpid(self.holder, 0)
        self.holder = 0
        return "ok"


def first_bridge() -> str:
    folder = "/sys/bus/pci/devices"
    for address in sorted(os.listdir(folder)):
        with open(f"{folder}/{address}/class", encoding="ascii") as file:
            if file.read().startswith("0x0604"):
                return address
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", required=True)
    parser.add_argument("--yes-this-machine-is-emulated", action="store_true", required=True)
    parser.add_argument("--hold-limit", type=float, default=8.0, help="seconds for a write that hung to come back")
    parser.add_argument("--only", nargs="*", default=[])
    wanted = parser.parse_args()

    folder = f"/sys/bus/pci/devices/{wanted.device}"
    with open(f"{folder}/class", encoding="ascii") as file:
        if not file.read().startswith("0x03"):
            sys.exit(f"{wanted.device} is not a display device")
    places = {
        "device": wanted.device,
        "folder": folder,
        "driver": os.path.basename(os.readlink(f"{folder}/driver")),
        "group": os.path.basename(os.readlink(f"{folder}/iommu_group"))
        if os.path.exists(f"{folder}/iommu_group")
        else "",
        "absent": ABSENT,
        "bridge": first_bridge(),
    }
    if places["driver"] == "vfio-pci":
        sys.exit(f"{wanted.device} is not at home: it is with vfio-pci")
    has = {
        "iommu" if places["group"] else "no_iommu",
        *(["bridge"] if places["bridge"] else []),
        *(["drm"] if os.path.isdir(f"{folder}/drm") else []),
        *(["held"] if places["group"] and os.path.exists("/dev/vfio/vfio") else []),
    }
    machine = Machine(places, wanted.hold_limit)
    results = []
    for semantic in SEMANTICS:
        if wanted.only and semantic.name not in wanted.only:
            continue
        missing = sorted(set(semantic.needs) - has)
        done: list[dict[str, str]] = []
        for action, expected in [] if missing else semantic.actions:
            got = machine.run(action)
            words = " ".join(filled(word, places)[:100] for word in action)
            done.append({"action": words, "expected": filled(expected, places), "got": got})
            if got == "hangs" and expected != "hangs":
                break
        ok = all(agrees(row["expected"], row["got"]) for row in done)
        results.append({"name": semantic.name, "ok": ok, "left_out": " ".join(missing), "actions": done})
        for action in [] if missing else GO_HOME:
            machine.run(action)
    said = {"release": os.uname().release, **{key: places[key] for key in ("device", "driver", "group")}}
    print(json.dumps({**said, "results": results}, indent=1))
    return 0 if all(row["ok"] for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
