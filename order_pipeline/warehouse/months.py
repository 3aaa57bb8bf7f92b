"""The tables that only grow, a partition a month: which months there are, and making the next ones.

Belongs here: partitions. Not here: which of them are no longer needed (retention.py).

A row whose month nobody has made goes to the default partition: nothing is refused. Making a month takes such rows
along.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.lock_keys import MONTHS_LOCK

# China has had one zone and no daylight saving since 1991.
SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")

# Made at every start of a command and every night: the next one is there long before its first row.
MONTHS_AHEAD = 1
# Who waits for a lock on a table makes everybody behind him wait too: better to let go and come again.
LOCK_TIMEOUT = "3s"


class Log(NamedTuple):
    """A table that is split by month, and the column that says which."""

    table: str
    moment: str


PAGES = Log("raw.page", "sent_at")
MESSAGES = Log("raw.message", "published_at")
CALLS = Log("sync.call", "started_at")
LOGS = (PAGES, MESSAGES, CALLS)


class Span(NamedTuple):
    """A partition: its name with its schema, from when (None: everything before, too) and until when it holds rows."""

    partition: str
    start: datetime | None
    end: datetime


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """Return the first moment of the month (Asia/Shanghai) that a moment lies in, and that of the next month. Pure."""
    first = moment.astimezone(SHANGHAI).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=32)).replace(day=1)


def spans(connection: Connection, log: Log) -> list[Span]:
    """Return the partitions of a log, oldest first, without the default one."""
    rows = connection.execute(
        text(r"""
            SELECT n.nspname || '.' || c.relname,
                   substring(b.bound from 'FROM \(''([^'']+)''\)')::timestamptz,
                   substring(b.bound from 'TO \(''([^'']+)''\)')::timestamptz AS until
            FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) b
            WHERE i.inhparent = cast(:parent AS regclass) AND b.bound <> 'DEFAULT'
            ORDER BY until
        """),
        {"parent": log.table},
    )
    return [Span(*row) for row in rows]


def ensure_months(connection: Connection, now: datetime) -> list[str]:
    """Make the partitions of this month and the next, where they are missing; return their names."""
    made = []
    for log in LOGS:
        moment = now
        for _ in range(MONTHS_AHEAD + 1):
            start, end = month_of(moment)
            made += _make(connection, log, start, end)
            moment = end
    return made


def adopt_strays(connection: Connection, log: Log) -> list[str]:
    """Make the months of the rows that lie in the default partition, which is empty after that; return their names."""
    first_days = connection.execute(
        text(
            f"SELECT DISTINCT date_trunc('month', {log.moment} AT TIME ZONE 'Asia/Shanghai') AT TIME ZONE "
            f"'Asia/Shanghai' FROM {log.table}_default ORDER BY 1"
        )
    ).scalars()
    return [name for first in first_days for name in _make(connection, log, *month_of(first))]


def alone_with_months(connection: Connection) -> None:
    """Keep others from making or dropping months until the transaction ends, and never wait long for a table's lock.

    A lock that is not had in time raises, and in_transaction tries again.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MONTHS_LOCK})
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))


def _make(connection: Connection, log: Log, start: datetime, end: datetime) -> list[str]:
    if any((span.start is None or span.start < end) and start < span.end for span in spans(connection, log)):
        return []
    alone_with_months(connection)
    if any((span.start is None or span.start < end) and start < span.end for span in spans(connection, log)):
        return []
    name = f"{log.table}_{start:%Y_%m}"
    # No writer may be on his way to the default partition: after the attaching his rows would be refused there. Who
    # comes later waits here, and finds the month. Readers of the other months go on.
    connection.execute(text(f"LOCK TABLE {log.table} IN SHARE ROW EXCLUSIVE MODE"))
    connection.execute(text(f"LOCK TABLE {log.table}_default IN ACCESS EXCLUSIVE MODE"))
    connection.execute(text(f"CREATE TABLE {name} (LIKE {log.table} INCLUDING ALL)"))
    connection.execute(
        text(
            f"WITH strays AS (DELETE FROM {log.table}_default WHERE {log.moment} >= :start AND {log.moment} < :end "
            f"RETURNING *) INSERT INTO {name} SELECT * FROM strays"
        ),
        {"start": start, "end": end},
    )
    # A bound cannot be a parameter: the server writes the statement, and quotes it.
    attach = connection.execute(
        text(
            "SELECT format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', cast(:parent AS text), "
            "cast(:partition AS text), cast(:start AS timestamptz), cast(:end AS timestamptz))"
        ),
        {"parent": log.table, "partition": name, "start": start, "end": end},
    ).scalar_one()
    connection.exec_driver_sql(attach)
    return [name]
