"""The VA drivers that libva would find, and whether iHD is the full one or Debian's free one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from encoderd.preflight.elf import HEADER_BYTES, elf_damage
from encoderd.root import Root

#: Where libva looks without LIBVA_DRIVERS_PATH: Debian's and Ubuntu's place, Fedora's three, everyone else's.
FOLDERS = (
    "/usr/lib/x86_64-linux-gnu/dri",
    "/usr/lib64/dri-nonfree",
    "/usr/lib64/dri-freeworld",
    "/usr/lib64/dri",
    "/usr/lib/dri",
)
#: A class of the encoder with shaders, whose name is in every full build and in no free one. Source: the strings of
#: Debian's four packages: 23.1.1 and 25.2.3, each free and non-free.
_FULL_MARK = b"CodechalEncodeAvcEnc"
_PIECE_BYTES = 4 * 2**20
_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class VaDriver:
    """`name` is "iHD" or "i965". `full` is None where it cannot be told. `damage` is "" for a sound file."""

    name: str
    path: str
    full: bool | None = None
    damage: str = ""


def driver_folders(environ: Mapping[str, str]) -> tuple[str, ...]:
    named = environ.get("LIBVA_DRIVERS_PATH", "")
    return tuple(folder for folder in named.split(":") if folder) if named else FOLDERS


def find_va_drivers(root: Root, environ: Mapping[str, str], machine: str) -> tuple[VaDriver, ...]:
    """Return the first of each name, in libva's order."""
    found: dict[str, VaDriver] = {}
    for folder in driver_folders(environ):
        for name in ("iHD", "i965"):
            path = f"{folder.rstrip('/')}/{name}_drv_video.so"
            if name not in found and root.exists(path):
                head, size_bytes = root.head(path, HEADER_BYTES), root.size_bytes(path)
                damage = elf_damage(head, size_bytes, machine)
                full = _is_full(root, path) if name == "iHD" and not damage else None
                found[name] = VaDriver(name=name, path=path, full=full, damage=damage)
    return tuple(found.values())


def _is_full(root: Root, path: str) -> bool | None:
    """Ask dpkg whose file it is; where it is nobody's, look into the file (some 40 MB, once)."""
    for package, full in (("intel-media-va-driver-non-free", True), ("intel-media-va-driver", False)):
        for name in (f"{package}:amd64", package):
            if path in root.text(f"/var/lib/dpkg/info/{name}.list").splitlines():
                return full
    return _contains(root, path, _FULL_MARK)


def _contains(root: Root, path: str, mark: bytes) -> bool | None:
    try:
        with root.at(path).open("rb") as file:
            kept, total = b"", 0
            while total < _MOST_BYTES and (piece := file.read(_PIECE_BYTES)):
                if mark in kept + piece:
                    return True
                kept, total = piece[-len(mark) :], total + len(piece)
    except (OSError, ValueError):
        return None
    return False
