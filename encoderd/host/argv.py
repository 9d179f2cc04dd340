"""
QEMU's command line: from the settings, from what this QEMU can do, and from a few facts of the host.

Every socket and file is named, every device has a fixed place (profiles), and nothing is left to QEMU's defaults:
`-nodefaults`, `-no-user-config`, and no window. The guest waits (`-S`) until its devices were compared with the host's.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from encoderd.errors import EncoderdError
from encoderd.host import guest_devices, profiles
from encoderd.host.generations import Generation
from encoderd.host.profiles import Option, spelt
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.settings import HostSettings, ShareSettings
from encoderd.pci import PciAddress, PciDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgvFacts:
    """
    What of the host decides about the command line.

    `phys_bits` is the width of the processor's physical addresses, `iommu_bits` that of the IOMMU's (MGAW); None when
    unknown. `cpu` is the model for vm.cpu = "auto": one of `cpu_candidates`. `devices` are the host's, by address; {}
    when they are unknown.
    """

    gpu: PciDevice | None
    gpu_generation: Generation | None
    devices: Mapping[PciAddress, PciDevice]
    phys_bits: int | None
    iommu_bits: int | None
    cpu: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """`options` are (option, value) or (option,), the first one is (binary,). `notes` explain what is unusual in it."""

    options: tuple[Option, ...]
    notes: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        return [word for option in self.options for word in option]


def command_line(settings: HostSettings, qemu: QemuProperties, facts: ArgvFacts) -> CommandLine:
    """
    Return the command line that starts the VM.

    Raises:
        EncoderdError: there is no GPU to name, or this QEMU lacks a machine, a device or a property that is needed.
    """
    _refuse_what_is_missing(settings, qemu)
    notes: list[str] = []
    gpu = profiles.Placed()
    if settings.gpu.address != "none":
        generation = facts.gpu_generation
        igd_gen = generation.igd_gen if generation is not None else None
        gpu = profiles.gpu(settings, qemu, _gpu(settings, facts), igd_gen=igd_gen)
    further = profiles.further_devices(settings, qemu)
    cpu = _cpu(settings, facts, notes)
    options = (
        (str(settings.vm.qemu),),
        *_machine(settings, cpu),
        *_life(settings),
        *_ports(settings),
        *guest_devices.small_devices(settings, qemu),
        *(option for number, disk in enumerate(settings.disk) for option in guest_devices.disk(settings, number, disk)),
        *(
            option
            for number, card in enumerate(settings.network)
            for option in guest_devices.network(settings, number, card)
        ),
        *(option for number, share in enumerate(settings.share) for option in _share(settings, number, share)),
        *gpu.options,
        *further.options,
        *guest_devices.usb(settings),
        *_kernel(settings),
        *_as_options(settings.vm.extra_args),
    )
    notes += [*gpu.notes, *further.notes, *_notes(settings, qemu, facts)]
    return CommandLine(options=options, notes=tuple(notes))


def format_lines(line: CommandLine) -> str:
    """Return the command line as it can be pasted into a shell: quoted, an option a line, each but the last with \\."""
    return " \\\n    ".join(shlex.join(option) for option in line.options) + "\n"


def cpu_candidates(settings: HostSettings, flags: frozenset[str]) -> tuple[str, ...]:
    """
    Return the CPU models to try, the best first. `flags` are the host's, from /proc/cpuinfo.

    KVM can refuse `host`: inside another VM it may not set every register ("failed to set MSR 0x10a", which is
    IA32_ARCH_CAPABILITIES), and it does so only when QEMU starts.
    """
    if settings.vm.cpu != "auto":
        return (settings.vm.cpu,)
    if settings.vm.accelerator == "tcg":
        return ("max",)
    model = next((model for flag, model in _MODELS if flag in flags), "qemu64")
    return ("host", "host,-arch-capabilities", model)


#: What a processor must have at least → the newest model that asks for no more. None of them has TSX.
_MODELS = (("avx2", "Haswell-noTSX"), ("avx", "SandyBridge"), ("sse4_2", "Nehalem"))


def _gpu(settings: HostSettings, facts: ArgvFacts) -> PciDevice:
    if facts.gpu is not None:
        return facts.gpu
    if settings.gpu.address == "auto":
        raise EncoderdError(
            "No GPU was found to give to the guest.",
            remedy='encoderd-host check says why; or name it in gpu.address, or set gpu.address = "none"',
        )
    return PciDevice(
        address=PciAddress.parse(settings.gpu.address), vendor=0, device=0, class_code=0x030000,
        driver=None, iommu_group=None, boot_vga=False,
    )  # fmt: skip


def _refuse_what_is_missing(settings: HostSettings, qemu: QemuProperties) -> None:
    machine = profiles.machine(settings)
    if machine not in qemu.machines:
        raise EncoderdError(
            f"QEMU {qemu.version_text} has no machine {machine}.", remedy="apt-get install qemu-system-x86"
        )
    needed = {"virtio-serial-pci", "virtio-rng-pci"}
    needed |= {"vfio-pci"} if settings.gpu.address != "none" or settings.pci else set()
    needed |= {"virtio-blk-pci"} if settings.disk else set()
    needed |= {"virtio-net-pci"} if settings.network else set()
    needed |= {"qemu-xhci", "usb-host"} if settings.usb else set()
    needed |= {{"9p": "virtio-9p-pci", "virtiofs": "vhost-user-fs-pci"}[share.type] for share in settings.share}
    missing = sorted(device for device in needed if not qemu.has(device))
    if missing:
        raise EncoderdError(
            f"QEMU {qemu.version_text} has no device {', '.join(missing)}.",
            remedy="apt-get install qemu-system-x86 qemu-system-common; or name a complete QEMU in vm.qemu",
        )


def _cpu(settings: HostSettings, facts: ArgvFacts, notes: list[str]) -> str:
    """
    The guest's firmware may put a window anywhere below the processor's width, also where the IOMMU cannot map it
    ("vfio_container_dma_map … = -22"): so the guest's processor is made as narrow as the IOMMU.
    """
    vm = settings.vm
    cpu = vm.cpu if vm.cpu != "auto" else facts.cpu
    if vm.faithful:
        cpu = f"{'Haswell' if vm.cpu == 'auto' else cpu},kvm=off,+x2apic"
    devices = settings.gpu.address != "none" or bool(settings.pci)
    narrower = facts.phys_bits is not None and facts.iommu_bits is not None and facts.iommu_bits < facts.phys_bits
    if not (devices and narrower) or "phys-bits" in cpu or vm.accelerator == "tcg":
        return cpu
    notes.append(
        f"host-phys-bits-limit={facts.iommu_bits}: the IOMMU maps {facts.iommu_bits} bits, the processor has "
        f"{facts.phys_bits}."
    )
    named = "" if cpu.split(",")[0] == "host" else ",host-phys-bits=on"
    return f"{cpu}{named},host-phys-bits-limit={facts.iommu_bits}"


def _machine(settings: HostSettings, cpu: str) -> list[Option]:
    vm = settings.vm
    firmware = vm.firmware == "uefi"
    shared = any(share.type == "virtiofs" for share in settings.share)
    machine = f"type={profiles.machine(settings)}"
    memory: list[Option] = []
    if shared or vm.hugepages:
        machine += ",memory-backend=ram0"
        ram = f"memory-backend-memfd,id=ram0,size={vm.memory_mib}M,share={spelt(shared)}"
        # prealloc: too few huge pages are told now, and not by a SIGBUS in the middle of the night
        memory = [("-object", ram + (",hugetlb=on,hugetlbsize=2M,prealloc=on" if vm.hugepages else ""))]
    return [
        ("-name", f"guest={vm.name},debug-threads=on"),
        ("-nodefaults",),
        ("-no-user-config",),
        ("-display", "none"),
        ("-S",),
        *(_flash(settings) if firmware else []),
        *memory,
        ("-machine", machine + (",pflash0=uefi-code,pflash1=uefi-vars" if firmware else "")),
        ("-accel", "kvm" if vm.accelerator == "kvm" else "tcg,thread=multi"),
        ("-cpu", cpu),
        ("-smp", f"cpus={vm.cpus},sockets=1,cores={vm.cpus},threads=1"),
        ("-m", f"size={vm.memory_mib}M"),
    ]


def _flash(settings: HostSettings) -> list[Option]:
    """OVMF's code is everyone's and read-only, its variables are this VM's own copy."""
    code, variables = spelt(str(settings.vm.uefi_code)), spelt(str(settings.state_folder / "vars.fd"))
    return [
        ("-blockdev", f"driver=file,node-name=uefi-code-file,filename={code},read-only=on"),
        ("-blockdev", "driver=raw,node-name=uefi-code,file=uefi-code-file,read-only=on"),
        ("-blockdev", f"driver=file,node-name=uefi-vars-file,filename={variables}"),
        ("-blockdev", "driver=raw,node-name=uefi-vars,file=uefi-vars-file"),
    ]


