"""`make compare FOLDER=…`: exit code 0 when nothing differs, 1 when something does, 2 when it cannot be tried."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.compare import differences, report, tracks
from tests.compare.engine import encode
from tests.compare.facts import Json, Media, Ours
from tests.compare.yardstick import Missing, Yardstick


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make compare FOLDER=…", description=__doc__)
    parser.add_argument("folder", nargs="?", default="", help="recordings, in this folder and those below; or one file")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text")
    parser.add_argument(
        "--limit-s", type=float, default=600.0, help="longest time for one tool on one file, in seconds"
    )
    parser.add_argument("--container", choices=("mp4", "mkv"), default="mp4", help="of our output")
    parser.add_argument("--ffmpeg", default="", help="the ffmpeg to compare with")
    asked = parser.parse_args(arguments)
    path = Path(asked.folder)
    if not asked.folder or not path.exists():
        what = f"There is no {asked.folder}." if asked.folder else "No folder was named."
        print(f"{what} Name one with recordings: make compare FOLDER=/path/to/recordings", file=sys.stderr)
        return 2
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    if not files:
        print(f"There is no file in {path}. Name a folder with recordings: make compare FOLDER=…", file=sys.stderr)
        return 2
    try:
        tools = Yardstick.found(asked.limit_s, asked.ffmpeg)
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    if not asked.json:
        print(f"{len(files)} files, beside {tools.version()}", flush=True)
    entries = []
    for file in files:
        entry = compared(file, file.name if path.is_file() else str(file.relative_to(path)), tools, asked.container)
        entries.append(entry)
        print(json.dumps(entry) if asked.json else "\n".join(report.block(entry)), flush=True)
    if not asked.json:
        print("\n".join(report.summary(entries)))
    return 1 if any(entry["differences"] for entry in entries) else 0


def compared(file: Path, name: str, tools: Yardstick, container: str = "mp4") -> Json:
    """Encode one file, look at both sides, and say what differs; what goes wrong here is a difference too."""
    with tempfile.TemporaryDirectory(prefix="encoderd-compare-") as folder:
        target = Path(folder) / f"output.{container}"
        ours = encode(file.absolute(), target, tools.limit_s)
        try:
            return looked_at(file.absolute(), name, ours, target, tools)
        except Exception as error:  # noqa: BLE001  a file that this tool cannot judge must not end the run
            unjudged = [f"it cannot be compared: {type(error).__name__}: {error}"]
            return report.as_json(name, Media(), ours, None, unjudged)


def looked_at(file: Path, name: str, ours: Ours, target: Path, tools: Yardstick) -> Json:
    """Compare a recording with the output `target` (which others may have changed since)."""
    described = tools.described(file)
    if not ours.receipt:
        theirs = tools.decoded(file, described, described.video)
        return report.as_json(name, theirs, ours, None, differences.found(theirs, ours, None))
    theirs = tools.decoded(file, described, tracks.video_of(described, ours.receipt))
    shown = tools.described(target)
    output = tools.decoded(target, shown, shown.video)
    beside = [stream for path in sorted(target.parent.glob("captions*")) for stream in tools.described(path).streams]
    ours = replace(ours, beside=beside)
    return report.as_json(name, theirs, ours, output, differences.found(theirs, ours, output))


if __name__ == "__main__":
    sys.exit(main())
