"""Alembic's entry: migrates over the connection, and in the transaction, that the caller holds."""

from alembic import context

from monitor.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a column by copying the table
)
with context.begin_transaction():
    context.run_migrations()
