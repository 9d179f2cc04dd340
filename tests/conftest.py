"""Recordings that many tests use, made once per session. The tests' process may load PyAV; the daemon's never does."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.running import RunningDaemon
from tests.simulated import simulated as simulated  # a fixture; tests/vplsim

# How fast an example is says nothing on a machine with other work.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

#: Small, and what a broadcast is made of: interlaced MPEG-2 with audio in a transport stream.
SIZE: dict[str, Any] = {"width": 320, "height": 240, "sample_aspect_ratio": Fraction(1), "bit_rate_bps": 1_000_000}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of `make e2e` is slow; what is slow elsewhere says so itself."""
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def frozen_heap() -> Iterator[None]:
    """As in the child: a collection looks at what the test made, not at all that pytest holds."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second, 320 × 240; encoded in a moment."""
    from encoderd.encode.sample import SampleSpec, make_recording

    return make_recording(tmp_path_factory.mktemp("recording") / "short.ts", SampleSpec(duration_s=1.0, **SIZE))


@pytest.fixture(scope="session")
def long_recording(recording: Path) -> Path:
    """Forty seconds, 320 × 240: time to do something in mid-encode (two seconds or so with the fastest preset)."""
    from encoderd.encode.sample import SampleSpec, make_recording

    spec = SampleSpec(duration_s=40.0, interlaced=False, **SIZE)
    return make_recording(recording.with_name("long.ts"), spec)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon on folders of its own, not yet started: a test may still `configure` it."""
    with RunningDaemon(tmp_path) as running:
        yield running
