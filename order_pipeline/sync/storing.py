"""From a platform's records to the warehouse's rows, one transaction at a time.

Belongs here: the one place where both are known. Not here: refunds (refund_storing.py), which records to
fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import Connection

from order_pipeline.platforms.protocol import Answer, Order, OrderDetail, OrderPage, RefundPage, RejectedRecord, Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.traffic.call_log import Call
from order_pipeline.warehouse.calls import CallRow, store_calls
from order_pipeline.warehouse.merging import Refused, Source
from order_pipeline.warehouse.orders import (
    ITEM_COLUMNS,
    ORDER_COLUMNS,
    OrderRow,
    begin_orders,
    merge_orders,
    merge_staged_orders,
    stage_orders,
)
from order_pipeline.warehouse.quarantine import QuarantinedRecord, quarantine, settle_loaded
from order_pipeline.warehouse.raw import RawPage, store_pages
from order_pipeline.warehouse.receivers import PERSONAL_COLUMNS, ReceiverRow, store_receivers
from order_pipeline.warehouse.worklist import (
    Said,
    Shown,
    contradicted_by_staged,
    say_anyway,
    say_changed,
    say_staged,
)

Page = TypeVar("Page", OrderPage, RefundPage)

DETAIL = "detail"

_order_values = attrgetter(*ORDER_COLUMNS)
_item_values = attrgetter(*ITEM_COLUMNS)
_receiver_values = attrgetter(*PERSONAL_COLUMNS)


class Stored(NamedTuple):
    """What list pages brought: records listed, changes that were news, records quarantined."""

    listed: int = 0
    changed: int = 0
    quarantined: int = 0


class Staged(NamedTuple):
    """What pages brought, and how many rows of theirs wait for the merge."""

    stored: Stored
    rows: int


class ListStore(NamedTuple, Generic[Page]):
    """How pages of a list are stored, on one connection: begin; stage them in some transactions; merge them in one.

    ``stage`` commits raw pages and quarantine; what readers see changes with ``merge`` only, which is told how many
    rows are staged and returns how many changes were news.
    """

    begin: Callable[[Connection], None]
    stage: Callable[[Connection, Sequence[Page]], Staged]
    merge: Callable[[Connection, int], int]


class StoredDetails(NamedTuple):
    """What details brought: records loaded, records quarantined, and why the warehouse refused one, by id."""

    loaded: int
    quarantined: int
    refused: dict[str, str]


def order_lists(access: ShopAccess, channel: str) -> ListStore[OrderPage]:
    """Return how pages of orders that come by that channel are stored: the orders where newer, and the worklist.

    A record that could not be read goes on the worklist too where its id is known: its details may be fine.
    """
    merge = partial(_merge_staged, access.shop.id, channel)
    return ListStore(begin_orders, partial(_stage_pages, access, channel), merge)


def _stage_pages(access: ShopAccess, channel: str, connection: Connection, pages: Sequence[OrderPage]) -> Staged:
    shop = access.shop
    store_pages(connection, shop.id, shop.platform, channel, [raw_page(page.answer, page.window) for page in pages])
    rows = [order_row(order, page.answer) for page in pages for order in page.orders]
    staged = stage_orders(connection, shop.id, shop.platform, Source.LIST, rows)
    rejected = [quarantined(record, page.answer) for page in pages for record in page.rejected]
    rejected += [_refused(held) for held in staged.refused]
    quarantine(connection, shop.id, shop.platform, channel, rejected)
    said = [Said(held.order_id, held.modified_at or held.sent_at) for held in rejected if held.order_id]
    changed = say_changed(connection, shop.id, channel, said)
    listed = sum(len(page.orders) + len(page.rejected) for page in pages)
    return Staged(Stored(listed, changed, len(rejected)), staged.rows)


def _merge_staged(shop_id: str, channel: str, connection: Connection, rows: int) -> int:
    merge_staged_orders(connection, Source.LIST, rows)
    changed = say_staged(connection, channel)
    return changed + say_anyway(connection, shop_id, channel, contradicted_by_staged(connection, shop_id))


def shown_by(pages: Sequence[OrderPage]) -> list[Shown]:
    """Return what pages of a list show, for the comparison with details of the same second."""
    return [
        Shown(
            order.order_id,
            order.modified_at,
            order.status,
            order.payment,
            order.received_payment,
            order.seller_flag,
            order.step_status,
            order.step_paid_fee,
            page.answer.sent_at,
        )
        for page in pages
        for order in page.orders
    ]


def store_details(connection: Connection, access: ShopAccess, details: Sequence[OrderDetail]) -> StoredDetails:
    """Store whole orders: raw first, then the rows where newer, and what could not be read or loaded.

    Addressees, of shops that keep them, land in the same transaction.
    """
    shop = access.shop
    orders = [(detail.order, detail.answer) for detail in details if detail.order]
    store_pages(
        connection,
        shop.id,
        shop.platform,
        DETAIL,
        [raw_page(detail.answer, None, order_id=detail.record_id) for detail in details],
    )
    refused = merge_orders(
        connection, shop.id, shop.platform, Source.DETAIL, [order_row(order, answer) for order, answer in orders]
    )
    store_receivers(connection, shop.id, [row for detail in details if (row := _receiver_row(detail))])
    rejected = [quarantined(detail.rejected, detail.answer) for detail in details if detail.rejected]
    rejected += [_refused(held) for held in refused]
    quarantine(connection, shop.id, shop.platform, DETAIL, rejected)
    settle_loaded(connection, shop.id, [order.order_id for order, _ in orders])
    reasons = {held.row.order_id: held.reason for held in refused}
    return StoredDetails(len(orders) - len(reasons), len(rejected), reasons)


def store_call_log(connection: Connection, calls: Sequence[Call]) -> None:
    """Write calls that were drained from a shop's log of calls."""
    store_calls(
        connection,
        [
            CallRow(
                call.shop_id,
                call.method,
                call.started_at.astimezone(UTC),
                call.seconds,
                call.outcome,
                call.code,
                call.request_id,
            )
            for call in calls
        ],
    )


