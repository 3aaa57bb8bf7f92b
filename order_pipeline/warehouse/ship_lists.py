"""core.ship_list and its lines: what was handed to the warehouse, what was stopped, what is held back.

Belongs here: reading lines that wait to be sent, storing lists. Not here: the rule (insights/shipping.py), what is said
to people and systems (sync/shipping.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows
from order_pipeline.warehouse.daily_sales import SKU

# One row a line with what decides about it. A refund is open until it is CLOSED or SUCCESS, whatever new status the
# platform thinks of; what the line itself says of refunds counts unless the refund is known as of the same version.
_LINE = f"""
    SELECT i.order_id, i.item_id, {SKU.format("i")} AS sku, i.num_iid, i.sku_id, i.title, i.sku_properties,
           coalesce(nullif(i.extra ->> 'store_code', ''), 'default') AS warehouse,
           i.quantity - r.refunded_quantity AS quantity, i.status, o.status AS order_status,
           coalesce(o.paid_at, o.created_at) AS paid_at, o.promised_ship_at, o.step_status,
           array_remove(ARRAY[
               CASE WHEN lower(o.extra ->> 'top_hold') IN ('1', 'true') THEN 'top_hold' END,
               CASE WHEN lower(o.extra ->> 'forbid_consign') IN ('1', 'true') THEN 'forbid_consign' END,
               CASE WHEN lower(o.extra ->> 'team_buy_hold') IN ('1', 'true') THEN 'team_buy_hold' END
           ], NULL) AS holds,
           EXISTS (
               SELECT FROM core.refunds f WHERE f.shop_id = i.shop_id AND f.item_id = i.item_id
               AND f.status NOT IN ('CLOSED', 'SUCCESS')
           ) OR (coalesce(i.refund_status, 'NO_REFUND') NOT IN ('NO_REFUND', 'CLOSED', 'SUCCESS') AND NOT EXISTS (
               SELECT FROM core.refunds f WHERE f.shop_id = i.shop_id AND f.refund_id = i.refund_id
               AND f.modified_at >= o.modified_at
           )) AS has_open_refund,
           i.shipped_at IS NOT NULL
               OR i.status IN ('WAIT_BUYER_CONFIRM_GOODS', 'TRADE_BUYER_SIGNED', 'TRADE_FINISHED') AS is_shipped
    FROM core.order_items i
    JOIN core.orders o ON o.shop_id = i.shop_id AND o.order_id = i.order_id
    JOIN core.refunded_item r ON r.shop_id = i.shop_id AND r.order_id = i.order_id AND r.item_id = i.item_id
"""
_WAITING = text(f"""
    SELECT * FROM ({_LINE}
        WHERE i.shop_id = :shop_id AND i.status IN ('WAIT_SELLER_SEND_GOODS', 'PAID_FORBID_CONSIGN')
          AND i.shipped_at IS NULL
    ) AS line WHERE quantity > 0 AND NOT is_shipped
    ORDER BY order_id, item_id
""")
_LISTED = text(f"""
    SELECT s.line_id, s.list_id, s.order_id, s.item_id, s.sku AS listed_sku, s.quantity AS listed_quantity,
           to_jsonb(line) AS now
    FROM core.ship_list_line s
    LEFT JOIN LATERAL ({_LINE}
        WHERE i.shop_id = s.shop_id AND i.order_id = s.order_id AND i.item_id = s.item_id
    ) AS line ON true
    WHERE s.shop_id = :shop_id AND s.stopped_at IS NULL AND s.shipped_at IS NULL
      -- What is as it was when it was listed cannot have a reason to stop. The minutes are for loads that had begun
      -- before the list and ended after it.
      AND (NOT EXISTS (SELECT FROM core.orders o WHERE o.shop_id = s.shop_id AND o.order_id = s.order_id
                       AND o.stored_at <= s.listed_at - interval '10 minutes')
           OR EXISTS (SELECT FROM core.refunds f WHERE f.shop_id = s.shop_id AND f.item_id = s.item_id
                      AND f.stored_at > s.listed_at - interval '10 minutes'))
    ORDER BY s.line_id
