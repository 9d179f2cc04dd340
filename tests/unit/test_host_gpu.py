"""Which GPU is meant, what sysfs says of it and of its group, and what is said of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from encoderd.findings import Finding, Verdict
from encoderd.host.generations import Standing
from encoderd.host.gpu_checks import gpu_findings
from encoderd.host.gpu_facts import GpuFacts, gpu_facts
from encoderd.host.platform import platform_facts
from encoderd.host.settings import GpuSettings, HostSettings
from encoderd.pci import PciAddress
from tests.hosts.machines import MACHINES, Machine, client_dmar, dmar_table, dmar_unit, everything_healthy

GPU, AUDIO, PORT = "0000:00:02.0", "0000:00:1f.3", "0000:00:1c.0"


def facts_of(machine: Machine, profile: str = "headless", **gpu: object) -> GpuFacts:
    return gpu_facts(machine.root, GpuSettings.model_validate(gpu), profile)


def judged(machine: Machine, **tables: object) -> dict[str, Finding]:
    """Judge a machine's GPU; `tables` are those of the settings."""
    settings = HostSettings.model_validate(tables)
    gpu = gpu_facts(machine.root, settings.gpu, settings.vm.profile)
    findings = gpu_findings(gpu, platform_facts(machine.root, live=False), settings)
    return {finding.check: finding for finding in findings}


def failing(findings: dict[str, Finding]) -> list[str]:
    return [check for check, finding in findings.items() if finding.verdict is Verdict.FAIL]


# --- which one


@pytest.mark.parametrize(
    ("name", "profile", "gpu", "address"),
    [
        ("everything_healthy", "headless", {}, GPU),
        ("everything_healthy", "headless", {"address": "none"}, None),
        ("everything_healthy", "headless", {"address": "00:02.0"}, GPU),
        ("everything_healthy", "headless", {"address": "0000:03:00.0"}, None),
        ("everything_healthy", "headless", {"address": "0000:03:00.0", "stand_in": True}, "0000:03:00.0"),
        ("everything_healthy", "headless", {"address": AUDIO, "stand_in": True}, None),
        ("everything_healthy", "headless", {"address": PORT, "stand_in": True}, None),
        ("everything_healthy", "headless", {"address": "0000:09:00.0"}, None),
        ("everything_healthy", "headless", {"stand_in": True}, GPU),
        ("skylake_with_discrete_gpu", "headless", {}, GPU),
        ("amd_host", "headless", {}, None),
        ("amd_host", "headless", {"stand_in": True}, "0000:06:00.0"),
        ("raptor_lake_with_vfs", "headless", {}, GPU),
        ("raptor_lake_with_vfs", "vf", {}, "0000:00:02.2"),
        ("raptor_lake_with_vfs", "vf", {"address": "0000:00:02.1"}, "0000:00:02.1"),
        ("everything_healthy", "vf", {}, None),
    ],
)
def test_which_gpu_is_meant(
    name: str, profile: str, gpu: dict[str, object], address: str | None, tmp_path: Path
) -> None:
    found = facts_of(MACHINES[name](tmp_path), profile, **gpu).gpu

    assert address == (str(found.address) if found is not None else None)


