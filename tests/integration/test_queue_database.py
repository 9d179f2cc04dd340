"""A database that cannot be used: each cause has its error and a remedy, and the file is left as it is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encoderd.errors import (
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseLocked,
    DatabaseReadOnly,
    EncoderdError,
    JobRefused,
)
from encoderd.jobs import Candidate, JobEvent
from encoderd.queue import database
from encoderd.queue.database import Database
from encoderd.queue.history import job_with, move
from encoderd.queue.store import Store

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")


def candidates(count: int, prefix: str = "a") -> list[Candidate]:
    return [Candidate(watch="tv", relative_path=f"{prefix}/{i}.ts", size_bytes=i, mtime_ns=i) for i in range(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A queue with enough jobs to have pages in the middle."""
    path = tmp_path / "queue.db"
    with Store.open(path, busy_timeout_s=1) as store:
        store.add_many(candidates(2000), now=1.0)
    return path


@contextmanager
def held(path: Path, *statements: str) -> Iterator[None]:
    """Another process executes `statements` on the database and stays."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2:]: connection.execute(statement).fetchall()\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(path), *statements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.communicate(timeout=10)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not allow mounts")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def refused_as_nobody(deed: Callable[[], object]) -> str:
    """Do it in a child without root's rights; return the class of the error and its message."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        said = "no error"
        try:
            os.setuid(65534)
            deed()
        except EncoderdError as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.wait()
    return said


def for_reading(path: Path) -> Store:
    return Store.open(path, busy_timeout_s=1, migrate=False)


def test_connections_are_as_safe_as_the_design_says(path: Path) -> None:
    """Write-ahead log, every commit on disk, foreign keys, a busy timeout; for the command line's connection too."""
    for migrate in (True, False):
        opened = Database.open(path, busy_timeout_s=2.5, migrate=migrate)
        with opened.reading() as connection:
            found = {
                pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
                for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        opened.close()

        assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 2500}


@pytest.mark.parametrize("deed", ["UPDATE job_event SET at = 0", "DELETE FROM job_event"])
def test_the_history_is_append_only(path: Path, deed: str) -> None:
    """The database itself refuses to change or forget what happened, whoever asks."""
    with sqlite3.connect(path) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(deed)
    connection.close()


def test_a_move_from_a_state_the_job_has_left_is_refused(path: Path) -> None:
    """What was decided about a job as it was read is not applied to what has become of it since."""
    opened = Database.open(path, busy_timeout_s=1, migrate=False)
    with opened.writing() as connection:
        seen = job_with(connection, 7)
        cancelled = move(connection, seen, JobEvent.CANCELLED, now=2.0)
        with pytest.raises(JobRefused, match="Job 7 is no longer queued"):
            move(connection, seen, JobEvent.NOT_WANTED, now=3.0)

    with opened.reading() as connection:
        assert job_with(connection, 7) == cancelled
    opened.close()


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_locked_database(path: Path, begin: str) -> None:
    """Another writer that holds on: writing and a daemon's start give up after the timeout, reading goes on."""
    with Store.open(path, busy_timeout_s=0.1) as store, held(path, begin):
        with pytest.raises(DatabaseLocked) as locked:
            store.add_many(candidates(1, "b"), now=1.0)
        with pytest.raises(DatabaseLocked):
            store.claim(worker="w1", watches=["tv"], now=1.0, lease_s=60)
        with pytest.raises(DatabaseLocked):
            Store.open(path, busy_timeout_s=0.1)

        assert str(path) in locked.value.message
        assert f"fuser -v {path}" in locked.value.remedy
        assert isinstance(locked.value.__cause__, Exception)
        assert len(store.jobs(limit=5)) == 5
        with Store.open(path, busy_timeout_s=0.1, migrate=False) as reader:
            assert len(reader.jobs(limit=5)) == 5


def test_a_database_locked_for_readers_too(path: Path) -> None:
    """A repair tool in exclusive mode keeps even readers out."""
    with (
        held(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "UPDATE flag SET at = 0"),
        pytest.raises(DatabaseLocked),
    ):
        Store.open(path, busy_timeout_s=0.1, migrate=False)


def test_the_store_works_on_when_the_lock_is_gone(path: Path) -> None:
    """A refused transaction leaves nothing half done and nothing locked."""
    with Store.open(path, busy_timeout_s=0.05) as store:
        with held(path, "BEGIN IMMEDIATE"), pytest.raises(DatabaseLocked):
            store.add_many(candidates(1, "b"), now=1.0)

        assert len(store.add_many(candidates(1, "b"), now=1.0)) == 1


