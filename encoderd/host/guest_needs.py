"""What the guest that is configured needs of the host, and what of it is there; facts only, read and never written."""

from __future__ import annotations

import os
import re
import resource
from dataclasses import dataclass
from pathlib import Path

from encoderd.host.images import FileFacts, ImageFacts, file_facts, image_facts
from encoderd.host.lifelines import Lifeline, lifelines
from encoderd.host.ports import (
    NetworkFacts,
    ShareFacts,
    UsbDevice,
    find_virtiofsd,
    network_facts,
    share_facts,
    usb_devices,
)
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.settings import HostSettings
from encoderd.root import Root

_KERNEL_MARK_BYTES = 1024
_CAP_IPC_LOCK = 14  # include/uapi/linux/capability.h
_HUGE_PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFacts:
    """
    The host's memory in MiB, None where /proc/meminfo does not tell. `free_huge_pages` counts pages of 2 MiB.

    `lock_limit_bytes` is how much this process may pin, None for "as much as it likes" and on a recorded host.
    """

    total_mib: int | None = None
    available_mib: int | None = None
    huge_pages: int = 0
    free_huge_pages: int = 0
    lock_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFacts:
    """
    What this very process may do; all None on a recorded host.

    `user_id` is the effective one. `writes_sysfs`: may it tell drivers which device to take? `sees_vfio`: is there a
    /dev/vfio/vfio, wherever the kernel has one?
    """

    user_id: int | None = None
    writes_sysfs: bool | None = None
    sees_vfio: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsFacts:
    """
    The configured guest against this host.

    `cpus` are the host's CPUs that are online, empty when unknown. `qemu` is what the binary says of itself, None when
    it was not asked; `qemu_binary` what lies there. `apparmor` are the profiles that bear QEMU's name, with their mode.
    """

    live: bool
    memory: MemoryFacts
    cpus: frozenset[int]
    qemu: QemuProperties | None
    qemu_binary: FileFacts
    uefi_code: FileFacts
    uefi_vars: FileFacts
    own_vars: FileFacts
    kernel: FileFacts | None
    initrd: FileFacts | None
    images: tuple[ImageFacts, ...]
    usb: tuple[UsbDevice, ...]
    lifelines: tuple[Lifeline, ...]
    networks: tuple[NetworkFacts, ...]
    shares: tuple[ShareFacts, ...]
    virtiofsd: str
    apparmor: tuple[str, ...]
    sandbox: SandboxFacts


def needs_facts(root: Root, settings: HostSettings, *, live: bool, qemu: QemuProperties | None) -> NeedsFacts:
    """
    Look at all that the settings name. `live` is False for a recorded host: then this process and its rights say
    nothing, and nothing outside of `root` is touched.
    """
    vm = settings.vm

    def optional(path: Path | None) -> FileFacts | None:
        return file_facts(root, path, live=live, head_bytes=_KERNEL_MARK_BYTES) if path is not None else None

    return NeedsFacts(
        live=live,
        memory=_memory(root, live=live),
        cpus=cpu_list(root.text("/sys/devices/system/cpu/online")),
        qemu=qemu,
        qemu_binary=file_facts(root, vm.qemu, live=live),
        uefi_code=file_facts(root, vm.uefi_code, live=live),
        uefi_vars=file_facts(root, vm.uefi_vars, live=live),
        own_vars=file_facts(root, settings.state_folder / "vars.fd", live=live),
        kernel=optional(vm.kernel),
        initrd=optional(vm.initrd),
        images=tuple(image_facts(root, disk, live=live) for disk in settings.disk),
        usb=usb_devices(root) if settings.usb else (),
        lifelines=lifelines(root) if settings.usb else (),
        networks=network_facts(root, settings),
        shares=share_facts(root, settings, live=live),
        virtiofsd=find_virtiofsd(root),
        apparmor=_apparmor(root, vm.qemu.name),
        sandbox=_sandbox(root) if live else SandboxFacts(),
    )


def cpu_list(text: str) -> frozenset[int]:
    """Parse the kernel's list of CPUs, "0-3,8"; what is not one gives none. Source: cputopology.rst."""
    found: set[int] = set()
    for part in text.strip().split(","):
        matched = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
        if matched is None:
            return frozenset()
        found |= set(range(int(matched[1]), int(matched[2] or matched[1]) + 1))
    return frozenset(found)


def _memory(root: Root, *, live: bool) -> MemoryFacts:
    text = root.text("/proc/meminfo")

    def mib(name: str) -> int | None:
        found = re.search(rf"^{name}:\s+(\d{{1,15}}) kB$", text, re.MULTILINE)
        return int(found[1]) // 1024 if found else None

    def pages(file: str) -> int:
        number = root.text(f"{_HUGE_PAGES}/{file}").strip()
        return int(number) if re.fullmatch(r"\d{1,12}", number) else 0

    return MemoryFacts(
        total_mib=mib("MemTotal"),
        available_mib=mib("MemAvailable"),
        huge_pages=pages("nr_hugepages"),
        free_huge_pages=pages("free_hugepages"),
        lock_limit_bytes=_lock_limit(root) if live else None,
    )


def _lock_limit(root: Root) -> int | None:
    """CAP_IPC_LOCK is above the limit; bits in /proc/self/status, CapEff: proc.rst."""
    found = re.search(r"^CapEff:\s*([0-9a-f]{1,16})$", root.text("/proc/self/status"), re.MULTILINE)
    if found and int(found[1], 16) >> _CAP_IPC_LOCK & 1:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if limit == resource.RLIM_INFINITY else limit


def _apparmor(root: Root, binary: str) -> tuple[str, ...]:
    """Return "name (mode)" of the loaded profiles that are for the binary: its path, or a name that ends in its own."""
    if root.text("/sys/module/apparmor/parameters/enabled").strip() != "Y":
        return ()
    lines = root.text("/sys/kernel/security/apparmor/profiles").splitlines()
    return tuple(line for line in lines if re.search(rf"(?:^|[/.]){re.escape(binary)} \(\w+\)$", line))


def _sandbox(root: Root) -> SandboxFacts:
    """A unit with ProtectKernelTunables sees /sys read-only, one with PrivateDevices a /dev without VFIO."""
    vfio_known = root.exists("/sys/class/misc/vfio")
    return SandboxFacts(
        user_id=os.geteuid(),
        writes_sysfs=os.access(root.at("/sys/bus/pci/drivers_probe"), os.W_OK, effective_ids=True),
        sees_vfio=root.exists("/dev/vfio/vfio") if vfio_known else None,
    )
