"""sync.quarantine: records that could not be read or loaded, whole, until somebody or a good version settles them.

Belongs here: keeping and settling them. Not here: reading a record again (sync/).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.subjects import ORDERS, SUBJECTS, Subject


class QuarantinedRecord(NamedTuple):
    """A record that was refused; ``order_id`` or ``refund_id`` and ``modified_at`` are what could be read of it.

    A refund has no ``order_id`` here: it is its own record that is missing, not its order's.
    """

    order_id: str | None
    modified_at: datetime | None
    reason: str
    body: str
    sent_at: datetime
    refund_id: str | None = None

    @property
    def record_id(self) -> str | None:
        """Whichever id it has."""
        return self.order_id or self.refund_id


def quarantine(
    connection: Connection,
    shop_id: str,
    platform: str,
    channel: str,
    records: Sequence[QuarantinedRecord],
    *,
    subject: Subject = ORDERS,
) -> None:
    """Keep refused records. The same record again only raises its count, and opens it if it was settled.

    One that a person discarded stays so: it was judged as it is.
    """
    if not records:
        return
    connection.execute(
        text("""
            INSERT INTO sync.quarantine AS held
                (shop_id, platform, channel, subject, order_id, refund_id, modified_at, reason, body, fingerprint,
                 sent_at)
            VALUES (:shop_id, :platform, :channel, :subject, :order_id, :refund_id, :modified_at, :reason, :body,
                    :fingerprint, :sent_at)
            ON CONFLICT (shop_id, channel, fingerprint) DO UPDATE
            SET times_seen = held.times_seen + 1, last_seen_at = now(), reason = excluded.reason,
                sent_at = excluded.sent_at,
                resolved_at = CASE WHEN held.discarded THEN held.resolved_at END,
                resolution = CASE WHEN held.discarded THEN held.resolution END,
                resolved_by = CASE WHEN held.discarded THEN held.resolved_by END
        """),
        [
            {
                "shop_id": shop_id,
                "platform": platform,
                "channel": channel,
                "subject": subject.name,
                "fingerprint": hashlib.sha256(record.body.encode()).hexdigest(),
                **record._asdict(),
            }
            for record in records
        ],
    )


def settle_loaded(
    connection: Connection, shop_id: str, record_ids: Sequence[str], *, subject: Subject = ORDERS
) -> None:
    """Settle records whose details have since been loaded in that version or a newer one."""
    connection.execute(
        text(f"""
            UPDATE sync.quarantine q SET resolved_at = now(), resolution = 'a good version was loaded'
            FROM {subject.table} o
            WHERE q.shop_id = :shop_id AND q.{subject.key} = ANY(:record_ids) AND q.resolved_at IS NULL
              AND o.shop_id = q.shop_id AND o.{subject.key} = q.{subject.key}
              AND o.detail_modified_at >= coalesce(q.modified_at, '-infinity')
        """),
        {"shop_id": shop_id, "record_ids": list(record_ids)},
    )


def open_ids(connection: Connection, shop_id: str, *, subject: Subject = ORDERS) -> frozenset[str]:
    """Return the orders or refunds of a shop that have an open record."""
    rows = connection.execute(
        text(f"SELECT DISTINCT {subject.key} FROM sync.quarantine WHERE resolved_at IS NULL AND shop_id = :shop_id"),
        {"shop_id": shop_id},
    )
    return frozenset(record_id for record_id in rows.scalars() if record_id is not None)


def open_records(
    connection: Connection, shop_ids: Sequence[str] | None, *, subject: Subject | None = None
) -> list[dict[str, Any]]:
    """Return the open records of these shops (None: of all), newest first, without their bodies."""
    rows = connection.execute(
        text("""
            SELECT quarantine_id, shop_id, channel, subject, order_id, refund_id, modified_at, reason, times_seen,
                   first_seen_at, last_seen_at
            FROM sync.quarantine
            WHERE resolved_at IS NULL AND (cast(:shop_ids AS text[]) IS NULL OR shop_id = ANY(:shop_ids))
              AND (cast(:subject AS text) IS NULL OR subject = :subject)
            ORDER BY last_seen_at DESC, quarantine_id DESC
        """),
        {"shop_ids": None if shop_ids is None else list(shop_ids), "subject": subject.name if subject else None},
    )
    return [dict(row) for row in rows.mappings()]


class HeldRecord(NamedTuple):
    """One record as it is kept; the fields are columns of ``sync.quarantine``."""

    quarantine_id: int
    shop_id: str
    platform: str
    channel: str
    order_id: str | None
    modified_at: datetime | None
    reason: str
    body: str
    sent_at: datetime
    first_seen_at: datetime
    last_seen_at: datetime
    times_seen: int
    resolved_at: datetime | None
    resolution: str | None
    resolved_by: str | None
    refund_id: str | None
    subject: str

    @property
    def record_id(self) -> str | None:
        """Whichever id it has."""
        return self.order_id or self.refund_id

    @property
    def is_of(self) -> Subject:
        """What it should have been."""
        return SUBJECTS[self.subject]


_SELECT = f"SELECT {', '.join(HeldRecord._fields)} FROM sync.quarantine WHERE quarantine_id = :quarantine_id"


def read_record(connection: Connection, quarantine_id: int) -> HeldRecord | None:
    """Return a record, open or settled, None when there is none of that number."""
    row = connection.execute(text(_SELECT), {"quarantine_id": quarantine_id}).one_or_none()
    return HeldRecord(*row) if row else None


def lock_record(connection: Connection, quarantine_id: int) -> HeldRecord | None:
    """Return a record that nobody else changes until the transaction ends."""
    row = connection.execute(text(f"{_SELECT} FOR UPDATE"), {"quarantine_id": quarantine_id}).one_or_none()
    return HeldRecord(*row) if row else None


def note_reason(connection: Connection, quarantine_id: int, reason: str) -> None:
    """Note why a record is refused today."""
    connection.execute(
        text("UPDATE sync.quarantine SET reason = :reason WHERE quarantine_id = :quarantine_id"),
        {"quarantine_id": quarantine_id, "reason": reason},
    )


def settle_by_hand(
    connection: Connection, quarantine_id: int, resolution: str, resolved_by: str, *, discarded: bool = False
) -> None:
    """Settle a record that is open."""
    connection.execute(
        text("""
            UPDATE sync.quarantine
            SET resolved_at = now(), resolution = :resolution, resolved_by = :resolved_by, discarded = :discarded
            WHERE quarantine_id = :quarantine_id AND resolved_at IS NULL
        """),
        {
            "quarantine_id": quarantine_id,
            "resolution": resolution,
            "resolved_by": resolved_by,
            "discarded": discarded,
        },
    )
