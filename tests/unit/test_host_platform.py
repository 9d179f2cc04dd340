"""Processor, KVM, VT-d and kernel of a host: how they are read, and what is said of them."""

from __future__ import annotations

import dataclasses
import gzip
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.findings import Finding, Verdict
from encoderd.host.booted_kernel import Loader, ModuleState, booted_kernel
from encoderd.host.dmar import parse_dmar
from encoderd.host.gpu_facts import gpu_facts
from encoderd.host.kernel_checks import kernel_findings
from encoderd.host.kvm import Kvm, KvmStart, kvm_answer, start_once
from encoderd.host.platform import IommuUnit, PlatformFacts, platform_facts
from encoderd.host.platform_checks import platform_findings
from encoderd.host.settings import HostSettings
from encoderd.pci import PciAddress
from tests.hosts.machines import (
    DEBIAN_CONFIG,
    MACHINES,
    RELEASE,
    SKYLAKE_UNITS,
    Machine,
    client_dmar,
    dmar_reserved,
    dmar_scope,
    dmar_table,
    dmar_unit,
    everything_healthy,
)

GPU, AUDIO = PciAddress(0, 0, 2, 0), PciAddress(0, 0, 0x1F, 3)
QEMU = Path("/usr/bin/qemu-system-x86_64")

#: What SeaBIOS had in memory under QEMU 7.2: -machine q35 -device intel-iommu,intremap=on -device VGA,addr=02.0
#: -device pcie-root-port,addr=1c.0.
QEMU_DMAR = bytes.fromhex(
    "444d41527800000001f1424f43485320425850432020202001000000425850430100000026010000000000000000000000004800000000000000"
    "d9fe000000000308000000ff0000010800000000000001080000000002000208000000001c000108000000001f000108000000001f02"
    "0108000000001f03"
)


# --- the table DMAR


def test_a_desktop_s_table() -> None:
    """A unit for the GPU alone, one for all the rest, and the firmware's own memory."""
    table = parse_dmar(client_dmar(flags=3))

    assert table is not None
    assert (39, True, True, "") == (table.address_bits, table.interrupt_remapping, table.x2apic_opt_out, table.torn)
    assert [False, True] == [unit.include_all for unit in table.units]
    assert [True, False] == [unit.names(GPU) for unit in table.units]
    assert [0xFED90000, 0xFED91000] == [unit.register_base for unit in table.units]
    assert [(0x8A6F0000, 0x8A70FFFF), (0x8B800000, 0x8FFFFFFF)] == [(r.first, r.last) for r in table.reserved]


def test_the_table_that_qemu_makes() -> None:
    table = parse_dmar(QEMU_DMAR)

    assert table is not None
    assert (39, True, False, "") == (table.address_bits, table.interrupt_remapping, table.x2apic_opt_out, table.torn)
    assert [0xFED90000] == [unit.register_base for unit in table.units]
    assert [3, 1, 1, 2, 1, 1, 1] == [scope.kind for scope in table.units[0].scopes]
    assert table.covers(GPU)
    assert table.covers(AUDIO)
    assert not table.covers(PciAddress(0, 0, 0x14, 0))


@pytest.mark.parametrize(
    ("structures", "gpu", "audio"),
    [
        ([], False, False),
        ([dmar_unit(1, [dmar_scope(0, (2, 0))])], True, False),
        ([dmar_unit(1, include_all=True)], True, True),
        ([dmar_unit(1, include_all=True, segment=1)], False, False),
        ([dmar_unit(1, [dmar_scope(0, (2, 0), kind=2)])], False, False),
        ([dmar_unit(1, [dmar_scope(0, (0x1C, 0), (2, 0))])], False, False),
        ([dmar_reserved(0, 1, [dmar_scope(0, (2, 0))])], False, False),
    ],
)
def test_which_devices_are_behind_a_unit(structures: list[bytes], gpu: bool, audio: bool) -> None:
    table = parse_dmar(dmar_table(structures))

    assert table is not None
    assert (gpu, audio) == (table.covers(GPU), table.covers(AUDIO))
    assert table.covers(PciAddress(0, 3, 0, 0)), "behind a bridge: not to be judged from here"


