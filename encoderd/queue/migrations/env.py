"""Alembic's entry: runs the migrations on the connection that `migrations.upgrade` hands over."""

from __future__ import annotations

from alembic import context

# SQLite's DDL is transactional once the driver's own transaction handling is off (queue/database.py). Alembic then
# joins the transaction that is open already, so that a crash in the middle leaves the old schema.
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)

with context.begin_transaction():
    context.run_migrations()
