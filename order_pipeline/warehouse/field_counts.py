"""sync.field_count and sync.field_drift: which fields answers had day by day, and where that changed.

Belongs here: reading and writing them, and choosing answers to look at. Not here: judging (insights/drift.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

# Some weeks, for people; judged are a few days.
KEPT = timedelta(days=35)

# By way of the rows, as answers have no index by time. Of a record that changed often one answer says enough.
_ANSWERS = text("""
    SELECT body FROM (
        SELECT order_id FROM core.orders WHERE shop_id = :shop_id AND modified_at > :since
        ORDER BY modified_at DESC LIMIT :most
    ) AS changed CROSS JOIN LATERAL (
        SELECT body FROM raw.page WHERE shop_id = :shop_id AND order_id = changed.order_id AND channel = 'detail'
        ORDER BY sent_at DESC LIMIT 1
    ) AS said
    UNION ALL
    SELECT body FROM (
        SELECT refund_id FROM core.refunds WHERE shop_id = :shop_id AND modified_at > :since
        ORDER BY modified_at DESC LIMIT :most
    ) AS changed CROSS JOIN LATERAL (
        SELECT body FROM raw.page
        WHERE shop_id = :shop_id AND refund_id = changed.refund_id AND channel = 'refund detail'
        ORDER BY sent_at DESC LIMIT 1
    ) AS said
""")


class FieldCount(NamedTuple):
    """In how many records of a day an object's field came with a JSON type; an empty field: the records themselves."""

    day: date
    object: str
    field: str
    kind: str
    records: int


class FieldDrift(NamedTuple):
    """One finding; the fields are columns of ``sync.field_drift``."""

    object: str
    field: str
    drift: str
    kind: str
    is_mapped: bool
    records: int


def latest_answers(connection: Connection, shop_id: str, since: datetime, most: int) -> list[str]:
    """Return the bodies of the latest details of orders and refunds that changed after a moment, so many of each."""
    return list(connection.execute(_ANSWERS, {"shop_id": shop_id, "since": since, "most": most}).scalars())


def read_counts(connection: Connection, shop_id: str, first: date, last: date) -> list[FieldCount]:
    """Return what was counted on these days."""
    rows = connection.execute(
        text("""
            SELECT day, object, field, kind, records FROM sync.field_count
            WHERE shop_id = :shop_id AND day BETWEEN :first AND :last
        """),
        {"shop_id": shop_id, "first": first, "last": last},
    )
    return [FieldCount(*row) for row in rows]


def add_counts(connection: Connection, shop_id: str, day: date, counts: Mapping[tuple[str, str, str], int]) -> None:
    """Add to a day's counts, by object, field and kind; old days go."""
    keys = sorted(counts)
    connection.execute(
        text("""
            INSERT INTO sync.field_count AS held (shop_id, day, object, field, kind, records)
            SELECT :shop_id, :day, object, field, kind, records
            FROM unnest(cast(:objects AS text[]), cast(:fields AS text[]), cast(:kinds AS text[]),
                        cast(:records AS bigint[])) AS counted (object, field, kind, records)
            ON CONFLICT (shop_id, day, object, field, kind) DO UPDATE SET records = held.records + excluded.records
        """),
        {
            "shop_id": shop_id,
            "day": day,
            "objects": [key[0] for key in keys],
            "fields": [key[1] for key in keys],
            "kinds": [key[2] for key in keys],
            "records": [counts[key] for key in keys],
        },
    )
    connection.execute(
        text("DELETE FROM sync.field_count WHERE shop_id = :shop_id AND day < :oldest"),
        {"shop_id": shop_id, "oldest": day - KEPT},
    )


def replace_drifts(
    connection: Connection, shop_id: str, objects: Sequence[str], found: Sequence[FieldDrift], at: datetime
) -> None:
    """Let these be the findings about these objects: what goes on counts up, what is over goes."""
    for drift in found:
        connection.execute(
            text("""
                INSERT INTO sync.field_drift AS held
                    (shop_id, object, field, drift, kind, is_mapped, records, first_seen_at, last_seen_at)
                VALUES (:shop_id, :object, :field, :drift, :kind, :is_mapped, :records, :at, :at)
                ON CONFLICT (shop_id, object, field, drift, kind) DO UPDATE
                SET records = held.records + excluded.records, is_mapped = excluded.is_mapped, last_seen_at = :at
            """),
            {"shop_id": shop_id, "at": at, **drift._asdict()},
        )
    connection.execute(
        text("""
            DELETE FROM sync.field_drift
            WHERE shop_id = :shop_id AND object = ANY(:objects) AND last_seen_at < :at
        """),
        {"shop_id": shop_id, "objects": list(objects), "at": at},
    )


def open_drifts(connection: Connection, shop_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return what differs now, mapped fields first."""
    rows = connection.execute(
        text("""
            SELECT shop_id, object, field, drift, kind, is_mapped, records, first_seen_at FROM sync.field_drift
            WHERE shop_id = ANY(:shop_ids) ORDER BY is_mapped DESC, shop_id, object, field
        """),
        {"shop_ids": list(shop_ids)},
    )
    return [dict(row) for row in rows.mappings()]
