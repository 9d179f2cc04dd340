"""`encoderd check --report FILE`: one text file to send along when asking for help, without names of yours."""

from __future__ import annotations

import json
import os
import platform
import pwd
import re
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from encoderd import __version__
from encoderd.errors import DatabaseError, EncoderdError
from encoderd.findings import Finding, as_lines
from encoderd.jobs import JobEvent, readable
from encoderd.queue.store import Store
from encoderd.settings import Settings
from encoderd.state_folder import StateFolder

#: Attempts that ended without a file and without fault of the recording, as many as are shown.
FAILURES = 20
#: Lines of FFmpeg that are shown of the last trial that the daemon made.
TRIAL_LINES = 60


def write_report(path: Path, settings: Settings, findings: Sequence[Finding], facts: Mapping[str, Any]) -> None:
    """
    Write the report to a new file that only its owner may read. `facts` are what the findings rest on, by name.

    Raises:
        EncoderdError: there is such a file already, or it cannot be written.
    """
    text = redacted(compose(settings, findings, facts), private_words(settings))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except FileExistsError:
        raise EncoderdError(
            f"{readable(str(path))} exists; it is not replaced.", remedy="Choose another name, or delete it."
        ) from None


def compose(settings: Settings, findings: Sequence[Finding], facts: Mapping[str, Any]) -> str:
    """Return the whole report, not yet redacted."""
    parts = {
        "encoderd's report": _versions(),
        "Findings": as_lines(findings),
        **{name: _pretty(value) for name, value in facts.items()},
        "Last failures that were not a recording's fault": _failures(settings),
        "What the daemon says": _status(settings),
        "FFmpeg at the daemon's last trial encode": _trial(settings),
        "Settings": _pretty(settings.model_dump(mode="json")),
    }
    return "\n\n".join("\n".join([f"== {title}", *lines]) for title, lines in parts.items()) + "\n"


def redacted(text: str, private: Mapping[str, str]) -> str:
    """
    Return `text` with every private word replaced: {"/srv/tv": "<tv.path>"}. Longer words go first.

    What looks like a MAC address, a UUID or an IP address is blanked too.
    """
    for word in sorted(private, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", private[word], text)
    text = re.sub(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>", text, flags=re.IGNORECASE)
    text = re.sub(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", "<uuid>", text, flags=re.IGNORECASE)
    return re.sub(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d)", "<ip>", text)


def private_words(settings: Settings) -> dict[str, str]:
    """Return what tells of the user and not of the machine → what stands in its place."""
    words = {socket.gethostname(): "<host>", settings.daemon.worker: "<worker>"}
    words |= {str(settings.daemon.state_dir): "<state_dir>", str(settings.database): "<database>"}
    for number, folder in enumerate(settings.watch, start=1):
        name = f"<watch {number}"
        words |= {str(folder.path): f"{name} path>", str(folder.output): f"{name} output>", folder.name: f"{name}>"}
        move_to = settings.encode_for(folder.name).move_to
        if move_to is not None:
            words[str(move_to)] = f"{name} move_to>"
    for name in {os.environ.get("SUDO_USER", ""), _own_name()} - {"", "root", "encoderd"}:
        words[name] = "<user>"
        words[f"/home/{name}"] = "/home/<user>"
    return {word: stand_in for word, stand_in in words.items() if len(word) > 1}


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def _versions() -> list[str]:
    return [
        f"made      {time.strftime('%Y-%m-%d %H:%M:%S %z')}",
        f"encoderd  {__version__}",
        f"Python    {sys.version.split()[0]}",
        f"kernel    {platform.release()} {platform.machine()}",
    ]


def _failures(settings: Settings) -> list[str]:
    if not settings.database.exists():
        return ["no queue yet"]
    try:
        with Store.open(settings.database, busy_timeout_s=settings.queue.busy_timeout_s, migrate=False) as store:
            rows = store.latest_events({JobEvent.DEVICE_LOST, JobEvent.STALLED, JobEvent.CRASHED}, limit=FAILURES)
            names = {row.job_id: store.job(row.job_id).relative_path for row in rows}
    except DatabaseError as error:
        return [error.message]
    lines = []
    for row in rows:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at))
        reason = _without(row.reason, names[row.job_id])
        lines.append(f"{when}  job {row.job_id}  {row.event}  {reason}")
    return lines or ["none"]


def _without(text: str, name: str) -> str:
    """A recording's name says what somebody watches."""
    for word in sorted({name, Path(name).name, Path(name).stem}, key=len, reverse=True):
        text = text.replace(word, "<recording>")
    return text


def _status(settings: Settings) -> list[str]:
    try:
        status = json.loads((settings.daemon.state_dir / "status.json").read_text("utf-8"))
        return _pretty({name: status[name] for name in ("counts", "paused", "problems") if name in status})
    except (OSError, ValueError, TypeError):
        return ["nothing: it has not run with these settings, or its state folder cannot be read"]


def _trial(settings: Settings) -> list[str]:
    try:
        text = StateFolder(settings.daemon.state_dir).trial_log.read_text("utf-8", "replace")
    except OSError:
        return ["no log of one"]
    return text.splitlines()[-TRIAL_LINES:] or ["no lines"]


def _pretty(value: Any) -> list[str]:
    """Return a value as indented JSON, or text as its lines."""
    if isinstance(value, str):
        return value.splitlines() or ["nothing"]
    if isinstance(value, Iterable) and not isinstance(value, Mapping) and all(isinstance(one, str) for one in value):
        return list(value) or ["nothing"]
    return json.dumps(value, indent=2, default=str, ensure_ascii=False).splitlines()
