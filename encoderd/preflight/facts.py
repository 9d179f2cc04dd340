"""Gather what the GPU path rests on: display devices, render nodes, and whether this user may open them."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from encoderd.errors import SettingsError
from encoderd.pci import PciAddress, PciDevice, pci_devices


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderNode:
    """A /dev/dri/renderD* node. `error` is the errno's name when this user cannot open it read-write, else ""."""

    path: str
    address: str  # of its PCI device, "" when it has none
    vendor: int
    driver: str
    error: str
    owner: str  # "root:render 0660"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    displays: tuple[PciDevice, ...]
    render_nodes: tuple[RenderNode, ...]
    kernel_options: tuple[str, ...]
    user: str


def gather(root: Path = Path("/")) -> GpuFacts:
    """Read everything below `root`; what cannot be read is left out, never an error."""
    devices = pci_devices(root)
    return GpuFacts(
        displays=tuple(device for device in devices if device.is_display),
        render_nodes=tuple(_node(root, entry, devices) for entry in _render_entries(root)),
        kernel_options=_kernel_options(root),
        user=_user(),
    )


def _render_entries(root: Path) -> list[Path]:
    try:
        return sorted(entry for entry in (root / "dev/dri").iterdir() if entry.name.startswith("renderD"))
    except OSError:
        return []


def _node(root: Path, entry: Path, devices: list[PciDevice]) -> RenderNode:
    device = root / "sys/class/drm" / entry.name / "device"
    address, found = "", None
    with contextlib.suppress(OSError, SettingsError):
        address = str(PciAddress.parse(Path(os.path.realpath(device)).name))
        found = next((known for known in devices if str(known.address) == address), None)
    return RenderNode(
        path="/" + str(entry.relative_to(root)),
        address=address,
        vendor=found.vendor if found is not None else 0,
        driver=(found.driver or "") if found is not None else "",
        error=_open_error(entry),
        owner=_owner(entry),
    )


def _open_error(path: Path) -> str:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


def _owner(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    owner, group = str(found.st_uid), str(found.st_gid)
    with contextlib.suppress(KeyError):
        owner = pwd.getpwuid(found.st_uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(found.st_gid).gr_name
    return f"{owner}:{group} {found.st_mode & 0o7777:04o}"


def _kernel_options(root: Path) -> tuple[str, ...]:
    try:
        return tuple((root / "proc/cmdline").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return ()


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a DynamicUser without a name service
        return str(os.geteuid())
