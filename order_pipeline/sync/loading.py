"""A window of a list: staged batch by batch while the next pages are fetched, and merged in one transaction.

Belongs here: batches, their transactions, the report. Not here: which windows (listing.py, refund_listing.py), the
rows (storing.py), the tables in which they wait (warehouse/staging.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Generic, NamedTuple

import psycopg2
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from order_pipeline.platforms.protocol import Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.storing import ListStore, Page, Stored, store_call_log
from order_pipeline.traffic.ahead import Ahead
from order_pipeline.traffic.call_log import Call
from order_pipeline.warehouse.database import (
    DatabaseUnreachableError,
    cause_of,
    in_transaction,
    is_passing,
    session,
    unreachable,
)

logger = logging.getLogger(__name__)

# 800 orders a transaction: its fixed cost is shared, and memory stays flat however long the walk is.
PAGES_PER_BATCH = 8
# Fetched meanwhile: enough to go on with, and some megabytes each.
PAGES_AHEAD = 4
# While the next page is waited for, so few are staged: the database works while the platform does.
FEWEST_PAGES = 3
# Writing the log of calls takes 2 to 3 ms a batch, so it is done for some together; a load that fails leaves the rest
# of them to who started it (shops.py).
BATCHES_PER_LOG = 8
# A session that ends takes along what it staged, and the window is walked again. Who loses five has other worries.
MOST_WALKS = 5


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
    """A window to load, what walks it (from its beginning, each time), and what is done in the merge's transaction.

    None: there is nothing to walk.
    """

    window: Window | None
    pages: Callable[[Window], Iterator[Page]]
    finish: Callable[[Connection], None]


class Loaded(NamedTuple):
    """How many pages a walk had, and what came of them."""

    pages: int = 0
    stored: Stored = Stored()


def load_window(access: ShopAccess, engine: Engine, store: ListStore[Page], walk: Walk[Page]) -> Loaded:
    """Walk a window and store all of it in one transaction: a reader sees it whole or not at all.

    Pages are staged while the next ones are fetched, so nothing is locked while the platform is waited for. When the
    database stumbles the window is walked again, since what was staged is gone with the session.

    Raises CallError when the platform does not answer, DatabaseUnreachableError without the warehouse; of the window
    only raw pages are stored then, and what could not be read (quarantine, and the worklist for its details).
    """
    if walk.window is None:
        return Loaded()
    calls: list[Call] = []
    for is_last_walk in (*[False] * (MOST_WALKS - 1), True):
        try:
            return _load(access, engine, store, walk.pages(walk.window), walk.finish, calls)
        except (DBAPIError, psycopg2.Error, DatabaseUnreachableError) as error:
            if not is_passing(error):
                raise
            if is_last_walk:
                raise unreachable(engine, error) from error
            logger.warning("the warehouse stumbled (%s); walking the window again", cause_of(error))
        # As long as it takes it to come back.
        in_transaction(engine, lambda connection: connection.execute(text("SELECT 1")))
    raise AssertionError("the last walk returns or raises")


def _load(
    access: ShopAccess,
    engine: Engine,
    store: ListStore[Page],
    pages: Iterator[Page],
    finish: Callable[[Connection], None],
    calls: list[Call],
) -> Loaded:
    # ``calls``: those that are not in the call log yet, also of walks before this one.
    loaded = Loaded()
    rows = 0
    with session(engine) as connection:
        for number, (batch, is_last) in enumerate(_batches(pages), 1):
            is_logged = is_last or number % BATCHES_PER_LOG == 0
            if is_logged:
                calls += access.calls.drain()
            with connection.begin():
                if not is_last:
                    # Nobody relies on it before the merge, whose commit waits until this is on disk, too.
                    connection.execute(text("SET LOCAL synchronous_commit = off"))
                if not loaded.pages:
                    store.begin(connection)
                staged = store.stage(connection, batch)
                rows += staged.rows
                stored = Stored(*map(sum, zip(loaded.stored, staged.stored, strict=True)))
                if is_last:
                    stored = stored._replace(changed=stored.changed + store.merge(connection, rows))
                    finish(connection)
                if is_logged:
                    store_call_log(connection, calls)
            if is_logged:
                calls.clear()
            loaded = Loaded(loaded.pages + len(batch), stored)
    return loaded


def _batches(pages: Iterator[Page]) -> Iterator[tuple[list[Page], bool]]:
    """Group pages, fetched ahead of the loading, and say which group is the last. At least one comes.

    What is there by now is stored, so that the storing begins with the first pages and ends soon after the last.
    """
    batch: list[Page] = []
    with Ahead(pages, PAGES_AHEAD) as ahead:
        try:
            for page in ahead:
                batch.append(page)
                # The end comes right behind the page that says it is the last.
                if page.has_more and len(batch) >= (PAGES_PER_BATCH if ahead.is_waiting else FEWEST_PAGES):
                    yield batch, False
                    batch = []
        except Exception:
            if batch:
                yield batch, False
            raise
        yield batch, True


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
