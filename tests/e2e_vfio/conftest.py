"""The rigs, each run once per session, two at a time; the tests look at what their steps told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tiny_guest import TinyGuest
from tests.e2e_vfio import rig
from tests.e2e_vfio.rigs import RIGS

#: (rig, step) → what the step told.
Telling = Callable[[str, str], dict[str, Any]]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyGuest, TinyGuest]:
    """The outer machine's and the inner guest's kernel and RAM disk."""
    if why := rig.missing():
        pytest.skip(why)
    return rig.make_outer(tmp_path_factory.mktemp("outer")), rig.make_inner(tmp_path_factory.mktemp("inner"))


#: Rigs that run side by side: each keeps a bit more than one processor busy.
AT_ONCE = 2
#: With so many tests all rigs are wanted, and begin at once; with fewer, those that are asked for.
WHOLE_SUITE = 20


@pytest.fixture(scope="session")
def told(
    images: tuple[TinyGuest, TinyGuest], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Telling]:
    """Run each rig once; a step that did not come to its end fails the test with why."""
    folder: Path = tmp_path_factory.mktemp("rigs")
    pool = ThreadPoolExecutor(AT_ONCE)
    names = RIGS if request.session.testscollected >= WHOLE_SUITE else ()
    runs: dict[str, Future[rig.Told]] = {name: pool.submit(rig.run, RIGS[name], *images, folder) for name in names}

    def telling(name: str, step: str) -> dict[str, Any]:
        if name not in runs:
            runs[name] = pool.submit(rig.run, RIGS[name], *images, folder)
        run = runs[name].result()
        if step not in run.results:
            pytest.fail(f"rig {name}: no word of {step}: {run.trouble}\n{run.serial[-3000:]}")
        if "error" in run.results[step]:
            pytest.fail(f"rig {name}, step {step}:\n{run.results[step]['error']}\n{run.serial[-1000:]}")
        return run.results[step]

    yield telling
    pool.shutdown(cancel_futures=True)
    for name, run in runs.items():
        if run.done() and not run.cancelled():
            wall_s = run.result().wall_s
            print(f"rig {name}: " + ", ".join(f"{step} {seconds:.0f} s" for step, seconds in wall_s.items()))
