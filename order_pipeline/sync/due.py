"""Whether a shop has work, found out with one cheap call.

Belongs here: looking. Not here: doing (listing, enrichment).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.refund_listing import first_moment
from order_pipeline.sync.silence import end_silence, suspected_silence
from order_pipeline.sync.storing import shown_by
from order_pipeline.sync.windows import changed_window, day_of, due_days, due_history_days, moved_watermark
from order_pipeline.traffic.errors import BreakerOpenError, HeldBackError
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.subjects import ORDERS, REFUNDS, Subject
from order_pipeline.warehouse.watermarks import (
    INCREMENTS,
    REFUND_CHANGES,
    loaded_history_days,
    move_watermark,
    read_beginning,
    read_watermark,
)
from order_pipeline.warehouse.worklist import Depth, Said, Shown, contradicted, depth, unknown_changes
from order_pipeline.wording import counted

# Of a probe only the answer counts: a page of little is enough.
PROBE_SPAN = timedelta(minutes=1)


class DueWork(NamedTuple):
    """The days that have something to load, and the finding in words with numbers."""

    history_days: tuple[date, ...]
    changed_days: tuple[date, ...]
    explanation: str


def due_work(access: ShopAccess, engine: Engine) -> DueWork:
    """Look whether the shop has created-days to load, changes that are not known yet, or details to fetch.

    When one page shows every change up to now and all are known, the watermark moves on: that was a whole pass. An
    empty one is no pass where that cannot be (silence.py).
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


def due_refunds(access: ShopAccess, engine: Engine) -> DueWork:
    """Look whether the shop has changes of refunds that are not known yet, or their details to fetch.

    The days are days of change. Otherwise as ``due_work``: one call for the time, one for the list. While the breaker
    is open only details are work: the full pull of the orders takes the refunds along. Raises as ``due_work`` does.
    """
    try:
        return _look_at_refunds(access, engine)
    except BreakerOpenError as refusal:
        waiting = in_transaction(engine, lambda connection: depth(connection, access.shop.id, subject=REFUNDS))
        # The platform does not say its time now; ours is near enough to name the partition.
        days = (day_of(datetime.now(UTC)),) if waiting.due else ()
        return DueWork((), days, f"{refusal}; {counted(waiting.due, 'refund waits', 'refunds wait')} for details")
    except HeldBackError as refusal:
        return DueWork((), (), str(refusal))


def no_work(access: ShopAccess, reason: str) -> DueWork:
    """Return the finding for a shop that is left alone."""
    return DueWork((), (), f"shop {access.shop.id}: {reason}")


def _degraded(access: ShopAccess, engine: Engine, refusal: BreakerOpenError) -> DueWork:
    waiting = in_transaction(engine, lambda connection: depth(connection, access.shop.id))
    breaker = access.gate.breaker
    pull = breaker is not None and breaker.full_pull_due(access.shop.id)
    if not waiting.due and not pull:
        return DueWork((), (), str(refusal))
    # The platform does not say its time now; ours is near enough to name the partition.
    today = day_of(datetime.now(UTC))
    found = f"{counted(waiting.due, 'order waits', 'orders wait')} for details" + (
        ", a full pull is due" if pull else ""
    )
    return DueWork((), (today,), f"shop {access.shop.id}: the breaker is open; {found}")


def _look(access: ShopAccess, engine: Engine) -> DueWork:
    shop_id = access.shop.id
    now = access.platform.now()
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
        _finish_probe(access, now)
        return DueWork(tuple(due_history_days(now, now, set())), (), f"shop {shop_id}: never loaded")
    history = due_history_days(began, now, loaded)
    if history:
        _finish_probe(access, now)
        return DueWork(
            tuple(history),
            (),
            f"shop {shop_id}: "
            f"{counted(len(history), 'day of the first load is', 'days of the first load are')} missing",
        )

    def first_page(window: Window) -> _Page:
        page = next(iter(access.platform.changed_orders(window)))
        said = [Said(order.order_id, order.modified_at) for order in page.orders]
        return _Page(said, len(page.rejected), page.has_more, shown_by([page]))

    return _changes(access, engine, ORDERS, INCREMENTS, now, watermark, waiting, first_page)


