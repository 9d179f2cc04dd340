"""Whose process is it? What a line of /proc/PID/cgroup says about the container, the guest or the unit around it."""

from __future__ import annotations

import re
from collections.abc import Callable

_ID = r"([0-9a-f]{12})[0-9a-f]{52}"

#: Paths of cgroups and the words for them, the innermost meaning first. Sources: systemd's systemd.slice(5) and
#: machinectl(1), libvirt's cgroups.html, Docker's and Podman's systemd and cgroupfs drivers, the CRI's pod names,
#: lxc.container.conf(5), Proxmox's qemu.slice.
_OWNERS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(rf"kubepods.*[/-]{_ID}(?:\.scope)?"), lambda found: f"kubernetes {found[1]}"),
    (re.compile(rf"(?:/docker/|docker-){_ID}"), lambda found: f"docker {found[1]}"),
    (re.compile(rf"libpod-(?:payload-)?{_ID}"), lambda found: f"podman {found[1]}"),
    (re.compile(r"/lxc(?:\.payload)?[./]([^/]+)"), lambda found: f"lxc {found[1]}"),
    (re.compile(r"/machine-qemu-\d+-([^/]+)\.scope"), lambda found: f"libvirt {found[1]}"),
    (re.compile(r"/machine-([^/]+)\.scope"), lambda found: f"machine {found[1]}"),
    (re.compile(r"/systemd-nspawn@([^/]+)\.service"), lambda found: f"machine {found[1]}"),
    (re.compile(r"/qemu\.slice/(\d+)\.scope"), lambda found: f"proxmox {found[1]}"),
    (re.compile(r".*/([^/]+\.service)"), lambda found: found[1]),
    (re.compile(r"/user-(\d+)\.slice/session-([^/]+)\.scope"), lambda found: f"session {found[2]} of user {found[1]}"),
)

_STOPS = {
    "docker": "docker stop {}",
    "podman": "podman stop {}",
    "kubernetes": "crictl stop {}",
    "lxc": "lxc-stop -n {} (Proxmox: pct stop {})",
    "libvirt": "virsh shutdown {}",
    "machine": "machinectl poweroff {}",
    "proxmox": "qm shutdown {}",
    "session": "loginctl terminate-session {}",
}


def owner(cgroup: str) -> str:
    """
    Return who a process belongs to, "" when nobody in particular.

    `cgroup` is the text of /proc/PID/cgroup, "hierarchy:controllers:path" a line. The answer is a kind and a name
    ("docker 0123456789ab", "lxc 101", "libvirt win10"), or a unit of systemd ("jellyfin.service").
    """
    paths = {line.split(":", 2)[2] for line in cgroup.splitlines() if line.count(":") >= 2}
    for pattern, word in _OWNERS:
        for path in sorted(_unescaped(path) for path in paths):
            if found := pattern.search(path):
                return word(found)
    return ""


def how_to_stop(container: str, pid: int) -> str:
    """Return what to type so that a process of this owner ends."""
    if container.endswith(".service"):
        by_hand = re.fullmatch(r"user@(\d+)\.service", container)
        return f"kill {pid}" if by_hand else f"systemctl stop {container}"
    kind, _, name = container.partition(" ")
    name = name.split(" ", 1)[0]
    return _STOPS[kind].format(name, name) if kind in _STOPS else f"kill {pid}"


def _unescaped(path: str) -> str:
    r"""Undo systemd's way of writing a "-" in a unit's name: "\x2d"."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), path)
