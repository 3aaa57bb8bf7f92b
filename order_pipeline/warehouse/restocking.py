"""core.restock_suggestion: what the purchase list is made of, and the list itself.

Belongs here: reading stock, suppliers and what is on order; keeping one open line a SKU. Not here: the rule
(insights/replenishment.py), decisions about lines (purchases.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows, staging_table
from order_pipeline.warehouse.daily_sales import SKU

SUGGESTION_COLUMNS = (
    "sku", "supplier", "quantity", "reason", "daily_demand", "lead_time_days", "review_days", "service_level",
    "lead_time_demand", "safety_stock", "reorder_point", "order_up_to", "on_hand", "on_order", "reserved", "held",
    "position", "net_need", "moq", "pack_size", "cover_days_before", "cover_days_after", "overshoots_cover", "model",
    "demand_class", "own_wape", "unit_cost",
)  # fmt: skip

# The platform's number has paid pieces taken off, and what our own writes hold back: with both it is what is on the
# shelf. Of what is reserved inside bundles that only the merchant's list explains, the platform knows nothing.
_STOCK = text(f"""
    SELECT {SKU.format("l")} AS sku,
           CASE WHEN bool_and(l.platform_quantity IS NOT NULL)
                THEN sum(l.platform_quantity + l.withheld + l.reserved - CASE WHEN EXISTS (
                    SELECT FROM core.bundle_part p WHERE p.component_code = l.sku_code
                ) THEN l.reserved_in_bundles ELSE 0 END)::bigint END AS on_hand,
           sum(l.reserved)::bigint AS reserved, sum(l.held)::bigint AS held,
           min(l.seen_at) AS seen_at, string_agg(l.problem, '; ') AS problem
    FROM core.inventory_level l
    WHERE l.shop_id = :shop_id AND l.day = :day
    GROUP BY 1 ORDER BY 1
""")

# A row of one shop counts more than one of all shops. How many shops sell the SKU decides whether what a row of all
# shops has on order can be told apart.
_SUPPLIERS = text(f"""
    SELECT DISTINCT ON (sku) sku, supplier, lead_time_days, lead_time_deviation_days AS lead_time_sd_days, moq,
           pack_size, on_order, on_order_due, unit_cost, shop_id IS NULL AS is_of_all_shops,
           CASE WHEN shop_id IS NULL AND on_order > 0 THEN (
               -- Shop by shop, as no index knows SKUs without their shop.
               SELECT count(*) FROM sync.watermark w WHERE w.channel = 'daily_sku_sales' AND EXISTS (
                   SELECT FROM core.daily_sku_sales d WHERE d.shop_id = w.shop_id AND d.sku = named.sku
               )
           ) ELSE 1 END AS shops_selling
    FROM (
        SELECT s.*, coalesce(s.sku_code, (
            SELECT {SKU.format("l")} FROM core.inventory_level l
            WHERE l.shop_id = :shop_id AND l.sku_id = s.sku_id ORDER BY l.day DESC LIMIT 1
        ), s.sku_id) AS sku
        FROM core.supplier_item s WHERE s.shop_id = :shop_id OR s.shop_id IS NULL
    ) AS named
    ORDER BY sku, shop_id NULLS LAST, sku_code NULLS LAST
""")


class Snapshot(NamedTuple):
    """The stock to work from: its day, and each SKU's numbers (sku, on_hand, reserved, held, seen_at, problem)."""

    day: date
    rows: list[Mapping[str, Any]]


def latest_snapshot(connection: Connection, shop_id: str, oldest: date, newest: date) -> Snapshot | None:
    """Return the newest snapshot of the stock taken on these days, None without one. ``on_hand`` None: unknown."""
    day = connection.execute(
        text("SELECT max(day) FROM core.inventory_level WHERE shop_id = :shop_id AND day BETWEEN :oldest AND :newest"),
        {"shop_id": shop_id, "oldest": oldest, "newest": newest},
    ).scalar()
    if day is None:
        return None
    return Snapshot(day, list(connection.execute(_STOCK, {"shop_id": shop_id, "day": day}).mappings()))  # type: ignore[arg-type]


def supplier_rows(connection: Connection, shop_id: str) -> list[Mapping[str, Any]]:
    """Return on which terms each SKU is bought for a shop: one row a SKU."""
    return list(connection.execute(_SUPPLIERS, {"shop_id": shop_id}).mappings())  # type: ignore[arg-type]


