"""What may go: months of the logs that are old enough and that nothing needs, and rows that are long settled.

Belongs here: deciding by what the tables hold, and dropping. Not here: for how long each is kept (configuration), nor
how often it is looked at (automation).

A month goes whole or not at all. It stays while one record that was spoken of in it is not loaded yet: it waits
on a worklist, lies open in quarantine, or is known from a list only. The month is what it could be rebuilt from.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.months import CALLS, Log, Span, alone_with_months, spans
from order_pipeline.warehouse.subjects import SUBJECTS


class Month(NamedTuple):
    """A month that is past its time: about how many rows, how much disk, and why it has to stay (empty: it may go)."""

    span: Span
    rows: int
    size_bytes: int
    needed_by: tuple[str, ...]


def past_months(connection: Connection, log: Log, before: datetime) -> list[Month]:
    """Return the partitions whose every row is older than that moment, oldest first."""
    return [_month(connection, log, span) for span in spans(connection, log) if span.end <= before]


def drop_month(connection: Connection, log: Log, span: Span) -> tuple[str, ...]:
    """Drop a partition unless something needs it now, and return what does (empty: it is gone).

    Asked and done in one transaction.
    """
    alone_with_months(connection)
    needed_by = _needed_by(connection, log, span)
    if not needed_by and span in spans(connection, log):
        connection.execute(text(f"DROP TABLE {span.partition}"))
    return needed_by


def _month(connection: Connection, log: Log, span: Span) -> Month:
    rows, size = connection.execute(
        text(
            "SELECT greatest(reltuples, 0)::bigint, pg_total_relation_size(oid) "
            "FROM pg_class WHERE oid = cast(:name AS regclass)"
        ),
        {"name": span.partition},
    ).one()
    return Month(span, rows, size, _needed_by(connection, log, span))


# One such row is enough to keep the month from ``:start`` to ``:end``: what it is in words, and the query.
_NEEDS: dict[str, str] = {
    **{
        f"{name} that wait for their details": f"""
            SELECT count(*) FROM {subject.worklist}
            WHERE said_at >= :start AND said_at < :end OR announced_at >= :start AND announced_at < :end
               OR seen_modified >= :start AND seen_modified < :end
        """
        for name, subject in SUBJECTS.items()
    },
    **{
        f"{name} known from lists only": f"""
            SELECT count(*) FROM {subject.table} WHERE source = 'list' AND sent_at >= :start AND sent_at < :end
        """
        for name, subject in SUBJECTS.items()
    },
    "records open in quarantine": """
        SELECT count(*) FROM sync.quarantine
        WHERE resolved_at IS NULL AND (sent_at >= :start AND sent_at < :end
                                       OR first_seen_at >= :start AND first_seen_at < :end)
    """,
}


def _needed_by(connection: Connection, log: Log, span: Span) -> tuple[str, ...]:
    if log is CALLS:
        return ()
    found = []
    for words, query in _NEEDS.items():
        count = connection.execute(text(query), {"start": span.start or "-infinity", "end": span.end}).scalar_one()
        if count:
            found.append(f"{count:,} {words}")
    return tuple(found)


# What is settled for good, row by row: never the latest proof of a day, an open record, or one that a person discarded
# (it would come back as a new one).
_SETTLED: dict[str, str] = {
    "sync.quarantine": "resolved_at < :before AND NOT discarded",
    "sync.reconciliation": """
        reconciled_at < :before AND EXISTS (
            SELECT FROM sync.reconciliation later
            WHERE later.subject = t.subject AND later.shop_id = t.shop_id AND later.day = t.day
              AND later.reconciled_at > t.reconciled_at)
    """,
}
SETTLED_TABLES = tuple(_SETTLED)


def count_settled(connection: Connection, table: str, before: datetime) -> int:
    """Return how many rows of a table (of SETTLED_TABLES) were settled before that moment."""
    query = text(f"SELECT count(*) FROM {table} t WHERE {_SETTLED[table]}")
    return int(connection.execute(query, {"before": before}).scalar_one())


def delete_settled(connection: Connection, table: str, before: datetime) -> int:
    """Delete them, and return how many."""
    query = text(f"DELETE FROM {table} t WHERE {_SETTLED[table]}")
    return int(connection.execute(query, {"before": before}).rowcount)
