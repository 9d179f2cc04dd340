"""
Migrations: from any schema encoderd ever had to the present one.

`REVISIONS` is the list Alembic would read from versions/ (a test holds the two together). It stands here so that
opening a database that is up to date, which is every day but one, does not load Alembic.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCRIPTS = Path(__file__).parent

#: Oldest first. A database's revision that is not among them comes from a newer encoderd.
REVISIONS = ("0001", "0002")


def upgrade(connection: Connection, revision: str, scripts: Path = SCRIPTS) -> None:
    """
    Bring the schema up to `revision` within the transaction that `connection` is in; the caller commits.

    Raises whatever SQLAlchemy raises; the caller's rollback then leaves the old schema.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
