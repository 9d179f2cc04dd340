"""From an empty file, an older schema and a newer one: what opening does, and what it leaves alone."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from encoderd.errors import DatabaseError, DatabaseTooNew, JobRefused
from encoderd.jobs import Acceptance, Candidate
from encoderd.queue import migrations, tables
from encoderd.queue.database import Database
from encoderd.queue.store import Store

EVENING = Candidate(watch="tv", relative_path="evening.ts", size_bytes=1, mtime_ns=2)

#: What a later encoderd might bring: a column more, and a table.
NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

def upgrade() -> None:
    op.add_column("job", sa.Column("colour", sa.Text))
    op.execute("UPDATE job SET colour = 'blue'")
    op.create_table("shelf", sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A queue of this encoderd with one job in it."""
    path = tmp_path / "queue.db"
    with Store.open(path, busy_timeout_s=1) as store:
        store.add(EVENING, now=1.0)
    return path


def later_scripts(tmp_path: Path, source: str) -> Path:
    scripts = tmp_path / "100% later"
    shutil.copytree(migrations.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "0003_colour.py").write_text(source)
    return scripts


def upgrade_with(path: Path, scripts: Path) -> None:
    database = Database.open(path, busy_timeout_s=1, migrate=True)
    try:
        database.bring_up_to_date(("0001", "0002", "0003"), scripts)
    finally:
        database.close()


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def schema(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL AND type != 'trigger'"):
        if name != "alembic_version":
            yield name, re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split()))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_list_of_revisions_is_alembic_s() -> None:
    """`REVISIONS` spares the daemon the loading of Alembic; it is the very list that versions/ holds."""
    config = Config()
    config.set_main_option("script_location", str(migrations.SCRIPTS))
    walked = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]

    assert tuple(reversed(walked)) == migrations.REVISIONS


