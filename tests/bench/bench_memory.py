"""
Six hours cost no more memory than ten minutes: the same recording, looped to both lengths, phase by phase.

Each joint of the loop is a jump back of the clock and a break of the continuity counters, so the long one has hundreds
of what a recording may have a few of. Pictures are small, so that six hours take minutes; what a real picture size
costs does not depend on the length, so it is measured on two minutes and added, phase by phase: decoders and encoder
while encoding, one decoder while the output is looked at.
`python -m tests.bench.bench_memory [--hours H]`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from encoderd.encode.messages import EncodeRequest, VideoRequest, to_line
from encoderd.encode.sample import SampleSpec, make_recording

LOOP_S = 60.0
SHORT_S, REAL_S = 600.0, 120.0
SMALL = SampleSpec(duration_s=LOOP_S, width=176, height=144, bit_rate_bps=300_000)
REAL = SampleSpec(duration_s=LOOP_S, width=1440, height=1080)
#: What the long one may take more than the short one while it is encoded, in MiB: the noise of the allocator.
MOST_MORE_MIB = 16.0
#: What a recording in real size may take at its peak, in MiB.
MOST_MIB = 400.0
#: The child's words for its phases, in their order; before the first word it looks at the recording.
PHASES = ("starting", "encoding", "draining", "finishing", "verifying")
_EVERY_S = 0.02


def looped(once: Path, target: Path, times: int) -> Path:
    data = once.read_bytes()
    with target.open("wb") as file:
        for _ in range(times):
            file.write(data)
    return target


class Watch:
    """Follows a process's resident memory in MiB: the peak of each phase, looked at many times a second."""

    def __init__(self, pid: int) -> None:
        self.peaks: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.phase = PHASES[0]
        self._status = Path(f"/proc/{pid}/status")
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            try:
                words = self._status.read_text().partition("VmRSS:")[2].split()
            except OSError:
                return
            if not words:
                return
            self.peaks[self.phase] = max(self.peaks[self.phase], int(words[0]) / 1024)
            time.sleep(_EVERY_S)


def peaks_of_encode(source: Path, target: Path) -> tuple[dict[str, float], float, float]:
    """Return the peaks by phase, the seconds of the output, and those on the wall clock."""
    found = source.stat()
    request = EncodeRequest(
        job=0, source=str(source), partial=str(target), size_bytes=found.st_size, mtime_ns=found.st_mtime_ns,
        video=VideoRequest(encoder="libx264", quality=30, preset="veryfast"), container="mp4", deinterlace="frame",
        audio_bit_rate_bps=128_000, verify="quick",
    )  # fmt: skip
    command = [sys.executable, "-P", "-m", "encoderd.encode.child"]
    began_s = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        watch = Watch(process.pid)
        process.stdin.write(to_line(request))
        process.stdin.close()
        last: dict[str, object] = {}
        for line in process.stdout:
            last = json.loads(line)
            watch.phase = str(last.get("phase") or {"started": "encoding"}.get(str(last["type"]), watch.phase))
    if last.get("type") != "encoded":
        raise SystemExit(f"the encode failed: {last}")
    receipt = last["receipt"]
    assert isinstance(receipt, dict)
    return watch.peaks, receipt["duration_s"], time.monotonic() - began_s


def measured(name: str, once: Path, seconds: float) -> dict[str, float]:
    base = once.parent
    source = looped(once, base / f"{name}.ts", round(seconds / LOOP_S))
    peaks, made_s, wall_s = peaks_of_encode(source, base / "target.mp4")
    source.unlink()
    told = ", ".join(f"{phase} {peak:.0f}" for phase, peak in peaks.items() if peak)
    print(f"{name}: {made_s / 3600:.2f} h in {wall_s:.0f} s; peaks in MiB: {told}", flush=True)
    return peaks


def main() -> bool:
    """Measure and print; True when the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=6.0)
    wanted, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="encoderd-bench-") as folder:
        small = make_recording(Path(folder) / "small.ts", SMALL)
        real = measured("1440×1080i", make_recording(Path(folder) / "real.ts", REAL), REAL_S)
        two = measured("176×144i, as long as that", small, REAL_S)
        short = measured("176×144i, short", small, SHORT_S)
        long = measured("176×144i, long", small, wanted.hours * 3600)
    more = long["encoding"] - short["encoding"]
    sums = {phase: real[phase] + long[phase] - two[phase] for phase in PHASES}
    phase = max(PHASES, key=lambda one: sums[one])
    met = more <= MOST_MORE_MIB
    print(f"while encoding, the long one took {more:+.1f} MiB: ≤ {MOST_MORE_MIB:.0f}, {_verdict(met)}")
    print("1440×1080i of that length, added up:", ", ".join(f"{one} {sums[one]:.0f}" for one in PHASES if long[one]))
    print(f"its peak, while {phase}: {sums[phase]:.0f} MiB: ≤ {MOST_MIB:.0f}, {_verdict(sums[phase] <= MOST_MIB)}")
    return met and sums[phase] <= MOST_MIB


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
