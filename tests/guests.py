"""
Recorded guests: machines written as files below a folder, so that preflight reads them like real ones.

A guest has what sysfs, /dev/dri, dpkg and the file system of a passed-through Intel GPU show (the form: an Alder Lake
guest under QEMU q35). What cannot be a file is said beside it: what opening a node gives, what PyAV is, how loading a
runtime and the trial encode went.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from encoderd.findings import Finding
from encoderd.preflight.checks import BuildFacts, TrialFacts, judge
from encoderd.preflight.facts import GpuFacts, gather
from encoderd.preflight.gpus import NEW_RUNTIME, OLD_RUNTIME

#: PyPI's wheel, and Debian 13's package.
WHEEL = BuildFacts(
    pyav="18.1.0", ffmpeg="8.1.2", encoders=["h264_qsv", "libx264"], hardware=["cuda", "qsv", "drm", "amf"]
)
VAAPI = BuildFacts(
    pyav="14.2.0", ffmpeg="7.1.5", encoders=["h264_qsv", "libx264"], hardware=["vdpau", "cuda", "vaapi", "qsv", "drm"]
)
MINUS_9 = "Error creating a MFX session: -9."
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
FULL, FREE = "intel-media-va-driver-non-free", "intel-media-va-driver"
DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
DEBIAN_13 = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'
UBUNTU_2404 = 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n'
FEDORA = 'PRETTY_NAME="Fedora Linux 42"\nID=fedora\nVERSION_ID=42\n'
ALL_HUC = ("i915/skl_huc_2.0.0.bin", "i915/kbl_huc_4.0.0.bin", "i915/tgl_huc.bin", "i915/ehl_huc_9.0.0.bin.zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """A PCI display device. `node` is its render node's number, None when it has none."""

    address: str = "0000:00:02.0"
    vendor: int = 0x8086
    device: int = 0x1912
    driver: str | None = "i915"
    node: int | None = 128
    bar_bytes: int = 16 << 20


#: QEMU's emulated VGA, and virtio-gpu.
VGA = Display(address="0000:00:01.0", vendor=0x1234, device=0x1111, driver="bochs-drm", node=None)
VIRTIO = Display(address="0000:00:04.0", vendor=0x1AF4, device=0x1050, driver="virtio-pci")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """
    One machine. `files` are further ones by path; `opens` is the errno's name by node, for those that do not open;
    `loads` are dlopen's results by path; `trial` is the error of the trial encode, "" when it passed.
    """

    displays: tuple[Display, ...] = (Display(),)
    distribution: str = DEBIAN_13
    release: str = "6.12.48+deb13-amd64"
    drivers: tuple[str, ...] = ("i915", "xe")
    options: str = "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro quiet"
    runtimes: tuple[str, ...] = ()
    va_package: str = FULL
    firmware: tuple[str, ...] = ALL_HUC
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    opens: Mapping[str, str] = field(default_factory=dict)
    build: BuildFacts | None = WHEEL
    loads: Mapping[str, str] = field(default_factory=dict)
    trial: str = ""


def elf(machine: int = 62, size_bytes: int = 256) -> bytes:
    """Return the header of a 64-bit shared library, and some more bytes; 62 is x86_64, 183 is aarch64."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    rest = struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 128, 0, 64, 56, 1, 64, 2, 1)
    return (ident + rest).ljust(size_bytes, b"\0")


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def link(path: Path, target: Path) -> None:
    """Make a relative link, as sysfs does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def _write_display(root: Path, display: Display) -> None:
    place = root / "sys/devices/pci0000:00" / display.address
    bars = f"0x{0xC0000000:016x} 0x{0xC0000000 + display.bar_bytes - 1:016x} 0x0000000000140204\n"
    nothing = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
    for name, text in {
        "vendor": f"0x{display.vendor:04x}\n",
        "device": f"0x{display.device:04x}\n",
        "class": "0x030000\n",
        "boot_vga": "1\n" if display.vendor == 0x1234 else "0\n",
        "enable": "1\n" if display.driver else "0\n",
        "resource": (bars if display.bar_bytes else nothing) + nothing * 5,
    }.items():
        write(place / name, text)
    link(root / "sys/bus/pci/devices" / display.address, place)
    if display.driver:
        folder = root / "sys/bus/pci/drivers" / display.driver
        folder.mkdir(parents=True, exist_ok=True)
        link(place / "driver", folder)
    if display.node is not None:
        link(root / f"sys/class/drm/renderD{display.node}/device", place)
        write(root / f"dev/dri/renderD{display.node}", "")
        (root / f"dev/dri/renderD{display.node}").chmod(0o660)


