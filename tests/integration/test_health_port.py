"""The port to the host: a FIFO fills up and a pseudo-terminal goes away just as virtio-serial does."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import shutil
import stat
import sys
import time
import tty
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from encoderd.encode.messages import TrialDone
from encoderd.gate import Gate
from encoderd.health_line import GateSeen, GateWord, GpuSeen
from encoderd.health_port import HealthPort, gate_seen, gpu_seen
from encoderd.preflight.gpus import NEW_RUNTIME
from encoderd.settings import EncodeSettings, PreflightSettings
from tests.guests import Guest, gathered
from tests.running import RunningDaemon

LINE = b'{"type":"health"}\n'
#: The least a pipe holds; a virtio-serial port holds 32 lines.
PIPE_BYTES = 4096


class Host:
    """The other end of a FIFO."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(self.descriptor, 2**20)
        return b""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "port")
    yield made
    os.close(made.descriptor)


def events(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs]


def test_lines_arrive_and_the_port_stays_open(host: Host) -> None:
    """Each opening and closing is an event on the host."""
    port = HealthPort(host.path)
    port.write(LINE)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        port.write(LINE)

    assert LINE * 4 == host.read()
    assert before == sorted(os.listdir("/proc/self/fd"))


def test_a_host_that_does_not_read_delays_nothing_and_gets_whole_lines(host: Host) -> None:
    """Lines are dropped while the port is full; when there is room again, the next line is a whole one."""
    port = HealthPort(host.path)
    line = b'{"type":"health","padding":"' + b"x" * 500 + b'"}\n'
    started_s = time.monotonic()
    for _ in range(1000):
        port.write(line)
    took_s = time.monotonic() - started_s
    kept = host.read()
    port.write(LINE)

    assert took_s < 1
    assert kept == line * (len(kept) // len(line))
    assert 0 < len(kept) <= PIPE_BYTES
    assert LINE == host.read()


def test_a_line_taken_in_part_is_finished_first(host: Host) -> None:
    """A pipe takes what is longer than a page in parts, as any device may."""
    port = HealthPort(host.path)
    long = b"a" * (PIPE_BYTES + 100) + b"\n"
    port.write(long)
    port.write(LINE)  # no room: dropped
    first = host.read()
    port.write(LINE)

    assert first + host.read() == long + LINE


def test_without_a_port_nothing_is_said(tmp_path: Path) -> None:
    """No machine without one is to be bothered."""
    with capture_logs() as logs:
        port = HealthPort(tmp_path / "none" / "port")
        for _ in range(3):
            port.write(LINE)
        port.close()

    assert (False, []) == (port.present(), logs)


def test_a_port_that_comes_late_is_opened(tmp_path: Path) -> None:
    with capture_logs() as logs:
        port = HealthPort(tmp_path / "port")
        port.write(LINE)
        late = Host(tmp_path / "port")
        for _ in range(3):
            port.write(LINE)
        heard = late.read()
        os.close(late.descriptor)

    assert (LINE * 3, ["health.port_opened"]) == (heard, events(logs))


def test_a_port_that_goes_and_comes_back(tmp_path: Path) -> None:
    """Told once each, however often it is tried; EIO as from a terminal whose other end is closed."""
    path = tmp_path / "port"
    with capture_logs() as logs:
        port = HealthPort(path)
        for _ in range(2):
            host, guest = pty.openpty()
            tty.setraw(guest)
            path.unlink(missing_ok=True)
            path.symlink_to(os.ttyname(guest))
            os.close(guest)
            port.write(LINE)
            heard = os.read(host, 4096)
            os.close(host)
            for _ in range(3):
                port.write(LINE)

            assert heard == LINE

    assert ["health.port_opened", "health.port_lost"] * 2 == events(logs)
    assert all(line["remedy"] for line in logs if line["event"] == "health.port_lost")


def test_the_end_of_a_torn_line_goes_to_the_next_port(tmp_path: Path) -> None:
    """The host cuts at line ends, so a line whose rest is lost gets an end before the next one begins."""
    first = Host(tmp_path / "port")
    port = HealthPort(first.path)
    port.write(b"a" * (PIPE_BYTES + 100) + b"\n")
    os.close(first.descriptor)
    port.write(LINE)  # EPIPE: the reader is gone
    first.path.unlink()
    second = Host(tmp_path / "port")
    port.write(LINE)
    heard = second.read()
    os.close(second.descriptor)

    assert b"\n" + LINE == heard


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else for a moment")
def test_a_port_that_is_not_ours_is_one_warning_with_the_rule(host: Host) -> None:
    host.path.chmod(0o600)
    for folder in (host.path.parent, *host.path.parents[:2]):
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o055)
    with capture_logs() as logs:
        os.seteuid(65534)
        try:
            port = HealthPort(host.path)
            for _ in range(3):
                port.write(LINE)
        finally:
            os.seteuid(0)

    assert events(logs) == ["health.port_refused"]
    assert "Permission denied" in logs[0]["reason"]
    assert "/etc/udev/rules.d/60-encoderd.rules" in logs[0]["remedy"]


