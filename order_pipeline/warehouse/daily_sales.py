"""core.daily_sku_sales: order lines as demand reads them, and the days that have to be counted again.

Belongs here: reading lines, bundles and days without stock; replacing whole days. Not here: what counts as demand
(insights/demand.py), when to count (sync/demand.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows

# The name of a SKU in everything about demand and stock: the merchant's own code, else the platform's id.
SKU = "coalesce(nullif({0}.sku_code, ''), nullif({0}.sku_id, ''), nullif({0}.num_iid, ''))"

# Cash on delivery is wanted when it is ordered; its pay_time is the delivery (Taobao contract §4.6).
_PAID = """
    CASE WHEN o.type IN ('cod', 'b2c_cod', 'super_market_cod_trade') THEN o.created_at ELSE o.paid_at END
"""
_LINES = text(f"""
    SELECT o.order_id, {SKU.format("i")} AS sku, o.buyer_open_uid AS buyer,
           -- What was refunded before it left was not wanted; what came back later was.
           CASE WHEN s.shipped_at IS NULL AND r.refunded_quantity < i.quantity
                THEN i.quantity - r.refunded_quantity ELSE i.quantity END AS quantity,
           coalesce(i.divided_payment, i.payment, 0)::float8 AS payment,
           {_PAID} AS paid_at,
           CASE WHEN o.step_status = 'FRONT_PAID_FINAL_PAID' THEN o.paid_at END AS final_paid_at,
           o.type = 'step' OR o.step_status IS NOT NULL AS is_step_presale,
           s.shipped_at,
           CASE WHEN i.status IN ('TRADE_CLOSED', 'TRADE_CLOSED_BY_TAOBAO') OR r.refunded_quantity >= i.quantity
                THEN coalesce(i.ended_at, o.ended_at, o.modified_at) END AS closed_at,
           o.seller_flag
    FROM core.orders o
    JOIN core.order_items i ON i.shop_id = o.shop_id AND i.order_id = o.order_id
    JOIN core.refunded_item r ON r.shop_id = i.shop_id AND r.order_id = i.order_id AND r.item_id = i.item_id
    CROSS JOIN LATERAL (
        SELECT coalesce(i.shipped_at, CASE WHEN i.status IN
            ('WAIT_BUYER_CONFIRM_GOODS', 'TRADE_BUYER_SIGNED', 'TRADE_FINISHED') THEN o.shipped_at END) AS shipped_at
    ) s
    WHERE o.shop_id = :shop_id AND {_PAID} >= :start AND {_PAID} < :end
      AND (({_PAID}) AT TIME ZONE 'Asia/Shanghai')::date = ANY(:days)
    ORDER BY o.order_id, i.item_id
""")
LINE_COLUMNS = (
    "order_id", "sku", "buyer", "quantity", "payment", "paid_at", "final_paid_at", "is_step_presale", "shipped_at",
    "closed_at", "seller_flag",
)  # fmt: skip

# The moment that rows were stored is when their transaction began: what was stored a little before the last look may
# have been committed after it.
_CHANGED = text(f"""
    SELECT DISTINCT (({_PAID}) AT TIME ZONE 'Asia/Shanghai')::date AS day
    FROM core.orders o
    WHERE o.shop_id = :shop_id AND {_PAID} IS NOT NULL
      AND (o.stored_at > :since OR EXISTS (
          SELECT FROM core.refunds r
          WHERE r.shop_id = o.shop_id AND r.order_id = o.order_id AND r.stored_at > :since
      ))
    ORDER BY day
""")

_BUNDLES = text(f"""
    SELECT bundle_code AS bundle_sku, component_code AS component_sku, quantity AS units FROM core.bundle_part
    UNION ALL
    SELECT b.sku, {SKU.format("c")}, c.quantity
    FROM core.bundle_component c
    CROSS JOIN LATERAL (
        SELECT {SKU.format("i")} AS sku FROM core.order_items i
        WHERE i.shop_id = c.shop_id AND i.num_iid = c.bundle_num_iid
          AND coalesce(i.sku_id, '') = c.bundle_sku_id AND i.extra ? 'combine_item_info'
        LIMIT 1
    ) b
    -- The merchant's own list counts more than what orders say.
    WHERE c.shop_id = :shop_id AND NOT EXISTS (SELECT FROM core.bundle_part p WHERE p.bundle_code = b.sku)
""")

_OUT_OF_STOCK = text(f"""
    SELECT {SKU.format("l")} AS sku, l.day, 0 AS sellable
    FROM core.inventory_level l
    WHERE l.shop_id = :shop_id AND l.day = ANY(:days)
    GROUP BY 1, 2
    -- Sold under several ids, it is out of stock when none of them has any; unknown is not none.
    HAVING bool_and(coalesce(l.was_out_of_stock, false))
