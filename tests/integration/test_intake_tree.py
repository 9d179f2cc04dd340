"""What a walk through a real folder finds."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from encoderd.intake.completeness import Offered
from encoderd.intake.tree import Scan, Stopped, Tree
from encoderd.jobs import Candidate
from encoderd.settings import WatchSettings


def tree_of(folder: Path, **settings: Any) -> Tree:
    return Tree(WatchSettings(name="tv", path=folder, output=Path("/output"), **settings), time.monotonic)


def scan(tree: Tree, offered: Offered | None = None, *, thorough: bool = False) -> Scan:
    return tree.scan(offered or Offered(), thorough=thorough, stopping=lambda: False)


def found(tree: Tree, offered: Offered | None = None, *, thorough: bool = False) -> list[str]:
    return sorted(seen.relative_path for seen in scan(tree, offered, thorough=thorough).sightings)


def note(offered: Offered, path: Path, relative_path: str) -> None:
    status = path.stat()
    offered.note(
        Candidate(watch="tv", relative_path=relative_path, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    )


def test_recordings_are_found_in_all_folders_but_ignored_and_linked_ones(tmp_path: Path) -> None:
    for name in ("a.ts", "b.txt", "sub/deep/c.MKV", ".trash/d.ts", "e.part/e.ts", "f.ts.part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "other").symlink_to("sub")

    assert found(tree_of(tmp_path)) == ["a.ts", "sub/deep/c.MKV"]
    assert found(tree_of(tmp_path, recursive=False)) == ["a.ts"]
    chosen = tree_of(tmp_path, include=["b.*", "?.ts"], ignore=["sub", "A*"])
    assert found(chosen) == [".trash/d.ts", "b.txt", "e.part/e.ts"]


def test_only_regular_files_are_taken(tmp_path: Path) -> None:
    (tmp_path / "folder.ts").mkdir()
    os.mkfifo(tmp_path / "fifo.ts")
    (tmp_path / "dangling.ts").symlink_to("nowhere.ts")
    (tmp_path / "round.ts").symlink_to("round.ts")
    (tmp_path / "fifo link.ts").symlink_to("fifo.ts")
    (tmp_path / "folder link.ts").symlink_to("folder.ts")
    (tmp_path / "outside.ts").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket.ts"))
        what = scan(tree_of(tmp_path))

    assert (what.sightings, what.unreadable, what.whole) == ([], [], True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_device_node_is_never_opened(tmp_path: Path) -> None:
    """This one would answer ENXIO, which would be found among the unreadable files."""
    os.mknod(tmp_path / "device.ts", 0o660 | 0o060000, os.makedev(250, 250))
    what = scan(tree_of(tmp_path))

    assert (what.sightings, what.unreadable) == ([], [])


@pytest.mark.parametrize(
    "name",
    [
        "番組 第1話「夜」.ts".encode(),
        b"  blanks  .ts",
        b"two\nlines\t.ts",
        b"\xff\xfe\x80.ts",
        "あ".encode() * 84 + b".ts",  # 255 bytes, the longest name there is
        b"\x01\x7f%s{}\\'\".ts",
        b"-rf.ts",
    ],
)
def test_names_are_any_bytes(tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"sub\xff", name)
    os.mkdir(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(b"x")
    tree = tree_of(tmp_path)

    (relative_path,) = found(tree)
    assert os.fsencode(relative_path) == b"sub\xff/" + name
    assert tree.locate([relative_path]) == ([(relative_path, os.fsdecode(path))], [])


def test_a_link_stands_for_a_file_that_has_no_name_of_its_own_here(tmp_path: Path) -> None:
    (tmp_path / ".store").mkdir()
    for name in (".store/1", ".store/2", "real.ts"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "one.ts").symlink_to(".store/1")
    (tmp_path / "also one.ts").symlink_to(".store/1")
    (tmp_path / "two.ts").symlink_to(tmp_path / ".store" / "2")
    (tmp_path / "to real.ts").symlink_to("real.ts")
    tree = tree_of(tmp_path)

    assert found(tree) == ["also one.ts", "real.ts", "two.ts"]
    assert tree.locate(["two.ts", "to real.ts", "real.ts", "gone.ts", ".store"]) == (
        [("two.ts", str(tmp_path / ".store" / "2")), ("real.ts", str(tmp_path / "real.ts"))],
        ["to real.ts", "gone.ts", ".store"],
    )


def test_a_file_with_two_names_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "b.ts").write_bytes(b"x")
    os.link(tmp_path / "b.ts", tmp_path / "a.ts")
    os.link(tmp_path / "b.ts", tmp_path / ".hidden")
    (tmp_path / "0.ts").symlink_to(".hidden")
    tree, offered = tree_of(tmp_path), Offered()

    assert found(tree) == ["a.ts"]

    # It was offered as b.ts before it got its other names: it stays b.ts, and is not new.
    note(offered, tmp_path / "b.ts", "b.ts")
    what = scan(tree, offered)
    assert [seen.relative_path for seen in what.sightings] == ["b.ts"]
    assert what.known == {hash("b.ts")}


def test_what_was_offered_is_not_opened_again_unless_thoroughly(tmp_path: Path) -> None:
    for name in ("a.ts", "b.ts"):
        (tmp_path / name).write_bytes(b"x")
    tree, offered = tree_of(tmp_path), Offered()
    note(offered, tmp_path / "a.ts", "a.ts")
    for thorough in (False, True):
        what = scan(tree, offered, thorough=thorough)

        assert [seen.relative_path for seen in what.sightings] == ["b.ts"]
        assert what.known == {hash("a.ts")}
    (tmp_path / "a.ts").write_bytes(b"more")
    assert found(tree, offered) == ["a.ts", "b.ts"]


def test_a_folder_that_is_gone_is_an_error_and_one_inside_is_not(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tv")
    with pytest.raises(FileNotFoundError):
        scan(tree)
    (tmp_path / "tv").write_bytes(b"a file")
    with pytest.raises(NotADirectoryError):
        scan(tree)


def test_a_watch_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / ".x").write_bytes(b"x")
    (tmp_path / "real" / "a.ts").symlink_to(".x")
    (tmp_path / "tv").symlink_to("real")

    assert found(tree_of(tmp_path / "tv")) == ["a.ts"]


def test_a_path_that_is_too_long_is_reported_and_holds_up_nothing(tmp_path: Path) -> None:
    """Names of 255 bytes fit everywhere; 20 folders of them do not fit into one path."""
    (tmp_path / "a.ts").write_bytes(b"x")
    (tmp_path / "deep").mkdir()
    folder = os.open(tmp_path / "deep", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 255, dir_fd=folder)
        inner = os.open("d" * 255, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    what = scan(tree_of(tmp_path))

    assert [seen.relative_path for seen in what.sightings] == ["a.ts"]
    assert [(one.error, one.owner, what.whole) for one in what.unreadable] == [("File name too long", "?", False)]
    shutil.rmtree(tmp_path / "deep")


def test_a_scan_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_bytes(b"x")
    with pytest.raises(Stopped):
        tree_of(tmp_path).scan(Offered(), thorough=False, stopping=lambda: True)
