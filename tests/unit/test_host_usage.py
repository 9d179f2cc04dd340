"""Who uses the GPU, who sits in front of it, who else disposes of it: and what of that forbids to take it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.findings import Finding, Verdict
from encoderd.host.cgroups import how_to_stop, owner
from encoderd.host.gpu_facts import gpu_facts
from encoderd.host.processes import Node, Opener, nodes, open_files
from encoderd.host.settings import GpuSettings, HostSettings, VmSettings
from encoderd.host.usage import UsageFacts, VfioNode, holders, openers, usage_facts
from encoderd.host.usage_checks import usage_findings
from encoderd.pci import PciAddress
from encoderd.root import Root
from tests.hosts import machines
from tests.hosts.tree import HostTree

IGPU = PciAddress.parse("0000:00:02.0")
NIC = "0000:00:1f.6"
ID = "0123456789ab" + "c" * 52


def judged(tree: HostTree, wanted: HostSettings | None = None) -> list[Finding]:
    wanted = wanted or HostSettings()
    gpu = gpu_facts(tree.root, wanted.gpu, wanted.vm.profile)
    return usage_findings(usage_facts(tree.root, gpu), gpu, wanted)


def of(findings: list[Finding], check: str) -> list[tuple[Verdict, str, str]]:
    return [(one.verdict, one.evidence, one.remedy) for one in findings if one.check == check]


def the(findings: list[Finding], check: str) -> tuple[Verdict, str, str]:
    (found,) = of(findings, check)
    return found


def refusals(findings: list[Finding]) -> list[str]:
    return [finding.check for finding in findings if finding.verdict is Verdict.FAIL]


def small(folder: Path) -> HostTree:
    """A Skylake GPU and the driver that has it, and nothing else."""
    tree = HostTree(folder)
    tree.device("0000:00:02.0", 0x8086, 0x191D, 0x038000, driver="i915", group=1, drm=("card1", "renderD128"))
    return tree


# --- whose process


@pytest.mark.parametrize(
    ("path", "expected", "stop"),
    [
        ("/", "", "kill 7"),
        ("/init.scope", "", "kill 7"),
        (f"/system.slice/docker-{ID}.scope", "docker 0123456789ab", "docker stop 0123456789ab"),
        (f"/docker/{ID}", "docker 0123456789ab", "docker stop 0123456789ab"),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman 0123456789ab", "podman stop 0123456789ab"),
        (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope",
         "kubernetes 0123456789ab", "crictl stop 0123456789ab"),
        (f"/kubepods/burstable/pod12/{ID}", "kubernetes 0123456789ab", "crictl stop 0123456789ab"),
        ("/lxc/101/ns/system.slice/jellyfin.service", "lxc 101", "lxc-stop -n 101 (Proxmox: pct stop 101)"),
        ("/lxc.payload.media/init.scope", "lxc media", "lxc-stop -n media (Proxmox: pct stop media)"),
        (r"/machine.slice/machine-qemu\x2d3\x2dwin10.scope/libvirt/emulator", "libvirt win10", "virsh shutdown win10"),
        ("/machine.slice/machine-deb.scope", "machine deb", "machinectl poweroff deb"),
        ("/qemu.slice/100.scope", "proxmox 100", "qm shutdown 100"),
        ("/system.slice/jellyfin.service", "jellyfin.service", "systemctl stop jellyfin.service"),
        ("/user.slice/user-1000.slice/session-2.scope", "session 2 of user 1000", "loginctl terminate-session 2"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox.scope", "user@1000.service", "kill 7"),
    ],
)  # fmt: skip
def test_a_cgroup_tells_whose_process_it_is(path: str, expected: str, stop: str) -> None:
    """As Docker, Podman, Kubernetes, LXC, libvirt, Proxmox and systemd name their cgroups, in both hierarchies."""
    assert owner(f"0::{path}\n") == expected
    assert owner(f"12:devices:{path}\n1:name=systemd:/\n0::/\n") == expected
    assert how_to_stop(expected, 7) == stop


@given(st.text(max_size=80))
def test_no_cgroup_is_too_odd(text: str) -> None:
    assert isinstance(how_to_stop(owner(text), 1), str)


# --- who has it open


def test_openers_are_found_by_the_gpu_s_own_nodes(tmp_path: Path) -> None:
    """Another card's users are not this one's; each process is named once per node, with what it belongs to."""
    machine = machines.skylake_with_discrete_gpu(tmp_path)
    machine.process(812, "Xorg", {11: "/dev/dri/card0", 3: "/dev/null"}, "/user.slice/user-0.slice/session-1.scope")
    machine.process(1190, "ffmpeg", {4: "/dev/dri/renderD128", 5: "/dev/dri/renderD128"}, f"/docker/{ID}")
    machine.process(1201, "gone", {4: "/dev/dri/card1 (deleted)"})

    found = [(one.pid, one.name, one.node, one.container) for one in openers(machine.root, IGPU)]

    assert found == [
        (1190, "ffmpeg", "/dev/dri/renderD128", "docker 0123456789ab"),
        (1201, "gone", "/dev/dri/card1", ""),
    ]


def test_every_node_of_a_device_counts(tmp_path: Path) -> None:
    """Frame buffers, the monitor's I²C bus (its users block unbinding), sound and disks, as /sys/dev tells them."""
    tree = HostTree(tmp_path)
    tree.device("0000:00:02.0", 0x8086, 0x1912, 0x030000, drm=("card0",))
    tree.make("/sys/bus/pci/devices/0000:00:02.0/graphics/fb0")
    tree.make("/sys/bus/pci/devices/0000:00:02.0/i2c-5")
    sound = "/sys/devices/pci0000:00/0000:00:1f.3/sound/card0/controlC0"
    tree.write(f"{sound}/uevent", "MAJOR=116\nDEVNAME=snd/controlC0\n")
    tree.link("/sys/dev/char/116:7", sound)
    tree.write("/sys/devices/virtual/mem/null/uevent", "DEVNAME=null\n")
    tree.link("/sys/dev/char/1:3", "/sys/devices/virtual/mem/null")
    tree.process(5, "all", {1: "/dev/fb0", 2: "/dev/i2c-5", 3: "/dev/snd/controlC0", 4: "/dev/i2c-6", 6: "/dev/null"})

    assert {node.path for node in nodes(tree.root)} == {
        "/dev/dri/card0",
        "/dev/fb0",
        "/dev/i2c-5",
        "/dev/snd/controlC0",
    }
    assert [one.node for one in openers(tree.root, IGPU)] == ["/dev/fb0", "/dev/i2c-5"]
    assert [one.node for one in openers(tree.root, PciAddress.parse("00:1f.3"))] == ["/dev/snd/controlC0"]


