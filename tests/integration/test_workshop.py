"""How ended attempts reach the queue, where a real child cannot be made to end so: a real queue, a scripted end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoderd.attempt import Attempt, Shop
from encoderd.daemon import Daemon
from encoderd.encode.failures import EncodeFailed, device, rejected
from encoderd.encode.messages import TrialDone
from encoderd.folders import Folders
from encoderd.gate import Gate
from encoderd.jobs import Candidate, JobEvent, JobState
from encoderd.queue.store import Store
from encoderd.settings import DaemonSettings, EncodeSettings, QueueSettings, Settings, WatchSettings
from encoderd.state_folder import StateFolder
from encoderd.video_settings import video_request
from encoderd.workshop import Workshop

PAUSE_S = 100.0
HANG = device("h264_qsv failed while encoding: device failed (-17).", remedy="reboot")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "input").mkdir()
    return Settings(
        daemon=DaemonSettings(state_dir=tmp_path / "state", worker="test"),
        queue=QueueSettings(retry_pause_s=PAUSE_S),
        encode=EncodeSettings(encoder="libx264", space_margin_mib=0),
        watch=(WatchSettings(name="tv", path=tmp_path / "input", output=tmp_path / "output"),),
    )


@pytest.fixture
def workshop(settings: Settings, tmp_path: Path) -> Iterator[Workshop]:
    """With one recording in the queue and an open gate."""
    state = StateFolder(settings.daemon.state_dir)
    state.prepare()
    gate = Gate(settings.preflight, state.trial_log)
    opened = TrialDone(encoder="libx264", frames=12, wall_s=0.1, psnr_db=40.0, granted={})
    gate._conclude(video_request(settings.encode, "libx264"), opened, 0.0)
    source = tmp_path / "input" / "a.ts"
    source.write_bytes(b"x")
    seen = source.stat()
    with Store.open(settings.database, busy_timeout_s=5) as store:
        store.add(
            Candidate(watch="tv", relative_path="a.ts", size_bytes=seen.st_size, mtime_ns=seen.st_mtime_ns), now=1.0
        )
        yield Workshop(Shop(store=store, state=state, worker="test"), settings, gate, Folders(settings))


def claimed(workshop: Workshop) -> Attempt:
    """Claim the job without starting a child."""
    store, settings = workshop._shop.store, workshop._settings
    job = store.claim(worker="test", watches=["tv"], now=time.time() + 1e5, lease_s=60)
    assert job is not None
    video = video_request(settings.encode, "libx264")
    attempt = Attempt(workshop._shop, job, settings.watch[0], settings.encode, video)
    workshop.attempts.append(attempt)
    return attempt


def ends(workshop: Workshop, failure: EncodeFailed) -> float:
    """Let the next attempt end so; returns the pause in seconds before the one after it."""
    claimed(workshop).failure = failure
    workshop.drive(0.0, look=False)
    job = workshop._shop.store.job(1)

    assert workshop.attempts == []
    assert job.state is JobState.QUEUED
    return max(0.0, job.next_try_at - time.time())


def test_a_recording_that_always_loses_the_gpu_lets_others_go_first(workshop: Workshop) -> None:
    """The trial passes, this one fails, and so on: never blamed, but its pauses grow. An operator's retry ends them."""
    pauses = [round(ends(workshop, HANG), -1) for _ in range(4)]
    store = workshop._shop.store
    job = store.job(1)
    store.request_cancel(1, now=time.time())
    store.retry(1, now=time.time())

    assert pauses == [0, PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert job.attempts == 0
    assert ends(workshop, HANG) == 0
    assert workshop._gate.video_for(workshop._settings.encode, 0.0) is None


def test_a_bad_recording_that_was_replaced_meanwhile_is_offered_again(workshop: Workshop, settings: Settings) -> None:
    """Intake saw the new content while the old was encoded; the queue took no second job of that name."""
    attempt = claimed(workshop)
    new = Candidate(watch="tv", relative_path="a.ts", size_bytes=2, mtime_ns=2)
    workshop.note_offered([new])
    attempt.failure = rejected("No video.", remedy="Look at it.")
    workshop.drive(0.0, look=False)

    assert workshop._shop.store.job(1).state is JobState.FAILED
    assert workshop.changed == [("tv", "a.ts")]


def test_the_same_content_is_no_news(workshop: Workshop) -> None:
    attempt = claimed(workshop)
    workshop.note_offered([attempt.job.candidate])
    attempt.failure = rejected("No video.", remedy="Look at it.")
    workshop.drive(0.0, look=False)

    assert workshop.changed == []


def test_no_process_to_be_had(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the recording's fault, nor the output folder's: the gate closes until a child can be started."""

    def no_process(*_: object, **__: object) -> None:
        raise BlockingIOError(11, os.strerror(11))

    attempt = claimed(workshop)
    monkeypatch.setattr("subprocess.Popen", no_process)
    workshop.drive(0.0, look=False)
    job = workshop._shop.store.job(1)

    assert (job.state, job.attempts) == (JobState.QUEUED, 0)
    assert "could not be started" in job.reason
    assert "Resource temporarily unavailable" in workshop._gate.why_closed(workshop._settings.encode)[0]
    assert attempt.failure is not None
    assert attempt.failure.event is JobEvent.DEVICE_LOST


def test_the_clock_steps_back(workshop: Workshop) -> None:
    """A job that was given back is due at once, also an hour earlier; a lease is no shorter for it."""
    store = workshop._shop.store
    claimed(workshop)
    workshop.close(1.0)
    job = store.claim(worker="test", watches=["tv"], now=time.time() - 3600, lease_s=60)

    assert job is not None
    assert store.heartbeat(1, worker="test", now=time.time() - 7200, lease_s=60)


def test_a_daemon_that_never_started_can_be_stopped(settings: Settings) -> None:
    """And leaves no trace in a folder that may be another one's."""
    Daemon(settings).stop()

    assert not settings.daemon.state_dir.exists()
