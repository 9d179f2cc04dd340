"""What the configured guest needs: QEMU, rights, memory, processors, devices, folders and networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.findings import Finding, Verdict
from encoderd.host.gpu_facts import GpuFacts, gpu_facts
from encoderd.host.guest_checks import needs_findings
from encoderd.host.guest_needs import MemoryFacts, NeedsFacts, SandboxFacts, cpu_list, needs_facts
from encoderd.host.platform import platform_facts
from encoderd.host.ports import ShareFacts
from encoderd.host.qemu_properties import QemuProperties, frozen_devices
from encoderd.host.settings import HostSettings
from encoderd.root import Root
from tests.hosts.tree import HostTree

#: Every device that a command line can need, with one property each.
DEVICES = ("vfio-pci", "virtio-serial-pci", "virtio-blk-pci", "virtio-net-pci", "virtio-9p-pci", "vhost-user-fs-pci",
           "qemu-xhci", "usb-host")  # fmt: skip
QEMU = QemuProperties(
    version=(7, 2, 22),
    machines=frozenset({"q35", "pc"}),
    devices=frozen_devices({name: {"x-vga": "false"} for name in DEVICES}),
)
HUB_PORT = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-4"


def wanted(**sections: object) -> HostSettings:
    """Settings of a guest that starts from a kernel, so that no disk is missing."""
    vm = {"kernel": "/boot/vmlinuz", **dict(sections.pop("vm", {}))}  # type: ignore[call-overload]
    return HostSettings(vm=vm, **sections)


def host(folder: Path) -> HostTree:
    """As little of a host as these checks read."""
    tree = HostTree(folder)
    tree.device("0000:00:02.0", 0x8086, 0x191D, 0x038000, driver="i915", group=2)
    tree.device("0000:00:14.0", 0x8086, 0xA12F, 0x0C0330, driver="xhci_hcd", group=3)
    tree.write("/proc/meminfo", f"MemTotal:  {16_117 * 1024} kB\nMemAvailable:  {14_320 * 1024} kB\n")
    tree.write("/sys/devices/system/cpu/online", "0-3\n")
    tree.write("/boot/vmlinuz", bytes(0x202) + b"HdrS")
    tree.write("/usr/bin/qemu-system-x86_64", "")
    return tree


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> HostTree:
    """A host that no test changes: with further devices, USB, and everything else as `host` has it."""
    return usb_host(tmp_path_factory.mktemp("shared"))


def judged(
    tree: HostTree, settings_: HostSettings, qemu: QemuProperties | None = QEMU, **changes: object
) -> list[Finding]:
    gpu = gpu_facts(tree.root, settings_.gpu, settings_.vm.profile)
    return judged_facts(needs_facts(tree.root, settings_, live=False, qemu=qemu), settings_, tree, gpu, **changes)


def judged_facts(
    needs: NeedsFacts, settings_: HostSettings, tree: HostTree, gpu: GpuFacts, **changes: object
) -> list[Finding]:
    return needs_findings(replace(needs, **changes), settings_, platform_facts(tree.root, live=False), gpu)


def of(findings: list[Finding], check: str) -> list[tuple[Verdict, str, str]]:
    return [(one.verdict, one.evidence, one.remedy) for one in findings if one.check == check]


def the(findings: list[Finding], check: str) -> tuple[Verdict, str, str]:
    (found,) = of(findings, check)
    return found


def test_a_plain_guest_has_what_it_needs(tmp_path: Path) -> None:
    """Nothing fails or warns; on a recorded host the limits of this very process are left out."""
    findings = judged(host(tmp_path), wanted())

    assert {finding.verdict for finding in findings} == {Verdict.PASS}
    assert [finding.check for finding in findings] == ["qemu", "memory", "cpus", "firmware", "kernel_image", "disk"]


# --- QEMU


def with_only(*devices: str) -> QemuProperties:
    return replace(QEMU, devices=frozen_devices({name: {} for name in devices}))


@pytest.mark.parametrize(
    ("qemu", "sections", "verdict", "expected"),
    [
        (QEMU, {}, Verdict.PASS, "QEMU 7.2.22, /usr/bin/qemu-system-x86_64"),
        (None, {}, Verdict.PASS, "cannot be asked"),
        (None, {"vm": {"qemu": "/opt/none"}}, Verdict.FAIL, "there is no QEMU at /opt/none"),
        (replace(QEMU, version=(6, 2, 0)), {}, Verdict.WARN, "older"),
        (replace(QEMU, machines=frozenset({"virt"})), {}, Verdict.FAIL, "no machine q35"),
        (replace(QEMU, machines=frozenset({"q35"})), {"vm": {"profile": "display"}}, Verdict.FAIL, "no machine pc"),
        (with_only("virtio-serial-pci"), {}, Verdict.FAIL, "has no vfio-pci"),
        (with_only("virtio-serial-pci"), {"gpu": {"address": "none"}}, Verdict.PASS, ""),
        (with_only("virtio-serial-pci", "vfio-pci"),
         {"share": [{"path": "/srv", "tag": "a"}]}, Verdict.FAIL, "has no vhost-user-fs-pci"),
        (QEMU, {"gpu": {"properties": {"x-vga": True, "x-igd-lpc": True}}}, Verdict.FAIL, "does not know x-igd-lpc"),
    ],
)  # fmt: skip
def test_qemu_must_know_what_is_asked_of_it(
    shared: HostTree, qemu: QemuProperties | None, sections: dict[str, object], verdict: Verdict, expected: str
) -> None:
    found = the(judged(shared, wanted(**sections), qemu), "qemu")

    assert (found[0], expected in found[1]) == (verdict, True), found


def test_a_new_gpu_wants_a_new_qemu(tmp_path: Path) -> None:
    """Meteor Lake."""
    tree = host(tmp_path)
    tree.device("0000:00:02.0", 0x8086, 0x7D55, 0x030000, group=1)

    assert the(judged(tree, wanted()), "qemu")[::2] == (
        Verdict.WARN,
        "Install QEMU 10.1 or later (Debian: from backports).",
    )
    assert the(judged(tree, wanted(), replace(QEMU, version=(10, 1, 0))), "qemu")[0] is Verdict.PASS


# --- rights


@pytest.mark.parametrize(
    ("sandbox", "apparmor", "verdict", "expected"),
    [
        (SandboxFacts(user_id=0, writes_sysfs=True, sees_vfio=True), (), Verdict.PASS, "nothing confines"),
        (SandboxFacts(user_id=0, writes_sysfs=True, sees_vfio=None), (), Verdict.PASS, "nothing confines"),
        (SandboxFacts(user_id=1000, writes_sysfs=False), (), Verdict.WARN, "not root"),
        (SandboxFacts(user_id=0, writes_sysfs=False), (), Verdict.FAIL, "read-only"),
        (SandboxFacts(user_id=0, writes_sysfs=True, sees_vfio=False), (), Verdict.FAIL, "/dev/vfio/vfio"),
        (SandboxFacts(), ("qemu (enforce)",), Verdict.WARN, "AppArmor confines QEMU: qemu (enforce)"),
        (SandboxFacts(user_id=0, writes_sysfs=True), ("qemu (complain)",), Verdict.PASS, "nothing confines"),
    ],
)
def test_what_confines_this_process_is_told(
    shared: HostTree, sandbox: SandboxFacts, apparmor: tuple[str, ...], verdict: Verdict, expected: str
) -> None:
    found = the(judged(shared, wanted(), sandbox=sandbox, apparmor=apparmor), "sandbox")

    assert (found[0], expected in found[1]) == (verdict, True), found


def test_only_profiles_for_this_qemu_count(tmp_path: Path) -> None:
    machine = host(tmp_path)
    machine.write("/sys/module/apparmor/parameters/enabled", "Y\n")
    machine.write(
        "/sys/kernel/security/apparmor/profiles",
        "/usr/bin/qemu-system-x86_64 (enforce)\nlibvirtd (enforce)\n/usr/bin/qemu-system-arm (enforce)\n",
    )

    assert needs_facts(machine.root, wanted(), live=False, qemu=None).apparmor == (
        "/usr/bin/qemu-system-x86_64 (enforce)",
    )


def test_this_very_process_is_asked_on_the_running_host() -> None:
    """Nothing is written: whether /sys may be written to is only asked for."""
    needs = needs_facts(Root(Path("/")), wanted(gpu={"address": "none"}), live=True, qemu=None)

    assert needs.sandbox.user_id is not None
    assert isinstance(needs.sandbox.writes_sysfs, bool)
    assert needs.memory.total_mib and needs.memory.available_mib and needs.cpus


# --- memory and processors


@pytest.mark.parametrize(
    ("memory", "hugepages", "expected"),
    [
        (MemoryFacts(total_mib=16000, available_mib=14000), False, [("memory", Verdict.PASS)]),
        (MemoryFacts(total_mib=16000, available_mib=4200), False, [("memory", Verdict.WARN)]),
        (MemoryFacts(total_mib=16000, available_mib=4000), False, [("memory", Verdict.FAIL)]),
        (MemoryFacts(total_mib=4096, available_mib=4000), False, [("memory", Verdict.FAIL)]),
        (MemoryFacts(), False, [("memory", Verdict.WARN)]),
        (MemoryFacts(total_mib=16000, available_mib=900, huge_pages=2048, free_huge_pages=2048), True,
         [("memory", Verdict.PASS), ("hugepages", Verdict.PASS)]),
        (MemoryFacts(total_mib=16000, available_mib=9000, huge_pages=2048, free_huge_pages=2000), True,
         [("memory", Verdict.PASS), ("hugepages", Verdict.FAIL)]),
    ],
)  # fmt: skip
def test_memory_must_be_there(
    shared: HostTree, memory: MemoryFacts, hugepages: bool, expected: list[tuple[str, Verdict]]
) -> None:
    """4096 MiB, all of it pinned; huge pages were set aside before and do not count as available."""
    findings = judged(shared, wanted(vm={"hugepages": hugepages}), memory=memory)

    assert [(one.check, one.verdict) for one in findings if one.check in ("memory", "hugepages")] == expected


def test_memory_that_is_not_pinned_may_be_lent_out(shared: HostTree) -> None:
    memory = MemoryFacts(total_mib=16000, available_mib=4000)
    without = wanted(gpu={"address": "none"})

    assert the(judged(shared, without, memory=memory), "memory")[0] is Verdict.WARN


def test_missing_huge_pages_are_counted(tmp_path: Path) -> None:
    machine = host(tmp_path)
    machine.write("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "100\n")
    machine.write("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "40\n")

    _, evidence, remedy = the(judged(machine, wanted(vm={"hugepages": True})), "hugepages")

    assert evidence == "the guest needs 2048 huge pages of 2 MiB; 40 of 100 are free"
    assert remedy.startswith("sysctl vm.nr_hugepages=2108;")


@pytest.mark.parametrize(
    ("limit_mib", "expected"), [(None, Verdict.PASS), (5120, Verdict.PASS), (5119, Verdict.FAIL), (8, Verdict.FAIL)]
)
def test_memory_may_be_pinned_up_to_the_limit(shared: HostTree, limit_mib: int | None, expected: Verdict) -> None:
    """The guest's 4096 MiB and 1 GiB more, when anything is passed through."""
    memory = MemoryFacts(
        total_mib=16000, available_mib=14000, lock_limit_bytes=None if limit_mib is None else limit_mib * 2**20
    )
    changes = {"memory": memory, "live": True}

    assert the(judged(shared, wanted(), **changes), "memlock")[0] is expected
    assert of(judged(shared, wanted(gpu={"address": "none"}), **changes), "memlock") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-3,8\n", {0, 1, 2, 3, 8}), ("0", {0}), ("", set()), ("x-2", set()), ("3-1", set()), ("0-99999999", set())],
)
def test_the_kernel_s_list_of_cpus_is_read(text: str, expected: set[int]) -> None:
    assert cpu_list(text) == expected


