"""
Has this host what the configured guest needs? From facts to findings, in the order in which one repairs.

None of it forbids to take the GPU from the host; it forbids to start the guest.
"""

from __future__ import annotations

from collections.abc import Iterator

from encoderd.findings import Finding, failed, passed, warned
from encoderd.host.device_checks import pci_findings, usb_findings
from encoderd.host.gpu_facts import GpuFacts
from encoderd.host.guest_needs import NeedsFacts
from encoderd.host.image_checks import disk_findings, firmware_findings, kernel_findings
from encoderd.host.images import FileKind
from encoderd.host.platform import PlatformFacts
from encoderd.host.ports import NetworkFacts, ShareFacts
from encoderd.host.settings import HostSettings

#: Beyond the guest's memory VFIO pins its devices' windows: libvirt's rule, qemuDomainGetMemLockLimitBytes.
_LOCK_BEYOND_MIB = 1024
#: What QEMU itself and a host without anything else take, at least.
_CLOSE_MIB = 512
_HUGE_PAGE_MIB = 2
#: Less than a recording of an hour takes.
_LEAST_FREE_BYTES = 2**30
#: The oldest QEMU that the tests start.
_TRIED_QEMU = (7, 2)


def needs_findings(needs: NeedsFacts, settings: HostSettings, platform: PlatformFacts, gpu: GpuFacts) -> list[Finding]:
    """Return the judgement of the binary, its rights, memory, processors, files, devices, shares and networks."""
    findings = [*_qemu(needs, settings, gpu), *_sandbox(needs, settings)]
    findings += [*_memlock(needs, settings), *_memory(needs, settings), *_cpus(needs, settings)]
    findings += firmware_findings(needs.uefi_code, needs.uefi_vars, needs.own_vars, settings)
    findings += kernel_findings(needs.kernel, needs.initrd)
    findings += disk_findings(needs.images, settings)
    findings += pci_findings(settings, gpu)
    findings += usb_findings(settings, gpu, needs.usb, needs.lifelines)
    findings += [_share(share, needs) for share in needs.shares]
    findings += [_network(network, needs) for network in needs.networks]
    return findings


def passes_devices(settings: HostSettings) -> bool:
    """Does the guest get a PCI device? Then all of its memory is pinned."""
    return settings.gpu.address != "none" or bool(settings.pci)


# --- QEMU


def _qemu(needs: NeedsFacts, settings: HostSettings, gpu: GpuFacts) -> Iterator[Finding]:
    path = settings.vm.qemu
    if needs.qemu_binary.kind is not FileKind.FILE and needs.qemu is None:
        yield failed(
            "qemu",
            f"there is no QEMU at {path}",
            "Install it (Debian: apt install qemu-system-x86), or correct qemu below [vm].",
        )
        return
    if needs.qemu is None:
        if needs.live:
            yield warned("qemu", f"{path} was not asked what it can do", f"Try it: {path} --version")
        else:
            yield passed("qemu", f"{path} is there; a recorded host's cannot be asked")
        return
    qemu = needs.qemu
    version = f"QEMU {qemu.version_text}"
    missing = [name for name in _devices_needed(settings) if not qemu.has(name)]
    unknown = _unknown_properties(needs, settings)
    machine = "pc" if settings.vm.profile == "display" else "q35"
    advised = gpu.generation.needs_qemu if gpu.generation is not None else None
    if machine not in qemu.machines:
        yield failed("qemu", f"{version} has no machine {machine}", "Name the QEMU for x86: qemu-system-x86_64.")
    elif missing:
        yield failed(
            "qemu",
            f"{version} has no {', '.join(missing)}",
            "Install all of it: Debian: apt install qemu-system-x86 qemu-system-common",
        )
    elif unknown:
        yield failed(
            "qemu",
            f"{version} does not know {', '.join(unknown)}",
            f"Delete that below properties; what it knows: {path} -device vfio-pci,help",
        )
    elif qemu.version[:2] < _TRIED_QEMU:
        yield warned("qemu", f"{version} is older than what encoderd was tried with", _newer(_TRIED_QEMU))
    elif advised is not None and qemu.version[:2] < advised:
        name = gpu.generation.name if gpu.generation is not None else ""
        yield warned("qemu", f"{version}; for {name} a newer one is advised", _newer(advised))
    else:
        yield passed("qemu", f"{version}, {path}")


def _newer(version: tuple[int, int]) -> str:
    return f"Install QEMU {version[0]}.{version[1]} or later (Debian: from backports)."