def _life(settings: HostSettings) -> list[Option]:
    """
    A guest that has ended stays, paused, until it was told from a crash.

    With a device passed through, a reboot is an end too: a GPU that is not reset between two boots floods the host with
    DMA faults or hangs. A new QEMU resets it.
    """
    devices = settings.gpu.address != "none" or settings.pci
    return [
        ("-action", "shutdown=pause"),
        ("-action", "panic=pause"),
        *([("-action", "reboot=shutdown")] if devices else []),
        ("-pidfile", str(settings.run_folder / "pid")),
    ]


def _ports(settings: HostSettings) -> list[Option]:
    """QMP, the serial console with its log, and the two ports into the guest."""
    folder, bus = settings.run_folder, profiles.root_bus(settings)
    log = spelt(str(folder / "serial.log"))
    options: list[Option] = [
        ("-chardev", _socket("qmp", folder / "qmp.sock")),
        ("-mon", "chardev=qmp,mode=control"),
        ("-chardev", _socket("serial0", folder / "serial.sock") + f",logfile={log},logappend=on"),
        ("-serial", "chardev:serial0"),
        ("-device", f"virtio-serial-pci,id=ports,bus={bus},addr={profiles.SERIAL_SLOT:02x}.0"),
    ]
    for wanted, name, number, port in (
        (settings.vm.guest_agent, "agent0", 1, "org.qemu.guest_agent.0"),
        (settings.vm.health_port, "health0", 2, "org.encoderd.health"),
    ):
        if wanted:
            socket = folder / f"{name.removesuffix('0')}.sock"
            options.append(("-chardev", _socket(name, socket)))
            options.append(
                ("-device", f"virtserialport,id={name}port,bus=ports.0,nr={number},chardev={name},name={port}")
            )
    return options


