"""A recording's way as tables: states and events, what follows a failure, pauses, and names on one line."""

from __future__ import annotations

import os

import pytest

from encoderd.errors import ExitCode, JobRefused
from encoderd.jobs import (
    LONGEST_PAUSE_S,
    TRANSITIONS,
    Candidate,
    Consequence,
    FailureKind,
    Job,
    JobEvent,
    JobState,
    after_failure,
    after_interruption,
    growing_pause_s,
    next_state,
    readable,
)

STATES: list[JobState | None] = [None, *JobState]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", list(JobEvent))
def test_each_pair_is_in_the_table_or_refused_with_a_way_out(state: JobState | None, event: JobEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
        return

    with pytest.raises(JobRefused) as refused:
        next_state(state, event)

    assert str(event) in refused.value.message
    assert str(state or "new") in refused.value.message
    assert refused.value.remedy
    assert refused.value.exit_code is ExitCode.FAILED


def test_a_refusal_names_the_states_that_would_do() -> None:
    with pytest.raises(JobRefused) as refused:
        next_state(JobState.DONE, JobEvent.RETRIED)

    assert refused.value.message == "A job that is done cannot be retried."
    assert "cancelled or failed or skipped" in refused.value.remedy


def test_every_state_and_every_event_is_used() -> None:
    assert {event for _state, event in TRANSITIONS} == set(JobEvent)
    assert set(TRANSITIONS.values()) == set(JobState)


def test_nothing_leads_out_of_done() -> None:
    """A published output is never made again by itself; a changed recording is a new job."""
    assert [event for state, event in TRANSITIONS if state is JobState.DONE] == []


def test_every_other_state_has_a_way_back_to_the_queue() -> None:
    ways_back = {state for (state, _event), target in TRANSITIONS.items() if target is JobState.QUEUED}

    assert set(JobState) - {JobState.DONE} <= ways_back


def test_only_a_claim_starts_an_encode() -> None:
    starts = [(state, event) for (state, event), target in TRANSITIONS.items() if target is JobState.ENCODING]

    assert starts == [(JobState.QUEUED, JobEvent.CLAIMED), (JobState.ENCODING, JobEvent.PUBLISHING)]


FAILURES = [
    # kind, wanted event, attempts (of 3) -> event, counts, pause (of 60 s)
    ("recording", "recording_rejected", 1, "recording_rejected", True, 0.0),
    ("recording", "crashed", 9, "recording_rejected", True, 0.0),
    ("device", "device_lost", 1, "device_lost", False, 0.0),
    ("device", "no_space", 1, "no_space", False, 0.0),
    ("device", "crashed", 1, "device_lost", False, 0.0),
    ("device", "device_lost", 99, "device_lost", False, 0.0),
    ("crash", "crashed", 1, "crashed", True, 60.0),
    ("crash", "stalled", 1, "stalled", True, 60.0),
    ("crash", "crashed", 2, "crashed", True, 120.0),
    ("crash", "device_lost", 1, "crashed", True, 60.0),
    ("crash", "crashed", 3, "exhausted", True, 0.0),
    ("crash", "stalled", 4, "exhausted", True, 0.0),
]


@pytest.mark.parametrize(("kind", "wanted", "attempts", "event", "counts", "pause_s"), FAILURES)
def test_what_follows_a_failure(
    kind: str, wanted: str, attempts: int, event: str, counts: bool, pause_s: float
) -> None:
    """Bad recordings fail at once, devices never count, crashes are tried again after growing pauses."""
    expected = Consequence(event=JobEvent(event), counts=counts, pause_s=pause_s)

    assert expected == after_failure(
        FailureKind(kind), JobEvent(wanted), attempts=attempts, max_attempts=3, retry_pause_s=60.0
    )


@pytest.mark.parametrize("kind", list(FailureKind))
@pytest.mark.parametrize("wanted", list(JobEvent))
def test_what_follows_is_always_possible_while_encoding(kind: FailureKind, wanted: JobEvent) -> None:
    for attempts in (1, 2, 3):
        consequence = after_failure(kind, wanted, attempts=attempts, max_attempts=2, retry_pause_s=1.0)

        assert next_state(JobState.ENCODING, consequence.event) in {JobState.QUEUED, JobState.FAILED}


@pytest.mark.parametrize(
    ("times", "first_s", "pause_s"),
    [
        (-1, 60.0, 0.0),
        (0, 60.0, 0.0),
        (1, 60.0, 60.0),
        (2, 60.0, 120.0),
        (3, 60.0, 240.0),
        (10, 60.0, LONGEST_PAUSE_S),
        (10_000, 60.0, LONGEST_PAUSE_S),
        (1, 86_400.0, LONGEST_PAUSE_S),
        (5, 0.05, 0.8),
    ],
)
def test_pauses_double_up_to_a_limit(times: int, first_s: float, pause_s: float) -> None:
    assert pause_s == growing_pause_s(times, first_s)


@pytest.mark.parametrize(
    ("interruptions", "pause_s"), [(0, 0.0), (1, 0.0), (2, 60.0), (3, 120.0), (99, LONGEST_PAUSE_S)]
)
def test_the_first_death_of_a_worker_costs_nothing(interruptions: int, pause_s: float) -> None:
    assert pause_s == after_interruption(interruptions, 60.0)


def test_a_job_knows_its_recording_s_identity() -> None:
    candidate = Candidate(watch="tv", relative_path="a/b.ts", size_bytes=7, mtime_ns=9)
    job = Job(id=1, watch="tv", relative_path="a/b.ts", size_bytes=7, mtime_ns=9, state=JobState.QUEUED, priority=3)

    assert candidate == job.candidate
    assert len({job, job}) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (b"news.ts", "news.ts"),
        ("きょうの料理　第1回.ts".encode(), "きょうの料理　第1回.ts"),
        (b"with space.ts", "with space.ts"),
        (b"two\nlines.ts", r"two\nlines.ts"),
        (b"tab\tbell\x07esc\x1b[31m.ts", r"tab\tbell\x07esc\x1b[31m.ts"),
        (b"latin1-\xe4\xff.ts", r"latin1-\xe4\xff.ts"),
        ("東京".encode("euc-jp") + b".ts", r"\xc5\xec\xb5\xfe.ts"),
        ("right\u202eto left.ts".encode(), r"right\u202eto left.ts"),
        ("line\u2028separator.ts".encode(), r"line\u2028separator.ts"),
        ("é🎬.ts".encode(), "é🎬.ts"),
        (b"", ""),
    ],
)
def test_any_name_is_one_line(name: bytes, line: str) -> None:
    shown = readable(os.fsdecode(name))

    assert line == shown
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")  # no lone surrogate is left


def test_even_a_surrogate_that_no_file_name_gives_is_shown() -> None:
    assert readable("x\ud800") == r"x\ud800"
