"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "anomalies",
        sa.Column("anomaly_id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("segment", sa.String(length=200), nullable=False),
        sa.Column("signal", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("severity", sa.String(length=10), nullable=False),
        sa.Column("historic", sa.Boolean(), nullable=False),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("resolved_us", sa.BigInteger(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("anomaly_id", name=op.f("pk_anomalies")),
    )
    op.create_index(op.f("ix_anomalies_opened_us"), "anomalies", ["opened_us"], unique=False)
    op.create_index(op.f("ix_anomalies_state"), "anomalies", ["state"], unique=False)
    op.create_table(
        "config_versions",
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("first_window_us", sa.BigInteger(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_config_versions")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.String(length=300), nullable=False),
        sa.Column("user_key", sa.String(length=32), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("original", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("topic", "partition", "offset", name=op.f("pk_dead_letters")),
    )
    op.create_index(op.f("ix_dead_letters_time_us"), "dead_letters", ["time_us"], unique=False)
    op.create_table(
        "evaluation",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_us", sa.BigInteger(), nullable=False),
        sa.Column("done_until_us", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_evaluation")),
    )
    op.create_table(
        "evidence",
        sa.Column("segment", sa.String(length=200), nullable=False),
        sa.Column("signal", sa.String(length=100), nullable=False),
        sa.Column("tick_us", sa.BigInteger(), nullable=False),
        sa.Column("resolution", sa.String(length=5), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("effect", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("segment", "signal", "tick_us", "resolution", name=op.f("pk_evidence")),
    )
    op.create_index(op.f("ix_evidence_tick_us"), "evidence", ["tick_us"], unique=False)
    op.create_table(
        "forgotten",
        sa.Column("kind", sa.String(length=5), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name=op.f("pk_forgotten")),
    )
    op.create_table(
        "labels",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=300), nullable=False),
        sa.Column("reviewer", sa.String(length=100), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("undone", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
    )
    op.create_index(op.f("ix_labels_event_id"), "labels", ["event_id"], unique=False)
    op.create_index(op.f("ix_labels_item_id"), "labels", ["item_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("sink", sa.String(length=60), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_us", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_us", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("remote", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_sink_key"), "outbox", ["sink", "key"], unique=True)
    op.create_index(op.f("ix_outbox_state_due_us"), "outbox", ["state", "due_us"], unique=False)
    op.create_table(
        "partitions",
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("watermark_us", sa.BigInteger(), nullable=True),
        sa.Column("max_time_us", sa.BigInteger(), nullable=True),
        sa.Column("begun", sa.Boolean(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.Column("dead_letters", sa.BigInteger(), nullable=False),
        sa.Column("late_events", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("counters", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("pk_partitions")),
    )
    op.create_table(
        "reference_samples",
        sa.Column("reference_id", sa.String(length=64), nullable=False),
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("split", sa.String(length=5), nullable=False),
        sa.Column("vectors", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("reference_id", "sample_id", name=op.f("pk_reference_samples")),
    )
    op.create_table(
        "reference_sets",
        sa.Column("reference_id", sa.String(length=64), nullable=False),
        sa.Column("segment", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("encoder", sa.String(length=200), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=False),
        sa.Column("to_us", sa.BigInteger(), nullable=False),
        sa.Column("origin", sa.String(length=20), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("reference_id", name=op.f("pk_reference_sets")),
    )
    op.create_index(op.f("ix_reference_sets_segment_version"), "reference_sets", ["segment", "version"], unique=True)
    op.create_table(
        "review_items",
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("segment", sa.String(length=200), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("pi_sample", sa.Float(), nullable=False),
        sa.Column("pi_review", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("leased_by", sa.String(length=100), nullable=False),
        sa.Column("lease_until_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_review_items")),
    )
    op.create_index(op.f("ix_review_items_sample_id"), "review_items", ["sample_id"], unique=False)
    op.create_index(op.f("ix_review_items_state"), "review_items", ["state"], unique=False)
    op.create_table(
        "sample_content",
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("citations", sa.Text(), nullable=False),
        sa.Column("thumbnail", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_sample_content")),
    )
    op.create_index(op.f("ix_sample_content_time_us"), "sample_content", ["time_us"], unique=False)
    op.create_table(
        "sample_parts",
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("modality", sa.String(length=10), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=True),
        sa.Column("conditions", sa.Text(), nullable=False),
        sa.Column("agreement", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("sample_id", "part", name=op.f("pk_sample_parts")),
    )
    op.create_table(
        "samples",
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=300), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("window_us", sa.BigInteger(), nullable=False),
        sa.Column("route", sa.String(length=200), nullable=False),
        sa.Column("segment", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=300), nullable=False),
        sa.Column("session_key", sa.String(length=32), nullable=False),
        sa.Column("user_key", sa.String(length=32), nullable=False),
        sa.Column("pi", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("encoder", sa.String(length=200), nullable=False),
        sa.Column("phash", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_samples")),
    )
    op.create_index(op.f("ix_samples_event_id"), "samples", ["event_id"], unique=False)
    op.create_index(op.f("ix_samples_segment_window_us"), "samples", ["segment", "window_us"], unique=False)
    op.create_index(op.f("ix_samples_state_window_us"), "samples", ["state", "window_us"], unique=False)
    op.create_index(op.f("ix_samples_user_key"), "samples", ["user_key"], unique=False)
    op.create_index(op.f("ix_samples_window_us"), "samples", ["window_us"], unique=False)
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
    op.create_table(
        "stream_states",
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("segment", sa.String(length=200), nullable=False),
        sa.Column("signal", sa.String(length=100), nullable=False),
        sa.Column("detector", sa.String(length=60), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "segment", "signal", name=op.f("pk_stream_states")),
    )
    op.create_table(
        "summaries",
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("window_us", sa.BigInteger(), nullable=False),
        sa.Column("route", sa.String(length=200), nullable=False),
        sa.Column("segment", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=300), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "level", "window_us", "route", "segment", "version", "late", "topic", "partition", name=op.f("pk_summaries")
        ),
    )
    op.create_index(
        op.f("ix_summaries_topic_partition_level_window_us"),
        "summaries",
        ["topic", "partition", "level", "window_us"],
        unique=False,
    )
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(length=16), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )
    op.create_table(
        "upkeep",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_upkeep")),
    )
    op.create_table(
        "watermark_advances",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("watermark_us", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watermark_advances")),
    )
