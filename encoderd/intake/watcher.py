"""
The watch folders as one: hints and scans go in, candidates come out of `poll`.

Events are hints, the scan is the truth. watchdog's inotify observer tells on local file systems that something was
created, moved, closed after writing or deleted (not that it was modified: a recorder modifies all day); its thread
only wakes the folder's scanner. Where no events arrive, the scanner walks every `poll_s` by itself: watchdog's
PollingObserver would keep a second picture of the folder in memory, judge by bare stat, and take a share that is gone
for a folder whose files were all deleted.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from encoderd.findings import Finding, Verdict
from encoderd.intake import troubles
from encoderd.intake.completeness import Completeness, Settled, Settling
from encoderd.intake.mounts import read_mountinfo
from encoderd.intake.patterns import Ignored
from encoderd.intake.scanner import Report, Scanner
from encoderd.intake.tree import Scan
from encoderd.jobs import Candidate
from encoderd.logs import get_logger
from encoderd.settings import IntakeSettings, WatchSettings

#: About so many candidates at most come from one `poll`: 100,000 old recordings at the first start must not hold up
#: the daemon's tick until its own watchdog bites.
AT_ONCE = 1000
#: A scanner that waits for its file system for longer than this, in seconds, is reported.
HANGS_S = 60.0
#: How long `stop` waits for the scanners, in seconds; one whose share hangs is left behind, it is a daemon thread.
STOP_S = 1.5

_HINTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent, FileMovedEvent, FileClosedEvent, FileDeletedEvent,
    DirCreatedEvent, DirMovedEvent, DirDeletedEvent,
]  # fmt: skip


class Watcher:
    """
    All watch folders. Everything but the constructor's `on_event` happens in the caller's thread.

    `on_event` is called from other threads whenever `poll` has something new to look at: let it end the daemon's
    sleep, and do nothing else. `clock` gives the same monotonic seconds that `poll` is called with.
    """

    def __init__(
        self,
        folders: Sequence[WatchSettings],
        intake: IntakeSettings,
        *,
        on_event: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        mountinfo: Callable[[], str] = read_mountinfo,
    ) -> None:
        self._intake, self._clock, self._on_event = intake, clock, on_event
        self._completeness = Completeness({folder.name: folder.settle_s or intake.settle_s for folder in folders})
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._scanners = {
            folder.name: Scanner(
                folder,
                intake,
                self._completeness.offered,
                report=self._heard,
                events=FolderEvents,
                clock=clock,
                mountinfo=mountinfo,
            )
            for folder in folders
        }
        self._troubles: dict[str, Finding] = {}
        self._roots: dict[str, tuple[int, int]] = {}
        self._ignored: dict[str, Ignored] = {}

    def start(self) -> None:
        """Begin to watch. A folder that cannot be read is a problem, not an error, and heals by itself."""
        # watchdog reports into the standard library's logging, which nobody set up: it would write on stderr.
        logging.getLogger("watchdog").addHandler(logging.NullHandler())
        for scanner in self._scanners.values():
            scanner.start()
        get_logger().info("intake.started", folders=len(self._scanners), rescan_s=self._intake.rescan_s)

    def stop(self) -> None:
        """End all threads, within 2 s even if a share hangs."""
        deadline_s = time.monotonic() + STOP_S
        for scanner in self._scanners.values():
            scanner.stop()
        for scanner in self._scanners.values():
            if scanner.is_alive():
                scanner.join(max(0.0, deadline_s - time.monotonic()))

    def poll(self, now_s: float) -> list[Candidate]:
        """
        Return the recordings that turned out whole since the last call, the oldest (by mtime) first, each once.

        `now_s` is monotonic. Cheap when nothing happened: one look at a queue and one at a clock.

        Raises:
            ValueError: the monotonic clock ran backwards.
        """
        settled: list[Settled] = []
        while len(settled) < AT_ONCE:
            try:
                report = self._reports.get_nowait()
            except queue.Empty:
                break
            settled += self._take(report)
        looks: dict[str, list[str]] = {}
        for watch, relative_path in self._completeness.due(now_s, AT_ONCE):
            looks.setdefault(watch, []).append(relative_path)
        for watch, relative_paths in looks.items():
            self._scanners[watch].look(relative_paths)
        self._find_hanging(now_s)
        for one in settled:
            get_logger().debug(  # at every start for every recording there is; the queue says which are new
                "intake.recording_settled",
                watch=one.candidate.watch,
                recording=one.candidate.relative_path,
                size_bytes=one.candidate.size_bytes,
                rested_s=round(one.rested_s, 1),
            )
        return sorted((one.candidate for one in settled), key=lambda candidate: candidate.mtime_ns)

    def next_due_s(self, now_s: float) -> float:
        """Return when `poll` wants to be called, at the latest, in monotonic seconds; `on_event` may ask earlier."""
        if not self._reports.empty():
            return now_s
        return max(now_s, min(self._completeness.next_due_s(), now_s + self._intake.rescan_s))

    def forget(self, watch: str, relative_path: str) -> None:
        """Offer this recording again when it has settled (again)."""
        self._completeness.forget(watch, relative_path)
        if watch in self._scanners:
            self._scanners[watch].hint()

    def settling(self) -> list[Settling]:
        """Return every file that is not whole yet, and why, by folder and name."""
        return self._completeness.settling()

    def problems(self) -> Mapping[str, Finding]:
        """Return what keeps recordings from being seen, under stable names ("<watch>.folder", "<watch>.files", …)."""
        return dict(self._troubles)

    def ignored(self) -> Mapping[str, Ignored]:
        """Return what the last scan of each watch folder passed over."""
        return dict(self._ignored)

    def _heard(self, report: Report) -> None:
        """Called by the scanners' threads."""
        self._reports.put(report)
        if report.sightings or report.lost or (report.scan is not None and report.scan.sightings):
            self._on_event()

    def _take(self, report: Report) -> list[Settled]:
        """Enter a report into the books; return what settled."""
        sightings = report.sightings if report.scan is None else report.scan.sightings
        log = get_logger().bind(watch=report.watch)
        for seen in sightings:
            if not self._completeness.knows(seen.watch, seen.relative_path):
                log.debug("intake.recording_seen", recording=seen.relative_path, size_bytes=seen.size_bytes)
        settled = [one for one in map(self._completeness.see, sightings) if one is not None]
        for relative_path in report.lost:
            self._completeness.lose(report.watch, relative_path)
        found_out = dict(report.troubles or {})
        if report.scan is not None:
            hollow = self._take_scan(report.watch, report.scan)
            if hollow is not None:
                found_out["folder"] = hollow
        if report.troubles is not None:
            self._set_troubles(report.watch, found_out)
        return settled

    def _take_scan(self, watch: str, scan: Scan) -> Finding | None:
        """Drop what a walk through the folder did not meet any more; return a finding when that cannot be believed."""
        self._ignored[watch] = scan.ignored
        names = {seen.relative_path for seen in scan.sightings}
        self._completeness.keep_only(watch, names)
        offered = self._completeness.offered
        present = scan.known | {hash(name) for name in names}
        # Nothing at all is more likely a share that is not mounted than a thousand deleted recordings.
        if present and scan.whole:
            offered.keep_only(watch, present)
        if present or self._roots.setdefault(watch, scan.root) == scan.root:
            self._roots[watch] = scan.root
            return None
        if offered.count(watch) == 0:
            return None
        return troubles.folder_hollow(watch, os.fspath(self._scanners[watch].tree.path), offered.count(watch))

    def _set_troubles(self, watch: str, found_out: Mapping[str, Finding]) -> None:
        """Replace what is known about one folder; what is new, and what is over, is logged once."""
        before = {name: finding for name, finding in self._troubles.items() if name.rpartition(".")[0] == watch}
        now = {f"{watch}.{kind}": finding for kind, finding in found_out.items()}
        for name, finding in now.items():
            if before.get(name) != finding:
                log = get_logger().error if finding.verdict is Verdict.FAIL else get_logger().warning
                log(
                    "intake.folder_unreadable" if name.endswith(".folder") else "intake.trouble_found",
                    watch=watch,
                    evidence=finding.evidence,
                    remedy=finding.remedy,
                )
        for name in before.keys() - now.keys():
            get_logger().info("intake.trouble_ended", watch=watch, evidence=before[name].evidence)
            del self._troubles[name]
        self._troubles.update(now)

    def _find_hanging(self, now_s: float) -> None:
        for watch, scanner in self._scanners.items():
            since_s = scanner.busy_since_s
            name = f"{watch}.hangs"
            if since_s is None or now_s - since_s < HANGS_S:
                if self._troubles.pop(name, None) is not None:
                    get_logger().info("intake.folder_answered", watch=watch)
                continue
            hangs = troubles.folder_hangs(watch, os.fspath(scanner.tree.path), now_s - since_s)
            if name not in self._troubles:
                get_logger().error("intake.folder_hung", watch=watch, evidence=hangs.evidence, remedy=hangs.remedy)
            self._troubles[name] = hangs


