"""Orders as a marketplace shows them: whole, on pages, and just enough of them to compare."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from order_pipeline.platforms.protocol.answers import Answer, RejectedRecord, Window


class OrderItem(msgspec.Struct, frozen=True):
    """One line of an order; the fields are the columns of ``core.order_items``."""

    item_id: str
    num_iid: str | None
    sku_id: str | None
    sku_code: str | None
    title: str | None
    sku_properties: str | None
    category_id: str | None
    quantity: int
    price: Decimal | None
    total_fee: Decimal | None
    discount_fee: Decimal | None
    adjust_fee: Decimal | None
    payment: Decimal | None
    divided_payment: Decimal | None
    status: str | None
    refund_status: str | None
    refund_id: str | None
    shipped_at: datetime | None
    ended_at: datetime | None
    logistics_company: str | None
    tracking_number: str | None
    extra: Mapping[str, Any]


class Order(msgspec.Struct, frozen=True):
    """One order as one answer showed it; the fields are the columns of ``core.orders``, plus its lines.

    ``extra`` keeps every field of the answer that has no column, as it came.
    """

    order_id: str
    status: str
    type: str | None
    created_at: datetime
    paid_at: datetime | None
    shipped_at: datetime | None
    ended_at: datetime | None
    modified_at: datetime
    payment: Decimal | None
    total_fee: Decimal | None
    discount_fee: Decimal | None
    adjust_fee: Decimal | None
    post_fee: Decimal | None
    received_payment: Decimal | None
    step_status: str | None
    step_paid_fee: Decimal | None
    promised_ship_at: datetime | None
    shipping_type: str | None
    seller_flag: int | None
    buyer_open_uid: str | None
    receiver_state: str | None
    receiver_city: str | None
    receiver_district: str | None
    buyer_message: str | None
    seller_memo: str | None
    trade_from: str | None
    extra: Mapping[str, Any]
    items: tuple[OrderItem, ...]


class OrderPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list. ``window`` is what was asked for; ``has_more``: the walk goes on after it."""

    answer: Answer
    window: Window
    page_no: int
    has_more: bool
    orders: tuple[Order, ...]
    rejected: tuple[RejectedRecord, ...]


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """The addressee of an order as the platform shows it to the seller; the representation hides it.

    Never part of anything else that is handed over: not of an answer's body, not of an order's ``extra``.
    """

    buyer_nick: str | None
    name: str | None
    mobile: str | None
    phone: str | None
    address: str | None
    town: str | None
    zip: str | None
    oaid: str | None

    def __repr__(self) -> str:
        return "Receiver(***)"


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of one order: exactly one of ``order`` and ``rejected`` is there.

    ``receiver``: its addressee, where it was asked for.
    """

    answer: Answer
    order: Order | None
    rejected: RejectedRecord | None
    receiver: Receiver | None = None

    @property
    def record(self) -> Order | None:
        """What was asked for."""
        return self.order

    @property
    def record_id(self) -> str | None:
        """Of which order it is, None where that cannot be read."""
        return self.order.order_id if self.order else self.rejected.order_id if self.rejected else None


class OrderVersion(msgspec.Struct, frozen=True, kw_only=True):
    """As little of an order as tells whether ours is the same. None: the list did not say."""

    order_id: str
    created_at: datetime
    modified_at: datetime
    status: str
    step_status: str | None
    payment: Decimal | None
    lines: int | None
    quantity: int | None


class VersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list of versions; ``sent_at`` as in Answer."""

    sent_at: datetime
    versions: tuple[OrderVersion, ...]
    rejected: tuple[RejectedRecord, ...]
