"""The watch folders as a whole: real files, real inotify, real writers, time scaled down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encoderd.intake.completeness import Waiting
from encoderd.jobs import Candidate
from tests.integration.watching import LIMIT_S, NFS, Watching


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tv").mkdir()
    return tmp_path / "tv"


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start Python programs; they are gone after the test."""
    children: list[subprocess.Popen[bytes]] = []

    def begin(program: str) -> subprocess.Popen[bytes]:
        children.append(
            subprocess.Popen([sys.executable, "-u", "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
        )
        return children[-1]

    yield begin
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def test_recordings_that_are_there_at_the_start_are_offered_oldest_first(folder: Path) -> None:
    for number, name in enumerate(["new.ts", "old.ts", "sub/middle.ts"]):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * (number + 1))
        os.utime(folder / name, ns=(1, (10, 2, 5)[number] * 10**18 // 10))
    (folder / "empty.ts").touch()
    with Watching(folder) as tv:
        tv.until(lambda: len(tv.offered) >= 3)
        tv.scans()

        assert [one.relative_path for one in tv.offered] == ["old.ts", "sub/middle.ts", "new.ts"]
        assert tv.offered[0] == Candidate(watch="tv", relative_path="old.ts", size_bytes=2, mtime_ns=2 * 10**17)
        assert tv.waits() == {"empty.ts": Waiting.EMPTY}
        assert tv.watcher.problems() == {}


@pytest.mark.parametrize("mountinfo", [None, NFS], ids=["lease", "descriptors"])
def test_a_writer_that_stalls_with_the_file_open_is_waited_for(
    folder: Path, start: Callable[[str], subprocess.Popen[bytes]], mountinfo: str | None
) -> None:
    """It pauses for several settling times, twice; nothing but the whole recording is offered, once."""
    child = start(f"""
        import time
        with open({os.fspath(folder / "a.ts")!r}, "wb", buffering=0) as file:
            for chunk in range(3):
                file.write(bytes(1000))
                time.sleep(0.7)
    """)
    more = {} if mountinfo is None else {"mountinfo": lambda: mountinfo}
    seen_open = False
    with Watching(folder, **more) as tv:

        def offered() -> bool:
            nonlocal seen_open
            seen_open |= tv.waits().get("a.ts") is Waiting.OPEN
            return bool(tv.offered)

        tv.until(offered)
        assert child.wait(LIMIT_S) == 0
        tv.scans()

        assert [one.size_bytes for one in tv.offered] == [3000]
        assert seen_open


def test_a_writer_that_opens_and_closes_for_every_chunk_is_waited_for(
    folder: Path, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    """
    It pauses for a tenth of the settling time. Should a busy machine make a pause of it that really is as long as the
    settling time, a candidate is right: the child tells when it wrote.
    """
    settle_s, chunks = 1.0, 15
    child = start(f"""
        import json, time
        for chunk in range({chunks}):
            before_s = time.monotonic()
            with open({os.fspath(folder / "a.ts")!r}, "ab") as file:
                file.write(bytes(100))
            print(json.dumps([before_s, time.monotonic()]))
            time.sleep(0.1)
    """)
    with Watching(folder, settle_s=settle_s) as tv:
        tv.until(lambda: tv.offered and tv.offered[-1].size_bytes == 100 * chunks)
        output, _ = child.communicate(timeout=LIMIT_S)
        times = [json.loads(line) for line in output.splitlines()]

        assert len(times) == chunks
        for early in tv.offered[:-1]:
            written = early.size_bytes // 100
            assert times[written][1] - times[written - 1][0] >= settle_s
        assert [one.size_bytes for one in tv.offered].count(100 * chunks) == 1


def test_events_alone_bring_a_recording_in(folder: Path) -> None:
    """No rescan comes within the test: creation, a name moved into place and a new folder are told by inotify."""
    (folder / "first.ts").write_bytes(b"x")
    with Watching(folder, rescan_s=3600) as tv:
        tv.until(lambda: tv.names() == ["first.ts"])
        (folder / "created.ts").write_bytes(b"x")
        tv.until(lambda: "created.ts" in tv.names())
        (folder / ".moved").write_bytes(b"x")
        (folder / ".moved").rename(folder / "moved.ts")
        tv.until(lambda: "moved.ts" in tv.names())
        (folder / "sub").mkdir()
        (folder / "sub" / "deep.ts").write_bytes(b"x")
        tv.until(lambda: "sub/deep.ts" in tv.names())


def test_an_event_ends_the_daemons_sleep(folder: Path) -> None:
    woken = threading.Event()
    with Watching(folder, rescan_s=3600, on_event=woken.set) as tv:
        tv.first_scan()
        tv.until(tv.watcher._reports.empty)
        woken.clear()
        (folder / "a.ts").write_bytes(b"x")

        assert woken.wait(LIMIT_S)
        now_s = time.monotonic()
        assert tv.watcher.next_due_s(now_s) == now_s
        tv.until(lambda: tv.waits() == {"a.ts": Waiting.RESTING})
        assert tv.watcher.next_due_s(now_s) <= time.monotonic() + 0.2


def test_without_events_the_scan_finds_everything(folder: Path) -> None:
    with Watching(folder, rescan_s=3600, poll_s=0.1, mountinfo=lambda: NFS) as tv:
        tv.first_scan()
        (folder / "a.ts").write_bytes(b"x")
        tv.until(lambda: tv.names() == ["a.ts"])


def test_a_recording_moved_into_place_is_offered_under_its_last_name(folder: Path) -> None:
    with Watching(folder, settle_s=0.5) as tv:
        (folder / "x.ts").write_bytes(b"1")
        tv.until(lambda: "x.ts" in tv.waits())
        (folder / "x.ts").rename(folder / "y.ts")
        tv.until(lambda: bool(tv.offered))
        tv.scans()

        assert (tv.names(), tv.waits()) == (["y.ts"], {})


def test_a_replaced_recording_is_offered_anew(folder: Path) -> None:
    (folder / "a.ts").write_bytes(b"1")
    with Watching(folder) as tv:
        tv.until(lambda: len(tv.offered) == 1)
        (folder / ".new").write_bytes(b"22")
        (folder / ".new").rename(folder / "a.ts")
        tv.until(lambda: len(tv.offered) == 2)

        assert [one.size_bytes for one in tv.offered] == [1, 2]


def test_a_recording_that_grows_after_admission_is_offered_anew(folder: Path) -> None:
    (folder / "a.ts").write_bytes(b"1")
    with Watching(folder) as tv:
        tv.until(lambda: len(tv.offered) == 1)
        with (folder / "a.ts").open("ab") as file:
            file.write(b"2")
        tv.until(lambda: len(tv.offered) == 2)


def test_a_deleted_recording_is_dropped(folder: Path) -> None:
    (folder / "a.ts").write_bytes(b"1")
    with Watching(folder, settle_s=3600) as tv:
        tv.until(lambda: "a.ts" in tv.waits())
        (folder / "a.ts").unlink()
        tv.until(lambda: tv.waits() == {})

        assert tv.offered == []


def test_a_forgotten_recording_is_offered_again(folder: Path) -> None:
    (folder / "a.ts").write_bytes(b"1")
    with Watching(folder) as tv:
        tv.until(lambda: len(tv.offered) == 1)
        tv.scans()
        tv.watcher.forget("tv", "a.ts")
        tv.watcher.forget("no such folder", "a.ts")
        tv.until(lambda: len(tv.offered) == 2)

        assert tv.offered[0] == tv.offered[1]


def test_names_of_any_bytes_come_through(folder: Path) -> None:
    names = ["番組 第1話.ts".encode(), b"two\nlines.ts", b"\xff\xfe.ts", "あ".encode() * 84 + b".ts"]
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(b"x")
    with Watching(folder) as tv:
        tv.until(lambda: len(tv.offered) == len(names))

        assert sorted(os.fsencode(one.relative_path) for one in tv.offered) == sorted(names)
