"""What a purchase rule would have done to the stock: past demand replayed day by day against simulated deliveries.

Belongs here: the simulation and its trade-off curve. Not here: the levels that a rule orders up to (``replenishment``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from order_pipeline.insights.panel import Numbers

REVIEW_DAYS = 7


class Outcome(NamedTuple):
    """``average_stock``: pieces on hand at the end of a day, all SKUs, mean over days; ``lost``: pieces not sold."""

    average_stock: float
    lost: float
    demand: float


def replay(demand: Numbers, order_up_to: Numbers, *, lead_time_days: int) -> Outcome:
    """Replay a rule that orders up to a level every 7 days; what is not there is lost, not back-ordered.

    Each SKU starts with its first level on hand. At a review the order is placed before the day's sales; it arrives
    before the sales of the day ``lead_time_days`` later.

    Args:
        demand: SKUs x days, pieces, beginning with a review.
        order_up_to: SKUs x reviews, pieces.
        lead_time_days: from order to delivery.

    """
    import numpy as np

    skus, days = demand.shape
    on_hand = order_up_to[:, 0].astype(float)
    arriving: NDArray[Any] = np.zeros((skus, days + lead_time_days + 1))
    stock = lost = 0.0
    for day in range(days):
        on_hand += arriving[:, day]
        if day % REVIEW_DAYS == 0 and lead_time_days >= 0:
            on_order = arriving[:, day + 1 :].sum(axis=1)
            order = np.maximum(order_up_to[:, day // REVIEW_DAYS] - on_hand - on_order, 0)
            if lead_time_days:
                arriving[:, day + lead_time_days] += order
            else:
                on_hand += order
        sold = np.minimum(on_hand, demand[:, day])
        lost += float((demand[:, day] - sold).sum())
        on_hand -= sold
        stock += float(on_hand.sum())
    return Outcome(stock / days, lost, float(demand.sum()))


def lost_at(curve: Sequence[Outcome], average_stock: float) -> float:
    """Read off a trade-off curve how many pieces a rule loses with a given average stock; NaN outside the curve."""
    import numpy as np

    points = sorted((outcome.average_stock, outcome.lost) for outcome in curve)
    stocks, lost = zip(*points, strict=True)
    return float(np.interp(average_stock, stocks, lost, left=np.nan, right=np.nan))
