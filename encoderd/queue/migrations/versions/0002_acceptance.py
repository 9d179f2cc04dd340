"""Whether a failed job's recording can be taken as it is, and whether the operator wants that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: How the reasons begin that can be accepted, and what they advised, which did not help.
_ACCEPTABLE = """
    UPDATE job SET acceptance = 'possible', remedy = 'To have it nevertheless: encoderd queue accept ' || id
    WHERE state = 'failed' AND (
        reason LIKE 'The output did not pass verification (source_read)%'
        OR reason LIKE 'The output did not pass verification (duration)%'
        OR reason LIKE 'Too much of this recording is damaged%'
    )
"""


def upgrade() -> None:
    op.add_column("job", sa.Column("acceptance", sa.Text, nullable=False, server_default=""))
    op.create_index("job_acceptance", "job", ["acceptance", "state"], sqlite_where=sa.text("acceptance <> ''"))
    op.execute(_ACCEPTABLE)
