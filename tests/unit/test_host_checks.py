"""All checks of a host together: their order, what forbids taking the GPU, and hosts whose files lie."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoderd.findings import Finding, Verdict, blocking
from encoderd.host.checks import host_findings, refusals
from encoderd.host.facts import gather
from encoderd.host.kvm import Kvm
from encoderd.host.settings import HostSettings
from encoderd.root import Root
from tests.hosts.machines import MACHINES, Machine, everything_healthy

SETTINGS = HostSettings.model_validate({
    "vm": {"qemu": "/usr/bin/qemu-system-x86_64"},
    "pci": [{"address": "0000:00:1f.3"}],
    "disk": [{"path": "/var/lib/encoderd-host/encoderd.qcow2"}],
})  # fmt: skip


def findings_of(root: Root, settings: HostSettings = SETTINGS) -> list[Finding]:
    return host_findings(gather(root, settings, live=False), settings)


def test_an_empty_folder_is_a_host_with_nothing(tmp_path: Path) -> None:
    """Whatever is missing, there is a report; and the first thing to repair is told, not all that follows from it."""
    settings = HostSettings()
    facts = gather(Root(tmp_path), settings, live=False)
    fails = [finding.check for finding in blocking(host_findings(facts, settings))]

    assert fails[0] == "processor"
    assert "iommu" not in fails
    assert facts.platform.kvm is Kvm.NOT_TRIED


def test_refusals_are_failures_among_the_findings(tmp_path: Path) -> None:
    for name, make in MACHINES.items():
        facts = gather(make(tmp_path / name).root, SETTINGS, live=False)
        found = host_findings(facts, SETTINGS)

        assert [finding for finding in refusals(facts, SETTINGS) if finding not in blocking(found)] == []


def test_a_host_that_cannot_start_the_guest_may_still_be_taken_from(tmp_path: Path) -> None:
    """Only what concerns the start is left out: interrupt remapping, KVM, and all that the guest needs besides."""
    facts = gather(MACHINES["no_interrupt_remapping"](tmp_path).root, HostSettings(), live=False)
    fails = {finding.check for finding in blocking(host_findings(facts, HostSettings()))}

    assert {"interrupt_remapping", "disk"} <= fails
    assert refusals(facts, HostSettings()) == []


def test_missing_vt_x_forbids_a_start_and_not_a_take(tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    machine.processor("Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz", flags="")
    settings = SETTINGS.model_copy(update={"pci": ()})
    facts = gather(machine.root, settings, live=False)

    assert ["processor"] == [finding.check for finding in blocking(host_findings(facts, settings))]
    assert refusals(facts, settings) == []


def test_a_recorded_host_is_read_and_nothing_else(tmp_path: Path) -> None:
    """Nothing in its folder changes, and the QEMU that lies there is not run."""
    machine = everything_healthy(tmp_path)
    trap = tmp_path / "ran"
    machine.write("/usr/bin/qemu-system-x86_64", f"#!/bin/sh\ntouch {trap}\n")
    machine.at("/usr/bin/qemu-system-x86_64").chmod(0o755)
    before = {path: os.lstat(path).st_mtime_ns for path in tmp_path.rglob("*")}
    findings_of(machine.root, SETTINGS.model_copy(update={
        "vm": SETTINGS.vm.model_copy(update={"qemu": machine.at("/usr/bin/qemu-system-x86_64")}),
    }))  # fmt: skip

    assert not trap.exists()
    assert before == {path: os.lstat(path).st_mtime_ns for path in tmp_path.rglob("*")}


def test_what_the_checks_say_is_stable(tmp_path: Path) -> None:
    root = everything_healthy(tmp_path).root

    assert findings_of(root) == findings_of(root)


# --- hosts that lie


ODD = [
    b"", b"\0", b"\n\n", b"\xff" * 300, b"-1\n", b"0x\n", b"99999999999999999999999999\n", "²\n".encode(), b": : :\n",
    b"[]{}\"'\\\n", b"DMAR" + b"\xff" * 60, b"QFI\xfb" + b"\xff" * 100, b"a" * 70_000,
]  # fmt: skip


def sources(machine: Machine) -> list[Path]:
    return sorted(path for path in machine.folder.rglob("*") if path.is_symlink() or path.is_file())


def break_one(path: Path, chance: random.Random) -> None:
    """Do to a file or a link what a torn recording, an old kernel or a malicious tree could do to it."""
    whole = path.read_bytes() if path.is_file() and not path.is_symlink() else b"../../../x"
    path.unlink()
    match chance.randrange(7):
        case 0:
            pass
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to(path.name)
        case 3:
            path.symlink_to(chance.choice(["/", "..", "/dev/null", "999999999999", "ü", "0000:00:02.0"]))
        case 4:
            os.mkfifo(path)
        case 5:
            path.write_bytes(whole[: chance.randrange(len(whole) + 1)])
        case _:
            path.write_bytes(chance.choice(ODD))


@pytest.mark.parametrize("name", ["everything_healthy", "raptor_lake_with_vfs", "driverctl_pinned"])
def test_broken_files_never_break_the_report(name: str, tmp_path: Path) -> None:
    """Any few of the files that say what a host is: each run breaks more of them, until half of them are broken."""
    chance = random.Random(name)
    machine = MACHINES[name](tmp_path)
    paths = sources(machine)
    chance.shuffle(paths)
    for start in range(0, len(paths) // 2, 10):
        for path in paths[start : start + 10]:
            if path.is_symlink() or path.is_file():
                break_one(path, chance)
        found = findings_of(machine.root)
        refusals(gather(machine.root, SETTINGS, live=False), SETTINGS)

        assert found
        assert {finding.verdict for finding in found} <= set(Verdict)


@pytest.mark.parametrize("data", ODD, ids=range(len(ODD)))
def test_the_same_nonsense_in_every_file(data: bytes, tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    for path in sources(machine):
        if not path.is_symlink():
            path.write_bytes(data)

    assert blocking(findings_of(machine.root))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return everything_healthy(tmp_path_factory.mktemp("host"))


FUZZED = [
    "/proc/cpuinfo", "/proc/cmdline", "/proc/interrupts", "/proc/iomem", "/proc/meminfo", "/proc/fb", "/proc/mounts",
    "/proc/net/route", "/proc/self/mountinfo", "/proc/sys/kernel/osrelease", "/sys/firmware/acpi/tables/DMAR",
    "/etc/modprobe.d/dist-blacklist.conf", "/proc/config.gz",
    "/sys/kernel/iommu_groups/1/reserved_regions", "/sys/devices/virtual/iommu/dmar0/intel-iommu/cap",
    "/sys/bus/pci/devices/0000:00:02.0/config", "/sys/bus/pci/devices/0000:00:02.0/device",
    "/sys/bus/pci/devices/0000:00:02.0/resource", "/sys/bus/pci/devices/0000:00:02.0/sriov_numvfs",
]  # fmt: skip


@given(
    st.sampled_from(FUZZED),
    st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode(errors="replace"))),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_may_stand_anywhere(workshop: Machine, path: str, data: bytes) -> None:
    place = workshop.at(path)
    before = place.read_bytes() if place.exists() else None
    place.write_bytes(data)
    try:
        assert findings_of(workshop.root)
    finally:
        if before is None:
            place.unlink()
        else:
            place.write_bytes(before)


def test_a_folder_that_holds_itself(tmp_path: Path) -> None:
    """Links in circles end."""
    machine = everything_healthy(tmp_path)
    shutil.rmtree(machine.at("/sys/kernel/iommu_groups/1"))
    machine.at("/sys/kernel/iommu_groups/1").symlink_to("../iommu_groups")
    machine.at("/sys/class/iommu/dmar9").symlink_to("../iommu")

    assert findings_of(machine.root)