def _devices_needed(settings: HostSettings) -> list[str]:
    names = ["virtio-serial-pci"]
    names += ["vfio-pci"] if passes_devices(settings) else []
    names += ["virtio-blk-pci"] if settings.disk else []
    names += ["virtio-net-pci"] if settings.network else []
    names += ["qemu-xhci", "usb-host"] if settings.usb else []
    kinds = {share.type for share in settings.share}
    return names + [
        device for kind, device in (("virtiofs", "vhost-user-fs-pci"), ("9p", "virtio-9p-pci")) if kind in kinds
    ]


def _unknown_properties(needs: NeedsFacts, settings: HostSettings) -> list[str]:
    asked = [*settings.gpu.properties, *(name for device in settings.pci for name in device.properties)]
    return [name for name in dict.fromkeys(asked) if needs.qemu is not None and not needs.qemu.has("vfio-pci", name)]


# --- rights


def _sandbox(needs: NeedsFacts, settings: HostSettings) -> Iterator[Finding]:
    """What keeps this process, or QEMU, from doing what root otherwise may."""
    sandbox = needs.sandbox
    enforced = [profile for profile in needs.apparmor if profile.endswith("(enforce)")]
    if sandbox.user_id is not None and passes_devices(settings):
        if sandbox.user_id != 0:
            yield warned(
                "sandbox",
                "this is not root, who alone can take devices and see who uses them",
                "sudo encoderd-host check",
            )
            return
        if not sandbox.writes_sysfs:
            yield failed(
                "sandbox",
                "/sys/bus/pci is read-only for this process: a container or ProtectKernelTunables",
                "Run this outside of the container; in a unit: ProtectKernelTunables=no (systemctl edit encoderd-vm).",
            )
            return
        if sandbox.sees_vfio is False:
            yield failed(
                "sandbox",
                "the kernel has VFIO, and this process sees no /dev/vfio/vfio: a container or PrivateDevices",
                "Run this outside of the container; in a unit: PrivateDevices=no (systemctl edit encoderd-vm).",
            )
            return
    if enforced:
        yield warned(
            "sandbox",
            f"AppArmor confines QEMU: {', '.join(enforced)}",
            "If QEMU is denied a file or /dev/vfio (dmesg | grep DENIED): aa-complain it.",
        )
    elif sandbox.user_id is not None:
        yield passed("sandbox", "nothing confines QEMU or this process")


# --- memory and processors


def _memlock(needs: NeedsFacts, settings: HostSettings) -> Iterator[Finding]:
    if not needs.live or not passes_devices(settings):
        return
    limit = needs.memory.lock_limit_bytes
    wanted_mib = settings.vm.memory_mib + _LOCK_BEYOND_MIB
    if limit is not None and limit < wanted_mib * 2**20:
        yield failed(
            "memlock",
            f"this user may pin {limit // 2**20} MiB, and the guest needs {wanted_mib} MiB",
            "Run this as root; or LimitMEMLOCK=infinity in the unit, or memlock in /etc/security/limits.d.",
        )
    else:
        yield passed("memlock", "no limit" if limit is None else f"{limit // 2**20} MiB may be pinned")


def _memory(needs: NeedsFacts, settings: HostSettings) -> Iterator[Finding]:
    memory, wanted = needs.memory, settings.vm.memory_mib
    if memory.total_mib is None or memory.available_mib is None:
        yield warned("memory", "/proc/meminfo does not tell how much there is")
        return
    pinned = ", all of it pinned" if passes_devices(settings) else ""
    shown = f"the guest gets {wanted} MiB{pinned}; the host has {memory.total_mib} MiB, {memory.available_mib} free"
    if wanted >= memory.total_mib:
        yield failed("memory", shown, f"Set memory_mib below [vm] to {_sensible(memory.total_mib)} or less.")
    elif settings.vm.hugepages:
        yield passed("memory", f"the guest gets {wanted} MiB from huge pages")
    elif wanted > memory.available_mib and pinned:
        yield failed(
            "memory",
            shown,
            f"Stop what takes it (ps --sort=-rss aux), or set memory_mib to {_sensible(memory.available_mib)} or less.",
        )
    elif wanted + _CLOSE_MIB > memory.available_mib:
        yield warned("memory", f"{shown}: that is close", "Lower memory_mib below [vm], or stop something.")
    else:
        yield passed("memory", shown)
    if settings.vm.hugepages:
        yield _huge_pages(needs, wanted)


