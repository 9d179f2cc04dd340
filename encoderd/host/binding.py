"""
Which writes move a device to vfio-pci and back again: plans on plain values, nothing is touched.

A plan is made from how things stand now, so the same function serves the first time, the second time and the time
after a crash: what is already so needs no step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from encoderd.pci import PciAddress

VFIO = "vfio-pci"
PROBE = "/sys/bus/pci/drivers_probe"

#: Drivers beside which VFIO calls a group viable; None is "nothing bound". Source: vfio.rst, and vfio_main.c.
HARMLESS_DRIVERS = {None, VFIO, "pci-stub"}

#: What clears an override: an empty write would do nothing. Source: driver_set_override, drivers/base/driver.c.
_CLEAR = "\n"

_AUDIO = 0x04  # PCI base class "multimedia controller"


class Kind(StrEnum):
    """What a step does; the name says how its outcome is verified."""

    OVERRIDE = "override"  #: the file reads back as written
    UNBIND = "unbind"  #: the driver's link is gone
    PROBE = "probe"  #: success says nothing; only the driver's link proves it
    BIND = "bind"  #: the driver's link is there
    CONSOLE = "console"  #: a virtual console is handed to, or taken from, the frame buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One write: the very path and data, and why. `address` is None for a console; `driver` is the one meant."""

    kind: Kind
    path: str
    data: str
    why: str
    address: PciAddress | None = None
    driver: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """
    A device of an IOMMU group as it stands: no bridge.

    `override` is "" when none is set; `module` the kernel module of its driver; `drm` its DRM nodes ("card0").
    """

    address: PciAddress
    class_code: int
    driver: str | None
    override: str = ""
    module: str = ""
    drm: tuple[str, ...] = ()

    @property
    def is_display(self) -> bool:
        return self.class_code >> 16 == 0x03


def plan_take(endpoints: Iterable[Endpoint], consoles: Iterable[str] = ()) -> tuple[Step, ...]:
    """
    Return the writes that bring the endpoints to vfio-pci; () when they are there.

    `consoles` ("vtcon1") are let go first. A sound device comes before its GPU, whose driver it depends on. The
    override is written before the unbinding, so that no third driver can step in between.
    """
    steps = [_console(name, "0") for name in consoles]
    for endpoint in taking_order(endpoints):
        if endpoint.driver == VFIO:
            continue
        if endpoint.override != VFIO:
            steps.append(_override(endpoint.address, VFIO, "only vfio-pci may have it"))
        if endpoint.driver is not None:
            steps.append(_unbind(endpoint.address, endpoint.driver))
        steps.append(
            Step(
                kind=Kind.PROBE,
                path=PROBE,
                data=str(endpoint.address),
                why="let vfio-pci have it",
                address=endpoint.address,
                driver=VFIO,
            )
        )
    return tuple(steps)


def plan_give(records: Iterable[Endpoint], now: Sequence[Endpoint], consoles: Iterable[str] = ()) -> tuple[Step, ...]:
    """
    Return the writes that bring the endpoints back to how `records` say they were, from how they stand `now`.

    A device that another driver got hold of meanwhile keeps it; only our override is taken back. A device that had no
    driver gets none. `consoles` are those to hand back, last of all.
    """
    standing = {endpoint.address: endpoint for endpoint in now}
    steps: list[Step] = []
    for record in reversed(taking_order(records)):
        if record.address in standing:
            steps += _back(record, standing[record.address])
    return (*steps, *(_console(name, "1") for name in consoles))


def _back(record: Endpoint, now: Endpoint) -> list[Step]:
    steps = []
    override = now.override
    if now.driver in (None, VFIO) and now.driver != record.driver:
        # An override that names another driver would shut out the one that is to have the device: it waits.
        override = record.override if record.driver is None or record.override == record.driver else ""
        if now.override != override:
            steps.append(_override(record.address, override, _override_reason(override)))
        if now.driver is not None:
            steps.append(_unbind(record.address, now.driver))
        if record.driver is not None:
            steps.append(
                Step(
                    kind=Kind.BIND,
                    path=f"/sys/bus/pci/drivers/{record.driver}/bind",
                    data=str(record.address),
                    why=f"give it back to {record.driver}; if that is refused, drivers_probe",
                    address=record.address,
                    driver=record.driver,
                )
            )
    if override != record.override:
        steps.append(_override(record.address, record.override, _override_reason(record.override)))
    return steps


def taking_order(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Sound first: snd_hda_intel holds on to i915 for the sound of HDMI. Then by address."""
    return sorted(endpoints, key=lambda endpoint: (endpoint.class_code >> 16 != _AUDIO, endpoint.address))


def describe(step: Step) -> str:
    """Return the write as one line: data, path and why. Control characters are shown as Python writes them."""
    return f"write {step.data!r} to {step.path} ({step.why})"


def _override(address: PciAddress, driver: str, why: str) -> Step:
    return Step(
        kind=Kind.OVERRIDE,
        path=f"/sys/bus/pci/devices/{address}/driver_override",
        data=driver or _CLEAR,
        why=why,
        address=address,
        driver=driver or None,
    )


def _override_reason(override: str) -> str:
    return f"the override it had: {override}" if override else "any driver may have it"


def _unbind(address: PciAddress, driver: str) -> Step:
    """By the driver's own file, which lets go of its own only: `driver/unbind` would follow whoever has it by then."""
    return Step(
        kind=Kind.UNBIND,
        path=f"/sys/bus/pci/drivers/{driver}/unbind",
        data=str(address),
        why=f"take it from {driver}",
        address=address,
        driver=driver,
    )


def plan_relight(consoles: Iterable[str]) -> tuple[Step, ...]:
    """
    Return the writes that put the text console onto the frame buffers that are left.

    The kernel lets it go with the frame buffer that it was shown on, even where another card has one (fbcon_fb_unbind,
    seen on Linux 6.1).
    """
    return tuple(_console(name, "1") for name in consoles)


def _console(name: str, data: str) -> Step:
    why = "take the text console off the GPU" if data == "0" else "put the text console back"
    return Step(kind=Kind.CONSOLE, path=f"/sys/class/vtconsole/{name}/bind", data=data, why=why)
