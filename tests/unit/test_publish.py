"""Names, space, and the rename that never overwrites, on a real file system."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode import publish as publishing
from encoderd.encode.failures import EncodeFailed, Place
from encoderd.encode.messages import Encoded
from encoderd.encode.publish import (
    LONGEST_NAME,
    Piece,
    beside_output,
    captions_partial,
    check_space,
    finish_all,
    finish_publishing,
    job_of_partial,
    partial_path,
    partials,
    pieces_of,
    prepare_folder,
    publish,
    publish_all,
    same_file,
    targets,
    write_receipt,
)
from encoderd.jobs import FailureKind, JobEvent

OUT = Path("/out")
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff"), min_size=1
).filter(lambda name: name not in {".", ".."} and len(os.fsencode(name)) <= LONGEST_NAME)


def first_targets(relative_path: str, count: int = 3, container: str = "mp4") -> list[str]:
    return [str(path.relative_to(OUT)) for path in itertools.islice(targets(OUT, relative_path, container), count)]


@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        ("x.ts", ["x.mp4", "x (2).mp4", "x (3).mp4"]),
        ("a/b/x.y.ts", ["a/b/x.y.mp4", "a/b/x.y (2).mp4", "a/b/x.y (3).mp4"]),
        ("録画　1.ts", ["録画　1.mp4", "録画　1 (2).mp4", "録画　1 (3).mp4"]),
        ("bad \udcff\udc80.ts", ["bad \udcff\udc80.mp4", "bad \udcff\udc80 (2).mp4", "bad \udcff\udc80 (3).mp4"]),
        ("line\nend.ts", ["line\nend.mp4", "line\nend (2).mp4", "line\nend (3).mp4"]),
    ],
)
def test_outputs_are_named_after_their_recordings(recording: str, expected: list[str]) -> None:
    """A name that is taken gets a number; bytes that are no characters stay as they are."""
    assert expected == first_targets(recording)


@pytest.mark.parametrize("letter", ["x", "é", "録", "𝄞"])
def test_long_names_are_cut_between_characters(letter: str) -> None:
    """255 bytes is what file systems take; " (2)" and ".encoderd-7.partial" need room in them."""
    stem = letter * ((LONGEST_NAME - 3) // len(letter.encode()))
    names = [*first_targets(f"{stem}.ts", 12), partial_path(OUT, f"{stem}.ts", 12345).name]

    assert all(LONGEST_NAME - 4 < len(os.fsencode(name)) <= LONGEST_NAME for name in names)
    assert len(set(names)) == len(names)
    for name in names:
        name.encode("utf-8")  # no character was split


@settings(deadline=None)
@given(NAMES, st.integers(0, 10**9))
def test_partial_files_are_hidden_and_known_by_their_job(name: str, job: int) -> None:
    paths = partials(OUT, f"sub/{name}", job)

    assert partial_path(OUT, f"sub/{name}", job) == paths[0]
    assert captions_partial(OUT, f"sub/{name}", job) == paths[1]
    assert len(set(paths)) == 3
    for path in paths:
        assert path.parent == OUT / "sub"
        assert path.name.startswith(".")
        assert len(os.fsencode(path.name)) <= LONGEST_NAME
        assert job == job_of_partial(path.name)


@pytest.mark.parametrize(
    "name",
    [
        "x.mp4",
        ".x.partial",
        "x.encoderd-7.partial",
        ".x.encoderd-7",
        ".x.encoderd-.partial",
        ".x.encoderd--7.partial",
        ".x.encoderd-7x.partial",
        ".x.encoderd-٧.partial",
        ".encoderd-",
        ".x.encoderd-7.other.partial",
        ".x.encoderd-7.captions",
        ".x.encoderd-.captions.partial",
        ".x.encoderd-7.captions.captions.partial",
    ],
)
def test_other_files_are_nobody_s_partials(name: str) -> None:
    """What is swept must be ours beyond doubt."""
    assert job_of_partial(name) is None


@pytest.mark.parametrize("letter", ["x", "録"])
def test_what_stands_beside_shares_the_stem(letter: str) -> None:
    """However long the name is: the numbers fit, too, and so does what is beside."""
    stem = letter * (250 // len(letter.encode()))
    for target in itertools.islice(targets(OUT, f"{stem}.ts", "mp4", ".captions.mks"), 12):
        beside = beside_output(target, ".captions.mks")

        assert len(os.fsencode(beside.name)) <= LONGEST_NAME
        assert target.name.removesuffix(".mp4") == beside.name.removesuffix(".captions.mks")


def test_without_anything_beside_names_are_as_long_as_ever() -> None:
    assert ["x.mp4"] == [next(targets(OUT, "x.ts", "mp4", ".captions.mks")).name]
    assert ["x.mp4.damaged", "x (2).mp4.damaged"] == first_targets("x.ts", 2, "mp4.damaged")
    assert LONGEST_NAME == len(first_targets("x" * 260 + ".ts", 1)[0])


def written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


RENAMES = [publishing._rename_noreplace, publishing._link_or_reserve, publishing._reserve]


@pytest.mark.parametrize("rename", RENAMES)
def test_each_way_to_rename_moves_the_file(tmp_path: Path, rename: Callable[[Path, Path], None]) -> None:
    """With renameat2, with a hard link, with a reserved name: in the end there is one file, under its new name."""
    source = written(tmp_path / ".録画 \udcff.partial", "picture")
    inode = source.stat().st_ino
    rename(source, tmp_path / "録画 \udcff.mp4")

    assert [os.fsdecode(entry) for entry in os.listdir(os.fsencode(tmp_path))] == ["録画 \udcff.mp4"]
    assert inode == (tmp_path / "録画 \udcff.mp4").stat().st_ino


@pytest.mark.parametrize("taken", ["file", "folder", "dangling link"])
@pytest.mark.parametrize("rename", RENAMES)
def test_no_way_to_rename_overwrites(tmp_path: Path, rename: Callable[[Path, Path], None], taken: str) -> None:
    """Whatever has the name keeps it."""
    source, target = written(tmp_path / "partial", "picture"), tmp_path / "x.mp4"
    match taken:
        case "file":
            written(target, "older")
        case "folder":
            target.mkdir()
        case _:
            target.symlink_to("nowhere")
    before = target.lstat()

    with pytest.raises(FileExistsError):
        rename(source, target)
    assert before == target.lstat()
    assert source.read_text() == "picture"


def test_a_reserved_name_is_given_back_when_the_rename_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        publishing._reserve(tmp_path / "gone", tmp_path / "x.mp4")

    assert list(tmp_path.iterdir()) == []


def test_publishing_says_whether_the_name_was_free(tmp_path: Path) -> None:
    partial, target = written(tmp_path / "partial", "new"), written(tmp_path / "x.mp4", "old")

    assert not publish(partial, target)
    assert publish(partial, tmp_path / "x (2).mp4")
    assert target.read_text() == "old"


def test_publishing_into_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        publish(written(tmp_path / "partial", "new"), tmp_path / "gone" / "x.mp4")


class Cut:
    """A rename that a crash cut off: what is on disk afterwards, in `folder`, of a file of `size` and `mtime_ns`."""

    def __init__(self, folder: Path) -> None:
        self.partial, self.target = folder / ".x.partial", folder / "x.mp4"
        written(self.partial, "picture")
        found = self.partial.stat()
        self.size, self.mtime_ns = found.st_size, found.st_mtime_ns

    def finish(self) -> bool:
        return finish_publishing(self.partial, self.target, self.size, self.mtime_ns)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.target.parent.iterdir())


def test_a_rename_that_had_not_begun_is_done(tmp_path: Path) -> None:
    cut = Cut(tmp_path)

    assert cut.finish()
    assert cut.names() == ["x.mp4"]


def test_a_rename_that_was_done_is_recognised(tmp_path: Path) -> None:
    cut = Cut(tmp_path)
    cut.partial.rename(cut.target)

    assert cut.finish()
    assert cut.names() == ["x.mp4"]


def test_a_second_name_of_the_same_file_is_removed(tmp_path: Path) -> None:
    """The crash came between the hard link and the removal of the old name."""
    cut = Cut(tmp_path)
    os.link(cut.partial, cut.target)

    assert cut.finish()
    assert cut.names() == ["x.mp4"]


def test_a_name_that_was_reserved_is_taken(tmp_path: Path) -> None:
    """The crash came between the empty file and the rename."""
    cut = Cut(tmp_path)
    cut.target.touch()

    assert cut.finish()
    assert (cut.names(), cut.target.read_text()) == (["x.mp4"], "picture")


def test_another_file_under_the_name_is_not_ours(tmp_path: Path) -> None:
    """It stays, and so does the partial: the next attempt begins anew."""
    cut = Cut(tmp_path)
    written(cut.target, "somebody else's")

    assert not cut.finish()
    assert cut.target.read_text() == "somebody else's"


@pytest.mark.parametrize("left", ["nothing", "a partial of another size", "a partial of another time"])
def test_what_is_not_the_verified_file_is_not_published(tmp_path: Path, left: str) -> None:
    cut = Cut(tmp_path)
    match left:
        case "nothing":
            cut.partial.unlink()
        case "a partial of another size":
            written(cut.partial, "half")
            os.utime(cut.partial, ns=(0, cut.mtime_ns))
        case _:
            os.utime(cut.partial, ns=(0, cut.mtime_ns + 1))

    assert not cut.finish()
    assert not cut.target.exists()


class Pair:
    """An output and its captions in `folder`, both under their partial names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        captions, output = written(folder / ".x.captions.partial", "words"), written(folder / ".x.partial", "picture")
        names = (captions, "x.captions.mks"), (output, "x.mp4")
        self.pieces = [
            Piece(
                partial=path,
                target=folder / name,
                size_bytes=path.stat().st_size,
                mtime_ns=path.stat().st_mtime_ns,
            )
            for path, name in names
        ]

    def contents(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.folder.iterdir())}


