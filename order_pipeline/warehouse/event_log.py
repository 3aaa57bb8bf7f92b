"""Dagster's event log in Postgres, without the old lines that nothing but a run's own page shows.

Belongs here: which rows of Dagster's tables may go. Not here: when (automation/pruning.py), ticks of sensors and
schedules (dagster.yaml: retention), our own tables (retention.py).

Dagster has no retention of events, and deleting a run deletes its materializations with it: the partitions it made
turn "missing". What the state of assets, partitions and checks is read from is therefore kept, whatever its age: of
each partition the latest materialization and the latest attempt, of checks everything.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Engine, text

# Rows a transaction: seconds of work, so that runs that are going are never held up for long.
ROWS_PER_BATCH = 50_000

_LAST = text("""
    SELECT max(id) FROM event_logs WHERE timestamp < (now() AT TIME ZONE 'UTC') - make_interval(days => :days)
""")
_PRUNE = text("""
    DELETE FROM event_logs e
    WHERE e.id > :after AND e.id <= :until
      AND e.timestamp < (now() AT TIME ZONE 'UTC') - make_interval(days => :days)
      AND (
          -- Lines of a run that are not about an asset; how it went, and why it failed, stays.
          e.asset_key IS NULL AND coalesce(e.dagster_event_type, '') NOT LIKE 'ASSET%'
          AND coalesce(e.dagster_event_type, '') NOT LIKE 'PIPELINE%'
          AND coalesce(e.dagster_event_type, '') NOT LIKE '%FAILURE'
          -- What was said of a partition before it was made, or tried, anew: most of a partition that is made often.
          OR e.dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_MATERIALIZATION_PLANNED') AND EXISTS (
              SELECT FROM event_logs newer
              WHERE newer.asset_key = e.asset_key AND newer.dagster_event_type = e.dagster_event_type
                AND newer.partition = e.partition AND newer.id > e.id
          )
      )
      AND NOT EXISTS (
          SELECT FROM runs r WHERE r.run_id = e.run_id AND r.status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')
      )
""")


class Pruned(NamedTuple):
    """How many rows went, and how many are left."""

    deleted: int
    left: int


def prune_events(engine: Engine, days: int) -> Pruned:
    """Delete old lines of runs that have ended, in batches, and give their space back to the table.

    ``engine``: of Dagster's storage. ``days``: younger ones stay. May be interrupted and started again at any time,
    with runs going.
    """
    deleted = 0
    with engine.connect() as connection:
        last = int(connection.execute(_LAST, {"days": days}).scalar() or 0)
        first = int(connection.execute(text("SELECT coalesce(min(id), 1) FROM event_logs")).scalar() or 1)
        connection.rollback()
        for after in range(first - 1, last, ROWS_PER_BATCH):
            until = min(after + ROWS_PER_BATCH, last)
            with connection.begin():
                deleted += int(connection.execute(_PRUNE, {"after": after, "until": until, "days": days}).rowcount)
    # Outside of any transaction, as Postgres wants it.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) event_logs"))
        left = int(connection.execute(text("SELECT count(*) FROM event_logs")).scalar() or 0)
    return Pruned(deleted, left)
