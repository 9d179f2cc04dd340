"""A recording's way through encoderd as values: candidate, job, states, transitions, and what follows a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from encoderd.errors import JobRefused


class JobState(StrEnum):
    """Where a job stands. `TRANSITIONS` says which event leads from which state to which."""

    QUEUED = "queued"  #: waits for a worker, from `next_try_at` on
    ENCODING = "encoding"  #: claimed by a worker under a lease
    SETTLING = "settling"  #: its recording changed after admission; waits until intake sees it whole again
    DONE = "done"  #: a verified output is published and the receipt is stored
    FAILED = "failed"  #: needs a person: a bad recording, or crashes beyond `max_attempts`
    CANCELLED = "cancelled"  #: by the operator
    SKIPPED = "skipped"  #: an output is not wanted (filter rule, larger than its source)


class JobEvent(StrEnum):
    """What happens to a job; each one is a row of its history."""

    ADDED = "added"
    CLAIMED = "claimed"
    PUBLISHING = "publishing"  #: verified; the rename to its final name is about to happen
    PUBLISHED = "published"
    RECORDING_REJECTED = "recording_rejected"
    DEVICE_LOST = "device_lost"
    NO_SPACE = "no_space"
    STOPPING = "stopping"  #: the daemon stops and gives its jobs back
    LEASE_EXPIRED = "lease_expired"  #: its worker died
    CRASHED = "crashed"
    STALLED = "stalled"
    EXHAUSTED = "exhausted"  #: crashed or stalled for the last allowed time
    SOURCE_CHANGED = "source_changed"
    SETTLED = "settled"  #: the changed recording is whole again, under its new identity
    NOT_WANTED = "not_wanted"
    CANCELLED = "cancelled"
    RETRIED = "retried"  #: by the operator
    ACCEPTED = "accepted"  #: by the operator: what can be made of a damaged recording is wanted


class Acceptance(StrEnum):
    """Whether a recording's own damage keeps its output from being published. `retried` takes it back."""

    NONE = ""
    POSSIBLE = "possible"  #: the job failed for nothing else
    GIVEN = "given"  #: the operator wants what can be made; of a done job: it was needed


class FailureKind(StrEnum):
    """Who is to blame. What is not known is CRASH."""

    RECORDING = "recording"  #: bad input: the same again would fail again
    DEVICE = "device"  #: GPU, runtime, driver, disk space, folder: the recording is not to blame
    CRASH = "crash"  #: the child died, stalled or broke in a way nobody has named


_S, _E = JobState, JobEvent

TRANSITIONS: Mapping[tuple[JobState | None, JobEvent], JobState] = {
    (None, _E.ADDED): _S.QUEUED,
    (_S.QUEUED, _E.CLAIMED): _S.ENCODING,
    (_S.ENCODING, _E.PUBLISHING): _S.ENCODING,
    (_S.ENCODING, _E.PUBLISHED): _S.DONE,
    (_S.ENCODING, _E.RECORDING_REJECTED): _S.FAILED,
    (_S.ENCODING, _E.DEVICE_LOST): _S.QUEUED,
    (_S.ENCODING, _E.NO_SPACE): _S.QUEUED,
    (_S.ENCODING, _E.STOPPING): _S.QUEUED,
    (_S.ENCODING, _E.LEASE_EXPIRED): _S.QUEUED,
    (_S.ENCODING, _E.CRASHED): _S.QUEUED,
    (_S.ENCODING, _E.STALLED): _S.QUEUED,
    (_S.ENCODING, _E.EXHAUSTED): _S.FAILED,
    (_S.ENCODING, _E.SOURCE_CHANGED): _S.SETTLING,
    (_S.QUEUED, _E.SOURCE_CHANGED): _S.SETTLING,
    (_S.SETTLING, _E.SETTLED): _S.QUEUED,
    (_S.QUEUED, _E.SETTLED): _S.QUEUED,
    (_S.QUEUED, _E.CANCELLED): _S.CANCELLED,
    (_S.ENCODING, _E.CANCELLED): _S.CANCELLED,
    (_S.SETTLING, _E.CANCELLED): _S.CANCELLED,
    (_S.QUEUED, _E.NOT_WANTED): _S.SKIPPED,
    (_S.ENCODING, _E.NOT_WANTED): _S.SKIPPED,
    (_S.FAILED, _E.RETRIED): _S.QUEUED,
    (_S.FAILED, _E.ACCEPTED): _S.QUEUED,
    (_S.CANCELLED, _E.RETRIED): _S.QUEUED,
    (_S.SKIPPED, _E.RETRIED): _S.QUEUED,
}

#: The longest pause before a retry, in seconds. A later `next_try_at` can only come from a clock that stepped back.
LONGEST_PAUSE_S = 6 * 3600.0


