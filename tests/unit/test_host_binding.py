"""Which writes move a device: tables of how it stands, how it shall stand, and what is written."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.host.binding import PROBE, VFIO, Endpoint, Kind, Step, describe, plan_give, plan_take
from encoderd.pci import PciAddress

GPU = PciAddress.parse("0000:00:02.0")
SOUND = PciAddress.parse("0000:00:03.0")
OVERRIDE = f"/sys/bus/pci/devices/{GPU}/driver_override"


def gpu(driver: str | None, override: str = "") -> Endpoint:
    return Endpoint(address=GPU, class_code=0x030000, driver=driver, override=override)


def sound(driver: str | None, override: str = "") -> Endpoint:
    return Endpoint(address=SOUND, class_code=0x040300, driver=driver, override=override)


def written(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    return [(step.path, step.data) for step in steps]


def unbind(driver: str) -> tuple[str, str]:
    return f"/sys/bus/pci/drivers/{driver}/unbind", str(GPU)


def bind(driver: str) -> tuple[str, str]:
    return f"/sys/bus/pci/drivers/{driver}/bind", str(GPU)


SET, CLEAR, PROBED = (OVERRIDE, "vfio-pci"), (OVERRIDE, "\n"), (PROBE, str(GPU))

TAKES = [
    (gpu("i915"), [SET, unbind("i915"), PROBED]),
    (gpu("i915", "i915"), [SET, unbind("i915"), PROBED]),
    (gpu("i915", VFIO), [unbind("i915"), PROBED]),  # cut off after the override
    (gpu(None, VFIO), [PROBED]),  # cut off after the unbinding
    (gpu(None), [SET, PROBED]),
    (gpu("pci-stub"), [SET, unbind("pci-stub"), PROBED]),
    (gpu(VFIO), []),
    (gpu(VFIO, VFIO), []),
]


@pytest.mark.parametrize(("now", "expected"), TAKES)
def test_taking(now: Endpoint, expected: list[tuple[str, str]]) -> None:
    """Override, unbind, probe: what is so already needs no write."""
    assert expected == written(plan_take([now]))


GIVES = [
    (gpu("i915"), gpu(VFIO, VFIO), [CLEAR, unbind(VFIO), bind("i915")]),
    (gpu("i915"), gpu(VFIO), [unbind(VFIO), bind("i915")]),
    (gpu("i915"), gpu(None, VFIO), [CLEAR, bind("i915")]),
    (gpu("i915"), gpu(None), [bind("i915")]),
    (gpu("i915"), gpu("i915", VFIO), [CLEAR]),
    (gpu("i915"), gpu("i915"), []),
    # the override it had names its driver: it comes back at once
    (gpu("i915", "i915"), gpu(VFIO, VFIO), [(OVERRIDE, "i915"), unbind(VFIO), bind("i915")]),
    # it names another driver, which would shut out i915: it comes back last
    (gpu("i915", "xe"), gpu(VFIO, VFIO), [CLEAR, unbind(VFIO), bind("i915"), (OVERRIDE, "xe")]),
    (gpu("i915", VFIO), gpu(VFIO, VFIO), [CLEAR, unbind(VFIO), bind("i915"), SET]),
    # there was no driver
    (gpu(None), gpu(VFIO, VFIO), [CLEAR, unbind(VFIO)]),
    (gpu(None, "xe"), gpu(VFIO, VFIO), [(OVERRIDE, "xe"), unbind(VFIO)]),
    # another driver got it: it keeps it
    (gpu("i915"), gpu("xe", VFIO), [CLEAR]),
    (gpu("i915"), gpu("xe"), []),
]


@pytest.mark.parametrize(("record", "now", "expected"), GIVES)
def test_giving(record: Endpoint, now: Endpoint, expected: list[tuple[str, str]]) -> None:
    """Back to the driver and the override it had, from wherever it stands."""
    assert expected == written(plan_give([record], [now]))


def test_sound_goes_first_and_comes_back_last() -> None:
    """snd_hda_intel depends on i915; consoles are let go before all and handed back after all."""
    there = plan_take([gpu("i915"), sound("snd_hda_intel")], ["vtcon1"])
    back = plan_give([gpu("i915"), sound("snd_hda_intel")], [gpu(VFIO, VFIO), sound(VFIO, VFIO)], ["vtcon1"])

    assert [None, SOUND, SOUND, SOUND, GPU, GPU, GPU] == [step.address for step in there]
    assert [GPU, GPU, GPU, SOUND, SOUND, SOUND, None] == [step.address for step in back]
    assert ("/sys/class/vtconsole/vtcon1/bind", "0") == written(there)[0]
    assert ("/sys/class/vtconsole/vtcon1/bind", "1") == written(back)[-1]


def test_a_device_that_is_gone_needs_no_write() -> None:
    assert () == plan_give([gpu("i915")], [])


def test_description_tells_path_and_data() -> None:
    step = plan_give([gpu("i915")], [gpu(VFIO, VFIO)])[0]

    assert f"write '\\n' to {OVERRIDE} (any driver may have it)" == describe(step)


def after(endpoint: Endpoint, step: Step, ids: set[str]) -> Endpoint:
    """What the kernel makes of a step: the table's rules, in four lines."""
    driver, override = endpoint.driver, endpoint.override
    match step.kind:
        case Kind.OVERRIDE:
            override = step.data.strip()
        case Kind.UNBIND:
            assert driver == step.driver, "ENODEV"
            driver = None
        case Kind.PROBE | Kind.BIND:
            assert step.driver == override if override else step.driver in ids, "ENODEV"
            assert driver is None, "EBUSY"
            driver = step.driver
    return Endpoint(address=endpoint.address, class_code=endpoint.class_code, driver=driver, override=override)


DRIVERS: list[str | None] = [None, "i915", "xe"]
OVERRIDES = ["", "i915", "xe", VFIO, "absent"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(product(DRIVERS, OVERRIDES))), st.integers(0, 6), st.integers(0, 6))
def test_cut_off_anywhere_it_comes_back(start: tuple[str | None, str], cut: int, second_cut: int) -> None:
    """
    From any start: take, cut off after some writes; give, cut off after some; give again: it is as it was.

    And no write is one that the kernel would refuse.
    """
    record = gpu(*start)
    now = record
    for step in plan_take([now])[:cut]:
        now = after(now, step, {"i915", "xe"})
    for step in plan_give([record], [now])[:second_cut]:
        now = after(now, step, {"i915", "xe"})
    for step in plan_give([record], [now]):
        now = after(now, step, {"i915", "xe"})

    assert record == now
    assert () == plan_give([record], [now])