def write_guest(root: Path, guest: Guest) -> None:
    """Write the machine below `root`."""
    for display in guest.displays:
        _write_display(root, display)
    write(root / "etc/os-release", guest.distribution)
    write(root / "etc/group", f"root:x:{2**20}:\nrender:x:{os.getegid()}:\n")
    write(root / "proc/cmdline", guest.options + "\n")
    write(root / "proc/sys/kernel/osrelease", guest.release + "\n")
    write(root / "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse2 hypervisor lahf_lm\n")
    write(root / "sys/class/dmi/id/sys_vendor", "QEMU\n")
    modules = root / "lib/modules" / guest.release / "kernel/drivers"
    write(modules / "net/virtio_net.ko.xz", b"")
    for driver in guest.drivers:
        write(modules / f"gpu/drm/{driver}/{driver}.ko.xz", b"")
    for name in guest.runtimes:
        write(root / LIBRARIES.lstrip("/") / f"{name}.9", elf())
        link(root / LIBRARIES.lstrip("/") / name, root / LIBRARIES.lstrip("/") / f"{name}.9")
    write(root / LIBRARIES.lstrip("/") / "libvpl.so.2", elf())
    if guest.va_package:
        write(root / LIBRARIES.lstrip("/") / "dri/iHD_drv_video.so", elf())
        listed = f"/.\n{LIBRARIES}/dri\n{LIBRARIES}/dri/iHD_drv_video.so\n"
        write(root / f"var/lib/dpkg/info/{guest.va_package}:amd64.list", listed)
    for name in guest.firmware:
        write(root / "lib/firmware" / name, b"\0" * 64)
    for path, content in guest.files.items():
        write(root / path.lstrip("/"), content)


def gathered(root: Path, guest: Guest) -> GpuFacts:
    """Write the guest below `root` and read it back."""
    write_guest(root, guest)
    return gather(root, guest.environ, lambda path: guest.opens.get(path.name, ""))


def judged(root: Path, guest: Guest, *, required: bool = True) -> list[Finding]:
    trial = TrialFacts(encoder="h264_qsv", wall_s=0.4, frames=12, psnr_db=41.9)
    if guest.trial:
        trial = TrialFacts(encoder="h264_qsv", error=guest.trial, remedy="dmesg")
    trials = [trial] if guest.build is not None else []
    return judge(gathered(root, guest), guest.build, guest.loads, trials, required=required)


NEW, OLD = (NEW_RUNTIME,), (OLD_RUNTIME,)
UHD_770 = Display(device=0x4680)
N100 = Display(device=0x46D1)
TIGER_LAKE = Display(device=0x9A49)
HD_4600 = Display(device=0x0412)
JASPER_LAKE = Display(device=0x4E61)
ARC_A380 = Display(address="0000:03:00.0", device=0x56A5, node=129)
LUNAR_LAKE = Display(device=0x64A0, driver="xe")

