"""Hosts on which it cannot work: what the user is told, and that the device stays with its driver."""

from __future__ import annotations

import json
from typing import Any

import pytest

from encoderd.host.explain import explain
from tests.e2e_vfio.conftest import Telling


def failing(told: dict[str, Any]) -> dict[str, str]:
    """Check → remedy, of what fails."""
    return {one["check"]: one["remedy"] for one in json.loads(told["out"]) if one["verdict"] == "fail"}


@pytest.mark.parametrize(
    ("rig", "check", "remedy"),
    [
        ("no-iommu", "vt_d", "-device intel-iommu,intremap=on"),
        ("iommu-off", "iommu", "Replace intel_iommu=off by intel_iommu=on"),
    ],
)
def test_without_an_iommu_nothing_is_taken(told: Telling, rig: str, check: str, remedy: str) -> None:
    """
    Every write would succeed there, and leave the device without any driver.

    One cause is told once, with what to do about it.
    """
    seen = told(rig, "take_refused")
    take = seen["take"]

    assert (1, [check]) == (seen["check"]["code"], list(failing(seen["check"])))
    assert remedy in failing(seen["check"])[check]
    assert 1 == take["told"]["code"]
    assert remedy in take["told"]["err"]
    assert take["before"] == take["after"]
    assert "bochs-drm" == take["after"]["driver"]


@pytest.mark.parametrize(("rig", "word"), [("no-iommu", "vIOMMU|virtual IOMMU"), ("no-remapping", "bit 3 of ecap")])
def test_boot_refuses_before_anything_is_started(told: Telling, rig: str, word: str) -> None:
    seen = told(rig, "boot_refused")
    boot = seen["boot"]

    assert 1 == boot["told"]["code"]
    assert any(one in boot["told"]["err"] for one in word.split("|")), boot["told"]["err"]
    assert ("bochs-drm", []) == (boot["after"]["driver"], seen["qemus"])
    assert boot["before"]["consoles"] == boot["after"]["consoles"]


def test_without_interrupt_remapping_the_check_knows_what_qemu_would_say(told: Telling) -> None:
    """The check fails with the words that QEMU really has for it, and the translator knows those words."""
    seen = told("no-remapping", "take_refused")
    said = told("no-remapping", "qemu_refuses")["bound"]["err"]
    causes = [line.cause for line in explain(said) if not line.harmless]

    assert ["interrupt_remapping"] == list(failing(seen["check"]))
    assert "Failed to set iommu for container: Operation not permitted" in said
    assert causes and "remap" in causes[0]


def test_qemu_s_word_for_a_device_with_its_own_driver_is_translated(told: Telling) -> None:
    said = told("no-remapping", "qemu_refuses")["not_bound"]["err"]
    causes = [line.cause for line in explain(said) if not line.harmless]

    assert "failed to open /dev/vfio/1: No such file or directory" in said
    assert causes and "vfio-pci" in causes[0]
