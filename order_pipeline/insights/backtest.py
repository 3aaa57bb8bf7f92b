"""How good the forecast would have been: made again as of past days, and judged by what was sold then.

Belongs here: rolling origins and scores. Not here: forecasts (``forecasting``), what the purchase list would have
done to the stock (``inventory_replay``).

Scores are of the 7-day sums per SKU. WAPE: sum |error| / sum sold. Bias: sum error / sum sold. MASE: mean |error| /
mean |change of the 7-day sum from week to week before the origin|. Coverage: share of forecasts whose 90 % quantile
was not exceeded. Pinball: its quantile loss / sum sold.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from order_pipeline.insights.forecasting import WEEK, forecast
from order_pipeline.insights.panel import Panel, day_of
from order_pipeline.insights.quantiles import demand_quantile, pinball

if TYPE_CHECKING:
    import pandas as pd

# Lead time and review of a usual supplier.
LONG_DAYS = 28
LEVEL = 0.9


def rolling_origin(panel: Panel, origins: Sequence[date], skus: pd.Index | None = None) -> pd.DataFrame:
    """Forecast as of each origin and set beside it what was sold.

    Each forecast reads nothing at or after its origin (but the promotion plan). Weeks with a day out of stock are left
    out. SKUs not yet known at the origin count as forecast 0.

    Args:
        panel: the shop's sales; must reach 7 days beyond the last origin.
        origins: first days of the forecasts.
        skus: those to judge; all by default.

    Returns:
        origin, sku, demand_class, model, actual, mean, q90, week_before (the 7-day mean's forecast), scale (of MASE),
        long_actual, long_q90, long_rule (28 days: sold, 90 % quantile, 4 x the last week; NaN where the panel ends).

    """
    import numpy as np
    import pandas as pd

    parts = []
    for origin in origins:
        at = panel.column(origin)
        if at + WEEK > panel.days:
            raise ValueError(f"cannot judge a forecast from {origin}: sales are known to {day_of(panel, panel.days)}")
        said = forecast(panel, origin, levels=(LEVEL,)).set_index("sku").reindex(panel.skus)
        said = said.fillna({"mean": 0.0, "variance": 0.0, "growth": 1.0, "q90": 0, "model": "none"})
        mean, variance, growth = (said[name].to_numpy() for name in ("mean", "variance", "growth"))
        end = at + LONG_DAYS
        known = end <= panel.days
        nothing = np.full(len(panel.skus), np.nan)
        part = pd.DataFrame(
            {
                "origin": origin,
                "sku": panel.skus,
                "demand_class": said["demand_class"].fillna("none").to_numpy(),
                "model": said["model"].to_numpy(),
                "actual": panel.sums(at, at + WEEK),
                "mean": mean,
                "q90": said["q90"].to_numpy(),
                "week_before": panel.sums(at - WEEK, at),
                "scale": np.abs(np.diff(panel.weeks(at, 52), axis=1)).mean(axis=1),
                "long_actual": panel.sums(at, end) if known else nothing,
                "long_q90": demand_quantile(mean, variance, LONG_DAYS, LEVEL, growth),
                "long_rule": panel.sums(at - WEEK, at) / WEEK * LONG_DAYS,
            }
        )
        if known:
            part.loc[~panel.is_whole(at, end), "long_actual"] = np.nan
        parts.append(part[panel.is_whole(at, at + WEEK)])
    frame = pd.concat(parts, ignore_index=True)
    return frame if skus is None else frame[frame["sku"].isin(skus)]


def scores(judged: pd.DataFrame) -> pd.DataFrame:
    """Score the forecasts by class of demand, and all of them (row ``all``).

    Returns:
        Index demand_class; forecasts, sold, wape, wape_week_before (of the 7-day mean), bias, mase, coverage, pinball,
        long_coverage. NaN where nothing was sold or nothing can be judged.

    """
    import pandas as pd

    groups = [("all", judged), *judged.groupby("demand_class")]
    return pd.DataFrame({name: _score(group) for name, group in groups}).T.rename_axis("demand_class")


def _score(judged: pd.DataFrame) -> dict[str, float]:
    import numpy as np

    sold = judged["actual"].sum() or np.nan
    error = judged["mean"] - judged["actual"]
    scaled = (error.abs() / judged["scale"])[judged["scale"] > 0]
    long = judged[judged["long_actual"].notna()]
    return {
        "forecasts": float(len(judged)),
        "sold": float(judged["actual"].sum()),
        "wape": error.abs().sum() / sold,
        "wape_week_before": (judged["week_before"] - judged["actual"]).abs().sum() / sold,
        "bias": error.sum() / sold,
        "mase": scaled.mean(),
        "coverage": (judged["actual"] <= judged["q90"]).mean(),
        "pinball": pinball(judged["actual"].to_numpy(), judged["q90"].to_numpy(), LEVEL).sum() / sold,
        "long_coverage": (long["long_actual"] <= long["long_q90"]).mean(),
    }
