"""Commands of `encoderd`, run in the tests' own process: quick, and their output is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from encoderd.cli import app

SETTINGS = """
[daemon]
state_dir = "{root}/state"
worker = "test"
[encode]
encoder = "libx264"
preset = "veryfast"
space_margin_mib = 1
[[watch]]
name = "tv"
path = "{root}/input"
output = "{root}/output"
encode = {{ quality = 30 }}
"""


def settings_for(root: Path) -> Path:
    """Write settings for folders below `root`; the daemon has never run with them."""
    (root / "input").mkdir()
    file = root / "encoderd.toml"
    file.write_text(SETTINGS.format(root=root), encoding="utf-8")
    return file


def run(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])
