"""raw.message: the platform's messages, stored before they are confirmed.

Belongs here: storing and counting them. Not here: how they are read (platforms), nor the queues they come from
(message_queues.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows, staging_table

# The key holds the time of publication, as the table is split by it. Where the platform does not say it, the time of
# receipt stands for it, which each delivery has anew: those of the last days keep the first one. (The platform drops
# what nobody confirmed after 24 hours.)
_FIRST_TOLD = text("""
    UPDATE staged_message s SET published_at = held.published_at
    FROM raw.message held
    WHERE s.published_at >= s.received_at AND held.app_key = s.app_key AND held.message_id = s.message_id
      AND held.published_at >= (SELECT min(received_at) - interval '3 days' FROM staged_message)
""")


class MessageRow(NamedTuple):
    """One message; the fields are the columns of ``raw.message`` behind app key and platform."""

    message_id: str
    shop_id: str | None
    topic: str
    known_topic: bool
    seller_id: str | None
    seller_nick: str | None
    published_at: datetime
    received_at: datetime
    order_id: str | None
    refund_id: str | None
    content: str
    problem: str | None


class MessageCount(NamedTuple):
    """How many messages of a topic a shop (None: no shop of ours) has on some days, and how they came."""

    shop_id: str | None
    topic: str
    known_topic: bool
    messages: int
    unreadable: int
    redelivered: int


def store_messages(connection: Connection, app_key: str, platform: str, rows: Sequence[MessageRow]) -> set[str]:
    """Store messages and return the ids of those that are new. The same one again only counts its deliveries."""
    first = {row.message_id: row for row in reversed(rows)}
    if not first:
        return set()
    staging_table(connection, "staged_message", "raw.message")
    connection.execute(text("TRUNCATE staged_message"))
    columns = ("app_key", "platform", *MessageRow._fields)
    # In one order everywhere, so that two readers cannot deadlock.
    copy_rows(connection, "staged_message", columns, [(app_key, platform, *first[key]) for key in sorted(first)])
    names = ", ".join(columns)
    if any(row.published_at >= row.received_at for row in first.values()):
        connection.execute(_FIRST_TOLD)
    stored = connection.execute(
        text(f"""
            INSERT INTO raw.message AS held ({names})
            SELECT {names} FROM staged_message ORDER BY message_id
            ON CONFLICT (app_key, message_id, published_at) DO UPDATE SET deliveries = held.deliveries + 1
            RETURNING message_id, deliveries = 1 AS is_new
        """)
    )
    return {message_id for message_id, is_new in stored if is_new}


def count_messages(
    connection: Connection, shop_ids: Sequence[str], app_keys: Sequence[str], days: Sequence[date]
) -> list[MessageCount]:
    """Count the messages published on those days (Asia/Shanghai), of these shops and of no shop of ours."""
    rows = connection.execute(
        text("""
            SELECT shop_id, topic, known_topic, count(*), count(problem), coalesce(sum(deliveries - 1), 0)
            FROM unnest(cast(:days AS date[])) AS wanted (day)
            JOIN raw.message m ON m.published_at >= wanted.day::timestamp AT TIME ZONE 'Asia/Shanghai'
                AND m.published_at < (wanted.day + 1)::timestamp AT TIME ZONE 'Asia/Shanghai'
            WHERE shop_id = ANY(:shop_ids) OR shop_id IS NULL AND app_key = ANY(:app_keys)
            GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2
        """),
        {"shop_ids": list(shop_ids), "app_keys": list(app_keys), "days": list(days)},
    )
    return [MessageCount(*row) for row in rows]
