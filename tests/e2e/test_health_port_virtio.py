"""The port on a real virtio-serial device: a guest under QEMU writes, and the host reads, pauses and unplugs."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tiny_guest import missing, tiny_guest

QEMU = "qemu-system-x86_64"
NAME = "org.encoderd.health"
#: From QEMU's start to the first line takes 12 s when nothing else runs.
LIMIT_S = 180.0

#: In the guest: this machine's files, read-only, with the guest's own devices.
INIT = """
mkdir -p /lower
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 outside /lower || poweroff -f
mount -o bind /proc /lower/proc; mount -o bind /sys /lower/sys; mount -o bind /dev /lower/dev
chroot /lower env -i PATH=/usr/bin:/bin HOME=/ PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$(word checkout)" \\
    "$(word python)" -m tests.e2e.test_health_port_virtio </dev/null
sync; poweroff -f
"""


def tell_for_ever() -> None:
    """What runs in the guest: fifty lines a second, and on the console how long the slowest write took."""
    from encoderd.health_port import PORT, HealthPort
    from encoderd.logs import configure

    configure("info", "json")
    port, slowest_s = HealthPort(PORT), 0.0
    number = 0
    while True:
        number += 1
        line = json.dumps({"type": "health", "number": number, "padding": "x" * 400}).encode() + b"\n"
        before_s = time.monotonic()
        port.write(line)
        slowest_s = max(slowest_s, time.monotonic() - before_s)
        if number % 50 == 0:
            print(json.dumps({"event": "told", "number": number, "slowest_s": slowest_s}), flush=True)
        time.sleep(0.02)


class Guest:
    """QEMU with its sockets; `console` are the lines of JSON on the serial port so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = tiny_guest(folder / "guest", extra_modules=("9p", "9pnet_virtio"), init_script=INIT)
        (folder / "serial.log").touch()
        checkout = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [
                QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "512",
                "-kernel", str(made.kernel), "-initrd", str(made.initrd),
                "-append", f"console=ttyS0 panic=-1 quiet checkout={checkout} python={sys.executable}",
                "-serial", f"file:{folder / 'serial.log'}",
                "-qmp", f"unix:{folder / 'qmp.sock'},server=on,wait=off",
                "-fsdev", "local,id=outside,path=/,security_model=none,readonly=on,multidevs=remap",
                "-device", "virtio-9p-pci,fsdev=outside,mount_tag=outside",
                "-device", "virtio-serial-pci,id=ports",
                "-chardev", f"socket,id=health0,path={folder / 'health.sock'},server=on,wait=off",
                "-device", f"virtserialport,id=health0port,bus=ports.0,nr=2,chardev=health0,name={NAME}",
            ],
            stderr=(folder / "stderr").open("wb"),
        )  # fmt: skip

    def console(self, event: str) -> list[dict[str, Any]]:
        told = []
        for line in (self.folder / "serial.log").read_text("utf-8", "replace").splitlines():
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and found.get("event") == event:
                    told.append(found)
        return told

    def wait_for(self, predicate: Callable[[], object], what: str) -> None:
        until_s = time.monotonic() + LIMIT_S
        while not predicate():
            serial = (self.folder / "serial.log").read_text("utf-8", "replace")[-2000:]
            assert self.process.poll() is None, f"the guest ended: {serial}"
            assert time.monotonic() < until_s, f"{what} never happened: {serial}"
            time.sleep(0.2)

    def qmp(self, *commands: dict[str, Any]) -> None:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(20)
            link.connect(str(self.folder / "qmp.sock"))
            stream = link.makefile("rw", encoding="utf-8")
            stream.readline()
            for command in ({"execute": "qmp_capabilities"}, *commands):
                stream.write(json.dumps(command) + "\n")
                stream.flush()
                answer: dict[str, Any] = {"event": ""}
                while "event" in answer:
                    answer = json.loads(stream.readline())
                assert "error" not in answer, answer

    def reader(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(30)
        link.connect(str(self.folder / "health.sock"))
        return link


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed (apt-get install qemu-system-x86)")
    if lacking := missing():
        pytest.skip(lacking)
    made = Guest(tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


def heard(link: socket.socket, lines: int) -> list[int]:
    """Return the numbers of the next whole lines; the first part of a line that had begun before is left out."""
    data = b""
    while data.count(b"\n") < lines:
        data += link.recv(65_536)
    return [json.loads(line)["number"] for line in data.splitlines()[:lines]]


def test_a_port_of_virtio_serial(guest: Guest) -> None:
    """
    Nobody connected, somebody who reads, somebody who does not, an unplugged port and a new one: no write ever waits,
    every line is whole, and the log has one word for each change.
    """
    guest.wait_for(lambda: len(guest.console("told")) >= 2, "lines without a reader")
    assert guest.console("health.port_opened") == []
    with guest.reader() as link:
        first = heard(link, 20)
        told = len(guest.console("told"))
        guest.wait_for(lambda: len(guest.console("told")) >= told + 20, "lines that nobody takes")
        late = heard(link, 1000)
    skipped = [after for before, after in pairwise(late) if after != before + 1]
    guest.wait_for(lambda: guest.console("health.port_opened"), "the word of the opened port")

    assert first == list(range(first[0], first[0] + 20))
    assert late == sorted(set(late))
    assert len(skipped) <= 2, "lines are dropped while the port is full, in one gap"

    guest.qmp({"execute": "device_del", "arguments": {"id": "health0port"}})
    guest.wait_for(lambda: guest.console("health.port_lost"), "the word of the lost port")
    assert "No such device" in guest.console("health.port_lost")[0]["reason"]
    new = {
        "driver": "virtserialport",
        "id": "health0port",
        "bus": "ports.0",
        "nr": 2,
        "chardev": "health0",
        "name": NAME,
    }
    guest.qmp({"execute": "device_add", "arguments": new})
    with guest.reader() as link:
        again = heard(link, 20)
    guest.wait_for(lambda: len(guest.console("health.port_opened")) == 2, "the word of the new port")

    assert again == list(range(again[0], again[0] + 20))
    assert len(guest.console("health.port_lost")) == 1
    assert guest.console("told")[-1]["slowest_s"] < 1


if __name__ == "__main__":
    tell_for_ever()
