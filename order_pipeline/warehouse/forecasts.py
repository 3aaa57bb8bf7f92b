"""core.demand_forecast and core.forecast_backtest: a day's forecast whole, and how good it would have been.

Belongs here: storing and reading them, and for how long they are kept. Not here: making them (sync/forecasting.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows
from order_pipeline.warehouse.watermarks import known_shops

FORECAST_COLUMNS = (
    "sku", "model", "demand_class", "mean", "variance", "growth", "q50", "q90", "own_wape", "own_bias",
)  # fmt: skip
BACKTEST_COLUMNS = (
    "demand_class", "origins", "forecasts", "sold", "wape", "wape_week_before", "bias", "mase", "coverage", "pinball",
    "long_coverage",
)  # fmt: skip


# What was bought by a forecast lasts 90 days at most (the longest cover that is not warned of); so long one can look
# up, day by day, what was expected of it. A year later the same week is worth comparing, and one forecast a week is
# enough for that: Monday's, which the backtest follows. 10,000 SKUs come to 1.4 million rows that way, and stay so.
EVERY_DAY_FOR_DAYS = 92
MONDAYS_FOR_DAYS = 400


_OLD = """
    FROM core.demand_forecast
    WHERE shop_id = ANY(:shop_ids)
      AND (day < :mondays_from OR (day < :every_day_from AND extract(isodow FROM day) <> 1))
"""


def thin_forecasts(connection: Connection, today: date, *, dry_run: bool = False) -> int:
    """Delete forecasts that are old: those of weekdays but Monday first, later all. Return how many rows went.

    Nobody decides by them: purchases keep their own working (core.restock_suggestion), and backtests make past
    forecasts again (core.forecast_backtest keeps their scores for good). ``dry_run``: only count.
    """
    values = {
        "shop_ids": known_shops(connection),
        "every_day_from": today - timedelta(days=EVERY_DAY_FOR_DAYS),
        "mondays_from": today - timedelta(days=MONDAYS_FOR_DAYS),
    }
    if dry_run:
        return int(connection.execute(text(f"SELECT count(*) {_OLD}"), values).scalar_one())
    return int(connection.execute(text(f"DELETE {_OLD}"), values).rowcount)


def replace_forecast(connection: Connection, shop_id: str, day: date, rows: Iterable[Sequence[Any]]) -> None:
    """Write the forecast that begins with a day anew; rows in the order of FORECAST_COLUMNS."""
    _replace(connection, "core.demand_forecast", FORECAST_COLUMNS, shop_id, day, rows)


def replace_backtest(connection: Connection, shop_id: str, day: date, rows: Iterable[Sequence[Any]]) -> None:
    """Write the scores of the weeks before a day anew; rows in the order of BACKTEST_COLUMNS."""
    _replace(connection, "core.forecast_backtest", BACKTEST_COLUMNS, shop_id, day, rows)


def _replace(
    connection: Connection,
    table: str,
    columns: tuple[str, ...],
    shop_id: str,
    day: date,
    rows: Iterable[Sequence[Any]],
) -> None:
    connection.execute(
        text(f"DELETE FROM {table} WHERE shop_id = :shop_id AND day = :day"), {"shop_id": shop_id, "day": day}
    )
    copy_rows(connection, table, ("shop_id", "day", *columns), [(shop_id, day.isoformat(), *row) for row in rows])


def read_forecast(connection: Connection, shop_id: str, day: date) -> list[Mapping[str, Any]]:
    """Return the forecast that begins with a day; keys are FORECAST_COLUMNS."""
    rows = connection.execute(
        text(f"""
            SELECT {", ".join(FORECAST_COLUMNS)} FROM core.demand_forecast
            WHERE shop_id = :shop_id AND day = :day ORDER BY sku
        """),
        {"shop_id": shop_id, "day": day},
    )
    return list(rows.mappings())  # type: ignore[arg-type]


def latest_scores(connection: Connection, shop_ids: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return each shop's latest backtest by class of demand."""
    rows = connection.execute(
        text(f"""
            SELECT DISTINCT ON (shop_id, demand_class) shop_id, day, {", ".join(BACKTEST_COLUMNS)}
            FROM core.forecast_backtest WHERE shop_id = ANY(:shop_ids)
            ORDER BY shop_id, demand_class, day DESC
        """),
        {"shop_ids": list(shop_ids)},
    )
    return list(rows.mappings())  # type: ignore[arg-type]


def most_sold_in_a_week(connection: Connection, shop_id: str, day: date) -> int:
    """Return the most pieces that the shop sold in any 7 days of the year before a day."""
    row = connection.execute(
        text("""
            SELECT max(pieces) FROM (
                SELECT sum(sum(quantity)) OVER (ORDER BY day RANGE BETWEEN '6 days' PRECEDING AND CURRENT ROW) AS pieces
                FROM core.daily_sku_sales
                WHERE shop_id = :shop_id AND day < :day AND day >= cast(:day AS date) - 365
                GROUP BY day
            ) AS weeks
        """),
        {"shop_id": shop_id, "day": day},
    )
    return int(row.scalar() or 0)
