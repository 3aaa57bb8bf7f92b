"""Alembic's entry: runs the steps on the connection that warehouse.migrate hands over, in one transaction."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema="sync", transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
