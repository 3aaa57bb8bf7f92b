"""The first half of an order's way: lists of the platform into raw pages, rows and the worklist.

Belongs here: which windows of orders are walked, and what moves with them. Not here: the walk itself (platforms), how
a window is stored (loading.py), the rows (storing.py), refunds (refund_listing.py), an open breaker (polling.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from functools import partial

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import OrderPage, Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.loading import Listing, listing_of, load_window
from order_pipeline.sync.silence import suspected_silence
from order_pipeline.sync.storing import Stored, store_list_pages
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


def list_history(access: ShopAccess, engine: Engine, day: date, now: datetime) -> Listing:
    """Load every order created on that day (Shanghai) up to ``now``, the platform's time before the load.

    The increment watermark begins there, before the first such load.

    Raises CallError when the platform does not answer, DatabaseUnreachableError without the warehouse; what was
    stored by then stays, and the day is not marked as loaded.
    """
    started = time.monotonic()
    calls_before = access.calls.total
    watermark = in_transaction(engine, lambda connection: begin_watermark(connection, access.shop.id, now - SETTLE_LAG))
    window = created_window(day, now)

    order_ids: set[str] = set()

    def pages_of(window: Window) -> Iterator[OrderPage]:
        for page in access.platform.created_orders(window):
            order_ids.update(order.order_id for order in page.orders)
            yield page

    def finish(connection: Connection) -> None:
        # Good for today too: what is created after the window's end lies behind the watermark, so it comes as a change.
        if window:
            mark_history_day(connection, access.shop.id, day, len(order_ids))

    pages, stored = load_window(access, engine, partial(_store, HISTORY), pages_of, window, finish)
    return listing_of(access, window, pages, stored, calls_before, started, watermark, now)


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

    pages, stored = load_window(access, engine, partial(_store, INCREMENTS), pages_of, window, finish)
    return listing_of(access, window, pages, stored, calls_before, started, moved, now)


def _store(channel: str, connection: Connection, access: ShopAccess, pages: Sequence[OrderPage]) -> Stored:
    return store_list_pages(connection, access, channel, pages)
