"""What people say of anomalies, and deploys that were announced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from monitor.store.tables import AutoId

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "anomaly_responses",
        sa.Column("id", AutoId, autoincrement=True, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("anomaly_id", sa.String(length=64), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_anomaly_responses")),
    )
    op.create_index(op.f("ix_anomaly_responses_anomaly_id"), "anomaly_responses", ["anomaly_id"])
    op.create_table(
        "deploys",
        sa.Column("deploy_id", sa.String(length=64), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=300), nullable=False),
        sa.Column("route", sa.String(length=200), nullable=False),
        sa.Column("segment", sa.String(length=200), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("mute_until_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("deploy_id", name=op.f("pk_deploys")),
    )
    op.create_index(op.f("ix_deploys_time_us"), "deploys", ["time_us"])
