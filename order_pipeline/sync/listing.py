"""The first half of an order's way: lists of the platform into raw pages, rows and the worklist.

Belongs here: which windows of orders are walked, and what moves with them. Not here: the walk itself (platforms), how
a window is stored (loading.py), the rows (storing.py), refunds (refund_listing.py), an open breaker (polling.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from threading import Event

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import OrderPage, Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.loading import Listing, Walk, listing_of, load_window
from order_pipeline.sync.silence import suspected_silence
from order_pipeline.sync.storing import order_lists
from order_pipeline.sync.windows import (
    SETTLE_LAG,
    changed_window,
    created_window,
    moved_watermark,
)
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.watermarks import (
    INCREMENTS,
    begin_watermark,
    mark_history_day,
    move_watermark,
    read_watermark,
)

HISTORY = "history"

# Days of a first load or backfill that are listed at once. Two fill the time in which a day waits for Postgres or the
# platform on this machine, and two more that of a platform which answers in tens of milliseconds; each holds a dozen
# pages in memory.
DAYS_AT_ONCE = 4


def list_history(access: ShopAccess, engine: Engine, day: date, now: datetime) -> Listing:
    """Load every order created on that day; see ``list_history_days``."""
    (listing,) = list_history_days(access, engine, [day], now)
    return listing


def list_history_days(access: ShopAccess, engine: Engine, days: Sequence[date], now: datetime) -> list[Listing]:
    """Load every order created on those days (Shanghai) up to ``now``, the platform's time before the load.

    The increment watermark begins there, before the first such load. Some days are loaded at once: each waits for the
    platform and for the database most of its time.

    Raises CallError when the platform does not answer, DatabaseUnreachableError without the warehouse; days that are
    complete by then stay, and of the others only raw pages are stored.
    """
    calls_before = access.calls.total
    watermark = in_transaction(engine, lambda connection: begin_watermark(connection, access.shop.id, now - SETTLE_LAG))

    stopped = Event()

    def load(day: date) -> Listing:
        started = time.monotonic()
        walk = _created_on(access, day, now, stopped)
        loaded = load_window(access, engine, order_lists(access, HISTORY), walk)
        return listing_of(access, walk.window, loaded, loaded.pages, started, watermark, now)

    with ThreadPoolExecutor(DAYS_AT_ONCE, thread_name_prefix="list-history") as pool:
        try:
            listings = list(pool.map(load, days))
        except BaseException:
            # The other days end after the page they are at, not after the day.
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    if listings:
        # What was called besides, for the time or once more, belongs to no day.
        besides = access.calls.total - calls_before - sum(listing.calls for listing in listings)
        listings[0] = listings[0]._replace(calls=listings[0].calls + besides)
    return listings


class _StoppedError(Exception):
    """Another day failed, or the run is to end; nobody hears of it."""


def _created_on(access: ShopAccess, day: date, now: datetime, stopped: Event) -> Walk[OrderPage]:
    order_ids: set[str] = set()

    def pages_of(window: Window) -> Iterator[OrderPage]:
        for page in access.platform.created_orders(window):
            if stopped.is_set():
                raise _StoppedError
            order_ids.update(order.order_id for order in page.orders)
            yield page

    def finish(connection: Connection) -> None:
        # Good for today too: what is created after the window's end lies behind the watermark, so it comes as a change.
        mark_history_day(connection, access.shop.id, day, len(order_ids))

    return Walk(created_window(day, now), pages_of, finish)


def list_changes(
    access: ShopAccess,
    engine: Engine,
    day: date,
    now: datetime,
    *,
    whole_day: bool = False,
) -> Listing:
    """Bring the changes of that day (Shanghai) up to ``now``, the platform's time, and move the watermark with them.

    It waits where an empty list cannot be believed (silence.py).

    Raises CallError and DatabaseUnreachableError as ``list_history`` does; the watermark then stays.
    """
    started = time.monotonic()
    calls_before = access.calls.total
    watermark = in_transaction(engine, lambda connection: read_watermark(connection, access.shop.id))
    window = changed_window(day, watermark, now, overlap=access.shop.overlap, whole_day=whole_day)
    moved = moved_watermark(watermark, window, now) if watermark and window else watermark

    rows = 0

    def pages_of(window: Window) -> Iterator[OrderPage]:
        nonlocal rows
        for page in access.platform.changed_orders(window):
            rows += len(page.orders) + len(page.rejected)
            yield page

    def finish(connection: Connection) -> None:
        nonlocal moved
        # A day that is over is compared with other days by its proof.
        if window and window.end == now and not rows and suspected_silence(connection, access, window, now):
            moved = watermark
        elif moved:
            move_watermark(connection, access.shop.id, moved)

    walk = Walk(window, pages_of, finish)
    loaded = load_window(access, engine, order_lists(access, INCREMENTS), walk)
    return listing_of(access, window, loaded, access.calls.total - calls_before, started, moved, now)