""")

LISTED_COLUMNS = (
    "order_id", "item_id", "warehouse", "sku", "num_iid", "sku_id", "title", "sku_properties", "quantity", "ship_by",
)  # fmt: skip
HELD_COLUMNS = ("order_id", "item_id", "sku", "quantity", "reason", "remedy", "ship_by")


def waiting_lines(connection: Connection, shop_id: str) -> list[Mapping[str, Any]]:
    """Return every paid line of a shop that was not sent, listed or not."""
    return list(connection.execute(_WAITING, {"shop_id": shop_id}).mappings())  # type: ignore[arg-type]


def listed_lines(connection: Connection, shop_id: str) -> list[Mapping[str, Any]]:
    """Return open lines of lists whose order or refunds changed since; ``now``: the line as it is, or None.

    Open: neither seen shipped nor stopped.
    """
    return list(connection.execute(_LISTED, {"shop_id": shop_id}).mappings())  # type: ignore[arg-type]


def open_keys(connection: Connection, shop_id: str) -> set[tuple[str, str]]:
    """Return order and item of every open line of a list."""
    rows = connection.execute(
        text("""
            SELECT order_id, item_id FROM core.ship_list_line
            WHERE shop_id = :shop_id AND stopped_at IS NULL AND shipped_at IS NULL
        """),
        {"shop_id": shop_id},
    )
    return {(row.order_id, row.item_id) for row in rows}


def shipped_since(connection: Connection, shop_id: str, day: date) -> dict[str, int]:
    """Return the pieces of each SKU that left after the day's snapshot of its stock was taken."""
    rows = connection.execute(
        text(f"""
            SELECT {SKU.format("i")}, sum(i.quantity)::bigint
            FROM core.orders o JOIN core.order_items i ON i.shop_id = o.shop_id AND i.order_id = o.order_id
            WHERE o.shop_id = :shop_id AND o.modified_at > (
                SELECT min(seen_at) FROM core.inventory_level WHERE shop_id = :shop_id AND day = :day
            ) AND i.shipped_at > (
                SELECT min(seen_at) FROM core.inventory_level WHERE shop_id = :shop_id AND day = :day
            )
            GROUP BY 1
        """),
        {"shop_id": shop_id, "day": day},
    )
    return {sku: pieces for sku, pieces in rows if sku}


def add_list(connection: Connection, shop_id: str, day: date, orders: int, rows: Sequence[Sequence[Any]]) -> int:
    """Store a list, rows in the order of LISTED_COLUMNS, and return its id."""
    quantity = LISTED_COLUMNS.index("quantity")
    list_id = connection.execute(
        text("""
            INSERT INTO core.ship_list (shop_id, day, orders, lines, pieces)
            VALUES (:shop_id, :day, :orders, :lines, :pieces) RETURNING list_id
        """),
        {
            "shop_id": shop_id, "day": day, "orders": orders, "lines": len(rows),
            "pieces": sum(row[quantity] for row in rows),
        },
    ).scalar_one()  # fmt: skip
    columns = ("list_id", "shop_id", *LISTED_COLUMNS)
    copy_rows(connection, "core.ship_list_line", columns, [(list_id, shop_id, *row) for row in rows])
    return int(list_id)


def replace_held(connection: Connection, shop_id: str, rows: Sequence[Sequence[Any]]) -> None:
    """Let these be the lines that are held back, in the order of HELD_COLUMNS; ``since`` stays with the reason."""
    connection.execute(
        text("""
            CREATE TEMP TABLE IF NOT EXISTS held_before (order_id text, item_id text, reason text, since timestamptz)
            ON COMMIT DELETE ROWS
        """)
    )
    connection.execute(
        text("""
            WITH gone AS (DELETE FROM core.ship_list_held WHERE shop_id = :shop_id RETURNING *)
            INSERT INTO held_before SELECT order_id, item_id, reason, since FROM gone
        """),
        {"shop_id": shop_id},
    )
    columns = ("shop_id", *HELD_COLUMNS)
    copy_rows(connection, "core.ship_list_held", columns, [(shop_id, *row) for row in rows])
    connection.execute(
        text("""
            UPDATE core.ship_list_held h SET since = b.since FROM held_before b
            WHERE h.shop_id = :shop_id AND h.order_id = b.order_id AND h.item_id = b.item_id AND h.reason = b.reason
        """),
        {"shop_id": shop_id},
    )


def mark_shipped(connection: Connection, line_ids: Sequence[int]) -> None:
    """Note that listed lines left."""
    connection.execute(
        text("UPDATE core.ship_list_line SET shipped_at = now() WHERE line_id = ANY(:ids) AND stopped_at IS NULL"),
        {"ids": list(line_ids)},
    )


def mark_stopped(connection: Connection, line_id: int, reason: str) -> bool:
    """Note that a listed line must not be sent; return False where that was known."""
    stopped = connection.execute(
        text("""
            UPDATE core.ship_list_line SET stopped_at = now(), stop_reason = :reason
            WHERE line_id = :id AND stopped_at IS NULL AND shipped_at IS NULL
        """),
        {"id": line_id, "reason": reason},
    )
    return bool(stopped.rowcount)


def shops_of_stopped(connection: Connection, line_ids: Sequence[int]) -> dict[int, str]:
    """Return the shop of each of these lines that was stopped."""
    rows = connection.execute(
        text("SELECT line_id, shop_id FROM core.ship_list_line WHERE line_id = ANY(:ids) AND stopped_at IS NOT NULL"),
        {"ids": list(line_ids)},
    )
    return {row.line_id: row.shop_id for row in rows}


