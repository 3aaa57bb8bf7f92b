"""sync.quarantine: records that could not be read or loaded, whole, until somebody or a good version settles them.

Belongs here: keeping and settling them. Not here: reading a record again (sync/).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text


class QuarantinedRecord(NamedTuple):
    """A record that was refused; ``order_id`` and ``modified_at`` are what could still be read of it."""

    order_id: str | None
    modified_at: datetime | None
    reason: str
    body: str
    sent_at: datetime


def quarantine(
    connection: Connection, shop_id: str, platform: str, channel: str, records: Sequence[QuarantinedRecord]
) -> None:
    """Keep refused records. The same record again only raises its count, and opens it if it was settled."""
    if not records:
        return
    connection.execute(
        text("""
            INSERT INTO sync.quarantine AS held
                (shop_id, platform, channel, order_id, modified_at, reason, body, fingerprint, sent_at)
            VALUES (:shop_id, :platform, :channel, :order_id, :modified_at, :reason, :body, :fingerprint, :sent_at)
            ON CONFLICT (shop_id, channel, fingerprint) DO UPDATE
            SET times_seen = held.times_seen + 1, last_seen_at = now(), reason = excluded.reason,
                sent_at = excluded.sent_at, resolved_at = NULL, resolution = NULL
        """),
        [
            {
                "shop_id": shop_id,
                "platform": platform,
                "channel": channel,
                "fingerprint": hashlib.sha256(record.body.encode()).hexdigest(),
                **record._asdict(),
            }
            for record in records
        ],
    )


def settle_loaded(connection: Connection, shop_id: str, order_ids: Sequence[str]) -> None:
    """Settle records of orders whose details have since been loaded in that version or a newer one."""
    connection.execute(
        text("""
            UPDATE sync.quarantine q SET resolved_at = now(), resolution = 'a good version was loaded'
            FROM core.orders o
            WHERE q.shop_id = :shop_id AND q.order_id = ANY(:order_ids) AND q.resolved_at IS NULL
              AND o.shop_id = q.shop_id AND o.order_id = q.order_id
              AND o.detail_modified_at >= coalesce(q.modified_at, '-infinity')
        """),
        {"shop_id": shop_id, "order_ids": list(order_ids)},
    )


def open_order_ids(connection: Connection, shop_id: str) -> frozenset[str]:
    """Return the orders of a shop that have an open record."""
    rows = connection.execute(
        text("SELECT DISTINCT order_id FROM sync.quarantine WHERE resolved_at IS NULL AND shop_id = :shop_id"),
        {"shop_id": shop_id},
    )
    return frozenset(order_id for order_id in rows.scalars() if order_id is not None)


def open_records(connection: Connection, shop_ids: Sequence[str]) -> list[dict[str, object]]:
    """Return the open records, newest first, without their bodies."""
    rows = connection.execute(
        text("""
            SELECT quarantine_id, shop_id, channel, order_id, modified_at, reason, times_seen, last_seen_at
            FROM sync.quarantine WHERE resolved_at IS NULL AND shop_id = ANY(:shop_ids) ORDER BY last_seen_at DESC
        """),
        {"shop_ids": list(shop_ids)},
    )
    return [dict(row) for row in rows.mappings()]
