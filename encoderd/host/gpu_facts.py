"""Which GPU is meant, and all that sysfs says of it and of what shares its IOMMU group."""

from __future__ import annotations

import re
from dataclasses import dataclass

from encoderd.errors import SettingsError
from encoderd.host.generations import Generation, generation
from encoderd.host.settings import GpuSettings
from encoderd.pci import PciAddress, PciDevice, pci_devices
from encoderd.root import Root

#: Where every integrated Intel GPU sits.
IGPU = PciAddress(0, 0, 2, 0)

#: PCI-to-PCI bridges, the ordinary and the semi-transparent ones: VFIO allows them in a group (vfio.rst, "viable").
_BRIDGES = {0x0604, 0x0609}

_PLATFORM_FRAMEBUFFERS = ("efi-framebuffer.", "simple-framebuffer.", "vesa-framebuffer.")
_FIRMWARE_NAMES = {"efifb", "BOOTFB", "simplefb", "vesafb", "simpledrm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedRegion:
    """Memory (first and last byte) that a group keeps. `kind` is the kernel's word: direct, direct-relaxable, msi."""

    first: int
    last: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """
    The GPU that is meant, and what is known of it.

    `wanted` is the settings' word: "auto", "none" or an address. `gpu` is None when there is none, or when what was
    named is no GPU; `named` is then what stands at that address. `whole` is the physical function when `gpu` is (or
    should be) a virtual one. `members` are the other endpoints of its IOMMU group. `config_head` are the first 64 bytes
    of its configuration space, b"" when unreadable. `vfs` are its virtual functions, `mdevs` its mediated devices.
    `firmware_framebuffers` are the firmware's pictures that stand in its memory ("efifb") or, where nothing is said of
    memory, anywhere ("efi-framebuffer.0").
    """

    wanted: str
    devices: tuple[PciDevice, ...]
    gpu: PciDevice | None
    named: PciDevice | None = None
    whole: PciDevice | None = None
    members: tuple[PciDevice, ...] = ()
    generation: Generation | None = None
    iommu_unit: str = ""
    group_type: str = ""
    reserved: tuple[ReservedRegion, ...] = ()
    driver_override: str = ""
    drm_nodes: tuple[str, ...] = ()
    reset_methods: tuple[str, ...] = ()
    power_state: str = ""
    config_head: bytes = b""
    firmware_framebuffers: tuple[str, ...] = ()
    sriov_numvfs: int = 0
    sriov_totalvfs: int = 0
    vfs: tuple[PciAddress, ...] = ()
    mdevs: tuple[str, ...] = ()

    @property
    def displays(self) -> tuple[PciDevice, ...]:
        return tuple(device for device in self.devices if device.is_display)

    @property
    def fell_off_the_bus(self) -> bool:
        """Does its configuration space read as all ones, as it does where no device answers?"""
        return bool(self.config_head) and set(self.config_head) == {0xFF}

    def device(self, address: PciAddress) -> PciDevice | None:
        return next((device for device in self.devices if device.address == address), None)


def gpu_facts(root: Root, settings: GpuSettings, profile: str = "headless") -> GpuFacts:
    """
    Choose the GPU and read what is said of it.

    "auto" is the integrated Intel GPU, else the first Intel display device; for the profile "vf" the first virtual
    function of that one which no driver has but vfio-pci, else its first. An address is taken at its word, if a display
    device of Intel's stands there (of any maker with `stand_in`).
    """
    devices = tuple(pci_devices(root))
    if settings.address == "none":
        return GpuFacts(wanted="none", devices=devices, gpu=None)
    displays = [device for device in devices if device.is_intel_display or (settings.stand_in and device.is_display)]
    named, whole = None, None
    if settings.address == "auto":
        gpu = min(
            displays,
            key=lambda device: (device.address != IGPU, not device.is_intel_display, device.address),
            default=None,
        )
        if profile == "vf" and gpu is not None:
            gpu, whole = _free_function(root, gpu, devices), gpu
    else:
        named = _at(devices, settings.address)
        gpu = named if named in displays else None
        if gpu is not None:
            whole = _at(devices, root.link_name(f"{_folder(gpu)}/physfn") or "")
    if gpu is None:
        return GpuFacts(
            wanted=settings.address, devices=devices, gpu=None, named=named, whole=whole,
            sriov_totalvfs=_number(root, whole, "sriov_totalvfs"), sriov_numvfs=_number(root, whole, "sriov_numvfs"),
        )  # fmt: skip
    return _read(root, settings.address, devices, gpu, named, whole)


def _read(
    root: Root,
    wanted: str,
    devices: tuple[PciDevice, ...],
    gpu: PciDevice,
    named: PciDevice | None,
    whole: PciDevice | None,
) -> GpuFacts:
    folder = _folder(gpu)
    group = f"/sys/kernel/iommu_groups/{gpu.iommu_group}"
    override = root.text(f"{folder}/driver_override").strip()
    return GpuFacts(
        wanted=wanted,
        devices=devices,
        gpu=gpu,
        named=named,
        whole=whole,
        members=group_members(gpu, devices),
        generation=generation(gpu.device) if gpu.is_intel_display else None,
        iommu_unit=root.link_name(f"{folder}/iommu") or "",
        group_type=root.text(f"{group}/type").strip(),
        reserved=_reserved(root.text(f"{group}/reserved_regions")) if gpu.iommu_group is not None else (),
        driver_override="" if override == "(null)" else override,
        drm_nodes=tuple(name for name in root.names(f"{folder}/drm") if re.fullmatch(r"(card|renderD)\d+", name)),
        reset_methods=tuple(root.text(f"{folder}/reset_method").split()),
        power_state=root.text(f"{folder}/power_state").strip(),
        config_head=root.head(f"{folder}/config", 64),
        firmware_framebuffers=_firmware_framebuffers(root, gpu),
        sriov_numvfs=_number(root, gpu, "sriov_numvfs"),
        sriov_totalvfs=_number(root, gpu, "sriov_totalvfs"),
        vfs=virtual_functions(root, gpu.address),
        mdevs=tuple(name for name in root.names("/sys/bus/mdev/devices") if root.exists(f"{folder}/{name}")),
    )


def group_members(device: PciDevice, devices: tuple[PciDevice, ...]) -> tuple[PciDevice, ...]:
    """Return the other endpoints of this device's IOMMU group; bridges do not count, VFIO allows them."""
    if device.iommu_group is None:
        return ()
    return tuple(
        other
        for other in devices
        if other.iommu_group == device.iommu_group
        and other.address != device.address
        and other.class_code >> 8 not in _BRIDGES
    )


def virtual_functions(root: Root, address: PciAddress) -> tuple[PciAddress, ...]:
    """Return the virtual functions that a device has made, by number."""
    folder = f"/sys/bus/pci/devices/{address}"
    numbers = sorted(int(name[6:]) for name in root.names(folder) if re.fullmatch(r"virtfn\d{1,4}", name))
    found = (_parsed(root.link_name(f"{folder}/virtfn{number}") or "") for number in numbers)
    return tuple(function for function in found if function is not None)


def _free_function(root: Root, whole: PciDevice, devices: tuple[PciDevice, ...]) -> PciDevice | None:
    functions = [_at(devices, str(address)) for address in virtual_functions(root, whole.address)]
    there = [function for function in functions if function is not None]
    return next((function for function in there if function.driver in {None, "vfio-pci"}), next(iter(there), None))


def _firmware_framebuffers(root: Root, gpu: PciDevice) -> tuple[str, ...]:
    """
    Return the firmware's pictures in the GPU's memory.

    Source: /proc/iomem, where a line that is indented further stands inside the one above; it names them to everybody,
    only the addresses are root's. Where the GPU's memory is not listed, the platform devices are all that is known.
    """
    inside: list[str] = []
    depth: int | None = None
    listed = False
    for line in root.text("/proc/iomem").splitlines():
        indent = len(line) - len(line.lstrip())
        owner = line.partition(" : ")[2].strip()
        if depth is not None and indent <= depth:
            depth = None
        if depth is not None and owner in _FIRMWARE_NAMES:
            inside.append(owner)
        if owner == str(gpu.address) and depth is None:
            depth, listed = indent, True
    if listed:
        return tuple(dict.fromkeys(inside))
    return tuple(name for name in root.names("/sys/bus/platform/devices") if name.startswith(_PLATFORM_FRAMEBUFFERS))


def _reserved(text: str) -> tuple[ReservedRegion, ...]:
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) ([\w-]+)", line.strip(), re.IGNORECASE)
        if match is not None:
            found.append(ReservedRegion(first=int(match[1], 16), last=int(match[2], 16), kind=match[3]))
    return tuple(found)


def _folder(device: PciDevice) -> str:
    return f"/sys/bus/pci/devices/{device.address}"


def _at(devices: tuple[PciDevice, ...], text: str) -> PciDevice | None:
    address = _parsed(text)
    return next((device for device in devices if device.address == address), None)


def _parsed(text: str) -> PciAddress | None:
    try:
        return PciAddress.parse(text)
    except SettingsError:
        return None


def _number(root: Root, device: PciDevice | None, name: str) -> int:
    text = root.text(f"{_folder(device)}/{name}").strip() if device is not None else ""
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0
