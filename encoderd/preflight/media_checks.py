"""Firmware, VA driver and runtime: do they fit this GPU, and each other?"""

from __future__ import annotations

from collections.abc import Mapping

from encoderd.findings import Finding, failed, passed, warned
from encoderd.preflight.drivers import driver_folders
from encoderd.preflight.facts import GpuFacts
from encoderd.preflight.gpus import NEW_RUNTIME, OLD_RUNTIME, Gpu
from encoderd.preflight.packages import Part, how_to_get, how_to_repair
from encoderd.preflight.runtimes import HANGS, PRIORITY, Runtime, winner

_PARTS = {NEW_RUNTIME: Part.NEW_RUNTIME, OLD_RUNTIME: Part.OLD_RUNTIME}
_NO_ENVIRONMENT = "systemctl edit encoderd, [Service], UnsetEnvironment="


def judge_media(facts: GpuFacts, loads: Mapping[str, str], *, vaapi: bool, low_power: str) -> list[Finding]:
    """
    Return low_power, firmware, va_driver, runtime_path and runtime, as far as they say something about this GPU.

    `loads` are dlopen's results by path; `vaapi` is whether this PyAV's FFmpeg has VAAPI; `low_power` is the setting:
    "auto", "on" or "off".
    """
    findings = []
    gpu = facts.gpu
    if gpu is not None and gpu.generation.runtimes:
        chosen = gpu.auto(full_driver=facts.full_driver).low_power if low_power == "auto" else low_power
        if not gpu.encodes(low_power=chosen == "on"):
            findings.append(_impossible(gpu, chosen))
        findings += [_firmware(facts, gpu, chosen), _va_driver(facts, gpu, loads, vaapi, low_power)]
    if PRIORITY in facts.environ:
        findings.append(_priority(facts))
    if facts.device is not None:
        findings.append(_runtime(facts, gpu, loads))
    return findings


def _impossible(gpu: Gpu, low_power: str) -> Finding:
    only = "in low power only" if gpu.generation.low_power else "not in low power"
    return failed(
        "low_power",
        f"{gpu.generation.name} encodes H.264 {only}, and low_power is {low_power}",
        'Set low_power = "auto"',
    )


def _firmware(facts: GpuFacts, gpu: Gpu, low_power: str) -> Finding:
    """HuC decides about bits in low power; with shaders nobody asks it."""
    generation, machine = gpu.generation, facts.machine
    if low_power != "on":
        return passed("firmware", "HuC is not needed, low_power is off")
    state = facts.firmware.huc.get(str(facts.device.address) if facts.device else "", "")
    if state in {"RUNNING", "AUTHENTICATED"}:
        return passed("firmware", f"HuC is {state.lower()}")
    without = 'without HuC low power has no rate control but rate_control = "cqp"'
    if not generation.huc:
        return warned("firmware", f"there is no HuC for {generation.name}: {without}", 'Set rate_control = "cqp"')
    if not facts.firmware.has_any(generation.huc):
        return failed(
            "firmware",
            f"/lib/firmware/{generation.huc[0]}* is missing: {without}",
            how_to_get(Part.FIRMWARE, machine.distribution),
        )
    if (0, 0) < machine.kernel < generation.huc_kernel:
        return failed(
            "firmware",
            f"kernel {machine.release} cannot load HuC on {generation.name}: {without}",
            how_to_get(Part.NEWER_KERNEL, machine.distribution),
        )
    asked = machine.parameters.get("i915.enable_guc", "-1")
    loads_huc = generation.huc_by_default if asked == "-1" else asked in {"2", "3"}
    if not loads_huc and facts.device is not None and facts.device.driver == "i915":
        return failed(
            "firmware",
            f"the kernel does not load HuC on {generation.name} by itself (enable_guc={asked}): {without}",
            'echo "options i915 enable_guc=2" > /etc/modprobe.d/i915.conf, update-initramfs -u, reboot',
        )
    if state:
        return failed(
            "firmware",
            f"HuC is {state.lower()}: {without}",
            "dmesg | grep -iE 'guc|huc'; the file must be in the initramfs too: update-initramfs -u, reboot",
        )
    return passed("firmware", "HuC's file is there, and the kernel loads it")


