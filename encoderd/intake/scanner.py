"""
The thread that looks into one watch folder, so that a share that hangs holds up nobody else.

It walks the folder when a hint came or the time has come, takes the last looks it is asked for, and reports both.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from encoderd.findings import Finding, Verdict
from encoderd.intake import troubles
from encoderd.intake.completeness import Offered, Sighting
from encoderd.intake.mounts import check_mount, events_reach_us, mounts_under, read_mountinfo
from encoderd.intake.sighting import look_for_writers
from encoderd.intake.tree import Scan, Stopped, Tree
from encoderd.logs import get_logger
from encoderd.settings import IntakeSettings, WatchSettings

#: A settled recording is opened again only this often, in seconds; in between a bare stat has to do, which is enough
#: on every file system but the few whose stat is stale, and spares a server thousands of opens a minute.
THOROUGH_S = 600.0
#: Events bring the next scan forward, but scans are at least this far apart in seconds: a recorder that opens and
#: closes its file for every packet must not keep us walking.
EVENT_GAP_S = 1.0
#: A scan is followed by a pause of at least so many times the CPU time it took: 5 % of a core for the largest folder.
PAUSE_X = 20
#: Most looks between two reports, so that the poll thread gets what settled in portions.
LOOKS_AT_ONCE = 1000


class Events(Protocol):
    """
    Hints from the file system.

    `follow` replaces what was followed before; OSError when the system refuses. `lost`: no more will come.
    """

    lost: bool

    def follow(self, root: str, *, recursive: bool) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    What a scanner has to say: a scan (`scan`), or answers to looks (`sightings`, `lost`).

    `troubles` replaces all that was said about this folder before, None leaves it as it was.
    """

    watch: str
    scan: Scan | None = None
    sightings: list[Sighting] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    troubles: Mapping[str, Finding] | None = None


