"""core.presale_hold and its ledger: lines of pre-sales that are newer than their holds, and what became of them.

Belongs here: reading and writing them. Not here: the rule (insights/presale.py), what must hold (presale_rules.py).

Nothing notifies us of a change: rows that were stored since the last time, and a little before (transactions end in
another order than they begin in), are compared with the version that their hold was made of. So nothing is read twice
for long, nothing is missed, and there is nothing to do exactly when this finds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows, staging_table
from order_pipeline.warehouse.lock_keys import HOLD_LOCKS
from order_pipeline.warehouse.watermarks import PRESALE_HOLDS, read_watermark

# Longer than a transaction that stores orders takes; a batch of the worklist is leased for ten minutes.
OVERLAP = timedelta(minutes=10)
# A final payment is due some three weeks after the deposit at the latest; of an order without a promise to ship.
FINAL_PAYMENT_WITHIN = timedelta(days=30)
REFETCHED_EVERY = timedelta(days=1)

# The predicate of the index orders_presale, to the letter (migration 0008).
IS_PRESALE = """
    type = 'step' OR step_status IS NOT NULL OR CASE lower(extra ->> 'new_presell')
        WHEN 'true' THEN true WHEN 'false' THEN false
        ELSE promised_ship_at IS NOT NULL AND detail_modified_at IS NOT NULL END
"""

HOLD_COLUMNS = (
    "order_id", "item_id", "kind", "stage", "reason", "num_iid", "sku_id", "sku_code", "quantity", "held_quantity",
    "reserved_quantity", "since", "promised_ship_at", "order_modified_at", "order_sent_at", "refunds_modified_at",
)  # fmt: skip
ENTRY_COLUMNS = (
    "order_id", "item_id", "num_iid", "sku_id", "sku_code", "held_change", "reserved_change", "stage_before", "stage",
    "reason", "order_modified_at",
)  # fmt: skip

# Lines whose newest version is not in their hold yet; also holds whose line is gone from its order.
_NEWER = f"""
    WITH changed AS (
        SELECT order_id FROM core.orders WHERE shop_id = :shop_id AND stored_at >= :since AND ({IS_PRESALE})
        UNION
        SELECT order_id FROM core.orders
        WHERE shop_id = :shop_id AND ({IS_PRESALE}) AND order_id IN (
            SELECT order_id FROM core.refunds WHERE shop_id = :shop_id AND stored_at >= :since
        )
    )
    SELECT o.order_id, k.item_id, i.item_id IS NULL AS is_gone, i.num_iid, i.sku_id, i.sku_code, i.quantity,
           o.type AS order_type, o.status AS order_status, i.status, o.step_status,
           lower(o.extra ->> 'new_presell') AS new_presell, o.promised_ship_at,
           coalesce(n.refunded_quantity, 0) AS refunded_quantity, i.shipped_at IS NOT NULL AS is_sent,
           o.modified_at, o.sent_at, r.modified_at AS refunds_modified_at,
           h.kind AS hold_kind, h.stage AS hold_stage, h.reason AS hold_reason, h.num_iid AS hold_num_iid,
           h.sku_id AS hold_sku_id, h.sku_code AS hold_sku_code, h.quantity AS hold_quantity, h.held_quantity,
           h.reserved_quantity, h.since, h.order_modified_at, h.order_sent_at,
           h.refunds_modified_at AS hold_refunds_modified_at
    FROM core.orders o
    CROSS JOIN LATERAL (
        SELECT item_id FROM core.order_items WHERE shop_id = o.shop_id AND order_id = o.order_id
        UNION
        SELECT item_id FROM core.presale_hold WHERE shop_id = o.shop_id AND order_id = o.order_id
    ) k
    LEFT JOIN core.order_items i ON i.shop_id = o.shop_id AND i.order_id = o.order_id AND i.item_id = k.item_id
    LEFT JOIN core.refunded_item n ON n.shop_id = o.shop_id AND n.order_id = o.order_id AND n.item_id = k.item_id
    LEFT JOIN core.presale_hold h ON h.shop_id = o.shop_id AND h.order_id = o.order_id AND h.item_id = k.item_id
    CROSS JOIN LATERAL (
        SELECT max(modified_at) AS modified_at FROM core.refunds WHERE shop_id = o.shop_id AND item_id = k.item_id
    ) r
    WHERE o.shop_id = :shop_id AND o.order_id IN (SELECT order_id FROM changed)
      AND (h.item_id IS NULL
           OR (o.modified_at, o.sent_at, coalesce(r.modified_at, '-infinity'))
              > (h.order_modified_at, h.order_sent_at, coalesce(h.refunds_modified_at, '-infinity')))
