"""
Six hours cost no more memory than ten minutes: the same recording, looped to both lengths, side by side.

Each joint of the loop is a jump back of the clock and a break of the continuity counters, so the long one has hundreds
of what a recording may have a few of. Pictures are small, so that six hours take minutes.
`python -m tests.bench.bench_memory [--hours H]`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from encoderd.encode.messages import EncodeRequest, VideoRequest, to_line
from encoderd.encode.sample import SampleSpec, make_recording
from tests.bench.measure import Cost, cost_of

LOOP_S = 60.0
SHORT_S = 600.0
#: What the long one may take more than the short one, in MiB: the noise of the allocator.
MOST_MORE_MIB = 16.0


def looped(once: Path, target: Path, times: int) -> Path:
    data = once.read_bytes()
    with target.open("wb") as file:
        for _ in range(times):
            file.write(data)
    return target


def cost_of_encode(source: Path, target: Path) -> tuple[Cost, float]:
    """Return what the child cost, and the seconds of its output."""
    found = source.stat()
    request = EncodeRequest(
        job=0, source=str(source), partial=str(target), size_bytes=found.st_size, mtime_ns=found.st_mtime_ns,
        video=VideoRequest(encoder="libx264", quality=30, preset="veryfast"), container="mp4", deinterlace="frame",
        audio_bit_rate_bps=128_000, verify="quick",
    )  # fmt: skip
    cost, output = cost_of([sys.executable, "-P", "-m", "encoderd.encode.child"], to_line(request))
    last = json.loads(output.splitlines()[-1])
    if last["type"] != "encoded":
        raise SystemExit(f"the encode failed: {last}")
    return cost, last["receipt"]["duration_s"]


def main() -> bool:
    """Measure and print; True when the target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=6.0)
    wanted, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="encoderd-bench-") as folder:
        base = Path(folder)
        spec = SampleSpec(duration_s=LOOP_S, width=176, height=144, bit_rate_bps=300_000)
        once = make_recording(base / "once.ts", spec)
        peaks = []
        for name, seconds in (("short", SHORT_S), ("long", wanted.hours * 3600)):
            source = looped(once, base / f"{name}.ts", round(seconds / LOOP_S))
            cost, made_s = cost_of_encode(source, base / "target.mp4")
            source.unlink()
            peaks.append(cost.peak_mib)
            print(f"{made_s / 3600:.2f} h of 176×144i: peak {cost.peak_mib:.0f} MiB, {cost.wall_s:.0f} s", flush=True)
    more = peaks[1] - peaks[0]
    met = more <= MOST_MORE_MIB
    print(f"the long one took {more:+.1f} MiB (≤ {MOST_MORE_MIB:.0f}): {'met' if met else 'MISSED'}")
    return met


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
