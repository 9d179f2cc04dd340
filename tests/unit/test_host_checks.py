"""`encoderd-host check` on machines built in a folder: each trouble is found, and told with its remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from encoderd.findings import Finding, Verdict, blocking
from encoderd.host.checks import host_findings
from encoderd.host.facts import HostFacts, Kvm, VfioDriver, gather

SKYLAKE = "Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz"
GPU, AUDIO, ROOT_PORT = "0000:00:02.0", "0000:00:1f.3", "0000:00:1c.0"


class Machine:
    """A host in a folder: a healthy Skylake at first, out of which a test breaks what it needs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/cpuinfo", f"vendor_id\t: GenuineIntel\nmodel name\t: {SKYLAKE}\nflags\t\t: fpu vmx est\n")
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on iommu=pt quiet\n")
        self.write("proc/sys/kernel/osrelease", "6.1.0-40-amd64\n")
        self.write("sys/firmware/acpi/tables/DMAR", "DMAR")
        self.write("lib/modules/6.1.0-40-amd64/kernel/drivers/vfio/pci/vfio-pci.ko", "")
        for unit in ("dmar0", "dmar1"):
            (root / "sys/class/iommu" / unit).mkdir(parents=True)
        self.device(GPU, "0x1912", "0x030000", driver="i915", group="1")
        self.device(AUDIO, "0xa170", "0x040300", driver="snd_hda_intel", group="7")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, "utf-8")

    def device(
        self,
        address: str,
        device: str,
        class_code: str,
        *,
        driver: str | None,
        group: str | None,
        vendor: str = "0x8086",
    ) -> None:
        """Add a PCI device, or put another one in its place."""
        folder = f"sys/bus/pci/devices/{address}"
        for name, text in (("vendor", vendor), ("device", device), ("class", class_code)):
            self.write(f"{folder}/{name}", text + "\n")
        for name, target in (("driver", driver), ("iommu_group", group)):
            link = self.root / folder / name
            link.unlink(missing_ok=True)
            if target is not None:
                link.symlink_to(f"../{target}")

    def remove(self, path: str) -> None:
        for entry in sorted((self.root / path).rglob("*"), reverse=True):
            entry.rmdir() if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        found = self.root / path
        found.rmdir() if found.is_dir() else found.unlink()

    def without_groups(self) -> None:
        for link in self.root.glob("sys/bus/pci/devices/*/iommu_group"):
            link.unlink()

    def findings(self) -> dict[str, Finding]:
        return {finding.check: finding for finding in host_findings(gather(self.root))}

    def failures(self) -> dict[str, Finding]:
        return {check: finding for check, finding in self.findings().items() if finding.verdict is Verdict.FAIL}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_healthy_skylake_passes(machine: Machine) -> None:
    findings = machine.findings()

    assert {finding.verdict for finding in findings.values()} == {Verdict.PASS}
    assert list(findings) == [
        "processor", "vt_d", "iommu", "gpu", "kernel_flags", "iommu_group", "group_members", "vfio_pci",
    ]  # fmt: skip
    assert SKYLAKE in findings["processor"].evidence
    assert findings["iommu"].evidence == "on: dmar0, dmar1"
    assert findings["gpu"].evidence == "0000:00:02.0 [8086:1912], driver i915"


def test_without_vt_d_only_the_firmware_is_to_blame(machine: Machine) -> None:
    """One cause, one remedy: what follows from it warns and does not send anyone elsewhere."""
    machine.remove("sys/firmware/acpi/tables/DMAR")
    machine.remove("sys/class/iommu")
    machine.without_groups()

    assert list(machine.failures()) == ["vt_d"]
    assert "Enable VT-d in the firmware" in machine.failures()["vt_d"].remedy
    assert machine.findings()["iommu"].verdict is Verdict.WARN


def test_an_iommu_that_is_off_is_switched_on_in_the_kernel_s_command_line(machine: Machine) -> None:
    machine.remove("sys/class/iommu")
    machine.without_groups()
    machine.write("proc/cmdline", "root=/dev/sda1 quiet\n")

    assert list(machine.failures()) == ["iommu"]
    assert "Add intel_iommu=on" in machine.failures()["iommu"].remedy


