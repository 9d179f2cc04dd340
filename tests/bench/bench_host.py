"""
What the helper on the host costs: a check of the whole host, and its own share of a start.

The start is compared with the same QEMU started by hand, to its first word over QMP, in turn.
`python -m tests.bench.bench_host [--runs N]`. Needs QEMU; nothing is passed through.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from encoderd.host.machine import launch
from encoderd.host.preparation import Preparation
from encoderd.host.run_folder import locked, prepare
from encoderd.host.settings import HostSettings, load
from tests.bench.measure import row

MOST_CHECK_S = 1.5
MOST_SHARE_S = 1.0
LIMIT_S = 60.0


def settings_in(folder: Path) -> HostSettings:
    """A VM without devices, emulated."""
    vm = {
        "name": "bench", "accelerator": "tcg", "cpus": 1, "memory_mib": 256,
        "run_dir": str(folder / "run"), "state_dir": str(folder / "state"),
    }  # fmt: skip
    return load(None, {"vm": vm, "gpu": {"address": "none"}})


def prepare_folder(settings: HostSettings) -> None:
    with locked(settings):
        prepare(settings)


def by_hand_s(settings: HostSettings, argv: list[str]) -> float:
    """Seconds from the start of QEMU to its greeting."""
    prepare_folder(settings)
    began_s = time.monotonic()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            while time.monotonic() - began_s < LIMIT_S:
                with contextlib.suppress(OSError):
                    line.connect(str(settings.run_folder / "qmp.sock"))
                    break
                time.sleep(0.005)
            greeting = line.makefile("rb").readline()
        took_s = time.monotonic() - began_s
        process.kill()
    assert "QMP" in json.loads(greeting)
    return took_s


def by_us_s(settings: HostSettings, argv: list[str]) -> float:
    """The same through the helper: started, greeted, its state asked, ready to compare devices."""
    prepare_folder(settings)

    async def once() -> float:
        began_s = time.monotonic()
        machine = await launch(argv, settings, devices=0)
        took_s = time.monotonic() - began_s
        machine.send_signal(9)
        await machine.ended(LIMIT_S)
        await machine.close()
        return took_s

    return asyncio.run(once())


def whole_start_s(folder: Path) -> float:
    """Seconds from `encoderd-host boot` to the guest's first instruction: Python, all checks, QEMU, comparison."""
    file = folder / "host.toml"
    file.write_text(
        f'[vm]\nname = "bench"\naccelerator = "tcg"\ncpus = 1\nmemory_mib = 256\nrun_dir = "{folder}/run"\n'
        f'state_dir = "{folder}/state"\nguest_agent = false\n[gpu]\naddress = "none"\n'
        "[limits]\npowerdown_s = 0.1\n"  # nobody in there hears the button
        f'[[disk]]\npath = "{folder}/disk.raw"\nformat = "raw"\n',
        "utf-8",
    )
    (folder / "disk.raw").write_bytes(bytes(2**20))
    began_s = time.monotonic()
    command = [sys.executable, "-m", "encoderd.host.cli", "boot", "-c", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        took_s = next((time.monotonic() - began_s for line in process.stdout if line.startswith("booting")), LIMIT_S)
        process.terminate()
        process.stdout.read()
    return took_s


def main() -> bool:
    """Measure and print; True when the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    wanted, _ = parser.parse_known_args()
    print("the helper on the host, without a device to pass through")
    with tempfile.TemporaryDirectory(prefix="encoderd-bench-") as name:
        folder = Path(name)
        settings = settings_in(folder)
        argv = Preparation(settings).command_line().argv
        checks_s = [check_s() for _ in range(wanted.runs)]
        pairs = [(by_us_s(settings, argv), by_hand_s(settings, argv)) for _ in range(wanted.runs + 1)][1:]
        starts_s = [whole_start_s(folder) for _ in range(wanted.runs)]
    check, ours, theirs, start = map(
        statistics.median, (checks_s, [one for one, _ in pairs], [one for _, one in pairs], starts_s)
    )
    share = statistics.median(one - other for one, other in pairs)
    met = [check <= MOST_CHECK_S, share <= MOST_SHARE_S]
    row("encoderd-host check", f"{check:.2f} s", "-", "-", f"≤ {MOST_CHECK_S} s", met[0])
    row(
        "QEMU to its first word",
        f"{ours:.2f} s",
        f"{theirs:.2f} s",
        f"{share:+.2f} s",
        f"≤ +{MOST_SHARE_S:.0f} s",
        met[1],
    )
    row("encoderd-host boot to the guest's start", f"{start:.2f} s", "-", "-", "-", True)
    return all(met)


def check_s() -> float:
    """Seconds of a whole check of this host, as a process; what it finds does not count."""
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-m", "encoderd.host.cli", "check"], stdout=subprocess.DEVNULL, check=False)
    return time.monotonic() - began_s


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
