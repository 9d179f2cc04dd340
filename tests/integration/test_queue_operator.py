"""What the operator asks of the queue, and what there is to read: on real SQLite files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encoderd.errors import JobRefused, NoSuchJob
from encoderd.jobs import Candidate, FailureKind, Job, JobEvent, JobState
from encoderd.queue.store import Store

NOW = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "queue.db", busy_timeout_s=1) as opened:
        yield opened


def add(store: Store, name: str = "a.ts", *, watch: str = "tv") -> Job:
    job = store.add(Candidate(watch=watch, relative_path=name, size_bytes=1, mtime_ns=1), now=NOW)
    assert job is not None
    return job


def claim(store: Store, *, now: float = NOW) -> Job | None:
    return store.claim(worker="w1", watches=["tv"], now=now, lease_s=60)


def encoding(store: Store) -> Job:
    add(store)
    job = claim(store)
    assert job is not None
    return job


def crash(store: Store, job: Job, event: JobEvent = JobEvent.CRASHED) -> Job:
    return store.fail(
        job.id, worker="w1", event=event, kind=FailureKind.CRASH, reason="it died", remedy="look",
        counts=True, pause_s=600, now=NOW,
    )  # fmt: skip


def test_a_waiting_job_is_cancelled_at_once(store: Store) -> None:
    job = add(store)

    cancelled = store.request_cancel(job.id, now=NOW + 1)

    assert (cancelled.state, cancelled.finished_at) == (JobState.CANCELLED, NOW + 1)
    assert claim(store) is None
    with pytest.raises(JobRefused):
        store.request_cancel(job.id, now=NOW + 2)


def test_the_cancelling_of_an_encoding_job_is_its_daemon_s_work(store: Store) -> None:
    """The wish is noted once or twice, the daemon that holds the job finds it, ends the child and says so."""
    job = encoding(store)
    store.request_cancel(job.id, now=NOW + 1)
    wished = store.request_cancel(job.id, now=NOW + 1)

    assert (wished.state, wished.cancel_requested) == (JobState.ENCODING, True)
    assert store.cancel_requests("w1") == [job.id]
    assert store.cancel_requests("w2") == []

    cancelled = store.cancelled(job.id, worker="w1", now=NOW + 2)

    assert (cancelled.state, cancelled.cancel_requested, cancelled.worker) == (JobState.CANCELLED, False, None)
    assert store.cancel_requests("w1") == []


@pytest.mark.parametrize(
    "end",
    [
        lambda store, job: crash(store, job),
        lambda store, job: store.give_back(job.id, worker="w1", event=JobEvent.STOPPING, now=NOW),
        lambda store, job: store.recover(now=NOW + 61, retry_pause_s=60)[0],
        lambda store, job: store.release_worker("w1", now=NOW, retry_pause_s=60)[0],
        lambda store, job: store.source_changed(job.id, now=NOW, reason="it grew"),
    ],
)
def test_a_job_that_is_to_be_cancelled_is_not_queued_again(store: Store, end: Callable[[Store, Job], Job]) -> None:
    """Whatever ends the attempt before the daemon saw the wish: the wish holds, and the history says both."""
    job = encoding(store)
    store.request_cancel(job.id, now=NOW)

    ended = end(store, job)

    last = store.events(job.id)[-1]
    assert (ended.state, ended.cancel_requested) == (JobState.CANCELLED, False)
    assert last.event is JobEvent.CANCELLED
    assert last.detail is not None
    assert "instead_of" in last.detail


def test_a_job_that_was_done_before_the_wish_was_seen_is_done(store: Store) -> None:
    job = encoding(store)
    store.request_cancel(job.id, now=NOW)

    done = store.finish(job.id, worker="w1", published={"path": "x"}, now=NOW)

    assert (done.state, done.cancel_requested) == (JobState.DONE, False)


def test_a_retry_starts_afresh(store: Store) -> None:
    """An ended job is queued as if it had never been tried: no attempts, no failure, due now."""
    job = crash(store, encoding(store), JobEvent.EXHAUSTED)
    again = store.retry(job.id, now=NOW + 9)

    assert (again.state, again.attempts, again.interruptions, again.next_try_at) == (JobState.QUEUED, 0, 0, NOW + 9)
    assert (again.failure_kind, again.reason, again.remedy, again.finished_at) == (None, "", "", None)


def test_a_retry_ends_the_pause_of_a_queued_job(store: Store) -> None:
    """Its attempts and its reason stay: only the waiting is over."""
    job = crash(store, encoding(store))
    assert claim(store) is None

    again = store.retry(job.id, now=NOW + 1)

    assert (again.attempts, again.reason, again.next_try_at) == (1, "it died", NOW + 1)
    assert getattr(claim(store, now=NOW + 1), "id", None) == job.id


def test_a_done_or_encoding_job_is_not_retried(store: Store) -> None:
    job = encoding(store)
    with pytest.raises(JobRefused, match="encoding cannot be retried"):
        store.retry(job.id, now=NOW)

    store.finish(job.id, worker="w1", published={"path": "x"}, now=NOW)
    with pytest.raises(JobRefused, match="done cannot be retried") as refused:
        store.retry(job.id, now=NOW)

    assert refused.value.remedy == "Possible for jobs that are cancelled or failed or skipped: encoderd queue list"


def test_a_priority_brings_a_job_forward(store: Store) -> None:
    add(store, "a.ts")
    second = add(store, "b.ts")

    assert store.set_priority(second.id, 7, now=NOW).priority == 7
    assert getattr(claim(store), "id", None) == second.id


@pytest.mark.parametrize("priority", [1_000_001, -(10**40)])
def test_a_priority_out_of_range_is_refused(store: Store, priority: int) -> None:
    job = add(store)

    with pytest.raises(JobRefused, match="out of range"):
        store.set_priority(job.id, priority, now=NOW)

    assert store.job(job.id) == job


def test_an_ended_job_has_no_priority(store: Store) -> None:
    job = add(store)
    store.skip(job.id, now=NOW, reason="r")

    with pytest.raises(JobRefused, match="is skipped"):
        store.set_priority(job.id, 1, now=NOW)


def test_a_pause_stops_claims_until_it_ends(store: Store) -> None:
    """Nothing is claimed or due while paused, even by a store opened later; what is encoded may go on."""
    job = encoding(store)
    add(store, "b.ts")
    store.pause(now=NOW, reason="holiday")
    store.pause(now=NOW, reason="long holiday")

    assert store.paused()
    assert store.pause_reason() == "long holiday"
    assert claim(store) is None
    assert store.next_due_at(watches=["tv"], now=NOW) is None
    assert store.heartbeat(job.id, worker="w1", now=NOW, lease_s=60)

    store.resume(now=NOW)
    store.resume(now=NOW)

    assert not store.paused()
    assert claim(store) is not None


def test_a_listing_shows_what_runs_then_what_is_next_then_what_ended_last(store: Store) -> None:
    names = ["done", "failed", "running", "settling", "queued", "urgent", "films"]
    jobs = {name: add(store, name, watch="films" if name == "films" else "tv") for name in names}
    for name, now in (("done", 1.0), ("failed", 2.0)):
        assert claim(store, now=NOW) is not None
        if name == "done":
            store.finish(jobs[name].id, worker="w1", published={"path": "x"}, now=NOW + now)
        else:
            crash(store, jobs[name], JobEvent.EXHAUSTED)
    assert claim(store) is not None
    store.source_changed(jobs["settling"].id, now=NOW, reason="it grew")
    store.set_priority(jobs["urgent"].id, 1, now=NOW)

    expected = ["running", "urgent", "queued", "films", "settling", "done", "failed"]
    assert [job.relative_path for job in store.jobs()] == expected
    assert [job.relative_path for job in store.jobs(limit=3, offset=2)] == expected[2:5]
    assert store.jobs(limit=3, offset=9) == []
    assert [job.relative_path for job in store.jobs(watch="films")] == ["films"]
    assert [job.relative_path for job in store.jobs(states=[JobState.FAILED, JobState.ENCODING])] == [
        "running",
        "failed",
    ]


def test_counts_name_every_state(store: Store) -> None:
    encoding(store)
    add(store, "b.ts")

    assert store.counts() == {
        JobState.QUEUED: 1, JobState.ENCODING: 1, JobState.SETTLING: 0, JobState.DONE: 0, JobState.FAILED: 0,
        JobState.CANCELLED: 0, JobState.SKIPPED: 0,
    }  # fmt: skip


def test_the_change_counter_tells_of_others_only(store: Store, tmp_path: Path) -> None:
    """It changes when another connection has written, not with our own writes and not with others' reads."""
    with Store.open(tmp_path / "queue.db", busy_timeout_s=1, migrate=False) as other:
        before = store.change_counter()
        add(store)
        other.jobs()

        assert store.change_counter() == before

        other.pause(now=NOW)

        assert store.change_counter() != before


def test_what_is_not_there_is_said(store: Store) -> None:
    for ask in (store.job, store.events):
        with pytest.raises(NoSuchJob) as missing:
            ask(7)

        assert missing.value.remedy == "The jobs there are: encoderd queue list"
