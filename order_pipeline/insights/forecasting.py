"""What each SKU of a shop will sell in the 7 days from a given day on: mean, spread, quantiles, and by which model.

Belongs here: choosing the model for each SKU, and calibrating on the shop's own last weeks. Not here: the models
(``learning``, ``smoothing``), judging them (``backtest``), what to buy (``replenishment``).

Nothing at or after the origin is read, except the promotion plan. The forecast frame has one row a SKU:

| column | meaning |
|---|---|
| sku | |
| model | ``trees``, ``smoothing``, ``cold start``, ``dormant`` |
| demand_class | ``smooth``, ``erratic``, ``intermittent``, ``lumpy``, ``new`` or ``none`` |
| mean | pieces expected in the 7 days |
| variance | of the 7-day sum |
| growth | the variance of H days is variance x (H/7)^growth |
| q50, q90, … | whole pieces not exceeded with that probability, one column a level |
| own_wape, own_bias | of forecasts made like this one for the SKU's last 8 weeks; NaN where there were none |
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from order_pipeline.insights import learning
from order_pipeline.insights.panel import Panel
from order_pipeline.insights.quantiles import Spread, calibrate, quantile
from order_pipeline.insights.smoothing import imapa

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from order_pipeline.insights.panel import Flags, Numbers

WEEK = 7
# Younger SKUs have no history that says more than that of other newcomers.
COLD_START_DAYS = 56
# No sale in this long, and nothing is forecast or suggested.
DORMANT_DAYS = 56
CALIBRATION_WEEKS = 8
# The length of lead time plus review by which the growth of the variance is learnt.
LONG_DAYS = 28
VARIANCE_WEEKS = 13
SMOOTHING_WEEKS = 26
# A newcomer's own sales count as much as the usual newcomer's after this many weeks.
NEWCOMER_WEEKS = 2
# Limits between the classes of Syntetos, Boylan & Croston (2005): days between sales, squared variation of a sale.
INTERMITTENT_FROM = 1.32
ERRATIC_FROM = 0.49
LEVELS = (0.5, 0.9)
CALIBRATED_AT = 0.9


class Past(NamedTuple):
    """Forecasts that were made for the last weeks, one column a week, NaN where none was made; and what was sold."""

    forecast: Numbers
    actual: Numbers


def forecast(
    panel: Panel,
    origin: date,
    *,
    levels: tuple[float, ...] = LEVELS,
    categories: pd.Series | None = None,
) -> pd.DataFrame:
    """Forecast the 7 days that begin with ``origin`` for every SKU that was known before it.

    Args:
        panel: the shop's sales. Of what lies at or after the origin only the promotion plan is used.
        origin: the first day of the forecast.
        levels: quantiles wanted.
        categories: SKU to category; newcomers are compared with newcomers of theirs.

    Raises:
        ValueError: the panel ends before the origin, or begins less than a week before it.

    """
    import numpy as np
    import pandas as pd

    at = panel.column(origin)
    if not WEEK <= at <= panel.days:
        raise ValueError(
            f"cannot forecast from {origin}: the sales cover {panel.days} days from {panel.first_day} on; "
            "give at least the 7 days before it, up to the day before it"
        )
    alive, dormant, new = _kinds(panel, at)
    past, spread, booster = _rehearse(panel, at)
    usual = np.flatnonzero(alive)
    mean = np.zeros(len(panel.skus))
    mean[usual] = _predict(panel, at, usual, booster) * spread.bias
    variance = _variance(panel, at, np.arange(len(panel.skus))) * spread.multiplier
    newcomers = np.flatnonzero(new)
    mean[newcomers], variance[newcomers] = _newcomers(panel, at, newcomers, categories)
    model = np.select([dormant, new], ["dormant", "cold start"], "trees" if booster is not None else "smoothing")
    error = past.forecast - past.actual
    sold = np.where(np.isnan(error), 0.0, past.actual).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        own_wape = np.where(sold > 0, np.nansum(np.abs(error), axis=1) / sold, np.nan)
        own_bias = np.where(sold > 0, np.nansum(error, axis=1) / sold, np.nan)
    frame = pd.DataFrame(
        {
            "sku": panel.skus,
            "model": model,
            "demand_class": demand_classes(panel, at),
            "mean": mean,
            "variance": np.maximum(variance, mean),
            "growth": spread.growth,
            **{f"q{round(level * 100)}": quantile(mean, variance, level).astype(np.int64) for level in levels},
            "own_wape": own_wape,
            "own_bias": own_bias,
        }
    )
    return frame[panel.born < at].reset_index(drop=True)


def demand_classes(panel: Panel, at: int) -> NDArray[Any]:
    """Name each SKU's class of demand by its days in stock before column ``at``."""
    import numpy as np

    quantity, in_stock = panel.quantity[:, :at], panel.in_stock[:, :at]
    # Sales on a day out of stock are estimates: they tell nothing of the variation.
    sold = (quantity > 0) & in_stock
    lived = (np.arange(at)[None, :] >= panel.born[:, None]) & in_stock
    sales = sold.sum(axis=1)
    interval = lived.sum(axis=1) / np.maximum(sales, 1)
    pieces = np.where(sold, quantity, 0.0)
    mean = pieces.sum(axis=1) / np.maximum(sales, 1)
    square = (pieces * pieces).sum(axis=1) / np.maximum(sales, 1)
    variation = np.where(mean > 0, (square - mean * mean) / np.maximum(mean * mean, 1e-12), 0.0)
    return np.select(
        [
            sales == 0,
            at - panel.born < COLD_START_DAYS,
            (interval < INTERMITTENT_FROM) & (variation < ERRATIC_FROM),
            interval < INTERMITTENT_FROM,
            variation < ERRATIC_FROM,
        ],
        ["none", "new", "smooth", "erratic", "intermittent"],
        "lumpy",
    )


