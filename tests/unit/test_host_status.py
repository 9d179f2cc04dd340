"""Where the VM stands, on recorded hosts: state.json is a hint, processes and devices decide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from encoderd.host.settings import HostSettings
from encoderd.host.state import Recorded, RunState
from encoderd.host.status import Standing, look
from tests.hosts.tree import HostTree

SETTINGS = HostSettings()
RECORDED = Recorded(
    state=RunState.HEALTHY, since=5.0, pid=10, pid_start=100, boot_id="b", qemu_pid=11, qemu_start=110,
    health={"gate": "open"}, message="idle", lives=1,
)  # fmt: skip


@dataclass(frozen=True)
class Device:
    address: object = "0000:00:02.0"
    driver: str | None = "i915"
    word: str = "host"
    remedy: str = ""


HOST, TAKEN = Device(), Device(driver="vfio-pci", word="taken")
HALF = Device(driver=None, word="half-taken", remedy="Type: encoderd-host give")
MISSING = Device(driver=None, word="missing", remedy="lspci -D")


def seen(folder: Path, recorded: Recorded | None, alive: set[str], device: Device | None) -> tuple[object, ...]:
    tree = HostTree(folder)
    tree.write("/proc/sys/kernel/random/boot_id", "b\n")
    if recorded is not None:
        tree.write(f"{SETTINGS.run_folder}/state.json", recorded.to_json())
    for name, pid, start in (("helper", 10, 100), ("qemu", 11, 110)):
        if name in alive:
            tree.write(f"/proc/{pid}/stat", f"{pid} ({name}) S" + " 1" * 18 + f" {start} 9")
    devices: list[Standing] = [device] if device is not None else []
    status = look(tree.root, SETTINGS, standing=lambda: devices, live=False)
    return status.state, status.helper_pid, status.qemu_pid, status.message, status.remedy


BOTH = {"helper", "qemu"}
FAILED = replace(RECORDED, state=RunState.FAILED, message="QEMU died. → See dmesg")


@pytest.mark.parametrize(
    ("recorded", "alive", "device", "expected"),
    [
        (None, set(), None, ("ready", None, None, "nothing runs", "")),
        (None, set(), HOST, ("ready", None, None, "nothing runs; 0000:00:02.0 is host (driver i915)", "")),
        (None, set(), TAKEN, ("taken", None, None, "nothing runs; 0000:00:02.0 is taken (driver vfio-pci)", "")),
        (None, set(), HALF, ("failed", None, None, "nothing runs; 0000:00:02.0 is half-taken (driver none)",
                             "Type: encoderd-host give")),
        (None, set(), MISSING, ("absent", None, None, "nothing runs; 0000:00:02.0 is missing (driver none)",
                                "lspci -D")),
        (RECORDED, BOTH, TAKEN, ("healthy", 10, 11, "idle", "")),
        (RECORDED, {"helper"}, TAKEN, ("stopped", 10, None, "QEMU has just ended", "")),
        (RECORDED, {"qemu"}, TAKEN, ("failed", None, 11, "the helper is gone, and its QEMU (PID 11) still runs",
                                     "End it, and give its devices back: encoderd-host stop")),
        (replace(RECORDED, pid=0, state=RunState.STOPPING, message="stopping, without the helper"), {"qemu"}, TAKEN,
         ("stopping", None, 11, "stopping, without the helper",
          "When nobody does so any more: encoderd-host stop")),
        (RECORDED, set(), TAKEN, ("failed", None, None,
                                  "the helper ended while it was healthy, without a word: was it killed?",
                                  "Give the devices back: encoderd-host give; then start anew: "
                                  "systemctl start encoderd-vm")),
        (FAILED, set(), HOST, ("failed", None, None, "QEMU died.", "See dmesg")),
        (replace(RECORDED, boot_id="a"), BOTH, HOST,
         ("ready", None, None, "nothing runs; 0000:00:02.0 is host (driver i915)", "")),
        (replace(RECORDED, pid_start=99), {"helper"}, HOST,
         ("failed", None, None, "the helper ended while it was healthy, without a word: was it killed?",
          "Give the devices back: encoderd-host give; then start anew: systemctl start encoderd-vm")),
        (replace(RECORDED, state=RunState.TAKING, qemu_pid=0), {"helper"}, HALF, ("taking", 10, None, "idle", "")),
    ],
)  # fmt: skip
def test_what_is_seen(
    recorded: Recorded | None, alive: set[str], device: Device | None, expected: tuple[object, ...], tmp_path: Path
) -> None:
    assert expected == seen(tmp_path, recorded, alive, device)


def test_the_health_of_a_vm_that_is_gone_is_not_shown(tmp_path: Path) -> None:
    tree = HostTree(tmp_path)
    tree.write("/proc/sys/kernel/random/boot_id", "b")
    tree.write(f"{SETTINGS.run_folder}/state.json", RECORDED.to_json())

    told = look(tree.root, SETTINGS, live=False).as_json()

    assert (None, "failed", []) == (told["health"], told["state"], told["devices"])
