"""
The workshop: the attempts that run now. Claims jobs while the gate and the folders allow it, drives the attempts on,
and tells the queue how each one ended.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from structlog.contextvars import bound_contextvars

from encoderd.attempt import Attempt, Shop
from encoderd.encode.failures import EncodeFailed, Place, for_job
from encoderd.encode.messages import Encoded
from encoderd.encode.publish import partials
from encoderd.encode.supervisor import Child
from encoderd.errors import DatabaseError, JobRefused, NoSuchJob
from encoderd.folders import Folders
from encoderd.gate import Gate
from encoderd.jobs import Candidate, FailureKind, Job, JobEvent, JobState, after_failure, after_interruption
from encoderd.logs import get_logger
from encoderd.settings import Settings


class Workshop:
    """
    All attempts of this daemon; `concurrency` of them at most. Times called `now_s` are monotonic seconds.

    A job's attempt is in `attempts` from its claim until the queue knows how it ended. Every method may raise
    DatabaseError: nothing is lost then, and the next call goes on from there.
    """

    def __init__(self, shop: Shop, settings: Settings, gate: Gate, folders: Folders) -> None:
        self.attempts: list[Attempt] = []
        self.changed: list[tuple[str, str]] = []  # (watch, relative path) of recordings that changed; intake's to see
        self.moved = False  # jobs changed their state since the daemon last looked
        self._shop = shop
        self.refit(settings, gate, folders)

    def refit(self, settings: Settings, gate: Gate, folders: Folders) -> None:
        """Take new settings; running attempts keep theirs."""
        self._settings, self._gate, self._folders = settings, gate, folders

    @property
    def children(self) -> list[Child]:
        """Those that still have something to say."""
        return [
            attempt.child
            for attempt in self.attempts
            if attempt.child is not None and attempt.child.outcome is None and not attempt.ended
        ]

    def claim(self, now_s: float) -> None:
        """Claim due jobs and begin them, while there is room and something may run."""
        daemon = self._settings.daemon
        while len(self.attempts) < daemon.concurrency and (watches := self._claimable(now_s)):
            job = self._shop.store.claim(worker=daemon.worker, watches=watches, now=time.time(), lease_s=daemon.lease_s)
            if job is None:
                return
            self._begin(job, now_s)

    def _claimable(self, now_s: float) -> list[str]:
        """The watch folders whose jobs can run now: output folder fine, gate open."""
        return [
            folder.name
            for folder in self._settings.watch
            if not self._folders.blocked(folder.name)
            and self._gate.video_for(self._settings.encode_for(folder.name), now_s) is not None
        ]

    def _begin(self, job: Job, now_s: float) -> None:
        encode = self._settings.encode_for(job.watch)
        video = self._gate.video_for(encode, now_s)
        assert video is not None
        on_cpu = encode.encoder == "auto" and video.encoder == "libx264"
        why = self._gate.reason(encode) if on_cpu else ""
        attempt = Attempt(self._shop, job, self._settings.folder(job.watch), encode, video, on_cpu_because=why)
        self.attempts.append(attempt)
        self.moved = True
        self._drive(attempt, now_s)

    def drive(self, now_s: float, *, look: bool) -> None:
        """Take the children's messages and conclude what has ended; with `look`, see whether recordings changed."""
        refused: DatabaseError | None = None
        for attempt in list(self.attempts):
            if look:
                attempt.look_at_source()
            try:
                self._drive(attempt, now_s)
            except DatabaseError as error:
                refused = error  # the other children are heard all the same
        if refused is not None:
            raise refused

    def _drive(self, attempt: Attempt, now_s: float) -> None:
        with bound_contextvars(job=attempt.job.id, recording=attempt.job.relative_path):
            try:
                attempt.poll(now_s)
                if attempt.ended:
                    self._conclude(attempt, now_s)
            except (JobRefused, NoSuchJob) as refusal:
                self._drop(attempt, refusal.message)

    def _conclude(self, attempt: Attempt, now_s: float) -> None:
        """Let the queue know how an attempt ended, and take it off the list."""
        if attempt.cancelled:
            attempt.end()
            self._shop.store.cancelled(attempt.job.id, worker=self._shop.worker, now=time.time())
            get_logger().info("encode.cancelled")
        elif attempt.failure is not None:
            attempt.end()
            self._failed(attempt, attempt.failure, now_s)
        self._remove(attempt)

    def _remove(self, attempt: Attempt) -> None:
        self.attempts.remove(attempt)
        self.moved = True
        if attempt.renewed:
            self.changed.append((attempt.job.watch, attempt.job.relative_path))

    def _failed(self, attempt: Attempt, failure: EncodeFailed, now_s: float) -> None:
        job, queue = attempt.job, self._settings.queue
        remedy = for_job(failure.remedy, job.id)
        if failure.acceptable:
            remedy += f" To have it nevertheless, marked as damaged: encoderd queue accept {job.id}"
        if failure.event is JobEvent.SOURCE_CHANGED:
            self._shop.store.source_changed(job.id, now=time.time(), reason=failure.message)
            attempt.renewed = True
            get_logger().warning("encode.source_changed", reason=failure.message, remedy=failure.remedy)
            return
        if failure.event is JobEvent.NOT_WANTED:
            self._not_wanted(attempt, failure)
            return
        consequence = after_failure(
            failure.kind,
            failure.event,
            attempts=job.attempts,
            max_attempts=queue.max_attempts,
            retry_pause_s=queue.retry_pause_s,
        )
        if failure.place is Place.ENCODER:
            # The trial succeeds, this one fails, again and again: it is not blamed, but others go first.
            pause_s = after_interruption(self._times_lost(job.id) + 1, queue.retry_pause_s)
            consequence = replace(consequence, pause_s=pause_s)
        ended = self._shop.store.fail(
            job.id,
            worker=self._shop.worker,
            event=consequence.event,
            kind=failure.kind,
            reason=failure.message,
            remedy=remedy,
            counts=consequence.counts,
            pause_s=consequence.pause_s,
            now=time.time(),
            acceptable=failure.acceptable,
        )
        log = get_logger().error if ended.state is JobState.FAILED else get_logger().warning
        log(
            "encode.failed",
            kind=failure.kind,
            becomes=ended.state,
            encoder=attempt.video.encoder,
            attempt=job.attempts,
            retry_in_s=consequence.pause_s if ended.state is JobState.QUEUED else None,
            reason=failure.message,
            remedy=remedy,
            log=self._shop.state.log_of(job.id),
        )
        if failure.place is Place.ENCODER:
            self._gate.close(attempt.video.encoder, failure.message, failure.remedy, now_s)
        elif failure.kind is FailureKind.CRASH:
            self._gate.doubt(attempt.video)
        elif failure.place is Place.FOLDER:
            self._folders.block(job.watch, *attempt.trouble, failure, now_s)

    def _not_wanted(self, attempt: Attempt, failure: EncodeFailed) -> None:
        """Nobody is to blame, and nothing is wrong: the recording stays, and the next one is due."""
        job = attempt.job
        self._shop.store.skip(job.id, worker=self._shop.worker, now=time.time(), reason=failure.message)
        progress = None if attempt.child is None else attempt.child.progress
        get_logger().info(
            "encode.not_wanted",
            reason=failure.message,
            remedy=for_job(failure.remedy, job.id),
            encoder=attempt.video.encoder,
            source_bytes=job.size_bytes,
            written_bytes=None if progress is None else progress.size_bytes,
            done_ratio=None if progress is None else progress.done_ratio,
            attempt=job.attempts,
        )

    def _times_lost(self, job: int) -> int:
        """How often this recording lost its encoder since it was queued under its present identity."""
        times = 0
        for event in self._shop.store.events(job):
            if event.event in (JobEvent.RETRIED, JobEvent.ACCEPTED, JobEvent.SETTLED):
                times = 0
            times += event.event is JobEvent.DEVICE_LOST
        return times

    # --- leases, wishes, the end

    def keep_leases(self) -> None:
        """Send the heartbeats; end what another worker has taken over."""
        daemon = self._settings.daemon
        for attempt in list(self.attempts):
            job = attempt.job
            if not self._shop.store.heartbeat(job.id, worker=daemon.worker, now=time.time(), lease_s=daemon.lease_s):
                with bound_contextvars(job=job.id, recording=job.relative_path):
                    self._drop(attempt, "the heartbeat found it in other hands")

    def cancel_wanted(self, now_s: float) -> None:
        """End the attempts that the operator wants cancelled; one whose output has its name already is done."""
        wanted = set(self._shop.store.cancel_requests(self._shop.worker)) if self.attempts else set()
        for attempt in [attempt for attempt in self.attempts if attempt.job.id in wanted]:
            if not attempt.ended and not attempt.landed:
                attempt.cancelled = True
            self._drive(attempt, now_s)

    def note_offered(self, candidates: Iterable[Candidate]) -> None:
        """
        Remember which running recordings were offered with other content: the queue takes no second job of a path.

        Without it they would not be offered again once their attempt has ended.
        """
        offered = {(candidate.watch, candidate.relative_path): candidate for candidate in candidates}
        for attempt in self.attempts:
            seen = offered.get((attempt.job.watch, attempt.job.relative_path))
            if seen is not None and seen != attempt.job.candidate:
                attempt.renewed = True
                attempt.look_at_source()

    def close(self, limit_s: float) -> None:
        """End all children within `limit_s` seconds; keep what is finished, give the other jobs back."""
        until_s = time.monotonic() + limit_s
        for child in self.children:
            child.stop(time.monotonic())
        while time.monotonic() < until_s and any(child.poll(time.monotonic()) is None for child in self.children):
            time.sleep(0.02)
        for attempt in list(self.attempts):
            finished = attempt.child is not None and isinstance(attempt.child.outcome, Encoded)
            with contextlib.suppress(DatabaseError):  # then it is given back, or its lease runs out
                if finished or attempt.landed or attempt.ended:
                    self._drive(attempt, time.monotonic())
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
            except (DatabaseError, JobRefused, NoSuchJob) as error:  # its lease runs out by itself
                get_logger().warning("encode.not_given_back", reason=error.message, remedy=error.remedy)

    def _drop(self, attempt: Attempt, reason: str) -> None:
        """Another worker has the job now: end the child, touch nothing else (the partial file may be theirs)."""
        if attempt.child is not None:
            attempt.child.kill()
        self._remove(attempt)
        get_logger().warning("queue.lease_lost", reason=reason, remedy="If no one interfered: raise daemon.lease_s.")

    def sweep(self, leftovers: Iterable[tuple[Path, int]]) -> None:
        """Remove partial files of our own jobs that nobody works on; others are left and named."""
        for path, number in leftovers:
            try:
                job = self._shop.store.job(number)
                ours = path in partials(self._settings.folder(job.watch).output, job.relative_path, job.id)
            except (NoSuchJob, KeyError):
                ours = False
            if not ours:
                get_logger().warning(
                    "encode.partial_left", path=path, reason="no job of this queue", remedy="Delete it by hand."
                )
            elif job.state is not JobState.ENCODING and not (job.state is JobState.QUEUED and job.published):
                with contextlib.suppress(OSError):
                    path.unlink()
                    get_logger().info("encode.partial_removed", path=path, job=number, recording=job.relative_path)
