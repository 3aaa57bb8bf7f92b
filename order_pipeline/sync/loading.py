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
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import OrderPage, RefundPage, Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.storing import Stored, store_call_log
from order_pipeline.traffic.call_log import Call
from order_pipeline.warehouse.database import in_transaction

Page = TypeVar("Page", OrderPage, RefundPage)

# 800 orders a transaction: the merge's fixed cost is shared, and memory stays flat however long the walk is.
PAGES_PER_BATCH = 8
# Fetched meanwhile: enough to go on with, and some megabytes each.
PAGES_AHEAD = 4
# While the next page is waited for, so few are stored: the database works while the platform does.
FEWEST_PAGES = 3


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


class Walk(NamedTuple, Generic[Page]):
    """A window to load, what walks it, and what is done in the transaction that stores its last page.

    None: there is nothing to walk.
    """

    window: Window | None
    pages: Callable[[Window], Iterator[Page]]
    finish: Callable[[Connection], None]


class Loaded(NamedTuple):
    """How many pages a walk had, and what came of them."""

    pages: int = 0
    stored: Stored = Stored()


def load_window(
    access: ShopAccess,
    engine: Engine,
    store: Callable[[Connection, ShopAccess, Sequence[Page]], Stored],
    walk: Walk[Page],
) -> Loaded:
    """Walk a window and store it in batches, while its next pages are fetched."""
    loaded = Loaded()
    if walk.window is None:
        return loaded
    for batch, is_last in _batches(walk.pages(walk.window)):
        work = partial(_store, store, access, batch, access.calls.drain(), walk.finish if is_last else None)
        stored = Stored(*map(sum, zip(loaded.stored, in_transaction(engine, work), strict=True)))
        loaded = Loaded(loaded.pages + len(batch), stored)
    return loaded


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
    """Group pages, fetched in a thread ahead of the loading, and say which group is the last. At least one comes.

    What is there by now is stored, so that the storing begins with the first pages and ends soon after the last.
    """
    ahead: queue.Queue[Page | BaseException | None] = queue.Queue(maxsize=PAGES_AHEAD)
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
            batch.append(item)
            # The end comes right behind the page that says it is the last.
            if item.has_more and len(batch) >= (PAGES_PER_BATCH if ahead.qsize() else FEWEST_PAGES):
                yield batch, False
                batch = []
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
    loaded: Loaded,
    calls: int,
    started: float,
    watermark: datetime | None,
    now: datetime,
) -> Listing:
    """Return the report of a window that is stored. ``started``: by time.monotonic."""
    return Listing(
        access.shop.id,
        window,
        loaded.pages,
        loaded.stored,
        calls,
        time.monotonic() - started,
        watermark,
        (now - watermark).total_seconds() if watermark else None,
    )
