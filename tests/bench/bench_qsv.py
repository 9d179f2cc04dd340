"""
What h264_qsv's feeding costs: frames per second into it, beside decoding and deinterlacing alone.

The encoder is the simulated runtime's, which looks at no picture and so costs nothing: what is left is the path
through libavcodec, the dispatcher and the muxer. It says nothing about a GPU. `python -m tests.bench.bench_qsv`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from encoderd.encode.sample import RATE, SampleSpec, make_recording
from tests.bench.measure import Cost, cost_of, in_turn
from tests.simulated import build

#: The least share of the frames per second without an encoder that must be left with one.
LEAST_SHARE = 0.90
#: `encoderd check` without a GPU, and with the simulated runtime, at most so many seconds.
MOST_CHECK_S, MOST_SIMULATED_CHECK_S = 3.0, 5.0
REPEATED = 4
SETTINGS = """
[daemon]
state_dir = "{base}/state"
[encode]
encoder = "{encoder}"
[[watch]]
name = "recordings"
path = "{base}/recordings"
output = "{base}/encoded"
"""


def main() -> bool:
    """Measure and print; True when the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    wanted, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="encoderd-bench-") as folder:
        base = Path(folder)
        simulated = build()
        os.environ.update(simulated.environment(codec="free"))
        met = _feeding(base, wanted.runs, wanted.seconds)
        os.environ.update(simulated.environment())  # a trial wants its pictures back
        simulated_s = _check_s(base, "h264_qsv")
        for name in [name for name in os.environ if name.startswith(("VPLSIM_", "ONEVPL_"))]:
            del os.environ[name]
        without_s = _check_s(base, "auto")
    print(f"encoderd check: {without_s:.2f} s without a GPU (≤ {MOST_CHECK_S:.0f}), {simulated_s:.2f} s with the "
          f"simulated runtime (≤ {MOST_SIMULATED_CHECK_S:.0f})")  # fmt: skip
    return met and without_s <= MOST_CHECK_S and simulated_s <= MOST_SIMULATED_CHECK_S


def _feeding(base: Path, runs: int, seconds: float) -> bool:
    once = make_recording(base / "once.ts", SampleSpec(duration_s=seconds))
    source = base / "source.ts"
    source.write_bytes(once.read_bytes() * REPEATED)
    pairs = in_turn(lambda: _pipeline(source, "h264_qsv", str(base / "out.mp4")), lambda: _pipeline(source), runs)
    frames = float(RATE) * seconds * REPEATED
    fed, alone = pairs.median(lambda cost: frames / cost.wall_s)
    least, middle, most = pairs.ratio(lambda cost: 1 / cost.wall_s)
    print(
        f"h264_qsv on the simulated runtime, an encoder that costs nothing: {fed:.0f} frames/s fed, {alone:.0f} "
        f"decoded and deinterlaced alone; share {middle:.3f} ({least:.3f}…{most:.3f}, ≥ {LEAST_SHARE:.2f})"
    )
    return middle >= LEAST_SHARE


def _pipeline(source: Path, *encoder: str) -> Cost:
    return cost_of([sys.executable, "-P", "-m", "tests.bench.decode_deinterlace", str(source), *encoder])[0]


def _check_s(base: Path, encoder: str) -> float:
    """The best of three: the worst tells of the machine."""
    (base / "recordings").mkdir(exist_ok=True)
    (base / "encoderd.toml").write_text(SETTINGS.format(base=base, encoder=encoder), encoding="utf-8")
    times = []
    for _ in range(3):
        began_s = time.monotonic()
        cost_of([sys.executable, "-m", "encoderd", "check", "--json", "-c", str(base / "encoderd.toml")])
        times.append(time.monotonic() - began_s)
    return min(times)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
