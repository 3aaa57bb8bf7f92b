"""The first half of a refund's way: the platform's list of refunds into raw pages, rows and the worklist.

Belongs here: which windows of refunds are walked, and their watermark. Not here: the walk itself (platforms), how a
window is stored (loading.py), orders (listing.py).

The platform lists refunds by their last change only, so the first load is nothing but changes too: the watermark begins
three months back, and the days since are caught up one by one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import RefundPage
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.loading import Listing, listing_of, load_window
from order_pipeline.sync.refund_storing import store_refund_pages
from order_pipeline.sync.storing import Stored
from order_pipeline.sync.windows import HISTORY_DAYS, changed_window, moved_watermark
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.watermarks import REFUND_CHANGES, begin_watermark, move_watermark


def first_moment(now: datetime) -> datetime:
    """Return where the first load of refunds begins."""
    return now - timedelta(days=HISTORY_DAYS)


def list_refunds(access: ShopAccess, engine: Engine, day: date, now: datetime, *, whole_day: bool = False) -> Listing:
    """Bring the refunds that changed on that day (Shanghai) up to ``now``, the platform's time, and move the watermark.

    Raises CallError when the platform does not answer, DatabaseUnreachableError without the warehouse; what was stored
    by then stays, and the watermark does too.
    """
    started = time.monotonic()
    calls_before = access.calls.total
    watermark = in_transaction(
        engine,
        lambda connection: begin_watermark(connection, access.shop.id, first_moment(now), REFUND_CHANGES),
    )
    window = changed_window(day, watermark, now, overlap=access.shop.overlap, whole_day=whole_day)
    moved = moved_watermark(watermark, window, now) if window else watermark

    def finish(connection: Connection) -> None:
        move_watermark(connection, access.shop.id, moved, REFUND_CHANGES)

    pages, stored = load_window(access, engine, _store, access.platform.changed_refunds, window, finish)
    return listing_of(access, window, pages, stored, calls_before, started, moved, now)


def _store(connection: Connection, access: ShopAccess, pages: Sequence[RefundPage]) -> Stored:
    return store_refund_pages(connection, access, REFUND_CHANGES, pages)
