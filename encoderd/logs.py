"""
Logs: JSON lines with a priority prefix for the journal, readable lines for a terminal.

Events are named `place.thing_happened`; every number is a field with its unit. Lines about a job carry `job` and
`recording`, bound with structlog's context variables for the length of the work.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from encoderd.jobs import readable

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """
    Send all logs to `stream` (standard output by default), from `level` on.

    `form` is "json", "console" or "auto": console on a terminal, else JSON. Lines start with the journal's priority
    ("<6>") only where systemd reads them (JOURNAL_STREAM is set), as sd-daemon(3) describes.
    """
    out = sys.stdout if stream is None else stream
    if form == "auto":
        form = "console" if out.isatty() else "json"
    if isinstance(out, io.TextIOWrapper):
        # JSON is UTF-8 whatever the locale says, and no character that a stream cannot hold may stop the daemon.
        out.reconfigure(encoding="utf-8" if form == "json" else None, errors="backslashreplace")
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=form == "json"),
        structlog.processors.format_exc_info,
        _printable,
    ]
    if form == "json":
        processors.append(_JsonLine(journal="JOURNAL_STREAM" in os.environ))
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=26))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )


def get_logger() -> Any:
    """Return the logger; it follows `configure` whenever that is called."""
    return structlog.get_logger()


class _JsonLine:
    def __init__(self, *, journal: bool) -> None:
        self._journal = journal

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        first = {"ts": event.pop("timestamp", None), "level": event.pop("level"), "event": event.pop("event")}
        first |= {key: event.pop(key) for key in ("job", "recording") if key in event}
        ordered = {**first, **event}
        line = json.dumps(ordered, ensure_ascii=False, default=str)
        return f"<{_PRIORITY.get(ordered['level'], 6)}>{line}" if self._journal else line


def _printable(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A file name may hold any byte; a log line may not."""
    for key, value in event.items():
        if key != "exception":
            event[key] = _plain(value)
    return event


def _plain(value: Any) -> Any:
    """What JSON can hold and one line can show, inside lists and mappings too."""
    match value:
        case os.PathLike():
            return readable(os.fsdecode(value))
        case str():
            return readable(value)
        case float() if not math.isfinite(value):
            return str(value)
        case Mapping():
            return {readable(str(key)): _plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
    return value
