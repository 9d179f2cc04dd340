"""
The outer machine: Debian's kernel under QEMU's TCG, with a VT-d, its root our own root read-only under a memory layer.

Steps run inside one after another and tell what they saw as lines of JSON on a port. A task in the kernel's state D
cannot be killed, so a step that takes too long costs the whole machine; the rig is then started once more.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.tiny_guest import SCRIPT, TinyGuest, tiny_guest
from tests.e2e.tiny_guest import missing as missing_for_guest

CHECKOUT = Path(__file__).resolve().parents[2]
QEMU = "qemu-system-x86_64"
#: The command under test; the outer machine sees it at the same path.
HELPER = os.environ.get("ENCODERD_TEST_HELPER", str(Path(sys.executable).with_name("encoderd-host")))
PORT = "org.encoderd.rig"
#: On the kernel's command line of the outer machine only; `inside` does nothing without it.
MARK = "encoderd.rig"

#: Loaded by the outer machine in this order. kvm_amd, because QEMU's TCG emulates AMD's virtualization, not Intel's.
OUTER_MODULES = ("virtio_pci", "9p", "9pnet_virtio", "overlay", "virtio_console", "bochs", "e1000e", "kvm_amd")

OUTER_SCRIPT = """
mkdir -p /lower /upper /new
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 outside /lower || poweroff -f
mount -t tmpfs -o mode=755 upper /upper; mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /new || poweroff -f
tree=$(word encoderd.rig.tree); release=$(uname -r)
mkdir -p /new/lib/modules /new/boot /new/proc /new/sys /new/dev /new/run
ln -s "$tree/lib/modules/$release" /new/lib/modules/; ln -s "$tree/boot/config-$release" /new/boot/
mount -o bind /proc /new/proc; mount -o bind /sys /new/sys; mount -o bind /dev /new/dev
mount -t tmpfs run /new/run; mkdir -p /new/dev/shm; mount -t tmpfs shm /new/dev/shm
chroot /new env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONPATH="$(word encoderd.rig.tests)" \\
    "$(word encoderd.rig.python)" -m tests.e2e_vfio.inside "$(word encoderd.rig.steps)" </dev/null
echo "rig: the steps ended with $?"
sync; poweroff -f
"""

#: What the inner guest says first: each display device with its ids, its class and its driver.
LOOK = """
for device in /sys/bus/pci/devices/*; do
    case $(cat $device/class) in 0x03*)
        echo "tiny guest: sees ${device##*/} $(cat $device/vendor) $(cat $device/device) $(cat $device/class)";;
    esac
done
"""

#: From QEMU's start to the first word from inside; 6 s when nothing else runs.
BOOT_LIMIT_S = 120
TRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """One outer machine. `devices` are further arguments of QEMU, `options` further words for its kernel."""

    name: str
    steps: tuple[str, ...]
    devices: tuple[str, ...] = ()
    options: str = "intel_iommu=on"
    iommu: str = "intel-iommu,intremap=on"
    memory_mib: int = 3072
    #: Intel's name makes the host what it is for the helper's checks, and takes KVM away: TCG emulates AMD's.
    intel: bool = False


@dataclass(slots=True, kw_only=True)
class Told:
    """What came out of a run: by step, what it told; `trouble` is why the run broke off, "" when it did not."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    wall_s: dict[str, float] = field(default_factory=dict)
    trouble: str = ""
    serial: str = ""


def missing() -> str:
    """Return why there can be no rig here, "" when there can."""
    if shutil.which(QEMU) is None:
        return f"missing: {QEMU} (apt-get install qemu-system-x86)"
    return missing_for_guest()


def make_outer(folder: Path) -> TinyGuest:
    return tiny_guest(folder, extra_modules=OUTER_MODULES, init_script=OUTER_SCRIPT)


def make_inner(folder: Path) -> TinyGuest:
    """The guest's guest: it tells on its console which displays it sees, and then how it is, on the health port."""
    return tiny_guest(folder, init_script=LOOK + SCRIPT)


