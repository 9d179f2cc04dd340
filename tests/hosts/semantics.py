"""
What the kernel does when sysfs's PCI files are written: one table, true of `FakeKernel` and of a real kernel.

`tests/unit/test_host_fake_kernel.py` runs it on the double; `semantics_runner.py` runs it on the kernel it stands on,
in a nested machine. Imports Python's own library only, because that machine has nothing else.

Actions, each with what must come of it:
    ("write", path, data)   "ok", an errno's name ("ENODEV"), or "hangs" (not back after 3 s; at most one at a time)
    ("link", path)          last part of what the link points to; "" without one
    ("text", path)          the file's text without white space at its ends; "" without one
    ("exists", path)        "yes" or "no"
    ("hold", device)        a process opens the device through VFIO, as QEMU does: "ok"
    ("release",)            that process ends: "ok"
    ("finish",)             what became of the write that hung
    ("settle",)             time for udev: "ok"
Placeholders in paths, data and results: {device} its PCI address, {driver} its own driver's name, {group} its IOMMU
group, {folder} its folder in sysfs, {absent} an address without a device, {bridge} a PCI bridge's address.
Each rule starts, and leaves the device, at home: with {driver}, no override. (`GO_HOME` sees to it in any case.)
"""

from __future__ import annotations

from typing import NamedTuple

Action = tuple[str, ...]

ABSENT = "0000:ff:1f.7"

FOLDER = "/sys/bus/pci/devices/{device}"
OVERRIDE = "/sys/bus/pci/devices/{device}/driver_override"
DRIVER = "/sys/bus/pci/devices/{device}/driver"
PROBE = "/sys/bus/pci/drivers_probe"
OWN = "/sys/bus/pci/drivers/{driver}"
VFIO = "/sys/bus/pci/drivers/vfio-pci"
NODE = "/dev/vfio/{group}"

#: To vfio-pci and back, as the helper does it.
THERE: list[tuple[Action, str]] = [
    (("write", OVERRIDE, "vfio-pci"), "ok"),
    (("write", f"{OWN}/unbind", "{device}"), "ok"),
    (("write", PROBE, "{device}"), "ok"),
]
BACK: list[tuple[Action, str]] = [
    (("write", OVERRIDE, "\n"), "ok"),
    (("write", f"{VFIO}/unbind", "{device}"), "ok"),
    (("write", f"{OWN}/bind", "{device}"), "ok"),
    (("link", DRIVER), "{driver}"),
]

#: Run before and after every rule; what comes of each is not looked at.
GO_HOME: list[Action] = [
    ("release",),
    ("write", OVERRIDE, "\n"),
    ("write", f"{VFIO}/unbind", "{device}"),
    ("write", "/sys/bus/pci/drivers/pci-stub/unbind", "{device}"),
    ("write", f"{OWN}/bind", "{device}"),
    ("settle",),
]


class Semantic(NamedTuple):
    """
    One rule. `needs` names what the machine must have, or else the rule is left out:

    iommu (an IOMMU that works), no_iommu, bridge (a PCI bridge), drm (the device has DRM nodes), held (VFIO is usable).
    """

    name: str
    rule: str
    needs: tuple[str, ...]
    actions: list[tuple[Action, str]]


