"""A shop's forecast of the 7 days from a given day on, and how good such forecasts were before.

Belongs here: whether a shop's sales are fit to be forecast, reading and storing. Not here: the models
(insights/forecasting.py), the verdict about scores (insights/forecast_verdict.py).
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Engine

from order_pipeline.insights.backtest import rolling_origin, scores
from order_pipeline.insights.forecasting import WEEK, forecast
from order_pipeline.insights.panel import Panel, make_panel
from order_pipeline.notifications.digest import shown
from order_pipeline.sync.windows import day_window
from order_pipeline.warehouse.daily_sales import read_sales, sku_categories
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.forecasts import (
    BACKTEST_COLUMNS,
    FORECAST_COLUMNS,
    most_sold_in_a_week,
    replace_backtest,
    replace_forecast,
)
from order_pipeline.warehouse.watermarks import read_watermark

if TYPE_CHECKING:
    import pandas as pd

# What the models were measured with (docs/forecasting.md): a year.
HISTORY_DAYS = 365
BACKTEST_WEEKS = 6
# A forecast judged must have had some history of its own.
LEAST_HISTORY_DAYS = 28
# Ten times the best week of a year is no forecast but a defect, or a sale that nobody announced to it.
MOST_TIMES_THE_BEST_WEEK = 10


class UnfitError(Exception):
    """A shop cannot be forecast now; the message says why and what to do."""


class Forecast(NamedTuple):
    """A shop's forecast. ``frame``: see insights/forecasting.py. ``problem``: what makes it unfit to act upon."""

    shop_id: str
    day: date
    frame: pd.DataFrame
    panel: Panel
    problem: str | None


def make_forecast(engine: Engine, shop_id: str, day: date) -> Forecast:
    """Forecast a shop's 7 days from ``day`` on, by what was known before it, and store it.

    Raises UnfitError when its sales are not known up to the day, or are too few; DatabaseUnreachableError.
    """
    panel, categories = _read(engine, shop_id, day)
    frame = forecast(panel, day, categories=categories)
    problem = _problem(engine, shop_id, day, frame)
    in_transaction(engine, partial(replace_forecast, shop_id=shop_id, day=day, rows=_rows(frame, FORECAST_COLUMNS)))
    return Forecast(shop_id, day, frame, panel, problem)


def judge_forecasts(engine: Engine, shop_id: str, day: date) -> pd.DataFrame:
    """Judge forecasts of the last weeks before ``day``, store the scores and return them: one row a class of demand.

    Raises UnfitError when there is too little history to judge by; DatabaseUnreachableError.
    """
    panel, _ = _read(engine, shop_id, day)
    weeks = [day - timedelta(days=WEEK * number) for number in range(BACKTEST_WEEKS, 0, -1)]
    origins = [origin for origin in weeks if panel.column(origin) >= LEAST_HISTORY_DAYS]
    if not origins:
        raise UnfitError(
            f"judging forecasts of shop {shop_id} before {day} needs {LEAST_HISTORY_DAYS + WEEK} days of sales, there "
            f"are {panel.days}; it is judged by itself when there are more"
        )
    judged = scores(rolling_origin(panel, origins)).reset_index()
    judged["origins"] = len(origins)
    judged["forecasts"] = judged["forecasts"].astype(int)
    in_transaction(engine, partial(replace_backtest, shop_id=shop_id, day=day, rows=_rows(judged, BACKTEST_COLUMNS)))
    return judged


def _read(engine: Engine, shop_id: str, day: date) -> tuple[Panel, pd.Series]:
    import pandas as pd

    with transaction(engine) as connection:
        known = read_watermark(connection, shop_id)
        rows = read_sales(connection, shop_id, day - timedelta(days=HISTORY_DAYS), day)
        categories = sku_categories(connection, shop_id)
    if known is None or known < day_window(day).start:
        until = "nothing was loaded yet" if known is None else f"its changes are known up to {shown(known)}"
        raise UnfitError(
            f"the sales of shop {shop_id} before {day} are not all known: {until}; run order-pipeline sync, then this "
            f"again"
        )
    # Where the data begins, or every SKU would look new.
    first = min((row["day"] for row in rows), default=day)
    if (day - first).days < WEEK:
        raise UnfitError(
            f"shop {shop_id} has {(day - first).days} days of sales before {day}; a forecast needs {WEEK}: load more "
            f"history (order-pipeline backfill), or wait"
        )
    sales = pd.DataFrame(rows, columns=["sku", "day", "quantity", "in_stock"])
    return make_panel(sales, first, day), pd.Series(categories, dtype=object)


def _problem(engine: Engine, shop_id: str, day: date, frame: pd.DataFrame) -> str | None:
    import numpy as np

    numbers = frame[["mean", "variance", "q50", "q90"]].to_numpy(dtype=float)
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        return f"shop {shop_id}: a forecast is negative or no number; this is a defect, report it"
    with transaction(engine) as connection:
        best = most_sold_in_a_week(connection, shop_id, day)
    total = float(frame["mean"].sum())
    if total > MOST_TIMES_THE_BEST_WEEK * max(best, 1):
        return (
            f"shop {shop_id}: {total:,.0f} pieces are forecast, its best week of the year had {best:,}; look at its "
            f"sales (bi.daily_sku_sales) before buying by this"
        )
    return None


def _rows(frame: pd.DataFrame, columns: tuple[str, ...]) -> list[list[Any]]:
    """Return plain Python values, None for what is not a number."""
    plain = frame[list(columns)].astype(object)
    return plain.where(frame[list(columns)].notna(), None).to_numpy().tolist()
