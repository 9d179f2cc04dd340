"""The line that the host reads: its keys, its size, and that no file name can break it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd import __version__
from encoderd.health_line import LINE_BYTES, GateSeen, GateWord, GpuSeen, health_line
from encoderd.host.health import Gate, Health
from encoderd.status import Running, Status

OPEN = GateSeen(word=GateWord.OPEN, reason="", encoder="h264_qsv")
CLOSED = GateSeen(word=GateWord.CLOSED, reason="no session (-9)", encoder="h264_qsv")
GPU = GpuSeen(render_node="/dev/dri/renderD128", runtime="libmfx-gen.so.1.2")


def running(recording: str = "a.ts", done_ratio: float = 0.4, speed_x: float = 5.1) -> Running:
    return Running(
        job=12, recording=recording, encoder="h264_qsv", phase="encoding", done_ratio=done_ratio, out_time_s=60.0,
        fps=240.0, speed_x=speed_x, size_bytes=5,
    )  # fmt: skip


def status(sentence: str = "idle; 0 queued", worker: str = "guest-1", *, at_work: Running | None = None) -> Status:
    return Status(
        pid=123, worker=worker, status=sentence, counts={"queued": 3, "done": 9}, paused=False,
        running=(at_work,) if at_work else (), coming=(), coming_count=1, problems={"tv.output": ["full", "make room"]},
    )  # fmt: skip


def test_all_that_the_host_is_told() -> None:
    line = health_line(status("encoding a.ts 40%", at_work=running()), CLOSED, GPU, 1763900000.0)

    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "type": "health",
        "schema": 1,
        "version": __version__,
        "pid": 123,
        "worker": "guest-1",
        "at": 1763900000.0,
        "status": "encoding a.ts 40%",
        "gate": "closed",
        "gate_reason": "no session (-9)",
        "encoder": "h264_qsv",
        "render_node": "/dev/dri/renderD128",
        "runtime": "libmfx-gen.so.1.2",
        "job": {"id": 12, "recording": "a.ts", "done_ratio": 0.4, "speed_x": 5.1},
        "queued": 3,
        "coming": 1,
        "paused": False,
        "problems": 1,
    }


def test_without_work_and_without_a_gpu() -> None:
    told = json.loads(health_line(status(), OPEN, GpuSeen(), 0.0))

    assert (None, None, None) == (told["job"], told["render_node"], told["runtime"])


def test_the_host_reads_the_same() -> None:
    """Both ends of the port are in this repository, and this holds them together."""
    read = Health.parse(health_line(status(at_work=running("ニュース7.ts")), CLOSED, GPU, 7.0).rstrip(b"\n"))

    assert read is not None
    assert read.job is not None
    assert (Gate.CLOSED, "no session (-9)", "guest-1", 7.0) == (read.gate, read.gate_reason, read.worker, read.at_s)
    assert ("ニュース7.ts", 0.4, 5.1) == (read.job.recording, read.job.done_ratio, read.job.speed_x)
    assert (3, 1, False, 1) == (read.queued, read.coming, read.paused, read.problems)


@pytest.mark.parametrize("ratio", [math.nan, math.inf, -math.inf])
def test_no_number_that_json_has_not(ratio: float) -> None:
    told = json.loads(health_line(status(at_work=running(done_ratio=ratio)), OPEN, GPU, 0.0))

    assert told["job"]["done_ratio"] == 0.0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("two\nlines\x1b[31m.ts", r"two\nlines\x1b[31m.ts"),
        ("latin-\udce9.ts", r"latin-\xe9.ts"),
        ("語" * 80 + ".ts", "語" * 49 + "…"),
    ],
)
def test_names_are_one_printable_line(name: str, told: str) -> None:
    line = health_line(status(at_work=running(name)), OPEN, GPU, 0.0)

    assert line.count(b"\n") == 1
    assert told == json.loads(line)["job"]["recording"]


TEXT = st.text(max_size=600) | st.just("\\" * 600) | st.just("\x01" * 600) | st.just("語" * 600) | st.just('"' * 600)


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT, TEXT, TEXT, TEXT, st.floats(), st.integers(min_value=0, max_value=10**12))
def test_a_line_is_never_longer_than_its_limit(
    sentence: str, worker: str, reason: str, name: str, node: str, number: float, jobs: int
) -> None:
    """Whatever the names: less than 1 kB, one line, and JSON."""
    seen = GateSeen(word=GateWord.UNTRIED, reason=reason, encoder="h264_qsv")
    told = Status(
        pid=2**22, worker=worker, status=sentence, counts={"queued": jobs}, paused=False,
        running=(running(name, done_ratio=number, speed_x=number),), coming=(), coming_count=jobs, problems={},
    )  # fmt: skip
    line = health_line(told, seen, GpuSeen(render_node=node, runtime=node), 1763900000.123456)

    assert len(line) <= LINE_BYTES
    assert line.count(b"\n") == 1
    assert json.loads(line)["type"] == "health"
