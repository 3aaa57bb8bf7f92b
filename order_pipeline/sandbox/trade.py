"""A trade as the platform keeps it, and what each kind of event does to it.

Belongs here: the state of one trade and the pure rule ``apply``. Not here: when events happen (``life``), what
the amounts are (``amounts``), how a trade looks on the wire (``rendering``). Money in cents, moments in
milliseconds (events) or whole seconds (state) since 1970.
"""

from __future__ import annotations

from typing import Any

import msgspec

from order_pipeline.sandbox.demand import Basket, BasketLine
from order_pipeline.sandbox.event_values import EXCHANGES, RefundStep, Shipment

WAIT_BUYER_PAY = "WAIT_BUYER_PAY"
TRADE_NO_CREATE_PAY = "TRADE_NO_CREATE_PAY"
PAID_FORBID_CONSIGN = "PAID_FORBID_CONSIGN"
WAIT_SELLER_SEND_GOODS = "WAIT_SELLER_SEND_GOODS"
SELLER_CONSIGNED_PART = "SELLER_CONSIGNED_PART"
WAIT_BUYER_CONFIRM_GOODS = "WAIT_BUYER_CONFIRM_GOODS"
TRADE_BUYER_SIGNED = "TRADE_BUYER_SIGNED"
TRADE_FINISHED = "TRADE_FINISHED"
TRADE_CLOSED = "TRADE_CLOSED"
TRADE_CLOSED_BY_TAOBAO = "TRADE_CLOSED_BY_TAOBAO"
ENDED = frozenset({TRADE_FINISHED, TRADE_CLOSED, TRADE_CLOSED_BY_TAOBAO})

NO_REFUND = "NO_REFUND"
REFUND_SUCCESS = "SUCCESS"

# Kinds of events.
CREATED = "created"
DEPOSIT_PAID = "deposit_paid"
DEPOSIT_FORFEITED = "deposit_forfeited"
PAID = "paid"
CLOSED_UNPAID = "closed_unpaid"
PRICE_ADJUSTED = "price_adjusted"
QUANTITY_CHANGED = "quantity_changed"
SKU_CHANGED = "sku_changed"
MEMO_EDITED = "memo_edited"
CONSIGNED = "consigned"
SIGNED = "signed"
FINISHED = "finished"
REFUND = "refund"
TOUCHED = "touched"
HELD = "held"
ADDRESS_CHANGED = "address_changed"

DEPOSIT_ONLY = "FRONT_PAID_FINAL_NOPAID"
TEAM_BUY_HOLD = "team_buy_hold"
# Flags that say: do not ship while set (contract 4.1).
HOLDS = frozenset({"top_hold", "forbid_consign", TEAM_BUY_HOLD})

# What ``TOUCHED`` (an edit made by a test) may change.
EDITABLE = frozenset(
    {"status", "seller_memo", "seller_flag", "buyer_message", "post_fee", "paid_at", "consigned_at", "ended_at"}
)

# Every trade owns this many consecutive numbers for its own id and its lines' ids; the longest basket of the
# real shopping year has 161 lines.
IDS_PER_TRADE = 512
_SCRAMBLE = 6_364_136_223_847
_SCRAMBLE_RANGE = 10**13  # coprime with _SCRAMBLE, so scrambling is a permutation
_TRADE_PREFIX = 2 * 10**14
_REFUND_PREFIX = 10**14
_BUYER_SUFFIX = 10_000  # ids end in four digits of the buyer, so all have 19 digits


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change of a trade: when (milliseconds), what, on which lines (by position), with which value."""

    at_ms: int
    kind: str
    lines: tuple[int, ...] = ()
    value: Any = None


class Placement(msgspec.Struct, frozen=True, gc=False):
    """What is settled once and for all when the buyer places the order. ``deposit`` is 0 unless staged.

    ``presale_days`` is within how many days a pre-sale that is paid in full ships, 0 for anything else.
    """

    ordinal: int
    id_key: int
    type: str
    created_ms: int
    basket: Basket
    post_fee: int
    promotion: int
    deposit: int
    buyer_message: str | None
    virtual: bool
    origin: str
    presale_days: int = 0
    speed: float = 1.0

    @property
    def tid(self) -> int:
        """The main order id: 19 digits, above 2**53."""
        return _identifier(_TRADE_PREFIX, self.ordinal * IDS_PER_TRADE + self.id_key, self.basket.household)

    def oid(self, position: int) -> int:
        """Return the id of the line at ``position``; equal to the trade's for a single-line trade."""
        if len(self.basket.lines) == 1:
            return self.tid
        slot = self.ordinal * IDS_PER_TRADE + self.id_key + 1 + position
        return _identifier(_TRADE_PREFIX, slot, self.basket.household)

    def refund_slot(self, position: int, number: int = 0) -> int:
        """Return which refund of this trade the ``number``-th refund (from 0) of a line is. ValueError if too many."""
        slot = number * len(self.basket.lines) + position
        if slot >= IDS_PER_TRADE - 1:
            raise ValueError(f"an order has room for {IDS_PER_TRADE - 1} refunds")
        return slot

    def refund_id(self, slot: int) -> int:
        """Return the id of a refund of this trade."""
        slot = self.ordinal * IDS_PER_TRADE + self.id_key + 1 + slot
        return _identifier(_REFUND_PREFIX, slot, self.basket.household)