PUBLISHED = {"x.captions.mks": "words", "x.mp4": "picture"}
NOT_PUBLISHED = {".x.captions.partial": "words", ".x.partial": "picture"}


def renamed(piece: Piece) -> None:
    piece.partial.rename(piece.target)


def linked(piece: Piece) -> None:
    os.link(piece.partial, piece.target)


def reserved(piece: Piece) -> None:
    piece.target.touch()


def nothing(piece: Piece) -> None:
    """The crash came before it."""


def test_captions_and_output_get_their_names_together(tmp_path: Path) -> None:
    pair = Pair(tmp_path)

    assert publish_all(pair.pieces)
    assert PUBLISHED == pair.contents()


@pytest.mark.parametrize("taken", ["x.captions.mks", "x.mp4"])
def test_when_one_name_is_taken_neither_is_published(tmp_path: Path, taken: str) -> None:
    """The captions have theirs already when the output's turns out to be taken: they give it back."""
    pair = Pair(tmp_path)
    written(tmp_path / taken, "somebody else's")

    assert not publish_all(pair.pieces)
    assert {**NOT_PUBLISHED, taken: "somebody else's"} == pair.contents()


def test_when_the_output_cannot_be_published_its_captions_are_not(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.pieces[1].partial.unlink()

    with pytest.raises(FileNotFoundError):
        publish_all(pair.pieces)
    assert {".x.captions.partial": "words"} == pair.contents()


@pytest.mark.parametrize(
    ("captions", "output"),
    [
        *[(moment, nothing) for moment in (nothing, linked, reserved, renamed)],
        *[(renamed, moment) for moment in (linked, reserved, renamed)],
    ],
)
def test_every_crash_in_between_is_finished(
    tmp_path: Path, captions: Callable[[Piece], None], output: Callable[[Piece], None]
) -> None:
    """Each way to rename, cut off at each of its steps: in the end both are there, once, and nothing else."""
    pair = Pair(tmp_path)
    captions(pair.pieces[0])
    output(pair.pieces[1])

    assert finish_all(pair.pieces)
    assert PUBLISHED == pair.contents()


@pytest.mark.parametrize("captions", [nothing, linked, renamed])
def test_a_crash_that_cannot_be_finished_is_undone(tmp_path: Path, captions: Callable[[Piece], None]) -> None:
    """Somebody took the output's name meanwhile: the captions do not stay behind alone."""
    pair = Pair(tmp_path)
    captions(pair.pieces[0])
    written(tmp_path / "x.mp4", "somebody else's")

    assert not finish_all(pair.pieces)
    assert {**NOT_PUBLISHED, "x.mp4": "somebody else's"} == pair.contents()


def test_an_output_that_is_there_is_done_without_its_captions(tmp_path: Path) -> None:
    """They were there before it; somebody took them away since."""
    pair = Pair(tmp_path)
    renamed(pair.pieces[1])
    pair.pieces[0].partial.unlink()

    assert finish_all(pair.pieces)
    assert {"x.mp4": "picture"} == pair.contents()


def test_a_piece_s_record_brings_it_back() -> None:
    """Also where a name is no text."""
    piece = Piece(partial=OUT / ".x", target=OUT / "録 \udcff.mp4", size_bytes=7, mtime_ns=8)

    assert piece == Piece.from_record(OUT / ".x", json.loads(json.dumps(piece.as_record())))


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (None, ["x (2).mp4"]),
        ({}, ["x (2).mp4"]),
        ({"file": None}, ["x (2).mp4"]),
        ({"file": {"ending": "", "size_bytes": 0, "mtime_ns": 0}}, ["x (2).mp4"]),
        ({"file": {"ending": "../x", "size_bytes": 1, "mtime_ns": 1}}, ["x (2).mp4"]),
        ({"file": {"ending": "mks", "size_bytes": 1, "mtime_ns": 2}}, ["x (2).captions.mks", "x (2).mp4"]),
        ({"file": {"ending": "ts", "size_bytes": 1, "mtime_ns": 2}}, ["x (2).captions.ts", "x (2).mp4"]),
    ],
)
def test_what_a_child_has_written(captions: dict[str, object] | None, expected: list[str]) -> None:
    encoded = Encoded(size_bytes=5, mtime_ns=6, receipt={} if captions is None else {"captions": captions})
    pieces = pieces_of(OUT / "x (2).mp4", OUT / ".p", OUT / ".c", encoded)

    assert expected == [piece.target.name for piece in pieces]
    assert (5, 6) == (pieces[-1].size_bytes, pieces[-1].mtime_ns)


