"""What a newcomer's machine lacks is told in one sentence, by the command that needed it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed (apt-get install make)")

#: Stands for a Python: answers the questions the Makefile asks before it makes a venv.
PYTHON = """#!/bin/sh
case "$*" in
-V) echo "Python {version}" ;;
*version_info*) exit {too_old} ;;
*ensurepip*) exit {no_venv} ;;
*) echo "not to be reached: $*"; exit 1 ;;
esac
"""


def made(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a checkout that has nothing yet."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    assert MAKE is not None
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        [MAKE, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=60, check=False, env=alone
    )


@pytest.mark.parametrize("target", ["test", "demo", "lint", "e2e", "bench", "install"])
@pytest.mark.parametrize(
    ("version", "too_old", "no_venv", "sentence"),
    [
        ("3.9.2", 1, 0, "encoderd needs Python 3.11 or newer, {python} is Python 3.9.2."),
        ("3.12.1", 0, 1, "The venv module of {python} is missing. On Debian: apt-get install python3-venv"),
        (None, 0, 0, "Python is missing ({python}). On Debian: apt-get install python3 python3-venv"),
    ],
)
def test_what_is_missing_is_told(
    target: str, version: str | None, too_old: int, no_venv: int, sentence: str, tmp_path: Path
) -> None:
    python = tmp_path / "a-python"
    if version is not None:
        python.write_text(PYTHON.format(version=version, too_old=too_old, no_venv=no_venv), "utf-8")
        python.chmod(0o755)
    run = made(tmp_path, target, f"PYTHON={python}", f"DESTDIR={tmp_path}/dest")

    first, _makes_own_line = run.stderr.splitlines()
    assert run.returncode != 0
    assert first.startswith(sentence.format(python=python))
    assert not (tmp_path / ".venv").exists()
    assert not (tmp_path / "dest").exists()


def test_make_alone_says_what_there_is(tmp_path: Path) -> None:
    run = made(tmp_path)

    assert run.returncode == 0
    for target in ("demo", "test", "lint", "e2e", "bench", "install", "clean"):
        assert f"\nmake {target} " in "\n" + run.stdout