GUESTS: Mapping[str, Guest] = {
    # Those that encode.
    "skylake": Guest(runtimes=OLD, build=VAAPI),
    "kaby_lake": Guest(displays=(Display(device=0x5912),), distribution=DEBIAN_12, runtimes=OLD, build=VAAPI),
    "tiger_lake": Guest(displays=(TIGER_LAKE,), runtimes=NEW),
    "n100": Guest(displays=(N100,), runtimes=NEW, va_package=FREE),
    "lunar_lake": Guest(displays=(LUNAR_LAKE,), release="6.17.5", runtimes=NEW, firmware=("xe/lnl_huc.bin",)),
    "jasper_lake": Guest(
        displays=(JASPER_LAKE,), runtimes=OLD, build=VAAPI,
        files={"/etc/modprobe.d/i915.conf": "# low power\noptions i915 enable_guc=2\n"},
    ),
    "swapped_nodes": Guest(displays=(VGA, Display(device=0x4680, node=129), VIRTIO), runtimes=NEW),
    "two_gpus": Guest(displays=(UHD_770, ARC_A380), runtimes=NEW),
    "newer_than_the_table": Guest(displays=(Display(device=0xFD80, driver="xe"),), runtimes=NEW),
    "both_runtimes": Guest(displays=(TIGER_LAKE,), runtimes=(OLD_RUNTIME, NEW_RUNTIME)),
    # Those that do not.
    "haswell": Guest(displays=(HD_4600,), runtimes=OLD, build=VAAPI, trial=MINUS_9),
    "no_gpu": Guest(displays=(VGA,), runtimes=NEW, trial=MINUS_9),
    "cloud_kernel": Guest(
        displays=(Display(device=0x4680, driver=None, node=None),), release="6.12.48+deb13-cloud-amd64", drivers=(),
        runtimes=NEW, trial=MINUS_9,
    ),
    "ubuntu_without_modules": Guest(
        displays=(Display(device=0x4680, driver=None, node=None),), distribution=UBUNTU_2404,
        release="6.8.0-40-generic", drivers=(), runtimes=NEW, trial=MINUS_9,
    ),
    "nomodeset": Guest(
        displays=(Display(device=0x4680, driver=None, node=None),), options="quiet nomodeset", runtimes=NEW,
        trial=MINUS_9,
    ),
    "blacklisted": Guest(
        displays=(Display(device=0x4680, driver=None, node=None),), runtimes=NEW, trial=MINUS_9,
        files={"/etc/modprobe.d/vfio.conf": "blacklist i915\n"},
    ),
    "wrong_driver": Guest(
        displays=(Display(device=0x4680, driver="vfio-pci", node=None),), runtimes=NEW, trial=MINUS_9
    ),
    "old_kernel": Guest(
        displays=(Display(device=0x46D1, driver=None, node=None),), distribution=DEBIAN_12, release="6.1.0-40-amd64",
        drivers=("i915",), runtimes=NEW, trial=MINUS_9,
    ),
    "no_memory_window": Guest(
        displays=(Display(device=0x56A5, driver=None, node=None, bar_bytes=0),), runtimes=NEW, trial=MINUS_9
    ),
    "no_node": Guest(displays=(Display(device=0x4680, node=None),), runtimes=NEW, trial=MINUS_9),
    "no_permission": Guest(displays=(UHD_770,), runtimes=NEW, opens={"renderD128": "EACCES"}, trial=MINUS_9),
    "sandbox": Guest(displays=(UHD_770,), runtimes=NEW, opens={"renderD128": "EPERM"}, trial=MINUS_9),
    "both_runtimes_locked": Guest(
        displays=(TIGER_LAKE,), runtimes=(OLD_RUNTIME, NEW_RUNTIME), opens={"renderD128": "EACCES"},
        trial="some encoding parameters are not supported by the QSV runtime",
    ),
    "huc_missing": Guest(displays=(JASPER_LAKE,), runtimes=OLD, build=VAAPI, firmware=(), trial="unsupported (-3)"),
    "huc_not_asked_for": Guest(displays=(JASPER_LAKE,), runtimes=OLD, build=VAAPI, trial="unsupported (-3)"),
    "huc_not_running": Guest(
        displays=(Display(device=0x56A5),), runtimes=NEW, firmware=("i915/dg2_huc_gsc.bin",), trial="unsupported (-3)",
        files={
            "/sys/kernel/debug/dri/1/name": "i915 dev=0000:00:02.0 unique=0000:00:02.0\n",
            "/sys/kernel/debug/dri/1/gt0/uc/huc_info": "HuC firmware: i915/dg2_huc_gsc.bin\n\tstatus: LOAD FAIL\n",
        },
    ),
    "wheel_on_hd_graphics": Guest(runtimes=OLD, trial="some encoding parameters are not supported"),
    "wheel_and_no_runtime": Guest(runtimes=(), trial=MINUS_9),
    "runtime_too_new": Guest(runtimes=NEW, build=VAAPI, trial=MINUS_9),
    "runtime_too_old": Guest(displays=(N100,), distribution=FEDORA, runtimes=OLD, trial=MINUS_9),
    "runtime_corrupt": Guest(
        displays=(UHD_770,), files={f"{LIBRARIES}/{NEW_RUNTIME}": elf()[:100]}, trial=MINUS_9
    ),
    "runtime_for_arm": Guest(displays=(UHD_770,), files={f"{LIBRARIES}/{NEW_RUNTIME}": elf(183)}, trial=MINUS_9),
    "runtime_without_libva": Guest(
        displays=(UHD_770,), runtimes=NEW, trial=MINUS_9,
        loads={f"{LIBRARIES}/{NEW_RUNTIME}": "libva-drm.so.2: cannot open shared object file"},
    ),
    "runtime_hangs": Guest(
        displays=(UHD_770,), runtimes=NEW, loads={f"{LIBRARIES}/{NEW_RUNTIME}": "hangs"}, trial="timed out"
    ),
    "libva_lies": Guest(
        displays=(TIGER_LAKE,), runtimes=NEW, environ={"LIBVA_DRIVER_NAME": "i965"}, trial=MINUS_9
    ),
    "libva_lies_to_vaapi": Guest(runtimes=OLD, build=VAAPI, environ={"LIBVA_DRIVER_NAME": "i965"}),
    "libva_path": Guest(
        displays=(TIGER_LAKE,), runtimes=NEW, environ={"LIBVA_DRIVERS_PATH": "/opt/dri"}, trial=MINUS_9
    ),
    "no_va_driver": Guest(displays=(UHD_770,), runtimes=NEW, va_package="", trial=MINUS_9),
    "free_driver_on_broadwell": Guest(
        displays=(Display(device=0x1616),), runtimes=OLD, build=VAAPI, va_package=FREE, trial="unsupported (-3)"
    ),
    "priority_path": Guest(
        displays=(UHD_770,), runtimes=NEW, environ={"ONEVPL_PRIORITY_PATH": "/srv/simulator"},
        files={"/srv/simulator/libvplsim.so.1": elf()}, trial="lost frames",
    ),
    "no_pyav": Guest(displays=(UHD_770,), runtimes=NEW, build=None),
}  # fmt: skip
