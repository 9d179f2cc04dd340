"""The door to one file, with real writers in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encoderd.intake.completeness import Sighting, Writer
from encoderd.intake.sighting import NotRegular, look_for_writers, open_for_writing, take_sighting

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@contextmanager
def holding_open(path: Path, mode: str) -> Iterator[None]:
    """Another process has the file open while this lasts."""
    program = f"import sys; f = open({os.fspath(path)!r}, {mode!r}); print('open', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"open\n"
        yield
    finally:
        child.stdin.close()
        child.wait(20)
        child.stdout.close()


def look(*paths: Path, leases_tell: bool) -> list[Sighting]:
    seen, lost = look_for_writers(
        "tv", [(path.name, str(path)) for path in paths], leases_tell=leases_tell, clock=time.monotonic
    )
    assert lost == []
    return seen


def test_a_sighting_is_what_fstat_says(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    before_s = time.monotonic()

    seen, names = take_sighting("tv", "a.ts", str(path), time.monotonic)
    status = path.stat()

    assert (seen.watch, seen.relative_path, seen.writer, names) == ("tv", "a.ts", None, 1)
    assert (seen.size_bytes, seen.mtime_ns) == (5, 1_700_000_000_123_456_789)
    assert (seen.device, seen.inode) == (status.st_dev, status.st_ino)
    assert before_s <= seen.asked_at_s <= seen.answered_at_s <= time.monotonic()


def test_what_became_a_folder_or_a_fifo_or_a_link_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.ts")
    (tmp_path / "folder.ts").mkdir()
    (tmp_path / "link.ts").symlink_to("fifo.ts")

    for name in ("fifo.ts", "folder.ts"):
        with pytest.raises(NotRegular):
            take_sighting("tv", name, str(tmp_path / name), time.monotonic)
    with pytest.raises(OSError, match="symbolic link"):
        take_sighting("tv", "link.ts", str(tmp_path / "link.ts"), time.monotonic)


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_writer_is_seen_by_lease_and_by_descriptor(tmp_path: Path, mode: str) -> None:
    written, quiet = tmp_path / "written.ts", tmp_path / "quiet.ts"
    written.write_bytes(b"x")
    quiet.write_bytes(b"x")

    with holding_open(written, mode):
        assert [seen.writer for seen in look(written, quiet, leases_tell=True)] == [Writer.OPEN, Writer.NONE]
        assert [seen.writer for seen in look(written, quiet, leases_tell=False)] == [Writer.OPEN, Writer.UNKNOWN]
    assert [seen.writer for seen in look(written, leases_tell=True)] == [Writer.NONE]
    assert [seen.writer for seen in look(written, leases_tell=False)] == [Writer.UNKNOWN]


def test_a_reader_is_no_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_bytes(b"x")

    with holding_open(path, "rb"):
        assert [seen.writer for seen in look(path, leases_tell=True)] == [Writer.NONE]
        assert [seen.writer for seen in look(path, leases_tell=False)] == [Writer.UNKNOWN]


def test_a_writer_of_any_name_is_found_among_descriptors(tmp_path: Path) -> None:
    """Also one that opened the file under another name: the link in /proc follows a rename."""
    before, path = tmp_path / "recording.tmp", tmp_path / os.fsdecode(b"two\nlines \xff.ts")
    before.write_bytes(b"x")

    with holding_open(before, "ab"):
        before.rename(path)
        status = path.stat()

        assert open_for_writing({path.name}) == {(status.st_dev, status.st_ino)}
        assert open_for_writing({"another name"}) == set()


def test_files_that_are_gone_are_named(tmp_path: Path) -> None:
    seen, lost = look_for_writers(
        "tv", [("gone.ts", str(tmp_path / "gone.ts"))], leases_tell=True, clock=time.monotonic
    )

    assert (seen, lost) == ([], ["gone.ts"])


@needs_root
def test_a_file_that_is_not_ours_to_lease_is_searched_for_among_descriptors(tmp_path: Path) -> None:
    """Without CAP_LEASE the kernel answers the owner only; the own descriptors are visible without any right."""
    folder = Path("/tmp", f"encoderd-{tmp_path.name}-{os.getpid()}")
    folder.mkdir(mode=0o755)
    try:
        (folder / "a.ts").write_bytes(b"x")
        (folder / "b.ts").write_bytes(b"x")
        (folder / "b.ts").chmod(0o666)
        program = f"""
            import time
            from encoderd.intake.sighting import look_for_writers
            drop()
            mine = open("{folder}/b.ts", "ab")
            files = [("a.ts", "{folder}/a.ts"), ("b.ts", "{folder}/b.ts")]
            seen, lost = look_for_writers("tv", files, leases_tell=True, clock=time.monotonic)
            print([str(one.writer) for one in seen], lost)
        """

        assert as_nobody(program) == "['unknown', 'open'] []\n"
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_breaking_our_lease_does_not_end_the_daemon(tmp_path: Path) -> None:
    """The kernel signals who holds a lease when another process wants to write; SIGIO would kill by default."""
    path = tmp_path / "a.ts"
    path.write_bytes(b"x")
    program = f"""
        import os, subprocess, sys
        from encoderd.intake.sighting import lease_says
        descriptor = os.open({os.fspath(path)!r}, os.O_RDONLY)
        print(lease_says(descriptor), flush=True)
        writer = "import os; os.open({os.fspath(path)!r}, os.O_WRONLY | os.O_NONBLOCK)"
        run = subprocess.run([sys.executable, "-c", writer], capture_output=True, text=True)
        print("BlockingIOError" in run.stderr, flush=True)
        os.close(descriptor)
        print(subprocess.run([sys.executable, "-c", writer]).returncode)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (run.returncode, run.stdout) == (0, "none\nTrue\n0\n"), run.stderr


def as_nobody(program: str) -> str:
    """Run a program without any right; it may import what it wants before it calls `drop()`."""
    drop = "import os\ndef drop(): os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
    run = subprocess.run(
        [sys.executable, "-c", drop + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