@pytest.mark.parametrize(
    ("vm", "expected"),
    [
        ({"cpus": 4}, Verdict.PASS),
        ({"cpus": 5}, Verdict.WARN),
        ({"cpus": 2, "pin_cpus": (2, 3)}, Verdict.PASS),
        ({"cpus": 2, "pin_cpus": (3, 4)}, Verdict.FAIL),
    ],
)
def test_processors_must_be_online(shared: HostTree, vm: dict[str, object], expected: Verdict) -> None:
    assert the(judged(shared, wanted(vm=vm)), "cpus")[0] is expected


# --- further devices


@pytest.mark.parametrize(
    ("address", "verdict", "expected"),
    [
        ("0000:05:00.0", Verdict.PASS, "driver cx23885, IOMMU group 20"),
        ("0000:09:00.0", Verdict.FAIL, "there is no device"),
        ("0000:00:1c.0", Verdict.FAIL, "is a bridge"),
        ("0000:00:1f.0", Verdict.FAIL, "is a bridge"),
        ("0000:00:02.0", Verdict.FAIL, "is the GPU"),
        ("0000:00:1f.3", Verdict.FAIL, "i801_smbus"),
        ("0000:06:00.0", Verdict.FAIL, "in no IOMMU group"),
        ("0000:01:00.0", Verdict.WARN, "takes the rest of IOMMU group 1 along: 0000:01:00.1"),
        ("0000:07:00.0", Verdict.WARN, "takes the rest of IOMMU group 22 along: 0000:07:00.1"),
    ],
)
def test_pci_devices_must_be_fit_to_go(shared: HostTree, address: str, verdict: Verdict, expected: str) -> None:
    found = the(judged(shared, wanted(pci=[{"address": address}])), "pci")

    assert (found[0], expected in found[1]) == (verdict, True), found


