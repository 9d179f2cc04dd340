"""The console carries bytes both ways and ends by Ctrl-] or by the end of either side; the terminal comes back."""

from __future__ import annotations

import os
import pty
import socket
import termios
import threading
from pathlib import Path

import pytest

from encoderd.errors import EncoderdError
from encoderd.host.console import attach_console, pump


class Pumped:
    """A pump that runs between a pair of sockets and two pipes."""

    def __init__(self) -> None:
        self.guest, self.line = socket.socketpair()
        self.keys_out, self.keys = os.pipe()
        self.screen, self.screen_in = os.pipe()
        self.guest.settimeout(5)
        self.thread = threading.Thread(target=pump, args=(self.line, self.keys_out, self.screen_in))
        self.thread.start()

    def ended(self) -> bool:
        self.thread.join(5)
        return not self.thread.is_alive()


def test_bytes_go_both_ways() -> None:
    """Whatever they are: the guest's terminal sends no valid text while it is being drawn."""
    pumped = Pumped()
    pumped.guest.sendall(b"login: \xff\x1b[2J")
    os.write(pumped.keys, b"root\r\x03")

    assert b"login: \xff\x1b[2J" == os.read(pumped.screen, 100)
    assert b"root\r\x03" == pumped.guest.recv(100)
    os.write(pumped.keys, b"last\x1dnever")
    assert b"last" == pumped.guest.recv(100)
    assert pumped.ended()


@pytest.mark.parametrize("who", ["guest", "keyboard"])
def test_the_end_of_either_side_ends_it(who: str) -> None:
    pumped = Pumped()
    if who == "guest":
        pumped.guest.close()
    else:
        os.close(pumped.keys)

    assert pumped.ended()


def test_more_than_the_screen_takes_at_once_arrives() -> None:
    pumped = Pumped()
    sent = os.urandom(300_000)
    sending = threading.Thread(target=pumped.guest.sendall, args=(sent,))
    sending.start()
    came = b""
    while len(came) < len(sent):
        came += os.read(pumped.screen, 65536)
    sending.join()
    pumped.guest.close()

    assert sent == came
    assert pumped.ended()


def test_the_terminal_is_raw_meanwhile_and_as_before_afterwards(tmp_path: Path) -> None:
    keyboard, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "serial.sock"))
        server.listen()
        console = threading.Thread(target=attach_console, args=(tmp_path / "serial.sock", terminal, terminal))
        console.start()
        guest, _ = server.accept()
        guest.settimeout(5)
        guest.sendall(b"hello")
        os.read(keyboard, 100)
        during = termios.tcgetattr(terminal)
        os.write(keyboard, b"\x03\x1d")
        heard = guest.recv(100)
        console.join(5)
        guest.close()
    after = termios.tcgetattr(terminal)

    assert b"\x03" == heard
    assert (True, False) == (bool(before[3] & termios.ISIG), bool(during[3] & termios.ISIG))
    assert before == after
    os.close(keyboard)
    os.close(terminal)


def test_no_vm_is_told(tmp_path: Path) -> None:
    with pytest.raises(EncoderdError, match="cannot be reached"):
        attach_console(tmp_path / "none.sock", 0, 1)
