"""The idle daemon: resident memory and processor time over a minute. `python -m tests.bench.bench_idle`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = """
[daemon]
state_dir = "{base}/state"
worker = "idle"
[[watch]]
name = "recordings"
path = "{base}/recordings"
output = "{base}/encoded"
"""
WARM_UP_S, MEASURED_S = 5, 60


def main() -> bool:
    """Run the daemon with its default settings on a folder of 100 files that are no recordings; print its cost."""
    with tempfile.TemporaryDirectory(prefix="encoderd-bench-") as folder:
        base = Path(folder)
        (base / "recordings").mkdir()
        for number in range(100):
            (base / "recordings" / f"{number}.txt").touch()
        (base / "encoderd.toml").write_text(SETTINGS.format(base=base), encoding="utf-8")
        with (base / "log").open("wb") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "encoderd", "run", "-c", str(base / "encoderd.toml")], stdout=log, stderr=log
            )
        try:
            time.sleep(WARM_UP_S)
            before_s = _cpu_s(daemon.pid)
            time.sleep(MEASURED_S)
            share = (_cpu_s(daemon.pid) - before_s) / MEASURED_S
            resident_mib = _resident_mib(daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait()
    print(f"idle: {resident_mib:.1f} MiB resident (target ≤ 80), {share:.3%} of a core over {MEASURED_S} s (≤ 0.2 %)")
    return resident_mib <= 80 and share <= 0.002


def _cpu_s(pid: int) -> float:
    """Nanosecond-exact, unlike the ticks of /proc/PID/stat; all threads."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
