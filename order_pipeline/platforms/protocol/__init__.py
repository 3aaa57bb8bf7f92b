"""What every marketplace can do for us: the OrderPlatform protocol and the records it hands over.

Belongs here: platform-neutral values, a module a subject. Times are aware datetimes, money is Decimal yuan, ids are
text (19 digits do not fit a double). Not here: anything a single platform does its own way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from order_pipeline.platforms.protocol.answers import Answer, RejectedRecord, Window
from order_pipeline.platforms.protocol.fields import FieldSource, KnownFields, RecordShape
from order_pipeline.platforms.protocol.messages import Message, MessageBatch, MessageSource
from order_pipeline.platforms.protocol.orders import (
    Order,
    OrderDetail,
    OrderItem,
    OrderPage,
    OrderVersion,
    Receiver,
    VersionPage,
)
from order_pipeline.platforms.protocol.parcels import Shipment, Trace, TraceMeaning, TraceSource, TransitEvent
from order_pipeline.platforms.protocol.refunds import (
    Refund,
    RefundDetail,
    RefundPage,
    RefundSource,
    RefundVersion,
    RefundVersionPage,
)
from order_pipeline.platforms.protocol.sessions import Authorizer, Session, Token
from order_pipeline.platforms.protocol.stock import (
    BundlePart,
    StockItem,
    StockItemPage,
    StockLevel,
    StockLevelPage,
    StockSource,
)

__all__ = [
    "Answer",
    "Authorizer",
    "BundlePart",
    "FieldSource",
    "KnownFields",
    "Message",
    "MessageBatch",
    "MessageSource",
    "Order",
    "OrderDetail",
    "OrderItem",
    "OrderPage",
    "OrderPlatform",
    "OrderVersion",
    "Receiver",
    "RecordShape",
    "Refund",
    "RefundDetail",
    "RefundPage",
    "RefundSource",
    "RefundVersion",
    "RefundVersionPage",
    "RejectedRecord",
    "Session",
    "Shipment",
    "StockItem",
    "StockItemPage",
    "StockLevel",
    "StockLevelPage",
    "StockSource",
    "Token",
    "Trace",
    "TraceMeaning",
    "TraceSource",
    "TransitEvent",
    "VersionPage",
    "Window",
]


class OrderPlatform(MessageSource, RefundSource, TraceSource, StockSource, FieldSource, Protocol):
    """A shop's door to its marketplace. Safe to use from several threads at once.

    Every method raises ``traffic.errors.CallError`` when, after the retries that its class allows,
    there is no usable answer; no method ever takes a broken answer for "no data".
    """

    def now(self) -> datetime:
        """Ask the platform for its time, never later than it really is; later ``sent_at`` follow it."""
        ...

    def known_time(self) -> datetime:
        """Return the platform's time, never later than it really is, with no call unless it was never told."""
        ...

    def sharpen_time(self, seconds: float) -> bool:
        """Learn the platform's time better, waiting for at most so many seconds; return whether a call was made."""
        ...

    def created_orders(self, window: Window) -> Iterator[OrderPage]:
        """Walk the orders created in the window. Every order that is there throughout comes at least once."""
        ...

    def changed_orders(self, window: Window) -> Iterator[OrderPage]:
        """Walk the orders last modified in the window, while they move.

        Orders of the window's very last second may be left to the next window, which shares it.
        Every order whose last change lies in the window when the walk ends comes at least once; an order
        that changes meanwhile leaves the window for a later one. The same (order, modified) comes only once.
        """
        ...

    def order(self, order_id: str, *, with_receiver: bool = False) -> OrderDetail:
        """Fetch one order whole, its addressee too if asked for, which then is in ``OrderDetail.receiver`` only.

        Raises NotFoundError when the platform does not serve it (any more).
        """
        ...

    @property
    def details_at_once(self) -> int:
        """How many ``orders`` or ``refunds`` are best asked for at once, by what is known now; 1: one by one."""
        ...

    def orders(self, order_ids: Sequence[str], *, with_receiver: bool = False) -> Sequence[OrderDetail | None]:
        """Fetch several orders whole with fewer requests than orders, each once; in the order asked for.

        None: nothing good came of it; ``order`` tells why, or brings it. Raises CallError when none of them may be
        asked for now.
        """
        ...

    @property
    def countable_statuses(self) -> Collection[str]:
        """The statuses that ``count_created`` takes, in the platform's words."""
        ...

    def count_created(self, window: Window, status: str | None = None) -> int:
        """Ask for the number of orders created in the window, all or those in a status. One call.

        Orders of the window's very first and last second may be counted or not. A platform's counts can be a
        little off where its lists are right: a count that disagrees proves nothing yet.
        """
        ...

    def created_versions(self, window: Window) -> Iterator[VersionPage]:
        """Walk the orders created in the window as ``created_orders`` does, with just enough to compare them."""
        ...

    @property
    def listed_types(self) -> Collection[str]:
        """The types of orders that lists show, in the platform's words; others are known from elsewhere only."""
        ...

    def read_detail(self, body: str) -> Order | RejectedRecord:
        """Read the stored ``body`` of an answer of ``order`` again. Calls nothing.

        Raises MalformedAnswerError when it is no such answer.
        """
        ...