def test_holders_are_those_of_the_group_or_of_the_device(tmp_path: Path) -> None:
    """A nameless VFIO file might be any device, unless its fdinfo or the same process's group tells which."""
    tree = HostTree(tmp_path)
    tree.device("0000:00:02.0", 0x8086, 0x1912, 0x030000, group=2)
    tree.make("/sys/bus/pci/devices/0000:00:02.0/vfio-dev/vfio0")
    for group in (2, 12):
        tree.write(f"/dev/vfio/{group}", "")
    nameless = "anon_inode:[vfio-device]"
    tree.process(10, "qemu-a", {9: "/dev/vfio/2", 10: nameless}, "/qemu.slice/100.scope")
    tree.process(11, "qemu-b", {9: "/dev/vfio/12", 10: nameless})
    tree.process(12, "qemu-c", {9: "/dev/vfio/devices/vfio0", 10: "/dev/vfio/vfio"})
    tree.process(13, "cloud", {9: nameless})
    tree.process(14, "told", {9: nameless})
    tree.write("/proc/14/fdinfo/9", "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/0000:00:19.0\n")

    assert [(one.pid, one.container) for one in holders(tree.root, 2, (IGPU,))] == [
        (10, "proxmox 100"),
        (12, ""),
        (13, ""),
    ]
    assert [one.pid for one in holders(tree.root, 12, ())] == [11, 13]
    assert [one.pid for one in holders(tree.root, None, (PciAddress.parse("00:19.0"),))] == [13, 14]
    assert openers(tree.root, IGPU) == ()


