"""References keep whole sessions, and so must know whose they are: `driftline forget` outlives retention of samples."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reference_samples", sa.Column("user_key", sa.String(length=32), nullable=True))
    op.create_index(op.f("ix_reference_samples_user_key"), "reference_samples", ["user_key"], unique=False)