def test_migrations_make_the_tables_that_the_code_uses(path: Path) -> None:
    """The migrated schema and `tables.py` are the same, column by column and index by index."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection, sqlite3.connect(path) as migrated:
        tables.metadata.create_all(connection)
        declared = connection.connection.dbapi_connection
        assert isinstance(declared, sqlite3.Connection)

        assert dict(schema(migrated)) == dict(schema(declared))


def test_a_first_start_makes_the_file(tmp_path: Path) -> None:
    """The daemon creates the database; no copy is kept of nothing."""
    path = tmp_path / "queue.db"
    Store.open(path, busy_timeout_s=1).close()

    assert rows(path, "SELECT version_num FROM alembic_version") == [("0002",)]
    assert [found.name for found in tmp_path.iterdir()] == ["queue.db"]


def test_a_start_that_died_before_the_schema_is_continued(tmp_path: Path) -> None:
    """A file without a byte is what a crash at the very first start leaves; it counts as new."""
    path = tmp_path / "queue.db"
    path.touch()
    with pytest.raises(DatabaseError, match="has schema none"):
        Store.open(path, busy_timeout_s=1, migrate=False)

    with Store.open(path, busy_timeout_s=1) as store:
        assert store.jobs() == []
    assert [found.name for found in tmp_path.iterdir()] == ["queue.db"]


def test_a_second_start_changes_nothing(path: Path) -> None:
    before = digest(path)
    Store.open(path, busy_timeout_s=1).close()

    assert digest(path) == before


def test_others_than_the_daemon_do_not_make_the_file(tmp_path: Path) -> None:
    """The command line says that the daemon never ran here, rather than showing an empty queue of its own making."""
    with pytest.raises(DatabaseError) as missing:
        Store.open(tmp_path / "queue.db", busy_timeout_s=1, migrate=False)

    assert missing.value.message == f"The daemon has never run here: there is no database {tmp_path}/queue.db."
    assert missing.value.remedy.startswith("Start it: systemctl start encoderd")
    assert list(tmp_path.iterdir()) == []


def test_an_older_schema_is_upgraded_and_a_copy_is_kept(path: Path, tmp_path: Path) -> None:
    """The daemon of a later encoderd brings the file up to date; the old one stays beside it, with its jobs."""
    upgrade_with(path, later_scripts(tmp_path, NEXT))

    copy = path.with_name("queue.db.before-0003")
    assert rows(path, "SELECT version_num FROM alembic_version") == [("0003",)]
    assert rows(path, "SELECT relative_path, colour FROM job") == [(b"evening.ts", "blue")]
    assert rows(copy, "SELECT version_num FROM alembic_version") == [("0002",)]
    with Store.open(copy, busy_timeout_s=1, migrate=False) as old:
        assert [job.candidate for job in old.jobs()] == [EVENING]


def test_an_earlier_copy_is_never_overwritten(path: Path, tmp_path: Path) -> None:
    earlier = path.with_name("queue.db.before-0003")
    earlier.write_text("precious")

    upgrade_with(path, later_scripts(tmp_path, NEXT))

    assert earlier.read_text() == "precious"
    assert rows(path.with_name("queue.db.before-0003.1"), "SELECT version_num FROM alembic_version") == [("0002",)]
    assert not path.with_name("queue.db.copying").exists()


def test_a_migration_that_fails_in_the_middle_leaves_the_old_schema(path: Path, tmp_path: Path) -> None:
    """DDL is part of the transaction: the column that was added before the failure is gone, the job is there."""
    before = rows(path, "SELECT * FROM sqlite_master ORDER BY name")
    broken = NEXT.replace("op.create_table(", "op.execute('SELECT * FROM no_such_table')\n    op.create_table(")

    with pytest.raises(DatabaseError, match="no such table: no_such_table"):
        upgrade_with(path, later_scripts(tmp_path, broken))

    assert rows(path, "SELECT * FROM sqlite_master ORDER BY name") == before
    with Store.open(path, busy_timeout_s=1) as store:
        assert [job.candidate for job in store.jobs()] == [EVENING]
    assert not path.with_name("queue.db.before-0003").exists()


def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_schema(path: Path, tmp_path: Path) -> None:
    """The same for a power cut: the process is killed with the new column in its transaction."""
    deadly = NEXT.replace("op.create_table(", "import os; os.kill(os.getpid(), 9)\n    op.create_table(")
    scripts = later_scripts(tmp_path, deadly)
    program = (
        "import sys; from pathlib import Path; from encoderd.queue.database import Database\n"
        "database = Database.open(Path(sys.argv[1]), busy_timeout_s=1, migrate=True)\n"
        "database.bring_up_to_date(('0001', '0002', '0003'), Path(sys.argv[2]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, path, scripts], check=False, timeout=30)

    assert killed.returncode == -9
    with Store.open(path, busy_timeout_s=1) as store:
        assert [job.candidate for job in store.jobs()] == [EVENING]
    assert rows(path.with_name("queue.db.before-0003"), "SELECT version_num FROM alembic_version") == [("0002",)]


def test_others_than_the_daemon_do_not_upgrade(path: Path) -> None:
    """A schema before the first revision: the command line asks for the daemon, and changes nothing."""
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM alembic_version")
    connection.close()
    before = digest(path)

    with pytest.raises(DatabaseError) as old:
        Store.open(path, busy_timeout_s=1, migrate=False)

    assert old.value.remedy == "Start the daemon once: systemctl restart encoderd"
    assert digest(path) == before


@pytest.mark.parametrize("migrate", [True, False])
def test_a_newer_schema_is_refused_and_left_alone(path: Path, tmp_path: Path, migrate: bool) -> None:
    """After a downgrade of the program the file stays as the newer one wrote it, and the message says where to go."""
    upgrade_with(path, later_scripts(tmp_path, NEXT))
    before = digest(path)

    with pytest.raises(DatabaseTooNew) as new:
        Store.open(path, busy_timeout_s=1, migrate=migrate)

    assert new.value.message == f"The queue's database {path} has schema 0003: a newer encoderd wrote it."
    assert f"ls -l {path}.before-*" in new.value.remedy
    assert digest(path) == before


@pytest.mark.parametrize("version", [None, "a1b2c3"])
def test_another_program_s_database_is_refused_and_left_alone(tmp_path: Path, version: str | None) -> None:
    """A path that names somebody else's SQLite file by mistake, with Alembic's table or without."""
    path = tmp_path / "places.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        if version:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))
    connection.close()
    before = digest(path)

    with pytest.raises(DatabaseError, match="another program") as foreign:
        Store.open(path, busy_timeout_s=1)

    assert foreign.value.remedy == "Name another file in the settings: queue.database"
    assert digest(path) == before


def test_an_up_to_date_database_is_opened_without_alembic(path: Path) -> None:
    """The idle daemon does not carry Alembic and its templates in memory."""
    program = (
        "import sys; from pathlib import Path; from encoderd.queue.store import Store\n"
        "Store.open(Path(sys.argv[1]), busy_timeout_s=1).close()\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'alembic', 'mako'}))\n"
    )
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True, timeout=30)

    assert run.stdout == "[]\n"


@pytest.mark.parametrize(
    ("reason", "acceptable"),
    [
        ("The output did not pass verification (source_read): reading ended.", True),
        ("Too much of this recording is damaged: 40% of its time.", True),
        ("This is not a recording that can be read: it is text.", False),
    ],
)
def test_damage_that_failed_before_can_be_accepted(tmp_path: Path, reason: str, acceptable: bool) -> None:
    """A job that had failed when acceptance was not known yet; its advice is one that works now."""
    path = tmp_path / "queue.db"
    values = f"(1, 'tv', x'61', 1, 2, 'failed', 0, 1, 0, 0, 0, 9, 0, 'recording', '{reason}', 'encode it by hand')"
    columns = (
        "id, watch, relative_path, size_bytes, mtime_ns, state, priority, attempts, interruptions, added_at, "
        "next_try_at, finished_at, cancel_requested, failure_kind, reason, remedy"
    )
    with create_engine(f"sqlite:///{path}").begin() as connection:
        migrations.upgrade(connection, "0001")
        connection.exec_driver_sql(f"INSERT INTO job ({columns}) VALUES {values}")
    with Store.open(path, busy_timeout_s=1) as store:
        job = store.job(1)

        assert job.remedy.endswith("encoderd queue accept 1") is acceptable
        if acceptable:
            assert store.accept(1, now=1.0).acceptance is Acceptance.GIVEN
        else:
            with pytest.raises(JobRefused):
                store.accept(1, now=1.0)
