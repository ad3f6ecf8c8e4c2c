"""Dead letters that are to be read again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from monitor.store.tables import AutoId

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "letter_retries",
        sa.Column("id", AutoId, autoincrement=True, nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("asked_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("done_us", sa.BigInteger(), nullable=True),
        sa.Column("event_key", sa.String(length=64), nullable=False),
        sa.Column("at_offset", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_letter_retries")),
    )
    op.create_index("ix_letter_retries_record", "letter_retries", ["topic", "partition", "offset"])
    op.create_index("ix_letter_retries_state", "letter_retries", ["state"])
    op.create_index("ix_letter_retries_time_us", "letter_retries", ["time_us"])
