"""`make bench`: all benches, one after the other; exit code 1 when a target is missed."""

from __future__ import annotations

import sys

from tests.bench import (
    bench_chains,
    bench_claim,
    bench_encode,
    bench_host,
    bench_idle,
    bench_memory,
    bench_qsv,
    bench_scan,
)


def main() -> int:
    results = {}
    for bench in (bench_encode, bench_chains, bench_memory, bench_qsv, bench_scan, bench_claim, bench_idle, bench_host):
        print(f"--- {bench.__name__.rpartition('.')[2]}", flush=True)
        results[bench.__name__] = bench.main()
    return 0 if all(met is not False for met in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
