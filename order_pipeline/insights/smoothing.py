"""IMAPA: exponential smoothing at several aggregation levels, averaged (Petropoulos & Kourentzes 2015).

Belongs here: that one method, for all SKUs at once. Not here: which model is used for which SKU (``forecasting``).

Own code, because the library that has it (statsforecast 2.1.1) adds 558 MB and forbids pandas 3; a test compares it
with that library's recorded output. See docs/forecasting.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from order_pipeline.insights.panel import Numbers

# Sums of one to four weeks.
AGGREGATIONS = (1, 2, 3, 4)
# The weight of the newest sum is chosen of these by the squared error in sample, each SKU for itself.
SMOOTHING_WEIGHTS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)


def imapa(weeks: Numbers) -> Numbers:
    """Forecast the next 7-day sum of every SKU.

    Args:
        weeks: SKUs x weeks, 7-day sums, oldest first; at least one week.

    """
    import numpy as np

    rows, count = weeks.shape
    weights = np.array(SMOOTHING_WEIGHTS)
    forecasts = []
    for size in AGGREGATIONS:
        buckets = count // size
        if not buckets:
            continue
        sums = weeks[:, count - size * buckets :].reshape(rows, buckets, size).sum(axis=2)
        level = np.repeat(sums[:, :1], len(weights), axis=1)
        squares = np.zeros_like(level)
        for bucket in range(1, buckets):
            error = sums[:, bucket : bucket + 1] - level
            squares += error * error
            level += weights * error
        forecasts.append(level[np.arange(rows), squares.argmin(axis=1)] / size)
    return np.mean(forecasts, axis=0)  # type: ignore[no-any-return]