def _look_at_refunds(access: ShopAccess, engine: Engine) -> DueWork:
    shop_id = access.shop.id
    now = access.platform.now()
    watermark, waiting = in_transaction(
        engine,
        lambda connection: (
            read_watermark(connection, shop_id, REFUND_CHANGES),
            depth(connection, shop_id, subject=REFUNDS),
        ),
    )
    if watermark is None:
        _finish_probe(access, now)
        days = due_days(first_moment(now), now, overlap=access.shop.overlap)
        return DueWork((), tuple(days), f"shop {shop_id}: refunds were never loaded")

    def first_page(window: Window) -> _Page:
        page = next(iter(access.platform.changed_refunds(window)))
        said = [Said(refund.refund_id, refund.modified_at) for refund in page.refunds]
        return _Page(said, len(page.rejected), page.has_more)

    return _changes(access, engine, REFUNDS, REFUND_CHANGES, now, watermark, waiting, first_page)


class _Page(NamedTuple):
    """The first page of a list of changes; ``shown``: in which version it shows orders."""

    said: list[Said]
    rejected: int
    has_more: bool
    shown: Sequence[Shown] = ()


def _changes(
    access: ShopAccess,
    engine: Engine,
    subject: Subject,
    channel: str,
    now: datetime,
    watermark: datetime,
    waiting: Depth,
    first_page: Callable[[Window], _Page],
) -> DueWork:
    """Look for details to fetch, a day to close, or changes that are not known yet."""
    shop_id = access.shop.id
    days = due_days(watermark, now, overlap=access.shop.overlap)
    if waiting.due:
        _finish_probe(access, now)
        return DueWork((), tuple(days), f"shop {shop_id}: {counted(waiting.due, subject.one)} still without details")
    if len(days) > 1:
        _finish_probe(access, now)
        return DueWork((), tuple(days), f"shop {shop_id}: {days[0]} is not closed yet")
    window = changed_window(day_of(now), watermark, now, overlap=access.shop.overlap)
    if window is None:
        _finish_probe(access, now)
        return DueWork((), (), f"shop {shop_id}: the day has just begun")
    page = first_page(window)
    moved = moved_watermark(watermark, window, now)

    def compare(connection: Connection) -> tuple[int, str | None]:
        news = unknown_changes(connection, shop_id, page.said, subject=subject) + page.rejected
        news += len(contradicted(connection, shop_id, page.shown))
        silence = None
        if subject is ORDERS and not (page.said or page.rejected or page.has_more):
            silence = suspected_silence(connection, access, window, now)
        elif subject is ORDERS:
            end_silence(connection, shop_id)
        if not news and not page.has_more and not silence:
            move_watermark(connection, shop_id, moved, channel)
        return news, silence

    news, silence = in_transaction(engine, compare)
    if silence:
        return DueWork((), (), f"shop {shop_id}: {silence}; the watermark waits, and people are told")
    if news or page.has_more:
        more = " or more" if page.has_more else ""
        return DueWork((), tuple(days), f"shop {shop_id}: {news}{more} changes since {watermark:%T}")
    return DueWork(
        (),
        (),
        f"shop {shop_id}: all {len(page.said)} changes of the last {access.shop.overlap_minutes} minutes before "
        f"{now:%T} are known, {waiting.later} {subject.name} wait for a later time",
    )


def _finish_probe(access: ShopAccess, now: datetime) -> None:
    """Ask for one page of the list where the breaker is open: the clock that was just asked was half a probe.

    Whoever finds work without a list would take probe after probe and end none of them: in a busy shop, where details
    are always waiting, the breaker would stay open for good.
    """
    breaker = access.gate.breaker
    if breaker is not None and breaker.is_open():
        next(iter(access.platform.changed_orders(Window(now - PROBE_SPAN, now))))
