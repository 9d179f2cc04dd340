"""The judgements that stand alone: of a build, of the device, of a trial, and of odd mixtures of facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from encoderd.findings import Finding, Verdict
from encoderd.preflight.checks import BuildFacts, TrialFacts, judge, judge_build, judge_trial
from encoderd.preflight.device_checks import judge_device
from encoderd.preflight.facts import GpuFacts, RenderNode
from encoderd.preflight.machine import Machine
from tests.guests import ALL_HUC, FREE, GUESTS, NEW, OLD, VAAPI, WHEEL, Display, Guest, gathered, judged


def verdicts(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, str(finding.verdict)) for finding in findings]


def found(findings: list[Finding], check: str) -> Finding:
    return next(finding for finding in findings if finding.check == check)


def test_the_build() -> None:
    build = BuildFacts(pyav="18.1.0", ffmpeg="8.1.2", encoders=["libx264"], hardware=[])

    assert verdicts(judge_build(build)) == [
        ("pyav", "pass"),
        ("encoder_h264_qsv", "warn"),
        ("encoder_libx264", "pass"),
    ]
    broken = judge_build(None, "libva.so.2: cannot open shared object file")
    assert verdicts(broken) == [("pyav", "fail")]
    assert "libva.so.2" in broken[0].evidence
    assert judge_build(None)[0].evidence


def test_the_trial() -> None:
    good = TrialFacts(encoder="h264_qsv", wall_s=0.25, frames=12, psnr_db=41.96)
    bad = TrialFacts(encoder="h264_qsv", error="no session", remedy="")

    assert judge_trial(good, required=True).evidence == "12 frames in 0.25 s, PSNR 42.0 dB"
    assert judge_trial(bad, required=True).verdict is Verdict.FAIL
    assert judge_trial(bad, required=True).remedy
    assert judge_trial(bad, required=False).verdict is Verdict.WARN
    assert judge_trial(bad, required=True).check == "trial_h264_qsv"


def test_the_device_alone(tmp_path: Path) -> None:
    """`judge_device` is the device's part of `judge`; a warning where the CPU will do."""
    sound = gathered(tmp_path / "sound", GUESTS["skylake"])
    locked = gathered(tmp_path / "locked", GUESTS["no_permission"])

    assert [check for check, _ in verdicts(judge_device(sound))] == [
        "gpu_device", "kernel", "driver", "render_node", "permission",
    ]  # fmt: skip
    assert ("permission", "fail") == verdicts(judge_device(locked))[-1]
    assert ("permission", "warn") in verdicts(judge(locked, None, {}, [], required=False))


@pytest.mark.parametrize(
    ("node", "remedy"),
    [
        ({"error": "EACCES", "owner": "root:video 0660"}, "usermod -aG video encoderd"),
        (
            {"error": "EACCES", "owner": "root:render 0660", "listed": True},
            "systemctl restart encoderd, or log in again",
        ),
        ({"error": "EACCES", "owner": "root:root 0600"}, "chgrp render /dev/dri/renderD128"),
        ({"error": "EACCES", "owner": "root:render 0600"}, "chmod 0660 /dev/dri/renderD128"),
        ({"error": "EACCES", "owner": ""}, "chgrp render"),
        ({"error": "EPERM", "owner": "root:render 0660"}, "DeviceAllow=char-drm rw"),
        ({"error": "ENODEV", "owner": "root:render 0660"}, "restart this guest"),
        ({"error": "ENOENT", "owner": ""}, "The device behind this node is gone"),
    ],
)
def test_the_way_into_a_node(tmp_path: Path, node: dict[str, str | bool], remedy: str) -> None:
    """The errno, the owning group and this user's membership each have their own remedy."""
    facts = gathered(tmp_path, GUESTS["tiger_lake"])
    fields = {"path": "/dev/dri/renderD128", "address": "0000:00:02.0", "vendor": 0x8086, "driver": "i915", **node}
    locked = replace(facts, user="encoderd", render_nodes=(RenderNode(**fields),))  # type: ignore[arg-type]

    assert remedy in judge_device(locked)[-1].remedy


