"""The one sentence that systemctl shows."""

from __future__ import annotations

import pytest

from encoderd.status import Running, sentence

ENCODING = Running(
    job=1, recording="a.ts", encoder="h264_qsv", phase="encoding", done_ratio=0.5, out_time_s=60.0, fps=240.0,
    speed_x=8.04, size_bytes=5,
)  # fmt: skip
STARTING = Running(
    job=2, recording="ニュース.ts", encoder="libx264", phase="starting", done_ratio=0.0, out_time_s=0.0, fps=0.0,
    speed_x=0.0, size_bytes=0,
)  # fmt: skip
PROBLEM = {"tv.output": ["/out is full", "make room"]}


@pytest.mark.parametrize(
    ("running", "queued", "coming", "pause_reason", "problems", "expected"),
    [
        ((), 0, 0, None, {}, "idle; 0 queued, 0 being recorded"),
        ((), 0, 2, None, {}, "idle; 0 queued, 2 being recorded"),
        ((), 3, 0, None, {}, "waiting; 3 queued, 0 being recorded"),
        ((), 3, 0, "", {}, "paused; 3 queued, 0 being recorded"),
        ((), 3, 0, "disk\nswap", {}, "paused (disk\\nswap); 3 queued, 0 being recorded"),
        ((ENCODING,), 1, 0, None, {}, "encoding a.ts 50% at 8.0×; 1 queued, 0 being recorded"),
        ((ENCODING,), 1, 0, "", {}, "encoding a.ts 50% at 8.0×; paused; 1 queued, 0 being recorded"),
        (
            (ENCODING, STARTING), 0, 0, None, {},
            "encoding a.ts 50% at 8.0×; starting ニュース.ts 0%; 0 queued, 0 being recorded",
        ),
        ((), 1, 0, None, PROBLEM, "waiting; 1 queued, 0 being recorded; tv.output: /out is full"),
    ],
)  # fmt: skip
def test_what_is_done_what_waits_what_is_wrong(
    running: tuple[Running, ...],
    queued: int,
    coming: int,
    pause_reason: str | None,
    problems: dict[str, list[str]],
    expected: str,
) -> None:
    assert sentence(running, queued, coming, pause_reason, problems) == expected