@pytest.mark.parametrize("flag", ["intel_iommu=off", "iommu=off"])
def test_an_iommu_that_was_switched_off_names_the_word(flag: str, machine: Machine) -> None:
    machine.remove("sys/class/iommu")
    machine.without_groups()
    machine.write("proc/cmdline", f"quiet {flag}\n")

    assert flag in machine.failures()["iommu"].evidence
    assert "Replace it by intel_iommu=on" in machine.failures()["iommu"].remedy


def test_a_working_iommu_outweighs_the_flags(machine: Machine) -> None:
    machine.write("proc/cmdline", "intel_iommu=off intel_iommu=on\n")

    assert machine.failures() == {}


def test_without_an_igpu_the_firmware_is_asked(machine: Machine) -> None:
    """A card of another maker does not count."""
    machine.remove(f"sys/bus/pci/devices/{GPU}")
    machine.device("0000:01:00.0", "0x1c82", "0x030000", driver="nouveau", group="2", vendor="0x10de")

    assert list(machine.failures()) == ["gpu"]
    assert "iGPU Multi-Monitor" in machine.failures()["gpu"].remedy


def test_the_integrated_gpu_goes_before_a_card(machine: Machine) -> None:
    machine.device("0000:00:01.0", "0x56a5", "0x038000", driver="i915", group="3")

    assert GPU in machine.findings()["gpu"].evidence
    machine.remove(f"sys/bus/pci/devices/{GPU}")
    assert "0000:00:01.0 [8086:56a5]" in machine.findings()["gpu"].evidence


def test_a_device_that_shares_the_group_is_named(machine: Machine) -> None:
    machine.device(AUDIO, "0xa170", "0x040300", driver="snd_hda_intel", group="1")
    machine.device(ROOT_PORT, "0xa110", "0x060400", driver="pcieport", group="1")

    failure = machine.failures()["group_members"]
    assert f"{AUDIO} [8086:a170], driver snd_hda_intel" in failure.evidence
    assert ROOT_PORT not in failure.evidence
    assert AUDIO in failure.remedy


@pytest.mark.parametrize("driver", [None, "vfio-pci", "pci-stub"])
def test_a_device_that_the_host_does_not_use_may_share_the_group(driver: str | None, machine: Machine) -> None:
    machine.device(AUDIO, "0xa170", "0x040300", driver=driver, group="1")

    assert machine.failures() == {}
    assert machine.findings()["group_members"].verdict is Verdict.WARN


def test_igfx_off_is_to_be_deleted(machine: Machine) -> None:
    machine.write("proc/cmdline", "quiet intel_iommu=on,igfx_off\n")
    machine.device(GPU, "0x1912", "0x030000", driver="i915", group=None)

    assert list(machine.failures()) == ["kernel_flags"]
    assert "Delete igfx_off" in machine.failures()["kernel_flags"].remedy


@pytest.mark.parametrize(
    ("flag", "word"),
    [("pcie_acs_override=downstream", "isolation"), ("nomodeset", "nomodeset"), ("intel_iommu=igfx_off", "no effect")],
)
def test_flags_that_hinder_nothing_warn(flag: str, word: str, machine: Machine) -> None:
    machine.write("proc/cmdline", f"intel_iommu=on {flag}\n")

    assert machine.failures() == {}
    assert machine.findings()["kernel_flags"].verdict is Verdict.WARN
    assert word in machine.findings()["kernel_flags"].evidence


@pytest.mark.parametrize(("device", "word"), [("0x1616", "Broadwell"), ("0x1912", "no IOMMU group")])
def test_a_gpu_without_a_group(device: str, word: str, machine: Machine) -> None:
    machine.device(GPU, device, "0x030000", driver="i915", group=None)

    assert list(machine.failures()) == ["iommu_group"]
    assert word in machine.failures()["iommu_group"].evidence


def test_a_kernel_without_vfio_is_named(machine: Machine) -> None:
    machine.remove("lib/modules/6.1.0-40-amd64/kernel/drivers/vfio/pci")
    assert list(machine.failures()) == ["vfio_pci"]

    machine.write("lib/modules/6.1.0-40-amd64/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n")
    assert machine.failures() == {}

    machine.remove("lib/modules")
    (machine.root / "sys/bus/pci/drivers/vfio-pci").mkdir(parents=True)
    assert gather(machine.root).vfio_pci is VfioDriver.READY


