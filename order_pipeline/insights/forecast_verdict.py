"""Whether a shop's backtest is good enough to buy by, in sentences.

Belongs here: the limits. Not here: the scores (``backtest``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# With fewer, one large order decides the scores.
FEWEST_FORECASTS = 200
# Forecasting the week before is free: what is no better is worth nothing.
MOST_ERROR_OF_WEEK_BEFORE = 1.0
# More is a permanent stock-out or a full warehouse; measured on two real shops: -2 % and -8 %.
MOST_BIAS = 0.10
# Around the 90 % that are asked for; measured 0.875 to 0.916 on real shops, and classes of few SKUs stray further.
COVERAGE = (0.82, 0.97)


def complaints(scored: pd.DataFrame) -> list[str]:
    """Return what is wrong with scores by class of demand (``backtest.scores``, demand_class as a column).

    Classes with few forecasts are not judged; bias only of all classes together, as errors between them even out.
    """
    import math

    found = []
    for row in scored.to_dict("records"):
        if row["forecasts"] < FEWEST_FORECASTS or not row["sold"]:
            continue
        name = "all SKUs" if row["demand_class"] == "all" else f"{row['demand_class']} SKUs"
        if row["wape"] > MOST_ERROR_OF_WEEK_BEFORE * row["wape_week_before"]:
            found.append(
                f"{name}: WAPE {row['wape']:.2f}, with the week before as the forecast {row['wape_week_before']:.2f}"
            )
        if row["demand_class"] == "all" and abs(row["bias"]) > MOST_BIAS:
            found.append(f"{name}: {'too much' if row['bias'] > 0 else 'too little'} is forecast, {row['bias']:+.0%}")
        least, most = COVERAGE
        if not math.isnan(row["coverage"]) and not least <= row["coverage"] <= most:
            found.append(f"{name}: {row['coverage']:.0%} of the weeks stay within the 90 % quantile")
    return found
