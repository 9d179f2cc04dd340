"""What follows an output, with the real daemon: sidecars, captions after a crash, and the recording's own way."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from encoderd.encode.publish import Piece
from encoderd.jobs import JobState
from tests.integration.test_daemon_interrupted import cut_off
from tests.running import RunningDaemon

OLD_NS = 1_600_000_000_000_000_000


def beside(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(f"of {name}")
        os.utime(folder / name, ns=(OLD_NS, OLD_NS))


def test_sidecars_follow_the_output_and_move_with_the_recording(daemon: RunningDaemon, recording: Path) -> None:
    """None of them is taken for a recording; what had a copy's name before stays, and is a warning."""
    moved = daemon.root / "moved"
    daemon.configure(encode={"after_success": "move", "move_to": moved})
    daemon.output.mkdir()
    (daemon.output / "a.err").write_text("mine")
    beside(daemon.input, "a.ts.program.txt", "a.ts.err", "a.srt", "a.jpg")
    daemon.start().drop(recording)
    daemon.wait_done()
    daemon.wait_for(lambda: daemon.log("encode.finished"), what="the log line")

    assert daemon.outputs() == ["a.err", "a.mp4", "a.program.txt", "a.srt"]
    assert (daemon.output / "a.program.txt").read_text() == "of a.ts.program.txt"
    assert (daemon.output / "a.program.txt").stat().st_mtime_ns == OLD_NS
    assert (daemon.output / "a.err").read_text() == "mine"
    assert daemon.partials() == []
    assert sorted(os.listdir(daemon.input)) == ["a.jpg"]
    assert sorted(os.listdir(moved)) == ["a.srt", "a.ts", "a.ts.err", "a.ts.program.txt"]
    assert daemon.states() == [JobState.DONE]
    expected = {"copied": ["a.program.txt", "a.srt"], "notes": ["a.err exists already, with other content"]}
    assert daemon.receipt()["sidecars"] == expected
    assert daemon.log("encode.finished")[0]["sidecars"] == expected["copied"]
    assert daemon.log("encode.sidecars_left")[0]["notes"] == expected["notes"]


def test_other_endings_by_setting_and_with_delete_they_stay(daemon: RunningDaemon, recording: Path) -> None:
    daemon.configure(encode={"after_success": "delete", "sidecars": [".jpg"]})
    beside(daemon.input, "a.jpg", "a.srt")
    daemon.start().drop(recording)
    daemon.wait_done()

    assert daemon.outputs() == ["a.jpg", "a.mp4"]
    assert sorted(os.listdir(daemon.input)) == ["a.jpg", "a.srt"]


def between(captions: Piece, output: Piece) -> None:
    """The captions have their name, the output has not."""
    output.target.rename(output.partial)


def before(captions: Piece, output: Piece) -> None:
    captions.target.rename(captions.partial)
    output.target.rename(output.partial)


@pytest.mark.parametrize("moment", [before, pytest.param(between, marks=pytest.mark.slow)])
def test_a_crash_around_the_renames(
    daemon: RunningDaemon, recording: Path, moment: Callable[[Piece, Piece], None]
) -> None:
    """Output and captions are there in the end, and the sidecars; nothing is encoded again, nothing is left."""
    beside(daemon.input, "a.err", "a.srt")
    daemon.start().drop(recording)
    daemon.wait_done()
    daemon.terminate()
    target, found = daemon.output / "a.captions.mks", (daemon.output / "a.mp4").stat()
    target.write_text("words")
    (daemon.output / "a.srt").unlink()
    pieces = [
        Piece(
            partial=daemon.output / f".a.encoderd-1{beside_it}partial",
            target=path,
            size_bytes=path.stat().st_size,
            mtime_ns=path.stat().st_mtime_ns,
        )
        for path, beside_it in ((target, ".captions."), (daemon.output / "a.mp4", "."))
    ]
    with closing(sqlite3.connect(daemon.state / "queue.db")) as connection:
        published = json.loads(connection.execute("SELECT published FROM job").fetchone()[0])
        published["captions"] = pieces[0].as_record()
        connection.execute("UPDATE job SET published = ?", (json.dumps(published),))
        connection.commit()
    cut_off(daemon)
    moment(*pieces)
    daemon.start()
    daemon.wait_done()

    assert daemon.outputs() == ["a.captions.mks", "a.err", "a.mp4", "a.srt"]
    assert daemon.partials() == []
    assert (found.st_ino, "words") == ((daemon.output / "a.mp4").stat().st_ino, target.read_text())
    assert daemon.receipt()["sidecars"]["copied"] == ["a.err", "a.srt"]
    assert len(daemon.log("encode.publishing_completed")) == 1