def test_the_first_node_that_opens_is_used(tmp_path: Path) -> None:
    """A locked node beside an open one stops nobody: libmfx-gen passes it by."""
    guest = replace(GUESTS["two_gpus"], opens={"renderD128": "EACCES"})
    facts = gathered(tmp_path, guest)

    assert facts.node is not None and facts.gpu is not None
    assert ("/dev/dri/renderD129", "Arc A380") == (facts.node.path, facts.gpu.name)
    assert ("permission", "pass") == verdicts(judge_device(facts))[-1]


@pytest.mark.parametrize(
    ("guest", "remedy"),
    [
        (Guest(displays=(), files={"/run/.containerenv": ""}), "--device /dev/dri"),
        (Guest(displays=()), "Start the VM with the GPU passed through"),
        (
            Guest(displays=(), files={"/sys/class/dmi/id/sys_vendor": "ASUS\n", "/proc/cpuinfo": "flags : fpu\n"}),
            "firmware setup",
        ),
        (Guest(displays=(Display(node=None),), files={"/run/.containerenv": ""}), "--device /dev/dri"),
    ],
)
def test_where_a_missing_gpu_comes_from(tmp_path: Path, guest: Guest, remedy: str) -> None:
    """A container, a VM and a machine of its own get theirs in different places."""
    assert remedy in judge_device(gathered(tmp_path, guest))[-1].remedy


@pytest.mark.parametrize(
    ("build", "device", "runtimes", "verdict", "remedy"),
    [
        (WHEEL, 0x1912, OLD, "fail", "apt install python3-av"),
        (VAAPI, 0x1912, OLD, "pass", ""),
        (WHEEL, 0x9A49, NEW, "pass", ""),
        (WHEEL, 0x9A49, OLD, "fail", "apt install libmfx-gen1.2"),  # easier than another PyAV
        (VAAPI, 0x9A49, OLD, "pass", ""),
        (WHEEL, 0x9A49, (*NEW, *OLD), "pass", ""),
        (WHEEL, 0x0412, (), "pass", ""),  # no PyAV would help
        (replace(WHEEL, encoders=["libx264"]), 0x9A49, NEW, "fail", "PyPI's wheel"),
    ],
)
def test_who_needs_vaapi(
    tmp_path: Path, build: BuildFacts, device: int, runtimes: tuple[str, ...], verdict: str, remedy: str
) -> None:
    """libmfxhw64 does, libmfx-gen does not."""
    guest = Guest(displays=(Display(device=device),), runtimes=runtimes, build=build)
    pyav = found(judge(gathered(tmp_path, guest), build, {}, [], required=True), "pyav")

    assert verdict == pyav.verdict
    assert remedy in pyav.remedy


@pytest.mark.parametrize(
    ("low_power", "va_package", "device", "va_driver", "firmware"),
    [
        ("auto", FREE, 0x46D1, "warn", "pass"),
        ("on", FREE, 0x46D1, "pass", "pass"),
        ("off", FREE, 0x46D1, "fail", "pass"),
        ("off", FREE, 0x4E61, "pass", "pass"),
        ("on", FREE, 0x1912, "pass", "fail"),  # Skylake's kernel does not load HuC by itself
        ("auto", FREE, 0x1912, "warn", "fail"),
        ("auto", FREE, 0x5A40, "warn", "warn"),  # Cannon Lake never had one
    ],
)
def test_low_power(tmp_path: Path, low_power: str, va_package: str, device: int, va_driver: str, firmware: str) -> None:
    """The free VA driver has nothing else, and low power wants HuC."""
    runtimes = (*NEW, *OLD)
    guest = Guest(displays=(Display(device=device),), runtimes=runtimes, va_package=va_package, firmware=ALL_HUC)
    findings = judge(gathered(tmp_path, guest), VAAPI, {}, [], required=True, low_power=low_power)

    assert (va_driver, firmware) == (found(findings, "va_driver").verdict, found(findings, "firmware").verdict)


