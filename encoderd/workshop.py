"""
The workshop: the attempts that run now. Claims jobs while the gate and the folders allow it, drives the attempts on,
and tells the queue how each one ended.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from structlog.contextvars import bound_contextvars

from encoderd.attempt import Attempt, Shop
from encoderd.encode.failures import EncodeFailed, Place
from encoderd.encode.publish import job_of_partial
from encoderd.encode.supervisor import Child
from encoderd.errors import DatabaseError, JobRefused, NoSuchJob
from encoderd.folders import Folders
from encoderd.gate import Gate
from encoderd.jobs import Job, JobEvent, JobState, after_failure
from encoderd.logs import get_logger
from encoderd.settings import Settings


class Workshop:
    """
    All attempts of this daemon; `concurrency` of them at most. Times called `now_s` are monotonic seconds.

    A job's attempt is in `attempts` from its claim until the queue knows how it ended. Every method may raise
    DatabaseLocked: nothing is lost then, and the next call goes on from there.
    """

    def __init__(self, shop: Shop, settings: Settings, gate: Gate, folders: Folders) -> None:
        self.attempts: list[Attempt] = []
        self.changed: list[tuple[str, str]] = []  # (watch, relative path) of recordings that changed; intake's to see
        self._shop = shop
        self.refit(settings, gate, folders)

    def refit(self, settings: Settings, gate: Gate, folders: Folders) -> None:
        """Take new settings; running attempts keep theirs."""
        self._settings, self._gate, self._folders = settings, gate, folders

    @property
    def children(self) -> list[Child]:
        return [attempt.child for attempt in self.attempts if attempt.child is not None]

    def claim(self, now_s: float) -> None:
        """Claim due jobs and begin them, while there is room and something may run."""
        daemon = self._settings.daemon
        while len(self.attempts) < daemon.concurrency and (watches := self._claimable()):
            job = self._shop.store.claim(worker=daemon.worker, watches=watches, now=time.time(), lease_s=daemon.lease_s)
            if job is None:
                return
            self._begin(job, now_s)

    def _claimable(self) -> list[str]:
        """The watch folders whose jobs can run now: output folder fine, gate open."""
        return [
            folder.name
            for folder in self._settings.watch
            if not self._folders.blocked(folder.name)
            and self._gate.encoder_for(self._settings.encode_for(folder.name).encoder) is not None
        ]

    def _begin(self, job: Job, now_s: float) -> None:
        encode = self._settings.encode_for(job.watch)
        encoder = self._gate.encoder_for(encode.encoder)
        assert encoder is not None
        attempt = Attempt(self._shop, job, self._settings.folder(job.watch), encode, encoder)
        self.attempts.append(attempt)
        with bound_contextvars(job=job.id, recording=job.relative_path):
            on_cpu = encode.encoder == "auto" and encoder == "libx264"
            why = {"on_cpu_because": self._gate.reason("h264_qsv")} if on_cpu else {}
            get_logger().info(
                "encode.started",
                encoder=encoder,
                attempt=job.attempts,
                log=self._shop.state.log_of(job.id),
                **why,
            )
            attempt.begin(now_s)
        self._conclude(attempt, now_s)

    def drive(self, now_s: float, *, look: bool) -> None:
        """Take the children's messages and conclude what has ended; with `look`, see whether recordings changed."""
        for attempt in list(self.attempts):
            with bound_contextvars(job=attempt.job.id, recording=attempt.job.relative_path):
                if look:
                    attempt.look_at_source()
                attempt.poll(now_s)
                self._conclude(attempt, now_s)

    def _conclude(self, attempt: Attempt, now_s: float) -> None:
        """Take an ended attempt off the list and let the queue know."""
        if attempt.done is None and attempt.failure is None:
            return
        try:
            if attempt.failure is not None:
                attempt.end()
                self._failed(attempt, attempt.failure, now_s)
        except JobRefused:
            self._drop(attempt)
            return
        self.attempts.remove(attempt)

    def _failed(self, attempt: Attempt, failure: EncodeFailed, now_s: float) -> None:
        job, queue = attempt.job, self._settings.queue
        if failure.event is JobEvent.SOURCE_CHANGED:
            self._shop.store.source_changed(job.id, now=time.time(), reason=failure.message)
            self.changed.append((job.watch, job.relative_path))
            get_logger().warning("encode.source_changed", reason=failure.message, remedy=failure.remedy)
            return
        consequence = after_failure(
            failure.kind,
            failure.event,
            attempts=job.attempts,
            max_attempts=queue.max_attempts,
            retry_pause_s=queue.retry_pause_s,
        )
        ended = self._shop.store.fail(
            job.id,
            worker=self._shop.worker,
            event=consequence.event,
            kind=failure.kind,
            reason=failure.message,
            remedy=failure.remedy,
            counts=consequence.counts,
            pause_s=consequence.pause_s,
            now=time.time(),
        )
        log = get_logger().error if ended.state is JobState.FAILED else get_logger().warning
        log(
            "encode.failed",
            kind=failure.kind,
            becomes=ended.state,
            encoder=attempt.encoder,
            attempt=job.attempts,
            retry_in_s=consequence.pause_s if ended.state is JobState.QUEUED else None,
            reason=failure.message,
            remedy=failure.remedy,
            log=self._shop.state.log_of(job.id),
        )
        if failure.place is Place.ENCODER:
            self._gate.close(attempt.encoder, failure.message, failure.remedy, now_s)
        elif failure.place is Place.FOLDER:
            self._folders.block(job.watch, attempt.partial.parent, job.size_bytes, failure, now_s)

    # --- leases, wishes, the end

    def keep_leases(self) -> None:
        """Send the heartbeats; end what another worker has taken over."""
        daemon = self._settings.daemon
        for attempt in list(self.attempts):
            job = attempt.job.id
            if not self._shop.store.heartbeat(job, worker=daemon.worker, now=time.time(), lease_s=daemon.lease_s):
                self._drop(attempt)

    def cancel_wanted(self) -> None:
        """End the attempts that the operator wants cancelled."""
        wanted = set(self._shop.store.cancel_requests(self._shop.worker)) if self.attempts else set()
        for attempt in [attempt for attempt in self.attempts if attempt.job.id in wanted]:
            with bound_contextvars(job=attempt.job.id, recording=attempt.job.relative_path):
                attempt.end()
                self._shop.store.cancelled(attempt.job.id, worker=self._shop.worker, now=time.time())
                self.attempts.remove(attempt)
                get_logger().info("encode.cancelled")

    def close(self, limit_s: float) -> None:
        """End all children within `limit_s` seconds and give their jobs back."""
        until_s = time.monotonic() + limit_s
        for child in self.children:
            child.stop(time.monotonic())
        while time.monotonic() < until_s and any(child.poll(time.monotonic()) is None for child in self.children):
            time.sleep(0.02)
        for attempt in self.attempts:
            self._give_back(attempt)
        self.attempts.clear()

    def _give_back(self, attempt: Attempt) -> None:
        job = attempt.job
        with bound_contextvars(job=job.id, recording=job.relative_path):
            attempt.end()
            try:
                self._shop.store.give_back(
                    job.id,
                    worker=self._shop.worker,
                    event=JobEvent.STOPPING,
                    now=time.time(),
                    reason="the daemon stops",
                )
                get_logger().info("encode.given_back", reason="the daemon stops")
            except (DatabaseError, JobRefused) as error:  # its lease runs out by itself
                get_logger().warning("encode.not_given_back", reason=error.message, remedy=error.remedy)

    def _drop(self, attempt: Attempt) -> None:
        """Another worker has the job now: end the child, touch nothing else (the partial file may be theirs)."""
        if attempt.child is not None:
            attempt.child.kill()
        self.attempts.remove(attempt)
        get_logger().warning(
            "queue.lease_lost", job=attempt.job.id, recording=attempt.job.relative_path, remedy="Raise daemon.lease_s."
        )

    def sweep_partials(self) -> None:
        """Remove partial files of our own jobs that nobody works on; those of unknown jobs are left and named."""
        for folder in self._settings.watch:
            for where, _folders, names in os.walk(folder.output):
                for name in names:
                    number = job_of_partial(name)
                    if number is not None:
                        self._sweep(Path(where) / name, number)

    def _sweep(self, path: Path, number: int) -> None:
        try:
            job = self._shop.store.job(number)
        except NoSuchJob:
            get_logger().warning(
                "encode.partial_left", path=path, reason="no job of this queue", remedy="Delete it by hand."
            )
            return
        if job.state is JobState.ENCODING or (job.state is JobState.QUEUED and job.published is not None):
            return
        with contextlib.suppress(OSError):
            path.unlink()
            get_logger().info("encode.partial_removed", path=path, job=number)