def _identifier(prefix: int, slot: int, buyer: int) -> int:
    return (prefix + slot * _SCRAMBLE % _SCRAMBLE_RANGE) * _BUYER_SUFFIX + buyer % _BUYER_SUFFIX


class Line(msgspec.Struct, gc=False):
    """One line of a trade; moments are whole seconds, 0 while they have not come.

    ``returned`` is the money that refunds of a part gave back, ``is_returned`` that one of all the rest succeeded.
    """

    oid: int
    source: BasketLine
    quantity: int
    adjust: int
    status: str
    variant: int = 0
    refund_status: str = NO_REFUND
    refund_id: int = 0
    consigned_at: int = 0
    ended_at: int = 0
    company: str | None = None
    invoice_no: str | None = None
    returned: int = 0
    is_returned: bool = False


class Trade(msgspec.Struct, gc=False):
    """One trade; ``applied`` is every event so far, so any earlier version can be rebuilt from it.

    ``entered`` is when the latest change came into lists; that is ``modified`` unless a fault made it late.
    ``holds`` are the flags that forbid shipping, ``addresses`` how often the buyer has changed the address.
    """

    placement: Placement
    tid: int
    type: str
    lines: list[Line]
    status: str
    created: int
    modified: int
    post_fee: int
    buyer_message: str | None
    applied: list[Event]
    paid_at: int = 0
    consigned_at: int = 0
    ended_at: int = 0
    step_status: str | None = None
    cod_status: str = "NEW_CREATED"
    seller_memo: str | None = None
    seller_flag: int = 0
    parcels: int = 0
    entered: int = 0
    holds: frozenset[str] = frozenset()
    addresses: int = 0

    @property
    def version(self) -> int:
        """How many events have been applied."""
        return len(self.applied)

    def at_version(self, version: int) -> Trade:
        """Return the trade as it was after its first ``version`` events."""
        if version == len(self.applied):
            return self
        earlier = open_trade(self.placement)
        for event in self.applied[:version]:
            apply(earlier, event)
        return earlier


def open_trade(placement: Placement) -> Trade:
    """Return a trade before its first event."""
    # Cash on delivery needs no payment before the seller ships.
    status = WAIT_SELLER_SEND_GOODS if placement.type == "cod" else WAIT_BUYER_PAY
    lines = [
        Line(placement.oid(position), source, source.quantity, 0, status)
        for position, source in enumerate(placement.basket.lines)
    ]
    created = placement.created_ms // 1000
    trade = Trade(
        placement,
        placement.tid,
        placement.type,
        lines,
        status,
        created,
        created,
        placement.post_fee,
        placement.buyer_message,
        [],
    )
    if placement.type == "step":
        trade.step_status = "FRONT_NOPAID_FINAL_NOPAID"
    return trade


def is_step_of(trade: Trade, event: Event, slot: int) -> bool:
    """Whether an event is a step of a refund of the trade."""
    if event.kind != REFUND:
        return False
    number, position = divmod(slot, len(trade.lines))
    return position in event.lines and number == event.value.number


