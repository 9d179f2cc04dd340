"""A display device is really taken from its driver and given back, and is not where it must not be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e_vfio.conftest import Telling

GPU = "0000:00:02.0"
SIGKILL = -9
#: What give leaves behind on purpose: how often this kernel took the GPU back well.
MEMORY = "round_trips.json"


def at_home(shown: dict[str, Any]) -> dict[str, Any]:
    """What must be as before: all but the nodes that vfio's modules bring once, and the helper's own notes."""
    return {name: value for name, value in shown.items() if name not in {"vfio", "journals"}}


def journals(shown: dict[str, Any]) -> list[str]:
    return [name for name in shown["journals"] if name != MEMORY]


def word_of(status: dict[str, Any]) -> str:
    """Where `status --json` says that the device stands."""
    return str(json.loads(status["out"])["devices"][0]["word"])


def test_a_good_host_passes_every_check(told: Telling) -> None:
    """Warnings are allowed: the stand-in cannot be reset, and the console is on it."""
    seen = told("display", "check")
    findings = json.loads(seen["told"]["out"])
    failing = [finding for finding in findings if finding["verdict"] == "fail"]

    assert [] == failing
    assert (0, True) == (seen["told"]["code"], seen["unchanged"])
    assert {"iommu", "iommu_group", "interrupt_remapping", "vfio_pci", "gpu"} <= {one["check"] for one in findings}


def test_a_dry_run_tells_the_writes_and_makes_none(told: Telling) -> None:
    seen = told("display", "take_and_give")
    writes = [line.split(" (")[0] for line in seen["dry_take"]["out"].splitlines()]
    back = [line.split(" (")[0] for line in seen["dry_give"]["out"].splitlines()]

    assert (0, 0) == (seen["dry_take"]["code"], seen["dry_give"]["code"])
    assert seen["before"] == seen["after_dry_take"]
    assert seen["taken"] == seen["after_dry_give"]
    assert [
        f"write 'vfio-pci' to /sys/bus/pci/devices/{GPU}/driver_override",
        f"write '{GPU}' to /sys/bus/pci/drivers/bochs-drm/unbind",
        f"write '{GPU}' to /sys/bus/pci/drivers_probe",
    ] == writes
    assert [
        f"write '\\n' to /sys/bus/pci/devices/{GPU}/driver_override",
        f"write '{GPU}' to /sys/bus/pci/drivers/vfio-pci/unbind",
        f"write '{GPU}' to /sys/bus/pci/drivers/bochs-drm/bind",
    ] == back


def test_the_device_goes_to_vfio_pci_and_comes_back(told: Telling) -> None:
    """The driver's link, the group's node, the DRM node and the consoles, as the kernel shows them; twice is once."""
    seen = told("display", "take_and_give")
    taken, given = seen["taken"], seen["given"]

    assert [0, 0, 0, 0] == [seen[name]["code"] for name in ("take", "take_again", "give", "give_again")]
    assert ("vfio-pci", "vfio-pci", []) == (taken["driver"], taken["override"], taken["drm"])
    assert [f"{GPU}.json"] == taken["journals"]
    assert "1" in taken["vfio"]
    assert taken == seen["taken_again"]
    assert "taken" == word_of(seen["status"])
    assert at_home(seen["before"]) == at_home(given)
    assert [] == journals(given)
    assert "1" not in given["vfio"]


def test_the_console_stays_on_the_screens_that_are_left(told: Telling) -> None:
    """The kernel lets the text console go with the frame buffer it was on, though two other cards have one."""
    seen = told("display", "take_and_give")

    assert 3 == len(seen["before"]["fb"])
    assert 2 == len(seen["taken"]["fb"])
    assert seen["before"]["consoles"] == seen["taken"]["consoles"]


def test_a_device_that_is_open_is_not_taken(told: Telling) -> None:
    """The kernel would let go of it without a word; the message names program, PID and node."""
    seen = told("display", "holder_of_card")
    take = seen["take"]

    assert 1 == take["told"]["code"]
    assert f"tail (PID {seen['pid']}: /dev/dri/card0)" in take["told"]["err"]
    assert f"kill {seen['pid']}" in take["told"]["err"]
    assert at_home(take["before"]) == at_home(take["after"])
    assert [] == journals(take["after"])


def test_nothing_is_unbound_while_another_vm_holds_the_group(told: Telling) -> None:
    """Unbinding would wait in the kernel for that VM's end, past any signal: it is not even tried."""
    seen = told("display", "holder_of_group")
    pid = seen["pid"]

    assert seen["held"]
    assert (1, 1) == (seen["give"]["code"], seen["boot"]["code"])
    assert f"still used by qemu-system-x86 (PID {pid})" in seen["give"]["err"]
    assert f"held through VFIO by qemu-system-x86 (PID {pid}" in seen["boot"]["err"]
    assert ("vfio-pci", True, []) == (seen["during"]["driver"], seen["alive"], seen["log"])
    assert (0, "bochs-drm") == (seen["give_after"]["code"], seen["after"]["driver"])


