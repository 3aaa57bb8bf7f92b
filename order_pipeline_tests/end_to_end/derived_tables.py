"""What is derived from orders, refunds and the platform's answers, beside the same derived once and never killed."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine, text

from order_pipeline.warehouse.database import transaction

# Everything derived, and how far each derivation is. Kept: what was written to the platform, as it is there.
FORGET = (
    """
    TRUNCATE core.presale_hold, core.presale_hold_entry, core.parcel, core.parcel_event, core.logistics_alert,
             core.follow_up, core.inventory_level, core.daily_sku_sales, core.demand_forecast, core.forecast_backtest,
             core.restock_suggestion, core.purchase, core.restock_problem, core.ship_list, core.ship_list_line,
             core.ship_list_held
    """,
    "DELETE FROM sync.watermark WHERE channel IN ('presale_holds', 'daily_sku_sales')",
)
# Without the times at which something was derived, and without what stays as a record of earlier states: holds that
# ended, numbers that were replaced, alerts that are closed, lists of the past.
DERIVED = {
    "presale_holds": """
        SELECT order_id, item_id, kind, stage, num_iid, sku_id, sku_code, quantity, held_quantity, reserved_quantity,
               order_modified_at
        FROM core.presale_hold WHERE held_quantity > 0 OR reserved_quantity > 0
    """,
    # Of what has arrived or is closed nobody asks, so how much was known by then is as it was.
    "shipment_traces": """
        SELECT p.direction, p.tracking_number, p.company, p.order_ids::text, p.item_ids::text, p.contents, p.shipped_at,
               CASE WHEN contents = 'open' THEN p.state END, CASE WHEN contents = 'open' THEN p.last_event_at END,
               CASE WHEN contents = 'open' THEN (
                   SELECT count(*) FROM core.parcel_event e WHERE e.shop_id = p.shop_id
                   AND e.direction = p.direction AND e.tracking_number = p.tracking_number) END AS events
        FROM core.parcel p WHERE contents <> 'replaced'
    """,
    "logistics_alerts": """
        SELECT a.direction, a.tracking_number, a.rule, a.also::text, a.since, a.crossed_at, f.state AS follow_up
        FROM core.logistics_alert a JOIN core.follow_up f ON f.shop_id = a.shop_id AND f.alert_id = a.alert_id
        WHERE a.closed_at IS NULL
    """,
    "inventory_levels": """
        SELECT num_iid, sku_id, platform_quantity, reserved, held, reserved_in_bundles, held_in_bundles, withheld,
               sellable, was_out_of_stock, problem
        FROM core.inventory_level WHERE day = :day
    """,
    "daily_sku_sales": "SELECT day, sku, quantity, orders, in_stock FROM core.daily_sku_sales",
    "demand_forecast": """
        SELECT sku, model, demand_class, round(mean::numeric, 6), round(variance::numeric, 6), q50, q90
        FROM core.demand_forecast WHERE day = :day
    """,
    "forecast_backtest": """
        SELECT demand_class, origins, forecasts, sold, round(wape::numeric, 6), round(pinball::numeric, 6)
        FROM core.forecast_backtest WHERE day = :day
    """,
    "restock_suggestions": """
        SELECT sku, supplier, quantity, reason, lead_time_demand::numeric(18, 6), reorder_point, order_up_to, on_hand,
               on_order, reserved, held, position, net_need
        FROM core.restock_suggestion WHERE day = :day AND state = 'open'
    """,
    "restock_problems": "SELECT sku, field, problem FROM core.restock_problem WHERE day = :day",
}
# What a list may never be in: each query names the rows that are.
IMPOSSIBLE = {
    "a line that waits is on a list, or held back with a reason, and not both": """
        WITH waiting AS (
            SELECT i.order_id, i.item_id FROM core.order_items i
            JOIN core.refunded_item r ON r.shop_id = i.shop_id AND r.order_id = i.order_id AND r.item_id = i.item_id
            WHERE i.status IN ('WAIT_SELLER_SEND_GOODS', 'PAID_FORBID_CONSIGN') AND i.shipped_at IS NULL
              AND i.quantity > r.refunded_quantity
        )
        SELECT w.order_id, w.item_id FROM waiting w
        WHERE (SELECT count(*) FROM core.ship_list_line l WHERE l.order_id = w.order_id AND l.item_id = w.item_id
                   AND l.stopped_at IS NULL AND l.shipped_at IS NULL)
            + (SELECT count(*) FROM core.ship_list_held h WHERE h.order_id = w.order_id AND h.item_id = w.item_id) <> 1
    """,
    "a list has the lines that it says": """
        SELECT s.list_id FROM core.ship_list s
        WHERE s.lines <> (SELECT count(*) FROM core.ship_list_line l WHERE l.list_id = s.list_id)
    """,
    "a list was handed over whole and once": """
        SELECT s.list_id FROM core.ship_list s
        WHERE s.lines <> (SELECT coalesce(sum(jsonb_array_length(payload -> 'lines')), 0) FROM sync.hook_event
                          WHERE kind = 'ship_list' AND payload ->> 'list' = s.list_id::text)
    """,
    "a stop was told once, to people and to systems": """
        SELECT l.line_id FROM core.ship_list_line l
        WHERE (l.stopped_at IS NOT NULL)::int <> (SELECT count(*) FROM sync.hook_event
                                                  WHERE key = 'shipment_stopped/' || l.shop_id || '/' || l.line_id)
           OR (l.stopped_at IS NOT NULL)::int <> (SELECT coalesce(sum(times_raised), 0) FROM sync.notice
                                                  WHERE subject = l.shop_id || ' ' || l.line_id
                                                    AND kind = 'stop_shipment')
    """,
    "no write of stock is in doubt": "SELECT write_id FROM core.stock_write WHERE status IN ('planned', 'unknown')",
    "what is held back grows by what was written": """
        SELECT write_id FROM (
            SELECT *, lag(withheld, 1, 0) OVER (PARTITION BY num_iid, sku_id ORDER BY write_id) AS had
            FROM core.stock_write WHERE status = 'done'
        ) AS done WHERE withheld_before <> had OR withheld - withheld_before <> before - target
    """,
}


def forget_derived(engine: Engine) -> None:
    """Empty what is derived, as if it had never been."""
    with transaction(engine) as connection:
        for statement in FORGET:
            connection.execute(text(statement))


def derived(engine: Engine, day: date) -> dict[str, Counter[tuple[Any, ...]]]:
    """Return the rows of everything derived, as of that day, by asset."""
    with transaction(engine) as connection:
        return {name: Counter(_rows(connection, query, day)) for name, query in DERIVED.items()}


def impossible(engine: Engine, day: date) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows that break a rule, by rule."""
    with transaction(engine) as connection:
        found = {rule: _rows(connection, query, day) for rule, query in IMPOSSIBLE.items()}
    return {rule: rows[:5] for rule, rows in found.items() if rows}


def withheld(engine: Engine) -> dict[int, int]:
    """Return what our writes hold back of each SKU, by its id."""
    with transaction(engine) as connection:
        rows = connection.execute(
            text("""
                SELECT DISTINCT ON (num_iid, sku_id) sku_id, withheld FROM core.stock_write
                WHERE status = 'done' AND sku_id <> ''
                ORDER BY num_iid, sku_id, write_id DESC
            """)
        )
        return {int(row.sku_id): int(row.withheld) for row in rows if row.withheld}


def _rows(connection: Connection, query: str, day: date) -> list[tuple[Any, ...]]:
    values = {"day": day} if ":day" in query else {}
    return [tuple(row) for row in connection.execute(text(query), values)]
