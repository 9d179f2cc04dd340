"""Guests that get the device: which one QEMU shows for each profile, and a whole life from take to give."""

from __future__ import annotations

import json

import pytest

from tests.e2e_vfio.conftest import Telling
from tests.e2e_vfio.test_handover import at_home, journals

#: profile → (id on the command line, where the guest has it)
PLACES = {
    "headless": ("gpu0", "00:02"),
    "blog-2014": ("hostpci0", "01:00"),
    "faithful": ("hostpci0", "01:00"),
    "display": ("gpu0", "00:02"),
}


@pytest.mark.parametrize(
    ("rig", "class_code", "profile"),
    [("display", "0380", "headless"), ("display", "0380", "faithful"), *(("vga", "0300", name) for name in PLACES)],
)
def test_each_profile_s_command_line_is_realised(told: Telling, rig: str, class_code: str, profile: str) -> None:
    """As `argv` prints it, pasted into a shell; the guest sees Haswell's graphics where the profile says."""
    seen = told(rig, "profiles")["seen"][profile]
    name, place = PLACES[profile]

    assert 0 == seen["argv"]["code"], seen["argv"]["err"]
    if (rig, profile) == ("display", "faithful"):
        assert "VGA region index 8: Invalid argument" in seen["err"]  # x-vga, on a device that is not class 0300
        assert "x-vga=on" in seen["argv"]["err"]
        return
    assert ("prelaunch", 0) == (seen["status"], seen["code"]), seen["err"]
    assert f"{place} 8086:0412 {class_code}" == seen["seen"][name]


def test_the_root_port_of_2014_is_there(told: Telling) -> None:
    """An ioh3420 in the faithful profile, a pcie-root-port otherwise, at 1c.0 and with the name that the line used."""
    seen = told("vga", "profiles")["seen"]

    assert "00:1c 8086:3420 0604" == seen["faithful"]["seen"]["ich9-pcie-port-1"]
    assert "00:1c 1b36:000c 0604" == seen["blog-2014"]["seen"]["ich9-pcie-port-1"]


@pytest.mark.parametrize("rig", ["display", "vga"])
def test_the_profiles_leave_the_device_as_it_was(told: Telling, rig: str) -> None:
    assert at_home(told(rig, "machine")["shown"]) == at_home(told(rig, "profiles")["after"])


@pytest.mark.parametrize(
    ("rig", "step", "sight"),
    [
        ("display", "life_headless", "0000:00:02.0 0x8086 0x0412 0x038000"),
        ("vga", "life_blog", "0000:01:00.0 0x8086 0x0412 0x030000"),
    ],
)
def test_a_guest_s_whole_life(told: Telling, rig: str, step: str, sight: str) -> None:
    """
    take → QEMU → the guest's kernel sees the GPU → its daemon is well → stop → off → the device is with its driver.

    `give` in between is refused, and the guest does not notice.
    """
    seen = told(rig, step)
    status, after = json.loads(seen["status"]["out"]), json.loads(seen["status_after"]["out"])

    assert 0 == seen["wait"]["code"], seen["said"]
    assert f"tiny guest: sees {sight}\n" in seen["serial"].replace("\r", "")
    assert ("vfio-pci", "vfio-pci") == (seen["during"]["driver"], seen["during"]["override"])
    assert ("healthy", "taken", "idle") == (status["state"], status["devices"][0]["word"], status["health"]["status"])
    assert (1, True) == (seen["give_meanwhile"]["code"], seen["boot_alive"])
    assert (0, True, 0) == (seen["stop"]["code"], seen["boot_ended"], seen["boot_code"]), seen["said"]
    assert "agent: the guest is off" in seen["said"]
    assert ("ready", "host", None) == (after["state"], after["devices"][0]["word"], after["qemu_pid"])
    assert (at_home(seen["before"]), [], []) == (at_home(seen["after"]), journals(seen["after"]), seen["qemus"])
