"""The review queue: what an item must keep once its sample is gone, answers, sums over each day's samples, an audit.

Items and labels from before have no random number of their own (`race`): they are worked last.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DAY_US = 86_400_000_000
_EXPIRES_US = 14 * _DAY_US

_ITEMS = (
    ("event_id", sa.String(length=300)),
    ("user_key", sa.String(length=32)),
    ("route", sa.String(length=200)),
    ("day_us", sa.BigInteger()),
    ("pool", sa.String(length=100)),
    ("language", sa.String(length=35)),
    ("race", sa.Float()),
    ("score", sa.Float()),
    ("ended", sa.String(length=10)),
    ("wanted", sa.SmallInteger()),
    ("labelled", sa.SmallInteger()),
    ("skips", sa.SmallInteger()),
    ("expires_us", sa.BigInteger()),
    ("created_us", sa.BigInteger()),
)
_LABELS = (("kind", sa.String(length=5)), ("origin", sa.String(length=10)), ("gold", sa.Boolean()))


def upgrade() -> None:
    for table, columns in (("review_items", _ITEMS), ("labels", _LABELS)):
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind, nullable=True))
    _fill()
    op.drop_index(op.f("ix_review_items_state"), table_name="review_items")
    for table, columns in (("review_items", _ITEMS), ("labels", _LABELS)):
        with op.batch_alter_table(table) as batch:
            for name, kind in columns:
                batch.alter_column(name, existing_type=kind, nullable=False)
    _index_items()
    _index_labels()
    op.create_table(
        "review_pools",
        sa.Column("segment", sa.String(length=200), nullable=False),
        sa.Column("day_us", sa.BigInteger(), nullable=False),
        sa.Column("sums", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("segment", "day_us", name=op.f("pk_review_pools")),
    )
    op.create_table(
        "review_pixels",
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("page", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("item_id", "part", "page", name=op.f("pk_review_pixels")),
    )
    _partial("ix_review_pixels_pending", "review_pixels", ("item_id",), "state = 'pending'")
    op.create_table(
        "review_audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=10), nullable=False),
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_audit")),
    )
    _partial("uq_review_audit_request", "review_audit", ("who", "request_id"), "request_id <> ''", unique=True)
    op.create_index(op.f("ix_review_audit_item_id"), "review_audit", ["item_id"], unique=False)
    op.create_index(op.f("ix_review_audit_time_us"), "review_audit", ["time_us"], unique=False)


def _fill() -> None:
    for column in ("event_id", "user_key", "route"):
        op.execute(
            f"UPDATE review_items SET {column} = coalesce("
            f"(SELECT samples.{column} FROM samples WHERE samples.sample_id = review_items.sample_id), '')"
        )
    op.execute(
        "UPDATE review_items SET "
        f"day_us = time_us - time_us % {_DAY_US}, pool = '', language = '', race = 1.0, score = 0.0, "
        "ended = CASE WHEN state = 'removed' THEN 'removed' ELSE '' END, "
        f"wanted = 1, skips = 0, created_us = time_us, expires_us = time_us + {_EXPIRES_US}"
    )
    op.execute("UPDATE labels SET kind = 'label', origin = 'page', gold = false")
    op.execute(  # of several labels of one reviewer the last stands
        "UPDATE labels SET undone = true WHERE NOT undone AND EXISTS (SELECT 1 FROM labels AS later "
        "WHERE later.reviewer = labels.reviewer AND later.item_id = labels.item_id AND NOT later.undone "
        "AND later.id > labels.id AND (labels.item_id <> '' OR later.event_id = labels.event_id))"
    )
    op.execute(
        "UPDATE review_items SET labelled = "
        "(SELECT count(*) FROM labels WHERE labels.item_id = review_items.item_id AND NOT labels.undone)"
    )


def _index_items() -> None:
    is_open = "state = 'open'"
    order = ("race", "day_us", "item_id")
    for columns in ((), ("pool",), ("language",), ("segment",), ("pool", "language")):
        name = f"ix_review_items_open_{'_'.join((*columns, 'race'))}"
        _partial(name, "review_items", (*columns, *order), is_open)
    _partial("ix_review_items_leased", "review_items", ("lease_until_us",), "state = 'leased'")
    _partial("ix_review_items_open_expires_us", "review_items", ("expires_us",), is_open)
    name = op.f("ix_review_items_segment_day_us_item_id")
    op.create_index(name, "review_items", ["segment", "day_us", "item_id"], unique=False)
    for column in ("day_us", "event_id", "user_key"):
        op.create_index(op.f(f"ix_review_items_{column}"), "review_items", [column], unique=False)


def _index_labels() -> None:
    stands = "NOT undone AND item_id"
    _partial("uq_labels_standing", "labels", ("item_id", "reviewer"), f"{stands} <> ''", unique=True)
    _partial("uq_labels_standing_event", "labels", ("event_id", "reviewer"), f"{stands} = ''", unique=True)
    op.create_index(op.f("ix_labels_reviewer_time_us"), "labels", ["reviewer", "time_us"], unique=False)
    op.create_index(op.f("ix_labels_time_us"), "labels", ["time_us"], unique=False)


def _partial(name: str, table: str, columns: tuple[str, ...], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, table, list(columns), unique=unique, sqlite_where=where, postgresql_where=where)