"""


def lock_holds(connection: Connection, shop_id: str) -> datetime:
    """Be the only one who derives the shop's holds until the transaction ends; return when that began."""
    locked = connection.execute(
        text("SELECT now() FROM (SELECT pg_advisory_xact_lock(:locks, hashtext(:shop_id))) AS locked"),
        {"locks": HOLD_LOCKS, "shop_id": shop_id},
    )
    began: datetime = locked.scalar_one()
    return began


def newer_lines(connection: Connection, shop_id: str, limit: int) -> list[dict[str, Any]]:
    """Return lines of pre-sales that are newer than their holds, with the columns of both."""
    rows = connection.execute(
        text(f"{_NEWER} ORDER BY o.stored_at, o.order_id, k.item_id LIMIT :limit"),
        {"shop_id": shop_id, "since": _since(connection, shop_id), "limit": limit},
    )
    return [dict(row) for row in rows.mappings()]


def count_newer_lines(connection: Connection, shop_id: str) -> int:
    """Return how many lines of pre-sales are newer than their holds."""
    count = connection.execute(
        text(f"SELECT count(*) FROM ({_NEWER}) AS newer"), {"shop_id": shop_id, "since": _since(connection, shop_id)}
    )
    return int(count.scalar() or 0)


def write_holds(
    connection: Connection, shop_id: str, holds: Sequence[Sequence[Any]], entries: Sequence[Sequence[Any]]
) -> None:
    """Write holds as they are now, and add to the ledger; both or neither, in the caller's transaction.

    Args:
        connection: holding the shop's lock.
        shop_id: the shop.
        holds: values of HOLD_COLUMNS.
        entries: values of ENTRY_COLUMNS, in the order in which they happened.

    """
    staging_table(connection, "staged_hold", "core.presale_hold")
    connection.execute(text("TRUNCATE staged_hold"))
    copy_rows(connection, "staged_hold", ("shop_id", *HOLD_COLUMNS), [(shop_id, *hold) for hold in holds])
    columns = ", ".join(("shop_id", *HOLD_COLUMNS))
    connection.execute(
        text(f"""
            INSERT INTO core.presale_hold ({columns}) SELECT {columns} FROM staged_hold
            ON CONFLICT (shop_id, order_id, item_id) DO UPDATE
            SET {", ".join(f"{column} = excluded.{column}" for column in HOLD_COLUMNS[2:])}, changed_at = now()
        """)
    )
    copy_rows(
        connection,
        "core.presale_hold_entry",
        ("shop_id", *ENTRY_COLUMNS),
        [(shop_id, *entry) for entry in entries],
    )


class LateHold(NamedTuple):
    """A hold whose final payment should have come by now."""

    shop_id: str
    order_id: str
    item_id: str
    held_quantity: int
    since: datetime
    promised_ship_at: datetime | None
    order_modified_at: datetime
    refetched_at: datetime | None


def late_holds(connection: Connection, shop_id: str, known_until: datetime) -> list[LateHold]:
    """Return the holds whose goods should have been sent by then, or whose deposit had been paid a month before.

    ``known_until``: the platform time up to which every change is in the tables, as a payment may have come since.
    """
    rows = connection.execute(
        text(f"""
            SELECT {", ".join(LateHold._fields)} FROM core.presale_hold
            WHERE shop_id = :shop_id AND held_quantity > 0
              AND coalesce(promised_ship_at, since + :within) < :known_until
            ORDER BY since, order_id, item_id
        """),
        {"shop_id": shop_id, "within": FINAL_PAYMENT_WITHIN, "known_until": known_until},
    )
    return [LateHold(*row) for row in rows]


def note_refetched(connection: Connection, shop_id: str, order_ids: Sequence[str], known_until: datetime) -> None:
    """Note that these orders are fetched anew, so that it is not done with every run. The time is as in late_holds."""
    connection.execute(
        text("""
            UPDATE core.presale_hold SET refetched_at = :known_until
            WHERE shop_id = :shop_id AND order_id = ANY(:order_ids) AND held_quantity > 0
        """),
        {"shop_id": shop_id, "order_ids": list(order_ids), "known_until": known_until},
    )


def hold_totals(connection: Connection, shop_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return lines and pieces by shop, kind and stage."""
    rows = connection.execute(
        text("""
            SELECT shop_id, kind, stage, count(*) AS lines, sum(held_quantity)::bigint AS held,
                   sum(reserved_quantity)::bigint AS reserved
            FROM core.presale_hold WHERE shop_id = ANY(:shop_ids)
            GROUP BY shop_id, kind, stage ORDER BY shop_id, kind, stage
        """),
        {"shop_ids": list(shop_ids)},
    )
    return [dict(row) for row in rows.mappings()]


def _since(connection: Connection, shop_id: str) -> str:
    position = read_watermark(connection, shop_id, PRESALE_HOLDS)
    return (position - OVERLAP).isoformat() if position else "-infinity"
