"""The outside system: ffprobe and ffmpeg, run on one file each; nothing of them raises but that they are missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tests.compare.facts import SOUND_HZ, THUMB, Json, Media, Pictures, Shape, Sound

_PICTURE = re.compile(r"n: *\d+ pts: *(\S+) .*? sar:(\d+)/(\d+) s:(\d+)x(\d+) i:(.)")
_SOUND = re.compile(r"pts:(\S+) .*?rate:(\d+) nb_samples:(\d+)")
_BASE = re.compile(r"config in time_base: (\d+)/(\d+)")
_COLOUR = re.compile(r"color_range:\S+ color_space:\S+ color_primaries:\S+ color_trc:\S+")
#: Sound of which two stretches are this far apart is in pieces.
APART_S = 0.005


class Missing(Exception):
    """A tool is not there; the text says what to install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """The two tools by path; no run of them takes longer than `limit_s` seconds."""

    ffmpeg: str
    ffprobe: str
    limit_s: float

    @classmethod
    def found(cls, limit_s: float, ffmpeg: str = "") -> Yardstick:
        """
        Take the ffmpeg that is named, else imageio-ffmpeg's (a newer one than distributions have), else that on PATH.

        Raises:
            Missing: one of the tools is not there.
        """
        tool = ffmpeg or _bundled() or shutil.which("ffmpeg")
        if not tool:
            raise Missing("No ffmpeg to compare with: apt-get install ffmpeg, or pip install imageio-ffmpeg")
        beside = Path(tool).with_name("ffprobe")
        probe = str(beside) if beside.exists() else shutil.which("ffprobe")
        if not probe:
            raise Missing("No ffprobe to compare with: apt-get install ffmpeg")
        return cls(ffmpeg=tool, ffprobe=probe, limit_s=limit_s)

    def version(self) -> str:
        return " ".join(self._run([self.ffmpeg, "-version"])[0].split()[:3])

    def described(self, path: Path) -> Media:
        """Return what ffprobe says; all packets are counted, nothing is decoded."""
        shown, words = self._run(
            [self.ffprobe, "-v", "error", "-show_streams", "-show_chapters", "-show_format", "-show_programs",
             "-count_packets", "-of", "json", _plain(path)]
        )  # fmt: skip
        try:
            said = json.loads(shown)
        except ValueError:
            said = {}
        streams = said.get("streams", [])
        return Media(
            streams=streams,
            chapters=said.get("chapters", []),
            format=said.get("format", {}),
            programmes=said.get("programs", []),
            video=_main(streams),
            trouble="" if streams else words.strip()[-300:] or "ffprobe says nothing",
        )

    def decoded(self, path: Path, described: Media, video: int) -> Media:
        """Add what ffmpeg decodes: the pictures of stream `video` (-1: none), and all sound."""
        return replace(
            described,
            video=video,
            pictures=self.pictures(path, video) if video >= 0 else None,
            sounds={one["index"]: self.sound(path, one["index"]) for one in described.of_kind("audio")},
        )

    def pictures(self, path: Path, index: int) -> Pictures:
        """Decode a stream of pictures and look at each, as a player turns it."""
        width, height = THUMB
        # Luma as it is coded: FFmpeg's versions convert a range that is not told differently.
        seen = f"showinfo@seen=checksum=0,scale={width}:{height}:flags=area:out_range=tv,format=yuv444p,extractplanes=y"
        with tempfile.NamedTemporaryFile(prefix="encoderd-compare-") as raw:
            lines = self._decode(path, index, ["-vf", seen, "-fps_mode", "passthrough", "-f", "rawvideo", raw.name])
            luma = np.fromfile(raw.name, np.uint8)
        times: list[float] = []
        shapes: Counter[Shape] = Counter()
        colours: Counter[str] = Counter()
        side: Counter[str] = Counter()
        interlaced, base_s = 0, 0.0
        for line in _of("showinfo@seen", lines):
            if found := _BASE.search(line):
                base_s = int(found[1]) / int(found[2])
            elif found := _PICTURE.search(line):
                times.append(float("nan") if found[1] == "NOPTS" else int(found[1]) * base_s)
                shapes[_shape(*map(int, found.groups()[1:5]))] += 1
                interlaced += found[6] in "TB"
            elif found := _COLOUR.search(line):
                colours[re.sub("color_", "", found[0])] += 1
            elif "side data - " in line:
                side[line.split("side data - ")[1].split(":")[0].split(" - ")[0].strip(" (")] += 1
        count = min(len(times), len(luma) // (width * height))
        return Pictures(
            at_s=np.array(times[:count]),
            luma=luma[: count * width * height].reshape(count, width * height),
            interlaced=interlaced,
            shapes=dict(shapes.most_common()),
            colours=dict(colours.most_common()),
            side=dict(side.most_common()),
            errors=_errors(lines),
            words=_words(lines),
        )

    def sound(self, path: Path, index: int) -> Sound:
        """Decode a track to one channel, and place it by the times of its frames."""
        filters = f"ashowinfo@heard,aresample={SOUND_HZ}:ochl=mono:osf=s16"
        with tempfile.NamedTemporaryFile(prefix="encoderd-compare-") as raw:
            lines = self._decode(path, index, ["-af", filters, "-f", "s16le", raw.name])
            samples = np.asarray(np.fromfile(raw.name, np.int16) / np.float32(32768), np.float32)
        pieces, base_s, begin_s, end_s, first, last = [], 0.0, float("nan"), 0.0, 0.0, 0.0
        for line in _of("ashowinfo@heard", lines):
            if found := _BASE.search(line):
                base_s = int(found[1]) / int(found[2])
            elif found := _SOUND.search(line):
                rate_hz, count = int(found[2]), int(found[3])
                at_s = end_s if found[1] == "NOPTS" else int(found[1]) * (base_s or 1 / rate_hz)
                if not abs(at_s - end_s) < APART_S or begin_s != begin_s:
                    pieces.append((begin_s, samples[round(first) : round(last)]))
                    begin_s, end_s, first = at_s, at_s, last
                end_s += count / rate_hz
                last += count / rate_hz * SOUND_HZ
        pieces.append((begin_s, samples[round(first) : round(last)]))
        pieces = [(at_s, piece) for at_s, piece in pieces if len(piece)]
        return Sound(pieces=pieces, errors=_errors(lines), words=_words(lines))

    def _decode(self, path: Path, index: int, output: list[str]) -> list[str]:
        """Run ffmpeg on one stream and return what it says, one string a line, each with its level."""
        command = [
            self.ffmpeg, "-nostdin", "-hide_banner", "-nostats", "-v", "level+info", "-copyts", "-max_error_rate", "1",
            "-i", _plain(path), "-map", f"0:{index}", *output[:-1], "-y", output[-1],
        ]  # fmt: skip
        return self._run(command)[1].splitlines()

    def _run(self, command: Sequence[str]) -> tuple[str, str]:
        with (
            tempfile.TemporaryFile("w+", errors="replace") as out,
            tempfile.TemporaryFile("w+", errors="replace") as err,
        ):
            trouble = ""
            try:
                subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=self.limit_s, check=False
                )
            except subprocess.TimeoutExpired:
                trouble = f"\n[error] {Path(command[0]).name} took more than {self.limit_s:.0f} s"
            out.seek(0)
            err.seek(0)
            return out.read(), err.read() + trouble


