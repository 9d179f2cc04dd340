"""
What QEMU says on its standard error, in terms of what to do about it.

The texts are QEMU's and stay as they are over the years; each was seen from QEMU 7.2 or is in its source. What is not
known here is kept as it is: an unknown line is more useful than a wrong explanation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """
    One line. `cause` and `remedy` are "" when the line is unknown. `harmless` lines need nothing done; a line that only
    goes on with the one before is harmless too.
    """

    line: str
    cause: str = ""
    remedy: str = ""
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    pattern: re.Pattern[str]
    cause: str
    remedy: str = ""
    harmless: bool = False


#: A line beyond this is cut; QEMU's longest repeats a whole -device option.
_MOST_CHARACTERS = 2_000


def explain(stderr: str) -> list[Explained]:
    """Return each line of QEMU's standard error in its order, once each, with its cause and remedy where known."""
    lines = (re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", line).strip()[:_MOST_CHARACTERS] for line in stderr.splitlines())
    return [_explained(line) for line in dict.fromkeys(lines) if line]


def cause_of_death(stderr: str) -> Explained | None:
    """Return the line that explains most: the first known one that is not harmless, else the last unknown one."""
    serious = [line for line in explain(stderr) if not line.harmless]
    return next((line for line in serious if line.cause), serious[-1] if serious else None)


def _explained(line: str) -> Explained:
    for known in _KNOWN:
        match = known.pattern.search(line)
        if match is not None:
            values = {"device": _device(line), **{key: value or "" for key, value in match.groupdict().items()}}
            return Explained(
                line=line,
                cause=known.cause.format(**values),
                remedy=known.remedy.format(**values),
                harmless=known.harmless,
            )
    return Explained(line=line)


def _device(line: str) -> str:
    match = re.search(r"\b[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]\b", line)
    return match[0] if match is not None else "the device"


def _known(pattern: str, cause: str, remedy: str) -> _Known:
    return _Known(re.compile(pattern), cause, remedy)


def _harmless(pattern: str, cause: str) -> _Known:
    return _Known(re.compile(pattern), cause, harmless=True)


_CHECK = "encoderd-host check"
_TAKE = "encoderd-host give, then encoderd-host take"

_IOMMU = (
    _known(
        r"no iommu_group found",
        "{device} is in no IOMMU group: VT-d is off in the firmware or on the kernel's command line, or the kernel "
        "leaves this GPU out of it (intel_iommu=igfx_off, Broadwell).",
        f"Enable VT-d in the BIOS, put intel_iommu=on on the kernel's command line, reboot; {_CHECK} says which it is",
    ),
    _known(
        r"no such host device",
        "The host has no PCI device {device}.",
        "Compare with lspci -D and correct gpu.address or [[pci]] address",
    ),
    _known(
        r"[Ff]ailed to open /dev/vfio/(?P<group>\d+): No such file",
        "{device} is not bound to vfio-pci, so its group {group} has no file.",
        "encoderd-host take",
    ),
    _known(
        r"[Ff]ailed to open /dev/vfio/(?P<group>\d+): Permission denied",
        "This user may not open the VFIO group {group}.",
        "Start QEMU as root (the unit does), or let the user's group have /dev/vfio/{group} by a udev rule",
    ),
    _known(
        r"[Ff]ailed to open /dev/vfio/(?P<group>\d+): Device or resource busy",
        "Another process holds the VFIO group {group}: another VM has this device, or one beside it.",
        f"fuser -v /dev/vfio/{{group}} names it; {_CHECK} too",
    ),
    _known(
        r"[Ff]ailed to open /dev/vfio/vfio",
        "VFIO cannot be opened: its module is not loaded, or the sandbox hides /dev/vfio.",
        "modprobe vfio-pci; and look for PrivateDevices= and DevicePolicy= in the unit",
    ),
    _known(
        r"group (?P<group>\d+) is not viable",
        "A device that shares the IOMMU group {group} with {device} still has a driver of the host.",
        "ls -l /sys/kernel/iommu_groups/{group}/devices/*/driver; put the rest of the group under [[pci]], or move it",
    ),
    _known(
        r"[Ff]ailed to set iommu for container: Operation not permitted",
        "The host has no interrupt remapping, without which a guest could raise any interrupt on it.",
        "Update the BIOS; take intremap=off and nointremap off the kernel's command line",
    ),
    _known(
        r"No available IOMMU models",
        "VFIO has no way to program the IOMMU: the module vfio_iommu_type1 is not loaded.",
        "modprobe vfio_iommu_type1",
    ),
    _known(
        r"error getting device from group (?P<group>\d+)",
        "The kernel did not hand out {device}, although its group {group} could be opened.",
        f"dmesg | tail; then {_TAKE}",
    ),
    _known(
        r"VFIO_MAP_DMA failed: Cannot allocate memory|dma_map\(.*\) = -12\b",
        "The guest's memory could not be pinned: the limit of locked memory is too low, or memory is short.",
        "LimitMEMLOCK=infinity in the unit; else a smaller vm.memory_mib",
    ),
    _known(
        r"dma_map\(.*\) = -22\b",
        "The guest put memory or a window where the IOMMU cannot map it: its processor's addresses are too wide.",
        f"vm.cpu = \"auto\" (it adds host-phys-bits-limit), or add it by hand; {_CHECK} shows the width",
    ),
)  # fmt: skip

_GPU = (
    _known(
        r"VGA region index 8: Invalid argument|does not support requested feature x-vga",
        "x-vga=on needs a GPU of class 0300 and a kernel that passes VGA ranges (vfio_pci.disable_vga=N); {device} has "
        "neither need nor use for it without a display.",
        "Remove x-vga, or vm.faithful",
    ),
    _known(
        r"does not support requested IGD OpRegion feature",
        "{device} has no OpRegion to pass on: a virtual function, not an Intel GPU, or one the firmware left off.",
        'gpu.properties: remove "x-igd-opregion"; without a display the guest is better off without it',
    ),
    _known(
        r"(?:Unknown PCI header type|header type) '?(?:127|0x7f)",
        "{device} no longer answers (all its registers read as ones): it did not come back from a reset or from sleep.",
        "Switch the machine off and on; if it happens again: options vfio-pci disable_idle_d3=1 in /etc/modprobe.d",
    ),
    _known(
        r"stuck in D3",
        "{device} does not wake from its deepest sleep.",
        "Switch the machine off and on; then options vfio-pci disable_idle_d3=1 in /etc/modprobe.d",
    ),
    _known(
        r"[Ff]ailed to mmap .*BAR|BAR \d+: can't reserve",
        "The host's boot screen still holds memory of {device}.",
        "Linux 6.0 or newer lets go by itself; before, put initcall_blacklist=sysfb_init on the kernel's command line",
    ),
    _harmless(r"cannot support legacy mode due to existing devices at address 1f\.0",
              "Legacy mode serves a display on i440fx; a guest without one needs none."),
    _harmless(r"does not support OpRegion access, ?legacy mode disabled",
              "Without an OpRegion there is no legacy mode; a guest without a display needs none."),
    _harmless(r"is unsupported in legacy mode, try SandyBridge or newer",
              "This QEMU does not know the GPU's generation; without a display it need not."),
    _harmless(r"[Cc]annot reset device .*no available reset mechanism",
              "The device cannot be reset alone; it starts as the host left it."),
    _harmless(r"Cannot read device rom|Device option ROM contents are probably invalid|Skip option ROM probe",
              "The GPU's ROM cannot be read; only a display needs it."),
    _harmless(r"Bus '\S+' does not support hotplugging",
              "The host asked for the device; the guest keeps it, as it should, until it ends."),
)  # fmt: skip

_LINE = (
    _known(
        r"Bus '(?P<bus>[^']+)' not found",
        "There is no bus {bus}: its port is not defined, or only later on the command line.",
        "encoderd-host argv shows the line; define the port before the device in vm.extra_args",
    ),
    _known(
        r"Can't add chassis slot, error -16",
        "Two root ports have the same chassis and slot.",
        "Give the port in vm.extra_args a chassis of its own, from 64 on",
    ),
    _known(
        r"PCI: slot (?P<slot>\d+) function (?P<function>\d+) not available for",
        "Two devices are on slot {slot}, function {function}, of one bus.",
        "encoderd-host argv shows who is where (addr=, in hexadecimal); move the one in vm.extra_args",
    ),
    _known(
        r"Duplicate (?:device )?ID '(?P<id>[^']+)'|duplicate ID|Device with id '(?P<other>[^']+)' already exists",
        "Two things on the command line have the id {id}{other}.",
        "Give the one in vm.extra_args another id",
    ),
    _known(
        r"Property '(?P<driver>[^'.]+)\.(?P<name>[^']+)' not found",
        "{driver} of this QEMU has no property {name}.",
        "Remove it from the properties in the settings, or use a newer QEMU",
    ),
    _known(
        r"Invalid parameter type for '(?P<name>[^']+)', expected: (?P<type>\w+)|Parameter '(?P<other>[^']+)' expects",
        "The value of {name}{other} is of the wrong kind.",
        "qemu-system-x86_64 -device vfio-pci,help lists what each takes",
    ),
    _known(
        r"Property '(?P<name>[^']+)' (?:doesn't take|can't find) value '(?P<value>[^']*)'",
        "{name} cannot be {value}.",
        "encoderd-host argv shows the line; correct it in the properties or in vm.extra_args",
    ),
    _known(
        r": (?P<name>-\S+): invalid option|unsupported machine type|"
        r"No '\S+' bus found for device '(?P<device_type>[^']+)'",
        "The command line asks for something that this QEMU, or this machine, does not have: {name}{device_type}.",
        "encoderd-host argv shows the line; correct vm.extra_args",
    ),
    _known(
        r"'(?P<name>[^']+)' is not a valid device model name",
        "This QEMU has no device {name}.",
        "apt-get install qemu-system-x86 qemu-system-common",
    ),
    _known(
        r"[Ff]ailed to initialize module|Only modules from the same build can be loaded",
        "QEMU and its modules are of another build: an upgrade was not finished, or mixed two suites.",
        "apt-get install --reinstall qemu-system-x86 qemu-system-common",
    ),
    _known(
        r"network backend '?(?P<name>\w+)'? is not compiled",
        'This QEMU was built without the network mode "{name}".',
        "Use another network mode, or the distribution's QEMU",
    ),
    _known(
        r"cannot create PID file|Cannot lock pid file",
        "A QEMU of this VM is still running, and holds its PID file.",
        "encoderd-host status; then encoderd-host stop",
    ),
)

_PROCESSOR = (
    _known(
        r"Could not access KVM kernel module: No such file|failed to initialize kvm: No such file|"
        r"invalid accelerator kvm",
        "There is no /dev/kvm: VT-x is off in the firmware, its module is not loaded, or the sandbox hides it.",
        "Enable VT-x in the BIOS, modprobe kvm_intel",
    ),
    _known(
        r"Could not access KVM kernel module: Permission denied|failed to initialize kvm: Permission denied",
        "This user may not open /dev/kvm.",
        "adduser USER kvm, or start QEMU as root (the unit does)",
    ),
    _known(
        r"CPU model 'host' requires KVM|failed to set MSR|kvm_buf_set_msrs",
        "KVM refuses this CPU model: it is missing, or runs inside another virtual machine.",
        'vm.cpu = "auto" tries others; or name one, for example "Haswell-noTSX"',
    ),
    _known(
        r"unable to find CPU model '(?P<model>[^']+)'",
        "This QEMU has no CPU model {model}.",
        "qemu-system-x86_64 -cpu help lists them; correct vm.cpu",
    ),
    _known(
        r"[Cc]annot set up guest memory|unable to map backing store for guest RAM|Insufficient free host memory pages|"
        r"preallocat\w+ memory failed|os_mem_prealloc|Cannot allocate memory",
        "The host has not enough memory for the guest, or not enough huge pages.",
        "grep -E 'MemAvailable|HugePages_Free' /proc/meminfo; a smaller vm.memory_mib, or hugepages = false",
    ),
    _harmless(r"(?:TCG|host) doesn't support requested feature", "The guest's processor goes without this feature."),
    _harmless(r"^(?:\S+: )?terminating on signal \d+", "QEMU was told to end."),
)  # fmt: skip

_FILES = (
    _known(
        r'Failed to get "?(?:write|shared "write"|consistent read)"? lock|Is another process using the image',
        "Another process uses the disk image.",
        "lsof IMAGE names it: perhaps this VM under another manager; two guests on one image destroy it",
    ),
    _known(
        r"Image is not in (?P<format>\S+) format",
        "The disk image is not {format}.",
        "qemu-img info IMAGE tells its format; correct [[disk]] format",
    ),
    _known(
        r"Could not open backing file",
        "The disk image is based on another one that cannot be opened.",
        "qemu-img info --backing-chain IMAGE names it; put it back where it was",
    ),
    _known(
        r"Could not set up host forwarding rule '(?P<rule>[^']+)'",
        "A port of the host that is to be forwarded is taken: {rule}.",
        "ss -ltnp names who listens there; take another port in [[network]] forwards",
    ),
    _known(
        r"access denied by acl file|failed to parse default acl file|bridge helper failed|failed to get mtu of bridge",
        "The bridge may not be used, or does not exist.",
        "ip link show BRIDGE; and the line: allow BRIDGE, in /etc/qemu/bridge.conf",
    ),
    _known(
        r"could not configure /dev/net/tun.*?(?P<why>Device or resource busy|Operation not permitted)|"
        r"could not open /dev/net/tun",
        "The tap device cannot be used. {why}",
        "ip tuntap add dev TAP mode tap; and see that no other VM has it",
    ),
    _known(
        r"Failed to connect to '?(?P<socket>\S*share-\S+?\.sock)|chardev=(?P<other>share\d+).*[Ff]ailed to connect",
        "Nobody serves the share at {socket}{other}: virtiofsd is not running.",
        'encoderd-host boot starts it; by hand, start virtiofsd first, or type = "9p" in [[share]]',
    ),
    _known(
        r"vhost-vsock: failed to open vhost device",
        "There is no /dev/vhost-vsock.",
        "modprobe vhost_vsock",
    ),
    _known(
        r"(?:[Cc]ould not open(?: kernel file)?|[Cc]annot open|[Ff]ailed to open) '(?P<path>[^']+)': (?P<why>.+)",
        "{path} cannot be opened: {why}.",
        "ls -l {path}; correct the path in the settings, or who may read it",
    ),
    _known(
        r"Failed to bind socket to '?(?P<path>[^':]+)'?: (?P<why>.+)",
        "The socket {path} cannot be made: {why}.",
        "encoderd-host status tells whether this VM is running; else make its folder, or correct vm.run_dir",
    ),
)

_CONTINUED = (
    _harmless(r"^Please ensure all devices within the iommu_group are bound", "It goes on with the line before."),
    _harmless(r"^Verify all devices in group \d+ are bound", "It goes on with the line before."),
)

_KNOWN = (*_CONTINUED, *_IOMMU, *_GPU, *_LINE, *_FILES, *_PROCESSOR)
