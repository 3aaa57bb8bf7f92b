"""What refunds take off an order's line: pieces, money, and the stock that the line still reserves.

Belongs here: the rule, over one line and its refunds as they are now. Not here: reading them. The views
core.refunded_item, bi.order_items and bi.reserved_stock say the same in SQL for BI.

The rule looks at states, never at events: the newest version of the line and of each refund. So it does not matter in
which order news came, or how often, nor whether a refund was known before its order changed; and a refund frees its
pieces once, however many messages told of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

SUCCESS = "SUCCESS"
CLOSED = "TRADE_CLOSED"
# Where a line waits to be sent (Taobao contract §4.5): paid, or cash on delivery. PAID_FORBID_CONSIGN is paid and held.
RESERVING = frozenset({"WAIT_SELLER_SEND_GOODS", "PAID_FORBID_CONSIGN"})
# What these end with is other goods, not money back: the line is sold as it was (contract §4.3 dispute_type).
EXCHANGES = frozenset({"TMALL_EXCHANGE", "TAOBAO_EXCHANGE", "REPAIR", "RESHIPPING"})

NOT_RECEIVED = "BUYER_NOT_RECEIVED"
RETURNED = "BUYER_RETURNED_GOODS"
# A share of a payment is rounded down to whole cents: three pieces of 10.00 are refunded with 3.33 each.
CENT = Decimal("0.01")
ZERO = Decimal(0)


class Line(NamedTuple):
    """A line of an order: pieces, what was paid for them (yuan), where it stands, whether it was sent."""

    quantity: int
    paid: Decimal
    status: str | None
    is_shipped: bool = False


class LineRefund(NamedTuple):
    """A refund of the line. ``quantity`` None: of all its pieces. ``fee`` yuan."""

    status: str
    fee: Decimal | None = None
    quantity: int | None = None
    dispute_type: str | None = None
    good_status: str | None = None
    has_good_return: bool | None = None


class Refunded(NamedTuple):
    """What successful refunds took off a line: never more than it has."""

    quantity: int
    payment: Decimal


def refunded(line: Line, refunds: Iterable[LineRefund]) -> Refunded:
    """Return what the line's refunds took off it.

    Only status SUCCESS counts, and no exchange. Money adds up to at most what was paid. Pieces count where goods came
    back; of goods that the buyer never received, where the money pays for the pieces: less is a reduction in price,
    and they are still sent. Money alone after receipt takes no pieces off. A line that was closed or wholly paid back
    before it was sent is sold no more, whatever its refunds say of pieces.
    """
    done = [each for each in refunds if each.status == SUCCESS and each.dispute_type not in EXCHANGES]
    money = min(sum((each.fee or ZERO for each in done), ZERO), line.paid)
    unsent_money = sum((each.fee or ZERO for each in done if _is_unsent(each)), ZERO)
    if not line.is_shipped and (line.status == CLOSED or (unsent_money >= line.paid and unsent_money > 0)):
        return Refunded(line.quantity, money)
    return Refunded(min(sum(_pieces(line, each) for each in done), line.quantity), money)


def reserved(line: Line, refunds: Sequence[LineRefund]) -> int:
    """Return how many pieces of a line wait to be sent: their stock is spoken for."""
    if line.status not in RESERVING or line.is_shipped:
        return 0
    return line.quantity - refunded(line, refunds).quantity


def _came_back(refund: LineRefund) -> bool:
    return bool(refund.has_good_return) or refund.good_status == RETURNED


def _is_unsent(refund: LineRefund) -> bool:
    return not _came_back(refund) and refund.good_status in (None, NOT_RECEIVED)


def _pieces(line: Line, refund: LineRefund) -> int:
    pieces = line.quantity if refund.quantity is None else refund.quantity
    if _came_back(refund):
        return pieces
    fee = refund.fee or ZERO
    pays = (fee > 0 or line.paid == 0) and (fee + CENT) * line.quantity >= line.paid * pieces
    return pieces if _is_unsent(refund) and pays else 0