class FolderEvents(FileSystemEventHandler):
    """inotify for one folder. `hint` gets the path of a file that changed, or None for a folder that did."""

    def __init__(self, hint: Callable[[str | None], None]) -> None:
        self._hint = hint
        self._observer: threading.Thread | None = None
        self._stop_observer: Callable[[], None] = lambda: None
        self._root = ""
        #: The folder itself was deleted, and the kernel's watch with it. Its inode number may be used again at once,
        #: so that the folder that comes in its place can look like the same one.
        self.lost = False

    def follow(self, root: str, *, recursive: bool) -> None:
        """
        Follow `root` and nothing else. A link as `root` would be followed itself, not its target: resolve it first.

        Raises:
            OSError: inotify's limits are reached (ENOSPC: watches, EMFILE: instances), or `root` is gone.
        """
        self.stop()
        observer = Observer()
        self._observer, self._stop_observer = observer, observer.stop
        self._root, self.lost = root, False
        try:
            observer.schedule(self, root, recursive=recursive, event_filter=_HINTS)
            observer.start()
        except OSError:
            self.stop()
            raise

    def stop(self) -> None:
        """Follow nothing any more."""
        observer, self._observer = self._observer, None
        if observer is not None:
            self._stop_observer()
            if observer.is_alive():
                observer.join(STOP_S)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog's thread."""
        if event.is_directory:
            if isinstance(event, DirDeletedEvent) and os.fsdecode(event.src_path) == self._root:
                self.lost = True
            self._hint(None)
            return
        for path in (event.src_path, event.dest_path):
            if path:
                self._hint(os.fsdecode(path))