def command(rig: Rig, outer: TinyGuest, inner: TinyGuest, folder: Path) -> list[str]:
    """QEMU's arguments for the outer machine; what it writes goes below `folder`."""
    tree = outer.modules.parents[2]
    words = {
        "console": "ttyS0",
        "panic": "-1",
        MARK: rig.name,
        # Not the KVM that the emulated processor offers: within minutes both of its processors stood still for good.
        f"{MARK}.accelerator": "tcg",
        f"{MARK}.tree": str(tree),
        f"{MARK}.tests": str(CHECKOUT),
        f"{MARK}.python": sys.executable,
        f"{MARK}.kernel": str(inner.kernel),
        f"{MARK}.initrd": str(inner.initrd),
        f"{MARK}.helper": HELPER,
        f"{MARK}.steps": ",".join(rig.steps),
    }
    # no_timer_check: on a busy machine the kernel counts too few ticks in its first moments and panics ("timer doesn't
    # work through Interrupt-remapped IO-APIC"; seen once in some fifty boots).
    options = " ".join([*(f"{name}={value}" for name, value in words.items()), "quiet", "no_timer_check", rig.options])
    # fmt: off
    return [
        QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi",
        "-cpu", "max,vendor=GenuineIntel" if rig.intel else "max",
        "-smp", "2", "-m", str(rig.memory_mib),
        "-serial", f"file:{folder / 'serial.log'}",
        "-kernel", str(outer.kernel), "-initrd", str(outer.initrd),
        "-append", options,
        *(("-device", rig.iommu) if rig.iommu else ()),
        *rig.devices,
        "-fsdev", "local,id=outside,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=outside,mount_tag=outside,addr=1a.0",
        "-device", "virtio-serial-pci,addr=1b.0",
        "-chardev", f"file,id=told,path={folder / 'told'}",
        "-device", f"virtserialport,chardev=told,name={PORT}",
    ]
    # fmt: on


def run(rig: Rig, outer: TinyGuest, inner: TinyGuest, folder: Path) -> Told:
    """Run all steps; on a machine that hangs or dies, a second time. Everything is kept below `folder`."""
    told = Told()
    for attempt in range(1, TRIES + 1):
        place = folder / f"{rig.name}-{attempt}"
        place.mkdir(parents=True)
        told = _run_once(command(rig, outer, inner, place), rig, place)
        if not told.trouble:
            break
        print(f"rig {rig.name}, attempt {attempt}: {told.trouble}")
    return told


def _stands_still(log: Path) -> bool:
    """
    Whether the outer kernel says that its processors make no headway: they never do again.

    Seen with KVM inside of an emulated machine, about once in fourteen runs, on a busy machine more often.
    """
    return log.exists() and log.read_bytes().count(b"soft lockup") >= 2


def _run_once(argv: list[str], rig: Rig, place: Path) -> Told:
    told, seen, started_s = Told(), 0, time.monotonic()
    with (place / "qemu.err").open("wb") as errors:
        machine = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=errors)
    try:
        step, deadline_s = "boot", started_s + BOOT_LIMIT_S
        while True:
            ended = machine.poll() is not None
            lines = (place / "told").read_bytes().split(b"\n")[:-1] if (place / "told").exists() else []
            for line in lines[seen:]:
                word = json.loads(line)
                if word["type"] == "begin":
                    if not told.wall_s:
                        told.wall_s["boot"] = time.monotonic() - started_s
                    step, deadline_s = word["step"], time.monotonic() + word["limit_s"]
                elif word["type"] == "end":
                    told.results[word["step"]], told.wall_s[word["step"]] = word["result"], word["wall_s"]
            seen = len(lines)
            stuck = _stands_still(place / "serial.log")
            if ended or stuck or time.monotonic() > deadline_s:
                break
            time.sleep(0.1)
        lacking = [name for name in rig.steps if name not in told.results]
        if stuck:
            told.trouble = f"the emulated processors stood still in {step}"
        elif not ended:
            told.trouble = f"{step} took longer than {deadline_s - started_s:.0f} s after the start"
        elif lacking:
            told.trouble = f"the machine ended without a word of {', '.join(lacking)}; the last step was {step}"
    finally:
        machine.kill()
        machine.wait()
    told.wall_s["all"] = time.monotonic() - started_s
    log = place / "serial.log"
    told.serial = log.read_text("utf-8", errors="replace") if log.exists() else ""
    told.serial += (place / "qemu.err").read_text("utf-8", errors="replace")
    (place / "told.json").write_text(json.dumps({"results": told.results, "wall_s": told.wall_s}, indent=1))
    return told