def test_processes_that_hide_their_files_are_counted(tmp_path: Path) -> None:
    """One whose links cannot be read hides them; a kernel thread has none to hide."""
    tree = HostTree(tmp_path)
    tree.process(2, "kthreadd", {})
    tree.write("/proc/2/cmdline", "")
    tree.process(3, "idle", {})
    tree.process(4, "open", {3: "/dev/null"})
    tree.process(5, "hidden", {})
    tree.write("/proc/5/fd/3", "no link")

    assert open_files(tree.root).unseen == 1


def test_on_the_running_host_the_number_decides() -> None:
    """A real process with a real node open is found by the node's number, and forgotten when it has ended."""
    path = "/dev/kmsg" if Path("/dev/kmsg").exists() else "/dev/tty"
    number = Path(path).stat().st_rdev
    known = (Node(path="/dev/dri/card0", number=f"c{os.major(number)}:{os.minor(number)}", device=IGPU),)
    program = f"import sys; file = open({path!r}, 'rb'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdin is not None
        if child.stdout.readline() != b"open\n":
            pytest.skip(f"{path} cannot be opened here")
        name = Path(f"/proc/{child.pid}/comm").read_text("utf-8").strip()
        mine = [one for one in open_files(Root(Path("/")), known).openers if one.pid == child.pid]
        child.stdin.close()
        child.wait(10)

    assert [(one.name, one.node, one.device) for one in mine] == [(name, "/dev/dri/card0", IGPU)]
    assert [one for one in open_files(Root(Path("/")), known).openers if one.pid == child.pid] == []


@settings(max_examples=30, deadline=None)
@given(
    comm=st.binary(max_size=20),
    cgroup=st.binary(max_size=80),
    target=st.text("/dev/dricard0vfio12:[]anon_inode-" + "é", min_size=1, max_size=40).filter(
        lambda text: "\0" not in text
    ),
    uevent=st.binary(max_size=40),
)
def test_torn_processes_never_raise(
    tmp_path_factory: pytest.TempPathFactory, comm: bytes, cgroup: bytes, target: str, uevent: bytes
) -> None:
    tree = HostTree(tmp_path_factory.mktemp("host"))
    tree.device("0000:00:02.0", 0x8086, 0x1912, 0x030000, drm=("card0",))
    tree.process(9, "x", {3: "/dev/dri/card0", 4: target})
    tree.write("/proc/9/comm", comm)
    tree.write("/proc/9/cgroup", cgroup)
    tree.write("/sys/devices/pci0000:00/0000:00:02.0/drm/card0/uevent", uevent)
    tree.link("/sys/dev/char/226:0", "/sys/devices/pci0000:00/0000:00:02.0/drm/card0")

    assert 9 in {one.pid for one in openers(tree.root, IGPU)}


# --- what it means


FREE = ("everything_healthy", "skylake_with_discrete_gpu", "alder_lake_n_headless", "driverctl_pinned", "amd_host")


@pytest.mark.parametrize("name", FREE)
def test_hosts_whose_gpu_is_free_refuse_nothing(tmp_path: Path, name: str) -> None:
    assert refusals(judged(getattr(machines, name)(tmp_path))) == []


def test_users_are_named_with_the_way_to_stop_them(tmp_path: Path) -> None:
    machine = small(tmp_path)
    machine.process(700, "jellyfin", {9: "/dev/dri/renderD128"}, "/system.slice/jellyfin.service")
    machine.process(701, "ffmpeg", {9: "/dev/dri/renderD128", 8: "/dev/dri/card1"}, f"/docker/{ID}")

    verdict, evidence, remedy = the(judged(machine), "gpu_users")

    assert verdict is Verdict.FAIL
    assert "jellyfin (PID 700, jellyfin.service: /dev/dri/renderD128)" in evidence
    assert "ffmpeg (PID 701, docker 0123456789ab: /dev/dri/card1, /dev/dri/renderD128)" in evidence
    assert remedy == "Stop them first: systemctl stop jellyfin.service; docker stop 0123456789ab"