def test_a_plain_file_is_no_port(tmp_path: Path) -> None:
    """It would grow for ever."""
    (tmp_path / "port").touch()
    with capture_logs() as logs:
        port = HealthPort(tmp_path / "port")
        for _ in range(3):
            port.write(LINE)

    assert ["health.port_refused"] == events(logs)
    assert (tmp_path / "port").read_bytes() == b""


def test_the_gpu_s_way_is_preflight_s(tmp_path: Path) -> None:
    facts = gathered(tmp_path, Guest(displays=Guest().displays, runtimes=()))
    without = gpu_seen(facts)
    shutil.rmtree(tmp_path)
    alder_lake = Guest().displays[0].__class__(device=0x46D1)

    assert GpuSeen(render_node="/dev/dri/renderD128", runtime=None) == without
    assert gpu_seen(gathered(tmp_path, Guest(displays=(alder_lake,), runtimes=(NEW_RUNTIME,)))) == GpuSeen(
        render_node="/dev/dri/renderD128", runtime=NEW_RUNTIME
    )
    shutil.rmtree(tmp_path)
    assert gpu_seen(gathered(tmp_path, Guest(displays=(), runtimes=(NEW_RUNTIME,)))) == GpuSeen()


def test_the_gate_in_one_word(tmp_path: Path) -> None:
    """Untried, open, closed; auto that fell back to the CPU is open and says why it is not the GPU."""
    gate = Gate(PreflightSettings(), tmp_path / "trial.log")
    cpu, auto = EncodeSettings(encoder="libx264"), EncodeSettings(encoder="auto")
    untried = gate_seen(gate, [cpu], 0.0)
    _conclude(gate, cpu, "libx264")
    opened = gate_seen(gate, [auto, cpu], 1.0)
    _conclude(gate, auto, "h264_qsv")
    on_gpu = gate_seen(gate, [auto], 2.0)
    stale = gate_seen(gate, [EncodeSettings(encoder="h264_qsv")], 9999.0)
    gate.close("h264_qsv", "the GPU is gone", "", 3.0)
    closed = gate_seen(gate, [cpu, EncodeSettings(encoder="h264_qsv")], 4.0)
    fallen = gate_seen(gate, [auto], 4.0)

    assert GateSeen(word=GateWord.UNTRIED, reason="", encoder="libx264") == untried
    assert GateSeen(word=GateWord.OPEN, reason="", encoder="libx264") == opened
    assert GateSeen(word=GateWord.OPEN, reason="", encoder="h264_qsv") == on_gpu == stale
    assert GateSeen(word=GateWord.CLOSED, reason="the GPU is gone", encoder="h264_qsv") == closed
    assert GateSeen(word=GateWord.OPEN, reason="the GPU is gone", encoder="libx264") == fallen
    assert GateSeen(word=GateWord.UNTRIED, reason="", encoder="") == gate_seen(gate, [], 0.0)


def _conclude(gate: Gate, encode: EncodeSettings, encoder: str) -> None:
    """A trial that passed, without its four seconds."""
    video = next(video for video in gate._choices(encode) if video.encoder == encoder)
    gate._conclude(video, TrialDone(encoder=encoder, frames=1, wall_s=1.0, psnr_db=40.0, granted={}), 0.0)


#: `encoderd run`, with a port where the test has the other end.
PROGRAM = """
import sys
from pathlib import Path
from encoderd.daemon import Daemon
from encoderd.logs import configure
from encoderd.settings import load
settings = load(Path(sys.argv[1]))
configure(settings.daemon.log_level, settings.daemon.log_format)
Daemon(settings, port=Path(sys.argv[2])).run()
"""


def test_the_daemon_tells_the_host_what_it_does(daemon: RunningDaemon, long_recording: Path) -> None:
    """A line a second, with the job while it encodes, and a last one when it stops."""
    host = Host(daemon.root / "port")
    fcntl.fcntl(host.descriptor, fcntl.F_SETPIPE_SZ, 2**16)
    daemon.command = [sys.executable, "-c", PROGRAM, str(daemon.settings_file), str(host.path)]
    told: list[dict[str, Any]] = []

    def hear() -> list[dict[str, Any]]:
        told.extend(map(json.loads, host.read().splitlines()))
        return told

    daemon.start().drop(long_recording, "語 one.ts")
    daemon.wait_frozen()
    so_far = len(hear())
    daemon.wait_for(lambda: len(hear()) >= so_far + 3, what="three more lines")
    code = daemon.terminate()
    at_work = [line for line in hear() if line["job"]]
    os.close(host.descriptor)
    pauses = [after["at"] - before["at"] for before, after in pairwise(told[:-1])]

    assert code == 0
    assert [line["recording"] for line in (one["job"] for one in at_work)] == ["語 one.ts"] * len(at_work)
    assert {line["gate"] for line in at_work} == {"open"}
    assert {line["encoder"] for line in at_work} == {"libx264"}
    assert at_work[0]["status"].startswith(("encoding 語 one.ts", "starting 語 one.ts"))
    assert {line["pid"] for line in told} == {daemon.pid}
    assert told[-1]["status"] == "stopping"
    assert min(pauses) > 0.95
    assert sorted(pauses)[len(pauses) // 2] < 2, "a busy machine may delay some"
    assert [line["port"] for line in daemon.log("health.port_opened")] == [str(host.path)]