def test_a_torn_table_says_so_and_gives_what_it_has() -> None:
    whole = client_dmar()
    for length in range(len(whole)):
        table = parse_dmar(whole[:length])
        if length < 48:
            assert table is None
        else:
            assert table is not None
            assert table.torn
            assert table.address_bits == 39


@pytest.mark.parametrize("length", [0, 3, 0xFFFF])
def test_a_structure_with_an_impossible_length_ends_the_reading(length: int) -> None:
    odd = bytearray(client_dmar())
    odd[50:52] = length.to_bytes(2, "little")
    table = parse_dmar(bytes(odd))

    assert table is not None
    assert table.units == ()
    assert f"{length} bytes" in table.torn


@given(st.binary(max_size=200), st.binary(max_size=120))
@settings(max_examples=300, deadline=None)
def test_no_bytes_are_too_odd(noise: bytes, tail: bytes) -> None:
    parse_dmar(noise)
    table = parse_dmar(QEMU_DMAR[:48] + tail)

    assert table is not None
    assert len(table.units) <= len(tail) // 4


# --- VT-d units


@pytest.mark.parametrize(
    ("cap", "ecap", "bits", "remaps", "extended"),
    [
        ("1c0000c40660462", "7e3ff0505e", 39, True, True),
        ("d2008c22260206", "f00f4a", 39, True, False),
        ("d2008c22260206", "f42", 39, False, False),
        ("d2008c40660462", "f050da", 39, True, True),
        ("d2008c406f0462", "f050da", 48, True, True),
        ("d2008c40380462", "f050da", 48, True, True),
        ("d2008c406f0662", "f050da", 48, True, True),
        ("d2008c40380262", "f050da", 39, True, True),
        ("0", "0", 1, False, False),
    ],
)
def test_what_the_registers_say(cap: str, ecap: str, bits: int, remaps: bool, extended: bool) -> None:
    """MGAW and SAGAW of cap, IR and EIM of ecap; 39 bits and bit 3 as QEMU's own IOMMU has them."""
    unit = IommuUnit(name="dmar0", capability=int(cap, 16), extended_capability=int(ecap, 16))

    assert (bits, remaps, extended) == (unit.address_bits, unit.remaps_interrupts, unit.extended_interrupts)


def test_one_mapping_serves_all_units(tmp_path: Path) -> None:
    """The narrowest unit counts."""
    machine = everything_healthy(tmp_path)
    machine.iommu((SKYLAKE_UNITS[0], ("d2008c406f0462", "f050da")))
    facts = platform_facts(machine.root, live=False)

    assert [39, 48] == [unit.address_bits for unit in facts.units]
    assert facts.iommu_bits == 39


