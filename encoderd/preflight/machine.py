"""What this machine is: its distribution, its kernel, and what keeps the kernel's GPU drivers from loading."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from encoderd.preflight.packages import Distribution
from encoderd.root import Root

#: The kernel's drivers for Intel's GPUs.
DRIVERS = ("i915", "xe")
#: Where modprobe looks, the place that wins first. Source: modprobe.d(5).
_MODPROBE_FOLDERS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")
_LIST_OPTIONS = ("modprobe.blacklist", "module_blacklist", "rd.driver.blacklist")


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Something that keeps a driver from loading: `text` as it is written, in the file `place`."""

    drivers: tuple[str, ...]
    text: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """
    `release` is the kernel's (uname -r). `drivers` are those of `DRIVERS` that this kernel has, None where its modules
    cannot be seen (a container). `parameters` are the drivers' ("i915.enable_guc" → "-1"): as they are in force, or
    as the command line and modprobe.d ask for where that cannot be read.
    """

    release: str = ""
    distribution: Distribution = field(default_factory=Distribution)
    virtual: bool = False
    container: bool = False
    options: tuple[str, ...] = ()
    drivers: frozenset[str] | None = None
    obstacles: tuple[Obstacle, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def kernel(self) -> tuple[int, int]:
        """The kernel's version, (0, 0) where it is unknown."""
        match = re.match(r"(\d{1,4})\.(\d{1,4})", self.release, re.ASCII)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    @property
    def for_clouds(self) -> bool:
        """Is it a kernel that distributions build without graphics? Debian's "-cloud-", Ubuntu's "-kvm"."""
        return bool(re.search(r"-(cloud|kvm)\b", self.release))


def read_machine(root: Root, release: str = "") -> Machine:
    """Read it; `release` is the kernel's where /proc does not show it, as in some containers."""
    options = tuple(root.text("/proc/cmdline").split())
    release = root.text("/proc/sys/kernel/osrelease").strip() or release
    lines = _modprobe_lines(root)
    return Machine(
        release=release,
        distribution=_distribution(root.text("/etc/os-release") or root.text("/usr/lib/os-release")),
        virtual=_is_virtual(root),
        container=root.exists("/run/.containerenv")
        or root.exists("/.dockerenv")
        or root.exists("/run/systemd/container"),
        options=options,
        drivers=_drivers(root, release),
        obstacles=(*_on_command_line(options), *_in_files(lines)),
        parameters=_parameters(root, options, lines),
    )


def _distribution(text: str) -> Distribution:
    """Parse os-release: shell-like assignments. Source: os-release(5)."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign:
            fields[name.strip()] = value.strip().strip("\"'")
    return Distribution(
        likes=(fields.get("ID", "").lower(), *fields.get("ID_LIKE", "").lower().split()),
        version=fields.get("VERSION_ID", ""),
        name=fields.get("PRETTY_NAME", "") or "this distribution",
    )


def _is_virtual(root: Root) -> bool:
    maker = root.text("/sys/class/dmi/id/sys_vendor").strip()
    if maker in {"QEMU", "VMware, Inc.", "innotek GmbH", "Xen", "KubeVirt"}:
        return True
    return bool(re.search(r"^flags\s*:.*\bhypervisor\b", root.text("/proc/cpuinfo"), re.MULTILINE))


def _drivers(root: Root, release: str) -> frozenset[str] | None:
    folders = [f"{place}/modules/{release}" for place in ("/lib", "/usr/lib")] if release else []
    found = {driver for driver in DRIVERS if root.exists(f"/sys/module/{driver}")}
    found |= {
        driver for driver in DRIVERS for folder in folders if root.names(f"{folder}/kernel/drivers/gpu/drm/{driver}")
    }
    if not found and not any(root.names(folder) for folder in folders):
        return None
    return frozenset(found)


def _on_command_line(options: tuple[str, ...]) -> list[Obstacle]:
    place = "the kernel command line"
    obstacles = []
    for option in options:
        name, _, value = option.partition("=")
        if option == "nomodeset":
            obstacles.append(Obstacle(drivers=DRIVERS, text=option, place=place))
        elif name in {f"{driver}.modeset" for driver in DRIVERS} and value == "0":
            obstacles.append(Obstacle(drivers=(name.partition(".")[0],), text=option, place=place))
        elif name in _LIST_OPTIONS:
            named = tuple(driver for driver in DRIVERS if driver in value.split(","))
            if named:
                obstacles.append(Obstacle(drivers=named, text=option, place=place))
    return obstacles


def _modprobe_lines(root: Root) -> list[tuple[str, list[str]]]:
    """Return (file, words) of the lines about our drivers; a file hides its namesakes in later folders."""
    lines, seen = [], set()
    for folder in _MODPROBE_FOLDERS:
        for name in root.names(folder):
            if not name.endswith(".conf") or name in seen:
                continue
            seen.add(name)
            for line in root.text(f"{folder}/{name}").splitlines():
                words = line.split()
                if len(words) >= 2 and words[1] in DRIVERS:
                    lines.append((f"{folder}/{name}", words))
    return lines


def _in_files(lines: list[tuple[str, list[str]]]) -> list[Obstacle]:
    """Find `blacklist i915`, `install i915 /bin/false` and `options i915 modeset=0`."""
    return [
        Obstacle(drivers=(words[1],), text=" ".join(words)[:80], place=place)
        for place, words in lines
        if words[0] == "blacklist"
        or (words[0] == "install" and words[-1].endswith(("/true", "/false")))
        or (words[0] == "options" and "modeset=0" in words)
    ]


def _parameters(root: Root, options: tuple[str, ...], lines: list[tuple[str, list[str]]]) -> dict[str, str]:
    asked: dict[str, str] = {}
    for word in [f"{words[1]}.{word}" for _, words in lines if words[0] == "options" for word in words[2:]]:
        asked[word.partition("=")[0]] = word.partition("=")[2]
    for option in options:
        asked[option.partition("=")[0]] = option.partition("=")[2]
    found = {}
    for driver in DRIVERS:
        for name in ("enable_guc", "force_probe", "modeset"):
            key = f"{driver}.{name}"
            # Some of them root alone may read.
            value = root.text(f"/sys/module/{driver}/parameters/{name}").strip() or asked.get(key, "")
            if value:
                found[key] = value[:80]
    return found
