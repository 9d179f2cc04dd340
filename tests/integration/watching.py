"""A running watcher, polled as the daemon does, with time scaled down."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoderd.findings import Finding
from encoderd.intake.completeness import Waiting
from encoderd.intake.watcher import Watcher
from encoderd.jobs import Candidate
from encoderd.settings import IntakeSettings, WatchSettings

LIMIT_S = 20.0
NFS = "1 0 0:1 / / rw,relatime - nfs4 nas:/ rw,vers=4.2\n"


class Watching:
    """A running watcher and what it has offered; `until` polls as the daemon does."""

    def __init__(self, folder: Path, *, settle_s: float = 0.2, rescan_s: float = 0.1, **more: Any) -> None:
        hooks = {name: more.pop(name) for name in ("mountinfo", "on_event") if name in more}
        settings = WatchSettings(name="tv", path=folder, output=Path("/output"), settle_s=settle_s)
        intake = IntakeSettings(rescan_s=rescan_s, poll_s=more.pop("poll_s", rescan_s), **more)
        self.watcher = Watcher([settings], intake, **hooks)
        self.offered: list[Candidate] = []

    def __enter__(self) -> Watching:
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()

    def until(self, happened: Callable[[], object], *, limit_s: float = LIMIT_S) -> None:
        deadline_s = time.monotonic() + limit_s
        while not happened():
            assert time.monotonic() < deadline_s, (self.offered, self.watcher.settling(), self.watcher.problems())
            self.offered += self.watcher.poll(time.monotonic())
            time.sleep(0.005)

    def first_scan(self) -> None:
        """Let the first scan end, and ask for none: after it, only events and the clock bring another."""
        self.until(lambda: self.watcher._scanners["tv"]._scan_ended_s > 0)

    def scans(self, number: int = 2) -> None:
        """Let so many more scans begin and end."""
        scanner = self.watcher._scanners["tv"]
        for _ in range(number):
            ended_s = scanner._scan_ended_s
            scanner.hint()
            self.until(lambda before=ended_s: scanner._scan_ended_s > before)
        self.until(self.watcher._reports.empty)

    def names(self) -> list[str]:
        return sorted(candidate.relative_path for candidate in self.offered)

    def waits(self) -> dict[str, Waiting]:
        return {one.relative_path: one.waiting for one in self.watcher.settling()}

    def problem(self, kind: str) -> Finding | None:
        return self.watcher.problems().get(f"tv.{kind}")