@pytest.mark.parametrize(
    ("cpuinfo", "word"),
    [
        ("vendor_id : GenuineIntel\nmodel name : Atom\nflags : fpu vmxish\n", "no VT-x"),
        ("vendor_id : AuthenticAMD\nmodel name : Ryzen\nflags : svm\n", "not from Intel"),
        ("", "unknown processor"),
    ],
)
def test_a_processor_that_will_not_do(cpuinfo: str, word: str, machine: Machine) -> None:
    machine.write("proc/cpuinfo", cpuinfo)

    assert list(machine.failures()) == ["processor"]
    assert word in machine.failures()["processor"].evidence


@pytest.mark.parametrize(
    ("kvm", "vmx", "verdict"),
    [
        (Kvm.WORKS, True, Verdict.PASS),
        (Kvm.FORBIDDEN, True, Verdict.FAIL),
        (Kvm.MISSING, True, Verdict.FAIL),
        (Kvm.MISSING, False, Verdict.WARN),
        (Kvm.BROKEN, True, Verdict.FAIL),
        (Kvm.NOT_TRIED, True, None),
    ],
)
def test_kvm_is_judged_where_it_was_tried(kvm: Kvm, vmx: bool, verdict: Verdict | None) -> None:
    facts = HostFacts(
        processor=SKYLAKE, is_intel=True, vmx=vmx, kvm=kvm, dmar_table=True, iommu_units=("dmar0",),
        kernel_flags=(), gpu=None, companions=(), vfio_pci=VfioDriver.READY,
    )  # fmt: skip
    found = {finding.check: finding.verdict for finding in host_findings(facts)}

    assert found.get("kvm") is verdict


def test_a_recorded_machine_s_kvm_is_not_tried(machine: Machine) -> None:
    machine.write("dev/kvm", "")

    assert gather(machine.root).kvm is Kvm.NOT_TRIED


def test_garbage_is_read_as_absence(tmp_path: Path) -> None:
    """Whatever the files hold, there is a report, and every failure in it has a remedy."""
    for path in ("proc/cpuinfo", "proc/cmdline", "proc/sys/kernel/osrelease", "sys/class/iommu", "lib/modules"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"\xff\x00\nflags\t:\xfe vendor_id \n\x80")
    device = tmp_path / "sys/bus/pci/devices" / GPU
    device.mkdir(parents=True)
    for name in ("vendor", "device", "class"):
        (device / name).write_bytes(b"0x80\xff")
    (tmp_path / "sys/bus/pci/devices/junk").symlink_to("junk")
    (tmp_path / "sys/firmware/acpi/tables").mkdir(parents=True)
    (tmp_path / "sys/firmware/acpi/tables/DMAR").symlink_to("DMAR")

    findings = host_findings(gather(tmp_path))

    assert [finding.check for finding in blocking(findings)] == ["processor", "vt_d", "gpu", "vfio_pci"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from encoderd.host.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_the_command_tells_a_pipe_in_plain_lines(machine: Machine) -> None:
    machine.device(AUDIO, "0xa170", "0x040300", driver=os.fsdecode(b"odd\xff"), group="1")
    run = command("check", "--root", str(machine.root))

    assert (run.returncode, run.stderr) == (1, "")
    assert f"✔ processor      {SKYLAKE}, VT-x is on\n" in run.stdout
    assert r"driver odd\udcff" in run.stdout
    assert f"  → Give {AUDIO} to the guest too" in run.stdout
    assert "\x1b" not in run.stdout


def test_the_command_speaks_json(machine: Machine) -> None:
    run = command("check", "--json", "--root", str(machine.root))
    document = json.loads(run.stdout)

    assert (run.returncode, run.stderr) == (0, "")
    assert document[0] == {
        "check": "processor", "verdict": "pass", "evidence": f"{SKYLAKE}, VT-x is on", "remedy": "",
    }  # fmt: skip


def test_a_mistake_is_told_in_two_lines(tmp_path: Path) -> None:
    run = command("check", "--root", str(tmp_path / "nowhere"))

    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines() == [
        f"encoderd-host: There is no folder {tmp_path}/nowhere.",
        "  → Name one that holds proc and sys, or leave --root out.",
    ]


def test_the_help_says_what_is_not_there_yet() -> None:
    text = " ".join(command("--help").stdout.split())

    assert "take, give, boot) are not in it yet" in text
    assert command("take").returncode == 2
