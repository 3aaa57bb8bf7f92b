"""Refunds as a marketplace shows them, and the way to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from order_pipeline.platforms.protocol.answers import Answer, RejectedRecord, Window


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """One refund as one answer showed it; the fields are the columns of ``core.refunds``.

    A refund is of one line of an order, and a line can have several. ``order_id`` and ``item_id`` are None where the
    platform names none. ``extra`` keeps every field of the answer that has no column, as it came.
    """

    refund_id: str
    order_id: str | None
    item_id: str | None
    status: str
    order_status: str | None
    dispute_type: str | None
    phase: str | None
    good_status: str | None
    has_good_return: bool | None
    refund_fee: Decimal | None
    remaining_payment: Decimal | None
    total_fee: Decimal | None
    price: Decimal | None
    quantity: int | None
    num_iid: str | None
    sku: str | None
    sku_code: str | None
    title: str | None
    reason: str | None
    description: str | None
    created_at: datetime
    modified_at: datetime
    goods_returned_at: datetime | None
    ended_at: datetime | None
    return_company: str | None
    return_tracking_number: str | None
    cs_status: int | None
    advance_status: int | None
    extra: Mapping[str, Any]


class RefundPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list of refunds, as OrderPage."""

    answer: Answer
    window: Window
    page_no: int
    has_more: bool
    refunds: tuple[Refund, ...]
    rejected: tuple[RejectedRecord, ...]


class RefundDetail(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of one refund: exactly one of ``refund`` and ``rejected`` is there."""

    answer: Answer
    refund: Refund | None
    rejected: RejectedRecord | None

    @property
    def record(self) -> Refund | None:
        """What was asked for."""
        return self.refund

    @property
    def record_id(self) -> str | None:
        """Of which refund it is, None where that cannot be read."""
        return self.refund.refund_id if self.refund else self.rejected.refund_id if self.rejected else None


class RefundVersion(msgspec.Struct, frozen=True, kw_only=True):
    """As little of a refund as tells whether ours is the same. None: the list did not say."""

    refund_id: str
    modified_at: datetime
    status: str
    refund_fee: Decimal | None
    quantity: int | None


class RefundVersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list of versions of refunds; ``sent_at`` as in Answer."""

    sent_at: datetime
    versions: tuple[RefundVersion, ...]
    rejected: tuple[RejectedRecord, ...]


class RefundSource(Protocol):
    """A shop's refunds. Every method raises ``traffic.errors.CallError`` as OrderPlatform does."""

    def changed_refunds(self, window: Window) -> Iterator[RefundPage]:
        """Walk the refunds last modified in the window, while they move, as ``OrderPlatform.changed_orders`` does."""
        ...

    def changed_refund_versions(self, window: Window) -> Iterator[RefundVersionPage]:
        """Walk the same with just enough to compare them."""
        ...

    @property
    def countable_refund_statuses(self) -> Collection[str]:
        """The statuses that ``count_changed_refunds`` takes, in the platform's words."""
        ...

    def count_changed_refunds(self, window: Window, status: str | None = None) -> int:
        """Ask for the number of refunds last modified in the window. As ``OrderPlatform.count_created``."""
        ...

    def refund(self, refund_id: str) -> RefundDetail:
        """Fetch one refund whole. Raises NotFoundError when the platform does not serve it (any more)."""
        ...

    def refunds(self, refund_ids: Sequence[str]) -> Sequence[RefundDetail | None]:
        """Fetch several refunds whole, as ``OrderPlatform.orders``."""
        ...

    def read_refund(self, body: str) -> Refund | RejectedRecord:
        """Read the stored ``body`` of an answer of ``refund`` again. Calls nothing.

        Raises MalformedAnswerError when it is no such answer.
        """
        ...