def test_unreadable_registers_are_not_known(tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    for unit in ("dmar0", "dmar1"):
        for register in ("cap", "ecap"):
            machine.write(f"/sys/devices/virtual/iommu/{unit}/intel-iommu/{register}", "")
    facts = platform_facts(machine.root, live=False)

    assert facts.iommu_on
    assert (None, None) == (facts.iommu_bits, facts.units[0].remaps_interrupts)


# --- the kernel


@pytest.mark.parametrize(
    ("line", "loader"),
    [
        ("BOOT_IMAGE=/boot/vmlinuz-6.12 root=UUID=1 ro", Loader.GRUB),
        (r"initrd=\EFI\proxmox\6.14.8-2-pve\initrd.img root=ZFS=rpool/ROOT/pve-1", Loader.PROXMOX),
        (r"initrd=\debian\6.12\initrd.img root=UUID=1", Loader.SYSTEMD_BOOT),
        ("root=/dev/vda1 console=ttyS0", Loader.UNKNOWN),
        ("", Loader.UNKNOWN),
    ],
)
def test_what_started_the_kernel(line: str, loader: Loader, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.cmdline(line)

    assert loader is booted_kernel(machine.root).loader


@pytest.mark.parametrize(
    ("osrelease", "version", "release", "numbers"),
    [
        ("6.1.0-40-amd64\n", "", "6.1.0-40-amd64", (6, 1)),
        ("", "Linux version 6.18.44 (somebody) #1 SMP\n", "6.18.44", (6, 18)),
        ("../../etc\n", "", "etc", (0, 0)),
        ("", "", "unknown", (0, 0)),
    ],
)
def test_the_kernel_s_name(
    osrelease: str, version: str, release: str, numbers: tuple[int, int], tmp_path: Path
) -> None:
    """It becomes a part of paths, so nothing in it leads elsewhere."""
    machine = Machine(tmp_path)
    machine.write("/proc/sys/kernel/osrelease", osrelease)
    machine.write("/proc/version", version)
    kernel = booted_kernel(machine.root)

    assert (release, numbers) == (kernel.release, kernel.version)


def test_options_of_a_word_add_up(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.cmdline("intel_iommu=on,sm_on quiet intel_iommu=igfx_off xintel_iommu=off")
    kernel = booted_kernel(machine.root)

    assert ("on", "sm_on", "igfx_off") == kernel.options("intel_iommu")
    assert kernel.word_with("intel_iommu", "igfx_off") == "intel_iommu=igfx_off"
    assert kernel.word_with("intel_iommu", "off") == ""


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("/proc/config.gz", gzip.compress(DEBIAN_CONFIG.encode())),
        (f"/boot/config-{RELEASE}", DEBIAN_CONFIG.encode()),
        (f"/lib/modules/{RELEASE}/config", DEBIAN_CONFIG.encode()),
    ],
)
def test_where_a_configuration_is_found(file: str, data: bytes, tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    machine.remove(f"/boot/config-{RELEASE}")
    machine.write(file, data)
    kernel = booted_kernel(machine.root)

    assert file == kernel.configuration_file
    assert ("m", "n", "n") == tuple(map(kernel.configured, ("VFIO_PCI", "INTEL_IOMMU_DEFAULT_ON", "NEVER_HEARD_OF")))


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", gzip.compress(b"# nothing\n", mtime=0), b"\xff" * 40])
def test_an_odd_configuration_is_none(data: bytes, tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    machine.remove(f"/boot/config-{RELEASE}")
    machine.write("/proc/config.gz", data)
    kernel = booted_kernel(machine.root)

    assert ("", "") == (kernel.configuration_file, kernel.configured("VFIO_PCI"))


def test_a_torn_config_gz_gives_what_it_has(tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    machine.write("/proc/config.gz", gzip.compress(DEBIAN_CONFIG.encode())[:-12])

    assert booted_kernel(machine.root).configured("KVM_INTEL") == "m"


@pytest.mark.parametrize(
    ("break_it", "state"),
    [
        (lambda machine: None, ModuleState.ON_DISK),
        (lambda machine: machine.driver("vfio-pci"), ModuleState.READY),
        (lambda machine: machine.make("/sys/module/vfio_pci"), ModuleState.READY),
        (lambda machine: machine.remove("/lib/modules"), ModuleState.MISSING),
        (
            lambda machine: machine.write(
                f"/lib/modules/{RELEASE}/modules.dep",
                "kernel/drivers/vfio/pci/vfio-pci-core.ko:\nx/nvgrace-vfio-pci.ko:\n",
            ),
            ModuleState.MISSING,
        ),
        (
            lambda machine: machine.write(
                f"/lib/modules/{RELEASE}/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n"
            ),
            ModuleState.READY,
        ),
        (
            lambda machine: machine.write(f"/lib/modules/{RELEASE}/modules.dep", "updates/vfio_pci.ko.zst: a.ko\n"),
            ModuleState.ON_DISK,
        ),
    ],
)
def test_how_the_kernel_has_vfio_pci(break_it: Callable[[Machine], None], state: ModuleState, tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    break_it(machine)

    assert state is booted_kernel(machine.root).vfio_pci


def test_a_file_of_modprobe_d_hides_its_namesake(tmp_path: Path) -> None:
    """/etc goes before /run and /lib; lines go on after a backslash; comments and other files do not count."""
    machine = Machine(tmp_path)
    machine.write("/lib/modprobe.d/a.conf", "install vfio-pci /bin/false\n")
    machine.write(
        "/etc/modprobe.d/a.conf", "# install vfio-pci /bin/false\noptions vfio-pci \\\n  disable_vga=1 ids=8086:1912\n"
    )
    machine.write("/etc/modprobe.d/README", "install vfio-pci /bin/false\n")
    kernel = booted_kernel(machine.root)

    assert [("/etc/modprobe.d/a.conf", "options", "vfio_pci")] == [
        (line.file, line.command, line.module) for line in kernel.modprobe
    ]
    assert kernel.modprobe[0].rest.split() == ["disable_vga=1", "ids=8086:1912"]
    assert kernel.forbids("vfio-pci") == ""


@pytest.mark.parametrize(
    ("words", "conf", "expected"),
    [
        ("quiet", "blacklist vfio-pci\n", ""),
        ("quiet", "install vfio-pci /sbin/modprobe --ignore-install vfio-pci\n", ""),
        ("quiet", "install vfio-pci /bin/true\n", "/etc/modprobe.d/x.conf"),
        ("quiet", "install vfio_pci false\n", "/etc/modprobe.d/x.conf"),
        ("module_blacklist=nouveau,vfio_pci", "", "module_blacklist=nouveau,vfio_pci"),
        ("modprobe.blacklist=vfio-pci", "", ""),
    ],
)
def test_what_forbids_a_module(words: str, conf: str, expected: str, tmp_path: Path) -> None:
    """A blacklist only stops loading by itself, and nobody here waits for that: modprobe.d(5)."""
    machine = everything_healthy(tmp_path)
    machine.cmdline(words)
    machine.write("/etc/modprobe.d/x.conf", conf)
    forbids = booted_kernel(machine.root).forbids("vfio-pci")

    assert bool(expected) == bool(forbids)
    assert expected in forbids


# --- KVM


def qemu_that(folder: Path, body: str) -> Path:
    """A QEMU of our own: a script that does `body` and keeps its arguments."""
    file = folder / "qemu"
    file.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\nmodel = sys.argv[sys.argv.index('-cpu') + 1]\n{body}\n"
    )
    file.chmod(0o755)
    return file


def test_a_qemu_that_starts(tmp_path: Path) -> None:
    if not QEMU.exists():
        pytest.skip("no QEMU here")

    assert KvmStart(model="max") == start_once(QEMU, accelerator="tcg", models=("max",))


def test_a_processor_that_is_refused_is_followed_by_the_next() -> None:
    """The real QEMU's words for a model that it does not have stand for KVM's for one that it cannot make."""
    if not QEMU.exists():
        pytest.skip("no QEMU here")
    start = start_once(QEMU, accelerator="tcg", models=("nonsense", "max", "never-tried"))

    assert start.model == "max"
    assert "unable to find CPU model 'nonsense'" in start.refused
    assert "exit code 1" in start.refused


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "sys.exit('error: failed to set MSR 0x10a to 0x69')",
            "host: error: failed to set MSR 0x10a to 0x69 (exit code 1)",
        ),
        ("os.kill(os.getpid(), signal.SIGABRT)", "ended by signal 6"),
        ("sys.exit(0)", "no message (exit code 0)"),
        ("sys.stderr.buffer.write(b'\\xff' * 100_000); sys.exit(3)", "exit code 3"),
    ],
)
def test_a_qemu_that_does_not_start(body: str, words: str, tmp_path: Path) -> None:
    start = start_once(qemu_that(tmp_path, body), models=("host",), limit_s=30)

    assert start.model == ""
    assert words in start.refused
    assert len(start.refused) < 500


def test_a_qemu_that_hangs_is_killed(tmp_path: Path) -> None:
    begin_s = time.monotonic()
    start = start_once(qemu_that(tmp_path, "time.sleep(60)"), models=("host",), limit_s=0.3)

    assert start.refused == "host: no answer within 0.3 s"
    assert time.monotonic() - begin_s < 20


def test_the_first_refusal_is_told(tmp_path: Path) -> None:
    start = start_once(qemu_that(tmp_path, "sys.exit(f'no {model}')"), models=("host", "Haswell"))

    assert KvmStart(model="", refused="host: no host (exit code 1)") == start


def test_a_qemu_that_is_not_there(tmp_path: Path) -> None:
    assert start_once(tmp_path / "none").missing
    (tmp_path / "text").write_text("no program")
    assert start_once(tmp_path / "text").missing


def test_the_first_model_that_starts_is_taken(tmp_path: Path) -> None:
    """Seen with KVM inside of another hypervisor: "host" dies, and without one feature it lives."""
    body = "if model == 'host': sys.exit('refused')\nprint('{\"return\": {}}')"
    start = start_once(qemu_that(tmp_path, body))

    assert KvmStart(model="host,-arch-capabilities", refused="host: refused (exit code 1)") == start


def test_a_node_that_is_not_kvm_s(tmp_path: Path) -> None:
    """That it exists proves nothing."""
    assert Kvm.MISSING is kvm_answer(tmp_path / "kvm")
    (tmp_path / "kvm").write_text("")
    assert Kvm.BROKEN is kvm_answer(tmp_path / "kvm")
    assert Kvm.BROKEN is kvm_answer(tmp_path)
    assert Kvm.BROKEN is kvm_answer(Path(os.devnull))


def test_a_recorded_host_s_kvm_is_not_tried(tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    machine.write("/dev/kvm", "")
    facts = platform_facts(machine.root, live=False, qemu=tmp_path / "must-not-run")

    assert (Kvm.NOT_TRIED, None) == (facts.kvm, facts.kvm_start)


# --- what is said


def judged(machine: Machine, settings: HostSettings | None = None, **changes: object) -> dict[str, Finding]:
    """Judge a machine; `changes` are facts that no file can say (kvm)."""
    settings = settings or HostSettings()
    platform = platform_facts(machine.root, live=False)
    platform = dataclasses.replace(platform, **changes)  # type: ignore[arg-type]  # a table's values
    gpu = gpu_facts(machine.root, settings.gpu, settings.vm.profile)
    findings = [*platform_findings(platform, gpu, settings), *kernel_findings(platform, gpu, settings)]
    return {finding.check: finding for finding in findings}


def failing(findings: dict[str, Finding]) -> list[str]:
    return [check for check, finding in findings.items() if finding.verdict is Verdict.FAIL]


@pytest.mark.parametrize(
    ("kvm", "virtualization", "verdict", "words"),
    [
        (Kvm.WORKS, True, Verdict.PASS, "it answers"),
        (Kvm.FORBIDDEN, True, Verdict.FAIL, "usermod -aG kvm"),
        (Kvm.MISSING, True, Verdict.FAIL, "modprobe kvm_intel"),
        (Kvm.MISSING, False, Verdict.WARN, "without VT-x"),
        (Kvm.BROKEN, True, Verdict.FAIL, "modprobe kvm_intel"),
        (Kvm.NOT_TRIED, True, None, ""),
    ],
)
def test_kvm_is_judged_where_it_was_tried(
    kvm: Kvm, virtualization: bool, verdict: Verdict | None, words: str, tmp_path: Path
) -> None:
    findings = judged(everything_healthy(tmp_path), kvm=kvm, virtualization=virtualization)
    finding = findings.get("kvm")

    assert verdict is (finding.verdict if finding is not None else None)
    assert finding is None or words in f"{finding.evidence} {finding.remedy}"


@pytest.mark.parametrize(
    ("start", "verdict", "words"),
    [
        (KvmStart(model="host"), Verdict.PASS, "-cpu host"),
        (KvmStart(model="Haswell-noTSX", refused="host: failed to set MSR 0x10a"), Verdict.WARN, "failed to set MSR"),
        (KvmStart(model="", refused="host: failed to set MSR 0x10a"), Verdict.FAIL, "failed to set MSR"),
        (KvmStart(model="", refused="/usr/bin/q does not exist", missing=True), Verdict.WARN, "/usr/bin/q"),
    ],
)
def test_what_starting_it_showed(start: KvmStart, verdict: Verdict, words: str, tmp_path: Path) -> None:
    finding = judged(everything_healthy(tmp_path), kvm=Kvm.WORKS, kvm_start=start)["kvm_start"]

    assert verdict is finding.verdict
    assert words in finding.evidence


def test_an_emulated_processor_needs_no_kvm(tmp_path: Path) -> None:
    settings = HostSettings.model_validate({"vm": {"accelerator": "tcg"}})
    findings = judged(everything_healthy(tmp_path), settings, kvm=Kvm.MISSING, virtualization=False)

    assert [] == failing(findings)
    assert findings["processor"].verdict is Verdict.WARN


def test_a_guest_without_devices_needs_no_vt_d(tmp_path: Path) -> None:
    settings = HostSettings.model_validate({"gpu": {"address": "none"}})
    machine = MACHINES["no_vt_d"](tmp_path)
    platform = platform_facts(machine.root, live=False)

    assert ["processor"] == [
        finding.check for finding in platform_findings(platform, gpu_facts(machine.root, settings.gpu), settings)
    ]


def loaded_all_the_same(machine: Machine) -> None:
    machine.driver("vfio-pci")
    machine.write(f"/boot/config-{RELEASE}", "CONFIG_64BIT=y\nCONFIG_VFIO_IOMMU_TYPE1=m\n")


def remappable_but_off(machine: Machine) -> None:
    machine.iommu()
    machine.cmdline("BOOT_IMAGE=/vmlinuz intel_iommu=on intremap=off")


#: Machine, what is done to it, the check that fails (or warns) then, words of its evidence and of its remedy.
Change = Callable[[Machine], object]
TROUBLES: list[tuple[str, str, Change, str, Verdict, str, str]] = [
    ("VT-x off", "everything_healthy", lambda m: m.processor("Intel(R) Core(TM) i5-6500", flags=""),
     "processor", Verdict.FAIL, "flag vmx in /proc/cpuinfo", "VT-x"),
    ("no cpuinfo", "no_vt_d", lambda m: m.write("/proc/cpuinfo", ""),
     "processor", Verdict.WARN, "unknown processor", ""),
    ("a virtual machine without VT-x", "everything_healthy", lambda m: m.processor("QEMU CPU", flags="hypervisor"),
     "processor", Verdict.FAIL, "itself a virtual machine", "kvm_intel nested=1"),
    ("a virtual machine without an IOMMU", "no_vt_d", lambda m: m.processor("QEMU CPU", flags="vmx hypervisor"),
     "vt_d", Verdict.FAIL, "no virtual IOMMU", "-device intel-iommu,intremap=on"),
    ("a table for root only", "everything_healthy", lambda m: m.write("/sys/firmware/acpi/tables/DMAR", b""),
     "dmar", Verdict.WARN, "not readable", "as root"),
    ("a torn table", "everything_healthy", lambda m: m.write("/sys/firmware/acpi/tables/DMAR", client_dmar()[:90]),
     "dmar", Verdict.WARN, "it says 160 bytes and has 90", "newer firmware"),
    ("switched off", "iommu_off", lambda m: m.cmdline("BOOT_IMAGE=/vmlinuz quiet intel_iommu=off"),
     "iommu", Verdict.FAIL, "switched off by intel_iommu=off", "Replace intel_iommu=off by intel_iommu=on"),
    ("switched off for all", "iommu_off", lambda m: m.cmdline("BOOT_IMAGE=/vmlinuz iommu=off"),
     "iommu", Verdict.FAIL, "switched off by iommu=off", "Replace iommu=off by intel_iommu=on"),
    ("on, and yet off", "iommu_off", lambda m: m.cmdline("BOOT_IMAGE=/vmlinuz intel_iommu=on"),
     "iommu", Verdict.FAIL, "although intel_iommu=on is given", "dmesg | grep -e DMAR"),
    ("GRUB's remedy", "iommu_off", lambda m: None,
     "iommu", Verdict.FAIL, "/sys/class/iommu is empty", "/etc/default/grub, then: update-grub && reboot"),
    ("Proxmox's remedy", "iommu_off", lambda m: m.cmdline(r"initrd=\EFI\proxmox\6.14\initrd.img"),
     "iommu", Verdict.FAIL, "", "/etc/kernel/cmdline, then: proxmox-boot-tool refresh && reboot"),
    ("systemd-boot's remedy", "iommu_off", lambda m: m.cmdline(r"initrd=\debian\initrd.img"),
     "iommu", Verdict.FAIL, "", "kernel-install add"),
    ("everybody's remedy", "iommu_off", lambda m: m.cmdline("root=/dev/sda1"),
     "iommu", Verdict.FAIL, "", "update-grub; Proxmox"),
    ("a kernel without it", "iommu_off",
     lambda m: m.kernel(RELEASE, words="quiet", config=DEBIAN_CONFIG.replace("INTEL_IOMMU=y", "X=y")),
     "kernel_options", Verdict.FAIL, "CONFIG_INTEL_IOMMU (/boot/config-", "linux-image-amd64"),
    ("which then only warns", "iommu_off",
     lambda m: m.kernel(RELEASE, words="quiet", config=DEBIAN_CONFIG.replace("INTEL_IOMMU=y", "X=y")),
     "iommu", Verdict.WARN, "without CONFIG_INTEL_IOMMU", ""),
    ("interrupts not remapped by request", "no_interrupt_remapping",
     remappable_but_off,
     "interrupt_remapping", Verdict.FAIL, "switched off by intremap=off", "Delete intremap=off from GRUB"),
    ("nor offered", "no_interrupt_remapping", lambda m: m.iommu(table=client_dmar(flags=0)),
     "interrupt_remapping", Verdict.FAIL, "bit 0 of the flags in the table DMAR", "newer firmware"),
    ("nor explained", "no_interrupt_remapping", lambda m: m.iommu(),
     "interrupt_remapping", Verdict.FAIL, "the units could do it", "dmesg | grep DMAR-IR"),
    ("nor built", "no_interrupt_remapping",
     lambda m: m.kernel(RELEASE, config=DEBIAN_CONFIG.replace("IRQ_REMAP=y", "X=y")),
     "kernel_options", Verdict.FAIL, "CONFIG_IRQ_REMAP", "ordinary kernel"),
    ("nor needed", "no_interrupt_remapping",
     lambda m: m.write("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n"),
     "interrupt_remapping", Verdict.WARN, "allow_unsafe_interrupts permits that", "newer firmware"),
    ("able, but nobody tells", "everything_healthy", lambda m: m.remove("/proc/interrupts"),
     "interrupt_remapping", Verdict.PASS, "bit 3 of ecap", ""),
    ("unable, and nobody tells", "no_interrupt_remapping", lambda m: m.remove("/proc/interrupts"),
     "interrupt_remapping", Verdict.FAIL, "dmar0, dmar1 cannot do it", "newer firmware"),
    ("a wide processor", "raptor_lake_with_vfs", lambda m: None,
     "address_width", Verdict.PASS, "46 address bits, the IOMMU translates 39: cpu = auto limits", ""),
    ("by default", "everything_healthy", lambda m: m.cmdline("BOOT_IMAGE=/vmlinuz quiet"),
     "iommu", Verdict.PASS, "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF", ""),
    ("what runs outweighs the words", "everything_healthy", lambda m: m.cmdline("intel_iommu=off intel_iommu=on"),
     "iommu", Verdict.PASS, "on: dmar0, dmar1", ""),
    ("a pretended isolation", "everything_healthy", lambda m: m.cmdline("intel_iommu=on pcie_acs_override=downstream"),
     "kernel_flags", Verdict.WARN, "may reach the host's memory", "Delete pcie_acs_override=downstream"),
    ("a needless word", "everything_healthy", lambda m: m.cmdline("intel_iommu=on,igfx_off"),
     "kernel_flags", Verdict.WARN, "has no effect now", "Delete igfx_off"),
    ("no vfio-pci", "everything_healthy", lambda m: m.write(f"/lib/modules/{RELEASE}/modules.dep", "x.ko:\n"),
     "vfio_pci", Verdict.FAIL, f"kernel {RELEASE} has no vfio-pci", "linux-image-amd64"),
    ("an upgrade without a reboot", "everything_healthy", lambda m: m.remove("/lib/modules"),
     "vfio_pci", Verdict.FAIL, "this kernel's modules were removed", "reboot"),
    ("no mapping of memory", "everything_healthy",
     lambda m: m.write(f"/lib/modules/{RELEASE}/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko:\n"),
     "vfio_pci", Verdict.FAIL, "no vfio_iommu_type1", "ordinary kernel"),
    ("vfio-pci forbidden", "everything_healthy",
     lambda m: m.write("/etc/modprobe.d/no.conf", "install vfio-pci /bin/false\n"),
     "vfio_pci", Verdict.FAIL, "“install vfio-pci /bin/false” in /etc/modprobe.d/no.conf", "modprobe vfio-pci"),
    ("built without, and yet loaded", "everything_healthy",
     loaded_all_the_same,
     "kernel_options", Verdict.PASS, "has what is needed", ""),
    ("no configuration", "everything_healthy", lambda m: m.remove(f"/boot/config-{RELEASE}"),
     "kernel_options", Verdict.PASS, "judged by what runs", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "change", "check", "verdict", "evidence", "remedy"),
    [trouble[1:] for trouble in TROUBLES],
    ids=[trouble[0] for trouble in TROUBLES],
)
def test_a_trouble_and_its_remedy(
    machine: str, change: Change, check: str, verdict: Verdict, evidence: str, remedy: str, tmp_path: Path
) -> None:
    """At most one check fails for it: the one whose remedy helps."""
    host = MACHINES[machine](tmp_path)
    change(host)
    findings = judged(host)

    assert verdict is findings[check].verdict
    assert evidence in findings[check].evidence
    assert remedy in findings[check].remedy
    assert len(failing(findings)) <= 1


def test_a_processor_model_of_one_s_own_is_not_limited(tmp_path: Path) -> None:
    machine = MACHINES["raptor_lake_with_vfs"](tmp_path)
    own = HostSettings.model_validate({"vm": {"cpu": "host"}})
    limited = HostSettings.model_validate({"vm": {"cpu": "host,host-phys-bits-limit=39"}})

    assert judged(machine, own)["address_width"].verdict is Verdict.WARN
    assert "host-phys-bits-limit=39" in judged(machine, own)["address_width"].remedy
    assert judged(machine, limited)["address_width"].verdict is Verdict.PASS


@pytest.mark.parametrize(("profile", "verdict"), [("headless", Verdict.PASS), ("display", Verdict.WARN)])
def test_disable_vga_matters_to_who_wants_vga(profile: str, verdict: Verdict, tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    machine.write("/sys/module/vfio_pci/parameters/disable_vga", "Y\n")
    settings = HostSettings.model_validate({"vm": {"profile": profile}})

    assert verdict is judged(machine, settings)["vfio_options"].verdict


def test_an_intel_card_in_an_amd_host_is_not_judged_but_not_forbidden(tmp_path: Path) -> None:
    machine = MACHINES["amd_host"](tmp_path)
    machine.pci("0000:01:00.0", "8086:56a5", 0x030000, driver="i915", group=20, boot_vga=False)
    findings = judged(machine)

    assert [] == failing(findings)
    assert "table IVRS" in findings["processor"].evidence
    assert findings["iommu"].evidence == "on: ivhd0"


def test_facts_are_values(tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)

    assert platform_facts(machine.root, live=False) == platform_facts(machine.root, live=False)
    assert isinstance(platform_facts(machine.root, live=False), PlatformFacts)
