"""sd_notify: datagrams as systemd receives them, on a real socket."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encoderd.notify import Notifier

Call = Callable[[Notifier], None]


@pytest.fixture(params=["in a folder", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The receiving end and the name under which a service finds it."""
    name = str(tmp_path / "notify") if request.param == "in a folder" else f"@encoderd-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name[1:] if name.startswith("@") else name)
        receiver.settimeout(2)
        yield name, receiver


@pytest.fixture(autouse=True)
def not_under_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("call", "datagram"),
    [
        (lambda notifier: notifier.ready("2 queued"), b"READY=1\nSTATUS=2 queued"),
        (lambda notifier: notifier.status("encoding a.ts"), b"STATUS=encoding a.ts"),
        (lambda notifier: notifier.watchdog(), b"WATCHDOG=1"),
        (lambda notifier: notifier.stopping("giving back 1 job"), b"STOPPING=1\nSTATUS=giving back 1 job"),
        (lambda notifier: notifier.status("料理.ts"), "STATUS=料理.ts".encode()),
        (lambda notifier: notifier.status("two\nREADY=1\n lines"), b"STATUS=two READY=1 lines"),
        (lambda notifier: notifier.status(os.fsdecode(b"\xff.ts")), rb"STATUS=\udcff.ts"),
    ],
)
def test_each_call_is_one_datagram(call: Call, datagram: bytes, systemd: tuple[str, socket.socket]) -> None:
    """A status is one line: a file name with a newline in it cannot forge another field."""
    name, receiver = systemd
    call(Notifier(name))

    assert datagram == receiver.recv(4096)


def test_reloading_carries_the_monotonic_clock(systemd: tuple[str, socket.socket]) -> None:
    """systemd.service(5), Type=notify-reload: both fields in one datagram."""
    name, receiver = systemd
    Notifier(name).reloading()

    reloading, clock = receiver.recv(4096).decode().split("\n")
    assert reloading == "RELOADING=1"
    assert clock.startswith("MONOTONIC_USEC=")
    assert int(clock.partition("=")[2]) > 0


def test_the_same_status_is_sent_once(systemd: tuple[str, socket.socket]) -> None:
    name, receiver = systemd
    notifier = Notifier(name)
    for status in ("idle", "idle", "encoding", "idle"):
        notifier.status(status)
    notifier.watchdog()

    received = [receiver.recv(4096) for _ in range(4)]
    assert received == [b"STATUS=idle", b"STATUS=encoding", b"STATUS=idle", b"WATCHDOG=1"]


def test_the_status_of_ready_is_not_sent_again(systemd: tuple[str, socket.socket]) -> None:
    name, receiver = systemd
    notifier = Notifier(name)
    notifier.ready("idle")
    notifier.status("idle")
    notifier.watchdog()

    assert [receiver.recv(4096) for _ in range(2)] == [b"READY=1\nSTATUS=idle", b"WATCHDOG=1"]


def test_the_name_comes_from_the_environment(
    systemd: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, receiver = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    Notifier().watchdog()

    assert receiver.recv(4096) == b"WATCHDOG=1"


def everything(notifier: Notifier) -> None:
    notifier.ready("idle")
    notifier.status("encoding")
    notifier.watchdog()
    notifier.reloading()
    notifier.stopping("done")


def test_without_systemd_nothing_happens() -> None:
    everything(Notifier())


def test_a_socket_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    everything(Notifier(str(tmp_path / "gone")))
    everything(Notifier("/" + "x" * 200))


def test_a_full_socket_blocks_nothing(systemd: tuple[str, socket.socket]) -> None:
    """Nobody reads: the kernel keeps a few datagrams, the others are dropped, and the daemon goes on."""
    notifier = Notifier(systemd[0])
    for _ in range(10_000):
        notifier.watchdog()


@pytest.mark.parametrize(
    ("environment", "period_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "mine"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "3 weeks"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_limit(
    environment: dict[str, str], period_s: float | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(os.getpid()) if value == "mine" else value)

    assert period_s == Notifier(str(tmp_path / "notify")).watchdog_period_s


def test_nobody_watches_without_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")

    assert Notifier().watchdog_period_s is None