def test_many_users_are_counted_and_not_all_named(tmp_path: Path) -> None:
    machine = small(tmp_path)
    for pid in range(100, 120):
        machine.process(pid, "app", {9: "/dev/dri/renderD128"}, "/user.slice/user-1.slice/session-2.scope")

    _, evidence, remedy = the(judged(machine), "gpu_users")

    assert "and 14 more" in evidence and len(evidence) < 600
    assert remedy == "Stop them first: loginctl terminate-session 2"


def test_who_does_not_see_all_processes_only_warns(tmp_path: Path) -> None:
    machine = small(tmp_path)
    machine.process(5, "hidden", {})
    machine.write("/proc/5/fd/3", "no link")

    assert the(judged(machine), "gpu_users")[::2] == (Verdict.WARN, "Run this as root.")
    assert the(judged(machine), "vfio_holder")[0] is Verdict.PASS, "nobody can hold a group without a node"

    machine.write("/dev/vfio/1", "")
    assert the(judged(machine), "vfio_holder")[:2] == (
        Verdict.WARN,
        "nobody as far as this user may see; 1 process hides its files",
    )


def test_what_a_device_carries_forbids_to_take_it(tmp_path: Path) -> None:
    """The disk, the way out, and whoever shares a group with them."""
    machine = machines.everything_healthy(tmp_path)
    for address, expected in ((NIC, "eno1, which carries the default route"), ("0000:00:17.0", "sda1, mounted on /")):
        wanted = HostSettings(pci=[{"address": address}])
        verdict, evidence, remedy = the(judged(machine, wanted), "lifelines")

        assert (verdict, expected in evidence, bool(remedy)) == (Verdict.FAIL, True, True), evidence

    machine.pci("0000:00:1f.5", "8086:a124", 0x0C8000, group=8)
    assert the(judged(machine, HostSettings(pci=[{"address": "0000:00:1f.5"}])), "lifelines")[0] is Verdict.FAIL


def test_the_gpu_itself_may_carry_the_disk(tmp_path: Path) -> None:
    """A machine whose disk answers at 0000:00:02.0 exists: it is this project's own test machine."""
    machine = machines.everything_healthy(tmp_path)
    machine.disk_and_network("0000:00:02.0", NIC)

    assert the(judged(machine), "lifelines")[0] is Verdict.FAIL


def test_a_tuner_in_use_is_refused_and_a_keyboard_s_controller_is_not(tmp_path: Path) -> None:
    """A driver whose node is open can hang when it is unbound; an unplugged keyboard is nothing new to anybody."""
    machine = machines.everything_healthy(tmp_path)
    machine.pci("0000:05:00.0", "14f1:8852", 0x040000, driver="cx23885", group=20)
    for number, address, name in (
        ("212:4", "0000:05:00.0", "dvb/adapter0/frontend0"),
        ("13:64", "0000:00:14.0", "input/event0"),
    ):
        place = f"/sys/devices/pci0000:00/{address}/{name}"
        machine.write(f"{place}/uevent", f"DEVNAME={name}\n")
        machine.link(f"/sys/dev/char/{number}", place)
        machine.process(int(number[:2]), "user", {3: f"/dev/{name}"})
    wanted = HostSettings(pci=[{"address": "0000:05:00.0"}, {"address": "0000:00:14.0"}])

    found = of(judged(machine, wanted), "pci_users")

    assert [(verdict, evidence.split()[0]) for verdict, evidence, _ in found] == [
        (Verdict.FAIL, "0000:05:00.0"),
        (Verdict.WARN, "0000:00:14.0"),
    ]


