"""`make compare` on made recordings, with FFmpeg's own tools: what is right, and outputs that somebody spoilt."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.broadcast.catalogue import CATALOGUE
from tests.compare.__main__ import looked_at, main
from tests.compare.engine import encode
from tests.compare.facts import Ours
from tests.compare.yardstick import Missing, Yardstick

tools = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="no FFmpeg (apt-get install ffmpeg)"
)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Ours]:
    """A recording with two languages, its output, and what was said of it."""
    folder = tmp_path_factory.mktemp("compare")
    source, target = folder / "recording.ts", folder / "out" / "output.mp4"
    target.parent.mkdir()
    source.write_bytes(CATALOGUE["two_languages"].make().data)
    return source, target, encode(source, target, 60.0)


def differing(encoded: tuple[Path, Path, Ours], target: Path) -> list[str]:
    source, _, ours = encoded
    entry = looked_at(source, source.name, ours, target, Yardstick.found(60.0))
    return list(entry["differences"])


@tools
def test_what_is_right_differs_in_nothing(encoded: tuple[Path, Path, Ours]) -> None:
    assert [] == differing(encoded, encoded[1])


@tools
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-itsoffset", "0.2", "-i", "{}", "-map", "0:v", "-map", "1:a", "-c", "copy"], "+200 ms from its picture"),
        pytest.param(
            ["-map", "0", "-c", "copy", "-metadata:s:a:1", "language=ger"],
            "language eng there, ger here",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["-map", "0:v", "-map", "0:a:0", "-c", "copy"],
            "audio 2 (aac, eng): planned, and not in the output",
            marks=pytest.mark.slow,
        ),
        (
            ["-map", "0", "-c", "copy", "-c:v", "mpeg4", "-vf", "loop=loop=30:size=1:start=60"],
            "stand still while theirs move",
        ),
    ],
)
def test_what_was_spoilt_is_seen(
    encoded: tuple[Path, Path, Ours], tmp_path: Path, arguments: list[str], word: str
) -> None:
    spoilt = tmp_path / "output.mp4"
    more = [argument.format(encoded[1]) for argument in arguments]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", encoded[1], *more, spoilt], check=True, timeout=60)
    found = differing(encoded, spoilt)

    assert [line for line in found if word in line], found


@tools
def test_a_folder_becomes_blocks_or_json_and_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no recording is refused by both and so no difference; nothing is written beside it."""
    (tmp_path / "notes.ts").write_text("milk, eggs")

    assert main([str(tmp_path)]) == 0
    assert "== notes.ts" in (text := capsys.readouterr().out)
    assert "1 files: 0 encoded, 1 refused; 0 differ" in text
    assert main([str(tmp_path), "--json"]) == 0
    entry: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (entry["file"], entry["verdict"], entry["differences"]) == ("notes.ts", "refused", [])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.ts"]


@pytest.mark.parametrize("arguments", [[], ["/nowhere/at/all"]])
def test_without_a_folder_it_says_what_to_type(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "make compare FOLDER=/path/to/recordings" in capsys.readouterr().err


def test_without_the_tools_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Missing, match="apt-get install ffmpeg"):
        Yardstick.found(1.0, "")