def test_a_group_that_the_host_uses_is_not_taken(told: Telling) -> None:
    seen = told("display", "foreign_member")
    _, second = seen["addresses"]
    take = seen["take"]
    failing = {one["check"] for one in json.loads(seen["check"]["out"]) if one["verdict"] == "fail"}

    assert 1 == take["told"]["code"]
    assert f"{second} [1234:1111], driver bochs-drm; QEMU would say “group" in take["told"]["err"]
    assert f'[[pci]] address = "{second}"' in take["told"]["err"].replace("\n", " ")
    assert take["before"] == take["after"]
    assert ({"group_members"}, "bochs-drm") == (failing, seen["second"])


def test_a_group_is_taken_whole_when_all_of_it_is_named(told: Telling) -> None:
    """What the refusal above tells the user to do works."""
    seen = told("display", "whole_group")

    assert (0, ["vfio-pci", "vfio-pci"]) == (seen["take"]["code"], seen["taken"]), seen["take"]["err"]
    assert (0, ["bochs-drm", "bochs-drm"]) == (seen["give"]["code"], seen["given"])


def test_the_only_console_goes_with_consent_only(told: Telling) -> None:
    seen = told("vga", "console_refused")
    refused = seen["take"]

    assert 1 == refused["told"]["code"]
    assert "allow_console_loss = true" in refused["told"]["err"]
    assert refused["before"] == refused["after"]
    assert (0, 0) == (seen["allowed"]["code"], seen["give"]["code"])
    assert ("vfio-pci", []) == (seen["taken"]["driver"], seen["taken"]["fb"])
    assert at_home(refused["before"]) == at_home(seen["given"])


@pytest.mark.parametrize(("step", "word"), [("killed_taking", "half-taken"), ("killed_giving", "half-given")])
def test_a_helper_that_was_killed_leaves_nothing_that_give_does_not_undo(told: Telling, step: str, word: str) -> None:
    """SIGKILL before each write to sysfs: `status` says so, `give` brings the device home, whatever was reached."""
    seen = told("deaths", step)
    deaths = seen["deaths"]

    assert [SIGKILL] * (len(deaths) - 1) + [0] == [death["code"] for death in deaths]
    assert len(deaths) > 3, "too few writes were tried"
    for death in deaths[:-1]:
        assert (1, word) == (death["status"]["code"], word_of(death["status"])), death["killed_at"]
        assert "encoderd-host give" in death["status"]["out"]
        assert (0, at_home(seen["before"])) == (death["give"]["code"], at_home(death["after"])), death["killed_at"]
        assert [] == journals(death["after"])


def test_a_boot_that_was_killed_can_be_ended_by_another_helper(told: Telling) -> None:
    """Its QEMU lives on: `give` leaves the device with it, `stop` ends it, and then gives."""
    seen = told("deaths", "killed_booting")

    assert [("taking", 0), ("starting", 1), ("booting", 1)] == [
        (death["state"], len(death["qemus"])) for death in seen["deaths"]
    ]
    for death in seen["deaths"]:
        assert (SIGKILL, 1) == (death["code"], death["status"]["code"]), death["said"]
        if death["qemus"]:
            assert 1 == death["give"]["code"], death["killed_at"]
            assert f"still used by qemu-system-x86 (PID {death['qemus'][0]})" in death["give"]["err"]
            assert 0 == death["stop"]["code"], death["stop"]["err"]
        assert (0, []) == (death["give_at_last"]["code"], death["qemus_after"])
        assert at_home(seen["before"]) == at_home(death["after"])
        assert [] == journals(death["after"])
