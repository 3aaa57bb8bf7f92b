"""One model for all SKUs of a shop: gradient-boosted trees (LightGBM) that forecast the 7-day sum directly.

Belongs here: what the trees see, and how they are trained. Not here: which SKUs are forecast with them, bias and
quantiles (``forecasting``, ``quantiles``).

The trees learn the sum as a ratio to the SKU's own level, weighted by that level, so that large and small SKUs teach
each other and the error that counts is in pieces.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from order_pipeline.insights.panel import Panel
from order_pipeline.insights.smoothing import imapa

if TYPE_CHECKING:
    import numpy as np
    from lightgbm import Booster
    from numpy.typing import NDArray

    from order_pipeline.insights.panel import Numbers

WEEK = 7
# A quarter: what "still selling" means, and the least history that the features need.
SEASON = 91
# The trees see the weeks before these many weekly cuts; older weeks have another season.
CUTS = 30
# More rows made the forecast no better and training slower.
MOST_ROWS = 100_000
# Below this the trees have nothing to learn that smoothing does not know.
FEWEST_ROWS = 2_000
ROUNDS = 150
SPANS = (7, 14, 28, 56, 91, 182)
# Two threads, always: the same trees on every machine, and the rest of the machine stays free.
THREADS = 2
# LightGBM's usual values; Tweedie is its loss for sums of counts with many zeros. Not tuned on the weeks that the
# benchmark scores.
PARAMETERS = {
    "objective": "tweedie",
    "tweedie_variance_power": 1.5,
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "num_threads": THREADS,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


def train(panel: Panel, origin: int) -> Booster | None:
    """Train on everything that was known before column ``origin``; None when that is too little.

    Weeks in which a SKU was out of stock teach nothing, nor do SKUs that sold nothing for a quarter before the week.
    """
    import numpy as np

    # Without this, idle threads of OpenMP spin: on a busy machine single fits took 3 to 60 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import lightgbm

    cuts = list(range(origin - WEEK, SEASON - 1, -WEEK))[:CUTS]
    usable = [np.flatnonzero((panel.sums(cut - SEASON, cut) > 0) & panel.is_whole(cut, cut + WEEK)) for cut in cuts]
    if sum(len(some) for some in usable) < FEWEST_ROWS:
        return None
    # Where there are too many, large SKUs are drawn more often, as the error is in pieces; the weight makes up for it.
    importance = [np.sqrt(panel.sums(cut - SEASON, cut, some)) for cut, some in zip(cuts, usable, strict=True)]
    share = MOST_ROWS / sum(each.sum() for each in importance)
    random = np.random.default_rng(origin)
    features, ratios, weights = [], [], []
    for cut, some, each in zip(cuts, usable, importance, strict=True):
        chance = np.minimum(each * share, 1.0)
        drawn = random.random(len(some)) < chance
        chosen = some[drawn]
        its, level = see(panel, cut, chosen)
        features.append(its)
        ratios.append(panel.sums(cut, cut + WEEK, chosen) / level)
        weights.append(level / chance[drawn])
    data = lightgbm.Dataset(np.concatenate(features), np.concatenate(ratios), weight=np.concatenate(weights))
    return lightgbm.train(PARAMETERS, data, ROUNDS)


def predict(booster: Booster, panel: Panel, origin: int, rows: NDArray[Any]) -> Numbers:
    """Forecast the 7-day sum from column ``origin`` on, for some rows."""
    import numpy as np

    if not len(rows):
        return np.zeros(0)
    features, level = see(panel, origin, rows)
    return np.asarray(booster.predict(features, num_threads=THREADS)) * level


def see(panel: Panel, origin: int, rows: NDArray[Any]) -> tuple[NDArray[np.float32], Numbers]:
    """Return what the trees see of each row before column ``origin`` (and the plan after it), and the row's level."""
    import numpy as np

    def a_week(days: int) -> Numbers:
        return panel.sums(origin - days, origin, rows) / min(days, origin) * WEEK

    # The small constant keeps the ratio of a SKU that nearly never sells within bounds.
    level = a_week(56) / 2 + a_week(28) / 2 + a_week(182) / 4 + 0.05
    weeks = panel.weeks(origin, 13, rows)
    recent = panel.quantity[rows, max(origin - SEASON, 0) : origin]
    sold = recent > 0
    seen = [panel.sums(origin - WEEK * (week + 1), origin - WEEK * week, rows) / level for week in range(8)]
    seen += [a_week(days) / level for days in SPANS]
    seen += [
        np.median(weeks, axis=1) / level,
        weeks.std(axis=1) / level,
        weeks.max(axis=1) / level,
        # The mean without bursts.
        np.minimum(weeks, np.quantile(weeks, 0.8, axis=1)[:, None]).mean(axis=1) / level,
        imapa(panel.weeks(origin, 26, rows)) / level,
        sold.mean(axis=1),
        sold[:, -28:].mean(axis=1),
        np.where(sold.any(axis=1), sold[:, ::-1].argmax(axis=1), SEASON),
        np.log(level),
        recent.sum(axis=1) / np.maximum(sold.sum(axis=1), 1) / level,
        np.full(len(rows), _trend(panel, origin, 7, 28)),
        np.full(len(rows), _trend(panel, origin, 28, 56)),
    ]
    for plan in panel.promotions:
        ahead = _mean_strength(plan, origin, origin + WEEK, rows)
        usual = _mean_strength(plan, origin - 28, origin, rows)
        last = _mean_strength(plan, origin - WEEK, origin, rows)
        seen += [ahead, last, usual, _mean_strength(plan, origin - 84, origin, rows), ahead - usual]
    return np.stack(seen, axis=1).astype(np.float32), level


def _trend(panel: Panel, origin: int, new: int, old: int) -> float:
    """Return the whole shop's daily sales of the ``new`` last days against the ``old`` days before them."""
    newer = panel.sums(origin - new, origin).sum() / new
    older = panel.sums(origin - new - old, origin - new).sum() / old
    return float(newer / older) if older > 0 else 1.0


def _mean_strength(plan: Numbers, start: int, end: int, rows: NDArray[Any]) -> Numbers:
    """Return the mean strength over a window; where the plan ends, nothing is planned."""
    last = plan.shape[1] - 1
    sums = plan[rows, min(max(end, 0), last)] - plan[rows, min(max(start, 0), last)]
    return sums / (end - start)  # type: ignore[no-any-return]
