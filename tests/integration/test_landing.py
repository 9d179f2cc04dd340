"""How what an attempt made gets its names, or does not: a real queue and real files, a scripted end of the child."""

from __future__ import annotations

import time
from typing import Any

import pytest
import structlog

from encoderd.attempt import Attempt
from encoderd.encode.failures import EncodeFailed, not_wanted, rejected
from encoderd.encode.messages import Encoded
from encoderd.jobs import Job, JobEvent, JobState
from encoderd.video_settings import video_request
from encoderd.workshop import Workshop
from tests.integration.test_workshop import settings as settings  # fixtures
from tests.integration.test_workshop import workshop as workshop

RECEIPT: dict[str, Any] = {
    "verdict": "pass", "findings": [], "granted": {}, "duration_s": 1.0, "wall_s": 1.0, "speed_x": 1.0, "fps": 30.0,
}  # fmt: skip
DAMAGED = rejected("38 % of the recording is damaged.", remedy="Look at the aerial.", kept=True)


class Ended:
    """A child that has said its last word."""

    started = progress = None

    def __init__(self, outcome: Encoded | EncodeFailed) -> None:
        self.outcome = outcome

    def poll(self, now_s: float) -> Encoded | EncodeFailed:
        return self.outcome

    def kill(self) -> None:
        """It is gone."""


class Table:
    """One job in a workshop: `attempt` claims it, `end` gives its child's last word."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.store = workshop._shop.store
        self.output = workshop._settings.watch[0].output
        self.input = workshop._settings.watch[0].path
        self.output.mkdir()

    def attempt(self, **encode: Any) -> Attempt:
        settings = self.workshop._settings
        job = self.store.claim(worker="test", watches=["tv"], now=time.time() + 1e5, lease_s=60)
        assert job is not None
        asked = settings.encode.model_copy(update=encode)
        shop = self.workshop._shop
        attempt = Attempt(shop, job, settings.watch[0], asked, video_request(asked, "libx264"))
        self.workshop.attempts.append(attempt)
        return attempt

    def end(self, attempt: Attempt, outcome: Encoded | EncodeFailed) -> Job:
        child: Any = Ended(outcome)
        attempt.child = child
        self.workshop.drive(0.0, look=False)
        assert self.workshop.attempts == []
        return self.store.job(1)

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.output.iterdir())}


@pytest.fixture
def table(workshop: Workshop) -> Table:
    return Table(workshop)


def written(attempt: Attempt, captions: str = "") -> Encoded:
    """Leave what a child would have, and return its last word."""
    attempt.landing.partial.write_text("picture")
    found = attempt.landing.partial.stat()
    receipt = dict(RECEIPT)
    if captions:
        attempt.landing.captions.write_text("words")
        beside = attempt.landing.captions.stat()
        file = {"ending": captions, "size_bytes": beside.st_size, "mtime_ns": beside.st_mtime_ns}
        receipt["captions"] = {"inside": [], "beside": [], "file": file}
    return Encoded(size_bytes=found.st_size, mtime_ns=found.st_mtime_ns, receipt=receipt)


@pytest.mark.parametrize("ending", ["mks", "ts"])
def test_captions_stand_beside_their_output(table: Table, ending: str) -> None:
    attempt = table.attempt()
    with structlog.testing.capture_logs() as log:
        job = table.end(attempt, written(attempt, ending))

    assert {f"a.captions.{ending}": "words", "a.mp4": "picture"} == table.files()
    assert JobState.DONE is job.state
    assert job.published is not None
    path = str(table.output / f"a.captions.{ending}")
    assert [path, path] == [job.published["captions"]["path"], job.published["receipt"]["captions"]["published_as"]]
    assert [path] == [line["captions"] for line in log if line["event"] == "encode.finished"]


@pytest.mark.parametrize("taken", ["a.mp4", "a.captions.mks"])
def test_the_two_share_a_number(table: Table, taken: str) -> None:
    """A name that is taken for one of them is taken for both; nobody's file is touched."""
    (table.output / taken).write_text("mine")
    attempt = table.attempt()
    table.end(attempt, written(attempt, "mks"))

    assert {"a (2).captions.mks": "words", "a (2).mp4": "picture", taken: "mine"} == table.files()


def test_an_output_without_captions_may_stand_beside_somebody_s(table: Table) -> None:
    (table.output / "a.captions.mks").write_text("mine")
    attempt = table.attempt()
    table.end(attempt, written(attempt))

    assert {"a.captions.mks": "mine", "a.mp4": "picture"} == table.files()


def test_captions_that_the_child_gave_up_leave_nothing(table: Table) -> None:
    attempt = table.attempt()
    encoded = written(attempt, "ts")
    encoded.receipt["captions"]["file"]["ending"] = ""
    table.end(attempt, encoded)

    assert {"a.mp4": "picture"} == table.files()


def test_a_failure_takes_every_partial_file_along(table: Table) -> None:
    attempt = table.attempt()
    written(attempt, "ts")
    (table.output / ".a.encoderd-1.sidecar.partial").write_text("half")
    job = table.end(attempt, rejected("No video.", remedy="Look at it."))

    assert (JobState.FAILED, {}) == (job.state, table.files())


