"""The rig itself: it does nothing on this machine, and its kernels are what the tests of the helper stand on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e_vfio import inside
from tests.e2e_vfio.conftest import Telling
from tests.e2e_vfio.rigs import RIGS

GPU = "0000:00:02.0"


def test_nothing_is_done_on_this_machine() -> None:
    """Here 0000:00:02.0 may be the disk that this machine runs from."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e_vfio.inside", "machine"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("This is not the emulated machine: its kernel's command line has no encoderd.rig=.")


@pytest.mark.parametrize(
    ("command_line", "may"),
    [
        ("console=ttyS0 encoderd.rig=display quiet", True),
        ("console=ttyS0 quiet", False),
        ("encoderd.rig.steps=machine xencoderd.rig=display", False),
        ("", False),
    ],
)
def test_the_mark_is_a_whole_word(command_line: str, may: bool) -> None:
    assert may == (inside.refusal(command_line) == "")


@pytest.mark.parametrize("name", RIGS)
def test_each_rig_is_what_it_says(told: Telling, name: str) -> None:
    """The display is at 0000:00:02.0 with its driver; there are groups where there is an IOMMU, and only there."""
    seen = told(name, "machine")
    gpu = seen["devices"][GPU]
    has_iommu = name not in {"no-iommu", "iommu-off"}

    assert ("1234:1111", "bochs-drm") == (gpu["ids"], gpu["driver"])
    assert ("0300" if name == "vga" else "0380") == gpu["class"]
    assert has_iommu == (gpu["group"] != "")
    assert (["dmar0"] if has_iommu else []) == seen["iommus"]
    assert RIGS[name].intel != seen["kvm"]
    assert ["bochs-drmdrmfb"] == [line.split()[1] for line in seen["shown"]["fb"][:1]]


@pytest.mark.parametrize("name", ["display", "no-iommu"])
def test_the_kernel_does_what_its_double_claims(told: Telling, name: str) -> None:
    """Every rule of `tests/hosts/semantics.py`, on the real kernel; what a rig lacks, others have."""
    seen = told(name, "semantics")
    broken = [result for result in seen["results"] if not result["ok"]]
    left_out = {rule for result in seen["results"] if result["left_out"] for rule in [result["name"]]}

    assert [] == broken
    assert (0, "") == (seen["code"], seen["err"])
    assert len(seen["results"]) > len(left_out) + 10


def test_no_rule_of_the_double_is_left_untried(told: Telling) -> None:
    tried = {
        result["name"]
        for name in ("display", "no-iommu")
        for result in told(name, "semantics")["results"]
        if not result["left_out"]
    }
    known = {result["name"] for result in told("display", "semantics")["results"]}

    assert set() == known - tried
