"""QEMU's words as they were seen, and what is made of them."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.host.explain import _KNOWN, _Known, cause_of_death, explain

GPU = "qemu-system-x86_64: -device vfio-pci,host=0000:00:02.0,id=gpu0: vfio 0000:00:02.0: "

#: QEMU's line → words of the cause, and of the remedy.
SERIOUS = {
    GPU + "no iommu_group found: No such file or directory": ("0000:00:02.0 is in no IOMMU group", "intel_iommu=on"),
    GPU + "failed to open /dev/vfio/1: No such file or directory": ("not bound to vfio-pci", "encoderd-host take"),
    GPU + "failed to open /dev/vfio/2: Permission denied": ("may not open the VFIO group 2", "udev"),
    GPU + "failed to open /dev/vfio/2: Device or resource busy": ("Another process holds", "fuser -v /dev/vfio/2"),
    GPU + "group 4 is not viable": ("shares the IOMMU group 4 with 0000:00:02.0", "/iommu_groups/4/devices"),
    GPU + "failed to setup container for group 1: Failed to set iommu for container: Operation not permitted": (
        "no interrupt remapping",
        "BIOS",
    ),
    GPU + "failed to setup container for group 1: No available IOMMU models": ("vfio_iommu_type1", "modprobe"),
    "qemu-system-x86_64: VFIO_MAP_DMA failed: Cannot allocate memory": ("could not be pinned", "LimitMEMLOCK=infinity"),
    GPU + "failed to setup container for group 1: memory listener initialization failed: Region pc.ram: "
    "vfio_dma_map(0x55, 0x0, 0x8, 0x7f) = -12 (Cannot allocate memory)": ("could not be pinned", "LimitMEMLOCK"),
    "qemu-system-x86_64: vfio_container_dma_map(0x5, 0x380, 0x1, 0x7) = -22 (Invalid argument)": (
        "too wide",
        "host-phys-bits-limit",
    ),
    GPU + "failed getting region info for VGA region index 8: Invalid argument": ("class 0300", "x-vga"),
    "device does not support requested feature x-vga": ("class 0300", "Remove x-vga"),
    GPU + "device does not support requested IGD OpRegion feature: No such device": ("no OpRegion", "x-igd-opregion"),
    "qemu-system-x86_64: -device vfio-pci,host=0000:7f:1f.7: vfio 0000:7f:1f.7: no such host device: No such file": (
        "no PCI device 0000:7f:1f.7",
        "lspci -D",
    ),
    GPU + "error getting device from group 1: No such device": ("did not hand out 0000:00:02.0", "dmesg"),
    "qemu-system-x86_64: Could not open '/srv/a.qcow2': No such file or directory": (
        "/srv/a.qcow2 cannot be opened: No such file or directory.",
        "ls -l /srv/a.qcow2",
    ),
    'qemu-system-x86_64: -blockdev driver=file: Failed to get "write" lock': ("Another process uses", "lsof"),
    "qemu-system-x86_64: -blockdev driver=qcow2: Image is not in qcow2 format": ("not qcow2", "qemu-img info"),
    "Could not access KVM kernel module: No such file or directory": ("no /dev/kvm", "modprobe kvm_intel"),
    "Could not access KVM kernel module: Permission denied": ("may not open /dev/kvm", "adduser"),
    "qemu-system-x86_64: CPU model 'host' requires KVM or HVF": ("KVM refuses this CPU model", "Haswell-noTSX"),
    "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69": ("KVM refuses this CPU model", 'vm.cpu = "auto"'),
    "qemu-system-x86_64: unable to find CPU model 'Haswel'": ("no CPU model Haswel", "-cpu help"),
    "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory": ("not enough memory", "meminfo"),
    "qemu-system-x86_64: unable to map backing store for guest RAM: Cannot allocate memory": ("huge pages", "meminfo"),
    "qemu-system-x86_64: -netdev user,id=net0: Could not set up host forwarding rule 'tcp:127.0.0.1:22-:22'": (
        "tcp:127.0.0.1:22-:22",
        "ss -ltnp",
    ),
    "qemu-system-x86_64: -netdev bridge,br=br9,id=net0: bridge helper failed": ("bridge", "/etc/qemu/bridge.conf"),
    "qemu-system-x86_64: could not configure /dev/net/tun (tap0): Device or resource busy": (
        "cannot be used. Device or resource busy",
        "ip tuntap",
    ),
    "qemu-system-x86_64: -chardev socket,id=share0,path=/run/encoderd-host/a/share-rec.sock: Failed to connect to "
    "'/run/encoderd-host/a/share-rec.sock': No such file or directory": ("virtiofsd is not running", "9p"),
    "qemu-system-x86_64: cannot create PID file: Cannot lock pid file": ("still running", "encoderd-host stop"),
    "qemu-system-x86_64: -device virtio-9p-pci,fsdev=a,mount_tag=x: cannot initialize fsdev 'a': failed to open "
    "'/nonexist': No such file or directory": ("/nonexist cannot be opened: No such file", "ls -l /nonexist"),
    "qemu: could not open kernel file '/none': No such file or directory": ("/none cannot be opened", "ls -l /none"),
    "qemu-system-x86_64: -chardev socket,id=c: Failed to bind socket to /nodir/x.sock: No such file or directory": (
        "The socket /nodir/x.sock cannot be made: No such file or directory.",
        "vm.run_dir",
    ),
    "qemu-system-x86_64: -device edu,addr=99: Property 'edu.addr' doesn't take value '99'": ("cannot be 99", "argv"),
    "qemu-system-x86_64: -bogus: invalid option": ("does not have: -bogus.", "vm.extra_args"),
    "qemu-system-x86_64: -device usb-host: No 'usb-bus' bus found for device 'usb-host'": ("usb-host", "extra_args"),
    "vhost-vsock: failed to open vhost device: No such file or directory": ("/dev/vhost-vsock", "modprobe"),
    "qemu-system-x86_64: Failed to initialize module: /usr/lib/x86_64-linux-gnu/qemu/hw-usb-host.so": (
        "another build",
        "apt-get install --reinstall",
    ),
    "qemu-system-x86_64: -device ioh3420,id=b: Can't add chassis slot, error -16": ("same chassis", "from 64 on"),
}

HARMLESS = (
    GPU + "IGD device 0000:00:02.0 cannot support legacy mode due to existing devices at address 1f.0",
    "IGD device 0000:00:02.0 does not support OpRegion access,legacy mode disabled",
    "IGD device 0000:00:02.0 is unsupported in legacy mode, try SandyBridge or newer",
    "vfio: Cannot reset device 0000:00:02.0, no available reset mechanism.",
    "qemu-system-x86_64: warning: TCG doesn't support requested feature: CPUID.01H:ECX.x2apic [bit 21]",
    "qemu-system-x86_64: terminating on signal 15 from pid 4711 (encoderd-host)",
    "qemu-system-x86_64: Bus 'gpuport' does not support hotplugging",
    "Please ensure all devices within the iommu_group are bound to their vfio bus driver.",
)


@pytest.mark.parametrize("line", SERIOUS)
def test_a_known_line_has_its_cause_and_its_remedy(line: str) -> None:
    (found,) = explain(line)

    cause, remedy = SERIOUS[line]
    assert line == found.line
    assert not found.harmless
    assert cause in found.cause
    assert remedy in found.remedy


@pytest.mark.parametrize("line", HARMLESS)
def test_a_harmless_line_needs_nothing_done(line: str) -> None:
    (found,) = explain(line)

    assert found.harmless
    assert found.cause
    assert found.remedy == ""
    assert cause_of_death(line) is None


def test_an_unknown_line_is_kept() -> None:
    (found,) = explain("qemu-system-x86_64: something nobody has seen")

    assert (found.line, found.cause, found.remedy, found.harmless) == (
        "qemu-system-x86_64: something nobody has seen", "", "", False,
    )  # fmt: skip


def test_the_cause_of_death_is_the_first_line_that_is_understood() -> None:
    said = f"{HARMLESS[0]}\nsomething new\n{GPU}group 4 is not viable\n{HARMLESS[-1]}\n\n"

    found = cause_of_death(said)

    assert found is not None
    assert "IOMMU group 4" in found.cause
    assert [line.harmless for line in explain(said)] == [True, False, False, True]


def test_without_one_it_is_the_last_line_that_is_not_harmless() -> None:
    found = cause_of_death(f"one\ntwo\n{HARMLESS[0]}\n")

    assert found is not None
    assert (found.line, found.cause) == ("two", "")
    assert cause_of_death("") is None


def test_a_line_that_repeats_is_told_once_and_a_long_one_is_cut() -> None:
    assert [found.line for found in explain("a\na\nb\na\n")] == ["a", "b"]
    assert len(explain("x" * 100_000)[0].line) == 2_000


def test_colours_of_a_terminal_are_no_part_of_it() -> None:
    assert explain("\x1b[31merror\x07")[0].line == "[31merror"


@pytest.mark.parametrize("known", _KNOWN, ids=lambda known: str(known.pattern.pattern)[:40])
def test_every_text_can_be_filled_in(known: _Known) -> None:
    """A name in a text that the pattern does not have would only fail on the day it is needed."""
    names = {
        field for text in (known.cause, known.remedy) for _, field, _, _ in string.Formatter().parse(text) if field
    }

    assert names <= {"device", *known.pattern.groupindex}
    assert known.harmless == (known.remedy == "")


@settings(max_examples=100)
@given(st.text() | st.lists(st.sampled_from([*SERIOUS, *HARMLESS]), max_size=4).map("\n".join))
def test_any_text_is_explained(text: str) -> None:
    assert all(found.line for found in explain(text))
