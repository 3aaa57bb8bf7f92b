"""What draining a worklist differs in between orders and refunds: which calls bring them, and how they are stored.

Belongs here: that choice. Not here: draining (enrichment.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from order_pipeline.platforms.protocol import OrderDetail, RefundDetail
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.refund_storing import store_refund_details
from order_pipeline.sync.storing import StoredDetails, store_details
from order_pipeline.warehouse.subjects import ORDERS, REFUNDS, Subject


class Stream(NamedTuple):
    """A worklist, the calls that fetch one of its records or several, and what stores the answers."""

    subject: Subject
    fetch: Callable[[ShopAccess, str], OrderDetail | RefundDetail]
    # None: nothing good came of it, ``fetch`` tells why.
    fetch_some: Callable[[ShopAccess, Sequence[str]], Sequence[OrderDetail | RefundDetail | None]]
    # The sequence holds what ``fetch`` returns.
    store: Callable[[Connection, ShopAccess, Sequence[Any]], StoredDetails]


def _fetch_order(access: ShopAccess, order_id: str) -> OrderDetail:
    return access.platform.order(order_id, with_receiver=access.shop.keep_personal_data)


def _fetch_orders(access: ShopAccess, order_ids: Sequence[str]) -> Sequence[OrderDetail | None]:
    return access.platform.orders(order_ids, with_receiver=access.shop.keep_personal_data)


def _fetch_refund(access: ShopAccess, refund_id: str) -> RefundDetail:
    return access.platform.refund(refund_id)


def _fetch_refunds(access: ShopAccess, refund_ids: Sequence[str]) -> Sequence[RefundDetail | None]:
    return access.platform.refunds(refund_ids)


ORDER_STREAM = Stream(ORDERS, _fetch_order, _fetch_orders, store_details)
REFUND_STREAM = Stream(REFUNDS, _fetch_refund, _fetch_refunds, store_refund_details)
