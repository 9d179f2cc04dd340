"""Where a person sits at this host: the consoles, monitors and graphical sessions that a GPU carries."""

from __future__ import annotations

import re
from dataclasses import dataclass

from encoderd.host.processes import addresses_in
from encoderd.pci import PciAddress, PciDevice
from encoderd.root import Root


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A socket of the GPU: `name` as the kernel calls it ("HDMI-A-1"); None where it does not know."""

    name: str
    connected: bool | None
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VtConsole:
    """A console that terminals are shown on: `name` is vtconN, `text` what it says of itself."""

    name: str
    text: str
    bound: bool

    @property
    def is_frame_buffer(self) -> bool:
        return "frame buffer" in self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleFacts:
    """
    What of the host's console is on the GPU.

    `frame_buffers` are those of this GPU ("fb0 i915drmfb"); `firmware_frame_buffers` those that belong to no device,
    which lie in the memory of the GPU that the firmware started (boot_vga). `sessions` are active graphical sessions of
    seat0 ("user 1000, wayland"), `display_manager` the unit that runs ("gdm.service"). `other_displays` are display
    devices with a driver of the host, and `serial` the serial consoles on the kernel's command line.
    """

    boot_vga: bool = False
    frame_buffers: tuple[str, ...] = ()
    firmware_frame_buffers: tuple[str, ...] = ()
    vt_consoles: tuple[VtConsole, ...] = ()
    connectors: tuple[Connector, ...] = ()
    sessions: tuple[str, ...] = ()
    display_manager: str = ""
    other_displays: tuple[PciDevice, ...] = ()
    serial: tuple[str, ...] = ()

    @property
    def monitors(self) -> tuple[str, ...]:
        return tuple(connector.name for connector in self.connectors if connector.connected)

    @property
    def is_on_gpu(self) -> bool:
        """Are terminals drawn by this GPU?"""
        return bool(self.frame_buffers or (self.boot_vga and (self.firmware_frame_buffers or not self.connectors)))


def console_facts(root: Root, gpu: PciDevice, devices: tuple[PciDevice, ...]) -> ConsoleFacts:
    """Read who shows something on the GPU, and which other of the host's `devices` could."""
    folder = f"/sys/bus/pci/devices/{gpu.address}"
    own, firmware = _frame_buffers(root, gpu.address)
    others = (device for device in devices if device.is_display and device.address != gpu.address)
    return ConsoleFacts(
        boot_vga=gpu.boot_vga,
        frame_buffers=own,
        firmware_frame_buffers=firmware,
        vt_consoles=vt_consoles(root),
        connectors=_connectors(root, folder),
        sessions=_sessions(root),
        display_manager=_display_manager(root),
        other_displays=tuple(device for device in others if device.driver not in (None, "vfio-pci", "pci-stub")),
        serial=tuple(
            word.removeprefix("console=").split(",", 1)[0]
            for word in root.text("/proc/cmdline").split()
            if word.startswith(("console=ttyS", "console=ttyAMA", "console=hvc", "console=ttyUSB", "console=uart"))
        ),
    )


def _frame_buffers(root: Root, gpu: PciAddress) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (this GPU's, those of no PCI device) of /proc/fb: "0 i915drmfb" a line."""
    own, firmware = [], []
    below = set(root.names(f"/sys/bus/pci/devices/{gpu}/graphics"))
    for line in root.text("/proc/fb").splitlines():
        number, _, driver = line.strip().partition(" ")
        if not number.isdecimal():
            continue
        name = f"fb{number}"
        paths = (root.real(f"/sys/class/graphics/{name}"), root.real(f"/sys/class/graphics/{name}/device"))
        carriers = {address for path in paths for address in addresses_in(path)}
        if name in below or gpu in carriers:
            own.append(f"{name} {driver}")
        elif not carriers:
            firmware.append(f"{name} {driver}")
    return tuple(own), tuple(firmware)


def vt_consoles(root: Root) -> tuple[VtConsole, ...]:
    place = "/sys/class/vtconsole"
    return tuple(
        VtConsole(
            name=name,
            text=root.text(f"{place}/{name}/name").strip(),
            bound=root.text(f"{place}/{name}/bind").strip() == "1",
        )
        for name in root.names(place)
    )


def _connectors(root: Root, folder: str) -> tuple[Connector, ...]:
    found = []
    for card in root.names(f"{folder}/drm"):
        for entry in root.names(f"{folder}/drm/{card}") if re.fullmatch(r"card\d+", card) else ():
            if not entry.startswith(f"{card}-") or "Writeback" in entry:
                continue
            status = root.text(f"{folder}/drm/{card}/{entry}/status").strip()
            found.append(
                Connector(
                    name=entry.removeprefix(f"{card}-"),
                    connected={"connected": True, "disconnected": False}.get(status),
                    enabled=root.text(f"{folder}/drm/{card}/{entry}/enabled").strip() == "enabled",
                )
            )
    return tuple(found)


def _sessions(root: Root) -> tuple[str, ...]:
    """Return the graphical sessions of logind; its files hold KEY=VALUE lines (logind-session.c)."""
    found = []
    for name in root.names("/run/systemd/sessions"):
        session = dict(line.partition("=")[::2] for line in root.text(f"/run/systemd/sessions/{name}").splitlines())
        graphical = session.get("TYPE") in {"x11", "wayland", "mir"}
        if graphical and session.get("SEAT") == "seat0" and session.get("STATE", "active") != "closing":
            found.append(f"{session.get('USER') or session.get('UID', '?')}, {session['TYPE']}")
    return tuple(found)


def _display_manager(root: Root) -> str:
    """
    Return the display manager that runs, "" when none does.

    systemd keeps /run/systemd/units/invocation:UNIT while a unit is up, and its cgroup while it has processes.
    """
    unit = root.link_name("/etc/systemd/system/display-manager.service")
    if unit is None:
        return ""
    started = root.link(f"/run/systemd/units/invocation:{unit}")
    running = any(root.exists(f"/sys/fs/cgroup/{mount}system.slice/{unit}") for mount in ("", "unified/", "systemd/"))
    return unit if started or running else ""