def test_virtual_functions_and_mediated_devices_are_someone_s(tmp_path: Path) -> None:
    """The GPU with functions switched on is refused; one of the functions is not."""
    machine = machines.raptor_lake_with_vfs(tmp_path / "rpl")

    assert "2 virtual functions" in the(judged(machine), "virtual_functions")[1]
    vf = HostSettings(vm=VmSettings(profile="vf"))
    assert the(judged(machine, vf), "virtual_functions")[0] is Verdict.PASS
    assert refusals(judged(machine, vf)) == []

    machine = machines.everything_healthy(tmp_path / "skl")
    machine.make("/sys/bus/pci/devices/0000:00:02.0/c5ed-11")
    machine.link("/sys/bus/mdev/devices/c5ed-11", "/sys/bus/pci/devices/0000:00:02.0/c5ed-11")

    assert the(judged(machine), "virtual_functions")[::2] == (
        Verdict.FAIL,
        "Stop the guest that uses it, then: echo 1 > /sys/bus/mdev/devices/c5ed-11/remove",
    )


def test_a_group_that_is_held_is_refused_once(tmp_path: Path) -> None:
    machine = machines.driverctl_pinned(tmp_path)
    machine.process(
        900, "qemu-system-x86", {20: "/dev/vfio/1", 21: "anon_inode:[vfio-device]"}, "/qemu.slice/100.scope"
    )

    verdict, evidence, remedy = the(judged(machine), "vfio_holder")

    assert verdict is Verdict.FAIL
    assert "group 1 is held through VFIO by qemu-system-x86 (PID 900, proxmox 100: /dev/vfio/1)" in evidence
    assert "qm shutdown 100" in remedy


# --- who looks at it


def desktop(folder: Path, **gpu: object) -> tuple[HostTree, HostSettings]:
    return machines.haswell_desktop(folder), HostSettings(gpu=GpuSettings(**gpu))


def test_the_only_console_goes_with_consent_only(tmp_path: Path) -> None:
    machine, careful = desktop(tmp_path)
    bold = HostSettings(gpu=GpuSettings(allow_console_loss=True))

    assert the(judged(machine, careful), "console")[::2] == (
        Verdict.FAIL,
        "See that you get in by ssh, then set allow_console_loss = true below [gpu].",
    )
    assert the(judged(machine, bold), "console")[0] is Verdict.WARN

    machine.write("/proc/cmdline", "console=tty0 console=ttyS0,115200\n")
    verdict, evidence, _ = the(judged(machine, careful), "console")
    assert (verdict, "ttyS0 stays" in evidence) == (Verdict.WARN, True)


def test_another_gpu_with_a_driver_keeps_the_console(tmp_path: Path) -> None:
    machine, wanted = desktop(tmp_path)
    machine.device("0000:01:00.0", 0x10DE, 0x1C82, 0x030000, driver="nouveau")

    assert the(judged(machine, wanted), "console")[0] is Verdict.WARN


def test_without_a_monitor_nobody_misses_the_console(tmp_path: Path) -> None:
    assert "no monitor is connected" in the(judged(machines.alder_lake_n_headless(tmp_path)), "console")[1]


def test_a_firmware_s_console_counts_as_one(tmp_path: Path) -> None:
    """Without a driver there are no connectors to ask, so somebody may look at it."""
    assert the(judged(machines.firmware_framebuffer(tmp_path)), "console")[0] is Verdict.FAIL