def raw_page(
    answer: Answer, window: Window | None, order_id: str | None = None, refund_id: str | None = None
) -> RawPage:
    """Return the row of raw.page for an answer."""
    return RawPage(
        answer.method,
        window.start if window else None,
        window.end if window else None,
        order_id,
        answer.request_id,
        answer.sent_at,
        answer.body,
        refund_id,
    )


def _receiver_row(detail: OrderDetail) -> ReceiverRow | None:
    if detail.receiver is None or detail.order is None:
        return None
    order = detail.order
    return ReceiverRow(order.order_id, order.modified_at, detail.answer.sent_at, _receiver_values(detail.receiver))


def order_row(order: Order, answer: Answer) -> OrderRow:
    """Return the version of an order for the merge."""
    return values_row(order, answer.sent_at)


def values_row(order: Order, sent_at: datetime) -> OrderRow:
    """Return the same of an order whose answer is known by its time only."""
    return OrderRow(_order_values(order), [_item_values(item) for item in order.items], sent_at)


def quarantined(record: RejectedRecord, answer: Answer) -> QuarantinedRecord:
    """Return how a record that could not be read is kept."""
    return QuarantinedRecord(
        record.order_id, record.modified_at, record.reason, record.body, answer.sent_at, record.refund_id
    )


def _refused(held: Refused[OrderRow]) -> QuarantinedRecord:
    from order_pipeline.warehouse.copying import as_json

    values = dict(zip(ORDER_COLUMNS, held.row.order, strict=True))
    modified: datetime = values["modified_at"]
    body = as_json({**values, "items": [dict(zip(ITEM_COLUMNS, item, strict=True)) for item in held.row.items]})
    return QuarantinedRecord(held.row.order_id, modified, held.reason, body, held.row.sent_at)
