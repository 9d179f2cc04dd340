"""Recorded guests judged: what stands between each of them and a working encode, in the order of repair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from encoderd.findings import Finding, Verdict, as_lines
from encoderd.preflight.checks import diagnose
from tests.guests import GUESTS, MINUS_9, judged

DEVICE = "gpu_device kernel driver render_node permission"
SOUND = f"{DEVICE} firmware va_driver runtime pyav trial_h264_qsv"

#: Guest → its findings ("check" passes, "check:fail"), and what stands in the first that does not pass: (evidence,
#: remedy) as fragments.
EXPECTED: dict[str, tuple[str, str, str]] = {
    "skylake": (SOUND, "", ""),
    "kaby_lake": (SOUND, "", ""),
    "tiger_lake": (SOUND, "", ""),
    "lunar_lake": (SOUND, "", ""),
    "jasper_lake": (SOUND, "", ""),
    "swapped_nodes": (SOUND, "", ""),
    "two_gpus": (f"gpu_device {SOUND}", "", ""),
    "both_runtimes": (SOUND, "", ""),
    "newer_than_the_table": (f"{DEVICE} runtime pyav trial_h264_qsv", "", ""),
    "n100": (
        f"{DEVICE} firmware va_driver:warn runtime pyav trial_h264_qsv",
        "is the free one: low power only", "apt install intel-media-va-driver-non-free",
    ),
    "haswell": (
        f"{DEVICE} runtime:fail pyav trial_h264_qsv:fail",
        "HD Graphics 4600 (8086:0412, Haswell) has no open Quick Sync runtime", 'encoder = "libx264"',
    ),
    "no_gpu": (
        "gpu_device:fail pyav trial_h264_qsv:fail",
        "no Intel display device in this machine (0000:00:01.0 1234:1111)", "encoderd-host check",
    ),
    "cloud_kernel": (
        "gpu_device kernel:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "has no i915 or xe: it is made for clouds", "apt install linux-image-amd64",
    ),
    "ubuntu_without_modules": (
        "gpu_device kernel:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "kernel 6.8.0-40-generic has no i915 or xe", "linux-modules-extra-$(uname -r)",
    ),
    "nomodeset": (
        "gpu_device kernel:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "'nomodeset' in the kernel command line keeps i915 from loading", "update-grub",
    ),
    "blacklisted": (
        "gpu_device kernel:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "'blacklist i915' in /etc/modprobe.d/vfio.conf", "update-initramfs -u, reboot",
    ),
    "wrong_driver": (
        "gpu_device kernel driver:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "0000:00:02.0 is held by vfio-pci", "drivers_probe",
    ),
    "old_kernel": (
        "gpu_device kernel driver:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "UHD Graphics (Alder Lake-N) needs kernel 6.2, this is 6.1.0-40-amd64", "i915.force_probe=46d1",
    ),
    "no_memory_window": (
        "gpu_device kernel driver:fail firmware:fail va_driver runtime pyav trial_h264_qsv:fail",
        "has no memory window", "OVMF",
    ),
    "no_node": (
        "gpu_device kernel driver render_node:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "has no render node (nothing under /dev/dri)", "udevadm trigger",
    ),
    "no_permission": (
        "gpu_device kernel driver render_node permission:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "does not open for", "usermod -aG render",
    ),
    "sandbox": (
        "gpu_device kernel driver render_node permission:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "EPERM", "DeviceAllow=char-drm rw",
    ),
    "both_runtimes_locked": (
        "gpu_device kernel driver render_node permission:fail firmware va_driver runtime pyav trial_h264_qsv:fail",
        "libmfxhw64 answers instead of libmfx-gen and refuses every setting", "usermod -aG render",
    ),
    "huc_missing": (
        f"{DEVICE} firmware:fail va_driver runtime pyav trial_h264_qsv:fail",
        "/lib/firmware/i915/ehl_huc* is missing", "apt install firmware-intel-graphics",
    ),
    "huc_not_asked_for": (
        f"{DEVICE} firmware:fail va_driver runtime pyav trial_h264_qsv:fail",
        "the kernel does not load HuC on Jasper Lake by itself", "options i915 enable_guc=2",
    ),
    "huc_not_running": (
        f"{DEVICE} firmware:fail va_driver runtime pyav trial_h264_qsv:fail",
        "HuC is load fail", "update-initramfs -u",
    ),
    "wheel_on_hd_graphics": (
        f"{DEVICE} firmware va_driver runtime pyav:fail trial_h264_qsv:fail",
        "PyAV 18.1.0 on FFmpeg 8.1.2, without VAAPI: HD Graphics 530 (8086:1912, Skylake)",
        "apt install python3-av",
    ),
    "wheel_and_no_runtime": (
        f"{DEVICE} firmware va_driver runtime:fail pyav:fail trial_h264_qsv:fail",
        "HD Graphics 530 (8086:1912, Skylake) is served by libmfxhw64.so.1; it is not installed",
        "sed s/trixie/bookworm",
    ),
    "runtime_too_new": (
        f"{DEVICE} firmware va_driver runtime:fail pyav trial_h264_qsv:fail",
        "is served by libmfxhw64.so.1; only libmfx-gen.so.1.2 is installed, which is too new", "apt install libmfx1",
    ),
    "runtime_too_old": (
        f"{DEVICE} firmware va_driver runtime:fail pyav trial_h264_qsv:fail",
        "is served by libmfx-gen.so.1.2; only libmfxhw64.so.1 is installed, which is too old",
        "dnf install intel-vpl-gpu-rt",
    ),
    "runtime_corrupt": (
        f"{DEVICE} firmware va_driver runtime:fail pyav trial_h264_qsv:fail",
        "libmfx-gen.so.1.2 is cut off: 100 bytes of at least 256", "apt install --reinstall libmfx-gen1.2",
    ),
    "runtime_for_arm": (
        f"{DEVICE} firmware va_driver runtime:fail pyav trial_h264_qsv:fail",
        "is built for aarch64, this machine is", "apt install --reinstall libmfx-gen1.2",
    ),
    "runtime_without_libva": (
        f"{DEVICE} firmware va_driver runtime:fail pyav trial_h264_qsv:fail",
        "does not load: libva-drm.so.2", "ldd /usr/lib/x86_64-linux-gnu/libmfx-gen.so.1.2",
    ),
    "runtime_hangs": (
        f"{DEVICE} firmware va_driver runtime:fail pyav trial_h264_qsv:fail",
        "hangs when it is loaded", "apt install --reinstall libmfx-gen1.2",
    ),
    "libva_lies": (
        f"{DEVICE} firmware va_driver:fail runtime pyav trial_h264_qsv:fail",
        "LIBVA_DRIVER_NAME=i965, but the runtimes of Tiger Lake work with iHD only",
        "UnsetEnvironment=LIBVA_DRIVER_NAME",
    ),
    "libva_lies_to_vaapi": (
        f"{DEVICE} firmware va_driver:warn runtime pyav trial_h264_qsv", "LIBVA_DRIVER_NAME=i965", "unset",
    ),
    "libva_path": (
        f"{DEVICE} firmware va_driver:fail runtime pyav trial_h264_qsv:fail",
        "no iHD_drv_video.so in LIBVA_DRIVERS_PATH=/opt/dri", "UnsetEnvironment=LIBVA_DRIVERS_PATH",
    ),
    "no_va_driver": (
        f"{DEVICE} firmware va_driver:fail runtime pyav trial_h264_qsv:fail",
        "no iHD_drv_video.so in /usr/lib/x86_64-linux-gnu/dri", "apt install intel-media-va-driver-non-free",
    ),
    "free_driver_on_broadwell": (
        f"{DEVICE} firmware va_driver:fail runtime pyav trial_h264_qsv:fail",
        "is the free one, which cannot encode on Broadwell", "apt install intel-media-va-driver-non-free",
    ),
    "priority_path": (
        f"{DEVICE} firmware va_driver runtime_path:warn runtime pyav trial_h264_qsv:fail",
        "/srv/simulator/libvplsim.so.1 comes before every other runtime", "unset ONEVPL_PRIORITY_PATH",
    ),
    "no_pyav": (
        f"{DEVICE} firmware va_driver runtime pyav:fail", "PyAV does not load", "pip install --force-reinstall",
    ),
}  # fmt: skip


def short(findings: list[Finding]) -> str:
    return " ".join(
        finding.check + (f":{finding.verdict}" if finding.verdict is not Verdict.PASS else "") for finding in findings
    )


def test_every_guest_has_an_expectation() -> None:
    assert sorted(GUESTS) == sorted(EXPECTED)


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest(tmp_path: Path, name: str) -> None:
    """What does not pass says what it saw, and what to type."""
    expected, evidence, remedy = EXPECTED[name]
    findings = judged(tmp_path, GUESTS[name])
    first = next((finding for finding in findings if finding.verdict is not Verdict.PASS), None)

    assert expected == short(findings), "\n".join(as_lines(findings))
    assert (first is None) == (evidence == "")
    if first is not None:
        assert evidence in first.evidence
        assert remedy in first.remedy


@pytest.mark.parametrize("name", GUESTS)
def test_nothing_is_wrong_without_a_way_out(tmp_path: Path, name: str) -> None:
    """Every FAIL and every WARN has a remedy, and no sentence has an unfilled gap."""
    findings = judged(tmp_path, GUESTS[name])

    assert [finding for finding in findings if finding.verdict is not Verdict.PASS and not finding.remedy] == []
    assert [line for line in as_lines(findings) if "{pip}" in line or "{av}" in line or "None" in line] == []


@pytest.mark.parametrize("name", GUESTS)
def test_what_encodes_is_not_broken(tmp_path: Path, name: str) -> None:
    """After a trial that passed, and where the CPU will do, what failed is a warning with the same words."""
    guest = GUESTS[name]
    strict = judged(tmp_path / "strict", guest)
    fails = [finding.check for finding in strict if finding.verdict is Verdict.FAIL]
    if guest.build is None:
        fails.remove("pyav")
    encoding = judged(tmp_path / "encoding", replace(guest, trial=""))
    allowed = judged(tmp_path / "allowed", guest, required=False)

    assert [finding.check for finding in encoding if finding.verdict is Verdict.FAIL and finding.check != "pyav"] == []
    assert set(fails) - {"trial_h264_qsv"} <= {f.check for f in encoding if f.verdict is Verdict.WARN}
    assert set(fails) <= {finding.check for finding in allowed if finding.verdict is Verdict.WARN}


def test_minus_nine_is_told_apart(tmp_path: Path) -> None:
    """The same words of FFmpeg, and each time another first thing to repair."""
    reasons = {
        name: diagnose(judged(tmp_path / name, guest), guest.trial)
        for name, guest in GUESTS.items()
        if guest.trial == MINUS_9
    }

    assert len(reasons) >= 15
    assert all(reason.endswith(f"(the trial encode said: {MINUS_9})") for reason, _ in reasons.values())
    assert len({reason for reason, _ in reasons.values()}) >= 15
    assert reasons["runtime_too_new"][0].startswith("runtime: HD Graphics 530 (8086:1912, Skylake) is served by")
    assert reasons["runtime_too_new"][1].endswith("apt update && apt install libmfx1")


def test_the_trial_points_at_the_first_fault(tmp_path: Path) -> None:
    trial = judged(tmp_path, GUESTS["no_permission"])[-1]

    assert (MINUS_9, "Repair permission first, see above.") == (trial.evidence, trial.remedy)


def test_a_diagnosis_without_a_fault() -> None:
    """Where nothing fails the trial's words stand alone."""
    assert ("the pictures differ", "encoderd check") == diagnose([], "the pictures differ")


def test_a_diagnosis_with_only_a_warning(tmp_path: Path) -> None:
    reason, remedy = diagnose(judged(tmp_path, GUESTS["priority_path"]), "lost frames")

    assert "lost frames" == reason
    assert remedy.startswith("Perhaps runtime_path: ONEVPL_PRIORITY_PATH=/srv/simulator")


def test_the_node_that_encodes_is_named(tmp_path: Path) -> None:
    """A virtio GPU may have taken renderD128."""
    findings = {finding.check: finding.evidence for finding in judged(tmp_path, GUESTS["swapped_nodes"])}

    assert findings["render_node"].startswith("/dev/dri/renderD129 is that of 0000:00:02.0 UHD Graphics 770")
    assert findings["render_node"].endswith("not used: /dev/dri/renderD128 (virtio-pci)")
