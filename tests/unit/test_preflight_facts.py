"""What a machine's files say, read from recorded guests; and from some whose every file is rubbish."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoderd.findings import Verdict
from encoderd.preflight.checks import judge
from encoderd.preflight.facts import gather, open_error
from encoderd.preflight.machine import Machine
from encoderd.root import Root
from tests.guests import FEDORA, GUESTS, LIBRARIES, WHEEL, Display, Guest, gathered, write, write_guest

RUBBISH = [b"", b"\n", b"\x00\xff\xfe" * 50, b"0x", b"-1", b"zz" * 5000, "１２".encode(), b"99999999999999999999999"]
GPU = "sys/devices/pci0000:00/0000:00:02.0"


def judge_all(root: Path) -> None:
    """Whatever the files say: findings come of it, and what is wrong has a remedy."""
    findings = judge(gather(root, {}), WHEEL, {}, [], required=True)

    assert findings
    assert all(finding.remedy for finding in findings if finding.verdict is not Verdict.PASS)


def test_a_recorded_machine(tmp_path: Path) -> None:
    facts = gathered(tmp_path, GUESTS["swapped_nodes"])
    node = facts.node
    assert node is not None and facts.gpu is not None

    assert [(str(device.address), device.ids, device.driver, device.enabled) for device in facts.displays] == [
        ("0000:00:01.0", "1234:1111", "bochs-drm", True),
        ("0000:00:02.0", "8086:4680", "i915", True),
        ("0000:00:04.0", "1af4:1050", "virtio-pci", True),
    ]
    assert ("/dev/dri/renderD129", "0000:00:02.0", 0x8086, "i915", "") == (
        node.path, node.address, node.vendor, node.driver, node.error,
    )  # fmt: skip
    assert node.owner.endswith(":render 0660")
    assert ("render", True, False) == (node.group, node.held, node.listed)
    assert ("renderD128", "renderD129") == facts.dri
    assert ("UHD Graphics 770", True) == (facts.gpu.name, facts.full_driver)
    assert (16 << 20,) == facts.intel[0].bar_bytes
    assert facts.pip.endswith("/bin/pip")


def test_what_the_machine_is(tmp_path: Path) -> None:
    guest = replace(GUESTS["swapped_nodes"], files={"/etc/modprobe.d/a.conf": "options i915 force_probe=4680\n"})
    machine = gathered(tmp_path, guest).machine

    assert "6.12.48+deb13-amd64" == machine.release
    assert ((6, 12), False) == (machine.kernel, machine.for_clouds)
    assert (("debian",), "13") == (machine.distribution.likes, machine.distribution.version)
    assert (True, False) == (machine.virtual, machine.container)
    assert frozenset({"i915", "xe"}) == machine.drivers
    assert {"i915.force_probe": "4680"} == machine.parameters
    assert "quiet" in machine.options


def test_a_machine_without_anything(tmp_path: Path) -> None:
    """Neither sysfs nor /dev nor /proc."""
    facts = gather(tmp_path, {})

    assert ((), (), (), ()) == (facts.displays, facts.render_nodes, facts.runtimes, facts.va_drivers)
    assert Machine() == replace(facts.machine, distribution=Machine().distribution)
    assert (None, None, None) == (facts.node, facts.device, facts.gpu)
    judge_all(tmp_path)


def test_this_machine_is_read_in_no_time() -> None:
    """Less than 100 ms, so that the daemon can look whenever it likes; and twice the same."""
    started_s = time.perf_counter()
    facts = gather()

    assert time.perf_counter() - started_s < 0.1
    assert facts == gather()


@pytest.mark.parametrize(
    ("options", "files", "drivers"),
    [
        ("nomodeset", {}, [("i915", "xe")]),
        ("i915.modeset=0", {}, [("i915",)]),
        ("xe.modeset=0 i915.modeset=1", {}, [("xe",)]),
        ("modprobe.blacklist=nouveau,i915", {}, [("i915",)]),
        ("module_blacklist=i915,xe", {}, [("i915", "xe")]),
        ("rd.driver.blacklist=xe", {}, [("xe",)]),
        ("modprobe.blacklist=nouveau quiet", {}, []),
        ("", {"/etc/modprobe.d/a.conf": "#blacklist i915\nblacklist xe\n"}, [("xe",)]),
        ("", {"/lib/modprobe.d/a.conf": "install i915 /bin/false\n"}, [("i915",)]),
        ("", {"/etc/modprobe.d/a.conf": "options i915 modeset=0 enable_guc=2\n"}, [("i915",)]),
        ("", {"/etc/modprobe.d/a.conf": "install i915 /sbin/modprobe --ignore-install i915\n"}, []),
        # The first of two namesakes hides the other.
        ("", {"/etc/modprobe.d/a.conf": "", "/lib/modprobe.d/a.conf": "blacklist i915\n"}, []),
        ("", {"/etc/modprobe.d/README": "blacklist i915\n"}, []),
    ],
)
def test_what_keeps_a_driver_from_loading(
    tmp_path: Path, options: str, files: dict[str, str], drivers: list[tuple[str, ...]]
) -> None:
    machine = gathered(tmp_path, Guest(options=options, files=files)).machine

    assert drivers == [obstacle.drivers for obstacle in machine.obstacles]


@pytest.mark.parametrize("release", ["6.1.0-40-cloud-amd64", "5.15.0-1060-kvm", "6.6.20-cloud"])
def test_kernels_for_clouds(release: str) -> None:
    assert Machine(release=release).for_clouds


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"/sys/kernel/debug/dri/0/name": "i915 dev=0000:00:02.0\n"}, {}),
        (
            {
                "/sys/kernel/debug/dri/0/name": "i915 dev=0000:00:02.0 unique=0000:00:02.0\n",
                "/sys/kernel/debug/dri/0/i915_huc_load_status": "HuC disabled\n",
            },
            {"0000:00:02.0": "DISABLED"},
        ),
        (
            {
                "/sys/kernel/debug/dri/0000:03:00.0/name": "xe dev=0000:03:00.0\n",
                "/sys/kernel/debug/dri/0000:03:00.0/gt0/uc/huc_info": "HuC disabled\n",
                "/sys/kernel/debug/dri/0000:03:00.0/gt1/uc/huc_info": "HuC firmware: x\n\tstatus: RUNNING\n",
            },
            {"0000:03:00.0": "RUNNING"},
        ),
    ],
)
def test_the_kernel_s_word_on_huc(tmp_path: Path, files: dict[str, str], names: dict[str, str]) -> None:
    """In old places and new ones; with two GTs the one that runs it counts."""
    assert names == dict(gathered(tmp_path, Guest(files=files)).firmware.huc)


def test_only_the_variables_that_matter_are_kept(tmp_path: Path) -> None:
    """An environment may hold secrets, and findings are printed."""
    facts = gather(tmp_path, {"LIBVA_DRIVER_NAME": "iHD", "PASSWORD": "secret", "ONEVPL_SEARCH_PATH": ""})

    assert {"LIBVA_DRIVER_NAME": "iHD"} == facts.environ


def test_the_driver_of_nobody_s_package(tmp_path: Path) -> None:
    """Without dpkg the file itself tells: the full driver has the encoder with shaders in it."""
    for name, content, full in (("a", b"\0" * 5_000_000 + b"20CodechalEncodeAvcEnc", True), ("b", b"", False)):
        guest = Guest(distribution=FEDORA, va_package="")
        write_guest(tmp_path / name, guest)
        shipped = (tmp_path / "a" / "usr/lib/x86_64-linux-gnu/libvpl.so.2").read_bytes()
        write(tmp_path / name / "usr/lib64/dri/iHD_drv_video.so", shipped + content)

        assert full is gather(tmp_path / name, {}).full_driver


def test_a_driver_of_another_machine(tmp_path: Path) -> None:
    write_guest(tmp_path, GUESTS["tiger_lake"])
    write(tmp_path / f"{LIBRARIES[1:]}/dri/iHD_drv_video.so", b"\x7fELF")
    finding = next(f for f in judge(gather(tmp_path, {}), WHEEL, {}, [], required=True) if f.check == "va_driver")

    assert "is not a library" in finding.evidence
    assert "apt install --reinstall intel-media-va-driver-non-free" in finding.remedy


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
@pytest.mark.parametrize("name", ["vendor", "device", "class", "boot_vga", "enable", "resource"])
def test_rubbish_in_a_device(tmp_path: Path, name: str, rubbish: bytes) -> None:
    write_guest(tmp_path, GUESTS["tiger_lake"])
    (tmp_path / GPU / name).write_bytes(rubbish)

    judge_all(tmp_path)


def loop(place: Path) -> None:
    place.symlink_to(place)


def dangling(place: Path) -> None:
    place.symlink_to("nowhere")


def nothing(place: Path) -> None:
    pass


def remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def fifo(place: Path) -> None:
    """Reading it would never end. There are none in sysfs, whose files are the kernel's."""
    if "sys" not in place.parts:
        os.mkfifo(place)


