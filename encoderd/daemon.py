"""
The daemon: wires the rooms. One thread, one `tick(now)`; everything that changes the queue happens in it.

intake's candidates are added, due jobs are claimed while the gate is open, attempts are driven on, leases are kept,
and those of the dead are given back.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from encoderd.attempt import Shop
from encoderd.errors import DatabaseError, EncoderdError, ExitCode, SettingsError
from encoderd.folders import Folders
from encoderd.gate import Gate
from encoderd.health_port import PERIOD_S, PORT, Health, gate_seen
from encoderd.intake.watcher import Watcher
from encoderd.jobs import Candidate, JobState
from encoderd.leftovers import Leftovers
from encoderd.logs import configure, get_logger
from encoderd.notify import Notifier
from encoderd.queue.store import Store
from encoderd.queue.worker_lock import WorkerLock
from encoderd.rebuild import highest_number, rebuild
from encoderd.settings import EncodeSettings, Settings
from encoderd.state_folder import StateFolder
from encoderd.status import Status, look
from encoderd.workshop import Workshop

#: Longest sleep between ticks, in seconds: how late a wish from the command line is heard.
TICK_S = 1.0
#: The same while a child runs: how late a stall limit strikes.
CHILD_TICK_S = 0.25
#: How often a running recording is compared with what was admitted, and status.json is written.
LOOK_S = 2.0
#: How often jobs are counted although nobody seems to have touched them: it costs 50 ms among 1,000,000 jobs.
COUNT_S = 60.0
#: The events of what the daemon waits for.
_HELD = {
    ExitCode.DATABASE_LOCKED: "queue.database_locked",
    ExitCode.DATABASE_FULL: "queue.database_full",
    ExitCode.FOLDER: "daemon.folder_unusable",
}
#: Pause between two tries to start while something is in the way that passes: a full disk, a lock, a folder.
START_AGAIN_S = 2.0
#: Queued jobs that are looked through for folders that are not ours.
LISTED = 1000
#: Candidates that one tick admits: a first start with 100,000 recordings must not hold it up.
ADMIT_AT_ONCE = 500


class Daemon:
    """
    Built from settings, driven by `run` (or by `start` and `tick` in tests). `load` reads the settings for SIGHUP,
    `port` is the way to the host.

    Raises (start): SettingsError, FolderError, DatabaseError, WorkerTaken. `run` waits for those that pass.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings] | None = None, port: Path = PORT) -> None:
        self.settings = settings
        self.state = StateFolder(settings.daemon.state_dir)
        self._load = load
        self._notifier = Notifier()
        self._health = Health(port)
        self._stopping = False
        self._reload = False
        self._stack = ExitStack()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._due: dict[str, float] = {}
        self._waiting: list[Candidate] = []  # whole, but not yet in the queue
        self.counts: dict[JobState, int] = {}  # jobs by state, as of the last look
        self.acceptances = (0, 0)  # done with accepted damage, failed and acceptable
        self.pause_reason: str | None = None  # what the operator said when pausing
        self._counter = -1
        self.held: EncoderdError | None = None  # what the queue waits for, until it passes
        self._status: Status | None = None

    # --- life

    def start(self) -> None:
        """Open everything, give back what a former daemon of this name left, and begin to watch."""
        self.state.prepare()
        worker, queue = self.settings.daemon.worker, self.settings.queue
        self._stack.enter_context(WorkerLock(self.settings.database, worker))
        self.store = self._stack.enter_context(Store.open(self.settings.database, busy_timeout_s=queue.busy_timeout_s))
        self._rebuild()
        for job in self.store.release_worker(worker, now=time.time(), retry_pause_s=queue.retry_pause_s):
            get_logger().warning("queue.job_recovered", job=job.id, recording=job.relative_path, reason=job.reason)
        self.gate = Gate(self.settings.preflight, self.state.trial_log)
        self._stack.callback(lambda: self.gate.stop())
        self.folders = Folders(self.settings)
        self._leftovers = Leftovers(folder.output for folder in self.settings.watch)
        self._stack.callback(self._leftovers.stop)
        self._leftovers.start()
        self._watch()
        self._stack.callback(lambda: self.watcher.stop())
        shop = Shop(store=self.store, state=self.state, worker=worker)
        self.workshop = Workshop(shop, self.settings, self.gate, self.folders)
        self._stack.callback(lambda: self.workshop.close(self.settings.daemon.stop_limit_s))
        self._name_strangers()
        get_logger().info("daemon.started", worker=worker, database=self.settings.database, pid=os.getpid())

    def _rebuild(self) -> None:
        """A queue that knows fewer jobs than the state folder has receipts was lost: make it again from them."""
        if self.store.last_number() >= highest_number(self.state):
            return
        done = rebuild(self.store, self.state)
        get_logger().warning(
            "queue.rebuilt",
            reason=f"The state folder has receipts and logs that this queue does not know. {done.sentence}",
            remedy="Recordings that waited or had failed are found again by themselves; encoderd queue list",
            unreadable=done.unreadable,
            gone=done.gone,
        )

    def run(self) -> None:
        """Tick until SIGTERM or SIGINT; then end the children, give their jobs back, and return."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            if self._started():
                self._notifier.ready("watching")
            while not self._stopping:
                now_s = time.monotonic()
                self.tick(now_s)
                self._live(now_s)
                self._sleep(now_s)
        finally:
            self.stop()

    def _started(self) -> bool:
        """
        Start, or wait until that can be done; False when the daemon is to stop before.

        Ending and being started again by systemd would do the same only until its limit of starts.
        """
        while not self._stopping:
            try:
                self.start()
            except EncoderdError as error:
                self._stack.close()
                if not error.passes:
                    raise
                self._hold(error)
                self._notifier.ready(f"waiting: {error.message}")
            else:
                self._go_on()
                return True
            until_s = time.monotonic() + START_AGAIN_S
            while not self._stopping and (now_s := time.monotonic()) < until_s:
                self._live(now_s)
                self._rest(until_s)
        return False

    def _live(self, now_s: float) -> None:
        """Tell systemd's watchdog that the loop goes round."""
        watchdog_s = self._notifier.watchdog_period_s
        if watchdog_s is not None and self._is_due("watchdog", now_s, watchdog_s):
            self._notifier.watchdog()

    def stop(self) -> None:
        """End children and threads, give the jobs back, close the queue: as much of it as `start` had opened."""
        self._notifier.stopping("stopping")
        self._health.stop(time.time())
        started = hasattr(self, "workshop")
        try:
            self._stack.close()
        finally:
            if started:  # else the folder may be another daemon's
                self.state.write_status({"pid": 0, "status": "stopped", "updated_at": time.time()})
                get_logger().info("daemon.stopped")

    def wake(self) -> None:
        """End the sleep between ticks; callable from any thread and from signal handlers."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b".")

    def _watch(self) -> None:
        self.watcher = Watcher(self.settings.watch, self.settings.intake, on_event=self.wake)
        self.watcher.start()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self._stopping = True
        self.wake()

    def _sleep(self, now_s: float) -> None:
        children = [*self.workshop.children, *([self.gate.trial] if self.gate.trial is not None else [])]
        longest_s = CHILD_TICK_S if children else TICK_S
        until_s = now_s if self._waiting and self.held is None else now_s + longest_s
        for child in children:
            self._selector.register(child, selectors.EVENT_READ)
        try:
            self._rest(min(until_s, self.watcher.next_due_s(now_s)))
        finally:
            for child in children:
                self._selector.unregister(child)

    def _rest(self, until_s: float) -> None:
        """Sleep until then (monotonic seconds), or until there is something to do."""
        self._selector.select(max(0.0, until_s - time.monotonic()))
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass

    # --- one step

    def tick(self, now_s: float) -> None:
        """Do all that is due at `now_s` (monotonic seconds)."""
        if self._reload:
            self._reload = False
            self._reload_settings()
        self._waiting += self.watcher.poll(now_s)
        try:
            self.workshop.drive(now_s, look=self._is_due("recordings", now_s, LOOK_S))
            self._admit()
            self.workshop.sweep(self._leftovers.found())
            self._forget_changed()
            self._look_at_queue(now_s)
            self.gate.tick(now_s, self._wanted(), [attempt.video for attempt in self.workshop.attempts])
            self.folders.tick(now_s)
            if self.counts.get(JobState.QUEUED):
                self.workshop.claim(now_s)
        except DatabaseError as error:
            if not error.passes:
                raise
            self._due.pop("leases", None)  # it may have been the heartbeat that failed
            self._hold(error)
        else:
            self._go_on()
        if self._is_due("status", now_s, LOOK_S):
            self._tell()
        if self._is_due("health", now_s, PERIOD_S) and self._health.heard:
            encodes = [self.settings.encode_for(folder.name) for folder in self.settings.watch]
            self._health.tell(look(self), gate_seen(self.gate, encodes, now_s), now_s=now_s, at=time.time())

    def _hold(self, error: EncoderdError) -> None:
        """Everything stays as it is, and the next tick tries again; said once for each cause."""
        if self.held is None or self.held.message != error.message:
            get_logger().warning(_HELD[error.exit_code], reason=error.message, remedy=error.remedy)
        self.held = error

    def _go_on(self) -> None:
        if self.held is not None:
            get_logger().info("daemon.goes_on", after=self.held.message)
            self.held = None

    def _is_due(self, what: str, now_s: float, period_s: float) -> bool:
        if now_s < self._due.get(what, 0.0):
            return False
        self._due[what] = now_s + period_s
        return True

    def _admit(self) -> None:
        batch = self._waiting[:ADMIT_AT_ONCE]
        if not batch:
            return
        self.workshop.note_offered(batch)
        for job in self.store.add_many(batch, now=time.time()):
            get_logger().info(
                "queue.job_added", job=job.id, watch=job.watch, recording=job.relative_path, size_bytes=job.size_bytes
            )
        del self._waiting[: len(batch)]
        self.workshop.moved = True

    def _forget_changed(self) -> None:
        """Let intake offer the recordings again that changed under an attempt, once they have settled."""
        while self.workshop.changed:
            self.watcher.forget(*self.workshop.changed.pop())

    def _look_at_queue(self, now_s: float) -> None:
        """Keep our leases, take back those of the dead, hear the operator's wishes, count."""
        daemon, workshop = self.settings.daemon, self.workshop
        if self._is_due("leases", now_s, daemon.lease_s / 4):
            workshop.keep_leases()
            for job in self.store.recover(now=time.time(), retry_pause_s=self.settings.queue.retry_pause_s):
                get_logger().warning("queue.job_recovered", job=job.id, recording=job.relative_path, reason=job.reason)
                workshop.moved = True
        if self._is_due("logs", now_s, 3600):
            running = [attempt.job.id for attempt in self.workshop.attempts]
            self.state.sweep_logs(time.time() - daemon.log_keep_days * 86_400, keep=running)
        counter = self.store.change_counter()  # of what others wrote; `moved` tells of our own
        if counter != self._counter or workshop.moved or self._is_due("counts", now_s, COUNT_S):
            workshop.cancel_wanted(now_s)
            self.counts = self.store.counts()
            self.acceptances = self.store.acceptances()
            self.pause_reason = self.store.pause_reason()
            self._counter, workshop.moved = counter, False

    def _wanted(self) -> list[EncodeSettings]:
        """The settings that queued jobs wait for; a closed gate is not tried for an empty queue."""
        if not self.counts.get(JobState.QUEUED):
            return []
        return [self.settings.encode_for(folder.name) for folder in self.settings.watch]

    def _name_strangers(self) -> None:
        """Say which queued jobs nobody here will take: their watch folder is not, or no longer, in the settings."""
        ours = {folder.name for folder in self.settings.watch}
        queued = self.store.jobs(states={JobState.QUEUED}, limit=LISTED)
        for watch, count in Counter(job.watch for job in queued if job.watch not in ours).items():
            get_logger().warning(
                "queue.folder_unknown",
                watch=watch,
                jobs=count,
                remedy=f"Put the folder back into the settings, or cancel them: encoderd queue list --watch {watch}",
            )

    # --- settings and status

    def _reload_settings(self) -> None:
        """SIGHUP: new settings are taken whole or refused whole; running attempts keep theirs."""
        if self._load is None:
            return
        self._notifier.reloading()
        try:
            new = self._load()
            self._refuse_fixed(new)
        except EncoderdError as error:
            get_logger().error("daemon.reload_refused", reason=error.message, remedy=error.remedy)
        else:
            self.watcher.stop()
            self.gate.stop()
            self.settings = new
            configure(new.daemon.log_level, new.daemon.log_format)
            self.gate = Gate(new.preflight, self.state.trial_log)
            self.folders = Folders(new)
            self.workshop.refit(new, self.gate, self.folders)
            names = {folder.name for folder in new.watch}
            self._waiting = [candidate for candidate in self._waiting if candidate.watch in names]
            self._watch()
            self._due.clear()
            get_logger().info("daemon.reloaded")
            self._name_strangers()
        self._notifier.ready(look(self).status)

    def _refuse_fixed(self, new: Settings) -> None:
        old = self.settings
        fixed = {
            "daemon.state_dir": old.daemon.state_dir != new.daemon.state_dir,
            "daemon.worker": old.daemon.worker != new.daemon.worker,
            "queue.database": old.database != new.database,
            "queue.busy_timeout_s": old.queue.busy_timeout_s != new.queue.busy_timeout_s,
        }
        changed = [name for name, differs in fixed.items() if differs]
        if changed:
            raise SettingsError(
                f"{' and '.join(changed)} cannot change while the daemon runs.",
                remedy="Set it back, or restart: systemctl restart encoderd",
            )

    def _tell(self) -> None:
        status = look(self)
        if status != self._status:
            self._status = status
            self.state.write_status({**status.as_json(), "updated_at": time.time()})
        self._notifier.status(status.status)
