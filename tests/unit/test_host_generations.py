"""What is known of each generation, by device id: names, QEMU's numbers, verdicts and advice."""

from __future__ import annotations

import pytest

from encoderd.host.generations import Standing, generation
from encoderd.preflight.gpu_ids import GPU_IDS


@pytest.mark.parametrize(
    ("device_id", "name", "igd_gen", "verdict"),
    [
        (0x0102, "Sandy or Ivy Bridge", 6, Standing.UNPROVEN),
        (0x0166, "Sandy or Ivy Bridge", 6, Standing.UNPROVEN),
        (0x0412, "Haswell", 7, Standing.UNPROVEN),
        (0x0A16, "Haswell", 7, Standing.UNPROVEN),
        (0x0D22, "Haswell", 7, Standing.UNPROVEN),
        (0x1602, "Broadwell", 8, Standing.BLOCKED),
        (0x163E, "Broadwell", 8, Standing.BLOCKED),
        (0x1912, "Skylake", 9, Standing.WORKS),
        (0x0A84, "Apollo Lake", 9, Standing.WORKS),
        (0x5A85, "Apollo Lake", 9, Standing.WORKS),
        (0x3185, "Gemini Lake", 9, Standing.WORKS),
        (0x5912, "Kaby Lake", 9, Standing.WORKS),
        (0x3E92, "Coffee Lake", 9, Standing.WORKS),
        (0x9BC5, "Comet Lake", 9, Standing.WORKS),
        (0x8A52, "Ice Lake", 11, Standing.WORKS),
        (0x4E71, "Elkhart or Jasper Lake", 11, Standing.WORKS),
        (0x9A49, "Tiger Lake", 12, Standing.WORKS),
        (0x4C8A, "Rocket Lake", 12, Standing.WORKS),
        (0x4680, "Alder Lake", 12, Standing.WORKS),
        (0x46D1, "Alder Lake-N", 12, Standing.WORKS),
        (0xA780, "Raptor Lake", 12, Standing.WORKS),
        (0x7D55, "Meteor Lake", -1, Standing.WORKS),
        (0x7D67, "Arrow Lake", -1, Standing.WORKS),
        (0x64A0, "Lunar Lake", -1, Standing.UNPROVEN),
        (0xB080, "Panther Lake", -1, Standing.NEW),
        (0x56A5, "Arc A (Alchemist)", -1, Standing.WORKS),
        (0xE20B, "Arc B (Battlemage)", -1, Standing.NEW),
        (0xD740, "unknown", -1, Standing.NEW),
        (0x0000, "unknown", -1, Standing.NEW),
    ],
)
def test_an_id_s_generation(device_id: int, name: str, igd_gen: int, verdict: Standing) -> None:
    known = generation(device_id)

    assert (name, igd_gen, verdict) == (known.name, known.igd_gen, known.verdict)


def test_every_gpu_that_the_guest_s_checks_know_has_a_generation_here() -> None:
    """Two tables of the same things, kept apart because host and guest share no code: they must not drift."""
    unknown = [
        f"{family} {device_id}"
        for family, names in GPU_IDS.items()
        for ids in names.values()
        for device_id in ids.split()
        if generation(int(device_id, 16)).name == "unknown"
    ]

    assert unknown == []


@pytest.mark.parametrize(
    ("family", "name"),
    [("HSW", "Haswell"), ("BDW", "Broadwell"), ("SKL", "Skylake"), ("APL", "Apollo Lake"), ("WHL", "Whiskey Lake"),
     ("CFL", "Coffee Lake"), ("ADL-N", "Alder Lake-N"), ("MTL", "Meteor Lake"), ("ARL", "Arrow Lake")],
)  # fmt: skip
def test_families_whose_ids_begin_alike_are_told_apart(family: str, name: str) -> None:
    names = {generation(int(device_id, 16)).name for ids in GPU_IDS[family].values() for device_id in ids.split()}

    assert {name} == names


@pytest.mark.parametrize(
    ("device_id", "needs_qemu", "virtual_functions"),
    [
        (0x0412, None, ""),
        (0x1912, None, ""),
        (0x46D1, None, "i915-sriov-dkms"),
        (0x7D55, (10, 1), "i915-sriov-dkms"),
        (0xB080, (10, 1), "xe"),
        (0x56A5, None, ""),
    ],
)
def test_what_it_takes(device_id: int, needs_qemu: tuple[int, int] | None, virtual_functions: str) -> None:
    known = generation(device_id)

    assert needs_qemu == known.needs_qemu
    assert virtual_functions in known.sriov
    assert bool(virtual_functions) == bool(known.sriov)


def test_everything_has_advice() -> None:
    """Each is one line of a report: a sentence or more, with a full stop."""
    for device_id in range(0x10000):
        advice = generation(device_id).advice
        assert advice.endswith("."), f"{device_id:04x}: {advice}"
        assert len(advice) < 250
