"""The rigs, each run at most once per session; the tests look at what its steps told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="session")
def told(images: tuple[TinyGuest, TinyGuest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telling]:
    """Run a rig when it is asked for the first time; a step that did not come to its end fails the test with why."""
    runs: dict[str, rig.Told] = {}
    folder: Path = tmp_path_factory.mktemp("rigs")

    def telling(name: str, step: str) -> dict[str, Any]:
        if name not in runs:
            runs[name] = rig.run(RIGS[name], *images, folder)
        run = runs[name]
        if step not in run.results:
            pytest.fail(f"rig {name}: no word of {step}: {run.trouble}\n{run.serial[-3000:]}")
        if "error" in run.results[step]:
            pytest.fail(f"rig {name}, step {step}:\n{run.results[step]['error']}\n{run.serial[-1000:]}")
        return run.results[step]

    yield telling
    for name, run in runs.items():
        print(f"rig {name}: " + ", ".join(f"{step} {seconds:.0f} s" for step, seconds in run.wall_s.items()))
