"""Sidecars and chapter files beside a recording, on a real file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encoderd.encode.companions import (
    LARGEST_CHAPTERS,
    LARGEST_SIDECAR,
    chapter_file,
    copy_sidecars,
    move_sidecars,
    read_chapters,
    sidecars_of,
)
from encoderd.settings import SIDECARS

OLD_NS = 1_600_000_000_123_456_789


class Beside:
    """A recording with files beside it, and the folder of its output, which is "x (2).mp4"."""

    def __init__(self, root: Path, *names: str, recording: str = "x.ts") -> None:
        self.input, self.output, self.moved = root / "in", root / "out", root / "moved"
        for folder in (self.input, self.output, self.moved):
            folder.mkdir()
        self.source = self.file(recording)
        for name in names:
            self.file(name)

    def file(self, name: str) -> Path:
        path = self.input / name
        path.write_text(f"of {name}", "utf-8", "surrogateescape")
        os.utime(path, ns=(OLD_NS, OLD_NS))
        return path

    def copy(self, target: str = "x (2).mp4") -> tuple[tuple[str, ...], tuple[str, ...]]:
        done = copy_sidecars(self.source, self.output / target, SIDECARS, self.output / ".x.encoderd-7.sidecar.partial")
        return done.names, done.notes

    def copies(self) -> dict[str, str]:
        return {path.name: path.read_text("utf-8", "surrogateescape") for path in sorted(self.output.iterdir())}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], {}),
        (["x.program.txt"], {"x (2).program.txt": "of x.program.txt"}),
        (["x.ts.program.txt"], {"x (2).program.txt": "of x.ts.program.txt"}),
        (["x.err", "x.ts.err"], {"x (2).err": "of x.err", "x (2).ts.err": "of x.ts.err"}),
        (["x.srt", "x.ts.ass"], {"x (2).srt": "of x.srt", "x (2).ass": "of x.ts.ass"}),
        (["y.err", "x.txt", "x.jpg", "xx.err"], {}),
    ],
)
def test_sidecars_take_the_output_s_stem(tmp_path: Path, names: list[str], expected: dict[str, str]) -> None:
    """Two that would get one name keep what tells them apart."""
    beside = Beside(tmp_path, *names)
    copied, notes = beside.copy()

    assert expected == beside.copies()
    assert (sorted(expected), ()) == (sorted(copied), notes)
    assert {OLD_NS} >= {path.stat().st_mtime_ns for path in beside.output.iterdir()}
    assert {"x.ts", *names} == {path.name for path in beside.input.iterdir()}


@pytest.mark.parametrize("recording", ["録画　１.x.ts", "noending", os.fsdecode(b"\xff\n.ts")])
def test_names_of_any_kind(tmp_path: Path, recording: str) -> None:
    beside = Beside(tmp_path, recording=recording)
    beside.file(recording + ".err")
    copied, notes = beside.copy(beside.source.stem + ".mkv")

    assert ((beside.source.stem + ".err",), ()) == (copied, notes)
    assert {beside.source.stem + ".err": f"of {recording}.err"} == beside.copies()


def test_again_is_no_harm(tmp_path: Path) -> None:
    """After a crash everything is copied again: what is there is taken for done, and a cut off copy goes."""
    beside = Beside(tmp_path, "x.err", "x.srt")
    first = beside.copy()
    (beside.output / "x (2).srt").unlink()
    (beside.output / ".x.encoderd-7.sidecar.partial").write_text("of x.s")

    assert first == beside.copy()
    assert {"x (2).err": "of x.err", "x (2).srt": "of x.srt"} == beside.copies()


@pytest.mark.parametrize("taken", ["file", "same length", "folder", "dangling link"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    beside = Beside(tmp_path, "x.err")
    other = beside.output / "x (2).err"
    match taken:
        case "file":
            other.write_text("mine")
        case "same length":
            other.write_text("OF X.ERR")
        case "folder":
            other.mkdir()
        case _:
            other.symlink_to("nowhere")
    before = other.lstat()
    copied, notes = beside.copy()

    assert ((), ("x (2).err exists already, with other content",)) == (copied, notes)
    assert before == other.lstat()
    assert ["x (2).err"] == os.listdir(beside.output)


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "large", "gone folder"])
def test_what_is_no_sidecar_is_left_alone_with_a_note(tmp_path: Path, kind: str) -> None:
    """Nobody waits for a pipe, no link leads anywhere, no recording is copied for its ending."""
    beside = Beside(tmp_path, "x.srt")
    odd = beside.input / "x.err"
    match kind:
        case "link":
            odd.symlink_to(beside.source)
        case "folder":
            odd.mkdir()
        case "pipe":
            os.mkfifo(odd)
        case "large":
            odd.touch()
            os.truncate(odd, LARGEST_SIDECAR + 1)
        case _:
            beside.output.rmdir()
    copied, notes = beside.copy()

    assert (1, ("x (2).srt",)) == (len(notes), copied) if kind != "gone folder" else len(notes) == 1
    assert "x.err" in notes[0] or kind == "gone folder"


def test_a_name_that_is_too_long_is_a_note(tmp_path: Path) -> None:
    beside = Beside(tmp_path, "x.program.txt")
    copied, notes = beside.copy("y" * 250 + ".mp4")

    assert ((), ("x.program.txt: File name too long",)) == (copied, notes)
    assert {} == beside.copies()


def test_an_ending_that_is_the_recording_s_own_is_not_its_sidecar(tmp_path: Path) -> None:
    beside = Beside(tmp_path, "x.ts.ts")

    assert [(beside.input / "x.ts.ts", ".ts")] == [
        (one.path, one.ending) for one in sidecars_of(beside.source, [".ts"])
    ]


def test_sidecars_move_with_their_recording(tmp_path: Path) -> None:
    """Under their own names, over nothing."""
    beside = Beside(tmp_path, "x.err", "x.ts.program.txt", "x.srt", "x.jpg")
    (beside.moved / "x.srt").write_text("mine")
    beside.source.rename(beside.moved / "x.ts")
    done = move_sidecars(beside.source, beside.moved / "x.ts", SIDECARS)

    assert {"x.err", "x.ts.program.txt"} == set(done.names)
    assert (f"x.srt stays: {beside.moved}/x.srt exists already",) == done.notes
    assert ["x.jpg", "x.srt"] == sorted(os.listdir(beside.input))
    assert "mine" == (beside.moved / "x.srt").read_text()
    assert OLD_NS == (beside.moved / "x.err").stat().st_mtime_ns


def test_a_sidecar_of_two_recordings_stays_for_the_other(tmp_path: Path) -> None:
    beside = Beside(tmp_path, "x.srt", "x.ts.err", "x.m2ts")
    beside.source.rename(beside.moved / "x.ts")
    done = move_sidecars(beside.source, beside.moved / "x.ts", SIDECARS)

    assert (("x.ts.err",), ("x.srt stays: another recording has this name, too",)) == (done.names, done.notes)
    assert ["x.m2ts", "x.srt"] == sorted(os.listdir(beside.input))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], None),
        (["x.chapter.txt"], "x.chapter.txt"),
        (["x.ts.chapter.txt", "x.chapter.txt"], "x.ts.chapter.txt"),
        (["x.ffmetadata"], "x.ffmetadata"),
        (["x.ts.ffmetadata", "x.chapter.txt"], "x.chapter.txt"),
        (["y.chapter.txt"], None),
    ],
)
def test_the_file_with_the_chapters(tmp_path: Path, names: list[str], expected: str | None) -> None:
    beside = Beside(tmp_path, *names)

    assert expected == getattr(chapter_file(beside.source), "name", None)


def test_only_a_small_regular_file_has_chapters(tmp_path: Path) -> None:
    beside = Beside(tmp_path, "x.ffmetadata")
    os.mkfifo(beside.input / "x.ts.chapter.txt")
    (beside.input / "x.chapter.txt").touch()
    os.truncate(beside.input / "x.chapter.txt", LARGEST_CHAPTERS + 1)

    assert beside.input / "x.ffmetadata" == chapter_file(beside.source)


def test_chapters_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    """It was there a moment ago: the recording is encoded without, and the receipt says why."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.chapter.txt").write_text("CHAPTER01=00:00:01.000\nCHAPTER01NAME=one")

    assert ("gone cannot be read: No such file or directory",) == read_chapters(tmp_path / "gone").notes
    assert ("pipe is no regular file",) == read_chapters(tmp_path / "pipe").notes
    assert ["one"] == [chapter.title for chapter in read_chapters(tmp_path / "x.chapter.txt").chapters]