def test_what_a_former_life_left_half_is_swept(table: Table) -> None:
    """Captions and a copy that was cut off: of a job that is over they go, of nobody's job they are named."""
    attempt = table.attempt()
    table.end(attempt, written(attempt))
    ours = [table.output / ".a.encoderd-1.captions.partial", table.output / ".a.encoderd-1.sidecar.partial"]
    strange = [table.output / ".b.encoderd-1.captions.partial", table.output / ".c.encoderd-9.captions.partial"]
    for path in ours + strange:
        path.write_text("half")
    with structlog.testing.capture_logs() as log:
        table.workshop.sweep((path, 9 if path == strange[1] else 1) for path in ours + strange)

    assert {"a.mp4", *(path.name for path in strange)} == set(table.files())
    assert 2 * ["encode.partial_removed"] + 2 * ["encode.partial_left"] == [line["event"] for line in log]


# --- damaged beyond the limit


def test_a_damaged_output_is_kept_when_asked_for(table: Table) -> None:
    """Under a name that no player and no media server takes for an output; the job has failed, and says where it is."""
    (table.output / "a.mp4.damaged").write_text("mine")
    attempt = table.attempt(keep_damaged=True)
    written(attempt, "ts")
    with structlog.testing.capture_logs() as log:
        job = table.end(attempt, DAMAGED)
    kept = str(table.output / "a (2).mp4.damaged")

    assert {"a (2).mp4.damaged": "picture", "a.mp4.damaged": "mine"} == table.files()
    assert (JobState.FAILED, "recording", None) == (job.state, job.failure_kind, job.published)
    assert f"38 % of the recording is damaged. What could be made of it is {kept}." == job.reason
    assert [job.reason] == [line["reason"] for line in log if line["event"] == "encode.failed"]
    assert (table.input / "a.ts").exists()


@pytest.mark.parametrize(
    ("keep_damaged", "failure"), [(False, DAMAGED), (True, rejected("No video.", remedy="Look at it."))]
)
def test_else_it_is_removed(table: Table, keep_damaged: bool, failure: EncodeFailed) -> None:
    attempt = table.attempt(keep_damaged=keep_damaged)
    written(attempt)
    job = table.end(attempt, failure)

    assert (JobState.FAILED, failure.message, {}) == (job.state, job.reason, table.files())


@pytest.mark.parametrize("renamed", [False, True])
def test_a_crash_while_a_damaged_output_is_kept(table: Table, renamed: bool) -> None:
    """The next attempt finishes it: no second encode, no second file, the same words."""
    attempt = table.attempt(keep_damaged=True)
    written(attempt)
    told = attempt.landing.keep_damaged(DAMAGED).message
    if not renamed:
        (table.output / "a.mp4.damaged").rename(attempt.landing.partial)
    table.workshop.attempts.clear()  # the daemon died here
    table.store.release_worker("test", now=time.time(), retry_pause_s=1)
    again = table.attempt(keep_damaged=True)
    table.workshop.drive(0.0, look=False)
    job = table.store.job(1)

    assert (JobState.FAILED, told) == (job.state, job.reason)
    assert again.child is None
    assert {"a.mp4.damaged": "picture"} == table.files()


def test_a_damaged_recording_can_be_tried_again(table: Table) -> None:
    """After the limit was raised: what was kept is no reason to fail at once."""
    attempt = table.attempt(keep_damaged=True)
    written(attempt)
    table.end(attempt, DAMAGED)
    table.store.retry(1, now=time.time())
    again = table.attempt()
    job = table.end(again, written(again))

    assert JobState.DONE is job.state
    assert {"a.mp4": "picture", "a.mp4.damaged": "picture"} == table.files()


# --- not wanted


def test_an_output_that_nobody_wants(table: Table) -> None:
    """Skipped with its figures and no blame; the recording stays, the partial file goes; a retry is a new start."""
    attempt = table.attempt()
    written(attempt, "mks")
    with structlog.testing.capture_logs() as log:
        job = table.end(attempt, not_wanted("It would have 120 % of its recording's size.", remedy="Raise the limit."))
    lines = [line for line in log if line["event"].startswith("encode.")]

    assert (JobState.SKIPPED, None, 1) == (job.state, job.failure_kind, job.attempts)
    assert job.reason == "It would have 120 % of its recording's size."
    assert [("encode.not_wanted", "info", job.reason, 1)] == [
        (line["event"], line["log_level"], line["reason"], line["source_bytes"]) for line in lines
    ]
    assert {} == table.files()
    assert (table.input / "a.ts").exists()
    assert ["claimed", "not_wanted"] == [event.event for event in table.store.events(1)][-2:]

    assert JobState.QUEUED is table.store.retry(1, now=time.time()).state


def test_what_another_worker_has_by_now_is_not_skipped(table: Table) -> None:
    attempt = table.attempt()
    table.store.give_back(1, worker="test", event=JobEvent.STOPPING, now=time.time())
    job = table.end(attempt, not_wanted("Too large.", remedy="Raise the limit."))

    assert JobState.QUEUED is job.state