def _sensible(free_mib: int) -> int:
    """Return what a guest may have of it, in steps of 256 MiB."""
    return max((free_mib - _CLOSE_MIB) // 256 * 256, 64)


def _huge_pages(needs: NeedsFacts, wanted_mib: int) -> Finding:
    pages = -(-wanted_mib // _HUGE_PAGE_MIB)
    free = needs.memory.free_huge_pages
    shown = f"the guest needs {pages} huge pages of {_HUGE_PAGE_MIB} MiB; {free} of {needs.memory.huge_pages} are free"
    if free >= pages:
        return passed("hugepages", shown)
    more = needs.memory.huge_pages + pages - free
    return failed(
        "hugepages",
        shown,
        f"sysctl vm.nr_hugepages={more}; for good in /etc/sysctl.d (early: memory breaks up), or hugepages = false",
    )


def _cpus(needs: NeedsFacts, settings: HostSettings) -> Iterator[Finding]:
    vm = settings.vm
    if not needs.cpus:
        return
    absent = sorted(set(vm.pin_cpus) - needs.cpus)
    if absent:
        yield failed(
            "cpus",
            f"pin_cpus names {', '.join(map(str, absent))}, which are not online",
            "Correct pin_cpus below [vm]; lscpu -e shows what there is.",
        )
    elif vm.cpus > len(needs.cpus):
        yield warned(
            "cpus",
            f"the guest gets {vm.cpus} CPUs, and the host has {len(needs.cpus)}: they wait for each other",
            f"Set cpus below [vm] to {len(needs.cpus)} or less.",
        )
    else:
        yield passed("cpus", f"{vm.cpus} of {len(needs.cpus)}")


# --- shares and networks


def _share(share: ShareFacts, needs: NeedsFacts) -> Finding:
    path, kind = share.settings.path, share.settings.type
    if not share.is_folder:
        return failed("share", f"{path} is no folder", f"mkdir -p {path}, mount it, or correct [[share]] path.")
    if kind == "virtiofs" and not needs.virtiofsd:
        return failed(
            "share",
            f"{path}: there is no virtiofsd on this host",
            'Install it (Debian: apt install virtiofsd; before 13 it is in qemu-system-common), or type = "9p".',
        )
    if share.writable is False and not share.settings.read_only:
        return warned("share", f"{path}: this user may not write there", f"Run this as root, or: chown kvm {path}")
    if share.free_bytes is not None and share.free_bytes < _LEAST_FREE_BYTES and not share.settings.read_only:
        return warned("share", f"{path} has {share.free_bytes // 2**20} MiB left for recordings", "Make room there.")
    if kind == "9p":
        return warned(
            "share",
            f"{path} as {share.settings.tag} over 9p: slow for recordings, and the guest is told of no new file",
            'type = "virtiofs" is better where virtiofsd can be had.',
        )
    return passed("share", f"{path} as {share.settings.tag}, {needs.virtiofsd}")


def _network(network: NetworkFacts, needs: NeedsFacts) -> Finding:
    settings = network.settings
    match settings.mode:
        case "user":
            if network.taken:
                ports = ", ".join(map(str, network.taken))
                return failed(
                    "network",
                    f"somebody on this host listens on port {ports} already",
                    f"Forward another port, or stop it: ss -ltnp 'sport = :{network.taken[0]}'",
                )
            return passed("network", "user: " + (", ".join(settings.forwards) or "nothing is forwarded"))
        case "bridge":
            return _bridge(network, needs)
        case "tap":
            if not network.exists or not network.is_what_it_should_be:
                what = "is no tap device" if network.exists else "does not exist"
                return failed(
                    "network",
                    f"{settings.tap} {what}",
                    f"ip tuntap add {settings.tap} mode tap && ip link set {settings.tap} up; or correct tap.",
                )
            return passed("network", f"tap {settings.tap}")


def _bridge(network: NetworkFacts, needs: NeedsFacts) -> Finding:
    name = network.settings.bridge
    if not network.exists or not network.is_what_it_should_be:
        what = "is no bridge" if network.exists else "does not exist"
        return failed(
            "network", f"{name} {what}", f'ip link add {name} type bridge, or correct bridge, or mode = "user".'
        )
    if not network.helper:
        return failed(
            "network",
            "qemu-bridge-helper is not installed",
            'Debian: apt install qemu-system-common; or make a tap device and use it: mode = "tap".',
        )
    if not network.allowed:
        return failed(
            "network",
            f"/etc/qemu/bridge.conf does not allow {name}",
            f"mkdir -p /etc/qemu && echo 'allow {name}' >> /etc/qemu/bridge.conf",
        )
    return passed("network", f"bridge {name}")
