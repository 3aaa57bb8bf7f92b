"""What every marketplace can do for us: the OrderPlatform protocol and the records it hands over.

Belongs here: platform-neutral values. Times are aware datetimes, money is Decimal yuan, ids are text
(19 digits do not fit a double). Not here: anything a single platform does its own way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from order_pipeline.traffic.errors import CallError, SessionError


class Window(msgspec.Struct, frozen=True):
    """A span of platform time, both ends aware and in whole seconds.

    Platforms do not say whether their bounds are inclusive, so neighbouring windows share a second.
    """

    start: datetime
    end: datetime


class OrderItem(msgspec.Struct, frozen=True, kw_only=True):
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


class Order(msgspec.Struct, frozen=True, kw_only=True):
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


class RejectedRecord(msgspec.Struct, frozen=True):
    """A record that could not be read, kept (without personal data) so that it can be replayed.

    ``body`` is the record as JSON text in ASCII, so that NUL and lone surrogates survive as escapes.
    ``order_id`` or, of a refund, ``refund_id``, and ``modified_at`` are what could still be read of it.
    """

    order_id: str | None
    modified_at: datetime | None
    reason: str
    body: str
    refund_id: str | None = None

    @property
    def record_id(self) -> str | None:
        """Whichever it has."""
        return self.order_id or self.refund_id


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the platform, as it came.

    ``body`` is the JSON text; raw control characters inside strings, which no JSON parser takes, are
    stored escaped. ``sent_at`` is the platform's time when the request left us (never later than it was),
    so the answer holds every change up to then.
    """

    method: str
    request_id: str | None
    sent_at: datetime
    body: str


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


class OrderVersion(msgspec.Struct, frozen=True, kw_only=True):
    """As little of an order as tells whether ours is the same. None: the list did not say."""

    order_id: str
    created_at: datetime
    modified_at: datetime
    status: str
    payment: Decimal | None
    lines: int | None
    quantity: int | None


class VersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list of versions; ``sent_at`` as in Answer."""

    sent_at: datetime
    versions: tuple[OrderVersion, ...]
    rejected: tuple[RejectedRecord, ...]


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


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What an authorisation brought. Lifetimes in seconds, as the answer says; the representation hides the secrets.

    ``expires_in``: how long ``access_token`` is a session. ``refresh_expires_in``: how long ``refresh_token`` can be
    exchanged for a new one; 0: not at all. ``account``: the seller's number, so that another seller is noticed.
    ``account_name``: for the person who authorises, not kept.
    """

    access_token: str
    refresh_token: str | None
    expires_in: int
    refresh_expires_in: int
    account: str | None
    account_name: str | None

    def __repr__(self) -> str:
        return f"Token(expires_in={self.expires_in}, refresh_expires_in={self.refresh_expires_in}, ***)"


class Authorizer(Protocol):
    """How an app gets tokens for a shop."""

    def page(self, redirect_uri: str, state: str) -> str:
        """Return the address where the shop's owner agrees; the browser comes back to ``redirect_uri`` with a code."""
        ...

    def exchange(self, code: str, redirect_uri: str) -> Token:
        """Exchange a code for a token. Made once only, as a code works once.

        Raises GrantRefusedError for a code that is wrong, used or expired, CallError without a usable answer.
        """
        ...

    def refresh(self, refresh_token: str) -> Token:
        """Exchange a refresh token for a new token, which may end the old one at once. Made once only.

        Raises RefreshLimitError when it was done too often lately (the old token goes on), GrantRefusedError when
        it will never work again, CallError without a usable answer.
        """
        ...


