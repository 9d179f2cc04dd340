"""
A real helper in a process of its own, with a real QEMU (TCG); only the deeds that would touch devices are stand-ins.

`python -m tests.booting FILE` is that helper: FILE holds the settings as JSON. What it does with devices it writes into
`deeds.txt` beside it, one word a line; a file named `DEED.fails` makes that deed fail.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from encoderd.errors import EncoderdError
from encoderd.findings import Finding, failed
from encoderd.host.argv import ArgvFacts, command_line, share_socket, virtiofsd_argv
from encoderd.host.boot import Deeds, boot
from encoderd.host.explain import explain
from encoderd.host.machine import ExpectedDevice
from encoderd.host.qemu_probe import probe
from encoderd.host.run_folder import is_alive, qemu_of
from encoderd.host.settings import HostSettings
from encoderd.host.share_daemons import ShareDaemon
from encoderd.host.status import VmStatus, look
from encoderd.root import Root

CHECKOUT = Path(__file__).resolve().parents[1]
QEMU = Path("/usr/bin/qemu-system-x86_64")
ROOT = Root(Path("/"))

#: An address that no test's host has; nothing is ever done with it.
ADDRESS = "0000:ff:1f.7"

#: Short, because a test waits for them; each test makes longer what it does not want to strike.
LIMITS = {
    "qmp_s": 20, "agent_s": 60, "health_s": 60, "silence_s": 3, "shutdown_s": 0.2, "powerdown_s": 0.1, "quit_s": 5,
    "terminate_s": 5, "kill_s": 10, "per_device_s": 0.05,
}  # fmt: skip


def settings_in(folder: Path, **sections: Mapping[str, Any]) -> HostSettings:
    """Settings of a small VM without a GPU, whose folders are below `folder`."""
    vm = {
        "name": "t", "accelerator": "tcg", "cpus": 1, "memory_mib": 64, "qemu": str(QEMU),
        "run_dir": str(folder / "run"), "state_dir": str(folder / "state"), **sections.get("vm", {}),
    }  # fmt: skip
    others = {name: section for name, section in sections.items() if name not in {"vm", "limits"}}
    limits = {**LIMITS, **sections.get("limits", {})}
    return HostSettings.model_validate({"vm": vm, "gpu": {"address": "none"}, "limits": limits, **others})


class Booted:
    """A helper that runs `boot`; ended with its QEMU when the block ends."""

    def __init__(
        self,
        folder: Path,
        settings: HostSettings,
        *,
        argv: list[str] | None = None,
        more: tuple[str, ...] = (),
        virtiofsd: str = "",
        address: str = ADDRESS,
    ) -> None:
        """`argv` stands in place of the command line, `more` is added to it."""
        self.folder = folder
        self.settings = settings
        self._file = folder / "settings.json"
        told = {
            "settings": settings.model_dump(mode="json"),
            "argv": argv,
            "more": more,
            "virtiofsd": virtiofsd,
            "address": address,
        }
        self._file.write_text(json.dumps(told))
        self.began_s = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.booting", str(self._file)],
            cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def __enter__(self) -> Booted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        qemu = qemu_of(ROOT, self.settings)
        if qemu is not None:
            os.kill(qemu[0], signal.SIGKILL)
            while is_alive(ROOT, *qemu):
                time.sleep(0.01)

    def look(self) -> VmStatus:
        return look(ROOT, self.settings)

    def until(self, reached: Callable[[VmStatus], bool], limit_s: float = 30) -> VmStatus:
        """Look until `reached`; fails with what it is instead."""
        end_s = time.monotonic() + limit_s
        while True:
            status = self.look()
            if reached(status):
                return status
            if time.monotonic() > end_s or self.process.poll() is not None:
                words = self.process.communicate()[0] if self.process.poll() is not None else ""
                raise AssertionError(f"not reached: {status}\n{words}")
            time.sleep(0.02)

    def until_state(self, *states: str, limit_s: float = 30) -> VmStatus:
        return self.until(lambda status: status.state in states, limit_s)

    def ask(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def end(self, limit_s: float = 30) -> tuple[int, str]:
        """Wait for the helper's end; returns its exit code and what it printed."""
        out, _ = self.process.communicate(timeout=limit_s)
        return self.process.returncode, out

    @property
    def deeds(self) -> list[str]:
        file = self.folder / "deeds.txt"
        return file.read_text().split() if file.exists() else []


def main(file: Path) -> int:
    told = json.loads(file.read_text())
    settings = HostSettings.model_validate(told["settings"])

    def deed(name: str) -> Callable[[], None]:
        def do() -> None:
            with open(file.with_name("deeds.txt"), "a") as written:
                written.write(name + "\n")
            if file.with_name(f"{name}.fails").exists():
                raise EncoderdError(f"{name} failed.", remedy="This is a test.")
            if file.with_name(f"{name}.slow").exists():
                time.sleep(1.5)

        return do

    def check() -> list[Finding]:
        return [failed("tested", "not fit", "Repair it.")] if file.with_name("check.fails").exists() else []

    def argv() -> list[str]:
        if told["argv"] is not None:
            return list(told["argv"])
        facts = ArgvFacts(gpu=None, gpu_generation=None, devices={}, phys_bits=None, iommu_bits=None, cpu="max")
        return [*command_line(settings, probe(settings.vm.qemu), facts).argv, *told["more"]]

    def expected() -> list[ExpectedDevice]:
        wanted = file.with_name("expected.json")
        return [ExpectedDevice(**one) for one in json.loads(wanted.read_text())] if wanted.exists() else []

    def daemons() -> list[ShareDaemon]:
        return [
            ShareDaemon(
                tag=share.tag,
                argv=tuple(virtiofsd_argv(share, share_socket(settings, share), Path(told["virtiofsd"]))),
                socket=share_socket(settings, share),
            )
            for share in settings.share
            if share.type == "virtiofs"
        ]

    deeds = Deeds(
        check=check,
        take=deed("take"),
        give=deed("give"),
        argv=argv,
        expected=expected,
        share_daemons=daemons,
        explain=explain,
        addresses=(told["address"],) if told["address"] else (),
    )
    try:
        return boot(settings, deeds, report=lambda line: print(line, flush=True))
    except EncoderdError as error:
        print(f"{error.message}\n  → {error.remedy}", flush=True)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
