"""The folder of what runs now: made ready before QEMU starts, locked while a helper works, and its state.json."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from encoderd.errors import EncoderdError
from encoderd.host.settings import HostSettings
from encoderd.host.state import Recorded
from encoderd.root import Root

_STALE = ("qmp.sock", "agent.sock", "health.sock", "serial.sock", "share-*.sock", "pid")
_LOG = "qemu.log"
_MOST_LOG_BYTES = 2**20
#: A guest that writes to its console without end, or a QEMU that complains so, must not fill the host's disk or memory.
_MOST_RUNNING_LOG_BYTES = 4 * 2**20


class VmRuns(EncoderdError):
    """This VM runs already, or another helper works on it."""


@contextlib.contextmanager
def locked(settings: HostSettings) -> Iterator[None]:
    """
    Hold this VM's lock: only one helper starts or stops it. The kernel lets go of it when the helper ends, however.

    Raises:
        VmRuns: another helper holds it.
        EncoderdError: the folder cannot be made, or belongs to somebody else.
    """
    folder = settings.run_folder
    _make(folder, 0o700)
    with _translated(folder):
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read_state(Root(Path("/")), folder)
            raise VmRuns(
                f"The VM {settings.vm.name} is in the hands of another encoderd-host"
                + (f" (PID {holder.pid}, {holder.state})." if holder and holder.pid else "."),
                remedy="See what it does: encoderd-host status; end it: encoderd-host stop",
            ) from None
        yield
    finally:
        os.close(descriptor)


def prepare(settings: HostSettings) -> None:
    """
    Make ready what QEMU needs: folders, no stale sockets, the UEFI's variables. To be called with the lock held.

    Raises:
        VmRuns: the QEMU of an earlier start still runs.
        EncoderdError: a folder or the variables cannot be made.
    """
    folder, root = settings.run_folder, Root(Path("/"))
    earlier = qemu_of(root, settings)
    if earlier is not None:
        raise VmRuns(
            f"The QEMU of an earlier start still runs (PID {earlier[0]}); its helper is gone.",
            remedy="End it, and give its devices back: encoderd-host stop",
        )
    _make(settings.state_folder, 0o750)
    with _translated(folder):
        for pattern in _STALE:
            for stale in folder.glob(pattern):
                stale.unlink(missing_ok=True)
    if settings.vm.firmware == "uefi":
        _copy_variables(settings.vm.uefi_vars, settings.state_folder / "vars.fd")


def open_log(settings: HostSettings) -> tuple[int, int]:
    """Open QEMU's log for appending; returns the descriptor and where this life's part begins, in bytes."""
    path = settings.state_folder / _LOG
    with _translated(path):
        if path.is_file() and path.stat().st_size > _MOST_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        return descriptor, os.fstat(descriptor).st_size


def bound_log(path: Path) -> bool:
    """
    Empty a log that QEMU has filled, and keep its last part as NAME.log.1; says whether it did.

    QEMU appends (O_APPEND), so it goes on at the new start. /run is memory: serial.log there is the guest's to fill.
    """
    try:
        if path.stat().st_size <= _MOST_RUNNING_LOG_BYTES:
            return False
        with open(path, "rb+") as log:
            log.seek(-_MOST_LOG_BYTES, os.SEEK_END)
            path.with_suffix(".log.1").write_bytes(log.read(_MOST_LOG_BYTES))
            log.truncate(0)
    except OSError:
        return False
    return True


def write_state(folder: Path, recorded: Recorded) -> None:
    """Replace state.json as a whole. It need not outlive a power cut: the states of before mean nothing then."""
    beside = folder / f".state.{os.getpid()}"
    with _translated(folder):
        beside.write_text(recorded.to_json(), "utf-8")
        beside.replace(folder / "state.json")


def read_state(root: Root, folder: Path) -> Recorded | None:
    """Return what state.json says of this start of the host; what an earlier one left is nothing."""
    recorded = Recorded.parse(root.text(str(folder / "state.json")))
    return recorded if recorded is not None and recorded.boot_id == boot_id(root) else None


def boot_id(root: Root) -> str:
    return root.text("/proc/sys/kernel/random/boot_id").strip()


def started_at(root: Root, pid: int) -> int:
    """Return when a process started, in clock ticks since the host's start; 0 where there is no such process."""
    # The second field is the name, in brackets, and may hold brackets and spaces itself. Source: proc(5).
    fields = root.text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    dead = not fields or fields[0] in {"Z", "X"}
    return int(fields[19]) if not dead and len(fields) > 19 and fields[19].isdigit() else 0


def is_alive(root: Root, pid: int, start: int) -> bool:
    """Say whether the very process still runs that started then: numbers are given again to others."""
    return pid > 0 and start > 0 and started_at(root, pid) == start


def qemu_of(root: Root, settings: HostSettings) -> tuple[int, int] | None:
    """
    Return the PID and the start time of this VM's QEMU if it lives, whoever started it.

    state.json names it; where a helper was killed before it could write that, QEMU's own PID file does, and the
    process is believed when its command line names this VM's folder.
    """
    recorded = read_state(root, settings.run_folder)
    if recorded is not None and is_alive(root, recorded.qemu_pid, recorded.qemu_start):
        return recorded.qemu_pid, recorded.qemu_start
    told = root.text(str(settings.run_folder / "pid")).strip()
    if not (told.isascii() and told.isdigit() and len(told) < 12):
        return None
    arguments = root.text(f"/proc/{told}/cmdline").split("\0")
    start = started_at(root, int(told))
    return (int(told), start) if start and str(settings.run_folder / "pid") in arguments else None


def _make(folder: Path, mode: int) -> None:
    with _translated(folder):
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise EncoderdError(
                f"{folder} is no folder of the user who runs this.", remedy=f"Look at it and remove it: ls -ld {folder}"
            )
        folder.chmod(mode)


def _copy_variables(template: Path, private: Path) -> None:
    """UEFI keeps boot entries there, so every VM has its own; an existing copy is the guest's and stays."""
    if private.exists():
        return
    beside = private.with_name(f".vars.{os.getpid()}")
    try:
        shutil.copyfile(template, beside)
        with open(beside, "rb+") as copied:
            os.fsync(copied.fileno())
        beside.replace(private)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise EncoderdError(
            f"The UEFI variables {template} cannot be copied to {private}: {error.strerror}",
            remedy="Install OVMF (apt-get install ovmf), or name its files in vm.uefi_code and vm.uefi_vars.",
        ) from error


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EncoderdError(
            f"{error.filename or path} cannot be used: {error.strerror}",
            remedy="Run this as root, or set vm.run_dir and vm.state_dir to folders of yours; is the disk full? df -h",
        ) from error
