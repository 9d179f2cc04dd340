"""
The one door through which the helper changes the host: a write to a file of sysfs, or a module that is loaded.

Every write is done by a child of its own that lives for one `write(2)`: the kernel may keep a writer waiting for as
long as somebody uses the device, and then only the child waits.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from encoderd.errors import EncoderdError
from encoderd.root import Root

#: The only files that are ever written to. Anything else is a defect of this program.
_WRITABLE = re.compile(
    r"/sys/bus/pci/devices/[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/driver_override"
    r"|/sys/bus/pci/drivers/[\w.+-]+( [\w.+-]+)*/(bind|unbind)"
    r"|/sys/bus/pci/drivers_probe"
    r"|/sys/class/vtconsole/vtcon\d+/bind"
)

#: Says "errno bytes-written" on stdout. It ignores what can be ignored: a signal that reaches a writer which waits in
#: vfio's unbind turns its wait into one that nothing can end (seen on Linux 6.1). No O_CREAT: a file that is not there
#: must be ENOENT.
_WRITER = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
    signal.signal(number, signal.SIG_IGN)
try:
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CLOEXEC)
    said = 0, os.write(descriptor, bytes.fromhex(sys.argv[2]))
except OSError as error:
    said = error.errno, 0
os.write(1, b"%d %d" % said)
"""

#: modprobe is in sbin, which the PATH of an ordinary user lacks.
_MODPROBE_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"

#: What an errno usually means when one of the files above is written: (meaning, remedy).
_MEANINGS = {
    errno.EACCES: (
        "the file may not be written by this user, or udev was at the device at the same moment",
        "Run this as root; in a unit without ProtectKernelTunables and PrivateDevices. Else try once more.",
    ),
    errno.EPERM: ("the kernel forbids it", "Run this as root on the host itself, not in a container."),
    errno.EROFS: (
        "sysfs is mounted read-only, as in a container or under ProtectKernelTunables=yes",
        "Run this on the host itself; take ProtectKernelTunables out of the unit.",
    ),
    errno.ENOENT: (
        "there is no such file: the device or the driver went away, or the driver is not loaded",
        "See what is there: lspci -Dnnk",
    ),
    errno.ENODEV: ("the driver does not want this device, or does not have it", "See who has it: lspci -Dnnk"),
    errno.EBUSY: ("the device has a driver already", "See who has it: lspci -Dnnk"),
    errno.EINVAL: (
        "the driver started on the device and failed; vfio-pci does that where the device has no IOMMU group",
        "See what the kernel said: dmesg | tail",
    ),
}


class KernelRefused(EncoderdError):
    """The kernel answered a write with an error; `errno` is its number."""

    def __init__(self, path: str, number: int) -> None:
        name = errno.errorcode.get(number, str(number))
        meaning, remedy = _MEANINGS.get(number, ("", "See what the kernel said: dmesg | tail"))
        explained = f": {meaning}" if meaning else ""
        super().__init__(f"Writing {path} failed with {name} ({os.strerror(number)}){explained}.", remedy=remedy)
        self.path = path
        self.errno = number


class KernelHangs(EncoderdError):
    """A write has not come back in time; the process `pid` still waits in it, and is best left alone."""

    def __init__(self, path: str, pid: int, state: str = "", limit_s: float = 0) -> None:
        waits = {
            "S": "it waits and will go on by itself when the device is free",
            "D": "it waits in the kernel and cannot be killed; the end of the device's user ends that, or a reboot",
        }.get(state[:1], "what it does is unknown")
        super().__init__(
            f"Writing {path} has not come back after {limit_s:g} s: process {pid} is in state {state or '?'}: {waits}. "
            "Usually somebody still uses the device.",
            remedy=f"Stop what uses the device (ls -l /proc/*/fd | grep /dev/vfio, fuser /dev/dri/*), then see: "
            f"encoderd-host status. Do not kill process {pid}: that makes its wait endless.",
        )
        self.path = path
        self.pid = pid
        self.state = state


