"""The kernel that runs: its command line, how it was built, and which modules it can and may load."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from encoderd.root import Root

_MOST_BYTES = 4 * 2**20

#: Where modprobe looks, the most important first: a file hides files of the same name further on (modprobe.d(5)).
_MODPROBE_FOLDERS = (
    "/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d",
)  # fmt: skip


class Loader(StrEnum):
    """What started this kernel, and so where its command line is written down."""

    GRUB = "GRUB"
    PROXMOX = "Proxmox with systemd-boot"
    SYSTEMD_BOOT = "systemd-boot"
    UNKNOWN = "unknown"


class ModuleState(StrEnum):
    """How the kernel has a module."""

    READY = "loaded"  #: or part of the kernel
    ON_DISK = "on disk"  #: can be loaded
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModprobeLine:
    """One line of modprobe.d about one module, whose name is written with underscores: ("options", "vfio_pci", …)."""

    file: str
    command: str
    module: str
    rest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BootedKernel:
    """
    `words` are its command line's. `configuration` has an answer ("y", "m", "n", or a value) per CONFIG_ option,
    without that prefix, and is empty where none was found; `configuration_file` says where. `has_modules` is False
    where the folder of this very release is gone, as it is after an upgrade that no reboot followed.
    """

    release: str
    words: tuple[str, ...]
    loader: Loader
    configuration: Mapping[str, str]
    configuration_file: str
    has_modules: bool
    vfio_pci: ModuleState
    vfio_iommu_type1: ModuleState
    vfio_pci_parameters: Mapping[str, str]
    modprobe: tuple[ModprobeLine, ...]

    @property
    def version(self) -> tuple[int, int]:
        """(major, minor) of its release, (0, 0) when that cannot be read."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def options(self, name: str) -> tuple[str, ...]:
        """Return what all words NAME=a,b of the command line say, in their order."""
        return tuple(
            option for word in self.words if word.startswith(f"{name}=") for option in word.partition("=")[2].split(",")
        )

    def word_with(self, name: str, option: str) -> str:
        """Return the word of the command line that gives `name` this option, "" when none does."""
        return next(
            (
                word
                for word in self.words
                if word.startswith(f"{name}=") and option in word.partition("=")[2].split(",")
            ),
            "",
        )

    def configured(self, option: str) -> str:
        """Return "y", "m", "n" or a value; "" when nobody knows. What a configuration does not name is not set."""
        return self.configuration.get(option, "n") if self.configuration else ""

    def forbids(self, module: str) -> str:
        """Return what keeps this module from being loaded even when asked for by name; "" when nothing does."""
        plain = module.replace("-", "_")
        for word in self.words:
            name, _, listed = word.partition("=")
            if name == "module_blacklist" and plain in listed.replace("-", "_").split(","):
                return f"{word} on the kernel's command line"
        for line in self.modprobe:
            if line.command == "install" and line.module == plain and re.search(r"(^|/)(false|true)\b", line.rest):
                return f"“install {module} {line.rest}” in {line.file}"
        return ""


def booted_kernel(root: Root) -> BootedKernel:
    """Read the running kernel of the host below `root`; what cannot be read counts as absent."""
    release = _release(root)
    words = tuple(root.text("/proc/cmdline").split())
    configuration, file = _configuration(root, release)
    modules = f"/lib/modules/{release}"
    builtin, on_disk = root.text(f"{modules}/modules.builtin"), root.text(f"{modules}/modules.dep")
    parameters = "/sys/module/vfio_pci/parameters"
    return BootedKernel(
        release=release,
        words=words,
        loader=_loader(words),
        configuration=configuration,
        configuration_file=file,
        has_modules=bool(root.names(modules)),
        vfio_pci=_state(root, "vfio-pci", builtin, on_disk),
        vfio_iommu_type1=_state(root, "vfio_iommu_type1", builtin, on_disk),
        vfio_pci_parameters={name: root.text(f"{parameters}/{name}").strip() for name in root.names(parameters)},
        modprobe=tuple(_modprobe(root)),
    )


def _release(root: Root) -> str:
    """Return the kernel's name of itself, without anything that does not belong into a path; "unknown" without one."""
    version = re.match(r"Linux version (\S+)", root.text("/proc/version"))
    said = root.text("/proc/sys/kernel/osrelease").strip() or (version[1] if version else "")
    return re.sub(r"[^\w.+~-]", "", said).lstrip(".") or "unknown"


def _loader(words: tuple[str, ...]) -> Loader:
    """GRUB names its kernel; systemd-boot gives the initrd as a path of the EFI partition, with backslashes."""
    if any(word.startswith("BOOT_IMAGE=") for word in words):
        return Loader.GRUB
    if any(word.lower().startswith("initrd=\\efi\\proxmox") for word in words):
        return Loader.PROXMOX
    return Loader.SYSTEMD_BOOT if any(word.startswith("initrd=\\") for word in words) else Loader.UNKNOWN


def _configuration(root: Root, release: str) -> tuple[dict[str, str], str]:
    for file in ("/proc/config.gz", f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        data = root.head(file, _MOST_BYTES)
        if file.endswith(".gz"):
            data = _unzipped(data)
        text = data.decode("utf-8", errors="replace")
        found = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.MULTILINE))
        if found:
            return found, file
    return {}, ""


def _unzipped(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, 4 * _MOST_BYTES)
    except zlib.error:
        return b""


def _state(root: Root, module: str, builtin: str, on_disk: str) -> ModuleState:
    plain = module.replace("-", "_")
    file = rf"(?:^|/){re.escape(plain).replace('_', '[-_]')}\.ko\b"
    if root.exists(f"/sys/module/{plain}") or root.exists(f"/sys/bus/pci/drivers/{module}"):
        return ModuleState.READY
    if re.search(file, builtin, re.MULTILINE):
        return ModuleState.READY
    return ModuleState.ON_DISK if re.search(rf"{file}[.\w]*:", on_disk, re.MULTILINE) else ModuleState.MISSING


def _modprobe(root: Root) -> list[ModprobeLine]:
    files: dict[str, str] = {}
    for folder in _MODPROBE_FOLDERS:
        for name in root.names(folder):
            if name.endswith(".conf"):
                files.setdefault(name, f"{folder}/{name}")
    found = []
    for name in sorted(files):
        text = root.text(files[name]).replace("\\\n", " ")
        for line in text.splitlines():
            command, module, *rest = [*line.split("#")[0].split(None, 2), "", ""][:3]
            if command in {"blacklist", "install", "options"} and module:
                plain = module.replace("-", "_")
                found.append(ModprobeLine(file=files[name], command=command, module=plain, rest=" ".join(rest).strip()))
    return found