def test_without_an_iommu_only_its_own_check_fails(tmp_path: Path) -> None:
    tree = host(tmp_path)
    for address in ("0000:00:02.0", "0000:00:14.0"):
        tree.remove(f"/sys/bus/pci/devices/{address}/iommu_group")

    assert the(judged(tree, wanted(pci=[{"address": "0000:00:14.0"}])), "pci")[0] is Verdict.WARN


def test_a_group_that_goes_as_a_whole_passes(tmp_path: Path) -> None:
    machine = host(tmp_path)
    machine.device("0000:07:00.0", 0x14F1, 0x8852, 0x040000, driver="a", group=22)
    machine.device("0000:07:00.1", 0x14F1, 0x8853, 0x040000, driver="b", group=22)
    both = wanted(pci=[{"address": "0000:07:00.0"}, {"address": "0000:07:00.1"}])

    assert [verdict for verdict, _, _ in of(judged(machine, both), "pci")] == [Verdict.PASS] * 2


def usb(tree: HostTree, port: str, ids: str, *, kind: str = "00") -> None:
    place = HUB_PORT if port == "1-4" else f"{HUB_PORT}/{port}"
    vendor, product = ids.split(":")
    for name, text in (("idVendor", vendor), ("idProduct", product), ("bDeviceClass", kind), ("product", "Thing")):
        tree.write(f"{place}/{name}", text + "\n")
    tree.link(f"/sys/bus/usb/devices/{port}", place)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"port": "1-4.2"}, [(Verdict.PASS, "1-4.2 [0bda:2838] Thing")]),
        ({"id": "1d50:6018"}, [(Verdict.PASS, "1-4.4 [1d50:6018] Thing")]),
        ({"port": "1-9"}, [(Verdict.WARN, "nothing is plugged into port 1-9")]),
        ({"id": "1234:5678"}, [(Verdict.WARN, "no device 1234:5678")]),
        ({"id": "0bda:2838"}, [(Verdict.WARN, "is there 2 times (ports 1-4.2, 1-4.3)")]),
        ({"port": "1-4"}, [(Verdict.FAIL, "is a hub")]),
        ({"port": "1-4.1"}, [(Verdict.FAIL, "sdb1, mounted on /")]),
        ({"port": "1-4.5"}, [(Verdict.FAIL, "the default route")]),
        ({"port": "1-4.6"}, [(Verdict.WARN, "the keyboard")]),
    ],
)
def test_usb_devices_must_be_fit_to_go(
    shared: HostTree, entry: dict[str, str], expected: list[tuple[Verdict, str]]
) -> None:
    found = of(judged(shared, wanted(usb=[entry])), "usb")

    assert [
        (verdict, words in evidence) for (verdict, evidence, _), (_, words) in zip(found, expected, strict=True)
    ] == [(verdict, True) for verdict, _ in expected], found