@pytest.mark.parametrize("consent", [False, True])
@pytest.mark.parametrize(
    ("files", "links", "expected"),
    [
        ({}, {"/etc/systemd/system/display-manager.service": "/lib/systemd/system/gdm.service",
              "/run/systemd/units/invocation:gdm.service": "0af1"}, "gdm.service"),
        ({"/sys/fs/cgroup/system.slice/sddm.service/x": ""},
         {"/etc/systemd/system/display-manager.service": "/lib/systemd/system/sddm.service"}, "sddm.service"),
        ({"/run/systemd/sessions/2": "UID=1000\nUSER=ann\nACTIVE=1\nSTATE=active\nTYPE=wayland\nSEAT=seat0\n"}, {},
         "a session of user ann, wayland"),
    ],
)  # fmt: skip
def test_a_desktop_is_refused_with_and_without_consent(
    tmp_path: Path, files: dict[str, str], links: dict[str, str], expected: str, consent: bool
) -> None:
    machine, wanted = desktop(tmp_path, allow_console_loss=consent)
    for path, text in files.items():
        machine.write(path, text)
    for path, target in links.items():
        machine.link(path, target)

    verdict, evidence, _ = the(judged(machine, wanted), "console")

    assert (verdict, expected in evidence) == (Verdict.FAIL, True), evidence


@pytest.mark.parametrize(
    "session",
    ["TYPE=tty\nSEAT=seat0\n", "TYPE=wayland\nSEAT=\nREMOTE=1\n", "TYPE=x11\nSEAT=seat0\nSTATE=closing\n", "TYPE\n=\n"],
)
def test_other_sessions_are_no_desktop(tmp_path: Path, session: str) -> None:
    """Text, remote, and ending ones; and a display manager that is installed but off."""
    machine, _ = desktop(tmp_path)
    machine.write("/run/systemd/sessions/2", session)
    machine.link("/etc/systemd/system/display-manager.service", "/lib/systemd/system/gdm.service")

    wanted = HostSettings(gpu=GpuSettings(allow_console_loss=True))
    assert the(judged(machine, wanted), "console")[0] is Verdict.WARN


def test_a_taken_gpu_has_no_console_left(tmp_path: Path) -> None:
    """Also where the firmware started with it, and nothing says where the console is now."""
    tree = HostTree(tmp_path)
    tree.device("0000:00:02.0", 0x8086, 0x191D, 0x030000, driver="vfio-pci", group=1, files={"boot_vga": "1\n"})

    assert the(judged(tree), "console")[0] is Verdict.PASS


# --- who else disposes of it


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("/etc/driverctl.d/pci-0000:00:02.0", "vfio-pci\n", "driverctl: driver vfio-pci"),
        ("/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:1c82,8086:191D:1:2 disable_vga=1\n",
         "vfio-pci: ids=10de:1c82,8086:191D:1:2"),
        ("/etc/modprobe.d/no.conf", "blacklist i915\n", "modprobe: blacklist i915"),
        ("/etc/modprobe.d/no.conf", "install i915 /bin/false\n", "modprobe: install i915"),
        ("/proc/cmdline", "quiet vfio-pci.ids=8086:191d\n", "vfio-pci: ids=8086:191d"),
        ("/proc/cmdline", "module_blacklist=nouveau,i915\n", "the kernel: module_blacklist=nouveau,i915"),
        ("/etc/libvirt/qemu/win10.xml",
         "<domain><devices><hostdev mode='subsystem' type='pci' managed='yes'><source>\n"
         "<address domain='0x0000' bus='0x00' slot='0x02' function='0x0'/></source>"
         "<address type='pci' bus='0x06'/></hostdev></devices></domain>", "libvirt: it belongs to the guest win10"),
        ("/run/qemu-server/pci-id-reservations", "0000:00:02.0 100 pid:4711\n", "Proxmox: guest 100 has reserved it"),
        ("/etc/pve/qemu-server/100.conf", "cores: 4\nhostpci0: 00:02,legacy-igd=1\n[snap]\nhostpci0: 00:03\n",
         "Proxmox: guest 100 has hostpci0: 00:02,legacy-igd=1"),
        ("/etc/pve/qemu-server/101.conf", "hostpci1: host=0000:01:00.0;0000:00:02.0,pcie=1\n", "Proxmox: guest 101"),
        ("/etc/pve/lxc/102.conf", "dev0: /dev/dri/renderD128,gid=104\n", "Proxmox: container 102 has dev0"),
        ("/etc/pve/lxc/103.conf", "lxc.mount.entry: /dev/dri dev/dri none bind,optional\n", "Proxmox: container 103"),
    ],
)  # fmt: skip
def test_other_programs_claims_are_told(tmp_path: Path, path: str, text: str, expected: str) -> None:
    """They warn: what is only configured may never happen."""
    machine = small(tmp_path)
    machine.write(path, text)

    verdict, evidence, remedy = the(judged(machine), "other_managers")

    assert (verdict, evidence.startswith(expected), bool(remedy)) == (Verdict.WARN, True, True), evidence