def test_only_a_file_of_the_same_size_and_time_is_the_same(tmp_path: Path) -> None:
    path = written(tmp_path / "x", "1234")
    found = path.stat()

    assert same_file(path, 4, found.st_mtime_ns)
    assert not same_file(path, 5, found.st_mtime_ns)
    assert not same_file(path, 4, found.st_mtime_ns + 1)
    assert not same_file(tmp_path / "y", 4, found.st_mtime_ns)


def test_a_folder_is_never_the_file(tmp_path: Path) -> None:
    """Not even with the size and the time of it."""
    found = tmp_path.stat()

    assert not same_file(tmp_path, found.st_size, found.st_mtime_ns)


def test_a_receipt_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "receipts" / "7.json"
    write_receipt(path, {"verdict": "pass", "name": "録画 \udcff"})
    write_receipt(path, {"verdict": "warn"})

    assert json.loads(path.read_text()) == {"verdict": "warn"}
    assert [entry.name for entry in path.parent.iterdir()] == ["7.json"]


def test_a_receipt_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "7.json"
    write_receipt(path, {"verdict": "pass"})

    with pytest.raises(TypeError):
        write_receipt(path, {"verdict": "warn", "what json cannot hold": object()})
    assert json.loads(path.read_text()) == {"verdict": "pass"}