def purchased(connection: Connection, shop_id: str) -> dict[str, int]:
    """Return the pieces of each SKU that accepted suggestions have on order."""
    rows = connection.execute(
        text("""
            SELECT sku, sum(greatest(quantity - received_quantity, 0))::bigint AS pieces FROM core.purchase
            WHERE shop_id = :shop_id AND closed_at IS NULL GROUP BY sku
        """),
        {"shop_id": shop_id},
    )
    return {row.sku: int(row.pieces) for row in rows}


def lately_rejected(connection: Connection, shop_id: str, since: datetime) -> dict[str, datetime]:
    """Return SKUs whose suggestion was rejected after a moment, and when."""
    rows = connection.execute(
        text("""
            SELECT sku, max(decided_at) AS at FROM core.restock_suggestion
            WHERE shop_id = :shop_id AND state = 'rejected' AND decided_at > :since GROUP BY sku
        """),
        {"shop_id": shop_id, "since": since},
    )
    return {row.sku: row.at for row in rows}


def latest_list_day(connection: Connection, shop_id: str) -> date | None:
    """Return the day of the latest list."""
    row = connection.execute(
        text("SELECT max(day) FROM core.restock_suggestion WHERE shop_id = :shop_id AND state = 'open'"),
        {"shop_id": shop_id},
    )
    return row.scalar()


def replace_list(connection: Connection, shop_id: str, day: date, rows: Iterable[Sequence[Any]]) -> None:
    """Make these the open lines of a shop, in the order of SUGGESTION_COLUMNS; a SKU that stays keeps its id."""
    columns = ("shop_id", "day", *SUGGESTION_COLUMNS)
    staging_table(connection, "staged_suggestion", "core.restock_suggestion")
    # An id of its own would use up the numbers of those that stay.
    connection.execute(text("ALTER TABLE staged_suggestion ALTER COLUMN suggestion_id DROP NOT NULL"))
    connection.execute(text("TRUNCATE staged_suggestion"))
    copy_rows(connection, "staged_suggestion", columns, [(shop_id, day.isoformat(), *row) for row in rows])
    # Without figures about it, ten thousand rows are joined row by row.
    connection.execute(text("ANALYZE staged_suggestion"))
    connection.execute(
        text("""
            DELETE FROM core.restock_suggestion s WHERE shop_id = :shop_id AND state = 'open'
            AND NOT EXISTS (SELECT FROM staged_suggestion n WHERE n.sku = s.sku)
        """),
        {"shop_id": shop_id},
    )
    # Lines that are there are changed, the others added: an upsert would take a number for each of the former.
    connection.execute(
        text(f"""
            UPDATE core.restock_suggestion s
            SET {", ".join(f"{column} = n.{column}" for column in columns[1:])}, made_at = now()
            FROM staged_suggestion n
            WHERE s.shop_id = n.shop_id AND s.sku = n.sku AND s.state = 'open'
        """)
    )
    connection.execute(
        text(f"""
            INSERT INTO core.restock_suggestion ({", ".join(columns)})
            SELECT {", ".join(columns)} FROM staged_suggestion n
            WHERE NOT EXISTS (SELECT FROM core.restock_suggestion s
                              WHERE s.shop_id = n.shop_id AND s.sku = n.sku AND s.state = 'open')
            ORDER BY sku
        """)
    )


def replace_problems(connection: Connection, shop_id: str, day: date, problems: Sequence[tuple[str, str, str]]) -> None:
    """Keep what was wrong with the inputs of the latest list: sku, field, problem."""
    connection.execute(text("DELETE FROM core.restock_problem WHERE shop_id = :shop_id"), {"shop_id": shop_id})
    copy_rows(
        connection,
        "core.restock_problem",
        ("shop_id", "day", "number", "sku", "field", "problem"),
        [(shop_id, day.isoformat(), number, *each) for number, each in enumerate(problems, 1)],
    )


def open_list(
    connection: Connection, shop_ids: Sequence[str] | None, *, only_to_buy: bool = True
) -> list[Mapping[str, Any]]:
    """Return the open lines of the latest lists, largest cost of waiting (least cover) first."""
    rows = connection.execute(
        text(f"""
            SELECT suggestion_id, shop_id, day, {", ".join(SUGGESTION_COLUMNS)}, made_at
            FROM core.restock_suggestion
            WHERE state = 'open' AND (cast(:shop_ids AS text[]) IS NULL OR shop_id = ANY(:shop_ids))
              AND (quantity > 0 OR NOT :only_to_buy)
            ORDER BY shop_id, supplier, cover_days_before NULLS FIRST, sku
        """),
        {"shop_ids": list(shop_ids) if shop_ids else None, "only_to_buy": only_to_buy},
    )
    return list(rows.mappings())  # type: ignore[arg-type]
