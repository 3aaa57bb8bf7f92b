"""Counting demand: the days of a run, and the days whose orders changed since the last count, whole and anew.

Belongs here: which days, from lines to rows, in one transaction. Not here: what counts (insights/demand.py), tables
(warehouse/daily_sales.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.insights.demand import DemandRules, daily_sku_sales
from order_pipeline.sync.windows import day_of, day_window, days_between
from order_pipeline.warehouse.daily_sales import (
    LINE_COLUMNS,
    bundles,
    changed_days,
    database_moment,
    days_out_of_stock,
    demand_lines,
    first_paid_day,
    lock_shop,
    replace_days,
)
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.watermarks import begin_watermark, move_watermark, read_watermark

CHANNEL = "daily_sku_sales"
# What was stored by a transaction that began before the last look and ended after it. No load takes as long.
OVERLAP = timedelta(minutes=10)
# Forecasts look back a year; older days of a first count serve nobody.
FIRST_COUNT_DAYS = 400
PROBLEMS_SHOWN = 50


class Counted(NamedTuple):
    """What a count of a shop did. ``left_out``: lines by reason; ``problems``: row by row, with the remedy."""

    shop_id: str
    days: tuple[date, ...]
    lines: int
    quantity: int
    left_out: dict[str, int]
    problems: list[dict[str, str]]


def count_demand(
    engine: Engine, shop_id: str, days: Sequence[date], *, rules: DemandRules | None = None, rebuild: bool = False
) -> Counted:
    """Count the demand of these days, the days before them, and days whose orders changed since the last count, anew.

    Doing it twice changes nothing. ``rebuild``: count all days. Raises DatabaseUnreachableError.
    """
    return in_transaction(engine, partial(_count, shop_id=shop_id, days=days, rules=rules, rebuild=rebuild))


def _count(
    connection: Connection, *, shop_id: str, days: Sequence[date], rules: DemandRules | None, rebuild: bool
) -> Counted:
    lock_shop(connection, shop_id, CHANNEL)
    moment = database_moment(connection)
    since = read_watermark(connection, shop_id, CHANNEL)
    if since is None or rebuild:
        first = first_paid_day(connection, shop_id)
        today = day_of(moment)
        stale = [] if first is None else list(days_between(max(first, today - timedelta(FIRST_COUNT_DAYS)), today))
    else:
        stale = changed_days(connection, shop_id, since - OVERLAP)
    # Yesterday's stock may have run out after its last count, which changes no order.
    yesterdays = {day - timedelta(days=1) for day in days}
    due = sorted({*days, *yesterdays, *stale})
    counted = _count_days(connection, shop_id, due, rules)
    begin_watermark(connection, shop_id, moment, CHANNEL)
    move_watermark(connection, shop_id, moment, CHANNEL)
    return counted


def _count_days(connection: Connection, shop_id: str, days: Sequence[date], rules: DemandRules | None) -> Counted:
    import pandas as pd

    if not days:
        return Counted(shop_id, (), 0, 0, {}, [])
    rows = demand_lines(connection, shop_id, days, day_window(days[0]).start, day_window(days[-1]).end)
    lines = pd.DataFrame(rows, columns=list(LINE_COLUMNS))
    for name in ("paid_at", "final_paid_at", "shipped_at", "closed_at"):
        lines[name] = pd.to_datetime(lines[name], utc=True)
    lines["sku"] = lines["sku"].astype(object)
    parts = pd.DataFrame(bundles(connection, shop_id), columns=["bundle_sku", "component_sku", "units"])
    stock = pd.DataFrame(days_out_of_stock(connection, shop_id, days), columns=["sku", "day", "sellable"])
    # As daily sales have it: midnight of the merchant's day, without a zone.
    stock["day"] = pd.to_datetime(stock["day"])
    demand = daily_sku_sales(
        lines, rules=rules, bundles=parts if len(parts) else None, stock=stock if len(stock) else None
    )
    sales = demand.sales
    replace_days(
        connection,
        shop_id,
        days,
        zip(
            sales["sku"],
            (moment.date() for moment in sales["day"]),
            sales["quantity"].tolist(),
            sales["orders"].tolist(),
            sales["in_stock"].tolist(),
            strict=True,
        ),
    )
    problems = [
        {"shop": shop_id, "where": _where(rows, each.row), "column": each.column, "problem": each.message}
        for each in demand.problems[:PROBLEMS_SHOWN]
    ]
    return Counted(shop_id, tuple(days), len(lines), int(sales["quantity"].sum()), demand.left_out, problems)


def _where(rows: Sequence[Mapping[str, Any]], row: object) -> str:
    """Name the order of a line, or the row of the list of bundles."""
    return f"order {rows[row]['order_id']}" if isinstance(row, int) and row < len(rows) else f"bundle row {row}"