def test_room_for_the_output_and_the_margin_is_demanded(tmp_path: Path) -> None:
    """No space is never the recording's fault."""
    check_space(tmp_path, 1, 1)

    with pytest.raises(EncodeFailed) as caught:
        check_space(tmp_path, 2**60, 512 * 2**20)
    failure = caught.value
    assert (FailureKind.DEVICE, JobEvent.NO_SPACE, Place.FOLDER) == (failure.kind, failure.event, failure.place)
    assert "512 MiB must remain" in failure.message


def test_the_output_folder_is_made(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    prepare_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("inside", ["x.mp4", "x.mp4/deeper"])
def test_a_file_in_the_folder_s_place_is_the_folder_s_fault(tmp_path: Path, inside: str) -> None:
    written(tmp_path / "x.mp4", "")

    with pytest.raises(EncodeFailed) as caught:
        prepare_folder(tmp_path / inside)
    assert (FailureKind.DEVICE, Place.FOLDER) == (caught.value.kind, caught.value.place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("folder", ["closed", "closed/new"])
def test_a_folder_that_the_daemon_s_user_may_not_write_is_the_folder_s_fault(tmp_path: Path, folder: str) -> None:
    (tmp_path / "closed").mkdir(mode=0o755)
    for parent in (tmp_path, *list(tmp_path.parents)[:-2]):  # pytest's own folders are closed to others
        parent.chmod(parent.stat().st_mode | 0o055)
    program = f"""
import os
from pathlib import Path
from encoderd.encode.failures import EncodeFailed
from encoderd.encode.publish import prepare_folder
os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    prepare_folder(Path({str(tmp_path / folder)!r}))
except EncodeFailed as failure:
    print(failure.kind, failure.place, failure.message)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert run.stdout.startswith("device folder The output folder"), run
    assert "Permission denied" in run.stdout