SEMANTICS: list[Semantic] = [
    Semantic(
        "override_reads_null",
        "an override that is not set reads (null); so it does after a newline was written, which clears it",
        (),
        [
            (("text", OVERRIDE), "(null)"),
            (("write", OVERRIDE, "pci-stub"), "ok"),
            (("text", OVERRIDE), "pci-stub"),
            (("write", OVERRIDE, "\n"), "ok"),
            (("text", OVERRIDE), "(null)"),
        ],
    ),
    Semantic(
        "override_takes_the_first_line",
        "what follows a newline is dropped",
        (),
        [
            (("write", OVERRIDE, "pci-stub\nvfio-pci\n"), "ok"),
            (("text", OVERRIDE), "pci-stub"),
            (("write", OVERRIDE, "\n"), "ok"),
        ],
    ),
    Semantic(
        "override_is_limited",
        "a page minus one byte, or more, is refused in one write and changes nothing (driver_set_override)",
        (),
        [
            (("write", OVERRIDE, "pci-stub"), "ok"),
            (("write", OVERRIDE, "x" * 5000), "EINVAL"),
            (("write", OVERRIDE, "x" * 4095), "EINVAL"),
            (("text", OVERRIDE), "pci-stub"),
            (("write", OVERRIDE, "\n"), "ok"),
        ],
    ),
    Semantic(
        "override_alone_moves_nothing",
        "a device that is bound stays so when its override changes; a probe does not move it either",
        (),
        [
            (("write", OVERRIDE, "vfio-pci"), "ok"),
            (("link", DRIVER), "{driver}"),
            (("write", PROBE, "{device}"), "ok"),
            (("link", DRIVER), "{driver}"),
            (("write", OVERRIDE, "\n"), "ok"),
        ],
    ),
    Semantic(
        "probe_succeeds_and_binds_nothing",
        "drivers_probe says nothing about what came of it: here the override names a driver that does not exist",
        (),
        [
            (("write", OVERRIDE, "no-such-driver"), "ok"),
            (("write", f"{OWN}/unbind", "{device}"), "ok"),
            (("link", DRIVER), ""),
            (("write", PROBE, "{device}"), "ok"),
            (("link", DRIVER), ""),
            (("write", OVERRIDE, "\n"), "ok"),
            (("write", PROBE, "{device}"), "ok"),
            (("link", DRIVER), "{driver}"),
        ],
    ),
    Semantic("probe_of_no_device", "ENODEV", (), [(("write", PROBE, "{absent}"), "ENODEV")]),
    Semantic(
        "probe_takes_a_newline", "an address may end with a newline", (), [(("write", PROBE, "{device}\n"), "ok")]
    ),
    Semantic(
        "bind_when_bound",
        "EBUSY: by its own driver's bind, while it has it",
        (),
        [(("write", f"{OWN}/bind", "{device}"), "EBUSY"), (("link", DRIVER), "{driver}")],
    ),
    Semantic(
        "bind_of_a_stranger",
        "ENODEV without an override or an id, and also when it is bound to another driver",
        (),
        [
            (("write", f"{VFIO}/bind", "{device}"), "ENODEV"),
            (("write", f"{OWN}/unbind", "{device}"), "ok"),
            (("write", f"{VFIO}/bind", "{device}"), "ENODEV"),
            (("write", f"{OWN}/bind", "{device}"), "ok"),
        ],
    ),
    Semantic(
        "own_bind_under_another_override",
        "ENODEV: an override shuts out every other driver",
        (),
        [
            (("write", OVERRIDE, "vfio-pci"), "ok"),
            (("write", f"{OWN}/unbind", "{device}"), "ok"),
            (("write", f"{OWN}/bind", "{device}"), "ENODEV"),
            (("write", OVERRIDE, "\n"), "ok"),
            (("write", f"{OWN}/bind", "{device}"), "ok"),
            (("link", DRIVER), "{driver}"),
        ],
    ),
    Semantic(
        "unbind_of_a_stranger",
        "ENODEV: a driver's unbind lets go only of its own",
        (),
        [
            (("write", f"{VFIO}/unbind", "{device}"), "ENODEV"),
            (("write", f"{OWN}/unbind", "{absent}"), "ENODEV"),
            (("link", DRIVER), "{driver}"),
        ],
    ),
    Semantic(
        "no_such_file",
        "ENOENT for a device or driver that is not there: opened for writing without O_CREAT",
        (),
        [
            (("write", "/sys/bus/pci/devices/{absent}/driver_override", "vfio-pci"), "ENOENT"),
            (("write", "/sys/bus/pci/drivers/no-such-driver/bind", "{device}"), "ENOENT"),
        ],
    ),
    Semantic(
        "unbound_has_no_driver_link",
        "`driver` is gone with the driver, and what is below it",
        (),
        [
            (("write", f"{OWN}/unbind", "{device}"), "ok"),
            (("exists", DRIVER), "no"),
            (("exists", f"{OWN}/{{device}}"), "no"),
            (("write", f"{DRIVER}/unbind", "{device}"), "ENOENT"),
            (("write", f"{OWN}/unbind", "{device}"), "ENODEV"),
            (("write", f"{OWN}/bind", "{device}"), "ok"),
            (("exists", f"{OWN}/{{device}}"), "yes"),
        ],
    ),
    Semantic(
        "read_only_files_refuse",
        "EACCES, to root as well: sysfs asks for a mode that allows writing",
        (),
        [(("write", f"{FOLDER}/vendor", "0x8086"), "EACCES")],
    ),
    Semantic(
        "second_new_id",
        "EEXIST; remove_id of an id that is not there is ENODEV",
        (),
        [
            (("write", f"{VFIO}/new_id", "dead beef"), "ok"),
            (("write", f"{VFIO}/new_id", "dead beef"), "EEXIST"),
            (("write", f"{VFIO}/remove_id", "dead beef"), "ok"),
            (("write", f"{VFIO}/remove_id", "dead beef"), "ENODEV"),
        ],
    ),
    Semantic(
        "take_and_give",
        "override, unbind, probe: vfio-pci has it and the group's node is there; and back",
        ("iommu",),
        [
            (("exists", NODE), "no"),
            *THERE,
            (("settle",), "ok"),
            (("link", DRIVER), "vfio-pci"),
            (("exists", NODE), "yes"),
            (("link", f"{FOLDER}/iommu_group"), "{group}"),
            *BACK,
            (("settle",), "ok"),
            (("exists", NODE), "no"),
        ],
    ),
    Semantic(
        "drm_nodes_come_and_go",
        "the DRM driver's folder goes with its unbind, and comes back with it",
        ("drm",),
        [
            (("exists", f"{FOLDER}/drm"), "yes"),
            (("write", f"{OWN}/unbind", "{device}"), "ok"),
            (("exists", f"{FOLDER}/drm"), "no"),
            (("write", f"{OWN}/bind", "{device}"), "ok"),
            (("settle",), "ok"),
            (("exists", f"{FOLDER}/drm"), "yes"),
        ],
    ),
    Semantic(
        "no_iommu_leaves_no_driver",
        "without an IOMMU every write succeeds, and the device is left with no driver; bind alone tells: EINVAL",
        ("no_iommu",),
        [
            (("exists", f"{FOLDER}/iommu_group"), "no"),
            *THERE,
            (("link", DRIVER), ""),
            (("write", f"{VFIO}/bind", "{device}"), "EINVAL"),
            (("link", DRIVER), ""),
            (("write", OVERRIDE, "\n"), "ok"),
            (("write", f"{OWN}/bind", "{device}"), "ok"),
        ],
    ),
    Semantic(
        "bridges_are_not_for_vfio",
        "vfio-pci refuses a device whose header is not that of an endpoint",
        ("bridge",),
        [
            (("write", "/sys/bus/pci/devices/{bridge}/driver_override", "vfio-pci"), "ok"),
            (("write", f"{VFIO}/bind", "{bridge}"), "EINVAL|EBUSY"),
            (("write", "/sys/bus/pci/devices/{bridge}/driver_override", "\n"), "ok"),
        ],
    ),
    Semantic(
        "unbind_waits_for_the_holder",
        "unbind from vfio-pci does not come back while a process has the device open, and does when that process ends",
        ("iommu", "held"),
        [
            *THERE,
            (("settle",), "ok"),
            (("hold", "{device}"), "ok"),
            (("write", f"{VFIO}/unbind", "{device}"), "hangs"),
            (("release",), "ok"),
            (("finish",), "ok"),
            (("link", DRIVER), ""),
            (("write", OVERRIDE, "\n"), "ok"),
            (("write", f"{OWN}/bind", "{device}"), "ok"),
        ],
    ),
    Semantic(
        "override_of_a_held_device",
        "clearing the override of a device in use is allowed and moves nothing",
        ("iommu", "held"),
        [
            *THERE,
            (("settle",), "ok"),
            (("hold", "{device}"), "ok"),
            (("write", OVERRIDE, "\n"), "ok"),
            (("link", DRIVER), "vfio-pci"),
            (("release",), "ok"),
            (("write", f"{VFIO}/unbind", "{device}"), "ok"),
            (("write", f"{OWN}/bind", "{device}"), "ok"),
        ],
    ),
]


def filled(text: str, places: dict[str, str]) -> str:
    """Put the machine's own names in place of the placeholders."""
    for name, value in places.items():
        text = text.replace("{" + name + "}", value)
    return text


def agrees(expected: str, got: str) -> bool:
    """Whether a result is as expected; "A|B" leaves both open."""
    return got in expected.split("|")
