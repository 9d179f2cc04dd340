"""The view of a machine's files below a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoderd.root import Root


@pytest.mark.parametrize("path", ["/proc/sys/kernel/osrelease", "/proc/sys/kernel/random/boot_id", "/proc/cpuinfo"])
def test_the_kernel_s_own_files_are_read_whole(path: str) -> None:
    """Those below /proc/sys refuse to be asked for megabytes at once."""
    assert Path(path).read_text("utf-8").split()[:3] == Root(Path("/")).text(path).split()[:3] != []