def _va_driver(facts: GpuFacts, gpu: Gpu, loads: Mapping[str, str], vaapi: bool, low_power: str) -> Finding:
    generation, machine = gpu.generation, facts.machine
    get_full = how_to_get(Part.FULL_DRIVER, machine.distribution)
    named = facts.environ.get("LIBVA_DRIVER_NAME", "iHD")
    if named != "iHD":
        runtime = winner(facts.runtimes, gpu, loads)
        # With VAAPI libavcodec opens the display for libmfxhw64 itself, and asks for iHD whatever the variable says.
        overruled = vaapi and runtime is not None and runtime.kind == OLD_RUNTIME
        return (warned if overruled else failed)(
            "va_driver",
            f"LIBVA_DRIVER_NAME={named}, but the runtimes of {generation.name} work with iHD only",
            f"unset LIBVA_DRIVER_NAME; in the unit: {_NO_ENVIRONMENT}LIBVA_DRIVER_NAME",
        )
    driver = next((driver for driver in facts.va_drivers if driver.name == "iHD"), None)
    if driver is None:
        if "LIBVA_DRIVERS_PATH" in facts.environ:
            return failed(
                "va_driver",
                f"no iHD_drv_video.so in LIBVA_DRIVERS_PATH={facts.environ['LIBVA_DRIVERS_PATH']}",
                f"unset LIBVA_DRIVERS_PATH; in the unit: {_NO_ENVIRONMENT}LIBVA_DRIVERS_PATH",
            )
        return failed("va_driver", f"no iHD_drv_video.so in {driver_folders(facts.environ)[0]} or its like", get_full)
    if driver.damage:
        return failed(
            "va_driver", f"{driver.path} {driver.damage}", how_to_repair(Part.FULL_DRIVER, machine.distribution)
        )
    kind = {True: "full", False: "free", None: "full or free, it does not say"}[driver.full]
    if driver.full is False and generation.pak:
        if not generation.low_power:
            return failed(
                "va_driver", f"{driver.path} is the free one, which cannot encode on {generation.name}", get_full
            )
        if low_power == "off":
            return failed(
                "va_driver",
                f"{driver.path} is the free one, which encodes in low power only, and low_power is off",
                f'{get_full}; or set low_power = "auto"',
            )
        if low_power == "auto":
            return warned(
                "va_driver",
                f"{driver.path} is the free one: low power only, without B-frames and look-ahead",
                get_full,
            )
    return passed("va_driver", f"{driver.path} ({kind})")


def _priority(facts: GpuFacts) -> Finding:
    first = next((runtime for runtime in facts.runtimes if runtime.source == PRIORITY), None)
    found = f"{first.path} comes before every other runtime" if first else "there is no runtime in it"
    return warned(
        "runtime_path",
        f"{PRIORITY}={facts.environ[PRIORITY]}: {found}; a setting of tests",
        f"unset {PRIORITY}; in the unit: {_NO_ENVIRONMENT}{PRIORITY}",
    )


def _runtime(facts: GpuFacts, gpu: Gpu | None, loads: Mapping[str, str]) -> Finding:
    """Which runtime does a session get? Every answer but one reads "-9" in FFmpeg's log."""
    best = winner(facts.runtimes, gpu, loads)
    if best is not None and best.kind in {NEW_RUNTIME, OLD_RUNTIME}:
        return passed("runtime", f"{best.path}" + (f" serves {gpu.generation.name}" if gpu else ""))
    if best is not None:
        return passed("runtime", f"{best.path}, an implementation that is not Intel's own")
    if gpu is None:
        return _nothing_for_a_new_gpu(facts, loads)
    needed = gpu.generation.runtimes
    if not needed:
        return failed(
            "runtime",
            f"{gpu.text} has no open Quick Sync runtime: they begin with Broadwell",
            'Set encoder = "libx264"; Quick Sync needs a GPU of the 5th generation or newer',
        )
    name, part = needed[0], _PARTS[needed[0]]
    broken = next((runtime for runtime in facts.runtimes if runtime.kind in needed), None)
    if broken is not None:
        return _broken(facts, broken, loads)
    others = [runtime for runtime in facts.runtimes if not runtime.damage]
    found = (
        f"only {others[0].kind} is installed, which is too {'new' if others[0].kind == NEW_RUNTIME else 'old'} for it"
        if others and others[0].kind in _PARTS
        else "it is not installed"
    )
    return failed("runtime", f"{gpu.text} is served by {name}; {found}", how_to_get(part, facts.machine.distribution))


def _broken(facts: GpuFacts, runtime: Runtime, loads: Mapping[str, str]) -> Finding:
    part = _PARTS[runtime.kind]
    error = loads.get(runtime.path, "")
    trouble = runtime.damage or ("hangs when it is loaded" if error == HANGS else f"does not load: {error}")
    remedy = how_to_repair(part, facts.machine.distribution)
    if "cannot open shared object" in error:
        remedy = f"ldd {runtime.path} names the library it misses; {remedy}"
    return failed("runtime", f"{runtime.path} {trouble}", remedy)


def _nothing_for_a_new_gpu(facts: GpuFacts, loads: Mapping[str, str]) -> Finding:
    broken = next((runtime for runtime in facts.runtimes if runtime.kind == NEW_RUNTIME), None)
    if broken is not None:
        return _broken(facts, broken, loads)
    return failed(
        "runtime",
        f"{NEW_RUNTIME} is not installed, which a GPU as new as this one needs",
        how_to_get(Part.NEW_RUNTIME, facts.machine.distribution),
    )
