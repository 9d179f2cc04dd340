"""
How long a claim takes among 1,000,000 queued jobs. Target: median at most 2 ms, with the commit.

    python -m tests.bench.bench_claim [--jobs N] [--folder DIR]     DIR on the disk that will hold the queue
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from encoderd.jobs import Candidate
from encoderd.queue.store import Store

CLAIMS = 200
TARGET_MS = 2.0
WATCHES = ("films", "news", "tv")


def main() -> bool:
    """Measure and print; True when the median claim meets its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    options, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-claim-") as folder:
        path = Path(folder) / "queue.db"
        Store.open(path, busy_timeout_s=5).close()
        fill(path, options.jobs)
        print(f"queued jobs          {options.jobs:>12,}  ({path.stat().st_size / 2**20:.0f} MiB)")
        with Store.open(path, busy_timeout_s=5) as store:
            median_ms = _measure(store, path)
        print(f"memory of this process, at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return median_ms <= TARGET_MS


def _measure(store: Store, path: Path) -> float:
    now = time.time()
    median_ms = report("claim", CLAIMS, lambda: store.claim(worker="bench", watches=WATCHES, now=now, lease_s=60))
    report("claim, one folder", CLAIMS, lambda: store.claim(worker="bench", watches=["tv"], now=now, lease_s=60))
    report("claim, nothing there", CLAIMS, lambda: store.claim(worker="bench", watches=["none"], now=now, lease_s=60))
    report("bare one-row commit", CLAIMS, bare_commit(path))
    report("next_due_at", 20, lambda: store.next_due_at(watches=WATCHES, now=now))
    report("counts", 5, store.counts)
    report("jobs(limit=500)", 5, lambda: store.jobs(limit=500))
    batch = [
        Candidate(watch="tv", relative_path=f"new/{i}.ts", size_bytes=i, mtime_ns=10**18 + i) for i in range(10_000)
    ]
    for what in ("new", "known"):
        started = time.perf_counter()
        store.add_many(batch, now=now)
        print(f"add_many, {what:<9}  {len(batch) / (time.perf_counter() - started):>12,.0f} recordings/s")
    return median_ms


def fill(path: Path, jobs: int) -> None:
    """Queue `jobs` made-up recordings with their history, past the store: it would take minutes."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            """
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :jobs)
            INSERT INTO job (watch, relative_path, size_bytes, mtime_ns, state, priority, attempts, interruptions,
                             added_at, next_try_at, cancel_requested, reason, remedy)
            SELECT CASE i % 3 WHEN 0 THEN 'films' WHEN 1 THEN 'news' ELSE 'tv' END,
                   CAST(printf('series %d/recording %09d.ts', i % 500, i) AS BLOB), i * 188,
                   1700000000000000000 + (i * 7919 % :jobs) * 1000,
                   'queued', i % 5 = 0, 0, 0, 1700000000.0, 0.0, 0, '', ''
            FROM n
            """,
            {"jobs": jobs},
        )
        connection.execute(
            "INSERT INTO job_event (job_id, at, event, state_to, reason) "
            "SELECT id, added_at, 'added', 'queued', '' FROM job"
        )
    connection.close()


def bare_commit(path: Path) -> Callable[[], object]:
    """The floor below every claim here: one row, synchronous = FULL, without SQLAlchemy."""
    connection = sqlite3.connect(path.with_name("bare.db"), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE row (at REAL)")
    return lambda: connection.execute("INSERT INTO row VALUES (1.0)")


def report(what: str, times: int, deed: Callable[[], object]) -> float:
    """Print median and 95th percentile of `times` calls in milliseconds; returns the median."""
    spent_ms = []
    for _ in range(times):
        started = time.perf_counter()
        deed()
        spent_ms.append((time.perf_counter() - started) * 1000)
    p95 = sorted(spent_ms)[int(len(spent_ms) * 0.95)]
    print(f"{what:<20}  median {statistics.median(spent_ms):>8.2f} ms   p95 {p95:>8.2f} ms   ({times} times)")
    return statistics.median(spent_ms)


if __name__ == "__main__":
    main()