class Session(Protocol):
    """Where the calls of a shop learn the session they go under. Safe to use from several threads at once."""

    def key(self) -> str:
        """Return the session key that holds now, renewed where that is due. Asked before each attempt of a call.

        Raises SessionError when the shop is paused or has none.
        """
        ...

    def refused(self, key: str, error: SessionError, *, again: bool) -> CallError:
        """Return what to raise for a call that was refused under this key: retryable where it may yet go through.

        ``again``: it is not the first refusal that this call meets.
        """
        ...


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the platform: that something happened, never what it is like now.

    Attributes:
        message_id: the platform's number of it, unique for an app key; where it has none that can be read, one made
            of what it says.
        confirmable: whether the platform can be told that it arrived.
        topic: what happened, in the platform's words.
        known_topic: whether that is documented.
        seller_id: whose shop, the platform's number of the account.
        seller_nick: the account's name.
        published_at: when the platform published it; None: it does not say so readably.
        order_id: the order that changed; None: it announces no change of an order, or does not name it.
        refund_id: the refund that changed with it.
        withdraws: whether it says that the seller took the app's authorisation back.
        content: what else it says, as JSON text without personal data; of one that could not be read what is left.
        problem: why it could not be read; None: it could.

    """

    message_id: str
    confirmable: bool
    topic: str
    known_topic: bool
    seller_id: str | None
    seller_nick: str | None
    published_at: datetime | None
    order_id: str | None
    refund_id: str | None
    content: str
    problem: str | None
    withdraws: bool = False


class MessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that wait to be confirmed. ``received_at``: the platform's time when they came, or a little earlier."""

    messages: tuple[Message, ...]
    received_at: datetime


class MessageSource(Protocol):
    """A shop's way to its app key's queue of messages, which all shops of the app key share.

    Every method raises ``traffic.errors.CallError`` as OrderPlatform does.
    """

    def permit_messages(self) -> None:
        """Let the shop's messages come, in all topics that the app has subscribed to. Safe to repeat."""
        ...

    def seller_nick(self) -> str | None:
        """Ask for the name of the shop's account, by which messages name it; None: the platform did not say."""
        ...

    def messages(self, group: str | None) -> MessageBatch:
        """Fetch what is in the queue, as much as comes at once. Each comes again until it is confirmed."""
        ...

    def confirm_messages(self, group: str | None, message_ids: Sequence[str]) -> None:
        """Say that these are safe with us: they never come again. At most as many as a batch holds."""
        ...


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

    def read_refund(self, body: str) -> Refund | RejectedRecord:
        """Read the stored ``body`` of an answer of ``refund`` again. Calls nothing.

        Raises MalformedAnswerError when it is no such answer.
        """
        ...


class TraceMeaning(StrEnum):
    """What an event of a trace says of its parcel, whatever the platform or the carrier calls it."""

    # Somebody means to send something: no carrier has it.
    ANNOUNCED = "announced"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    # In a locker or a station, not yet collected.
    PICKUP_POINT = "pickup_point"
    # Not delivered, or something is wrong with it.
    FAILED = "failed"
    REFUSED = "refused"
    INTERCEPTED = "intercepted"
    RETURNING = "returning"
    SIGNED = "signed"
    RETURNED = "returned"
    LOST = "lost"


class TransitEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a trace. ``at``: as the carrier stamps it. ``action``: the platform's code, where it has one.

    The carrier's words are read and not kept: they name couriers and whoever signed.
    """

    at: datetime
    action: str | None
    meaning: TraceMeaning


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform knows of the way of a parcel.

    Attributes:
        asked_at: the platform's time when it was asked: everything known by then is in it.
        answer: as it came, without the carrier's words; None: the platform said that there is no trace.
        tracking_number: by which it goes now: another one than the seller's where it was handed on.
        company: who carries it now.
        claims_signed: the platform calls it delivered, whether or not an event says so.
        is_traceable: whether there can ever be a trace of it.
        events: in no order.
        unreadable: why events were left out.

    """

    asked_at: datetime
    answer: Answer | None = None
    tracking_number: str | None = None
    company: str | None = None
    claims_signed: bool = False
    is_traceable: bool = True
    events: tuple[TransitEvent, ...] = ()
    unreadable: tuple[str, ...] = ()


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """A parcel of an order, as the platform lists it. ``item_ids``: the lines in it, none: all of them."""

    tracking_number: str | None
    company: str | None
    item_ids: tuple[str, ...]


