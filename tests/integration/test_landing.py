"""How what an attempt made gets its names, or does not: a real queue and real files, a scripted end of the child."""

from __future__ import annotations

import time
from typing import Any

import pytest
import structlog

from encoderd.attempt import Attempt
from encoderd.encode.failures import EncodeFailed, not_wanted, rejected
from encoderd.encode.messages import Encoded
from encoderd.errors import JobRefused
from encoderd.jobs import Acceptance, Job, JobEvent, JobState
from encoderd.video_settings import video_request
from encoderd.workshop import Workshop
from tests.integration.test_workshop import settings as settings  # fixtures
from tests.integration.test_workshop import workshop as workshop

RECEIPT: dict[str, Any] = {
    "verdict": "pass", "findings": [], "granted": {}, "duration_s": 1.0, "wall_s": 1.0, "speed_x": 1.0, "fps": 30.0,
}  # fmt: skip
DAMAGED = rejected("38 % of the recording is damaged.", remedy="Look at the aerial.", acceptable=True)


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


# --- damage that was accepted


def accepted(attempt: Attempt, captions: str = "") -> Encoded:
    encoded = written(attempt, captions)
    encoded.receipt.update(verdict="warn", accepted=[{"check": "damage", "evidence": "38 %"}])
    return encoded


@pytest.mark.parametrize("wish", ["keep", "delete"])
def test_accepted_damage_marks_the_output_and_keeps_the_recording(table: Table, wish: str) -> None:
    """Under a name that no media server takes for a whole output; captions share its stem."""
    (table.output / "a.mp4.damaged").write_text("mine")
    attempt = table.attempt(after_success=wish)
    job = table.end(attempt, accepted(attempt, "ts"))

    assert {"a (2).captions.ts": "words", "a (2).mp4.damaged": "picture", "a.mp4.damaged": "mine"} == table.files()
    assert (JobState.DONE, Acceptance.GIVEN) == (job.state, job.acceptance)
    assert job.published is not None
    assert job.published["receipt"]["after_success"].startswith("kept")
    assert (table.input / "a.ts").exists()
    assert table.store.acceptances() == (1, 0)


def test_a_failure_for_damage_alone_offers_the_acceptance(table: Table) -> None:
    attempt = table.attempt()
    written(attempt)
    job = table.end(attempt, DAMAGED)

    assert (JobState.FAILED, Acceptance.POSSIBLE, {}) == (job.state, job.acceptance, table.files())
    assert job.remedy == "Look at the aerial. To have it nevertheless, marked as damaged: encoderd queue accept 1"
    assert table.store.acceptances() == (0, 1)

    table.store.accept(1, now=time.time())
    again = table.attempt(max_size_ratio=0.5)
    asked = again._request()
    assert (asked.accept_damage, asked.max_size_ratio) == (True, 0.0)
    assert table.store.events(1)[-2].reason == "accepted by operator"


def test_an_acceptance_that_was_not_needed_marks_nothing(table: Table) -> None:
    table.end(table.attempt(), DAMAGED)
    table.store.accept(1, now=time.time())
    again = table.attempt()
    job = table.end(again, written(again))

    assert (JobState.DONE, Acceptance.NONE, {"a.mp4": "picture"}) == (job.state, job.acceptance, table.files())


def test_a_retry_takes_the_acceptance_back(table: Table) -> None:
    table.end(table.attempt(), DAMAGED)
    table.store.accept(1, now=time.time())
    table.store.request_cancel(1, now=time.time())
    job = table.store.retry(1, now=time.time())

    assert job.acceptance is Acceptance.NONE
    assert not table.attempt()._request().accept_damage


def test_what_failed_for_another_reason_cannot_be_accepted(table: Table) -> None:
    table.end(table.attempt(), rejected("No video.", remedy="Look at it."))
    with pytest.raises(JobRefused, match="failed for a reason that cannot be accepted: No video") as refusal:
        table.store.accept(1, now=time.time())

    assert refusal.value.remedy == "Look at it."
    assert table.store.job(1).state is JobState.FAILED


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
