"""
How long the first look at 100,000 recordings takes, what they cost in memory, and what idling costs.

Targets: all sightings known within 3 s; 20 MB for 100,000 offered ones; idle with a small folder 0.2 % of a core.

    python -m tests.bench.bench_scan [--files N] [--folder DIR] [--idle-s S]
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
import tracemalloc
from pathlib import Path

from encoderd.intake.completeness import Offered
from encoderd.intake.watcher import Watcher
from encoderd.jobs import Candidate
from encoderd.logs import configure
from encoderd.settings import IntakeSettings, WatchSettings

FOLDERS = 50


def main() -> bool:
    """Return whether all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--idle-s", type=float, default=20.0)
    options, _ = parser.parse_known_args()
    configure("warning")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-scan-") as folder:
        many, few = Path(folder, "many"), Path(folder, "few")
        fill(many, options.files)
        fill(few, 100)
        first_scan_s = bench_first_scan(many, options.files)
        offered_mib = bench_offered(options.files)
        idle_percent = bench_idle("100 files, rescan_s 30, one poll a second", few, 100, options.idle_s, rescan_s=30)
        bench_idle(f"{options.files} files, the same", many, options.files, options.idle_s, rescan_s=30)
    return first_scan_s <= 3 and offered_mib <= 20 and idle_percent <= 0.2


def fill(folder: Path, files: int) -> None:
    """Make `files` recordings of one byte in 50 subfolders."""
    for number in range(FOLDERS):
        (folder / f"{number:02d}").mkdir(parents=True)
    for number in range(files):
        (folder / f"{number % FOLDERS:02d}" / f"2026-01-01 {number:06d} 番組.ts").write_bytes(b"G")


def watch(folder: Path, settle_s: float, rescan_s: float) -> Watcher:
    settings = WatchSettings(name="bench", path=folder, output=Path("/nonexistent"), settle_s=settle_s)
    return Watcher([settings], IntakeSettings(rescan_s=rescan_s, poll_s=rescan_s))


def bench_first_scan(folder: Path, files: int) -> float:
    before_mib = resident_mib()
    watcher = watch(folder, settle_s=3600, rescan_s=30)
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    watcher.start()
    while len(watcher._completeness._files) < files:
        watcher.poll(time.monotonic())
        time.sleep(0.01)
    wall_s, cpu_s = time.monotonic() - started_s, time.process_time() - started_cpu_s
    print(f"first scan of {files} files: {wall_s:.2f} s wall, {cpu_s:.2f} s CPU")
    print(f"  resident with all of them settling: {resident_mib() - before_mib:.1f} MiB more")
    watcher.stop()
    return wall_s


def bench_offered(files: int) -> float:
    gc.collect()
    tracemalloc.start()
    offered = Offered()
    for number in range(files):
        offered.note(Candidate(watch="bench", relative_path=f"{number}.ts", size_bytes=number, mtime_ns=number << 40))
    mib = tracemalloc.get_traced_memory()[0] / 2**20
    print(f"{files} offered recordings: {mib:.1f} MiB")
    tracemalloc.stop()
    return mib


def bench_idle(name: str, folder: Path, files: int, idle_s: float, *, rescan_s: float) -> float:
    """Offer everything, then idle as the daemon does: one `poll` a second; count the CPU of all threads."""
    watcher = watch(folder, settle_s=0.05, rescan_s=rescan_s)
    started_s = time.monotonic()
    watcher.start()
    offered = 0
    while offered < files:
        offered += len(watcher.poll(time.monotonic()))
        time.sleep(0.005)
    print(f"{name}: all offered after {time.monotonic() - started_s:.1f} s")
    started_s, started_cpu_s, polling_s = time.monotonic(), time.process_time(), 0.0
    while time.monotonic() - started_s < idle_s:
        poll_s = time.thread_time()
        watcher.poll(time.monotonic())
        polling_s += time.thread_time() - poll_s
        time.sleep(1)
    wall_s, cpu_s = time.monotonic() - started_s, time.process_time() - started_cpu_s
    print(f"  idle: {100 * cpu_s / wall_s:.3f} % of a core, of which poll() {1e6 * polling_s / wall_s:.0f} us a second")
    print(f"  resident: {resident_mib():.0f} MiB in all")
    watcher.stop()
    return 100 * cpu_s / wall_s


def resident_mib() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
