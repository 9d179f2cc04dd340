"""kill -9 of anything at any moment loses nothing, doubles nothing, and shows nobody a half file."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from tests.killing import Massacre
from tests.running import RunningDaemon

SEED = 20261123
STRIKES = 8
MOST_STRIKES = 32


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small recordings, no two of the same length."""
    folder = tmp_path_factory.mktemp("batch")
    return [
        make_recording(
            folder / f"{number}.ts",
            SampleSpec(duration_s=1.0 + number / 5, width=320, height=240, bit_rate_bps=1_000_000),
        )
        for number in range(5)
    ]


@pytest.mark.slow
def test_every_recording_has_one_verified_output_after_eight_kills(tmp_path: Path, batch: list[Path]) -> None:
    """Daemon and child are killed at eight seeded moments; afterwards all is as if nothing had happened."""
    queue = {"retry_pause_s": 0.05, "max_attempts": 100}
    with RunningDaemon(tmp_path, queue=queue) as daemon:
        massacre = Massacre(daemon, batch, SEED)
        daemon.start()
        done = [massacre.strike() for _ in range(STRIKES)]
        while not daemon.log("encode.publishing_completed") and len(done) < MOST_STRIKES:
            done.append(massacre.strike())  # a busy machine moves the moments: go on until one falls there
        massacre.judge()
        completed = daemon.log("encode.publishing_completed")

    assert completed, "no strike fell between the rename and the queue's knowing of it"
    assert {"daemon", "child"} == {strike.split()[0] for strike in done}
