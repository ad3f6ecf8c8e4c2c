"""Samples that are kept for review alone, with the probability of being kept at all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("samples", sa.Column("pi_kept", sa.Float()))
