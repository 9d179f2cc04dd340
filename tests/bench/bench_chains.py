"""
The chains that a recording may go through, side by side with FFmpeg's own command line doing the same.

`python -m tests.bench.bench_chains [--runs N] [--seconds S] [--ffmpeg PATH] [--only NAME]`. `frame` is in
bench_encode too, over a longer recording. The whole of both processes is compared, ours with proof and fsync.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from encoderd.encode.codec_options import GOP_S
from encoderd.encode.messages import EncodeRequest, VideoRequest, to_line
from encoderd.encode.plan import MOVIE_TIMESCALE
from encoderd.encode.sample import RATE, SampleSpec, make_recording
from tests.bench.bench_encode import CRF, PRESET, QUALITY, yardstick
from tests.bench.measure import Cost, cost_of, heading, in_turn, row

AUDIO_BIT_RATE_BPS = 192_000
MOST_STARTUP_S = 1.0
MOST_PEAK_MIB = 400


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What we are asked, what FFmpeg is told for the same, and the recording."""

    deinterlace: str
    filters: str
    spec: SampleSpec
    rate: Fraction = RATE
    audio: tuple[str, ...] = ("-c:a", "copy")


CHAINS: Mapping[str, Chain] = {
    "frame": Chain(
        deinterlace="frame",
        filters="bwdif=mode=send_frame:parity=auto:deint=interlaced,format=nv12",
        spec=SampleSpec(),
    ),
    "field": Chain(
        deinterlace="field",
        filters="bwdif=mode=send_field:parity=auto:deint=interlaced,format=nv12",
        spec=SampleSpec(),
        rate=RATE * 2,
    ),
    "ivtc": Chain(
        deinterlace="ivtc",
        filters="fieldmatch=combmatch=full,bwdif=mode=send_frame:parity=auto:deint=interlaced,decimate,format=nv12",
        spec=SampleSpec(telecined=True),
        rate=RATE * 4 / 5,
    ),
    "two audio tracks": Chain(
        deinterlace="frame",
        filters="bwdif=mode=send_frame:parity=auto:deint=interlaced,format=nv12",
        spec=SampleSpec(audio=("mp2", "mp2")),
        audio=("-c:a", "aac", "-b:a", str(AUDIO_BIT_RATE_BPS)),
    ),
}


@dataclass
class Receipts:
    """What our receipts told of each run."""

    proving_s: list[float]
    startup_s: list[float]


def ours(chain: Chain, source: Path, target: Path, told: Receipts) -> Cost:
    found = source.stat()
    request = EncodeRequest(
        job=0, source=str(source), partial=str(target), size_bytes=found.st_size, mtime_ns=found.st_mtime_ns,
        video=VideoRequest(encoder="libx264", quality=QUALITY, preset=PRESET), container="mp4",
        deinterlace=chain.deinterlace, audio_bit_rate_bps=AUDIO_BIT_RATE_BPS, verify="quick",
    )  # fmt: skip
    cost, output = cost_of([sys.executable, "-P", "-m", "encoderd.encode.child"], to_line(request))
    last = json.loads(output.splitlines()[-1])
    if last["type"] != "encoded":
        raise SystemExit(f"our encode failed: {last}")
    receipt = last["receipt"]
    told.proving_s.append(receipt["wall_s"] - receipt["encode_wall_s"])
    told.startup_s.append(receipt["startup_s"])
    return cost


def theirs(chain: Chain, ffmpeg: str, source: Path, target: Path) -> Cost:
    command = [
        ffmpeg, "-nostdin", "-v", "error", "-y", "-i", str(source), "-map", "0:v:0", "-map", "0:a",
        "-vf", chain.filters, "-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF), "-profile:v", "high",
        "-g", str(round(chain.rate * GOP_S)), *chain.audio, "-movflags", "+faststart",
        "-movie_timescale", str(MOVIE_TIMESCALE), str(target),
    ]  # fmt: skip
    return cost_of(command)[0]


def main() -> bool:
    """Measure and print; True when all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--ffmpeg")
    parser.add_argument("--only", choices=list(CHAINS), nargs="*")
    wanted, _ = parser.parse_known_args()
    ffmpeg = yardstick(wanted.ffmpeg)
    print(
        f"chains: {wanted.seconds:.0f} s of 1440×1080i MPEG-2 → H.264, libx264 {PRESET} CRF {CRF}; "
        f"{os.cpu_count()} cores; {wanted.runs} runs each; ours with proof (quick) and fsync"
    )
    heading()
    met = []
    with tempfile.TemporaryDirectory(prefix="encoderd-bench-") as folder:
        target = Path(folder) / "target.mp4"
        for name, chain in CHAINS.items():
            if wanted.only and name not in wanted.only:
                continue
            spec = replace(chain.spec, duration_s=wanted.seconds)
            source = make_recording(Path(folder) / "source.ts", spec)
            met += _compare(name, chain, ffmpeg, source, target, wanted.runs)
    return all(met)


def _compare(name: str, chain: Chain, ffmpeg: str, source: Path, target: Path, runs: int) -> list[bool]:
    told = Receipts([], [])
    pairs = in_turn(lambda: ours(chain, source, target, told), lambda: theirs(chain, ffmpeg, source, target), runs)
    proving_s, startup_s = told.proving_s[1:], told.startup_s[1:]
    alone = replace(
        pairs, ours=[replace(cost, wall_s=cost.wall_s - s) for cost, s in zip(pairs.ours, proving_s, strict=True)]
    )
    met = []
    for what, side, unit, figure, limit in (
        ("wall", alone, "s", lambda cost: cost.wall_s, 1.00),
        ("wall, with proof", pairs, "s", lambda cost: cost.wall_s, None),
        ("processor time", pairs, "s", lambda cost: cost.cpu_s, 1.02),
    ):
        one, other = side.median(figure)
        least, middle, most = side.ratio(figure)
        met.append(limit is None or middle <= limit)
        row(f"{name}, {what}", f"{one:.1f} {unit}", f"{other:.1f} {unit}", f"{middle:.3f} ({least:.3f}…{most:.3f})",
            f"≤ {limit:.2f}" if limit else "-", met[-1])  # fmt: skip
    one, other = pairs.median(lambda cost: cost.peak_mib)
    met.append(one <= MOST_PEAK_MIB)
    row(f"{name}, peak memory", f"{one:.0f} MiB", f"{other:.0f} MiB", "-", f"≤ {MOST_PEAK_MIB}", met[-1])
    slowest_s = max(startup_s)
    met.append(slowest_s <= MOST_STARTUP_S)
    row(f"{name}, start to first packet", f"{slowest_s:.2f} s", "-", "-", f"≤ {MOST_STARTUP_S:.1f} s", met[-1])
    return met


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