def apply(trade: Trade, event: Event) -> None:
    """Change ``trade`` as ``event`` says and stamp ``modified``; the event joins ``applied``."""
    now = event.at_ms // 1000
    trade.modified = trade.entered = now
    trade.applied.append(event)
    kind = event.kind
    if kind == PAID:
        trade.paid_at = now
        if trade.step_status is not None:
            trade.step_status = "FRONT_PAID_FINAL_PAID"
        _set_status(trade, WAIT_SELLER_SEND_GOODS)
    elif kind == CONSIGNED:
        _consign(trade, event, now)
    elif kind == REFUND:
        _refund(trade, event, now)
    elif kind == FINISHED:
        _end(trade, TRADE_FINISHED, now)
        if not trade.paid_at:
            trade.paid_at = now
    elif kind == CLOSED_UNPAID:
        _end(trade, TRADE_CLOSED_BY_TAOBAO, now)
        if trade.type == "cod":
            trade.cod_status = "CANCELED"
    elif kind == MEMO_EDITED:
        trade.seller_memo, trade.seller_flag = event.value
    elif kind == SIGNED:
        trade.cod_status = "SIGN_IN"
        trade.paid_at = now
        _set_status(trade, TRADE_BUYER_SIGNED)
    elif kind == DEPOSIT_PAID:
        trade.step_status = DEPOSIT_ONLY
        # Sellers' screens show either status while only the deposit is paid; which is for the order's number to say.
        _set_status(trade, TRADE_NO_CREATE_PAY if trade.tid // _BUYER_SUFFIX % 2 else WAIT_BUYER_PAY)
    elif kind == DEPOSIT_FORFEITED:
        trade.step_status = "FRONT_PAID_FRONT_FORFEITED"
        _end(trade, TRADE_CLOSED_BY_TAOBAO, now)
    elif kind == TOUCHED:
        _touch(trade, event.value)
    elif kind == HELD:
        _hold(trade, *event.value)
    elif kind == ADDRESS_CHANGED:
        trade.addresses += 1
    elif kind != CREATED:
        _edit_line(trade.lines[event.lines[0]], kind, event.value)


def _set_status(trade: Trade, status: str) -> None:
    trade.status = status
    for line in trade.lines:
        if line.status not in ENDED:
            line.status = status


def _end(trade: Trade, status: str, now: int) -> None:
    for line in trade.lines:
        if line.status not in ENDED:
            line.status, line.ended_at = status, now
    trade.status, trade.ended_at = status, now


def _consign(trade: Trade, event: Event, now: int) -> None:
    shipment: Shipment = event.value
    for position in event.lines:
        line = trade.lines[position]
        if line.status not in ENDED:
            line.status, line.consigned_at = WAIT_BUYER_CONFIRM_GOODS, now
            line.company, line.invoice_no = shipment.company, shipment.waybill
    trade.parcels += 1
    trade.consigned_at = trade.consigned_at or now
    waiting = any(line.status == WAIT_SELLER_SEND_GOODS for line in trade.lines)
    trade.status = SELLER_CONSIGNED_PART if waiting else WAIT_BUYER_CONFIRM_GOODS


def _refund(trade: Trade, event: Event, now: int) -> None:
    step: RefundStep = event.value
    for position in event.lines:
        line = trade.lines[position]
        line.refund_id = trade.placement.refund_id(trade.placement.refund_slot(position, step.number))
        line.refund_status = step.status
        if step.status != REFUND_SUCCESS or step.kind in EXCHANGES:
            continue
        if step.fee is not None:
            line.returned += step.fee
            continue
        line.is_returned = True
        # A refund after the trade succeeded moves money but does not reopen or close anything.
        if line.status not in ENDED:
            line.status, line.ended_at = TRADE_CLOSED, now
    if trade.status in ENDED:
        return
    states = {line.status for line in trade.lines}
    if states <= ENDED:
        trade.status, trade.ended_at = TRADE_CLOSED, now
    elif trade.status == SELLER_CONSIGNED_PART and WAIT_SELLER_SEND_GOODS not in states:
        trade.status = WAIT_BUYER_CONFIRM_GOODS


def _hold(trade: Trade, name: str, is_set: bool) -> None:
    trade.holds = trade.holds | {name} if is_set else trade.holds - {name}
    if name == TEAM_BUY_HOLD and trade.status in (WAIT_SELLER_SEND_GOODS, PAID_FORBID_CONSIGN):
        _set_status(trade, PAID_FORBID_CONSIGN if is_set else WAIT_SELLER_SEND_GOODS)


def _edit_line(line: Line, kind: str, value: int) -> None:
    if kind == SKU_CHANGED:
        line.variant = value
    elif kind == QUANTITY_CHANGED:
        line.quantity = value
    elif kind == PRICE_ADJUSTED:
        line.adjust = value
    else:
        raise ValueError(f"unknown kind of event: {kind}")


def _touch(trade: Trade, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if name == "status":
            _set_status(trade, value)
        else:
            setattr(trade, name, value)
