"""Whether a shop has work, found out with one cheap call.

Belongs here: looking. Not here: doing (listing, enrichment).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.windows import changed_window, day_of, due_days, due_history_days, moved_watermark
from order_pipeline.traffic.errors import BreakerOpenError, HeldBackError
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.watermarks import loaded_history_days, move_watermark, read_beginning, read_watermark
from order_pipeline.warehouse.worklist import Said, depth, unknown_changes


class DueWork(NamedTuple):
    """The days that have something to load, and the finding in words with numbers."""

    history_days: tuple[date, ...]
    changed_days: tuple[date, ...]
    explanation: str


def due_work(access: ShopAccess, engine: Engine) -> DueWork:
    """Look whether the shop has created-days to load, changes that are not known yet, or details to fetch.

    When one page shows every change up to now and all are known, the watermark moves on: that was a whole pass.
    While the breaker is open only details and the hourly full pull are work; during a long ban nothing is.
    Raises CallError as the platform does, DatabaseUnreachableError without the warehouse.
    """
    try:
        return _look(access, engine)
    except BreakerOpenError as refusal:
        return _degraded(access, engine, refusal)
    except HeldBackError as refusal:
        # A long ban, as when the day's quota is used up: known, stored, and nothing to do until it ends.
        return DueWork((), (), str(refusal))


def no_work(access: ShopAccess, reason: str) -> DueWork:
    """Return the finding for a shop that is left alone."""
    return DueWork((), (), f"shop {access.shop.id}: {reason}")


def _degraded(access: ShopAccess, engine: Engine, refusal: BreakerOpenError) -> DueWork:
    waiting = in_transaction(engine, lambda connection: depth(connection, access.shop.id))
    breaker = access.gate.breaker
    pull = breaker is not None and breaker.full_pull_due()
    if not waiting.due and not pull:
        return DueWork((), (), str(refusal))
    # The platform does not say its time now; ours is near enough to name the partition.
    today = day_of(datetime.now(UTC))
    found = f"{waiting.due} orders wait for their details" + (", a full pull is due" if pull else "")
    return DueWork((), (today,), f"shop {access.shop.id}: the breaker is open; {found}")


def _look(access: ShopAccess, engine: Engine) -> DueWork:
    shop_id = access.shop.id
    now = access.platform.now()
    today = day_of(now)
    began, watermark, loaded, waiting = in_transaction(
        engine,
        lambda connection: (
            read_beginning(connection, shop_id),
            read_watermark(connection, shop_id),
            loaded_history_days(connection, shop_id),
            depth(connection, shop_id),
        ),
    )
    if began is None or watermark is None:
        return DueWork(tuple(due_history_days(now, now, set())), (), f"shop {shop_id}: never loaded")
    history = due_history_days(began, now, loaded)
    if history:
        return DueWork(tuple(history), (), f"shop {shop_id}: {len(history)} days of the first load are missing")
    days = due_days(watermark, now, overlap=access.shop.overlap)
    if waiting.due:
        return DueWork((), tuple(days), f"shop {shop_id}: {waiting.due} orders wait for their details")
    if len(days) > 1:
        return DueWork((), tuple(days), f"shop {shop_id}: {days[0]} is not closed yet")
    window = changed_window(today, watermark, now, overlap=access.shop.overlap)
    if window is None:
        return DueWork((), (), f"shop {shop_id}: the day has just begun")
    page = next(iter(access.platform.changed_orders(window)))
    said = [Said(order.order_id, order.modified_at) for order in page.orders]
    moved = moved_watermark(watermark, window, now)

    def compare(connection: Connection) -> int:
        news = unknown_changes(connection, shop_id, said) + len(page.rejected)
        if not news and not page.has_more:
            move_watermark(connection, shop_id, moved)
        return news

    news = in_transaction(engine, compare)
    if news or page.has_more:
        more = " or more" if page.has_more else ""
        return DueWork((), tuple(days), f"shop {shop_id}: {news}{more} changes since {watermark:%T}")
    return DueWork(
        (),
        (),
        f"shop {shop_id}: all {len(said)} changes of the last {access.shop.overlap_minutes} minutes before "
        f"{now:%T} are known, {waiting.later} orders wait for a later time",
    )
