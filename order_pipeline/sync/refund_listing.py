"""The first half of a refund's way: the platform's list of refunds into raw pages, rows and the worklist.

Belongs here: which windows of refunds are walked, and their watermark. Not here: the walk itself (platforms), how a
window is stored (loading.py), orders (listing.py).

The platform lists refunds by their last change only, so the first load is nothing but changes too: the watermark begins
three months back, and the days since are caught up, as many at once as should fit a page.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, Engine

from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.loading import Listing, Walk, listing_of, load_window
from order_pipeline.sync.refund_storing import refund_lists
from order_pipeline.sync.windows import HISTORY_DAYS, changed_window, moved_watermark
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.watermarks import REFUND_CHANGES, begin_watermark, move_watermark

# No longest window is documented; the integration that is known splits at 15 days (contract §3.6).
MOST_DAYS_AT_ONCE = 15
# A window that does not fit a page (100 rows) is cut in two and asked for again, so some room is left for a busier day.
AIMED_ROWS = 60
# One quiet day says little about the next.
MOST_GROWTH = 4


def first_moment(now: datetime) -> datetime:
    """Return where the first load of refunds begins."""
    return now - timedelta(days=HISTORY_DAYS)


def days_at_once(days: int, listed: int) -> int:
    """Return how many days to ask for next after ``listed`` refunds of ``days`` days. Pure."""
    fitting = AIMED_ROWS * days // max(listed, 1)
    return max(1, min(fitting, MOST_GROWTH * days, MOST_DAYS_AT_ONCE))


def list_refunds(
    access: ShopAccess,
    engine: Engine,
    day: date,
    now: datetime,
    *,
    whole_day: bool = False,
    last: date | None = None,
) -> Listing:
    """Bring the refunds that changed on that day (Shanghai) up to ``now``, the platform's time, and move the watermark.

    With ``last``, those of every day up to and with it, in one window.

    Raises CallError when the platform does not answer, DatabaseUnreachableError without the warehouse; of the window
    only raw pages are stored then, and the watermark stays.
    """
    started = time.monotonic()
    calls_before = access.calls.total
    watermark = in_transaction(
        engine,
        lambda connection: begin_watermark(connection, access.shop.id, first_moment(now), REFUND_CHANGES),
    )
    window = changed_window(day, watermark, now, overlap=access.shop.overlap, whole_day=whole_day, last=last)
    moved = moved_watermark(watermark, window, now) if window else watermark

    def finish(connection: Connection) -> None:
        move_watermark(connection, access.shop.id, moved, REFUND_CHANGES)

    loaded = load_window(
        access, engine, refund_lists(access, REFUND_CHANGES), Walk(window, access.platform.changed_refunds, finish)
    )
    return listing_of(access, window, loaded, access.calls.total - calls_before, started, moved, now)


def follow_refunds(
    access: ShopAccess, engine: Engine, days: Sequence[date], now: datetime, *, whole_day: bool = False
) -> list[Listing]:
    """Bring these days (oldest first) up to date, as many at once as should fit a page. Raises as ``list_refunds``."""
    listings: list[Listing] = []
    done, length = 0, 1
    while done < len(days):
        span = consecutive(days[done : done + length])
        listing = list_refunds(access, engine, span[0], now, whole_day=whole_day, last=span[-1])
        listings.append(listing)
        done += len(span)
        length = days_at_once(len(span), listing.stored.listed)
    return listings


def consecutive(days: Sequence[date]) -> Sequence[date]:
    """Return the first of these days (oldest first) and those that follow it without a gap. Pure."""
    count = next((number for number, day in enumerate(days) if day != days[0] + timedelta(days=number)), len(days))
    return days[:count]
