"""Small file systems of the tests' own, which fill up, become read-only, and go away."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def file_system(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    """Mount a tmpfs; yields a function that remounts it with other options."""

    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments, os.fspath(folder)], check=True, capture_output=True, timeout=10)

    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    try:
        mount("-t", "tmpfs", "-o", options, "tmpfs")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system can be mounted here: {error.stderr.decode()}")
    try:
        yield lambda other: mount("-o", f"remount,{other}")
    finally:
        subprocess.run(["umount", "-l", os.fspath(folder)], check=False, capture_output=True, timeout=10)


def fill(folder: Path) -> Path:
    """Take all the room that is left of a file system; returns the file that takes it."""
    ballast = folder / ".ballast"
    for piece in (65_536, 4096, 1):
        with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(piece)) == piece:
                pass
    return ballast