SPOILS: list[Callable[[Path], None]] = [loop, dangling, nothing, Path.mkdir, Path.touch, fifo]


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize(
    "name",
    [
        "sys/class/drm/renderD128/device",
        f"{GPU}/driver",
        f"{GPU}/vendor",
        f"{GPU}/resource",
        "sys/bus/pci/devices",
        "sys/bus/pci/devices/0000:00:02.0",
        "dev/dri",
        "dev/dri/renderD128",
        "proc/cmdline",
        "etc/os-release",
        "etc/group",
        "lib/modules",
        "lib/firmware/i915",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/libmfx-gen.so.1.2",
        "usr/lib/x86_64-linux-gnu/dri/iHD_drv_video.so",
        "var/lib/dpkg/info/intel-media-va-driver-non-free:amd64.list",
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, name: str, spoil: Callable[[Path], None]) -> None:
    """A loop, a dangling link, nothing, a folder, an empty file, or a FIFO that never answers."""
    write_guest(tmp_path, GUESTS["tiger_lake"])
    remove(tmp_path / name)
    spoil(tmp_path / name)

    judge_all(tmp_path)


def test_names_that_are_no_addresses(tmp_path: Path) -> None:
    write_guest(tmp_path, GUESTS["tiger_lake"])
    for name in ("garbage", "0000:00:02", "0000:00:zz.0", os.fsdecode(b"\xff"), "x" * 200, "²", "9" * 30):
        (tmp_path / "sys/bus/pci/devices" / name).mkdir()
        (tmp_path / "dev/dri" / f"renderD{name[:30]}").touch()

    facts = gather(tmp_path, {})
    assert 1 == len(facts.displays)
    assert "/dev/dri/renderD128" == facts.render_nodes[0].path
    judge_all(tmp_path)


def test_variables_that_are_no_paths(tmp_path: Path) -> None:
    write_guest(tmp_path, GUESTS["tiger_lake"])
    for value in ("\0", ":::", "/" * 5000, "../..", os.fsdecode(b"/\xff"), "a:b:" * 500):
        gather(tmp_path, dict.fromkeys(("ONEVPL_PRIORITY_PATH", "LIBVA_DRIVERS_PATH", "LD_LIBRARY_PATH"), value))


def test_a_machine_that_vanishes_while_it_is_read(tmp_path: Path) -> None:
    """The GPU is unplugged between looking and opening."""
    write_guest(tmp_path, GUESTS["two_gpus"])

    def unplug(path: Path) -> str:
        shutil.rmtree(tmp_path / "sys", ignore_errors=True)
        shutil.rmtree(tmp_path / "dev", ignore_errors=True)
        return open_error(path)

    facts = gather(tmp_path, {}, unplug)
    assert {"ENOENT"} == {node.error for node in facts.render_nodes}
    assert judge(facts, WHEEL, {}, [], required=True)


def test_opening_a_node(tmp_path: Path) -> None:
    (tmp_path / "renderD128").touch()

    assert "" == open_error(tmp_path / "renderD128")
    assert "ENOENT" == open_error(tmp_path / "renderD129")
    assert "ENOTDIR" == open_error(tmp_path / "renderD128/x")
    assert open_error(tmp_path / "\0")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_node_that_this_user_may_not_open(tmp_path: Path) -> None:
    write_guest(tmp_path, GUESTS["tiger_lake"])
    (tmp_path / "dev/dri/renderD128").chmod(0)

    assert "EACCES" == gather(tmp_path, {}).render_nodes[0].error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_this_user_may_not_read(tmp_path: Path) -> None:
    write_guest(tmp_path, GUESTS["tiger_lake"])
    for name in ("usr/lib/x86_64-linux-gnu", "dev/dri", "sys/class/drm"):
        (tmp_path / name).chmod(0)
    try:
        judge_all(tmp_path)
    finally:
        for name in ("usr/lib/x86_64-linux-gnu", "dev/dri", "sys/class/drm"):
            (tmp_path / name).chmod(0o755)


def test_a_root_reads_files_and_nothing_else(tmp_path: Path) -> None:
    """What cannot be read is empty: a FIFO, a folder, a name with a null byte."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "file", b"\xffword")
    root = Root(tmp_path)

    assert ["", "", "", ""] == [root.text(name) for name in ("/fifo", "/folder", "/none", "/\0")]
    assert "\ufffdword" == root.text("/file")
    assert b"\xffw" == root.head("/file", 2)
    assert (["fifo", "file", "folder"], [], []) == (root.names("/"), root.names("/file"), root.names("/\0"))
    assert (5, 0, 0) == (root.size_bytes("/file"), root.size_bytes("/none"), root.size_bytes("/\0"))
    assert (True, False, False) == (root.exists("/file"), root.exists("/none"), root.exists("/\0"))
    assert ("/file", "/\0") == (root.real("/folder/../file"), root.real("/\0"))


FILES = st.one_of(st.binary(max_size=200), st.sampled_from(RUBBISH), st.text(max_size=60).map(str.encode))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(GUESTS)), data=st.data())
def test_no_file_breaks_the_check(name: str, data: st.DataObject) -> None:
    """Any files of any guest, replaced by anything: never an exception, and no fault without a way out."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_guest(root, GUESTS[name])
        places = sorted(place for place in root.rglob("*") if place.is_file() or place.is_symlink())
        for place in data.draw(st.lists(st.sampled_from(places), max_size=6, unique=True)):
            place.unlink()
            if data.draw(st.booleans()):
                place.write_bytes(data.draw(FILES))
            else:
                data.draw(st.sampled_from(SPOILS))(place)

        judge_all(root)


def test_displays_that_are_not_intel_s_do_not_count(tmp_path: Path) -> None:
    facts = gathered(tmp_path, Guest(displays=(Display(vendor=0x10DE, device=0x1912, driver="nvidia"),)))

    assert ((), None) == (facts.intel, facts.node)
