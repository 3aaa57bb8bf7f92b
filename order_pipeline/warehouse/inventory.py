"""core.inventory_level: a day's snapshot of stock, and what is spoken for by SKU.

Belongs here: reading claims, storing levels. Not here: their arithmetic (insights/stock_levels.py), asking the
platform (sync/inventory.py), writes (stock_writes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows, staging_table

# A bundle that nobody ordered for so long is not followed any more.
BUNDLES_OF_LAST = timedelta(days=60)

LEVEL_COLUMNS = (
    "num_iid", "sku_id", "sku_code", "title", "is_onsale", "platform_quantity", "reserved", "held",
    "reserved_in_bundles", "held_in_bundles", "withheld", "sellable", "was_out_of_stock", "problem",
)  # fmt: skip


class ClaimRow(NamedTuple):
    """Pieces of a SKU that are spoken for; ids as in core.inventory_level, empty where there is none."""

    num_iid: str
    sku_id: str
    reserved: int
    held: int


def read_claims(connection: Connection, shop_id: str) -> list[ClaimRow]:
    """Return what is reserved and held now, by SKU.

    A line that is reserved already counts as that alone, though its hold may not have been derived anew yet.
    """
    rows = connection.execute(
        text("""
            SELECT num_iid, sku_id, sum(reserved)::bigint, sum(held)::bigint FROM (
                SELECT coalesce(num_iid, '') AS num_iid, coalesce(sku_id, '') AS sku_id, reserved_quantity AS reserved,
                       0 AS held
                FROM bi.order_items
                WHERE shop_id = :shop_id AND status IN ('WAIT_SELLER_SEND_GOODS', 'PAID_FORBID_CONSIGN')
                  AND shipped_at IS NULL
                UNION ALL
                SELECT h.num_iid, h.sku_id, 0, h.held_quantity FROM core.presale_hold h
                LEFT JOIN bi.order_items i
                    ON i.shop_id = h.shop_id AND i.order_id = h.order_id AND i.item_id = h.item_id
                WHERE h.shop_id = :shop_id AND h.held_quantity > 0 AND coalesce(i.reserved_quantity, 0) = 0
            ) AS claim
            WHERE reserved > 0 OR held > 0
            GROUP BY num_iid, sku_id ORDER BY num_iid, sku_id
        """),
        {"shop_id": shop_id},
    )
    return [ClaimRow(*row) for row in rows]


class BundleRow(NamedTuple):
    """A part of a bundle of the platform's own."""

    bundle_num_iid: str
    bundle_sku_id: str
    num_iid: str
    sku_id: str
    sku_code: str
    quantity: int


def ordered_bundles(connection: Connection, shop_id: str, now: datetime) -> list[tuple[str, str, Any]]:
    """Return the bundles among the orders of the last two months: item, SKU, and what its latest line says it holds."""
    rows = connection.execute(
        text("""
            SELECT DISTINCT ON (i.num_iid, i.sku_id) coalesce(i.num_iid, ''), coalesce(i.sku_id, ''),
                   i.extra -> 'combine_item_info'
            FROM core.order_items i JOIN core.orders o ON o.shop_id = i.shop_id AND o.order_id = i.order_id
            WHERE i.shop_id = :shop_id AND i.extra ? 'combine_item_info' AND o.created_at > :since
            ORDER BY i.num_iid, i.sku_id, o.created_at DESC
        """),
        {"shop_id": shop_id, "since": now - BUNDLES_OF_LAST},
    )
    return [(num_iid, sku_id, info) for num_iid, sku_id, info in rows]


