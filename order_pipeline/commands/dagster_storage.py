"""Dagster's own tables: finished where a start that was interrupted left them half made.

Belongs here: noticing and finishing. Not here: creating them (Dagster does, on first use), upgrading them.
"""

from __future__ import annotations

import logging

import dagster as dg
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._core.storage.sql import check_alembic_revision, stamp_alembic_rev
from dagster_postgres.event_log import event_log
from dagster_postgres.utils import pg_alembic_config
from sqlalchemy import Engine, inspect

logger = logging.getLogger(__name__)

# Each storage looks whether its first table is there, and then believes in all others.
METADATA = (SqlEventLogStorageMetadata, RunStorageSqlMetadata, ScheduleStorageSqlMetadata)


def finish_storage(engine: Engine) -> bool:
    """Create what is missing of Dagster's tables where some are there; return whether anything was.

    Dagster creates them one by one, each committed on its own (dagster-postgres 0.29): a Ctrl-C in between left a
    storage in which no run could start any more ("requires a database schema migration"). A storage of an older
    Dagster is left to ``dagster instance migrate``.
    """
    with engine.begin() as connection:
        present = set(inspect(connection).get_table_names())
        expected = {name for metadata in METADATA for name in metadata.tables}
        if not present & expected:
            return False
        config = pg_alembic_config(event_log.__file__)
        reached, newest = check_alembic_revision(config, connection)
        if reached not in (None, newest) or (reached == newest and expected <= present):
            return False
        for metadata in METADATA:
            metadata.create_all(connection)
            for table in metadata.sorted_tables:
                for index in table.indexes:
                    index.create(connection, checkfirst=True)
        stamp_alembic_rev(config, connection)
    logger.warning("Dagster's storage was half made, as an interrupted first start leaves it; it is complete now")
    return True


def mark_finished(instance: dg.DagsterInstance) -> None:
    """Let Dagster mark its data migrations as done, as it does for tables it has just created."""
    instance.reindex(lambda _said: None)
