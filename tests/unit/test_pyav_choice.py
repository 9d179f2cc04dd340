"""Which PyAV is installed, for each GPU and each thing that may be there already."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from encoderd.pci import INTEL, PciAddress, PciDevice
from encoderd.preflight import pyav_choice
from encoderd.preflight.pyav_choice import VERSIONS, Pyav, Source, ask, choose

REPOSITORY = Path(__file__).parents[2]
SKYLAKE, ICE_LAKE, TIGER_LAKE, ARC, HASWELL, NEWER = 0x1912, 0x8A52, 0x9A49, 0x56A0, 0x0412, 0xFFFE
DEBIAN_13 = Pyav(version="14.2.0", qsv=True, vaapi=True)
DEBIAN_12 = Pyav(version="10.0.0", qsv=True, vaapi=True)
WHEEL = Pyav(version="18.1.0", qsv=True, vaapi=False)
SID = Pyav(version="19.0.2", qsv=True, vaapi=True)


def display(device: int, vendor: int = INTEL, class_code: int = 0x030000, function: int = 0) -> PciDevice:
    return PciDevice(
        address=PciAddress(0, 0, 2, function),
        vendor=vendor,
        device=device,
        class_code=class_code,
        driver=None,
        iommu_group=None,
        boot_vga=True,
    )


@pytest.mark.parametrize("system", [None, DEBIAN_12, DEBIAN_13, WHEEL, SID])
@pytest.mark.parametrize(
    ("devices", "says"),
    [
        ([], "no Intel GPU is seen here"),
        ([display(0x1234, vendor=0x1234)], "no Intel GPU is seen here"),
        ([display(SKYLAKE, class_code=0x040300)], "no Intel GPU is seen here"),  # a sound card
        ([display(TIGER_LAKE)], "(8086:9a49, Tiger Lake) works with it"),
        ([display(SKYLAKE), display(ARC)], "(8086:56a0, Alchemist) works with it"),
        ([display(NEWER)], "the GPU 8086:fffe is unknown, so probably newer than this encoderd"),
        ([display(HASWELL)], "HD Graphics 4600 (8086:0412, Haswell) has no open runtime for Quick Sync, so the CPU"),
    ],
)
def test_the_wheel_is_for_all_that_it_can_drive_or_that_nothing_can(
    devices: list[PciDevice], says: str, system: Pyav | None
) -> None:
    choice = choose("auto", devices, system)

    assert Source.WHEEL == choice.source
    assert says in choice.text
    assert "\n" not in choice.text


@pytest.mark.parametrize("device", [SKYLAKE, ICE_LAKE])
@pytest.mark.parametrize(
    ("system", "installed", "expected"),
    [
        (DEBIAN_13, None, Source.DISTRIBUTION),
        (DEBIAN_13, WHEEL, Source.DISTRIBUTION),
        (DEBIAN_13, DEBIAN_13, Source.DISTRIBUTION),
        (None, DEBIAN_13, Source.KEPT),  # built from source into /opt/encoderd
        (WHEEL, DEBIAN_13, Source.KEPT),
        (None, None, None),
        (DEBIAN_12, None, None),
        (SID, None, None),
        (WHEEL, WHEEL, None),
        (Pyav(version="15.0.0", qsv=False, vaapi=True), None, None),
    ],
)
def test_hd_graphics_gets_a_pyav_with_vaapi_or_none(
    device: int, system: Pyav | None, installed: Pyav | None, expected: Source | None
) -> None:
    """Where there is none, the lines to type are told, and how to go on without the GPU."""
    choice = choose("auto", [display(device)], system, installed, "apt install that one")

    assert expected == choice.source
    if expected is None:
        assert "\napt install that one\n" in choice.text
        assert "make install PYAV=wheel" in choice.text


@pytest.mark.parametrize(
    ("asked", "device", "system", "expected"),
    [
        ("wheel", SKYLAKE, DEBIAN_13, Source.WHEEL),
        ("wheel", TIGER_LAKE, None, Source.WHEEL),
        ("distribution", TIGER_LAKE, DEBIAN_13, Source.DISTRIBUTION),
        ("distribution", SKYLAKE, WHEEL, Source.DISTRIBUTION),
        ("distribution", TIGER_LAKE, DEBIAN_12, None),
        ("distribution", TIGER_LAKE, None, None),
    ],
)
def test_what_is_asked_for_is_taken_if_it_works(
    asked: str, device: int, system: Pyav | None, expected: Source | None
) -> None:
    assert expected == choose(asked, [display(device)], system).source


def test_a_wheel_that_leaves_the_gpu_unused_says_so() -> None:
    text = choose("wheel", [display(SKYLAKE)], None).text

    assert "HD Graphics 530 (8086:1912, Skylake) stays unused" in text


def test_the_versions_are_those_of_the_package() -> None:
    requirements = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    first, before = VERSIONS

    assert f"av>={first[0]}.{first[1]},<{before[0]}" in requirements


@pytest.mark.parametrize(
    ("version", "expected"),
    [("14.1.0", False), ("14.2.0", True), ("15.0.0", True), ("18.1.0", True), ("19.0.2", False), ("git", False)],
)
def test_a_version_outside_the_range_does_not_fit(version: str, expected: bool) -> None:
    assert expected is Pyav(version=version, qsv=True, vaapi=True).fits


def test_a_python_is_asked_for_its_own_pyav(tmp_path: Path) -> None:
    """This one has PyAV; one that has none, or is none, answers nothing."""
    import av

    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho '[1'\n", "utf-8")
    broken.chmod(0o755)
    found = ask(sys.executable)

    assert found is not None
    assert (av.__version__, True) == (found.version, found.fits)
    assert [None, None] == [ask(broken), ask(tmp_path / "nowhere")]


@pytest.mark.parametrize(
    ("device", "code", "said", "told"),
    [
        ("0x9a49", 0, "wheel\n", "PyAV: the wheel; "),
        ("0x1912", 1, "", "HD Graphics 530 (8086:1912, Skylake) needs a PyAV from 14.2 to before 19 with h264_qsv and"),
    ],
)
def test_it_runs_before_anything_is_installed(device: str, code: int, said: str, told: str, tmp_path: Path) -> None:
    """With Python's own library alone (-S), from the source tree, on a recorded machine."""
    folder = tmp_path / "sys/bus/pci/devices/0000:00:02.0"
    folder.mkdir(parents=True)
    for name, text in (("vendor", "0x8086"), ("device", device), ("class", "0x030000")):
        (folder / name).write_text(text + "\n", "ascii")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="13"\n', "ascii")
    argv = [sys.executable, "-S", "-B", "-m", "encoderd.preflight.pyav_choice", "auto", "--root", str(tmp_path)]
    system = ask(sys._base_executable)  # type: ignore[attr-defined]
    if code and system is not None and system.drives_hd_graphics:
        pytest.skip("this system's PyAV drives HD Graphics")
    run = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)

    assert (code, said) == (run.returncode, run.stdout), run.stderr
    assert run.stderr.startswith(told)
    assert ("apt install python3-av, then in encoderd's source: make install\n" in run.stderr) is bool(code)


def test_what_it_says_to_read_is_there() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    (title,) = re.findall(r'README, "(.*?)"', pyav_choice.WITHOUT)

    assert f"# {title}\n" in readme
