"""Claims, leases and how attempts end: on real SQLite files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from encoderd.errors import JobRefused, NoSuchJob
from encoderd.jobs import LONGEST_PAUSE_S, TRANSITIONS, Candidate, FailureKind, Job, JobEvent, JobState
from encoderd.queue.store import Store

OUTPUT = {"path": "/out/a.mp4", "size_bytes": 5, "mtime_ns": 6, "receipt": {"psnr_db": 41.5}}
NOW = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "queue.db", busy_timeout_s=1) as opened:
        yield opened


def add(store: Store, name: str = "a.ts", *, watch: str = "tv", mtime_ns: int = 1, priority: int = 0) -> Job:
    job = store.add(
        Candidate(watch=watch, relative_path=name, size_bytes=1, mtime_ns=mtime_ns), now=NOW, priority=priority
    )
    assert job is not None
    return job


def claim(store: Store, *watches: str, worker: str = "w1", now: float = NOW) -> Job | None:
    return store.claim(worker=worker, watches=watches or ("tv",), now=now, lease_s=60)


def fail(store: Store, job: Job, event: JobEvent, *, counts: bool = True, pause_s: float = 0, now: float = NOW) -> Job:
    return store.fail(
        job.id, worker="w1", event=event, kind=FailureKind.CRASH, reason="it died", remedy="look",
        counts=counts, acceptable=True, pause_s=pause_s, now=now,
    )  # fmt: skip


def encoding(store: Store) -> Job:
    add(store)
    job = claim(store)
    assert job is not None
    return job


DEEDS: dict[JobEvent, Callable[[Store, Job], Any]] = {
    JobEvent.CLAIMED: lambda store, job: claim(store),
    JobEvent.PUBLISHING: lambda store, job: store.publishing(job.id, worker="w1", published=OUTPUT, now=NOW),
    JobEvent.PUBLISHED: lambda store, job: store.finish(job.id, worker="w1", published=OUTPUT, now=NOW),
    JobEvent.RECORDING_REJECTED: lambda store, job: fail(store, job, JobEvent.RECORDING_REJECTED),
    JobEvent.DEVICE_LOST: lambda store, job: fail(store, job, JobEvent.DEVICE_LOST, counts=False),
    JobEvent.NO_SPACE: lambda store, job: fail(store, job, JobEvent.NO_SPACE, counts=False),
    JobEvent.STOPPING: lambda store, job: store.give_back(job.id, worker="w1", event=JobEvent.STOPPING, now=NOW),
    JobEvent.LEASE_EXPIRED: lambda store, job: store.recover(now=NOW + 61, retry_pause_s=60),
    JobEvent.CRASHED: lambda store, job: fail(store, job, JobEvent.CRASHED),
    JobEvent.STALLED: lambda store, job: fail(store, job, JobEvent.STALLED),
    JobEvent.EXHAUSTED: lambda store, job: fail(store, job, JobEvent.EXHAUSTED),
    JobEvent.SOURCE_CHANGED: lambda store, job: store.source_changed(job.id, now=NOW, reason="it grew"),
    JobEvent.SETTLED: lambda store, job: store.add(
        Candidate(watch="tv", relative_path="a.ts", size_bytes=2, mtime_ns=2), now=NOW
    ),
    JobEvent.NOT_WANTED: lambda store, job: store.skip(job.id, now=NOW, reason="larger than its source"),
    JobEvent.CANCELLED: lambda store, job: (
        store.request_cancel(job.id, now=NOW).state is JobState.ENCODING
        and store.cancelled(job.id, worker="w1", now=NOW)
    ),
    JobEvent.RETRIED: lambda store, job: store.retry(job.id, now=NOW),
    JobEvent.ACCEPTED: lambda store, job: store.accept(job.id, now=NOW),
}

WAYS: dict[JobState, tuple[JobEvent, ...]] = {
    JobState.QUEUED: (),
    JobState.ENCODING: (JobEvent.CLAIMED,),
    JobState.SETTLING: (JobEvent.SOURCE_CHANGED,),
    JobState.DONE: (JobEvent.CLAIMED, JobEvent.PUBLISHED),
    JobState.FAILED: (JobEvent.CLAIMED, JobEvent.EXHAUSTED),
    JobState.CANCELLED: (JobEvent.CANCELLED,),
    JobState.SKIPPED: (JobEvent.NOT_WANTED,),
}


def brought_to(store: Store, state: JobState) -> Job:
    job = add(store)
    for event in WAYS[state]:
        DEEDS[event](store, job)
    return store.job(job.id)


@pytest.mark.parametrize(("state", "event"), [(state, event) for state, event in TRANSITIONS if state is not None])
def test_every_transition_is_made_and_recorded_once(store: Store, state: JobState, event: JobEvent) -> None:
    """Each row of `jobs.TRANSITIONS` has its deed: the state follows the table, with exactly one row of history."""
    job = brought_to(store, state)
    before = store.events(job.id)

    DEEDS[event](store, job)

    after = store.job(job.id)
    (row,) = store.events(job.id)[len(before) :]
    assert (job.state, after.state) == (state, TRANSITIONS[state, event])
    assert (row.event, row.state_from, row.state_to) == (event, state, after.state)
    assert row.worker == (job.worker or after.worker)
    assert (after.worker is None) == (after.lease_until is None) == (after.state is not JobState.ENCODING)
    assert (after.finished_at is not None) == (after.state in ("done", "failed", "cancelled", "skipped"))


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.ENCODING])
@pytest.mark.parametrize("event", [JobEvent.PUBLISHING, JobEvent.PUBLISHED, JobEvent.CRASHED, JobEvent.STOPPING])
def test_a_worker_changes_only_what_it_encodes(store: Store, state: JobState, event: JobEvent) -> None:
    """A worker whose lease was lost is refused, whatever state the job is in by now; nothing is overwritten."""
    job = brought_to(store, state)

    with pytest.raises(JobRefused) as refused:
        DEEDS[event](store, job)

    assert refused.value.message == f"Job {job.id} is no longer encoded by w1; it is {state}."
    assert store.job(job.id) == job


def test_a_worker_does_not_touch_another_s_job(store: Store) -> None:
    """The lease names its worker: another one cannot finish, fail, publish or give back the job."""
    add(store)
    job = claim(store, worker="w2")
    assert job is not None

    for event in (JobEvent.PUBLISHED, JobEvent.PUBLISHING, JobEvent.CRASHED, JobEvent.STOPPING):
        with pytest.raises(JobRefused, match="encoding by w2"):
            DEEDS[event](store, job)
    with pytest.raises(JobRefused, match="encoding by w2"):
        store.cancelled(job.id, worker="w1", now=NOW)

    assert store.heartbeat(job.id, worker="w1", now=NOW, lease_s=60) is False
    assert store.job(job.id) == job


def test_claims_go_by_priority_then_age_of_the_recording_then_number(store: Store) -> None:
    for name, mtime_ns, priority, watch in [
        ("young", 30, 0, "tv"), ("old", 10, 0, "films"), ("first", 20, 0, "tv"), ("second", 20, 0, "films"),
        ("urgent", 99, 5, "tv"), ("unloved", 1, -1, "tv"),
    ]:  # fmt: skip
        add(store, name, mtime_ns=mtime_ns, priority=priority, watch=watch)

    listed = [job.relative_path for job in store.jobs()]
    order = [job.relative_path for _ in range(6) if (job := claim(store, "tv", "films"))]

    assert order == ["urgent", "old", "first", "second", "young", "unloved"]
    assert listed == order
    assert claim(store, "tv", "films") is None


def test_a_claim_is_an_attempt_under_a_lease(store: Store) -> None:
    """A claim counts, names worker and lease, and forgets the failure before it."""
    job = encoding(store)
    fail(store, job, JobEvent.CRASHED)

    again = claim(store, now=NOW + 5)

    assert again is not None
    assert (again.state, again.attempts, again.worker) == (JobState.ENCODING, 2, "w1")
    assert (again.started_at, again.lease_until) == (NOW + 5, NOW + 65)
    assert (again.failure_kind, again.reason, again.remedy) == (None, "", "")


def test_only_the_named_folders_are_claimed_from(store: Store) -> None:
    """A folder that is blocked, or not configured here, is left alone however many jobs it has."""
    for number in range(20):
        add(store, f"{number}.ts", watch="blocked", priority=9)
    add(store, "free.ts", mtime_ns=99)

    job = claim(store, "tv", "films")

    assert job is not None
    assert job.relative_path == "free.ts"
    assert claim(store, "tv") is None
    assert store.claim(worker="w1", watches=[], now=NOW, lease_s=60) is None


def test_a_pause_is_waited_for(store: Store) -> None:
    """A crashed job is due after its pause, not before; others go first meanwhile."""
    job = encoding(store)
    fail(store, job, JobEvent.CRASHED, pause_s=60)
    other = add(store, "b.ts", mtime_ns=2)

    assert store.next_due_at(watches=["tv"], now=NOW) == NOW
    assert getattr(claim(store), "id", None) == other.id
    assert claim(store, now=NOW + 59) is None
    assert store.next_due_at(watches=["tv"], now=NOW) == NOW + 60
    assert store.next_due_at(watches=["films"], now=NOW) is None
    assert store.next_due_at(watches=[], now=NOW) is None
    assert getattr(claim(store, now=NOW + 60), "id", None) == job.id


def test_a_clock_that_stepped_back_does_not_hold_jobs(store: Store) -> None:
    """A try planned further ahead than the longest pause was planned by a wrong clock: it is due now."""
    job = encoding(store)
    fail(store, job, JobEvent.CRASHED, pause_s=LONGEST_PAUSE_S)

    assert claim(store, now=NOW) is None
    assert store.next_due_at(watches=["tv"], now=NOW - 1) == NOW - 1
    assert getattr(claim(store, now=NOW - 1), "id", None) == job.id


def test_a_job_without_a_pause_is_due_whatever_the_clock_says(store: Store) -> None:
    """Jobs added or given back before the clock stepped back by an hour need not wait that hour."""
    job = encoding(store)
    fail(store, job, JobEvent.DEVICE_LOST, counts=False)

    assert getattr(claim(store, now=NOW - 3600), "id", None) == job.id


def test_the_heartbeat_extends_the_lease(store: Store) -> None:
    """A lease that is kept alive is not recovered; one that is not, is; then its heartbeat says that it is lost."""
    job = encoding(store)

    assert store.heartbeat(job.id, worker="w1", now=NOW + 50, lease_s=60) is True
    assert store.recover(now=NOW + 110, retry_pause_s=60) == []

    recovered = store.recover(now=NOW + 110.5, retry_pause_s=60)

    assert [found.id for found in recovered] == [job.id]
    assert store.heartbeat(job.id, worker="w1", now=NOW + 111, lease_s=60) is False


def test_a_dead_worker_costs_the_job_no_attempt_but_growing_pauses(store: Store) -> None:
    """The attempt is given back each time; from the second death on the job waits, so that it cannot kill for ever."""
    add(store)
    seen = []
    now = NOW
    for _ in range(4):
        assert claim(store, now=now) is not None
        (job,) = store.recover(now=now + 61, retry_pause_s=60)
        seen.append((job.attempts, job.interruptions, max(job.next_try_at - (now + 61), 0.0)))
        now = max(job.next_try_at, now + 61)

    assert seen == [(0, 1, 0.0), (0, 2, 60.0), (0, 3, 120.0), (0, 4, 240.0)]


def test_a_worker_s_successor_takes_its_jobs_back_at_once(store: Store) -> None:
    """`release_worker` does not wait for the lease, and leaves the jobs of other workers alone."""
    for name in ("a.ts", "b.ts", "c.ts"):
        add(store, name)
    first, second, third = claim(store), claim(store), claim(store, worker="w2")
    assert first and second and third

    released = store.release_worker("w1", now=NOW + 1, retry_pause_s=60)

    assert [(job.id, job.state, job.interruptions) for job in released] == [
        (first.id, JobState.QUEUED, 1),
        (second.id, JobState.QUEUED, 1),
    ]
    assert store.events(first.id)[-1].worker == "w1"
    assert store.job(third.id) == third
    assert store.release_worker("w1", now=NOW + 1, retry_pause_s=60) == []


@pytest.mark.parametrize(
    ("event", "counts", "attempts"),
    [
        (JobEvent.CRASHED, True, 1),
        (JobEvent.STALLED, True, 1),
        (JobEvent.EXHAUSTED, True, 1),
        (JobEvent.RECORDING_REJECTED, True, 1),
        (JobEvent.DEVICE_LOST, False, 0),
        (JobEvent.NO_SPACE, False, 0),
    ],
)
def test_an_attempt_is_given_back_when_it_does_not_count(
    store: Store, event: JobEvent, counts: bool, attempts: int
) -> None:
    """A failure is stored with kind, reason and remedy; whether the attempt counts is the caller's word."""
    failed = fail(store, encoding(store), event, counts=counts)

    assert failed.attempts == attempts
    assert (failed.failure_kind, failed.reason, failed.remedy) == (FailureKind.CRASH, "it died", "look")
    assert store.events(failed.id)[-1].reason == "it died"


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        (JobEvent.STOPPING, True),
        (JobEvent.LEASE_EXPIRED, True),
        (JobEvent.DEVICE_LOST, True),
        (JobEvent.NO_SPACE, True),
        (JobEvent.CRASHED, False),
        (JobEvent.SOURCE_CHANGED, False),
    ],
)
def test_what_was_about_to_be_published_is_kept_for_the_next_claimer(store: Store, event: JobEvent, kept: bool) -> None:
    """
    An attempt that was interrupted may have left a finished file, also in a folder that is away now; a crash has not.
    """
    job = encoding(store)
    store.publishing(job.id, worker="w1", published=OUTPUT, now=NOW)

    DEEDS[event](store, job)
    if event is JobEvent.SOURCE_CHANGED:
        DEEDS[JobEvent.SETTLED](store, job)
    again = claim(store, now=NOW + 61)

    assert again is not None
    assert again.published == (OUTPUT if kept else None)


def test_the_history_keeps_the_output_s_place_not_its_receipt(store: Store) -> None:
    job = encoding(store)
    store.publishing(job.id, worker="w1", published=OUTPUT, now=NOW)
    done = store.finish(job.id, worker="w1", published=OUTPUT, now=NOW)

    place = {"path": "/out/a.mp4", "size_bytes": 5, "mtime_ns": 6}
    assert [row.detail for row in store.events(job.id)] == [None, None, place, place]
    assert done.published == OUTPUT


@pytest.mark.parametrize("number", [2, 0, -1, 10**30])
def test_an_unknown_number_is_no_job(store: Store, number: int) -> None:
    encoding(store)

    with pytest.raises(NoSuchJob) as missing:
        store.finish(number, worker="w1", published={}, now=NOW)

    assert missing.value.message == f"There is no job {number}."