class TraceSource(Protocol):
    """The ways of a shop's parcels. Every method raises ``traffic.errors.CallError`` as OrderPlatform does.

    Its calls stand aside: they do not wait for long where orders use up the rate budget, and their failures say nothing
    about the rest of the platform.
    """

    @property
    def trace_topic(self) -> str:
        """The topic of messages about parcels."""
        ...

    def trace(self, order_id: str, item_ids: Sequence[str] = ()) -> Trace:
        """Ask for the trace of an order's parcel; of an order in several, of the one with these lines."""
        ...

    def traces(self, order_id: str) -> tuple[Trace, ...]:
        """Ask for the traces of all parcels of an order."""
        ...

    def shipments(self, order_id: str) -> tuple[Shipment, ...]:
        """Ask for the parcels that an order left in."""
        ...

    def read_trace_message(self, content: str) -> TransitEvent | None:
        """Read the event that a message about a parcel tells of, None where it tells of none. Calls nothing."""
        ...


class StockItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of the shop as its list showed it.

    ``quantity``: pieces over all its SKUs; None: unreadable, and ``problem`` says what came. ``is_onsale``: buyers
    see it now.
    """

    num_iid: str
    title: str | None
    sku_code: str | None
    quantity: int | None
    is_onsale: bool
    problem: str | None


class StockLevel(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a SKU the platform says there are; ``quantity`` and ``problem`` as in StockItem."""

    num_iid: str
    sku_id: str
    sku_code: str | None
    quantity: int | None
    problem: str | None


class StockItemPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the shop's items. ``rejected``: why rows of it are not even items.

    ``short_by``: how many items fewer than it counts the list had, after walking it again; said once, on its last page.
    """

    answer: Answer
    items: tuple[StockItem, ...]
    rejected: tuple[str, ...]
    short_by: int = 0


class StockLevelPage(msgspec.Struct, frozen=True, kw_only=True):
    """The SKUs of some items. ``rejected`` as in StockItemPage."""

    answer: Answer
    levels: tuple[StockLevel, ...]
    rejected: tuple[str, ...]


class BundlePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a bundle of the platform's own: ``quantity`` pieces in one of the bundle."""

    num_iid: str
    sku_id: str | None
    sku_code: str | None
    quantity: int


class StockSource(Protocol):
    """A shop's goods and their stock. Every method raises ``traffic.errors.CallError`` as OrderPlatform does."""

    def stocked_items(self) -> Iterator[StockItemPage]:
        """Walk all items of the shop, on sale or not, while they move between lists. One may come several times."""
        ...

    def sku_levels(self, num_iids: Sequence[str]) -> Iterator[StockLevelPage]:
        """Ask for the SKUs of these items. Items without SKUs, and those of other shops, are silently absent."""
        ...

    def read_bundle(self, info: Any) -> tuple[BundlePart, ...] | str:
        """Read what an order's line says that its bundle holds, or why that cannot be read. Calls nothing."""
        ...

    @property
    def levels_a_write(self) -> int:
        """How many SKUs ``write_levels`` takes at most."""
        ...

    def write_levels(self, num_iid: str, levels: Mapping[str, int]) -> None:
        """Set the stock of SKUs of an item, absolute pieces by sku_id; ``{"": pieces}`` for an item without SKUs.

        Made once only. Raises OutcomeUnknownError when nobody can say whether it was carried out; after every other
        CallError it was not.
        """
        ...


class OrderPlatform(MessageSource, RefundSource, TraceSource, StockSource, Protocol):
    """A shop's door to its marketplace. Safe to use from several threads at once.

    Every method raises ``traffic.errors.CallError`` when, after the retries that its class allows,
    there is no usable answer; no method ever takes a broken answer for "no data".
    """

    def now(self) -> datetime:
        """Ask the platform for its time, never later than it really is; later ``sent_at`` follow it."""
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

    def read_detail(self, body: str) -> Order | RejectedRecord:
        """Read the stored ``body`` of an answer of ``order`` again. Calls nothing.

        Raises MalformedAnswerError when it is no such answer.
        """
        ...
