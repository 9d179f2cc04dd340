"""
Hosts as they are found: each function builds one in a folder. `everything_healthy` is the base that tests break.

Ids, groups, capability registers and resources are like those that lspci, dmesg and sysfs of such machines show.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.hosts.tree import HostTree

#: A guest's image that is on all of them.
GUEST_IMAGE = "/var/lib/encoderd-host/encoderd.qcow2"
RELEASE = "6.12.43+deb13-amd64"
GIB = 2**30

#: Capability registers of VT-d units, as dmesg tells them: the one of the GPU, and the one of all the rest.
SKYLAKE_UNITS = (("1c0000c40660462", "7e3ff0505e"), ("d2008c40660462", "f050da"))
HASWELL_UNITS = (("c0000020660462", "f0101a"), ("d2008020660462", "f0105a"))
ALDER_LAKE_UNITS = (("1c0000c40660462", "69e2ff0505e"), ("d2008c40660462", "f050da"))
METEOR_LAKE_UNITS = (("1c0000c406f0462", "49e2ff0505e"), ("d2008c406f0462", "12ff050da"))

#: What Debian's amd64 kernel has of what matters here.
DEBIAN_CONFIG = """\
CONFIG_KVM_INTEL=m
CONFIG_INTEL_IOMMU=y
# CONFIG_INTEL_IOMMU_DEFAULT_ON is not set
CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF=y
CONFIG_IRQ_REMAP=y
CONFIG_VFIO=m
CONFIG_VFIO_IOMMU_TYPE1=m
CONFIG_VFIO_PCI=m
CONFIG_VFIO_PCI_VGA=y
CONFIG_VFIO_PCI_IGD=y
CONFIG_DRM_I915=m
"""


# --- pieces


def dmar_unit(base: int, scopes: Iterable[bytes] = (), *, include_all: bool = False, segment: int = 0) -> bytes:
    """A DRHD structure."""
    body = b"".join(scopes)
    return struct.pack("<HHBBHQ", 0, 16 + len(body), int(include_all), 0, segment, base) + body


def dmar_reserved(first: int, last: int, scopes: Iterable[bytes], *, segment: int = 0) -> bytes:
    """An RMRR structure."""
    body = b"".join(scopes)
    return struct.pack("<HHHHQQ", 1, 24 + len(body), 0, segment, first, last) + body


def dmar_scope(bus: int, *path: tuple[int, int], kind: int = 1) -> bytes:
    """A device scope: an endpoint, when `kind` is 1."""
    return struct.pack("<BBHBB", kind, 6 + 2 * len(path), 0, 0, bus) + bytes(number for step in path for number in step)


def dmar_table(structures: Iterable[bytes], *, address_bits: int = 39, flags: int = 1) -> bytes:
    """A whole table with its ACPI header. `flags`: 1 interrupt remapping, 2 no x2APIC please."""
    body = b"".join(structures)
    head = struct.pack("<4sIBB6s8sI4sI", b"DMAR", 48 + len(body), 1, 0, b"INTEL ", b"EDK2    ", 2, b"    ", 0x01000013)
    table = bytearray(head + bytes([address_bits - 1, flags]) + bytes(10) + body)
    table[9] = -sum(table) % 256  # the checksum makes all bytes add up to nothing
    return bytes(table)


def client_dmar(*, address_bits: int = 39, flags: int = 1) -> bytes:
    """A desktop's table: a unit for the GPU, one for the rest, RMRRs for USB and for the GPU's stolen memory."""
    return dmar_table(
        [
            dmar_unit(0xFED90000, [dmar_scope(0, (2, 0))]),
            dmar_unit(0xFED91000, [dmar_scope(0xF0, (0x1F, 0), kind=3)], include_all=True),
            dmar_reserved(0x8A6F0000, 0x8A70FFFF, [dmar_scope(0, (0x14, 0))]),
            dmar_reserved(0x8B800000, 0x8FFFFFFF, [dmar_scope(0, (2, 0))]),
        ],
        address_bits=address_bits,
        flags=flags,
    )


def _config_space(
    vendor: int, device: int, class_code: int, *, header_type: int = 0, opregion: int = 0, revision: int = 6
) -> bytes:
    head = struct.pack("<HHHHI", vendor, device, 0x0407, 0x0010, class_code << 8 | revision)
    return (head + bytes([0x10, 0, header_type, 0])).ljust(0xFC, b"\0") + struct.pack("<I", opregion)


class Machine(HostTree):
    """A host whose devices also have resources, configuration space and power, and whose firmware can be broken."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._memory: list[str] = []

    def processor(self, name: str, *, flags: str = "vmx ept", bits: int = 39, vendor: str = "GenuineIntel") -> None:
        core = (
            f"vendor_id\t: {vendor}\ncpu family\t: 6\nmodel name\t: {name}\n"
            f"flags\t\t: fpu vme msr apic {flags} x2apic sse4_2 lm\n"
            f"address sizes\t: {bits} bits physical, 48 bits virtual\n\n"
        )
        self.write("/proc/cpuinfo", "".join(f"processor\t: {number}\n{core}" for number in range(4)))
        if "vmx" in flags.split():
            self.write("/sys/module/kvm_intel/parameters/nested", "Y\n")

    def memory(self, total_mib: int, available_mib: int) -> None:
        self.write(
            "/proc/meminfo",
            f"MemTotal:       {total_mib * 1024} kB\nMemFree:        {available_mib * 900} kB\n"
            f"MemAvailable:   {available_mib * 1024} kB\nHugePages_Total:       0\nHugePages_Free:        0\n"
            "Hugepagesize:       2048 kB\n",
        )
        for name in ("free_hugepages", "nr_hugepages"):
            self.write(f"/sys/kernel/mm/hugepages/hugepages-2048kB/{name}", "0\n")

    def kernel(
        self, release: str, *, words: str = "intel_iommu=on iommu=pt quiet", config: str = DEBIAN_CONFIG
    ) -> None:
        """A distribution's kernel, started by GRUB: its command line, configuration and modules."""
        self.write("/proc/sys/kernel/osrelease", release + "\n")
        self.write("/proc/sys/kernel/random/boot_id", "5f1c9a3e-7d0b-4f4e-9a53-0c2f6f0f7a11\n")
        self.cmdline(f"BOOT_IMAGE=/boot/vmlinuz-{release} root=UUID=2b1f6b1e-77e5-4a2e-8f2b-6a0e8d8f1c55 ro {words}")
        self.write(f"/boot/config-{release}", config)
        self.write("/etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
        modules = f"/lib/modules/{release}"
        files = [
            "kernel/drivers/vfio/pci/vfio-pci.ko.xz",
            "kernel/drivers/vfio/vfio_iommu_type1.ko.xz",
            "kernel/drivers/gpu/drm/i915/i915.ko.xz",
        ]
        for file in files:
            self.write(f"{modules}/{file}", "")
        self.write(f"{modules}/modules.dep", "".join(f"{file}:\n" for file in files))
        self.write(f"{modules}/modules.builtin", "kernel/drivers/pci/pcieport.ko\nkernel/drivers/pci/pci-stub.ko\n")
        self.write("/etc/modprobe.d/dist-blacklist.conf", "# nothing of ours\nblacklist pcspkr\n")

    def cmdline(self, line: str) -> None:
        self.write("/proc/cmdline", line + "\n")

    def interrupts(self, *, remapped: bool = True) -> None:
        prefix = "IR-" if remapped else ""
        self.write(
            "/proc/interrupts",
            "            CPU0       CPU1       \n"
            f"   0:          8          0  {prefix}IO-APIC    2-edge      timer\n"
            f"   8:          0          1  {prefix}IO-APIC    8-edge      rtc0\n"
            + ("" if not remapped else " 120:          0          0  DMAR-MSI    0-edge      dmar0\n")
            + f" 126:      48123      10011  {prefix}PCI-MSI 327680-edge      xhci_hcd\n"
            " NMI:          3          2   Non-maskable interrupts\n",
        )

    def iommu(self, units: Iterable[tuple[str, str]] = SKYLAKE_UNITS, table: bytes | None = None) -> None:
        """VT-d in the firmware and on in the kernel."""
        self.write("/sys/firmware/acpi/tables/DMAR", client_dmar() if table is None else table)
        for number, (cap, ecap) in enumerate(units):
            unit = f"/sys/devices/virtual/iommu/dmar{number}"
            registers = {"cap": cap, "ecap": ecap, "address": f"fed9{number}000", "version": "1:0"}
            for name, value in registers.items():
                self.write(f"{unit}/intel-iommu/{name}", value + "\n")
            self.link(f"/sys/class/iommu/dmar{number}", unit)

    def without_iommu(self) -> None:
        """Nothing that a kernel without a working IOMMU has: no units, no groups, no interrupt remapping."""
        for path in ("/sys/class/iommu", "/sys/devices/virtual/iommu", "/sys/kernel/iommu_groups"):
            if self.at(path).exists():
                self.remove(path)
        for device in self.at("/sys/bus/pci/devices").iterdir():
            for name in ("iommu", "iommu_group"):
                (device / name).unlink(missing_ok=True)
        self.interrupts(remapped=False)

    def pci(
        self,
        address: str,
        ids: str,
        class_code: int,
        *,
        driver: str | None = None,
        group: int | None = None,
        bars: Iterable[tuple[int, int]] = (),
        inside: str = "",
        boot_vga: bool | None = None,
        drm: Iterable[str] = (),
        reset: str = "pm",
        unit: int = 1,
        header_type: int = 0,
        vf_of: str = "",
    ) -> str:
        """
        Add a device. `bars` are (address, bytes); `inside` is who else lies in the first of them ("efifb").

        `vf_of` makes it a virtual function of another device, which must be there already.
        """
        vendor, device = (int(part, 16) for part in ids.split(":"))
        lines = [f"{start:#018x} {start + size - 1:#018x} 0x0000000000040200" for start, size in bars]
        lines += [f"{0:#018x} {0:#018x} {0:#018x}"] * (6 - len(lines))
        files = {
            "resource": "\n".join(lines) + "\n",
            "power_state": "D0\n",
            "enable": "1\n",
            "reset_method": reset + "\n",
        }
        if boot_vga is not None:
            files["boot_vga"] = f"{int(boot_vga)}\n"
        if not reset:
            del files["reset_method"]
        folder = self.device(address, vendor, device, class_code, driver=driver, group=group, files=files, drm=drm)
        intel_display = vendor == 0x8086 and class_code >> 16 == 3 and not vf_of
        self.write(
            f"{folder}/config",
            _config_space(
                vendor, device, class_code, header_type=header_type, opregion=0x8A5B7018 if intel_display else 0
            ),
        )
        if header_type & 0x7F == 1:
            self.make(f"{folder}/pci_bus/{address[:5]}{int(address[8:10], 16):02x}")
        if group is not None:
            self.write(
                f"/sys/kernel/iommu_groups/{group}/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n"
            )
            self.write(f"/sys/kernel/iommu_groups/{group}/type", "identity\n")
            self.link(f"{folder}/iommu", f"/sys/devices/virtual/iommu/dmar{unit}")
        if vf_of:
            parent = f"/sys/bus/pci/devices/{vf_of}"
            number = sum(1 for _ in self.at(parent).glob("virtfn*"))
            self.link(f"{parent}/virtfn{number}", folder)
            self.link(f"{folder}/physfn", parent)
        for number, (start, size) in enumerate(bars):
            self._memory.append(f"  {start:08x}-{start + size - 1:08x} : {address}")
            if inside and number == 0:
                self._memory.append(f"    {start:08x}-{start + 0x7E8FFF:08x} : {inside}")
        self.write(
            "/proc/iomem",
            "00000000-00000fff : Reserved\n00100000-7fffffff : System RAM\n80000000-fbffffff : PCI Bus 0000:00\n"
            + "".join(line + "\n" for line in self._memory),
        )
        return folder

    def gpu_group(self, address: str, *lines: str) -> None:
        """Say what a device's group keeps for itself, beside the interrupts' window."""
        self.write(
            f"/sys/bus/pci/devices/{address}/iommu_group/reserved_regions",
            "".join(f"{line}\n" for line in (*lines, "0x00000000fee00000 0x00000000feefffff msi")),
        )

    def connector(self, address: str, card: str, name: str, *, connected: bool) -> None:
        folder = f"/sys/bus/pci/devices/{address}/drm/{card}/{card}-{name}"
        self.write(f"{folder}/status", "connected\n" if connected else "disconnected\n")
        self.write(f"{folder}/enabled", "enabled\n" if connected else "disabled\n")

    def console(self, framebuffer: str, *, device: str = "") -> None:
        """Say where the text console is: "0 i915drmfb" of a PCI device, or "" for none."""
        self.write("/proc/fb", f"{framebuffer}\n" if framebuffer else "")
        for number, (name, bound) in enumerate((("(S) dummy device", False), ("(M) frame buffer device", True))):
            if number == 0 or framebuffer:
                self.write(f"/sys/class/vtconsole/vtcon{number}/name", name + "\n")
                self.write(f"/sys/class/vtconsole/vtcon{number}/bind", f"{int(bound or not framebuffer)}\n")
        if device:
            self.make(f"/sys/bus/pci/devices/{device}/graphics/fb0")
            self.link("/sys/class/graphics/fb0", f"/sys/bus/pci/devices/{device}/graphics/fb0")
            self.link(f"/sys/bus/pci/devices/{device}/graphics/fb0/device", f"/sys/bus/pci/devices/{device}")

    def disk_and_network(self, controller: str, nic: str) -> None:
        """What must never be given away: the root file system's disk, and the way out."""
        block = f"/sys/bus/pci/devices/{controller}/ata1/host0/target0:0:0/0:0:0:0/block/sda"
        self.write(f"{block}/dev", "8:0\n")
        self.write(f"{block}/sda1/dev", "8:1\n")
        self.write(f"{block}/sda1/partition", "1\n")
        for name, target in (("sda", block), ("sda1", f"{block}/sda1")):
            self.link(f"/sys/class/block/{name}", target)
            self.write(f"/dev/{name}", "")
        self.link("/sys/block/sda", block)
        self.link("/sys/dev/block/8:0", block)
        self.link("/sys/dev/block/8:1", f"{block}/sda1")
        self.write("/proc/mounts", "/dev/sda1 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n")
        self.write("/proc/self/mountinfo", "26 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
        interface = f"/sys/bus/pci/devices/{nic}/net/eno1"
        self.write(f"{interface}/operstate", "up\n")
        self.link(f"{interface}/device", f"/sys/bus/pci/devices/{nic}")
        self.link("/sys/class/net/eno1", interface)
        self.write(
            "/proc/net/route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
            "eno1\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
            "eno1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
        )


# --- the chips around the GPU


def _common(machine: Machine, *, release: str = RELEASE, words: str = "intel_iommu=on iommu=pt quiet") -> None:
    machine.memory(16_117, 14_320)
    machine.kernel(release, words=words)
    machine.interrupts()
    machine.driver("vfio-pci")
    machine.remove("/sys/bus/pci/drivers/vfio-pci")
    machine.process(1, "systemd", {}, "/init.scope")
    machine.process(611, "sshd", {3: "socket:[18211]"}, "/system.slice/ssh.service")
    for path in ("/usr/bin/qemu-system-x86_64", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"):
        machine.write(path, "")
    qcow2 = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 16, 32 * GIB, 0, 64, 0x30000, 0x10000, 1, 0, 0)
    machine.write(GUEST_IMAGE, (qcow2 + struct.pack(">QQQII", 0, 0, 0, 4, 104)).ljust(2**16, b"\0"))
    machine.write(
        "/proc/self/limits", "Limit  Soft Limit  Hard Limit  Units\nMax locked memory unlimited unlimited bytes\n"
    )
    machine.console("")


def _chipset(
    machine: Machine, *, first_group: int = 3, xhci: str = "a12f", sata: str = "a102", lpc: str = "a145"
) -> None:
    """USB, ME, SATA, a root port and the 1f.x devices of a desktop of 2013 to 2024, each with its usual driver."""
    number = first_group
    machine.pci("0000:00:00.0", "8086:191f", 0x060000, driver="skl_uncore", group=0)
    machine.pci("0000:00:14.0", f"8086:{xhci}", 0x0C0330, driver="xhci_hcd", group=number, bars=[(0xDF210000, 0x10000)])
    machine.pci("0000:00:14.2", "8086:a131", 0x118000, driver="intel_pch_thermal", group=number)
    machine.pci("0000:00:16.0", "8086:a13a", 0x078000, driver="mei_me", group=number + 1)
    machine.pci("0000:00:17.0", f"8086:{sata}", 0x010601, driver="ahci", group=number + 2, bars=[(0xDF228000, 0x2000)])
    machine.pci("0000:00:1c.0", "8086:a110", 0x060400, driver="pcieport", group=number + 3, header_type=1)
    machine.pci("0000:00:1f.0", f"8086:{lpc}", 0x060100, group=number + 4)
    machine.pci("0000:00:1f.2", "8086:a121", 0x058000, group=number + 4, bars=[(0xDF224000, 0x4000)])
    machine.pci("0000:00:1f.3", "8086:a170", 0x040300, driver="snd_hda_intel", group=number + 4)
    machine.pci("0000:00:1f.4", "8086:a123", 0x0C0500, driver="i801_smbus", group=number + 4)
    machine.pci("0000:00:1f.6", "8086:15b8", 0x020000, driver="e1000e", group=number + 5, bars=[(0xDF200000, 0x20000)])
    machine.disk_and_network("0000:00:17.0", "0000:00:1f.6")


def _igpu(
    machine: Machine,
    device: str,
    *,
    class_code: int = 0x030000,
    driver: str | None = "i915",
    group: int | None = 1,
    boot_vga: bool = True,
    inside: str = "",
    reset: str = "flr pm",
    card: str = "card0",
) -> str:
    """The integrated GPU, with its stolen memory as a relaxable RMRR."""
    bars = [(0xDE000000, 16 * 2**20), (0xC0000000, 256 * 2**20)]
    if inside:
        bars.reverse()
    folder = machine.pci(
        "0000:00:02.0", f"8086:{device}", class_code, driver=driver, group=group, bars=bars, inside=inside,
        boot_vga=boot_vga, drm=(card, "renderD128") if driver in {"i915", "xe"} else (), reset=reset, unit=0,
    )  # fmt: skip
    if group is not None:
        machine.gpu_group("0000:00:02.0", "0x000000008b800000 0x000000008fffffff direct-relaxable")
    return folder


# --- the hosts


def everything_healthy(folder: Path) -> Machine:
    """A Skylake server board: the console is on the board's ASPEED chip, and the GPU has nothing to do."""
    machine = Machine(folder)
    machine.processor("Intel(R) Xeon(R) CPU E3-1245 v5 @ 3.50GHz")
    _common(machine)
    machine.iommu()
    _chipset(machine, lpc="a149")
    _igpu(machine, "191d", class_code=0x038000, boot_vga=False, card="card1")
    machine.pci("0000:02:00.0", "1a03:1150", 0x060400, group=12, header_type=1)
    machine.pci(
        "0000:03:00.0", "1a03:2000", 0x030000, driver="ast", group=12, boot_vga=True, drm=("card0",),
        bars=[(0xDD000000, 2**24)],
    )  # fmt: skip
    machine.console("0 astdrmfb", device="0000:03:00.0")
    machine.connector("0000:03:00.0", "card0", "VGA-1", connected=True)
    machine.connector("0000:00:02.0", "card1", "HDMI-A-1", connected=False)
    return machine


def haswell_desktop(folder: Path) -> Machine:
    """The machine of 2014, with today's Debian: the GPU shows the text console."""
    machine = Machine(folder)
    machine.processor("Intel(R) Core(TM) i5-4570 CPU @ 3.20GHz")
    _common(machine)
    machine.iommu(HASWELL_UNITS)
    _chipset(machine, xhci="8c31", sata="8c02", lpc="8c44")
    _igpu(machine, "0412", reset="af_flr pm")
    machine.pci("0000:00:03.0", "8086:0c0c", 0x040300, driver="snd_hda_intel", group=2, bars=[(0xDF2E0000, 0x4000)])
    machine.console("0 i915drmfb", device="0000:00:02.0")
    machine.connector("0000:00:02.0", "card0", "HDMI-A-1", connected=True)
    return machine


def broadwell(folder: Path) -> Machine:
    """A NUC of the fifth generation: VT-d works for all but the GPU."""
    machine = Machine(folder)
    machine.processor("Intel(R) Core(TM) i5-5300U CPU @ 2.30GHz")
    _common(machine)
    machine.iommu(HASWELL_UNITS[1:])
    _chipset(machine, xhci="9cb1", sata="9c83", lpc="9cc3")
    _igpu(machine, "1616", group=None)
    machine.console("0 i915drmfb", device="0000:00:02.0")
    return machine


def skylake_with_discrete_gpu(folder: Path) -> Machine:
    """A desktop whose NVIDIA card is the primary one; the processor's GPU is of class 0380 then."""
    machine = Machine(folder)
    machine.processor("Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz")
    _common(machine)
    machine.iommu()
    _chipset(machine)
    _igpu(machine, "1912", class_code=0x038000, boot_vga=False, group=2, card="card1")
    machine.pci("0000:00:01.0", "8086:1901", 0x060400, driver="pcieport", group=1, header_type=1)
    machine.pci(
        "0000:01:00.0", "10de:1c82", 0x030000, driver="nouveau", group=1, boot_vga=True, drm=("card0", "renderD129"),
        bars=[(0xDD000000, 2**24)],
    )  # fmt: skip
    machine.pci("0000:01:00.1", "10de:0fb9", 0x040300, driver="snd_hda_intel", group=1)
    machine.console("0 nouveaudrmfb", device="0000:01:00.0")
    machine.connector("0000:01:00.0", "card0", "DP-1", connected=True)
    return machine


def alder_lake_n_headless(folder: Path) -> Machine:
    """A small N100 box with Proxmox, started by systemd-boot, without a screen."""
    machine = Machine(folder)
    machine.processor("Intel(R) N100", flags="vmx ept")
    _common(machine, release="6.14.8-2-pve")
    machine.remove("/etc/default/grub")
    machine.cmdline(
        r"initrd=\EFI\proxmox\6.14.8-2-pve\initrd.img-6.14.8-2-pve root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on"
    )
    machine.write("/etc/kernel/cmdline", "root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on\n")
    machine.write("/etc/kernel/proxmox-boot-uuids", "4C1F-2A90\n")
    machine.iommu(ALDER_LAKE_UNITS)
    _chipset(machine, xhci="54ed", sata="54d3", lpc="5481")
    _igpu(machine, "46d1")
    machine.console("0 i915drmfb", device="0000:00:02.0")
    machine.connector("0000:00:02.0", "card0", "HDMI-A-1", connected=False)
    return machine


def raptor_lake_with_vfs(folder: Path) -> Machine:
    """A Raptor Lake whose GPU was split into two virtual functions by i915-sriov-dkms."""
    machine = Machine(folder)
    machine.processor("13th Gen Intel(R) Core(TM) i5-13500", bits=46)
    _common(
        machine, release="6.17.2-1-pve", words="intel_iommu=on i915.enable_guc=3 i915.max_vfs=7 module_blacklist=xe"
    )
    machine.iommu(ALDER_LAKE_UNITS)
    _chipset(machine, xhci="7ae0", sata="7ae2", lpc="7a83", first_group=6)
    folder_of_gpu = _igpu(machine, "a780")
    for name, number in (("sriov_totalvfs", 7), ("sriov_numvfs", 2)):
        machine.write(f"{folder_of_gpu}/{name}", f"{number}\n")
    machine.pci("0000:00:02.1", "8086:a780", 0x030000, driver="i915", group=2, drm=("card1", "renderD129"), reset="flr",
                unit=0, vf_of="0000:00:02.0")  # fmt: skip
    machine.pci("0000:00:02.2", "8086:a780", 0x030000, group=3, reset="flr", unit=0, vf_of="0000:00:02.0")
    machine.console("0 i915drmfb", device="0000:00:02.0")
    return machine


def amd_host(folder: Path) -> Machine:
    """A Ryzen: another IOMMU, and no Intel GPU."""
    machine = Machine(folder)
    machine.processor("AMD Ryzen 5 5600G with Radeon Graphics", flags="svm npt", bits=48, vendor="AuthenticAMD")
    _common(machine, words="quiet")
    machine.write("/sys/firmware/acpi/tables/IVRS", b"IVRS" + bytes(44))
    machine.make("/sys/devices/virtual/iommu/ivhd0")
    machine.link("/sys/class/iommu/ivhd0", "/sys/devices/virtual/iommu/ivhd0")
    machine.pci(
        "0000:06:00.0", "1002:1638", 0x030000, driver="amdgpu", group=8, boot_vga=True, drm=("card0", "renderD128")
    )
    machine.pci("0000:00:17.0", "1022:7901", 0x010601, driver="ahci", group=9)
    machine.pci("0000:00:1f.6", "10ec:8168", 0x020000, driver="r8169", group=10)
    machine.disk_and_network("0000:00:17.0", "0000:00:1f.6")
    machine.console("0 amdgpudrmfb", device="0000:06:00.0")
    return machine


def no_vt_d(folder: Path) -> Machine:
    """VT-d is off in the firmware, and so nothing that follows from it is there."""
    machine = everything_healthy(folder)
    machine.remove("/sys/firmware/acpi/tables/DMAR")
    machine.without_iommu()
    return machine


def iommu_off(folder: Path) -> Machine:
    """The firmware offers VT-d; nobody told the kernel to use it."""
    machine = everything_healthy(folder)
    machine.without_iommu()
    machine.kernel(RELEASE, words="quiet", config=DEBIAN_CONFIG.replace("ON_INTGPU_OFF=y", "OFF=y"))
    return machine


def no_interrupt_remapping(folder: Path) -> Machine:
    """A firmware that offers DMA remapping only."""
    machine = everything_healthy(folder)
    machine.iommu(((SKYLAKE_UNITS[0][0], "7e3ff05056"), (SKYLAKE_UNITS[1][0], "f050d2")), client_dmar(flags=0))
    machine.interrupts(remapped=False)
    return machine


def firmware_framebuffer(folder: Path) -> Machine:
    """An older kernel without i915: the firmware's picture still lies in the GPU's memory."""
    machine = Machine(folder)
    machine.processor("Intel(R) Core(TM) i5-8400 CPU @ 2.80GHz")
    _common(machine, release="5.10.0-35-amd64", words="intel_iommu=on nomodeset")
    machine.iommu()
    _chipset(machine, xhci="a36d", sata="a352", lpc="a304")
    _igpu(machine, "3e92", driver=None, inside="efifb")
    machine.make("/sys/bus/platform/devices/efi-framebuffer.0")
    machine.console("0 EFI VGA")
    return machine


def group_not_viable(folder: Path) -> Machine:
    """A board that puts sound into the GPU's group, where the host uses it."""
    machine = everything_healthy(folder)
    machine.pci("0000:00:1f.3", "8086:a170", 0x040300, driver="snd_hda_intel", group=1)
    machine.gpu_group("0000:00:02.0", "0x000000008b800000 0x000000008fffffff direct-relaxable")
    return machine


def driverctl_pinned(folder: Path) -> Machine:
    """Somebody gave the GPU to vfio-pci for good, with driverctl."""
    machine = everything_healthy(folder)
    machine.device("0000:00:02.0", 0x8086, 0x191D, 0x038000)  # what i915 made of it goes
    for node in ("card1", "renderD128"):
        machine.remove(f"/dev/dri/{node}")
    folder_of_gpu = _igpu(machine, "191d", class_code=0x038000, boot_vga=False, driver="vfio-pci")
    machine.write(f"{folder_of_gpu}/driver_override", "vfio-pci\n")
    machine.write("/etc/driverctl.d/pci-0000:00:02.0", "vfio-pci\n")
    machine.write("/dev/vfio/vfio", "")
    machine.write("/dev/vfio/1", "")
    for name, value in (("disable_vga", "N"), ("disable_idle_d3", "N"), ("nointxmask", "N")):
        machine.write(f"/sys/module/vfio_pci/parameters/{name}", value + "\n")
    return machine


def meteor_lake(folder: Path) -> Machine:
    """A Core Ultra mini PC: a generation that QEMU has no number for."""
    machine = Machine(folder)
    machine.processor("Intel(R) Core(TM) Ultra 5 125H", bits=46)
    _common(machine, release="6.17.2-1-pve")
    machine.iommu(METEOR_LAKE_UNITS, client_dmar(address_bits=42))
    _chipset(machine, xhci="7e7d", sata="7e63", lpc="7e02")
    _igpu(machine, "7d55")
    machine.console("0 i915drmfb", device="0000:00:02.0")
    return machine


MACHINES: dict[str, Callable[[Path], Machine]] = {
    make.__name__: make
    for make in (
        everything_healthy,
        haswell_desktop,
        broadwell,
        skylake_with_discrete_gpu,
        alder_lake_n_headless,
        raptor_lake_with_vfs,
        amd_host,
        no_vt_d,
        iommu_off,
        no_interrupt_remapping,
        firmware_framebuffer,
        group_not_viable,
        driverctl_pinned,
        meteor_lake,
    )
}