""")


def database_moment(connection: Connection) -> datetime:
    """Return when this transaction began, by the database's clock."""
    moment = connection.execute(text("SELECT now()")).scalar()
    assert isinstance(moment, datetime)  # noqa: S101 - Postgres answers nothing else
    return moment


def changed_days(connection: Connection, shop_id: str, since: datetime) -> list[date]:
    """Return the days of payment (Asia/Shanghai) of orders that were stored, or got a refund, after a moment."""
    return list(connection.execute(_CHANGED, {"shop_id": shop_id, "since": since}).scalars())


def demand_lines(
    connection: Connection, shop_id: str, days: Sequence[date], start: datetime, end: datetime
) -> list[Mapping[str, Any]]:
    """Return the lines of orders paid on these days, which lie from ``start`` to ``end``; keys are LINE_COLUMNS."""
    values = {"shop_id": shop_id, "days": list(days), "start": start, "end": end}
    return list(connection.execute(_LINES, values).mappings())  # type: ignore[arg-type]


def bundles(connection: Connection, shop_id: str) -> list[Mapping[str, Any]]:
    """Return what bundles are made of: bundle_sku, component_sku, units."""
    return list(connection.execute(_BUNDLES, {"shop_id": shop_id}).mappings())  # type: ignore[arg-type]


def days_out_of_stock(connection: Connection, shop_id: str, days: Sequence[date]) -> list[Mapping[str, Any]]:
    """Return SKUs and days on which stock ran out: sku, day, sellable (0)."""
    rows = connection.execute(_OUT_OF_STOCK, {"shop_id": shop_id, "days": list(days)})
    return list(rows.mappings())  # type: ignore[arg-type]


def lock_shop(connection: Connection, shop_id: str, purpose: str) -> None:
    """Let one transaction at a time do something for a shop; held to its end."""
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"order_pipeline/{purpose}/{shop_id}"}
    )


def replace_days(
    connection: Connection, shop_id: str, days: Sequence[date], rows: Iterable[tuple[str, date, int, int, bool]]
) -> None:
    """Write whole days anew. Rows: sku, day, quantity, orders, in_stock."""
    connection.execute(
        text("DELETE FROM core.daily_sku_sales WHERE shop_id = :shop_id AND day = ANY(:days)"),
        {"shop_id": shop_id, "days": list(days)},
    )
    copy_rows(
        connection,
        "core.daily_sku_sales",
        ("shop_id", "sku", "day", "quantity", "orders", "in_stock"),
        [(shop_id, sku, day.isoformat(), quantity, orders, in_stock) for sku, day, quantity, orders, in_stock in rows],
    )


def first_paid_day(connection: Connection, shop_id: str) -> date | None:
    """Return the day of the first payment (Asia/Shanghai), None without any."""
    row = connection.execute(
        text("SELECT (min(paid_at) AT TIME ZONE 'Asia/Shanghai')::date FROM core.orders WHERE shop_id = :shop_id"),
        {"shop_id": shop_id},
    )
    return row.scalar()


def read_sales(connection: Connection, shop_id: str, first: date, until: date) -> list[Mapping[str, Any]]:
    """Return sku, day, quantity, in_stock from the first day up to but without ``until``."""
    rows = connection.execute(
        text("""
            SELECT sku, day, quantity, in_stock FROM core.daily_sku_sales
            WHERE shop_id = :shop_id AND day >= :first AND day < :until
        """),
        {"shop_id": shop_id, "first": first, "until": until},
    )
    return list(rows.mappings())  # type: ignore[arg-type]


def sku_categories(connection: Connection, shop_id: str) -> dict[str, str]:
    """Return the platform's category of each SKU that was ordered."""
    rows = connection.execute(
        text(f"""
            SELECT {SKU.format("i")}, max(i.category_id) FROM core.order_items i
            WHERE i.shop_id = :shop_id AND i.category_id IS NOT NULL GROUP BY 1
        """),
        {"shop_id": shop_id},
    )
    return {sku: category for sku, category in rows if sku}


def sales_totals(connection: Connection, shop_ids: Sequence[str], days: Sequence[date]) -> list[Mapping[str, Any]]:
    """Return what was counted by shop and day: shop_id, day, skus, quantity, orders are of SKUs, out_of_stock."""
    rows = connection.execute(
        text("""
            SELECT shop_id, day, count(*) FILTER (WHERE quantity > 0) AS skus, sum(quantity)::bigint AS quantity,
                   count(*) FILTER (WHERE NOT in_stock) AS out_of_stock
            FROM core.daily_sku_sales WHERE shop_id = ANY(:shop_ids) AND day = ANY(:days)
            GROUP BY shop_id, day ORDER BY day DESC, shop_id
        """),
        {"shop_ids": list(shop_ids), "days": list(days)},
    )
    return list(rows.mappings())  # type: ignore[arg-type]
