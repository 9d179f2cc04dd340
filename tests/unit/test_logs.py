"""Log lines: one event is one line of UTF-8, whatever a file is called, and the journal learns its priority."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from encoderd import logs

JAPANESE = "きょうの料理　第1回.ts"
WORST = os.fsdecode(b"two\nlines \xff\x1b[31m.ts")
WORST_SHOWN = r"two\nlines \xff\x1b[31m.ts"

Written = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    yield
    structlog.reset_defaults()


def configured(form: str = "json", *, level: str = "debug", encoding: str = "utf-8", terminal: bool = False) -> Written:
    """Send the logs to a stream as Python makes one for standard output; return what reads its lines."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict", newline="", write_through=True)
    stream.isatty = lambda: terminal  # type: ignore[method-assign]  # there is no other way to play the terminal
    logs.configure(level, form, stream)
    return lambda: raw.getvalue().decode("utf-8").splitlines(keepends=True) if stream else []


def only(lines: list[str]) -> dict[str, Any]:
    assert len(lines) == 1
    assert lines[0].endswith("\n")
    document = json.loads(lines[0], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(document, dict)
    return document


def test_a_line_begins_with_time_level_event_and_job() -> None:
    lines = configured()
    with structlog.contextvars.bound_contextvars(recording=JAPANESE, job=7):
        logs.get_logger().info("encode.finished", wall_s=1.5, speed_x=12.0)

    line = only(lines())
    assert list(line) == ["ts", "level", "event", "job", "recording", "wall_s", "speed_x"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("ts"))
    assert line == {
        "level": "info", "event": "encode.finished", "job": 7, "recording": JAPANESE, "wall_s": 1.5, "speed_x": 12.0,
    }  # fmt: skip
    assert JAPANESE in lines()[0]


@pytest.mark.parametrize(
    ("method", "prefix"),
    [("debug", "<7>"), ("info", "<6>"), ("warning", "<4>"), ("error", "<3>"), ("critical", "<2>")],
)
def test_the_journal_reads_the_priority(method: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """sd-daemon(3): a line may begin with its priority in angle brackets."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    lines = configured()
    getattr(logs.get_logger(), method)("gate.closed", remedy="encoderd check")

    (line,) = lines()
    assert line.startswith(prefix + "{")
    assert json.loads(line.removeprefix(prefix))["event"] == "gate.closed"


def test_elsewhere_there_is_no_prefix() -> None:
    lines = configured()
    logs.get_logger().error("gate.closed")

    assert lines()[0].startswith("{")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (WORST, WORST_SHOWN),
        (Path("/srv") / WORST, "/srv/" + WORST_SHOWN),
        ([WORST, {"inside": WORST}], [WORST_SHOWN, {"inside": WORST_SHOWN}]),
        ({WORST: (WORST,)}, {WORST_SHOWN: [WORST_SHOWN]}),
        (b"\xff\n", r"b'\xff\n'"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (None, None),
        (JAPANESE, JAPANESE),
        (2**63, 2**63),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_no_value_breaks_a_line(value: Any, shown: Any, encoding: str) -> None:
    """JSON lines are UTF-8 whatever the locale made of standard output."""
    lines = configured(encoding=encoding)
    logs.get_logger().info("intake.recording_seen", value=value)

    assert only(lines())["value"] == shown


def test_an_exception_with_a_bad_name_is_one_line_too() -> None:
    lines = configured()
    try:
        raise FileNotFoundError(2, f"no {WORST}", WORST)
    except FileNotFoundError:
        logs.get_logger().exception("encode.failed")

    line = only(lines())
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert "FileNotFoundError" in line["exception"]


class _Awkward:
    def __str__(self) -> str:
        return WORST


def test_an_object_that_json_does_not_know_is_shown() -> None:
    lines = configured()
    logs.get_logger().info("intake.recording_seen", value=_Awkward())

    assert "two\nlines" in only(lines())["value"]


def test_lines_below_the_level_are_not_written() -> None:
    lines = configured(level="warning")
    logs.get_logger().info("queue.job_added")
    logs.get_logger().warning("queue.job_lost")

    assert only(lines())["event"] == "queue.job_lost"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_terminal_gets_readable_lines(encoding: str) -> None:
    lines = configured("auto", terminal=True, encoding=encoding)
    logs.get_logger().info("encode.finished", recording=WORST, other=JAPANESE)

    (line,) = lines()
    assert "encode.finished" in line
    assert "\x1b[31m" not in line  # a file name paints no terminal
    assert (JAPANESE in line) is (encoding == "utf-8")


def test_a_pipe_gets_json_and_no_colours() -> None:
    lines = configured("auto")
    logs.get_logger().info("encode.finished")

    assert only(lines())["event"] == "encode.finished"
    lines = configured("console")
    logs.get_logger().info("encode.finished")
    assert "\x1b[" not in lines()[0]


def test_a_logger_follows_a_later_configure() -> None:
    """Modules fetch their logger when they are imported, before the settings are read."""
    logger = logs.get_logger()
    lines = configured()
    logger.info("daemon.started")

    assert only(lines())["event"] == "daemon.started"


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger().info("daemon.started", recording=WORST)

    assert json.loads(capsys.readouterr().out)["recording"] == WORST_SHOWN