def test_proxmox_s_mappings_are_followed(tmp_path: Path) -> None:
    machine = small(tmp_path)
    machine.write("/etc/pve/mapping/pci.cfg", "igpu\n\tdescription x\n\tmap id=8086:191d,node=pve,path=0000:00:02.0\n")
    machine.write("/etc/pve/qemu-server/100.conf", "hostpci0: mapping=igpu,pcie=1\n")

    assert the(judged(machine), "other_managers")[0] is Verdict.WARN


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/driverctl.d/pci-0000:01:00.0", "vfio-pci\n"),
        ("/etc/driverctl.d/README", "x"),
        ("/etc/modprobe.d/vfio.conf", "# options vfio-pci ids=8086:191d\noptions vfio-pci ids=10de:1c82\n"),
        ("/etc/modprobe.d/vfio.conf.bak", "options vfio-pci ids=8086:191d\n"),
        ("/etc/libvirt/qemu/a.xml", "<hostdev type='usb'><source><address bus='0' device='2'/></source></hostdev>"),
        ("/etc/libvirt/qemu/torn.xml", "<hostdev><source><address bus='zz' slot='0x02' function='0x0'"),
        ("/etc/pve/qemu-server/100.conf", "cores: 4\n[before]\nhostpci0: 00:02,pcie=1\n"),
        ("/etc/pve/lxc/102.conf", "dev0: /dev/dri/renderD129\n#dev1: /dev/dri/renderD128\n"),
    ],
)
def test_other_devices_claims_are_not(tmp_path: Path, path: str, text: str) -> None:
    machine = small(tmp_path)
    machine.write(path, text)

    assert the(judged(machine), "other_managers")[0] is Verdict.PASS


def test_a_pinned_gpu_that_shall_stay_with_vfio_is_right(tmp_path: Path) -> None:
    machine = machines.driverctl_pinned(tmp_path)
    keep = HostSettings(gpu=GpuSettings(after="keep-vfio"))

    assert the(judged(machine), "other_managers")[::2] == (
        Verdict.WARN,
        'Undo it (driverctl unset-override 0000:00:02.0), or set after = "keep-vfio" below [gpu].',
    )
    assert the(judged(machine, keep), "other_managers")[0] is Verdict.PASS


# --- may it be opened


@pytest.mark.parametrize(("usable", "expected"), [(None, []), (True, [Verdict.PASS]), (False, [Verdict.FAIL])])
def test_a_group_s_node_must_be_open_to_this_user(tmp_path: Path, usable: bool | None, expected: list[Verdict]) -> None:
    """On a recorded host (None) nobody can tell."""
    machine = machines.driverctl_pinned(tmp_path)
    gpu = gpu_facts(machine.root, GpuSettings())
    node = VfioNode(path="/dev/vfio/1", group=1, device=None, user_id=0, group_id=0, mode=0o600, usable=usable)
    usage = UsageFacts(devices=gpu.devices, vfio_nodes=(node,))

    assert [verdict for verdict, _, _ in of(usage_findings(usage, gpu, HostSettings()), "vfio_node")] == expected
    assert [node.usable for node in usage_facts(machine.root, gpu).vfio_nodes] == [None]


def test_without_gpu_and_devices_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert judged(machines.amd_host(tmp_path)) == []


def test_an_opener_has_the_words_that_others_rely_on() -> None:
    assert Opener(pid=1, name="x", node="/dev/dri/card0", container="").device is None