@root_only
def test_a_full_disk(tmp_path: Path) -> None:
    """A full disk refuses the call, keeps what was there, and the store works on when there is room again."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk / "queue.db"
        with Store.open(path, busy_timeout_s=1) as store:
            store.add_many(candidates(10), now=1.0)
            with pytest.raises(DatabaseFull) as full:
                store.add_many(candidates(20_000, "b"), now=1.0)

            assert str(path) in full.value.message
            assert f"df -h {disk}" in full.value.remedy
            assert len(store.jobs()) == 10
            assert len(store.add_many(candidates(10, "c"), now=1.0)) == 10

        with Store.open(path, busy_timeout_s=1) as store:
            assert len(store.jobs()) == 20


@root_only
@pytest.mark.parametrize("left_bytes", [0, 4096, 40_960])
def test_a_disk_that_is_full_at_the_first_start(tmp_path: Path, left_bytes: int) -> None:
    """However little is left: the same error; and with room the next start succeeds."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        room = os.statvfs(disk)
        (disk / "filler").write_bytes(bytes(room.f_bavail * room.f_bsize - left_bytes))
        with pytest.raises(DatabaseFull):
            Store.open(disk / "queue.db", busy_timeout_s=1)

        (disk / "filler").unlink()
        with Store.open(disk / "queue.db", busy_timeout_s=1) as store:
            assert store.jobs() == []


@root_only
@pytest.mark.parametrize("migrate", [True, False])
def test_a_read_only_file_system(path: Path, tmp_path: Path, migrate: bool) -> None:
    """A disk that was remounted read-only after an error."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        shutil.copy(path, disk / "queue.db")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(DatabaseReadOnly) as refused:
            Store.open(disk / "queue.db", busy_timeout_s=1, migrate=migrate)

    assert str(disk / "queue.db") in refused.value.message
    assert f"findmnt -T {disk}" in refused.value.remedy


@root_only
def test_a_file_of_another_user(path: Path) -> None:
    """Without the right to write, or to look, the error says whose rights were missing; reading may still do."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        mine = Path(folder) / "queue.db"
        shutil.copy(path, mine)
        Path(folder).chmod(0o755)

        assert refused_as_nobody(lambda: Store.open(mine, busy_timeout_s=1)).startswith(
            f"DatabaseReadOnly: The queue's database {mine} or its folder cannot be written by user 65534: "
        )
        with Store.open(mine, busy_timeout_s=1) as store:  # the daemon runs: its log and shared memory are there
            store.pause(now=1.0)

            assert refused_as_nobody(lambda: for_reading(mine).jobs()) == "no error"
            assert refused_as_nobody(lambda: for_reading(mine).resume(now=1.0)).startswith("DatabaseReadOnly")

        Path(folder).chmod(0o700)

        assert refused_as_nobody(lambda: for_reading(mine)).startswith("DatabaseReadOnly")


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="is a folder") as refused:
        Store.open(tmp_path, busy_timeout_s=1)

    assert f"{tmp_path}/queue.db" in refused.value.remedy


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError) as refused:
        Store.open(tmp_path / "gone" / "queue.db", busy_timeout_s=1)

    assert refused.value.remedy == f"Make it: install -d -o encoderd -g encoderd {tmp_path}/gone"


def test_a_path_with_every_odd_byte(tmp_path: Path) -> None:
    """The file's name is bytes too; `?`, `#` and `%` mean nothing."""
    path = tmp_path / os.fsdecode(b"a?mode=ro#b %41 \xff\n.db")
    Store.open(path, busy_timeout_s=1).close()

    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def overwritten_header(content: bytearray) -> None:
    content[:16] = b"<!DOCTYPE html>\n"


def cut_in_half(content: bytearray) -> None:
    del content[len(content) // 2 :]


def garbage_in_the_middle(content: bytearray) -> None:
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 3 * 4096] = b"\xa5" * 3 * 4096


def nothing_but_text(content: bytearray) -> None:
    content[:] = b"my shopping list: milk, bread\n" * 40


@pytest.mark.parametrize("damage", [overwritten_header, cut_in_half, garbage_in_the_middle, nothing_but_text])
def test_a_damaged_file(path: Path, damage: Callable[[bytearray], None]) -> None:
    """The daemon finds the damage at its start, says how to rescue the jobs, and does not change a byte."""
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)

    with pytest.raises(DatabaseCorrupt) as damaged:
        Store.open(path, busy_timeout_s=1)

    assert str(path) in damaged.value.message
    assert f"sqlite3 {path} .recover | sqlite3 {path}.rescued" in damaged.value.remedy
    assert path.read_bytes() == content
    assert [found.name for found in path.parent.iterdir()] == ["queue.db"]


def test_damage_that_is_met_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file too large to be read whole at the start, damage is reported when it is met, and nothing is written."""
    monkeypatch.setattr(database, "QUICK_CHECK_BYTES", 0)
    content = bytearray(path.read_bytes())
    garbage_in_the_middle(content)
    path.write_bytes(content)

    with Store.open(path, busy_timeout_s=1) as store, pytest.raises(DatabaseCorrupt):
        store.add_many(candidates(2000), now=1.0)

    assert path.read_bytes() == content
