"""Who approved or activated which reference."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from monitor.store.tables import AutoId

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reference_decisions",
        sa.Column("id", AutoId, autoincrement=True, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=10), nullable=False),
        sa.Column("reference_id", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reference_decisions")),
    )
    op.create_index(op.f("ix_reference_decisions_reference_id"), "reference_decisions", ["reference_id"])
