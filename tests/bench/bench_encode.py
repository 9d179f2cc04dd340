"""
The encode, side by side with FFmpeg's own command line: same recording, same filter, same encoder options.

`python -m tests.bench.bench_encode [--runs N] [--seconds S] [--ffmpeg PATH]`. Ours is the whole child: start of Python,
probing, encode, fsync, and in a row of its own with reading back and verifying, which the ffmpeg command does not do.
The decode is measured on the recording repeated, so that what is compared is the work and not the start.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from encoderd.encode.codec_options import GOP_S, x264_crf
from encoderd.encode.messages import EncodeRequest, VideoRequest, to_line
from encoderd.encode.plan import MOVIE_TIMESCALE
from encoderd.encode.sample import RATE, SampleSpec, make_recording
from tests.bench.measure import Cost, Pairs, cost_of, heading, in_turn, row

FILTERS = "bwdif=mode=send_frame:parity=auto:deint=interlaced,format=nv12"
PRESET, QUALITY = "veryfast", 25
CRF = x264_crf(QUALITY)  # 23, as the figures in the README have it
#: Times that the recording is repeated for the decode.
REPEATED = 4


def yardstick(wanted: str | None) -> str:
    """Return the ffmpeg to compare with: the one named, else the newest that can be found."""
    if wanted:
        return wanted
    try:
        import imageio_ffmpeg  # type: ignore[import-not-found,import-untyped,unused-ignore]

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except ImportError:
        found = shutil.which("ffmpeg")
        if found is None:
            raise SystemExit("No ffmpeg to compare with: pip install imageio-ffmpeg, or apt install ffmpeg") from None
        return found


def ours(source: Path, target: Path, verifying_s: list[float]) -> Cost:
    found = source.stat()
    request = EncodeRequest(
        job=0, source=str(source), partial=str(target), size_bytes=found.st_size, mtime_ns=found.st_mtime_ns,
        video=VideoRequest(encoder="libx264", quality=QUALITY, preset=PRESET), container="mp4", deinterlace="auto",
        audio_bit_rate_bps=192_000, verify="quick",
    )  # fmt: skip
    cost, output = cost_of([sys.executable, "-P", "-m", "encoderd.encode.child"], to_line(request))
    last = json.loads(output.splitlines()[-1])
    if last["type"] != "encoded":
        raise SystemExit(f"our encode failed: {last}")
    verifying_s.append(last["receipt"]["wall_s"] - last["receipt"]["encode_wall_s"])
    return cost


def theirs(ffmpeg: str, source: Path, target: Path) -> Cost:
    gop = str(round(RATE * GOP_S))
    command = [
        ffmpeg, "-nostdin", "-v", "error", "-y", "-i", str(source), "-map", "0:v:0", "-map", "0:a", "-vf", FILTERS,
        "-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF), "-profile:v", "high", "-g", gop, "-c:a", "copy",
        "-movflags", "+faststart", "-movie_timescale", str(MOVIE_TIMESCALE), str(target),
    ]  # fmt: skip
    return cost_of(command)[0]


def main() -> bool:
    """Measure and print; True when all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--ffmpeg")
    wanted, _ = parser.parse_known_args()
    ffmpeg = yardstick(wanted.ffmpeg)
    with tempfile.TemporaryDirectory(prefix="encoderd-bench-") as folder:
        source = make_recording(Path(folder) / "source.ts", SampleSpec(duration_s=wanted.seconds))
        version = cost_of([ffmpeg, "-version"])[1].split(" Copyright")[0]
        print(
            f"encode: {wanted.seconds:.0f} s of 1440×1080i MPEG-2 ({source.stat().st_size / 2**20:.0f} MiB) → H.264, "
            f"libx264 {PRESET} CRF {CRF}; {os.cpu_count()} cores; {wanted.runs} runs each; theirs: {version}"
        )
        target = Path(folder) / "target.mp4"
        verifying_s: list[float] = []
        encode = in_turn(lambda: ours(source, target, verifying_s), lambda: theirs(ffmpeg, source, target), wanted.runs)
        long = Path(folder) / "long.ts"
        long.write_bytes(source.read_bytes() * REPEATED)
        decode = in_turn(lambda: our_decode(long), lambda: their_decode(ffmpeg, long), wanted.runs)
    return report(encode, decode, verifying_s[1:], wanted.seconds)


def our_decode(source: Path) -> Cost:
    return cost_of([sys.executable, "-P", "-m", "tests.bench.decode_deinterlace", str(source)])[0]


def their_decode(ffmpeg: str, source: Path) -> Cost:
    command = [ffmpeg, "-nostdin", "-v", "error", "-i", str(source), "-an", "-vf", FILTERS, "-f", "null", "-"]
    return cost_of(command)[0]


def report(encode: Pairs, decode: Pairs, verifying_s: list[float], seconds: float) -> bool:
    heading()
    met = []
    alone = [
        replace(cost, wall_s=cost.wall_s - check_s) for cost, check_s in zip(encode.ours, verifying_s, strict=True)
    ]
    for what, pairs, unit, figure, limit in (
        ("encode, wall", replace(encode, ours=alone), "s", lambda cost: cost.wall_s, 1.00),
        ("encode and verify, wall", encode, "s", lambda cost: cost.wall_s, None),
        ("encode and verify, processor time", encode, "s", lambda cost: cost.cpu_s, 1.05),
        ("encode, peak memory", encode, "MiB", lambda cost: cost.peak_mib, None),
    ):
        one, other = pairs.median(figure)
        least, middle, most = pairs.ratio(figure)
        met.append(limit is None or middle <= limit)
        row(what, f"{one:.1f} {unit}", f"{other:.1f} {unit}", f"{middle:.3f} ({least:.3f}…{most:.3f})",
            f"≤ {limit:.2f}" if limit else "-", met[-1])  # fmt: skip
    frames = float(RATE) * seconds * REPEATED
    one, other = decode.median(lambda cost: frames / cost.wall_s)
    least, middle, most = decode.ratio(lambda cost: 1 / cost.wall_s)
    met.append(middle >= 0.97)
    row("decode and deinterlace, frames per s", f"{one:.0f}", f"{other:.0f}", f"{middle:.3f} ({least:.3f}…{most:.3f})",
        "≥ 0.97", met[-1])  # fmt: skip
    return all(met)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