def _bundled() -> str:
    try:
        import imageio_ffmpeg  # type: ignore[import-not-found,import-untyped,unused-ignore]

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return ""


def _plain(path: Path) -> str:
    """A name that is never an option nor an address."""
    return f"file:{path}"


def _main(streams: list[Json]) -> int:
    """The first stream of pictures that is no cover, the largest of several."""
    moving = [
        stream
        for stream in streams
        if stream.get("codec_type") == "video" and not stream.get("disposition", {}).get("attached_pic")
    ]
    best = max(moving, key=lambda one: (int(one.get("nb_read_packets", 0)) > 0, one.get("width", 0)), default=None)
    return -1 if best is None else int(best["index"])


def _shape(sar_num: int, sar_den: int, width: int, height: int) -> Shape:
    sample = sar_num / sar_den if sar_num and sar_den else 1.0
    return Shape(width=width, height=height, aspect=round(width * sample / max(1, height), 4))


def _of(name: str, lines: Sequence[str]) -> Iterator[str]:
    return (line for line in lines if line.startswith(f"[{name} "))


def _wrong(lines: Sequence[str]) -> list[str]:
    """Lines of decoders and demuxers; the writer of raw samples complains of times that nobody reads."""
    wrong = (line for line in lines if "[error]" in line[:60] or "[fatal]" in line[:60])
    return [line for line in wrong if not line.startswith(("[rawvideo", "[s16le", "[out#", "[vost#", "[aost#"))]


def _errors(lines: Sequence[str]) -> int:
    return len(_wrong(lines))


def _words(lines: Sequence[str]) -> str:
    return re.sub(r" @ 0x[0-9a-f]+", "", next(iter(_wrong(lines)), ""))[:200]