def next_state(state: JobState | None, event: JobEvent) -> JobState:
    """
    Return the state that `event` leads to.

    Raises:
        JobRefused: the table has no such transition; the message names the states that have.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        allowed = sorted(str(origin) for origin, known in TRANSITIONS if known is event and origin is not None)
        raise JobRefused(
            f"A job that is {state or 'new'} cannot be {event}.",
            remedy=f"Possible for jobs that are {' or '.join(allowed)}: encoderd queue list",
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """
    A recording that intake holds for whole.

    `relative_path` is below the watch folder, as `os.fsdecode` gives it: bytes that are not UTF-8 are lone
    surrogates. (watch, relative_path, size_bytes, mtime_ns) is the recording's identity.
    """

    watch: str
    relative_path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    One row of the queue. Times are seconds since the epoch (wall clock), None where they have not happened.

    `attempts` counts the tries that were the recording's or the encoder's own (device losses and stops are given
    back); `interruptions` counts the times its worker died under it.
    """

    id: int
    watch: str
    relative_path: str
    size_bytes: int
    mtime_ns: int
    state: JobState
    priority: int = 0
    attempts: int = 0
    interruptions: int = 0
    added_at: float = 0.0
    next_try_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    worker: str | None = None
    lease_until: float | None = None
    cancel_requested: bool = False
    failure_kind: FailureKind | None = None
    reason: str = ""
    remedy: str = ""
    #: What is about to be, or was, published: {"path", "size_bytes", "mtime_ns", "receipt"}. None before.
    published: Mapping[str, Any] | None = field(default=None, hash=False)
    acceptance: Acceptance = Acceptance.NONE

    @property
    def candidate(self) -> Candidate:
        return Candidate(
            watch=self.watch,
            relative_path=self.relative_path,
            size_bytes=self.size_bytes,
            mtime_ns=self.mtime_ns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """What a failure leads to: the event for the history, whether the attempt counts, the pause before the next."""

    event: JobEvent
    counts: bool
    pause_s: float


def after_failure(
    kind: FailureKind,
    event: JobEvent,
    *,
    attempts: int,
    max_attempts: int,
    retry_pause_s: float,
) -> Consequence:
    """
    Decide what follows when an attempt failed.

    `attempts` counts this attempt too. `event` is the wanted event for that kind (DEVICE_LOST or NO_SPACE,
    CRASHED or STALLED); a crash beyond `max_attempts` becomes EXHAUSTED. Pauses after crashes double each time:
    `retry_pause_s`, 2×, 4×, … up to `LONGEST_PAUSE_S`.
    """
    match kind:
        case FailureKind.RECORDING:
            return Consequence(event=JobEvent.RECORDING_REJECTED, counts=True, pause_s=0.0)
        case FailureKind.DEVICE:
            given_back = JobEvent.NO_SPACE if event is JobEvent.NO_SPACE else JobEvent.DEVICE_LOST
            return Consequence(event=given_back, counts=False, pause_s=0.0)
        case FailureKind.CRASH:
            if attempts >= max_attempts:
                return Consequence(event=JobEvent.EXHAUSTED, counts=True, pause_s=0.0)
            again = JobEvent.STALLED if event is JobEvent.STALLED else JobEvent.CRASHED
            return Consequence(event=again, counts=True, pause_s=growing_pause_s(attempts, retry_pause_s))


def growing_pause_s(times: int, first_pause_s: float) -> float:
    """Return the pause after the `times`-th mishap (from 1): doubling from `first_pause_s`, capped."""
    return min(first_pause_s * 2.0 ** (min(times, 32) - 1), LONGEST_PAUSE_S) if times > 0 else 0.0


def after_interruption(interruptions: int, retry_pause_s: float) -> float:
    """
    Return the pause in seconds before a job whose worker died is tried again, the `interruptions`-th time.

    The first death costs it nothing: a power cut is not its fault. From the second on the pause grows, so that a
    recording that takes the whole guest down with it cannot keep the others from being encoded.
    """
    return growing_pause_s(interruptions - 1, retry_pause_s)


def readable(path: str) -> str:
    r"""
    Return a file name as one printable line: control characters and bytes that are not UTF-8 become `\xNN`.

    Only for people and logs; it is not meant to be read back.
    """
    shown = []
    for character in path:
        if "\udc80" <= character <= "\udcff":
            shown.append(f"\\x{ord(character) - 0xDC00:02x}")
        elif character.isprintable() or character == "\u3000":  # the Japanese space, common in recorders' names
            shown.append(character)
        else:
            shown.append(character.encode("unicode_escape").decode("ascii"))
    return "".join(shown)