def stopped_lines(
    connection: Connection, line_ids: Sequence[int], shop_ids: Sequence[str] | None
) -> list[Mapping[str, Any]]:
    """Return these stopped lines, of some shops or of all, the longest stopped first."""
    rows = connection.execute(
        text("""
            SELECT line_id, shop_id, list_id, warehouse, order_id, item_id, sku, quantity, stop_reason AS reason,
                   stopped_at
            FROM core.ship_list_line
            WHERE line_id = ANY(:ids) AND stopped_at IS NOT NULL
              AND (cast(:shop_ids AS text[]) IS NULL OR shop_id = ANY(:shop_ids))
            ORDER BY stopped_at, line_id
        """),
        {"ids": list(line_ids), "shop_ids": list(shop_ids) if shop_ids else None},
    )
    return list(rows.mappings())  # type: ignore[arg-type]


def ended_stops(connection: Connection, line_ids: Sequence[int], at_most: timedelta) -> list[int]:
    """Return which of these stopped lines nobody needs to take out any more.

    Their line is on a later list, it left all the same, or it was stopped longer ago than ``at_most``.
    """
    rows = connection.execute(
        text("""
            SELECT s.line_id FROM core.ship_list_line s
            WHERE s.line_id = ANY(:ids) AND (
                s.stopped_at < now() - cast(:at_most AS interval)
                OR EXISTS (SELECT FROM core.ship_list_line n WHERE n.shop_id = s.shop_id AND n.order_id = s.order_id
                           AND n.item_id = s.item_id AND n.stopped_at IS NULL)
                OR EXISTS (SELECT FROM core.order_items i WHERE i.shop_id = s.shop_id AND i.order_id = s.order_id
                           AND i.item_id = s.item_id AND i.shipped_at IS NOT NULL)
            )
            ORDER BY s.line_id
        """),
        {"ids": list(line_ids), "at_most": at_most},
    )
    return list(rows.scalars())


def lines_of_lists(connection: Connection, shop_ids: Sequence[str] | None) -> list[Mapping[str, Any]]:
    """Return what waits to be picked now, grouped: by shop, warehouse, SKU, then the order that leaves first."""
    rows = connection.execute(
        text("""
            SELECT shop_id, list_id, warehouse, sku, title, sku_properties, quantity, order_id, item_id, ship_by,
                   listed_at
            FROM core.ship_list_line
            WHERE stopped_at IS NULL AND shipped_at IS NULL
              AND (cast(:shop_ids AS text[]) IS NULL OR shop_id = ANY(:shop_ids))
            ORDER BY shop_id, warehouse, sku, ship_by, order_id, item_id
        """),
        {"shop_ids": list(shop_ids) if shop_ids else None},
    )
    return list(rows.mappings())  # type: ignore[arg-type]


def held_lines(connection: Connection, shop_ids: Sequence[str] | None) -> list[Mapping[str, Any]]:
    """Return what is held back, longest due first."""
    rows = connection.execute(
        text("""
            SELECT shop_id, order_id, item_id, sku, quantity, reason, remedy, ship_by, since FROM core.ship_list_held
            WHERE cast(:shop_ids AS text[]) IS NULL OR shop_id = ANY(:shop_ids)
            ORDER BY ship_by, order_id, item_id
        """),
        {"shop_ids": list(shop_ids) if shop_ids else None},
    )
    return list(rows.mappings())  # type: ignore[arg-type]


def overdue_lines(connection: Connection, shop_ids: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return lines that should have left by now: listed and not seen shipped, or held back; longest overdue first."""
    rows = connection.execute(
        text("""
            SELECT shop_id, order_id, item_id, sku, quantity, ship_by, list_id, NULL AS reason FROM core.ship_list_line
            WHERE shop_id = ANY(:shop_ids) AND stopped_at IS NULL AND shipped_at IS NULL AND ship_by < now()
            UNION ALL
            SELECT shop_id, order_id, item_id, sku, quantity, ship_by, NULL, reason FROM core.ship_list_held
            WHERE shop_id = ANY(:shop_ids) AND ship_by < now()
            ORDER BY ship_by
        """),
        {"shop_ids": list(shop_ids)},
    )
    return list(rows.mappings())  # type: ignore[arg-type]


def unlisted_lines(connection: Connection, shop_id: str) -> int:
    """Return how many paid lines are neither sent nor on a list; what holds them back may have ended."""
    count = connection.execute(
        text("""
            SELECT count(*) FROM bi.order_items i
            WHERE i.shop_id = :shop_id AND i.status = 'WAIT_SELLER_SEND_GOODS' AND i.reserved_quantity > 0
              AND NOT EXISTS (SELECT FROM core.ship_list_line l WHERE l.shop_id = i.shop_id AND l.order_id = i.order_id
                              AND l.item_id = i.item_id AND l.stopped_at IS NULL)
        """),
        {"shop_id": shop_id},
    )
    return int(count.scalar() or 0)
