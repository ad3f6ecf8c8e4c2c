"""Anomalies remember the deploy's mute that they opened in, and are found by when they were over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("anomalies", sa.Column("muted_until_us", sa.BigInteger(), nullable=True))
    op.create_index("ix_anomalies_resolved_us", "anomalies", ["resolved_us"], unique=False)