def test_the_integrated_gpu_goes_before_a_card(tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    machine.pci("0000:00:01.0", "8086:56a5", 0x038000, driver="i915", group=20)
    found = facts_of(machine).gpu

    assert found is not None
    assert str(found.address) == GPU
    machine.remove(f"/sys/bus/pci/devices/{GPU}")
    assert "0000:00:01.0" == str(facts_of(machine).gpu and facts_of(machine).gpu.address)  # type: ignore[union-attr]


def test_what_is_read_of_it(tmp_path: Path) -> None:
    facts = facts_of(everything_healthy(tmp_path))

    assert facts.generation is not None
    assert facts.generation.verdict is Standing.WORKS
    assert ("dmar0", "identity", "D0", ("flr", "pm")) == (
        facts.iommu_unit, facts.group_type, facts.power_state, facts.reset_methods,
    )  # fmt: skip
    assert ("card1", "renderD128") == facts.drm_nodes
    assert [("direct-relaxable", 0x8B800000, 0x8FFFFFFF), ("msi", 0xFEE00000, 0xFEEFFFFF)] == [
        (region.kind, region.first, region.last) for region in facts.reserved
    ]
    assert facts.config_head[:4] == bytes.fromhex("86801d19")
    assert (len(facts.config_head), facts.driver_override, facts.members) == (64, "", ())


def test_virtual_functions_are_read_by_their_number(tmp_path: Path) -> None:
    """virtfn10 comes after virtfn9."""
    machine = MACHINES["raptor_lake_with_vfs"](tmp_path)
    for number in range(3, 13):
        machine.pci(f"0000:00:{2 + number // 8:02x}.{number % 8}", "8086:a780", 0x030000, vf_of=GPU)
    facts = facts_of(machine)

    assert (2, 7) == (facts.sriov_numvfs, facts.sriov_totalvfs)
    assert ["0000:00:02.1", "0000:00:02.2", "0000:00:02.3"] == [str(address) for address in facts.vfs[:3]]
    assert list(facts.vfs) == sorted(facts.vfs)
    assert len(facts.vfs) == 12


def test_mediated_devices_are_those_of_this_gpu(tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    mine, other = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002"
    machine.make(f"/sys/bus/pci/devices/{GPU}/{mine}")
    machine.link(f"/sys/bus/mdev/devices/{mine}", f"/sys/bus/pci/devices/{GPU}/{mine}")
    machine.make(f"/sys/bus/mdev/devices/{other}")

    assert (mine,) == facts_of(machine).mdevs


@pytest.mark.parametrize(
    ("iomem", "platform", "expected"),
    [
        ("c0000000-cfffffff : 0000:00:02.0\n  c0000000-c07e8fff : efifb\n", (), ("efifb",)),
        (
            "c0000000-cfffffff : 0000:00:02.0\n  c0000000-c07e8fff : BOOTFB\n    c0-c1 : simplefb\n",
            (),
            ("BOOTFB", "simplefb"),
        ),
        ("a : PCI\n  b : 0000:00:02.0\n  c : 0000:01:00.0\n    d : efifb\n", ("efi-framebuffer.0",), ()),
        ("b : 0000:00:02.0\nc : efifb\n", (), ()),
        ("", ("simple-framebuffer.0", "serial8250"), ("simple-framebuffer.0",)),
        ("nonsense\n  : \n", ("efi-framebuffer.0",), ("efi-framebuffer.0",)),
    ],
)
def test_whose_memory_the_firmware_s_picture_is_in(
    iomem: str, platform: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    """A line that is indented further stands inside the one above; only its names are everybody's."""
    machine = everything_healthy(tmp_path)
    machine.write("/proc/iomem", iomem)
    for name in platform:
        machine.make(f"/sys/bus/platform/devices/{name}")

    assert expected == facts_of(machine).firmware_framebuffers


@pytest.mark.parametrize(
    "text", ["", "0x0 0x1\n", "one two direct\n", "0x1 0x2 direct extra\n", "0x" + "f" * 20 + " 0x0 direct\n", "\xff\n"]
)
def test_odd_regions_are_left_out(text: str, tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    machine.write("/sys/kernel/iommu_groups/1/reserved_regions", text)

    assert facts_of(machine).reserved == ()


# --- what is said

Change = Callable[[Machine], object]


def add(address: str, ids: str, class_code: int, *, driver: str | None = None, group: int | None = None) -> Change:
    return lambda machine: machine.pci(address, ids, class_code, driver=driver, group=group)


def each(*changes: Change) -> Change:
    def change(machine: Machine) -> None:
        for one in changes:
            one(machine)

    return change


def gone(machine: Machine) -> None:
    machine.remove(f"/sys/bus/pci/devices/{GPU}")


def without_group(machine: Machine) -> None:
    machine.at(f"/sys/bus/pci/devices/{GPU}/iommu_group").unlink()


#: Machine, settings, what is done to it, the check, its verdict, words of its evidence and of its remedy.
TROUBLES: list[tuple[str, str, dict[str, object], Change, str, Verdict, str, str]] = [
    ("class 0380", "everything_healthy", {}, lambda m: None,
     "gpu", Verdict.PASS, "0000:03:00.0 [1a03:2000] is the primary one", ""),
    ("no GPU", "everything_healthy", {}, gone,
     "gpu", Verdict.FAIL, "only 0000:03:00.0 [1a03:2000]", "iGPU Multi-Monitor"),
    ("an F", "everything_healthy", {},
     each(gone, lambda m: m.processor("12th Gen Intel(R) Core(TM) i5-12400F")),
     "gpu", Verdict.FAIL, "sold without a GPU", "without the F"),
    ("a card only", "everything_healthy", {},
     each(gone, add("0000:05:00.0", "8086:56a5", 0x030000, group=30)),
     "gpu", Verdict.WARN, "there is no integrated one", 'address = "0000:05:00.0"'),
    ("nothing there", "everything_healthy", {"gpu": {"address": "0000:09:00.0"}}, lambda m: None,
     "gpu", Verdict.FAIL, "there is no device at 0000:09:00.0", f'address = "{GPU}"'),
    ("a bridge", "everything_healthy", {"gpu": {"address": PORT}}, lambda m: None,
     "gpu", Verdict.FAIL, "is no display device (class 0x060400)", f'address = "{GPU}"'),
    ("another maker's", "everything_healthy", {"gpu": {"address": "0000:03:00.0"}}, lambda m: None,
     "gpu", Verdict.FAIL, "not Intel's", f'address = "{GPU}"'),
    ("a stand-in", "everything_healthy", {"gpu": {"address": "0000:03:00.0", "stand_in": True}}, lambda m: None,
     "gpu", Verdict.PASS, "taken as a stand-in", ""),
    ("no VF made", "raptor_lake_with_vfs", {"vm": {"profile": "vf"}},
     each(*(lambda m, n=n: m.at(f"/sys/bus/pci/devices/{GPU}/virtfn{n}").unlink() for n in (0, 1))),
     "gpu", Verdict.FAIL, "has no virtual functions", f"echo 1 > /sys/bus/pci/devices/{GPU}/sriov_numvfs"),
    ("no VF possible", "everything_healthy", {"vm": {"profile": "vf"}}, lambda m: None,
     "gpu", Verdict.FAIL, "sriov_totalvfs 0", "headless"),
    ("a VF", "raptor_lake_with_vfs", {"vm": {"profile": "vf"}}, lambda m: None,
     "gpu", Verdict.PASS, f"a virtual function of {GPU}", ""),
    ("Broadwell", "broadwell", {}, lambda m: None,
     "generation", Verdict.FAIL, "quirk_iommu_igfx", "Skylake or later"),
    ("Broadwell, IOMMU off", "broadwell", {}, lambda m: m.without_iommu(),
     "generation", Verdict.WARN, "quirk_iommu_igfx", "Skylake or later"),
    ("Broadwell all the same", "broadwell", {}, add(GPU, "8086:1616", 0x030000, driver="i915", group=1),
     "generation", Verdict.WARN, "put it into group 1 all the same", ""),
    ("Haswell", "haswell_desktop", {}, lambda m: None, "generation", Verdict.WARN, "unproven: Haswell", ""),
    ("Meteor Lake", "meteor_lake", {}, lambda m: None, "generation", Verdict.PASS, "QEMU 10.1 or later", ""),
    ("newer than this", "everything_healthy", {}, add(GPU, "8086:fd80", 0x030000, group=1),
     "generation", Verdict.WARN, "new: unknown", ""),
    ("igfx_off", "everything_healthy", {}, each(without_group, lambda m: m.cmdline("intel_iommu=on,igfx_off")),
     "iommu_group", Verdict.WARN, "because of igfx_off", ""),
    ("no unit covers it", "everything_healthy", {},
     each(without_group, lambda m: m.iommu(table=dmar_table([dmar_unit(1, include_all=True, segment=1)]))),
     "iommu_group", Verdict.FAIL, "no VT-d unit of the table DMAR covers it", "newer firmware"),
    ("no group, and nobody asked", "everything_healthy", {},
     each(without_group, lambda m: m.cmdline("BOOT_IMAGE=/vmlinuz quiet")),
     "iommu_group", Verdict.FAIL, "no IOMMU group although the IOMMU is on", "Add intel_iommu=on to GRUB"),
    ("no group, and asked", "everything_healthy", {}, without_group,
     "iommu_group", Verdict.FAIL, "and intel_iommu=on is given", "dmesg | grep"),
    ("shared with the host", "group_not_viable", {}, lambda m: None,
     "group_members", Verdict.FAIL, f"{AUDIO} [8086:a170], driver snd_hda_intel", f'[[pci]] address = "{AUDIO}"'),
    ("shared, and given too", "group_not_viable", {"pci": [{"address": "00:1f.3"}]}, lambda m: None,
     "group_members", Verdict.PASS, "all of group 1 go to the guest", ""),
    ("shared with a bridge", "everything_healthy", {}, add(PORT, "8086:a110", 0x060400, driver="pcieport", group=1),
     "group_members", Verdict.PASS, "alone", ""),
    ("shared with a host bridge", "everything_healthy", {},
     add("0000:00:00.0", "8086:191f", 0x060000, driver="x", group=1),
     "group_members", Verdict.FAIL, "0000:00:00.0 [8086:191f], driver x", "ACS"),
    ("RMRR", "everything_healthy", {}, lambda m: m.gpu_group(GPU, "0x0000000080000000 0x0000000080ffffff direct"),
     "reserved_regions", Verdict.FAIL, "0x80000000-0x80ffffff", "newer firmware"),
    ("off the bus", "everything_healthy", {}, lambda m: m.write(f"/sys/bus/pci/devices/{GPU}/config", b"\xff" * 64),
     "gpu_state", Verdict.FAIL, "all ones, power state D0", "disable_idle_d3=1"),
    ("not itself", "everything_healthy", {}, lambda m: m.write(f"/sys/bus/pci/devices/{GPU}/config", b"\0" * 64),
     "gpu_state", Verdict.WARN, "says 0000:0000, sysfs says 8086:191d", ""),
    ("cold", "everything_healthy", {}, lambda m: m.write(f"/sys/bus/pci/devices/{GPU}/power_state", "D3cold\n"),
     "gpu_state", Verdict.WARN, "D3cold", "power/control"),
    ("no reset", "everything_healthy", {}, lambda m: m.remove(f"/sys/bus/pci/devices/{GPU}/reset_method"),
     "gpu_state", Verdict.WARN, "no available reset mechanism", "reboot the host"),
    ("an old kernel", "firmware_framebuffer", {}, lambda m: None,
     "framebuffer", Verdict.WARN, "(efifb)", "video=efifb:off"),
    ("a less old kernel", "firmware_framebuffer", {}, lambda m: m.kernel("5.15.0-91-generic"),
     "framebuffer", Verdict.WARN, "Linux 5.15", "initcall_blacklist=sysfb_init"),
    ("a new kernel", "firmware_framebuffer", {}, lambda m: m.kernel("6.1.0-40-amd64"),
     "framebuffer", Verdict.PASS, "vfio-pci of Linux 6.1 clears it", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "settings", "change", "check", "verdict", "evidence", "remedy"),
    [trouble[1:] for trouble in TROUBLES],
    ids=[trouble[0] for trouble in TROUBLES],
)
def test_a_trouble_and_its_remedy(
    machine: str, settings: dict[str, object], change: Change, check: str, verdict: Verdict, evidence: str, remedy: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """At most one check fails for it: the one whose remedy helps."""
    host = MACHINES[machine](tmp_path)
    change(host)
    findings = judged(host, **settings)

    assert verdict is findings[check].verdict
    assert evidence in findings[check].evidence
    assert remedy in findings[check].remedy
    assert len(failing(findings)) <= 1


@pytest.mark.parametrize("driver", [None, "vfio-pci", "pci-stub"])
def test_a_device_that_the_host_does_not_use_may_share_the_group(driver: str | None, tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    machine.pci(AUDIO, "8086:a170", 0x040300, driver=driver, group=1)
    findings = judged(machine)

    assert [] == failing(findings)
    assert findings["group_members"].verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("processor", "without"),
    [
        ("Intel(R) Core(TM) i5-9400F CPU @ 2.90GHz", True),
        ("Intel(R) Core(TM) i9-9900KF CPU @ 3.60GHz", True),
        ("13th Gen Intel(R) Core(TM) i7-13700F", True),
        ("Intel(R) Core(TM) Ultra 7 265KF", True),
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", False),
        ("Intel(R) Xeon(R) CPU E3-1230 v5 @ 3.40GHz", False),
        ("Intel(R) Core(TM) Ultra 5 125H", False),
        ("", False),
    ],
)
def test_processors_that_are_sold_without_a_gpu(processor: str, without: bool, tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    gone(machine)
    machine.processor(processor)

    assert without == ("sold without a GPU" in judged(machine)["gpu"].evidence)


def test_where_none_is_wanted_nothing_is_asked(tmp_path: Path) -> None:
    findings = judged(MACHINES["broadwell"](tmp_path), gpu={"address": "none"})

    assert {"gpu": Verdict.PASS} == {check: finding.verdict for check, finding in findings.items()}


def test_a_table_that_covers_it_is_not_blamed(tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)
    without_group(machine)
    machine.iommu(table=client_dmar()[:70])

    assert "DMAR covers" not in judged(machine)["iommu_group"].evidence


def test_addresses_are_read_in_both_forms(tmp_path: Path) -> None:
    machine = everything_healthy(tmp_path)

    assert facts_of(machine, address="00:02.0").gpu == facts_of(machine, address=GPU).gpu
    assert facts_of(machine).device(PciAddress.parse(AUDIO)) is not None
