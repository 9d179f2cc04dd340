"""The one door to sysfs: each write in a child of its own, on files of a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from encoderd.errors import EncoderdError
from encoderd.host.journal import HelperBusy, locked
from encoderd.host.kernel import KernelHangs, KernelRefused, LiveKernel
from encoderd.root import Root

PROBE = "/sys/bus/pci/drivers_probe"
UNBIND = "/sys/bus/pci/drivers/vfio-pci/unbind"
OVERRIDE = "/sys/bus/pci/devices/0000:00:02.0/driver_override"
CONSOLE = "/sys/class/vtconsole/vtcon1/bind"


@pytest.fixture
def kernel(tmp_path: Path) -> LiveKernel:
    kernel = LiveKernel(Root(tmp_path))
    for path in (PROBE, UNBIND, OVERRIDE, CONSOLE):
        kernel.root.at(path).parent.mkdir(parents=True, exist_ok=True)
        kernel.root.at(path).write_text("")
    return kernel


@pytest.mark.parametrize("path", [PROBE, UNBIND, OVERRIDE, CONSOLE])
@pytest.mark.parametrize("data", ["0000:00:02.0", "\n", "vfio-pci"])
def test_data_arrives_as_it_is(kernel: LiveKernel, path: str, data: str) -> None:
    kernel.write(path, data, 10)

    assert data == kernel.root.at(path).read_text()


def test_a_file_that_is_not_there_is_not_made(kernel: LiveKernel) -> None:
    kernel.root.at(PROBE).unlink()

    with pytest.raises(KernelRefused, match="ENOENT") as raised:
        kernel.write(PROBE, "x", 10)

    assert errno.ENOENT == raised.value.errno
    assert not kernel.root.exists(PROBE)


def _socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(place.parent):
        made.bind(place.name)


def test_the_kernel_s_answer_comes_back_as_errno(kernel: LiveKernel) -> None:
    """EISDIR for a folder, ELOOP for a link to itself, ENXIO for a socket by open(2); ENOSPC by write(2)."""
    for number, make in (
        (errno.EISDIR, lambda place: place.mkdir()),
        (errno.ELOOP, lambda place: place.symlink_to(place)),
        (errno.ENOSPC, lambda place: place.symlink_to("/dev/full")),
        (errno.ENXIO, _socket),
    ):
        place = kernel.root.at(PROBE)
        if place.is_dir():
            place.rmdir()
        else:
            place.unlink()
        make(place)

        with pytest.raises(KernelRefused) as raised:
            kernel.write(PROBE, "x", 10)

        assert errno.errorcode[number] == errno.errorcode[raised.value.errno]
        assert raised.value.remedy


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="needs setpriv to drop root")
def test_a_file_that_may_not_be_written_is_told(kernel: LiveKernel, tmp_path: Path) -> None:
    """EACCES, and that it takes root; asked by a process without privileges."""
    kernel.root.at(PROBE).chmod(0o444)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/pytest"):
            folder.chmod(0o755)
    program = (
        "import sys; from pathlib import Path; from encoderd.root import Root\n"
        "from encoderd.host.kernel import KernelRefused, LiveKernel\n"
        f"try: LiveKernel(Root(Path({str(tmp_path)!r}))).write({PROBE!r}, 'x', 10)\n"
        "except KernelRefused as refused: print(refused.errno, refused.message, refused.remedy)\n"
    )
    argv = [sys.executable, "-c", program]
    if os.geteuid() == 0:
        argv = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", *argv]
    run = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)

    assert run.stdout.startswith(f"{errno.EACCES} "), run.stderr
    assert "Run this as root" in run.stdout


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/sys/bus/pci/rescan",
        "/sys/bus/pci/devices/0000:00:02.0/remove",
        "/sys/bus/pci/devices/0000:00:02.0/../../drivers_probe",
        "/sys/bus/pci/drivers/../drivers_probe",
        f"{PROBE}/",
        f"{PROBE}\n",
        "/sys/bus/pci/drivers/vfio-pci/new_id",
    ],
)
def test_other_files_are_never_written(kernel: LiveKernel, path: str) -> None:
    with pytest.raises(EncoderdError, match="not a file this program may write"):
        kernel.write(path, "1", 10)


def test_a_write_that_hangs_is_left_alone_and_told(kernel: LiveKernel) -> None:
    """
    A FIFO without a reader hangs as vfio's unbind does: the caller is free after the limit, the child goes on.

    What may be sent to it in passing does not reach it: it ignores SIGINT and SIGTERM.
    """
    place = kernel.root.at(UNBIND)
    place.unlink()
    os.mkfifo(place)
    began = time.monotonic()

    with pytest.raises(KernelHangs, match="has not come back after 1 s") as raised:
        kernel.write(UNBIND, "0000:00:02.0", 1)

    assert 1 <= time.monotonic() - began < 5
    hangs = raised.value
    assert "S" == hangs.state
    assert f"Do not kill process {hangs.pid}" in hangs.remedy
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(hangs.pid, number)
    time.sleep(0.05)
    with place.open() as reader:
        assert "0000:00:02.0" == reader.read()
    os.waitpid(hangs.pid, 0)


def test_a_lock_is_held_until_the_last_write_has_ended(kernel: LiveKernel, tmp_path: Path) -> None:
    """The helper may go; while its child waits in the kernel nobody else begins."""
    lock = tmp_path / "handover.lock"
    place = kernel.root.at(UNBIND)
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(KernelHangs) as raised, locked([lock]):
        kernel.write(UNBIND, "0000:00:02.0", 0.5)

    with pytest.raises(HelperBusy), locked([lock]):
        pass
    place.read_text()
    os.waitpid(raised.value.pid, 0)

    with locked([lock]):
        pass


def test_a_loaded_module_needs_no_modprobe(kernel: LiveKernel) -> None:
    kernel.root.at("/sys/module/vfio_pci").mkdir(parents=True)

    kernel.load_module("vfio-pci", 1)


def test_modules_are_never_loaded_for_a_machine_in_a_folder(kernel: LiveKernel) -> None:
    with pytest.raises(EncoderdError, match="not loaded on the machine below"):
        kernel.load_module("vfio-pci", 1)


def test_boot_and_release_are_read(kernel: LiveKernel) -> None:
    folder = kernel.root.at("/proc/sys/kernel/random")
    folder.mkdir(parents=True)
    (folder / "boot_id").write_text("5f0b\n")
    (folder.parent / "osrelease").write_text("6.1.0\n")

    assert ("5f0b", "6.1.0") == (kernel.boot_id, kernel.release)
