"""Who had which delivery sent again, or put aside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from monitor.store.tables import AutoId

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "delivery_decisions",
        sa.Column("id", AutoId, autoincrement=True, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=10), nullable=False),
        sa.Column("sink", sa.String(length=60), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_decisions")),
    )
    op.create_index(op.f("ix_delivery_decisions_key"), "delivery_decisions", ["key"])
    op.create_index(op.f("ix_delivery_decisions_time_us"), "delivery_decisions", ["time_us"])
