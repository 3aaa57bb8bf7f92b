"""The first half of an order's way: lists of the platform into raw pages, rows and the worklist.

Belongs here: walking a window and storing it batch by batch, the watermark with the last. Not here: the walk
itself (platforms), the rows (storing).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import OrderPage, Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.storing import Stored, store_call_log, store_list_pages
from order_pipeline.sync.windows import (
    SETTLE_LAG,
    changed_window,
    created_window,
    day_of,
    days_between,
    moved_watermark,
)
from order_pipeline.traffic.call_log import Call
from order_pipeline.traffic.errors import BreakerOpenError
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.watermarks import (
    INCREMENTS,
    begin_watermark,
    mark_history_day,
    move_watermark,
    read_watermark,
)

HISTORY = "history"

# Orders change until they are paid out, about ten days after shipping, and refunds go on for a fortnight after that.
STILL_CHANGING_DAYS = 30

# 1,000 orders a transaction: the merge's fixed cost is shared, and memory stays flat however long the walk is.
PAGES_PER_BATCH = 10


# What the fetching thread hands over: a page, what stopped it, or None at the end.
Ahead: TypeAlias = OrderPage | BaseException | None


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

    pages, stored = _load(access, engine, HISTORY, pages_of, window, finish)
    return _listing(access, window, pages, stored, calls_before, started, watermark, now)


def list_changes(
    access: ShopAccess,
    engine: Engine,
    day: date,
    now: datetime,
    *,
    whole_day: bool = False,
) -> Listing:
    """Bring the changes of that day (Shanghai) up to ``now``, the platform's time, and move the watermark with them.

    Raises CallError and DatabaseUnreachableError as ``list_history`` does; the watermark then stays.
    """
    started = time.monotonic()
    calls_before = access.calls.total
    watermark = in_transaction(engine, lambda connection: read_watermark(connection, access.shop.id))
    window = changed_window(day, watermark, now, overlap=access.shop.overlap, whole_day=whole_day)
    moved = moved_watermark(watermark, window, now) if watermark and window else watermark

    def finish(connection: Connection) -> None:
        if moved:
            move_watermark(connection, access.shop.id, moved)

    pages, stored = _load(access, engine, INCREMENTS, access.platform.changed_orders, window, finish)
    return _listing(access, window, pages, stored, calls_before, started, moved, now)


def poll(access: ShopAccess, engine: Engine, days: Sequence[date], *, whole_day: bool = False) -> list[Listing]:
    """Bring the changes of these days (Shanghai, oldest first) up to date, or what an open breaker leaves of it.

    While the breaker is open, the days whose orders can still change are listed once an hour instead, through
    the history channel; details are fetched only for what differs. The watermark stays, so that the polls catch
    up once the breaker is closed. Raises as ``list_changes`` does.
    """
    try:
        now = access.platform.now()
        return [list_changes(access, engine, day, now, whole_day=whole_day) for day in days]
    except BreakerOpenError as refusal:
        return _pull(access, engine, refusal)


def _pull(access: ShopAccess, engine: Engine, refusal: BreakerOpenError) -> list[Listing]:
    breaker = access.gate.breaker
    if breaker is None or not breaker.full_pull_taken():
        return [Listing(access.shop.id, None, 0, Stored(), 0, 0.0, None, None, str(refusal))]
    with access.gate.full_pull():
        now = access.platform.now()
        today = day_of(now)
        days = days_between(today - timedelta(days=STILL_CHANGING_DAYS), today)
        return [list_history(access, engine, day, now) for day in days]


def _load(
    access: ShopAccess,
    engine: Engine,
    channel: str,
    walk: Callable[[Window], Iterator[OrderPage]],
    window: Window | None,
    finish: Callable[[Connection], None],
) -> tuple[int, Stored]:
    """Walk the window and store it in batches; ``finish`` runs in the last one's transaction."""
    total = Stored()
    count = 0
    if window is None:
        return count, total
    for batch, is_last in _batches(walk(window)):
        store = partial(_store, access, channel, batch, access.calls.drain(), finish if is_last else None)
        total = Stored(*map(sum, zip(total, in_transaction(engine, store), strict=True)))
        count += len(batch)
    return count, total


def _store(
    access: ShopAccess,
    channel: str,
    batch: Sequence[OrderPage],
    calls: Sequence[Call],
    finish: Callable[[Connection], None] | None,
    connection: Connection,
) -> Stored:
    stored = store_list_pages(connection, access, channel, batch)
    store_call_log(connection, calls)
    if finish:
        finish(connection)
    return stored


def _batches(pages: Iterator[OrderPage]) -> Iterator[tuple[list[OrderPage], bool]]:
    """Group pages, fetched in a thread ahead of the loading, and say which group is the last. At least one comes."""
    ahead: queue.Queue[Ahead] = queue.Queue(maxsize=2 * PAGES_PER_BATCH)
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
        batch: list[OrderPage] = []
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


def _put(ahead: queue.Queue[Ahead], item: Ahead, stopped: threading.Event) -> bool:
    while not stopped.is_set():
        try:
            ahead.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False


def _listing(
    access: ShopAccess,
    window: Window | None,
    pages: int,
    stored: Stored,
    calls_before: int,
    started: float,
    watermark: datetime | None,
    now: datetime,
) -> Listing:
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