def replace_components(connection: Connection, shop_id: str, parts: Sequence[BundleRow]) -> None:
    """Let these be the parts of the bundles that they name; other bundles stay."""
    if not parts:
        return
    staging_table(connection, "staged_component", "core.bundle_component")
    connection.execute(text("TRUNCATE staged_component"))
    columns = ("shop_id", *BundleRow._fields)
    copy_rows(connection, "staged_component", columns, [(shop_id, *part) for part in parts])
    connection.execute(
        text("""
            DELETE FROM core.bundle_component c USING staged_component s
            WHERE c.shop_id = s.shop_id AND c.bundle_num_iid = s.bundle_num_iid AND c.bundle_sku_id = s.bundle_sku_id
        """)
    )
    connection.execute(
        text(f"""
            INSERT INTO core.bundle_component ({", ".join(columns)})
            SELECT {", ".join(columns[:-2])}, max(sku_code), sum(quantity) FROM staged_component
            GROUP BY {", ".join(columns[:-2])}
        """)
    )


def read_components(connection: Connection, shop_id: str) -> list[BundleRow]:
    """Return the parts of the platform's own bundles."""
    rows = connection.execute(
        text(f"SELECT {', '.join(BundleRow._fields)} FROM core.bundle_component WHERE shop_id = :shop_id"),
        {"shop_id": shop_id},
    )
    return [BundleRow(*row) for row in rows]


def store_levels(
    connection: Connection, shop_id: str, day: date, seen_at: datetime, levels: Sequence[Sequence[Any]]
) -> bool:
    """Let these levels, values of LEVEL_COLUMNS, be the day's; False where a later snapshot is there already.

    A day on which nothing was left at any snapshot stays one.
    """
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtext('inventory_level'), hashtext(:shop_id))"), {"shop_id": shop_id}
    )
    key = {"shop_id": shop_id, "day": day}
    later = text("""
        SELECT EXISTS (SELECT FROM core.inventory_level WHERE shop_id = :shop_id AND day = :day AND seen_at > :seen_at)
    """)
    if connection.execute(later, key | {"seen_at": seen_at}).scalar():
        return False
    staging_table(connection, "staged_level", "core.inventory_level")
    connection.execute(text("TRUNCATE staged_level"))
    columns = ("shop_id", "day", "seen_at", *LEVEL_COLUMNS)
    copy_rows(connection, "staged_level", columns, [(shop_id, day.isoformat(), seen_at, *level) for level in levels])
    connection.execute(
        text("""
            UPDATE staged_level s SET was_out_of_stock = true
            FROM core.inventory_level l
            WHERE l.shop_id = s.shop_id AND l.day = s.day AND l.num_iid = s.num_iid AND l.sku_id = s.sku_id
              AND l.was_out_of_stock
        """)
    )
    connection.execute(text("DELETE FROM core.inventory_level WHERE shop_id = :shop_id AND day = :day"), key)
    listed = ", ".join(columns)
    connection.execute(text(f"INSERT INTO core.inventory_level ({listed}) SELECT {listed} FROM staged_level"))
    return True


def short_levels(connection: Connection, shop_id: str, day: date, limit: int) -> tuple[int, list[dict[str, Any]]]:
    """Return how many SKUs hold more for deposits than there is, and the first of them."""
    query = """
        FROM core.inventory_level
        WHERE shop_id = :shop_id AND day = :day AND held > platform_quantity + withheld
    """
    values = {"shop_id": shop_id, "day": day}
    count = connection.execute(text(f"SELECT count(*) {query}"), values).scalar_one()
    rows = connection.execute(
        text(f"""
            SELECT shop_id, num_iid, sku_id, sku_code, title, platform_quantity, held {query}
            ORDER BY held - platform_quantity DESC, num_iid, sku_id LIMIT :limit
        """),
        values | {"limit": limit},
    )
    return int(count), [dict(row) for row in rows.mappings()]


def level_codes(connection: Connection, shop_id: str) -> list[tuple[str, str, str | None]]:
    """Return item, SKU and the merchant's code of everything in the shop's latest snapshot."""
    rows = connection.execute(
        text("""
            SELECT num_iid, sku_id, sku_code FROM core.inventory_level
            WHERE shop_id = :shop_id AND day = (SELECT max(day) FROM core.inventory_level WHERE shop_id = :shop_id)
        """),
        {"shop_id": shop_id},
    )
    return [(num_iid, sku_id, code) for num_iid, sku_id, code in rows]
