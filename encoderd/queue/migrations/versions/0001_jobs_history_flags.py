"""Jobs, their history, and the operator's flags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _jobs()
    _history()
    op.create_table(
        "flag",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


def _jobs() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("watch", sa.Text, nullable=False),
        sa.Column("relative_path", sa.LargeBinary, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("mtime_ns", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("interruptions", sa.Integer, nullable=False),
        sa.Column("added_at", sa.Float, nullable=False),
        sa.Column("next_try_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("worker", sa.Text),
        sa.Column("lease_until", sa.Float),
        sa.Column("cancel_requested", sa.Integer, nullable=False),
        sa.Column("failure_kind", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("remedy", sa.Text, nullable=False),
        sa.Column("published", sa.JSON),
        sqlite_autoincrement=True,
    )
    op.create_index("job_identity", "job", ["watch", "relative_path", "size_bytes", "mtime_ns"], unique=True)
    op.create_index(
        "job_claim",
        "job",
        ["watch", sa.text("priority DESC"), "mtime_ns", "id", "next_try_at"],
        sqlite_where=sa.text("state = 'queued' AND cancel_requested = 0"),
    )
    op.create_index("job_lease", "job", ["worker", "lease_until"], sqlite_where=sa.text("state = 'encoding'"))
    op.create_index("job_state", "job", ["state"])
    op.create_index(
        "job_ended",
        "job",
        [sa.text("finished_at DESC"), sa.text("id DESC")],
        sqlite_where=sa.text("finished_at IS NOT NULL"),
    )


def _history() -> None:
    op.create_table(
        "job_event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.Integer, sa.ForeignKey("job.id"), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("state_from", sa.Text),
        sa.Column("state_to", sa.Text, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.JSON),
    )
    op.create_index("job_event_job", "job_event", ["job_id", "id"])
    for deed in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER job_event_no_{deed.lower()} BEFORE {deed} ON job_event "
            f"BEGIN SELECT RAISE(ABORT, 'the history of jobs is append-only'); END"
        )
