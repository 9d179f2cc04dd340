"""
What to type to get a part, on each distribution.

Sources: Debian 12 and 13, their package lists as apt shows them (October 2026); Ubuntu and Fedora, their package
search and RPM Fusion's, not tried by us.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What can be missing; the value is what it is called where no package of this distribution is known."""

    NEW_RUNTIME = "the VPL GPU runtime (libmfx-gen.so.1.2; Debian's libmfx-gen1.2)"
    OLD_RUNTIME = "the Media SDK runtime (libmfxhw64.so.1; Debian 12's libmfx1)"
    FULL_DRIVER = "the full VA driver (iHD_drv_video.so of Debian's intel-media-va-driver-non-free)"
    FIRMWARE = "the GPU's firmware (/lib/firmware/i915 and xe; linux-firmware)"
    KERNEL = "a kernel that has i915 and xe (not one made for clouds)"
    NEWER_KERNEL = "a newer kernel"
    VAAPI_PYAV = 'FFmpeg\'s development files with VAAPI, then: {pip} install --force-reinstall --no-binary av "av{av}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Of /etc/os-release: `name` is its PRETTY_NAME, `likes` are ID and ID_LIKE, the nearest first."""

    likes: tuple[str, ...] = ()
    version: str = ""
    name: str = "this distribution"


_DEBIAN_BUILD = (
    "apt install gcc pkg-config python3-dev libavformat-dev libavcodec-dev libavdevice-dev libavutil-dev "
    'libavfilter-dev libswscale-dev libswresample-dev && {pip} install --force-reinstall --no-binary av "av%s"'
)
_DEBIAN: Mapping[Part, str] = {
    Part.NEW_RUNTIME: "apt install libmfx-gen1.2",
    Part.FULL_DRIVER: "apt install intel-media-va-driver-non-free (APT's sources need the component non-free)",
    Part.KERNEL: "apt install linux-image-amd64, reboot into it, and purge the cloud kernel",
}
_DEBIAN_12: Mapping[Part, str] = {
    **_DEBIAN,
    Part.OLD_RUNTIME: "apt install libmfx1",
    Part.FIRMWARE: "apt install firmware-misc-nonfree (component non-free-firmware), update-initramfs -u, reboot",
    Part.NEWER_KERNEL: "apt install -t bookworm-backports linux-image-amd64 (sources need bookworm-backports), reboot",
    Part.VAAPI_PYAV: (
        "Upgrade this guest to Debian 13: FFmpeg 5.1 of Debian 12 is too old for PyAV 14.2. Then run this check again"
    ),
}
#: Debian 13 has no libmfx1 any more; Debian 12's installs there with all it needs.
_DEBIAN_13: Mapping[Part, str] = {
    **_DEBIAN,
    Part.OLD_RUNTIME: (
        "Debian 13 has no libmfx1, take Debian 12's: for f in /etc/apt/sources.list /etc/apt/sources.list.d/"
        "debian.sources; do [ -s $f ] && sed s/trixie/bookworm/g $f > /etc/apt/sources.list.d/bookworm.${f##*.}; done; "
        "apt update && apt install libmfx1"
    ),
    Part.FIRMWARE: "apt install firmware-intel-graphics (component non-free-firmware), update-initramfs -u, reboot",
    Part.NEWER_KERNEL: "apt install -t trixie-backports linux-image-amd64 (sources need trixie-backports), reboot",
    Part.VAAPI_PYAV: "apt install python3-av, then in encoderd's source: make install",
}
_UBUNTU: Mapping[Part, str] = {
    Part.NEW_RUNTIME: "apt install libmfx-gen1.2",
    Part.FULL_DRIVER: "apt install intel-media-va-driver-non-free (component multiverse)",
    Part.FIRMWARE: "apt install linux-firmware, update-initramfs -u, reboot",
    Part.KERNEL: "apt install linux-generic linux-modules-extra-$(uname -r), reboot",
}
_UBUNTU_2404: Mapping[Part, str] = {
    **_UBUNTU,
    Part.OLD_RUNTIME: "apt install libmfx1",
    Part.NEWER_KERNEL: "apt install linux-generic-hwe-24.04, reboot",
    Part.VAAPI_PYAV: (
        "Use Ubuntu 26.04 or Debian 13 in this guest: FFmpeg 6.1 of 24.04 is too old for PyAV 14.2. Then run this again"
    ),
}
_UBUNTU_2604: Mapping[Part, str] = {
    **_UBUNTU,
    Part.OLD_RUNTIME: "Ubuntu 26.04 has no libmfx1: fetch the .deb of 24.04, and apt install ./libmfx1_*_amd64.deb",
    Part.NEWER_KERNEL: "apt install linux-generic-hwe-26.04, reboot",
    Part.VAAPI_PYAV: _DEBIAN_BUILD % "<19",
}
_FEDORA: Mapping[Part, str] = {
    Part.NEW_RUNTIME: "dnf install intel-vpl-gpu-rt",
    Part.OLD_RUNTIME: "dnf install intel-mediasdk",
    Part.FULL_DRIVER: "dnf install intel-media-driver (RPM Fusion nonfree)",
    Part.FIRMWARE: "dnf install intel-gpu-firmware, dracut -f, reboot",
    Part.KERNEL: "dnf install kernel kernel-modules, reboot",
    Part.NEWER_KERNEL: "dnf upgrade kernel, reboot",
    Part.VAAPI_PYAV: (
        "dnf install gcc pkgconf-pkg-config python3-devel ffmpeg-devel (RPM Fusion free) && "
        '{pip} install --force-reinstall --no-binary av "av<19"'
    ),
}

#: ID → version → lines. An unknown version of a known family has the lines of the family's newest, which is last.
LINES: Mapping[str, Mapping[str, Mapping[Part, str]]] = {
    "debian": {"12": _DEBIAN_12, "13": _DEBIAN_13},
    "ubuntu": {"24.04": _UBUNTU_2404, "26.04": _UBUNTU_2604},
    "fedora": {"": _FEDORA},
}


def how_to_get(part: Part, distribution: Distribution, pip: str = "pip") -> str:
    """Return the command for this distribution, in words where none is known. `pip` is that of encoderd's venv."""
    family = next((name for name in distribution.likes if name in LINES), "")
    if not family:
        return f"Install {part.value}".format(pip=pip, av="<19")
    versions = LINES[family]
    # A derivative counts its own versions.
    version = distribution.version if distribution.likes[0] == family else ""
    return versions.get(version, list(versions.values())[-1])[part].replace("{pip}", pip)


def how_to_repair(part: Part, distribution: Distribution) -> str:
    """Return the command that puts a part's files there again."""
    line = how_to_get(part, distribution)
    return line.replace("apt install ", "apt install --reinstall ").replace("dnf install ", "dnf reinstall ")
