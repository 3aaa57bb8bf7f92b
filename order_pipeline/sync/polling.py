"""One look at the lists of a shop's changes, or what an open breaker leaves of it.

Belongs here: the choice between polls and the hourly full pull. Not here: the windows (listing.py,
refund_listing.py), when the breaker opens and whose turn a pull is (traffic/breaker.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import Engine

from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.listing import list_changes, list_history_days
from order_pipeline.sync.loading import Listing
from order_pipeline.sync.refund_listing import first_moment, follow_refunds
from order_pipeline.sync.storing import Stored
from order_pipeline.sync.windows import day_of, days_between, due_days
from order_pipeline.traffic.errors import BreakerOpenError
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.watermarks import REFUND_CHANGES, read_watermark

# Orders change until they are paid out, about ten days after shipping, and refunds go on for a fortnight after that.
STILL_CHANGING_DAYS = 30


def poll(access: ShopAccess, engine: Engine, days: Sequence[date], *, whole_day: bool = False) -> list[Listing]:
    """Bring the changes of these days (Shanghai, oldest first) up to date, or what an open breaker leaves of it.

    While the breaker is open, a full pull of the shop is made once an hour instead: the days whose orders can still
    change are listed through the history channel, whose watermark of changes stays, so that the polls catch up once the
    breaker is closed; and the refunds' own list of changes up to now, whose watermark moves with it as always.
    Details are fetched only for what differs.

    Returns what was listed of orders. Raises as ``list_changes`` does.
    """
    try:
        now = access.platform.now()
        return [list_changes(access, engine, day, now, whole_day=whole_day) for day in days]
    except BreakerOpenError as refusal:
        return _pull(access, engine, refusal)


def poll_refunds(access: ShopAccess, engine: Engine, days: Sequence[date], *, whole_day: bool = False) -> list[Listing]:
    """Bring these days (Shanghai, oldest first) up to date; while the breaker is open, nothing is asked.

    The full pull of the orders takes the refunds along then (``poll``), and what it leaves stays behind the
    watermark. Raises as ``follow_refunds`` does.
    """
    try:
        now = access.platform.now()
        return follow_refunds(access, engine, days, now, whole_day=whole_day)
    except BreakerOpenError as refusal:
        return [_held_back(access, refusal)]


def _pull(access: ShopAccess, engine: Engine, refusal: BreakerOpenError) -> list[Listing]:
    breaker = access.gate.breaker
    if breaker is None or not breaker.full_pull_taken(access.shop.id):
        return [_held_back(access, refusal)]
    with access.gate.full_pull():
        now = access.platform.now()
        today = day_of(now)
        days = list(days_between(today - timedelta(days=STILL_CHANGING_DAYS), today))
        listings = list_history_days(access, engine, days, now)
        follow_refunds(access, engine, _refund_days(access, engine, now), now)
        return listings


def _refund_days(access: ShopAccess, engine: Engine, now: datetime) -> list[date]:
    watermark = in_transaction(engine, lambda connection: read_watermark(connection, access.shop.id, REFUND_CHANGES))
    return due_days(watermark or first_moment(now), now, overlap=access.shop.overlap)


def _held_back(access: ShopAccess, refusal: BreakerOpenError) -> Listing:
    return Listing(access.shop.id, None, 0, Stored(), 0, 0.0, None, None, str(refusal))