class Scanner(threading.Thread):
    """
    `report` is called from this thread. `events` is followed from this thread, and may call `hint` from any.

    `mountinfo` gives the text of /proc/self/mountinfo.
    """

    def __init__(
        self,
        settings: WatchSettings,
        intake: IntakeSettings,
        offered: Offered,
        *,
        report: Callable[[Report], None],
        events: Callable[[Callable[[str | None], None]], Events],
        clock: Callable[[], float],
        mountinfo: Callable[[], str] = read_mountinfo,
    ) -> None:
        super().__init__(name=f"intake-{settings.name}", daemon=True)
        self.tree = Tree(settings, clock)
        self._settings, self._intake, self._offered = settings, intake, offered
        self._report, self._clock, self._mountinfo = report, clock, mountinfo
        self._events = events(self._hint_about)
        self._changed = threading.Condition()
        self._stopping = False
        self._looks: list[str] = []
        self._hinted = False
        self._scan_at_s = float("-inf")
        self._scan_ended_s = float("-inf")
        self._scan_took_s = 0.0
        self._thorough_at_s = float("-inf")
        #: The folder's device and inode, and its mounts: when they change, events have to be asked for anew.
        self._place: tuple[object, ...] | None = None
        self._local = False
        self._events_refused: OSError | None = None
        #: Since when (monotonic) this thread waits for the file system; None while it rests. Any thread may read it.
        self.busy_since_s: float | None = None

    def hint(self) -> None:
        """Ask for a scan soon."""
        with self._changed:
            self._hinted = True
            self._changed.notify()

    def look(self, relative_paths: list[str]) -> None:
        """Ask for a last look at these recordings."""
        with self._changed:
            self._looks += relative_paths
            self._changed.notify()

    def stop(self) -> None:
        """Ask the thread to end; it does within milliseconds unless the file system hangs."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        try:
            while True:
                looks, scan = self._next()
                if self._stopping:
                    return
                self.busy_since_s = self._clock()
                self._work(looks, scan)
                self.busy_since_s = None
        finally:
            self._events.stop()

    def _hint_about(self, path: str | None) -> None:
        """Take an event's path (None: a folder); an event about a file that is no recording is no hint."""
        if path is None or self.tree.takes(path):
            self.hint()

    def _next(self) -> tuple[list[str], bool]:
        """Wait for something to do; return the looks that were asked for, and whether it is time for a scan."""
        with self._changed:
            while True:
                now_s = self._clock()
                gap_s = max(min(EVENT_GAP_S, self._intake.rescan_s), PAUSE_X * self._scan_took_s)
                scan_at_s = min(self._scan_at_s, self._scan_ended_s + gap_s) if self._hinted else self._scan_at_s
                if self._stopping or self._looks or now_s >= scan_at_s:
                    looks, self._looks = self._looks[:LOOKS_AT_ONCE], self._looks[LOOKS_AT_ONCE:]
                    return looks, now_s >= scan_at_s
                self._changed.wait(scan_at_s - now_s)

    def _work(self, looks: list[str], scan: bool) -> None:
        """Do it and report; a defect of ours is a finding, not the end of the thread."""
        try:
            if looks:
                found, gone = self.tree.locate(looks)
                seen, lost = look_for_writers(self.tree.watch, found, leases_tell=self._local, clock=self._clock)
                self._report(Report(watch=self.tree.watch, sightings=seen, lost=lost + gone))
            if scan:
                self._hinted = False  # a hint from now on may be about what this scan has passed already
                started_s = time.thread_time()
                self._report(self._scan())
                self._rest(time.thread_time() - started_s)
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the other folders and the queue go on
            get_logger().error("intake.scan_failed", watch=self.tree.watch, exc_info=True)
            found_out = {"folder": troubles.scanner_failed(self.tree.watch, error)}
            self._report(Report(watch=self.tree.watch, lost=looks, troubles=found_out))
            self._rest(0.0)

    def _rest(self, took_s: float) -> None:
        """Plan the next scan after one that took so many seconds of CPU time."""
        self._scan_ended_s, self._scan_took_s = self._clock(), took_s
        period_s = self._intake.rescan_s if self._has_events() else min(self._intake.poll_s, self._intake.rescan_s)
        self._scan_at_s = self._scan_ended_s + max(period_s, PAUSE_X * took_s)

    def _has_events(self) -> bool:
        return self._local and self._events_refused is None

    def _scan(self) -> Report:
        watch, path = self.tree.watch, os.fspath(self.tree.path)
        found_out: dict[str, Finding] = {}
        thorough = self._clock() >= self._thorough_at_s
        try:
            root = os.path.realpath(path)
            mountinfo = self._mountinfo()
            blind = check_mount(Path(root), mountinfo, allow_blind=self._intake.allow_blind_mounts)
            if blind.verdict is not Verdict.PASS:
                found_out["mount"] = blind
            if blind.verdict is Verdict.FAIL:
                return Report(watch=watch, troubles=found_out)
            status = os.stat(root)
            # First the events, then the scan: what appears in between is seen by one of them.
            self._settle_in(root, (status.st_dev, status.st_ino), mountinfo, again=thorough)
            scan = self.tree.scan(self._offered, thorough=thorough, stopping=lambda: self._stopping)
        except OSError as error:
            self._place = None
            found_out["folder"] = troubles.folder_unreadable(watch, path, error)
            return Report(watch=watch, troubles=found_out)
        if thorough:
            self._thorough_at_s = self._clock() + THOROUGH_S
        if scan.unreadable:
            found_out["files"] = troubles.recordings_unreadable(watch, scan.unreadable)
        if self._events_refused is not None:
            found_out["events"] = troubles.events_unavailable(watch, self._events_refused, _limit(self._events_refused))
        return Report(watch=watch, scan=scan, troubles=found_out)

    def _settle_in(self, root: str, identity: tuple[int, int], mountinfo: str, *, again: bool) -> None:
        """Find out what kind of place this is, and ask for its events; only when it is new, or the last try failed."""
        mounts = mounts_under(root, mountinfo)
        place = (root, identity, *mounts)
        if place == self._place and not self._events.lost and not (again and self._events_refused is not None):
            return
        is_new = place != self._place
        self._place, self._events_refused = place, None
        self._local = bool(mounts) and all(map(events_reach_us, mounts))
        try:
            if self._local:
                self._events.follow(root, recursive=self._settings.recursive)
            else:
                self._events.stop()
        except OSError as error:
            self._events_refused = error
        if is_new:
            get_logger().info(
                "intake.folder_watched",
                watch=self.tree.watch,
                path=root,
                fs_type=mounts[0].fs_type if mounts else "unknown",
                events=self._has_events(),
                settle_s=self._settings.settle_s or self._intake.settle_s,
            )


def _limit(error: OSError) -> int:
    """Return the kernel's limit that was reached, 0 when it cannot be read."""
    name, _ = troubles.INOTIFY_LIMITS.get(error.errno or 0, ("", 0))
    try:
        return int(Path("/proc/sys", *name.split(".")).read_text("ascii")) if name else 0
    except (OSError, ValueError):
        return 0
