"""Summaries are found by their segment: pages of one read its rows, not those of all segments in their range."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_summaries_segment_level_window_us", "summaries", ["segment", "level", "window_us"], unique=False
    )
