"""The kill test of `make test` again, with more seeds and more strikes."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from tests.killing import Massacre
from tests.running import RunningDaemon

STRIKES = 25


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Larger pictures than in `make test`, so that strikes fall into decoding and encoding too."""
    folder = tmp_path_factory.mktemp("batch")
    sizes = [(320, 240), (720, 480), (1440, 1080)]
    return [
        make_recording(folder / f"{number}.ts", SampleSpec(duration_s=1.0 + number / 4, width=width, height=height))
        for number, (width, height) in enumerate(sizes)
    ]


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("concurrency", [1, 2])
def test_kills_lose_and_double_nothing(tmp_path: Path, batch: list[Path], seed: int, concurrency: int) -> None:
    """Twenty-five strikes per seed, with one and with two recordings encoded at a time."""
    queue = {"retry_pause_s": 0.05, "max_attempts": 100}
    with RunningDaemon(tmp_path, queue=queue, daemon={"concurrency": concurrency}) as daemon:
        massacre = Massacre(daemon, batch, seed)
        daemon.start()
        done = [massacre.strike() for _ in range(STRIKES)]
        massacre.judge()

    assert STRIKES == len(done)
