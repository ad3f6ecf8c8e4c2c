"""Every table driftline keeps, for SQLite and PostgreSQL alike (SQLAlchemy Core).

Units: every time is an integer count of microseconds since the epoch (``*_us``), money is in integer
nano-units of the reporting currency, and whatever is stored as bytes or JSON carries a format version
inside it. Rows that an ingest worker writes are keyed by (topic, partition), so that two workers never
write the same row.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite gives an autoincrementing rowid only to a column declared INTEGER.
AutoId = BigInteger().with_variant(Integer, "sqlite")

partitions = Table(
    "partitions",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),  # the first offset not yet in the rows
    Column("generation", BigInteger, nullable=False),  # grows with every claim; a stale owner's commit fails
    Column("owner", String(200), nullable=False),
    Column("watermark_us", BigInteger),  # null: holds no window open (never held a record); 0: holds all of them open
    Column("max_time_us", BigInteger),  # greatest event time seen
    Column("begun", Boolean, nullable=False),  # false: no valid event yet
    Column("events", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("dead_letters", BigInteger, nullable=False),
    Column("late_events", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),  # admission lists, sampling budget state (versioned)
    Column("counters", Text, nullable=False),  # JSON: named counters of what happened to records
)

watermark_advances = Table(
    "watermark_advances",
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("watermark_us", BigInteger, nullable=False),
    Column("reason", String(40), nullable=False),  # idle | drain
)

config_versions = Table(
    "config_versions",
    metadata,
    Column("version", String(64), primary_key=True),  # sha256 of the effective configuration without secrets
    Column("first_window_us", BigInteger),
    Column("document", Text, nullable=False),
)

# level 0: one minute, per partition. Levels 1 (hour) and 2 (day) are roll-ups over all partitions and
# carry topic '' and partition -1.
summaries = Table(
    "summaries",
    metadata,
    Column("level", SmallInteger, primary_key=True),
    Column("window_us", BigInteger, primary_key=True),
    Column("route", String(200), primary_key=True),
    Column("segment", String(200), primary_key=True),
    Column("version", String(300), primary_key=True),
    Column("late", Boolean, primary_key=True),
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("events", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),  # detectors.summaries.Summary.to_state()
    Index(None, "topic", "partition", "level", "window_us"),
    Index(None, "segment", "level", "window_us"),
)

upkeep = Table(
    "upkeep",
    metadata,
    Column("name", String(40), primary_key=True),  # 'summaries', 'report-schedule'
    Column("document", Text, nullable=False),  # JSON (versioned): monitor.store.coverage, monitor.report.scheduled
)

samples = Table(
    "samples",
    metadata,
    Column("sample_id", String(64), primary_key=True),  # hash of topic, partition, event id: same in every run
    Column("event_id", String(300), nullable=False),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("window_us", BigInteger, nullable=False),
    Column("route", String(200), nullable=False),
    Column("segment", String(200), nullable=False),
    Column("version", String(300), nullable=False),
    Column("session_key", String(32), nullable=False),
    Column("user_key", String(32), nullable=False),  # keyed hash; '' when the event has no user
    Column("pi", Float, nullable=False),  # inclusion probability, (0, 1]; 0: kept for review alone
    Column("pi_kept", Float),  # of being kept at all, for the sample or for review; null in rows from before: pi
    Column("state", String(10), nullable=False),  # pending | embedded | missing
    Column("reason", String(60), nullable=False),  # why missing, else ''
    Column("facts", Text, nullable=False),  # JSON: what rates, slices, attributes and review need (versioned)
    Column("encoder", String(200), nullable=False),  # identity of the encoder that made the vectors, else ''
    Column("phash", BigInteger),  # near-duplicate hash of the first image
    Index(None, "state", "window_us"),
    Index(None, "segment", "window_us"),
    Index(None, "window_us"),
    Index(None, "event_id"),
    Index(None, "user_key"),
)

sample_parts = Table(
    "sample_parts",
    metadata,
    Column("sample_id", String(64), primary_key=True),
    Column("part", SmallInteger, primary_key=True),  # index of the part in event.input
    Column("modality", String(10), nullable=False),  # image | text | audio
    Column("vector", LargeBinary),  # float16, little endian, unit norm; null where not embedded
    Column("conditions", Text, nullable=False),  # JSON (versioned)
    Column("agreement", Float),  # image-text cosine on the encoder's own scale; null: no shared space
)

sample_content = Table(
    "sample_content",
    metadata,
    Column("sample_id", String(64), primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("inputs", Text, nullable=False),  # JSON: redacted input parts, with the URIs that embed fetches
    Column("output", Text, nullable=False),  # JSON: redacted output parts
    Column("citations", Text, nullable=False),  # JSON
    Column("thumbnail", LargeBinary),  # JPEG, longest side at most 256 px
    Index(None, "time_us"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("reason", String(60), nullable=False),
    Column("detail", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),  # the Kafka record's own timestamp
    Column("event_id", String(300), nullable=False),  # '' where it could not be read
    Column("user_key", String(32), nullable=False),
    Column("key", LargeBinary),
    Column("original", LargeBinary),  # null for a tombstone
    Index(None, "time_us"),
)

letter_retries = Table(
    "letter_retries",  # dead letters that people had read again: who asked, and what came of it
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("time_us", BigInteger, nullable=False),  # as in dead_letters, with which the row goes
    Column("who", String(100), nullable=False),
    Column("asked_us", BigInteger, nullable=False),  # wall clock
    Column("state", String(10), nullable=False),  # asked | entered | duplicate | refused
    Column("reason", String(60), nullable=False),  # refused: why
    Column("detail", Text, nullable=False),
    Column("done_us", BigInteger),  # wall clock
    Column("event_key", String(64), nullable=False),  # entered: hash of the event's id, '' else
    Column("at_offset", BigInteger),  # entered: where the partition was read to
    Index("ix_letter_retries_record", "topic", "partition", "offset"),
    Index("ix_letter_retries_state", "state"),
    Index(None, "time_us"),
)

references = Table(
    "reference_sets",
    metadata,
    Column("reference_id", String(64), primary_key=True),
    Column("segment", String(200), nullable=False),
    Column("version", Integer, nullable=False),  # 1, 2, … per segment
    Column("state", String(10), nullable=False),  # draft | approved | active | retired
    Column("encoder", String(200), nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("to_us", BigInteger, nullable=False),
    Column("origin", String(20), nullable=False),  # learned | built
    Column("rows", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),  # immutable (versioned): summaries, fitted detectors
    Column("digest", String(64), nullable=False),  # sha256 of content
    Index(None, "segment", "version", unique=True),
)

reference_samples = Table(
    "reference_samples",
    metadata,
    Column("reference_id", String(64), primary_key=True),
    Column("sample_id", String(64), primary_key=True),
    Column("split", String(5), nullable=False),  # fit | held
    Column("vectors", LargeBinary),  # the session, copied, so that retention of samples does not change a reference
    Column("user_key", String(32)),  # as in samples; null in rows from before 0002, which hold vectors alone
    Index(None, "user_key"),
)

reference_decisions = Table(
    "reference_decisions",  # append-only: who approved or activated which reference
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("time_us", BigInteger, nullable=False),  # wall clock
    Column("who", String(100), nullable=False),
    Column("action", String(10), nullable=False),  # approve | activate
    Column("reference_id", String(64), nullable=False),
    Column("detail", Text, nullable=False),  # JSON (versioned): note, redacted; the reference it took the place of
    Index(None, "reference_id"),
)

stream_states = Table(
    "stream_states",
    metadata,
    Column("owner", String(100), primary_key=True),
    Column("segment", String(200), primary_key=True),  # a slice is written 'slice:<name>'
    Column("signal", String(100), primary_key=True),
    Column("detector", String(60), nullable=False),
    Column("state", LargeBinary, nullable=False),
)

evaluation = Table(
    "evaluation",
    metadata,
    Column("name", String(40), primary_key=True),  # 'leader'
    Column("holder", String(200), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("lease_until_us", BigInteger, nullable=False),  # wall clock: only decides who works, never a result
    Column("done_until_us", BigInteger),  # ticks before this event time are evaluated
    Column("state", LargeBinary, nullable=False),
)

evidence = Table(
    "evidence",
    metadata,
    Column("segment", String(200), primary_key=True),
    Column("signal", String(100), primary_key=True),
    Column("tick_us", BigInteger, primary_key=True),
    Column("resolution", String(5), primary_key=True),  # tick | hour
    Column("value", Float, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("effect", Float),
    Index(None, "tick_us"),
)

anomalies = Table(
    "anomalies",
    metadata,
    Column("anomaly_id", String(64), primary_key=True),  # hash of segment, signal, opening tick
    Column("owner", String(100), nullable=False),
    Column("segment", String(200), nullable=False),
    Column("signal", String(100), nullable=False),
    Column("state", String(12), nullable=False),  # open | resolved
    Column("severity", String(10), nullable=False),  # page | ticket | report
    Column("historic", Boolean, nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("resolved_us", BigInteger),
    Column("document", Text, nullable=False),  # alerts/anomaly.schema.json
    Column("muted_until_us", BigInteger),  # wall clock: nobody is told before, since it opened in a deploy's mute
    Index(None, "state"),
    Index(None, "opened_us"),
    Index(None, "resolved_us"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column(
        "sink", String(60), nullable=False
    ),  # a configured one's name, 'kafka:dead-letters', 'kafka:review', 'file:reports'
    Column("key", String(300), nullable=False),  # idempotency key; one live row per (sink, key)
    Column("kind", String(20), nullable=False),  # anomaly | deploy | dead_letter | review_item | report
    Column("payload", Text, nullable=False),
    Column("state", String(10), nullable=False),  # pending | sent | failed | dismissed
    Column("attempts", Integer, nullable=False),
    Column("due_us", BigInteger, nullable=False),  # wall clock
    Column("lease_until_us", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),  # grows when the row is enqueued again with a newer payload
    Column("remote", Text, nullable=False),  # JSON: what the target answered and is needed later (annotation ids)
    Index(None, "state", "due_us"),
    Index(None, "sink", "key", unique=True),
)

delivery_decisions = Table(
    "delivery_decisions",  # append-only: who had what sent again or put aside
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("time_us", BigInteger, nullable=False),  # wall clock
    Column("who", String(100), nullable=False),
    Column("action", String(10), nullable=False),  # resend | dismiss | undo
    Column("sink", String(60), nullable=False),
    Column("key", String(300), nullable=False),
    Column("detail", Text, nullable=False),  # JSON (versioned): note, redacted; the state before, and its error
    Index(None, "key"),
    Index(None, "time_us"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(16), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # sha256 of the secret
    Column("role", String(10), nullable=False),  # viewer | reviewer | admin | metrics
    Column("note", String(200), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
)

forgotten = Table(
    "forgotten",
    metadata,
    Column("kind", String(5), primary_key=True),  # user | event
    Column("key", String(64), primary_key=True),  # the keyed hash, so that a record read again stays forgotten
    Column("time_us", BigInteger, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", String(200), nullable=False),  # hex; made once (monitor/store/secrets.py)
)

# Review (monitor/store/review/). An item is never deleted before `retention.labels`: what ended stays as a tombstone,
# so that it does not return, and so that the estimators know of it.
review_items = Table(
    "review_items",
    metadata,
    Column("item_id", String(64), primary_key=True),  # hash of sample_id: same in every run
    Column("sample_id", String(64), nullable=False),  # '' once forgotten
    Column("event_id", String(300), nullable=False),  # '' once forgotten
    Column("user_key", String(32), nullable=False),  # as in samples, which items outlive; '' once forgotten
    Column("segment", String(200), nullable=False),
    Column("route", String(200), nullable=False),
    Column("day_us", BigInteger, nullable=False),  # start of the event's day; (segment, day_us) is the pool it is of
    Column("time_us", BigInteger, nullable=False),
    Column("pool", String(100), nullable=False),  # the reviewer pool's name
    Column("language", String(35), nullable=False),  # '' where unknown
    Column("reasons", Text, nullable=False),  # JSON list of texts
    Column("pi_sample", Float, nullable=False),
    Column("pi_review", Float, nullable=False),  # of the second draw, given the first
    Column("race", Float, nullable=False),  # log1p(-u) / log1p(-pi_review), [0, 1]: the order of the work
    Column("score", Float, nullable=False),  # predicted chance of an error
    Column("state", String(10), nullable=False),  # open | leased | done | removed
    Column("ended", String(10), nullable=False),  # removed: expired | skipped | removed | forgotten; see docs/review.md
    Column("leased_by", String(100), nullable=False),  # open: who had it last and may still label it, else ''
    Column("lease_until_us", BigInteger),  # wall clock; null unless leased
    Column("wanted", SmallInteger, nullable=False),  # labels wanted, each of another reviewer
    Column("labelled", SmallInteger, nullable=False),  # labels that stand, gold ones aside
    Column("skips", SmallInteger, nullable=False),  # skips that stand
    Column("expires_us", BigInteger, nullable=False),  # wall clock
    Column("created_us", BigInteger, nullable=False),  # wall clock
    # Its labels were seen by the stream of calibration, and will not be again (monitor/evaluate/calibration.py).
    Column("bet", Boolean, nullable=False, server_default=false()),
    # What is next: one walk along `race` over open items alone, for each thing a reviewer may ask by.
    *(
        Index(
            f"ix_review_items_open_{'_'.join((*columns, 'race'))}",
            *columns,
            "race",
            "day_us",
            "item_id",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        )
        for columns in ((), ("pool",), ("language",), ("segment",), ("pool", "language"))
    ),
    Index(
        "ix_review_items_leased",
        "lease_until_us",
        sqlite_where=text("state = 'leased'"),
        postgresql_where=text("state = 'leased'"),
    ),
    Index(
        "ix_review_items_open_expires_us",
        "expires_us",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    Index(
        "ix_review_items_to_bet",
        "segment",
        "time_us",
        sqlite_where=text("state = 'done' AND NOT bet"),
        postgresql_where=text("state = 'done' AND NOT bet"),
    ),
    Index(None, "segment", "day_us", "item_id"),
    Index(None, "day_us"),
    Index(None, "sample_id"),
    Index(None, "event_id"),
    Index(None, "user_key"),
)

review_pixels = Table(
    "review_pixels",  # full-size images of items until they are labelled; part -1 is the item itself
    metadata,
    Column("item_id", String(64), primary_key=True),
    Column("part", SmallInteger, primary_key=True),
    Column("page", SmallInteger, primary_key=True),
    Column("state", String(10), nullable=False),  # part -1: pending | kept | gone; else kept | missing
    Column("reason", String(60), nullable=False),  # why missing, else ''
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("data", LargeBinary),  # JPEG, encoded anew by driftline: nothing of the original's bytes
    Index(
        "ix_review_pixels_pending",
        "item_id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
)

review_pools = Table(
    "review_pools",  # sums over every sample of a segment and day, drawn for review or not; ticks add to them
    metadata,
    Column("segment", String(200), primary_key=True),
    Column("day_us", BigInteger, primary_key=True),
    Column("sums", Text, nullable=False),  # JSON (versioned): samplers.pools.Pools of this one pool
)

# What reviewers answered: labels, and skips, which say that a reviewer gave none. A row that was taken back stays.
labels = Table(
    "labels",
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("item_id", String(64), nullable=False),  # '' where no item has the event
    Column("event_id", String(300), nullable=False),
    Column("reviewer", String(100), nullable=False),
    Column("kind", String(5), nullable=False),  # label | skip
    Column("label", Text, nullable=False),  # JSON (versioned); of a skip its reason
    Column("time_us", BigInteger, nullable=False),  # wall clock
    Column("undone", Boolean, nullable=False),
    Column("origin", String(10), nullable=False),  # page | cli | import | kafka
    Column("gold", Boolean, nullable=False),  # taken as the truth, to judge reviewers by; never finishes an item
    # One standing answer of a reviewer to an item, or to an event that no item has.
    Index(
        "uq_labels_standing",
        "item_id",
        "reviewer",
        unique=True,
        sqlite_where=text("NOT undone AND item_id <> ''"),
        postgresql_where=text("NOT undone AND item_id <> ''"),
    ),
    Index(
        "uq_labels_standing_event",
        "event_id",
        "reviewer",
        unique=True,
        sqlite_where=text("NOT undone AND item_id = ''"),
        postgresql_where=text("NOT undone AND item_id = ''"),
    ),
    Index(None, "item_id"),
    Index(None, "event_id"),
    Index(None, "reviewer", "time_us"),
    Index(None, "time_us"),
)

review_audit = Table(
    "review_audit",  # append-only: who did what to which item when
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("time_us", BigInteger, nullable=False),  # wall clock
    Column("who", String(100), nullable=False),  # '' where the clock did it
    Column("action", String(10), nullable=False),  # monitor.store.review.audit.ACTIONS
    Column("item_id", String(64), nullable=False),
    Column("request_id", String(64), nullable=False),  # made by the client, so that a repeated request is known; or ''
    Column("detail", Text, nullable=False),  # JSON (versioned): before and after where it matters; '{}' once forgotten
    Index(
        "uq_review_audit_request",
        "who",
        "request_id",
        unique=True,
        sqlite_where=text("request_id <> ''"),
        postgresql_where=text("request_id <> ''"),
    ),
    Index(None, "item_id"),
    Index(None, "time_us"),
)

label_partitions = Table(
    "label_partitions",  # the labels topic: how far it is read, and what became of its records
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),  # the first offset not yet among the labels
    Column("counts", Text, nullable=False),  # JSON: outcome: records
)

anomaly_responses = Table(
    "anomaly_responses",  # append-only: what people said of an anomaly
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("time_us", BigInteger, nullable=False),  # wall clock
    Column("who", String(100), nullable=False),
    Column("action", String(20), nullable=False),  # monitor.store.responses.ACTIONS
    Column("anomaly_id", String(64), nullable=False),
    Column("until_us", BigInteger),  # wall clock; of a snooze
    Column("detail", Text, nullable=False),  # JSON (versioned): note, redacted; of an acceptance its references
    Index(None, "anomaly_id"),
)

deploys = Table(
    "deploys",  # what people or pipelines announced
    metadata,
    Column("deploy_id", String(64), primary_key=True),  # of the caller, or of what was announced and when
    Column("time_us", BigInteger, nullable=False),  # wall clock
    Column("who", String(100), nullable=False),
    Column("version", String(300), nullable=False),
    Column("route", String(200), nullable=False),  # '' all of them
    Column("segment", String(200), nullable=False),  # a pattern (`*`); '' all of them
    Column("note", Text, nullable=False),  # redacted
    Column("mute_until_us", BigInteger),  # until then nobody is told of what opens there
    Index(None, "time_us"),
)

reports = Table(
    "reports",  # what was issued: rows are only added
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("from_us", BigInteger, nullable=False),  # event time
    Column("to_us", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),  # 1, 2, ...
    Column("issued_us", BigInteger, nullable=False),  # wall clock
    Column("who", String(100), nullable=False),  # '' where the schedule did it
    Column("document", LargeBinary, nullable=False),  # zlib: the report's JSON, as it was issued
    Column("markdown", LargeBinary, nullable=False),
    Column("html", LargeBinary, nullable=False),
    Index("uq_reports_revision", "from_us", "to_us", "revision", unique=True),
)
