"""
Five hundred broken recordings through the real child: each ends with a receipt or with a reason.

`ENCODERD_FUZZ_SEED=17` makes and runs one case alone; a comma separates several.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from encoderd.jobs import JobState
from tests.broadcast.fuzzing import descriptors, peak_mib, seeds, trouble_of
from tests.broadcast.mutations import Case, case, originals
from tests.running import RunningDaemon

CASES = 500
#: Children at a time; each has threads of its own.
AT_ONCE = 3
#: What a child may take of memory, whatever sizes a broken header promises.
MOST_MIB = 1024
#: Recordings that go through the whole daemon.
THROUGH_THE_DAEMON = 36


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return originals(tmp_path_factory.mktemp("valid"))


def test_every_broken_recording_ends_with_a_receipt_or_a_reason(tmp_path: Path, valid: dict[str, bytes]) -> None:
    """No hang, no traceback, no process and no descriptor is left behind, and no file where there is no receipt."""
    before, chosen = descriptors(), seeds(range(CASES))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        troubles = list(pool.map(lambda seed: trouble_of(case(seed, valid), tmp_path), chosen))

    told = [f"ENCODERD_FUZZ_SEED={seed}: {trouble}" for seed, trouble in zip(chosen, troubles, strict=True) if trouble]
    assert [] == told, "\n".join(told)
    assert before == descriptors()
    assert MOST_MIB > peak_mib()


def test_the_daemon_publishes_nothing_without_its_receipt(tmp_path: Path, valid: dict[str, bytes]) -> None:
    """Each job ends; what stands in the output folder has a receipt that tells of it, and nothing else is there."""
    cases: dict[str, Case] = {}
    for seed in range(10_000, 10_000 + THROUGH_THE_DAEMON):
        made = case(seed, valid)
        cases[f"{seed}{made.suffix}"] = made
    ended = {JobState.DONE, JobState.FAILED, JobState.SKIPPED}
    watch = {"include": ["*.ts", "*.m2ts", "*.mp4", "*.mkv"]}
    queue = {"retry_pause_s": 0.05, "max_attempts": 2}
    with RunningDaemon(tmp_path, queue=queue, watch=watch, daemon={"concurrency": 2}) as daemon:
        for name, made in cases.items():
            (daemon.input / name).write_bytes(made.data)
        daemon.start()
        daemon.wait_for(
            lambda: len(daemon.jobs()) == len(cases) and {job.state for job in daemon.jobs()} <= ended,
            limit_s=300,
            what="the end of all jobs",
        )
        jobs, receipts = daemon.jobs(), {job.id: daemon.receipt(job.id) for job in daemon.jobs() if job.state == "done"}
        assert 0 == daemon.terminate()

        assert [] == daemon.partials()
        assert [] == daemon.orphans()
        published = {Path(job.relative_path).stem: receipts[job.id] for job in jobs if job.state is JobState.DONE}
        videos = {Path(name).stem: name for name in daemon.outputs() if name.endswith(".mp4")}
        assert set(videos) == set(published)
        assert {name.split(".")[0] for name in daemon.outputs()} == set(published), "what goes beside them has no other"
        for stem, name in videos.items():
            assert (daemon.output / name).stat().st_size == published[stem]["published_bytes"]
        assert [] == [job.relative_path for job in jobs if job.state is JobState.FAILED and not job.reason]
        assert "Traceback" not in daemon.stdout.read_text("utf-8") + daemon.stderr.read_text("utf-8")
        for name, made in cases.items():
            assert made.data == (daemon.input / name).read_bytes()