@pytest.mark.parametrize(
    ("files", "options", "verdict"),
    [
        ({}, "", "fail"),
        ({"/etc/modprobe.d/a.conf": "options i915 enable_guc=3\n"}, "", "pass"),
        ({}, "i915.enable_guc=2", "pass"),
        ({}, "i915.enable_guc=1", "fail"),
        ({"/sys/module/i915/parameters/enable_guc": "0\n"}, "i915.enable_guc=2", "fail"),  # what is in force counts
        ({"/etc/modprobe.d/a.conf": "options i915 enable_guc=²\n"}, "", "fail"),
        (
            {
                "/sys/kernel/debug/dri/0/name": "i915 dev=0000:00:02.0\n",
                "/sys/kernel/debug/dri/0/gt0/uc/huc_info": "HuC firmware: x\n\tstatus: RUNNING\n",
            },
            "", "pass",
        ),
    ],
)  # fmt: skip
def test_is_huc_loaded(tmp_path: Path, files: dict[str, str], options: str, verdict: str) -> None:
    """The kernel's own word first, else what it is asked to do."""
    guest = replace(GUESTS["huc_not_asked_for"], files=files, options=options)

    assert verdict == found(judged(tmp_path, guest), "firmware").verdict


@pytest.mark.parametrize(
    ("device", "low_power", "only"), [(0x4E61, "off", "in low power only"), (0x1616, "on", "not in low power")]
)
def test_low_power_that_the_gpu_has_not(tmp_path: Path, device: int, low_power: str, only: str) -> None:
    """A setting that this GPU cannot follow has a finding of its own."""
    facts = gathered(tmp_path, Guest(displays=(Display(device=device),), runtimes=OLD))
    finding = found(judge(facts, VAAPI, {}, [], required=True, low_power=low_power), "low_power")

    assert ("fail", 'Set low_power = "auto"') == (finding.verdict, finding.remedy)
    assert only in finding.evidence


def test_two_trials_of_one_encoder(tmp_path: Path) -> None:
    """One way of encoding works, so the machine does; the other's failure is its own."""
    facts = gathered(tmp_path, GUESTS["no_va_driver"])
    trials = [TrialFacts(encoder="h264_qsv"), TrialFacts(encoder="h264_qsv", error="no look-ahead", remedy="icq")]
    findings = judge(facts, WHEEL, {}, trials, required=True)
    failing = judge(facts, WHEEL, {}, [trials[1], trials[1]], required=False)

    assert ("warn", "fail", "icq") == (found(findings, "va_driver").verdict, findings[-1].verdict, findings[-1].remedy)
    assert [finding.remedy[:22] for finding in failing[-2:]] == ["Repair va_driver first"] * 2


def test_a_priority_path_without_a_runtime(tmp_path: Path) -> None:
    guest = replace(GUESTS["tiger_lake"], environ={"ONEVPL_PRIORITY_PATH": "/nowhere"})

    assert "there is no runtime in it" in found(judged(tmp_path, guest), "runtime_path").evidence


@pytest.mark.parametrize(
    ("runtimes", "loads", "evidence"),
    [
        ((), {}, "is not installed, which a GPU as new as this one needs"),
        (OLD, {}, "is not installed, which a GPU as new as this one needs"),
        (NEW, {f"/usr/lib/x86_64-linux-gnu/{NEW[0]}": "undefined symbol: x"}, "does not load: undefined symbol: x"),
    ],
)
def test_a_gpu_newer_than_the_table(
    tmp_path: Path, runtimes: tuple[str, ...], loads: dict[str, str], evidence: str
) -> None:
    """It is served by the new runtime, if by any."""
    guest = replace(GUESTS["newer_than_the_table"], runtimes=runtimes, loads=loads, trial="-9")

    assert evidence in found(judged(tmp_path, guest), "runtime").evidence


def test_facts_of_nothing() -> None:
    """No file could be read at all."""
    nothing = GpuFacts(displays=(), render_nodes=(), user="encoderd", machine=Machine())
    findings = judge(nothing, None, {}, [], required=True, build_error="it is gone")

    assert verdicts(findings) == [("gpu_device", "fail"), ("pyav", "fail")]
    assert "it is gone" == findings[1].evidence
