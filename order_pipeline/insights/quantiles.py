"""How far demand may stray from its mean: negative binomial quantiles, and what recent weeks teach about them.

Belongs here: the distribution of demand over any number of days, and its calibration on forecasts that were made before
the weeks they are judged by. Not here: the means (``learning``, ``smoothing``), what to do with a quantile
(``replenishment``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from order_pipeline.insights.panel import Numbers

WEEK = 7
# Variance of demand over H days = that of a week x (H/7)^growth: 1 if weeks were independent; measured 1.5, since the
# error of the mean is the same in every week.
USUAL_GROWTH = 1.5
GROWTHS = (1.0, 1.25, 1.5, 1.75, 2.0)
MULTIPLIERS = (0.4, 0.5, 0.62, 0.77, 0.95, 1.0, 1.2, 1.45, 1.8, 2.2, 3.0)
# Eight weeks are few: of what they say we believe half (in logarithms), for bias, spread and growth alike.
BELIEF = 0.5
# With fewer judged forecasts nothing is learnt.
FEWEST = 50
# The loss is in pieces: beyond this many, the smallest forecasts change nothing that can be measured.
MOST = 20_000
# A negative binomial needs more variance than a Poisson; a hair more is a Poisson.
LEAST_OVERDISPERSION = 1.02


class Spread(NamedTuple):
    """What a shop's last weeks taught.

    Attributes:
        bias: factor on every mean.
        multiplier: factor on the variance of weekly sums.
        growth: exponent by which the variance grows with the number of days, per 7 days.

    """

    bias: float = 1.0
    multiplier: float = 1.0
    growth: float = USUAL_GROWTH


def quantile(mean: NDArray[Any], variance: NDArray[Any], level: float | NDArray[Any]) -> Numbers:
    """Return whole pieces that demand stays at or under with probability ``level``; 0 where the mean is 0."""
    import numpy as np
    from scipy import stats

    mean = np.asarray(mean, dtype=float)
    positive = np.maximum(mean, 1e-6)
    variance = np.maximum(variance, positive * LEAST_OVERDISPERSION)
    size = positive * positive / (variance - positive)
    return np.where(mean > 0, stats.nbinom.ppf(level, size, size / (size + positive)), 0.0)


def demand_quantile(
    weekly_mean: NDArray[Any],
    weekly_variance: NDArray[Any],
    days: float | NDArray[Any],
    level: float | NDArray[Any],
    growth: float | NDArray[Any] = USUAL_GROWTH,
) -> Numbers:
    """Return the quantile of demand over ``days`` days, from the mean and variance of 7."""
    import numpy as np

    weeks = np.asarray(days, dtype=float) / WEEK
    return quantile(np.asarray(weekly_mean) * weeks, np.asarray(weekly_variance) * weeks**growth, level)


def pinball(actual: NDArray[Any], said: NDArray[Any], level: float) -> Numbers:
    """Return the quantile loss of each forecast, in pieces."""
    import numpy as np

    missed = np.asarray(actual) - np.asarray(said)
    return np.maximum(level * missed, (level - 1) * missed)  # type: ignore[no-any-return]


def bias(actual: Numbers, forecast: Numbers) -> float:
    """Return the factor that past forecasts lacked, half of it believed; 1 when they are too few to say."""
    if len(forecast) < FEWEST or not forecast.sum() or not actual.sum():
        return 1.0
    return float((actual.sum() / forecast.sum()) ** BELIEF)


def calibrate(
    actual: Numbers, mean: Numbers, variance: Numbers, level: float, long: tuple[Numbers, Numbers, Numbers, int]
) -> Spread:
    """Learn from past forecasts and what was sold then.

    Args:
        actual: pieces sold in the 7 days that were forecast.
        mean: the forecast made before them.
        variance: of the weekly sums known then.
        level: the service level that the loss is taken at.
        long: the same three for a longer window, and its length in days; may be empty.

    """
    factor = bias(actual, mean)
    if len(mean) < FEWEST:
        return Spread(factor)
    actual, mean, variance = _largest(actual, mean * factor, variance)
    losses = {times: pinball(actual, quantile(mean, variance * times, level), level).sum() for times in MULTIPLIERS}
    multiplier = min(losses, key=lambda times: losses[times]) ** BELIEF
    long_actual, long_mean, long_variance, days = long
    if len(long_mean) < FEWEST:
        return Spread(factor, multiplier)
    long_actual, long_mean, long_variance = _largest(long_actual, long_mean, long_variance)
    losses = {
        growth: pinball(
            long_actual,
            demand_quantile(long_mean * factor, long_variance * multiplier, days, level, growth),
            level,
        ).sum()
        for growth in GROWTHS
    }
    growth = min(losses, key=lambda exponent: losses[exponent])
    return Spread(factor, multiplier, USUAL_GROWTH + BELIEF * (growth - USUAL_GROWTH))


def _largest(actual: Numbers, mean: Numbers, variance: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    import numpy as np

    if len(mean) <= MOST:
        return actual, mean, variance
    rows = np.sort(np.argpartition(mean, -MOST)[-MOST:])
    return actual[rows], mean[rows], variance[rows]