def _socket(name: str, path: Path) -> str:
    return f"socket,id={name},path={spelt(str(path))},server=on,wait=off"


def _share(settings: HostSettings, number: int, share: ShareSettings) -> list[Option]:
    """
    9p: security_model=none, because with mapped-xattr the guest's files are 0600 and root's on the host, and nobody
    could play them there; multidevs=remap keeps inodes apart where the folder spans file systems.
    """
    place = f"bus={profiles.root_bus(settings)},addr={profiles.SHARE_SLOT + number:02x}.0"
    if share.type == "virtiofs":
        return [
            ("-chardev", f"socket,id=share{number},path={spelt(str(share_socket(settings, share)))}"),
            ("-device", f"vhost-user-fs-pci,id=fs{number},chardev=share{number},tag={share.tag},{place}"),
        ]
    back = f"local,id=share{number},path={spelt(str(share.path))},security_model=none,multidevs=remap"
    return [
        ("-fsdev", back + (",readonly=on" if share.read_only else "")),
        ("-device", f"virtio-9p-pci,id=fs{number},fsdev=share{number},mount_tag={share.tag},{place}"),
    ]


def share_socket(settings: HostSettings, share: ShareSettings) -> Path:
    """Return where virtiofsd listens for this share."""
    return settings.run_folder / f"share-{share.tag}.sock"


def virtiofsd_argv(share: ShareSettings, socket: Path, binary: Path, help_text: str = "") -> list[str]:
    """
    Return the command line of the share's virtiofsd; `help_text` is what `binary --help` prints.

    The first one, in C (QEMU to 7.2, /usr/lib/qemu/virtiofsd), has -o only; its successor in Rust (/usr/libexec) has
    --shared-dir, and newer ones --readonly. cache=auto: with always, the guest never sees a recording grow.
    """
    if "--shared-dir" not in help_text:
        folder = re.sub(r"([\\,])", r"\\\1", str(share.path))  # libfuse's fuse_opt_parse: a comma begins an option
        return [str(binary), f"--socket-path={socket}", "-o", f"source={folder}", "-o", "cache=auto"]
    read_only = ["--readonly"] if share.read_only and "--readonly" in help_text else []
    return [str(binary), f"--socket-path={socket}", f"--shared-dir={share.path}", "--cache=auto", *read_only]


def _kernel(settings: HostSettings) -> list[Option]:
    vm = settings.vm
    given = (("-kernel", vm.kernel), ("-initrd", vm.initrd), ("-append", vm.kernel_arguments or None))
    return [(option, str(value)) for option, value in given if value is not None]


def _as_options(arguments: tuple[str, ...]) -> list[Option]:
    """An option and its values belong on one line: a word that begins with - begins an option."""
    options: list[Option] = []
    for argument in arguments:
        if argument.startswith("-") or not options:
            options.append((argument,))
        else:
            options[-1] += (argument,)
    return options


#: The base class of bridges. Source: PCI Code and ID Assignment Specification, 1.7.
_BRIDGE = 0x06


def _notes(settings: HostSettings, qemu: QemuProperties, facts: ArgvFacts) -> list[str]:
    notes = []
    if settings.gpu.address != "none" or settings.pci:
        notes.append(
            "-action reboot=shutdown: a guest that reboots ends, and is started anew. A GPU that was not reset between "
            "two boots can hang, or flood the host with DMA faults."
        )
    for wanted in settings.pci if facts.devices else ():
        device = facts.devices.get(PciAddress.parse(wanted.address))
        if device is None:
            notes.append(f"The host has no PCI device {wanted.address} now.")
        elif device.class_code >> 16 == _BRIDGE:
            notes.append(f"{wanted.address} is a bridge, which cannot be passed through: name the devices behind it.")
    if settings.vm.pin_cpus:
        pinned = ", ".join(str(cpu) for cpu in settings.vm.pin_cpus)
        notes.append(f"The virtual CPUs are pinned to {pinned} by encoderd-host boot; this line alone pins nothing.")
    needed = facts.gpu_generation.needs_qemu if facts.gpu_generation is not None else None
    if needed is not None and qemu.version[:2] < needed:
        notes.append(f"This GPU needs QEMU {needed[0]}.{needed[1]}; this is {qemu.version_text}.")
    return notes
