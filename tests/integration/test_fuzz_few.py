"""
A few broken recordings in every run; `make e2e` has hundreds (tests/e2e/test_fuzz.py), of more kinds.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.broadcast.fuzzing import descriptors, seeds, trouble_of
from tests.broadcast.mutations import case, few_originals

SEEDS = seeds(range(20_000, 20_010))


def test_broken_recordings_end_with_a_receipt_or_a_reason(tmp_path: Path) -> None:
    """No hang, no traceback, no process and no descriptor left behind."""
    valid, before = few_originals(tmp_path), descriptors()
    with ThreadPoolExecutor(2) as pool:
        troubles = list(pool.map(lambda seed: trouble_of(case(seed, valid), tmp_path), SEEDS))

    told = [f"ENCODERD_FUZZ_SEED={seed}: {trouble}" for seed, trouble in zip(SEEDS, troubles, strict=True) if trouble]
    assert [] == told
    assert before == descriptors()