def usb_host(folder: Path) -> HostTree:
    """
    A host with bridges, tuners and the 1f.x devices that share a group. Behind its USB hub: a disk with the root file
    system, twin tuners, one other, a network card and a keyboard.
    """
    machine = host(folder)
    for address, class_code, driver, group in (
        ("0000:00:1c.0", 0x060400, "pcieport", 6),
        ("0000:00:1f.0", 0x060100, None, 7),
        ("0000:00:1f.3", 0x040300, "snd_hda_intel", 7),
        ("0000:00:1f.4", 0x0C0500, "i801_smbus", 7),
        ("0000:01:00.0", 0x030000, "amdgpu", 1),
        ("0000:01:00.1", 0x040300, "snd_hda_intel", 1),
        ("0000:05:00.0", 0x040000, "cx23885", 20),
        ("0000:06:00.0", 0x040000, None, None),
        ("0000:07:00.0", 0x040000, None, 22),
        ("0000:07:00.1", 0x040000, None, 22),
    ):
        machine.device(address, 0x14F1, 0x8852, class_code, driver=driver, group=group)
    usb(machine, "1-4", "05e3:0608", kind="09")
    for port, ids in (
        ("1-4.1", "0781:5583"), ("1-4.2", "0bda:2838"), ("1-4.3", "0bda:2838"), ("1-4.4", "1d50:6018"),
        ("1-4.5", "0bda:8153"), ("1-4.6", "046d:c31c"),
    ):  # fmt: skip
        usb(machine, port, ids)
    machine.link("/sys/bus/usb/devices/1-4.4:1.0", f"{HUB_PORT}/1-4.4/1-4.4:1.0")
    machine.make(f"{HUB_PORT}/1-4.1/host6/block/sdb/sdb1")
    machine.link("/sys/block/sdb", f"{HUB_PORT}/1-4.1/host6/block/sdb")
    machine.write("/proc/mounts", "/dev/sdb1 / ext4 rw 0 0\n")
    machine.write(f"{HUB_PORT}/1-4.5/net/usb0/carrier", "1\n")
    machine.link("/sys/class/net/usb0", f"{HUB_PORT}/1-4.5/net/usb0")
    machine.write("/proc/net/route", "Iface\nusb0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
    keyboard = f"{HUB_PORT.removeprefix('/sys')}/1-4.6/input/input7"
    machine.write("/proc/bus/input/devices", f"N: Name=K\nS: Sysfs={keyboard}\nB: EV=120013\n\n")
    return machine


def test_a_usb_device_goes_once(shared: HostTree) -> None:
    """By its port and by its id, or with the controller it is plugged into."""
    twice = wanted(usb=[{"port": "1-4.4"}, {"id": "1d50:6018"}])
    whole = wanted(usb=[{"port": "1-4.4"}], pci=[{"address": "0000:00:14.0"}])

    assert [verdict for verdict, _, _ in of(judged(shared, twice), "usb")] == [Verdict.PASS, Verdict.FAIL]
    assert "0000:00:14.0, which the guest gets as a whole" in the(judged(shared, whole), "usb")[1]


# --- shares and networks


@pytest.mark.parametrize(
    ("share", "files", "verdict", "expected"),
    [
        ({}, ("/usr/libexec/virtiofsd",), Verdict.PASS, "/usr/libexec/virtiofsd"),
        ({}, ("/usr/lib/qemu/virtiofsd",), Verdict.PASS, "/usr/lib/qemu/virtiofsd"),
        ({}, (), Verdict.FAIL, "no virtiofsd"),
        ({"type": "9p"}, (), Verdict.WARN, "9p"),
        ({"path": "/srv/none"}, ("/usr/libexec/virtiofsd",), Verdict.FAIL, "is no folder"),
        ({"path": "/boot/vmlinuz"}, ("/usr/libexec/virtiofsd",), Verdict.FAIL, "is no folder"),
    ],
)
def test_shares_must_be_folders_with_a_server(
    tmp_path: Path, share: dict[str, str], files: tuple[str, ...], verdict: Verdict, expected: str
) -> None:
    machine = host(tmp_path)
    machine.make("/srv/recordings")
    for path in files:
        machine.write(path, "")
    found = the(judged(machine, wanted(share=[{"path": "/srv/recordings", "tag": "rec", **share}])), "share")

    assert (found[0], expected in found[1]) == (verdict, True), found


def test_a_full_share_warns(tmp_path: Path) -> None:
    """As a recorder fills it; on a recorded host nobody can tell."""
    tree = host(tmp_path)
    tree.write("/usr/libexec/virtiofsd", "")
    settings_ = wanted(share=[{"path": "/srv", "tag": "rec"}])
    share = ShareFacts(settings=settings_.share[0], is_folder=True, writable=True, free_bytes=10 * 2**20)

    assert the(judged(tree, settings_, shares=(share,)), "share")[1] == "/srv has 10 MiB left for recordings"


FORWARD = {"mode": "user", "forwards": ("2222:22",)}
HELPER = {"/usr/lib/qemu/qemu-bridge-helper": "", "/sys/class/net/br0/bridge/x": ""}


@pytest.mark.parametrize(
    ("network", "files", "expected"),
    [
        ({"mode": "user"}, {}, ""),
        (FORWARD, {}, ""),
        (FORWARD, {"/proc/net/tcp": "x\n 0: 0100007F:08AE 00000000:0000 0A 0\n"}, "listens on port 2222"),
        (FORWARD, {"/proc/net/tcp6": f"x\n 0: {'0' * 32}:08AE {'0' * 32}:0000 0A 0\n"}, "listens on port 2222"),
        (FORWARD, {"/proc/net/tcp": "x\n 0: 0101A8C0:08AE 00000000:0000 0A 0\n"}, ""),
        (FORWARD, {"/proc/net/tcp": "x\n 0: 00000000:08AE 00000000:0000 01 0\n"}, ""),
        ({"mode": "bridge"}, {}, "br0 does not exist"),
        ({"mode": "bridge"}, {"/sys/class/net/br0/address": ""}, "br0 is no bridge"),
        ({"mode": "bridge"}, {"/sys/class/net/br0/bridge/x": ""}, "not installed"),
        ({"mode": "bridge"}, HELPER, "does not allow br0"),
        ({"mode": "bridge"}, HELPER | {"/etc/qemu/bridge.conf": "# ours\nallow br0\n"}, ""),
        ({"mode": "bridge"}, HELPER | {"/etc/qemu/bridge.conf": "allow all\ndeny br0\n"}, "does not allow br0"),
        ({"mode": "bridge"}, HELPER | {"/etc/qemu/bridge.conf": "include /etc/qemu/bob.conf\n",
                                       "/etc/qemu/bob.conf": "include /etc/qemu/bridge.conf\nallow br0\n"}, ""),
        ({"mode": "tap"}, {}, "tap0 does not exist"),
        ({"mode": "tap"}, {"/sys/class/net/tap0/address": ""}, "tap0 is no tap device"),
        ({"mode": "tap"}, {"/sys/class/net/tap0/tun_flags": "0x1002\n"}, ""),
    ],
)  # fmt: skip
def test_networks_must_have_their_other_end(
    tmp_path: Path, network: dict[str, object], files: dict[str, str], expected: str
) -> None:
    """`expected` is in the evidence of a failure; "" is none."""
    machine = host(tmp_path)
    for path, text in files.items():
        machine.write(path, text)
    verdict, evidence, remedy = the(judged(machine, wanted(network=[network])), "network")

    assert verdict is (Verdict.FAIL if expected else Verdict.PASS), evidence
    assert expected in evidence and bool(remedy) == bool(expected)


@settings(max_examples=25, deadline=None)
@given(
    data=st.fixed_dictionaries(
        {
            path: st.one_of(st.binary(max_size=60), st.text("0123456789-,:xA \n", max_size=60).map(str.encode))
            for path in (
                "/proc/meminfo", "/proc/net/tcp", "/proc/net/tcp6", "/sys/devices/system/cpu/online",
                "/etc/qemu/bridge.conf", "/sys/bus/usb/devices/1-4/idVendor", "/sys/bus/usb/devices/1-4/bDeviceClass",
                "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "/disk", "/boot/vmlinuz",
                "/sys/module/apparmor/parameters/enabled", "/sys/kernel/security/apparmor/profiles",
            )
        }
    )
)  # fmt: skip
def test_torn_files_never_raise(tmp_path_factory: pytest.TempPathFactory, data: dict[str, bytes]) -> None:
    tree = HostTree(tmp_path_factory.mktemp("host"))
    for path, content in data.items():
        tree.write(path, content)
    everything = wanted(
        vm={"hugepages": True, "firmware": "uefi", "initrd": "/disk"},
        pci=[{"address": "0000:05:00.0"}],
        usb=[{"port": "1-4"}, {"id": "0bda:2838"}],
        disk=[{"path": "/disk"}],
        network=[{"mode": "user", "forwards": ("2222:22",)}, {"mode": "bridge"}, {"mode": "tap"}],
        share=[{"path": "/srv", "tag": "a"}],
    )

    assert judged(tree, everything)
