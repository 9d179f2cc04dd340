"""A test's folder whose path is short: that of a socket in it may have 107 bytes (unix(7), sun_path)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Instead of pytest's own, which carries its user's, its worker's and the test's name."""
    with tempfile.TemporaryDirectory(prefix="e-") as folder:
        yield Path(folder)