class Kernel(Protocol):
    """What the helper needs of a kernel. Paths are absolute, as on the machine itself."""

    @property
    def root(self) -> Root: ...

    @property
    def boot_id(self) -> str:
        """The name of this boot: what sysfs was told is gone with it."""

    @property
    def release(self) -> str:
        """`uname -r`."""

    def write(self, path: str, data: str, limit_s: float) -> None:
        """
        Write `data` to a file of sysfs in one go.

        Raises:
            KernelRefused: the kernel said no.
            KernelHangs: no answer within `limit_s` seconds.
        """

    def load_module(self, name: str, limit_s: float) -> None:
        """Load a module with what it needs; nothing happens if it is loaded. Raises EncoderdError."""

    def pause(self, seconds: float) -> None:
        """Let that time pass: what the kernel and udev do, they do meanwhile."""


class LiveKernel:
    """The kernel of this machine; `root` is another folder in tests of the writing itself."""

    def __init__(self, root: Root | None = None) -> None:
        self._root = root or Root(Path("/"))
        self._hanging: list[subprocess.Popen[bytes]] = []  # kept, so that nobody reaps or warns about them

    @property
    def root(self) -> Root:
        return self._root

    @property
    def boot_id(self) -> str:
        return self._root.text("/proc/sys/kernel/random/boot_id").strip()

    @property
    def release(self) -> str:
        return self._root.text("/proc/sys/kernel/osrelease").strip()

    def write(self, path: str, data: str, limit_s: float) -> None:
        if not _WRITABLE.fullmatch(path):
            raise EncoderdError(f"{path} is not a file this program may write.", remedy="This is a defect: report it.")
        argv = [sys.executable, "-I", "-S", "-c", _WRITER, str(self._root.at(path)), data.encode().hex()]
        said = self._child(argv, path, limit_s)[1].split()
        if len(said) != 2:
            raise EncoderdError(
                f"The process that was to write {path} died without a word.", remedy="Try again; then see: dmesg | tail"
            )
        number, written = int(said[0]), int(said[1])
        if number:
            raise KernelRefused(path, number)
        if written != len(data.encode()):
            raise KernelRefused(path, errno.EIO)

    def load_module(self, name: str, limit_s: float) -> None:
        if self._root.exists(f"/sys/module/{name.replace('-', '_')}"):
            return
        if str(self._root.folder) != "/":
            raise EncoderdError(
                f"Module {name} is not loaded on the machine below {self._root.folder}.",
                remedy="Modules are loaded only on the host itself.",
            )
        modprobe = shutil.which("modprobe", path=_MODPROBE_PATH)
        if modprobe is None:
            raise EncoderdError(
                f"Module {name} is not loaded, and there is no modprobe to load it with.",
                remedy="Install it (on Debian: apt-get install kmod).",
            )
        code, said = self._child([modprobe, "--", name], f"module {name}", limit_s)
        if code:
            raise EncoderdError(
                f"modprobe {name} failed ({code}): {' '.join(said.split())[-500:] or 'it said nothing'}",
                remedy=f"See what it says: modprobe -v {name}; lines in /etc/modprobe.d can forbid a module, and a "
                "kernel that was updated without a reboot has no modules any more.",
            )

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def _child(self, argv: list[str], path: str, limit_s: float) -> tuple[int, str]:
        """
        Run a child and return its exit status and what it said.

        It gets a session of its own, so that Ctrl-C does not reach it, and inherits what is marked inheritable: the
        locks of `journal.locked`. So a lock lasts until the write has really ended, even if this process is killed.
        """
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            close_fds=False,
            start_new_session=True,
            cwd="/",
        )
        try:
            said, _ = child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self._hanging.append(child)
            raise KernelHangs(path, child.pid, _state_of(child.pid), limit_s) from None
        return child.returncode, said.decode("utf-8", "replace")


def _state_of(pid: int) -> str:
    """Return the letter of a process' state: S waits and can be woken, D waits and cannot. Source: proc(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0] if ")" in stat else ""
