"""Merging versions of records: the rule which version wins, and the rows that Postgres refuses.

Belongs here: what orders and refunds share. Not here: their columns (orders.py, refunds.py).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

import psycopg2
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, IntegrityError

from order_pipeline.warehouse.database import cause_of
from order_pipeline.warehouse.subjects import ORDERS, Subject

Row = TypeVar("Row")


class Source(enum.Enum):
    """What a version of a record was read from."""

    LIST = "list"
    DETAIL = "detail"


class Refused(NamedTuple, Generic[Row]):
    """A row that Postgres would not take, and its words."""

    row: Row
    reason: str


# A detail is let in when its (modified_at, sent_at) is newer than the stored row's, or equal in time to a list's; a
# list only when its modified_at is newer, since it holds less.
GUARDS = {
    Source.LIST: "excluded.modified_at > stored.modified_at",
    Source.DETAIL: """excluded.modified_at > stored.modified_at OR excluded.modified_at = stored.modified_at
        AND (stored.source = 'list' OR excluded.sent_at > stored.sent_at)""",
}


class Staged(NamedTuple, Generic[Row]):
    """How many rows were staged, and those that Postgres would not take."""

    rows: int
    refused: list[Refused[Row]]


def stage_but_refused(
    connection: Connection, rows: Sequence[Row], copy: Callable[[Sequence[Row]], None]
) -> Staged[Row]:
    """Stage all rows but those that Postgres refuses, which are returned with its reason.

    Staging tables are of the types of the real ones, so what they take those take.
    """
    if not rows:
        return Staged(0, [])
    try:
        with connection.begin_nested():
            copy(rows)
    # COPY goes past SQLAlchemy, so its errors come from the driver as they are.
    except (DataError, IntegrityError, psycopg2.DataError, psycopg2.IntegrityError) as error:
        if len(rows) == 1:
            return Staged(0, [Refused(rows[0], f"refused by the warehouse: {cause_of(error)}")])
        half = len(rows) // 2
        first = stage_but_refused(connection, rows[:half], copy)
        second = stage_but_refused(connection, rows[half:], copy)
        return Staged(first.rows + second.rows, first.refused + second.refused)
    return Staged(len(rows), [])


def holds_version(
    connection: Connection,
    shop_id: str,
    record_id: str,
    modified_at: datetime,
    source: Source,
    *,
    subject: Subject = ORDERS,
) -> bool:
    """Return whether a record is in the tables in that version or a newer one: its details, or what lists show."""
    column = "detail_modified_at" if source is Source.DETAIL else "modified_at"
    held = connection.execute(
        text(
            f"SELECT {column} >= :modified_at FROM {subject.table} "
            f"WHERE shop_id = :shop_id AND {subject.key} = :record_id"
        ),
        {"shop_id": shop_id, "record_id": record_id, "modified_at": modified_at},
    )
    return bool(held.scalar())
