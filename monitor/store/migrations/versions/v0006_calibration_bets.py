"""Whether the stream of calibration has seen an item's labels: in the store, so that it bets on each item once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("review_items", sa.Column("bet", sa.Boolean(), server_default=sa.false(), nullable=False))
    where = sa.text("state = 'done' AND NOT bet")
    op.create_index(
        "ix_review_items_to_bet",
        "review_items",
        ["segment", "time_us"],
        unique=False,
        sqlite_where=where,
        postgresql_where=where,
    )
