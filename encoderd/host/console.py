"""The guest's serial console at a terminal: bytes in both directions, until Ctrl-]."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

from encoderd.errors import EncoderdError

#: Ctrl-], as with telnet and virsh.
ESCAPE = b"\x1d"
_CHUNK_BYTES = 4096


def attach_console(path: Path, fd_in: int, fd_out: int) -> None:
    """
    Connect a terminal to the serial console's socket until Ctrl-], or until the VM ends.

    The terminal is raw meanwhile, so that Ctrl-C and its like go to the guest; afterwards it is as before.

    Raises:
        EncoderdError: no VM listens at `path`.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(str(path))
        except OSError as error:
            raise EncoderdError(
                f"The console {path} cannot be reached: {error.strerror or error}",
                remedy="Does the VM run? encoderd-host status; what it wrote before is in serial.log beside it.",
            ) from error
        with _raw(fd_in):
            pump(line, fd_in, fd_out)


def pump(line: socket.socket, fd_in: int, fd_out: int) -> None:
    """
    Carry bytes between `line` and the two descriptors, until Ctrl-] or the end of either side.

    QEMU has one place for a console: when another one is attached nothing comes, and Ctrl-] still ends this.
    """
    with selectors.DefaultSelector() as ready:
        ready.register(line, selectors.EVENT_READ)
        with contextlib.suppress(PermissionError):  # a regular file cannot be waited for; it is only read from here
            ready.register(fd_in, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                try:
                    if key.fileobj is line:
                        data = line.recv(_CHUNK_BYTES)
                        _write_all(fd_out, data)
                    else:
                        data = os.read(fd_in, _CHUNK_BYTES)
                        typed, escape, _ = data.partition(ESCAPE)
                        line.sendall(typed)
                        if escape:
                            return
                except OSError:  # the terminal or the VM is gone
                    return
                if not data:
                    return


@contextlib.contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
