"""Which job a whole recording becomes: on real SQLite files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from encoderd.errors import DatabaseError, JobRefused
from encoderd.jobs import Candidate, FailureKind, Job, JobEvent, JobState
from encoderd.queue.store import Store

EVENING = Candidate(watch="tv", relative_path="news/evening.ts", size_bytes=188_000, mtime_ns=1_700_000_000_000_000_000)
GROWN = replace(EVENING, size_bytes=376_000, mtime_ns=EVENING.mtime_ns + 60)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "queue.db", busy_timeout_s=1) as opened:
        yield opened


def added(store: Store, candidate: Candidate, *, now: float = 1.0) -> Job:
    job = store.add(candidate, now=now)
    assert job is not None
    return job


def claimed(store: Store, *, now: float = 2.0) -> Job:
    job = store.claim(worker="w1", watches=["tv"], now=now, lease_s=60)
    assert job is not None
    return job


def history(store: Store, job_id: int) -> list[JobEvent]:
    return [row.event for row in store.events(job_id)]


def test_a_recording_becomes_a_queued_job(store: Store) -> None:
    """A new recording is queued, due at once whatever the clock does, and its history begins."""
    job = store.add(EVENING, now=5.0, priority=3)

    assert job is not None
    assert job == Job(
        id=1, watch="tv", relative_path="news/evening.ts", size_bytes=188_000, mtime_ns=EVENING.mtime_ns,
        state=JobState.QUEUED, priority=3, added_at=5.0, next_try_at=0.0,
    )  # fmt: skip
    assert store.job(1) == job
    assert history(store, 1) == [JobEvent.ADDED]


@pytest.mark.parametrize("end", ["queued", "encoding", "done", "failed", "cancelled", "skipped"])
def test_a_known_recording_adds_nothing(store: Store, end: str) -> None:
    """The same identity is queued once, whatever became of its job."""
    job = added(store, EVENING)
    match end:
        case "encoding":
            claimed(store)
        case "done":
            claimed(store)
            store.finish(job.id, worker="w1", published={"path": "x"}, now=3.0)
        case "failed":
            claimed(store)
            store.fail(
                job.id, worker="w1", event=JobEvent.RECORDING_REJECTED, kind=FailureKind.RECORDING,
                reason="r", remedy="", counts=True, pause_s=0, now=3.0,
            )  # fmt: skip
        case "cancelled":
            store.request_cancel(job.id, now=3.0)
        case "skipped":
            store.skip(job.id, now=3.0, reason="r")

    before = store.job(job.id)

    assert before.state == end
    assert store.add(EVENING, now=9.0) is None
    assert store.add_many([EVENING, EVENING], now=9.0) == []
    assert store.jobs() == [before]


@pytest.mark.parametrize(
    "other",
    [
        replace(EVENING, watch="films"),
        replace(EVENING, relative_path="news/Evening.ts"),
        replace(EVENING, relative_path="news/evening.ts "),
    ],
)
def test_folder_and_path_make_another_recording(store: Store, other: Candidate) -> None:
    """The same size and time under another folder or name, however similar, is another job."""
    added(store, EVENING)

    assert added(store, other).id == 2


def test_new_content_after_the_end_is_a_new_job(store: Store) -> None:
    """A path whose job is done and that has new content is queued again; the old job stays as it was."""
    job = added(store, EVENING)
    claimed(store)
    done = store.finish(job.id, worker="w1", published={"path": "x"}, now=3.0)

    assert added(store, GROWN, now=4.0).id == 2
    assert store.job(job.id) == done


def test_a_queued_job_takes_the_new_identity(store: Store) -> None:
    """A queued recording that grew keeps its job, under the new identity and as if never tried; history has both."""
    job = added(store, EVENING)
    claimed(store)
    store.fail(
        job.id, worker="w1", event=JobEvent.CRASHED, kind=FailureKind.CRASH,
        reason="died", remedy="look", counts=True, pause_s=600, now=3.0,
    )  # fmt: skip

    settled = store.add(GROWN, now=4.0)

    assert settled == replace(
        job, size_bytes=376_000, mtime_ns=GROWN.mtime_ns, attempts=0, next_try_at=0.0, reason="", remedy=""
    )
    last = store.events(job.id)[-1]
    assert (last.event, last.state_from, last.state_to) == (JobEvent.SETTLED, JobState.QUEUED, JobState.QUEUED)
    assert last.detail == {
        "old": {"size_bytes": 188_000, "mtime_ns": EVENING.mtime_ns},
        "new": {"size_bytes": 376_000, "mtime_ns": GROWN.mtime_ns},
    }


@pytest.mark.parametrize("offered", [EVENING, GROWN])
def test_a_settling_job_returns_when_its_recording_is_whole(store: Store, offered: Candidate) -> None:
    """A settling job goes back to the queue when intake offers its path again, changed or not."""
    job = added(store, EVENING)
    claimed(store)
    waiting = store.source_changed(job.id, now=3.0, reason="it grew")

    settled = store.add(offered, now=4.0)

    assert (waiting.state, waiting.attempts) == (JobState.SETTLING, 0)
    assert settled is not None
    assert (settled.id, settled.state, settled.candidate) == (job.id, JobState.QUEUED, offered)
    assert history(store, job.id) == [
        JobEvent.ADDED, JobEvent.CLAIMED, JobEvent.SOURCE_CHANGED, JobEvent.SETTLED,
    ]  # fmt: skip


def test_new_content_under_a_running_attempt_waits(store: Store) -> None:
    """While a path is being encoded, its new content is not queued beside it; after the attempt is void, it is."""
    job = added(store, EVENING)
    claimed(store)

    assert store.add(GROWN, now=3.0) is None

    store.source_changed(job.id, now=4.0, reason="it grew")
    settled = store.add(GROWN, now=5.0)

    assert settled is not None
    assert (settled.id, settled.candidate) == (job.id, GROWN)


@pytest.mark.parametrize("settling", [True, False])
def test_a_job_whose_recording_became_another_job_s_is_skipped(store: Store, settling: bool) -> None:
    """Content that changes back to what job 1 has would let job 2 wait for ever: it is skipped, and says why."""
    first = added(store, EVENING)
    claimed(store)
    store.finish(first.id, worker="w1", published={"path": "x"}, now=3.0)
    second = added(store, GROWN)
    if settling:
        store.source_changed(second.id, now=4.0, reason="it shrank")

    assert store.add(EVENING, now=5.0) is None

    skipped = store.job(second.id)
    assert skipped.state is JobState.SKIPPED
    assert skipped.reason == "news/evening.ts is the recording of job 1 again."


@pytest.mark.parametrize("name", [b"\xff\xfe \x80.ts", b"new\nline\x01.ts", "Tatörtchen ☂.ts".encode(), b"' OR 1=1.ts"])
def test_names_are_bytes(store: Store, name: bytes) -> None:
    """A file name may hold any byte; it comes back as `os.fsdecode` gives it, and dedupes as any other."""
    candidate = replace(EVENING, relative_path=os.fsdecode(name))
    job = added(store, candidate)

    assert job.candidate == candidate
    assert store.job(job.id).candidate == candidate
    assert store.add(candidate, now=2.0) is None


def test_a_reason_may_quote_such_a_name(store: Store) -> None:
    """Text that quotes undecodable bytes is stored readably rather than refused."""
    job = added(store, EVENING)

    assert store.skip(job.id, now=2.0, reason="\udcff.ts is small").reason == "\\udcff.ts is small"


def test_an_output_s_name_may_be_any_bytes_too(store: Store) -> None:
    """What is published is kept as it was given, lone surrogates included."""
    job = added(store, EVENING)
    claimed(store)
    published = {"path": "/out/\udcff.mp4", "size_bytes": 5, "mtime_ns": 6, "receipt": {"psnr_db": 41.5}}

    assert store.finish(job.id, worker="w1", published=published, now=3.0).published == published
    assert store.job(job.id).published == published


def test_many_are_added_together(store: Store) -> None:
    """A first start brings thousands at once: new ones, known ones and two sizes of one path in one call."""
    added(store, EVENING)
    many = [
        Candidate(watch=watch, relative_path=f"{i}.ts", size_bytes=i, mtime_ns=i)
        for i in range(1, 701)
        for watch in ("tv", "films")
    ]

    jobs = store.add_many([EVENING, *many, replace(many[0], size_bytes=9_999)], now=2.0)

    assert len(jobs) == 1401
    assert [job.candidate for job in jobs[:-1]] == many
    assert (jobs[-1].id, jobs[-1].size_bytes) == (jobs[0].id, 9_999)
    assert store.counts()[JobState.QUEUED] == 1401
    assert history(store, jobs[-1].id) == [JobEvent.ADDED, JobEvent.SETTLED]
    assert history(store, jobs[700].id) == [JobEvent.ADDED]
    assert store.add_many(many[1:], now=3.0) == []
    assert store.add_many([], now=3.0) == []


def test_many_are_added_all_or_none(store: Store) -> None:
    """One recording that cannot be stored leaves none of its batch behind."""
    with pytest.raises(JobRefused):
        store.add_many([EVENING], now=1.0, priority=10**30)

    with pytest.raises(DatabaseError):
        store.add_many([EVENING, replace(EVENING, relative_path="\ud800")], now=1.0)

    assert store.jobs() == []
