"""The language between daemon and child, line by line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.messages import (
    Build,
    BuildRequest,
    Encoded,
    EncodeRequest,
    Failed,
    Loaded,
    LoadRequest,
    Message,
    Probed,
    Progress,
    Request,
    Started,
    TrialDone,
    TrialRequest,
    Verified,
    VideoRequest,
    read_message,
    read_request,
    to_line,
)

ENCODE = EncodeRequest(
    job=1,
    source="/in/録画 \udcff\n.ts",
    partial="/out/.録画 \udcff.partial",
    size_bytes=2**40,
    mtime_ns=1_700_000_000_123_456_789,
    video=VideoRequest(encoder="h264_qsv", extra=(("max_dec_frame_buffering", "4"),)),
    container="mkv",
    deinterlace="auto",
    audio_bit_rate_bps=160_000,
    verify="full",
    nice=5,
)
REQUESTS: list[Request] = [
    ENCODE,
    TrialRequest(video=VideoRequest(encoder="libx264")),
    BuildRequest(),
    LoadRequest(path="/x.so"),
]
MESSAGES: list[Message] = [
    Probed(format="mpegts", duration_s=1.5, streams=["video \u3000"]),
    Started(encoder="libx264", granted={"profile": "High"}),
    Progress(phase="encoding", out_time_s=1, frames=2, fps=3.5, speed_x=4.5, size_bytes=5, done_ratio=0.5),
    Verified(findings=[{"check": "frames", "verdict": "pass"}]),
    Encoded(size_bytes=1, mtime_ns=2, receipt={"deep": {"list": [1, None, "\udc80"]}}),
    Failed(kind="recording", event="recording_rejected", reason="\udcff\n", remedy="r"),
    Build(pyav="18", ffmpeg="8", libraries={"libavcodec": "62"}, encoders=["libx264"]),
    TrialDone(encoder="libx264", frames=12, wall_s=0.5, psnr_db=40.0, granted={}),
    Loaded(path="/x.so", error="invalid ELF header"),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.TYPE)
def test_requests_come_back_as_they_were(request_: Request) -> None:
    """One line of ASCII, whatever the names hold: line ends, other scripts, bytes that are not UTF-8."""
    line = to_line(request_)

    assert line.isascii() and line.count("\n") == 1 and line.endswith("\n")
    assert request_ == read_request(line)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.TYPE)
def test_messages_come_back_as_they_were(message: Message) -> None:
    line = to_line(message)

    assert line.isascii() and line.count("\n") == 1
    assert message == read_message(line)


@settings(deadline=None)
@given(st.binary().map(lambda name: name.decode("utf-8", "surrogateescape")))
def test_any_file_name_survives(name: str) -> None:
    failed = Failed(kind="crash", event="crashed", reason=name, remedy="")

    assert failed == read_message(to_line(failed))


def test_unknown_keys_are_ignored() -> None:
    """The other side may be newer."""
    line = json.dumps({**json.loads(to_line(ENCODE)), "colour_of_the_bike_shed": "blue"})

    assert read_request(line) == ENCODE


def test_keys_with_a_default_may_be_missing() -> None:
    data = json.loads(to_line(ENCODE))
    del data["nice"]

    assert read_request(json.dumps(data)).nice == 0  # type: ignore[union-attr]  # it is an EncodeRequest


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "Traceback (most recent call last):",
        "null",
        "[1]",
        '"failed"',
        "{}",
        '{"type": "a_newer_message"}',
        '{"type": ["failed"]}',
        '{"type": "failed"}',
        '{"type": "failed", "kind": ["crash"], "event": "crashed", "reason": "", "remedy": ""}',
        '{"type": "encoded", "size_bytes": true, "mtime_ns": 1, "receipt": {}}',
        '{"type": "encoded", "size_bytes": 1, "mtime_ns": 1, "receipt": []}',
        '{"type": "progress", "phase": "encoding", "out_time_s": "soon"}',
        "[" * 100_000,
        '{"type": "encoded", "size_bytes": ' + "9" * 10_000 + "}",
    ],
)
def test_what_is_no_message_is_skipped(line: str) -> None:
    """A stray print, a newer message, one with a value of the wrong type: none of them can hurt the daemon."""
    assert read_message(line) is None


@settings(deadline=None)
@given(st.text())
def test_no_text_makes_it_raise(line: str) -> None:
    read_message(line)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "dance"}, "not a request"),
        ({"source": None}, "encode.source is not str"),
        ({"job": "7"}, "encode.job is not int"),
    ],
)
def test_a_request_that_cannot_be_done_says_why(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_request(json.dumps({**json.loads(to_line(ENCODE)), **change}))


def test_an_incomplete_request_names_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"incomplete encode: .*'partial'"):
        read_request('{"type": "encode", "job": 1, "source": "/in/a.ts"}')
