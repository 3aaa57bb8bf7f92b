"""A window of a list, stored batch by batch while the next pages are fetched.

Belongs here: batches, their transactions, the report. Not here: which windows (listing.py, refund_listing.py), the
rows (storing.py).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import OrderPage, RefundPage, Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.storing import Stored, store_call_log
from order_pipeline.traffic.call_log import Call
from order_pipeline.warehouse.database import in_transaction

Page = TypeVar("Page", OrderPage, RefundPage)

# 1,000 orders a transaction: the merge's fixed cost is shared, and memory stays flat however long the walk is.
PAGES_PER_BATCH = 10


class Listing(NamedTuple):
    """What came of listing one window of a shop. ``lag_seconds``: from the watermark to the platform's now.

    ``held_back``: why the platform was not asked, where it was not.
    """

    shop_id: str
    window: Window | None
    pages: int
    stored: Stored
    calls: int
    seconds: float
    watermark: datetime | None
    lag_seconds: float | None
    held_back: str | None = None


def load_window(
    access: ShopAccess,
    engine: Engine,
    store: Callable[[Connection, ShopAccess, Sequence[Page]], Stored],
    walk: Callable[[Window], Iterator[Page]],
    window: Window | None,
    finish: Callable[[Connection], None],
) -> tuple[int, Stored]:
    """Walk the window and store it in batches; ``finish`` runs in the last one's transaction."""
    total = Stored()
    count = 0
    if window is None:
        return count, total
    for batch, is_last in _batches(walk(window)):
        work = partial(_store, store, access, batch, access.calls.drain(), finish if is_last else None)
        total = Stored(*map(sum, zip(total, in_transaction(engine, work), strict=True)))
        count += len(batch)
    return count, total


def _store(
    store: Callable[[Connection, ShopAccess, Sequence[Page]], Stored],
    access: ShopAccess,
    batch: Sequence[Page],
    calls: Sequence[Call],
    finish: Callable[[Connection], None] | None,
    connection: Connection,
) -> Stored:
    stored = store(connection, access, batch)
    store_call_log(connection, calls)
    if finish:
        finish(connection)
    return stored


def _batches(pages: Iterator[Page]) -> Iterator[tuple[list[Page], bool]]:
    """Group pages, fetched in a thread ahead of the loading, and say which group is the last. At least one comes."""
    ahead: queue.Queue[Page | BaseException | None] = queue.Queue(maxsize=2 * PAGES_PER_BATCH)
    stopped = threading.Event()

    def fetch() -> None:
        end: BaseException | None = None
        try:
            for page in pages:
                if not _put(ahead, page, stopped):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            end = error
        _put(ahead, end, stopped)

    fetcher = threading.Thread(target=fetch, name="fetch-pages", daemon=True)
    fetcher.start()
    try:
        batch: list[Page] = []
        while True:
            item = ahead.get()
            if isinstance(item, BaseException):
                if batch:
                    yield batch, False
                raise item
            if item is None:
                yield batch, True
                return
            if len(batch) == PAGES_PER_BATCH:
                yield batch, False
                batch = []
            batch.append(item)
    finally:
        stopped.set()
        fetcher.join()


def _put(
    ahead: queue.Queue[Page | BaseException | None], item: Page | BaseException | None, stopped: threading.Event
) -> bool:
    while not stopped.is_set():
        try:
            ahead.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False


def listing_of(
    access: ShopAccess,
    window: Window | None,
    pages: int,
    stored: Stored,
    calls_before: int,
    started: float,
    watermark: datetime | None,
    now: datetime,
) -> Listing:
    """Return the report of a window that is stored. ``started``: by time.monotonic."""
    return Listing(
        access.shop.id,
        window,
        pages,
        stored,
        access.calls.total - calls_before,
        time.monotonic() - started,
        watermark,
        (now - watermark).total_seconds() if watermark else None,
    )