def _kinds(panel: Panel, at: int) -> tuple[Flags, Flags, Flags]:
    dormant = panel.sums(at - DORMANT_DAYS, at) <= 0
    # In the panel's first weeks everything looks new; what sold on its first days is older than the panel.
    new = ~dormant & (at - panel.born < COLD_START_DAYS) & (panel.born > WEEK)
    return ~dormant & ~new, dormant, new


def _rehearse(panel: Panel, at: int) -> tuple[Past, Spread, Any]:
    """Forecast the last weeks with what was known before them, learn from it, and train for the origin."""
    import numpy as np

    cuts = [cut for cut in range(at - CALIBRATION_WEEKS * WEEK, at, WEEK) if cut >= WEEK]
    # One model for all of them, from before the first: a model a week would take eight times as long.
    earlier = learning.train(panel, at - CALIBRATION_WEEKS * WEEK)
    said = np.full((len(panel.skus), len(cuts)), np.nan)
    sold = np.zeros_like(said)
    short: list[tuple[Numbers, Numbers, Numbers]] = []
    long: list[tuple[Numbers, Numbers, Numbers]] = []
    for number, cut in enumerate(cuts):
        rows = np.flatnonzero(_kinds(panel, cut)[0] & panel.is_whole(cut, cut + WEEK))
        mean = _predict(panel, cut, rows, earlier)
        variance = _variance(panel, cut, rows)
        said[rows, number] = mean
        sold[rows, number] = panel.sums(cut, cut + WEEK, rows)
        short.append((sold[rows, number], mean, variance))
        if cut + LONG_DAYS <= at:
            whole = panel.is_whole(cut, cut + LONG_DAYS, rows)
            long.append((panel.sums(cut, cut + LONG_DAYS, rows)[whole], mean[whole], variance[whole]))
    spread = Spread()
    # Errors of smoothing over a short history say nothing about trees, so nothing is learnt from them then.
    booster = learning.train(panel, at)
    if (earlier is None) == (booster is None) and short:
        spread = calibrate(*_joined(short), level=CALIBRATED_AT, long=(*_joined(long), LONG_DAYS))
    return Past(said * spread.bias, sold), spread, booster


def _joined(parts: list[tuple[Numbers, Numbers, Numbers]]) -> tuple[Numbers, Numbers, Numbers]:
    import numpy as np

    if not parts:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    first, second, third = (np.concatenate(column) for column in zip(*parts, strict=True))
    return first, second, third


def _predict(panel: Panel, at: int, rows: NDArray[Any], booster: Any) -> Numbers:
    if booster is not None:
        return learning.predict(booster, panel, at, rows)
    return imapa(panel.weeks(at, SMOOTHING_WEEKS, rows))


def _variance(panel: Panel, at: int, rows: NDArray[Any]) -> Numbers:
    import numpy as np

    weeks = panel.weeks(at, VARIANCE_WEEKS, rows)
    if weeks.shape[1] < 2:
        return np.maximum(weeks.sum(axis=1), 1.0)  # type: ignore[no-any-return]
    return weeks.var(axis=1, ddof=1)  # type: ignore[no-any-return]


def _newcomers(panel: Panel, at: int, rows: NDArray[Any], categories: pd.Series | None) -> tuple[Numbers, Numbers]:
    """Mix a newcomer's own rate with that of earlier newcomers of its category (of the shop, where it has none)."""
    import numpy as np
    import pandas as pd

    if not len(rows):
        return np.zeros(0), np.zeros(0)
    # Who was new before, and what it sold a week in its first eight weeks.
    grown = np.flatnonzero((panel.born > WEEK) & (panel.born + COLD_START_DAYS <= at))
    first = panel.cumulated[grown, panel.born[grown] + COLD_START_DAYS] - panel.cumulated[grown, panel.born[grown]]
    rates = pd.Series(first / COLD_START_DAYS * WEEK, index=panel.skus[grown])
    own_weeks = np.maximum(at - panel.born[rows], 1) / WEEK
    own_sum = panel.sums(0, at, rows)
    usual = rates.median() if len(rates) else float(np.median(own_sum / np.maximum(own_weeks, 1)))
    expected = np.full(len(rows), usual)
    if categories is not None and len(rates):
        by_category = rates.groupby(categories.reindex(rates.index).to_numpy()).median()
        its = categories.reindex(panel.skus[rows]).map(by_category)
        expected = its.fillna(usual).to_numpy(dtype=float)
    mean = (own_sum + expected * NEWCOMER_WEEKS) / (own_weeks + NEWCOMER_WEEKS)
    # Of a newcomer little is known: as uncertain as its level.
    return mean, mean + mean * mean
