"""
Gather what the GPU path rests on, below a root folder, so that a recorded machine reads like a real one.

Takes some milliseconds, loads nothing and changes nothing. What cannot be read is left out, never an error.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from encoderd.errors import SettingsError
from encoderd.pci import INTEL, PciAddress, PciDevice, pci_devices
from encoderd.preflight.drivers import VaDriver, find_va_drivers
from encoderd.preflight.firmware import Firmware, read_firmware
from encoderd.preflight.gpus import Gpu, gpu_for
from encoderd.preflight.machine import DRIVERS, Machine, read_machine
from encoderd.preflight.runtimes import Runtime, find_runtimes
from encoderd.root import Root

#: The variables that change what is found; no others are kept.
VARIABLES = (
    "LIBVA_DRIVER_NAME",
    "LIBVA_DRIVERS_PATH",
    "ONEVPL_PRIORITY_PATH",
    "ONEVPL_SEARCH_PATH",
    "LD_LIBRARY_PATH",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderNode:
    """
    A /dev/dri/renderD* node. `error` is the errno's name when this user cannot open it read-write, else "".

    `owner` is "root:render 0660"; `listed` says that the group database has this user in the owning group, and
    `held` that this process really is: who was added to a group belongs to it after the next login or restart.
    """

    path: str
    address: str  # of its PCI device, "" when it has none
    vendor: int
    driver: str
    error: str
    owner: str
    listed: bool = False
    held: bool = False

    @property
    def group(self) -> str:
        return self.owner.partition(":")[2].partition(" ")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """
    `displays` are all PCI display devices, by address; `render_nodes` are by number, which is libmfx-gen's order; `dri`
    are the names under /dev/dri, `environ` those of `VARIABLES` that are set; `pip` is that of encoderd's own venv.
    """

    displays: tuple[PciDevice, ...]
    render_nodes: tuple[RenderNode, ...]
    user: str
    machine: Machine = field(default_factory=Machine)
    runtimes: tuple[Runtime, ...] = ()
    va_drivers: tuple[VaDriver, ...] = ()
    firmware: Firmware = field(default_factory=Firmware)
    environ: Mapping[str, str] = field(default_factory=dict)
    dri: tuple[str, ...] = ()
    pip: str = "pip"

    @property
    def intel(self) -> tuple[PciDevice, ...]:
        return tuple(device for device in self.displays if device.vendor == INTEL)

    @property
    def node(self) -> RenderNode | None:
        """The render node that encodes: the first of an Intel GPU that opens, or the first at all."""
        nodes = [node for node in self.render_nodes if node.vendor == INTEL]
        return next((node for node in nodes if not node.error), nodes[0] if nodes else None)

    @property
    def device(self) -> PciDevice | None:
        """The Intel GPU that encodes, or would if it had a render node."""
        node = self.node
        if node is not None:
            return next((device for device in self.intel if str(device.address) == node.address), None)
        return next((device for device in self.intel if device.driver in DRIVERS), next(iter(self.intel), None))

    @property
    def gpu(self) -> Gpu | None:
        """What is known of that GPU; None without one, or with one that is newer than the table."""
        return gpu_for(self.device.device) if self.device is not None else None

    @property
    def full_driver(self) -> bool | None:
        """Is the VA driver the full one? None where there is none, or it cannot be told."""
        return next((driver.full for driver in self.va_drivers if driver.name == "iHD"), None)


def open_error(path: Path) -> str:
    """Return the errno's name when a node cannot be opened read-write by this process, "" when it can."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        return errno.errorcode.get(number or 0, str(error))
    return ""


def gather(
    folder: Path = Path("/"), environ: Mapping[str, str] | None = None, opens: Callable[[Path], str] = open_error
) -> GpuFacts:
    """
    Read the machine whose root is `folder`. `environ` is the environment that the encoder will have (None: ours).

    `opens` tries a node, as `open_error` does: a recorded machine's cannot be opened for real.
    """
    environ = os.environ if environ is None else environ
    root = Root(folder)
    devices = pci_devices(folder)
    kept = {name: environ[name] for name in VARIABLES if environ.get(name)}
    architecture = os.uname().machine
    user = _user()
    nodes = sorted((name for name in root.names("/dev/dri") if name.startswith("renderD")), key=_number)
    return GpuFacts(
        displays=tuple(device for device in devices if device.is_display),
        render_nodes=tuple(_node(root, f"/dev/dri/{name}", devices, user, opens) for name in nodes),
        user=user,
        machine=read_machine(root, os.uname().release if folder == Path("/") else ""),
        runtimes=find_runtimes(root, kept, architecture),
        va_drivers=find_va_drivers(root, kept, architecture),
        firmware=read_firmware(root),
        environ=kept,
        dri=tuple(root.names("/dev/dri")),
        pip=f"{sys.prefix}/bin/pip",
    )


def _number(name: str) -> tuple[int, str]:
    digits = name.removeprefix("renderD")
    return (int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 10**10, name)


def _node(root: Root, path: str, devices: list[PciDevice], user: str, opens: Callable[[Path], str]) -> RenderNode:
    address, found = "", None
    with suppress(SettingsError):
        name = root.real(f"/sys/class/drm/{path.rpartition('/')[2]}/device").rpartition("/")[2]
        address = str(PciAddress.parse(name))
        found = next((known for known in devices if str(known.address) == address), None)
    owner, listed, held = _owner(root, path, user)
    return RenderNode(
        path=path,
        address=address,
        vendor=found.vendor if found is not None else 0,
        driver=(found.driver or "") if found is not None else "",
        error=opens(root.at(path)),
        owner=owner,
        listed=listed,
        held=held,
    )


def _owner(root: Root, path: str, user: str) -> tuple[str, bool, bool]:
    try:
        found = root.at(path).stat()
    except (OSError, ValueError):
        return "", False, False
    group, members = _group(root, found.st_gid)
    owner = str(found.st_uid)
    with suppress(KeyError):
        owner = pwd.getpwuid(found.st_uid).pw_name
    held = found.st_gid in {os.getegid(), *os.getgroups()}
    return f"{owner}:{group} {found.st_mode & 0o7777:04o}", user in members, held


def _group(root: Root, number: int) -> tuple[str, list[str]]:
    """Return a group's name and members, of the recorded machine first."""
    for line in root.text("/etc/group").splitlines():
        name, *rest = line.split(":")
        if len(rest) == 3 and rest[1] == str(number):
            return name, rest[2].split(",")
    with suppress(KeyError):
        entry = grp.getgrgid(number)
        return entry.gr_name, entry.gr_mem
    return str(number), []


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a DynamicUser without a name service
        return str(os.geteuid())
