"""Which paid order lines may be sent now, which wait and why, and which must be stopped after they were listed.

Belongs here: the rule, over lines and stock as they are now. Not here: reading them, storing lists (sync/shipping.py).

A line is sent when nobody holds its order, no refund of it is open, it is paid in full, and its pieces are there. Stock
goes to the orders that must leave first: by promised ship time, then by time of payment. What an order waits for stays
reserved for it, so that a large order is not overtaken for ever; and an order leaves whole, as every parcel costs,
save lines that something else than stock holds back. Deposits of pre-sales reserve nothing here: their goods leave
later than those that are paid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from order_pipeline.wording import counted

# Words of a line or an order (Taobao contract §4.5); of an order's line that is waiting, the order may be part sent.
WAITING = "WAIT_SELLER_SEND_GOODS"
HELD_BY_PLATFORM = "PAID_FORBID_CONSIGN"
CLOSED = frozenset({"TRADE_CLOSED", "TRADE_CLOSED_BY_TAOBAO"})
FINAL_PAID = "FRONT_PAID_FINAL_PAID"
# The platform wants goods without a promise to leave within 48 hours of payment.
USUAL_PROMISE = timedelta(hours=48)

HOLDS = {
    "top_hold": "the platform holds it (top_hold): wait until it is released",
    "forbid_consign": "the platform forbids to send it (forbid_consign): wait until it is released",
    "team_buy_hold": "its group purchase is not complete (team_buy_hold): wait until it is",
}


class Line(NamedTuple):
    """A line of an order as it is now. Times aware.

    ``parts``: SKU and pieces that have to be picked; those of a bundle, else the line's own SKU. ``quantity``: pieces
    of the line that are to be sent, refunded ones taken off. ``holds``: names of HOLDS that are set on its order.
    """

    order_id: str
    item_id: str
    sku: str | None
    parts: tuple[tuple[str, int], ...]
    quantity: int
    status: str | None
    order_status: str
    paid_at: datetime
    promised_at: datetime | None = None
    step_status: str | None = None
    holds: tuple[str, ...] = ()
    has_open_refund: bool = False
    is_shipped: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What names the line within its shop."""
        return self.order_id, self.item_id

    @property
    def ship_by(self) -> datetime:
        """When it must have left."""
        return self.promised_at or self.paid_at + USUAL_PROMISE


class Held(NamedTuple):
    """A line that cannot be sent now: why, and what would change it."""

    line: Line
    reason: str
    remedy: str


class Plan(NamedTuple):
    """What to put on the list, in the order of allocation, and what is held back."""

    ship: tuple[Line, ...]
    held: tuple[Held, ...]


class Listed(NamedTuple):
    """A line that is on a list and was not seen to be shipped."""

    order_id: str
    item_id: str
    sku: str
    quantity: int


def plan(
    lines: Iterable[Line], stock: Mapping[str, int | None], listed: Collection[tuple[str, str]] = frozenset()
) -> Plan:
    """Decide about all lines that are paid and not sent.

    Args:
        lines: those lines, in any order.
        stock: SKU to pieces that are physically there, reserved ones among them; None or absent: nobody knows.
        listed: keys of lines that are on a list already: their pieces are taken, and they are in neither answer.

    """
    left = {sku: pieces for sku, pieces in stock.items() if pieces is not None}
    held: list[Held] = []
    orders: defaultdict[str, list[Line]] = defaultdict(list)
    for line in sorted(lines, key=lambda each: each.key):
        if line.key in listed:
            for sku, pieces in line.parts:
                if sku in left:
                    left[sku] = max(left[sku] - pieces, 0)
        elif reason := _held_back(line):
            held.append(Held(line, *reason))
        else:
            orders[line.order_id].append(line)
    ship: list[Line] = []
    for order in sorted(orders.values(), key=lambda each: (min(map(_turn, each)), each[0].order_id)):
        short = {line.key: lack for line in order if (lack := _take(line, left))}
        if not short:
            ship += order
            continue
        for line in order:
            lack = short.get(line.key) or ("waits for the rest of its order", "nothing; it leaves with the other lines")
            held.append(Held(line, *lack))
    return Plan(tuple(ship), tuple(held))


def _turn(line: Line) -> tuple[datetime, datetime]:
    return line.ship_by, line.paid_at


def _held_back(line: Line) -> tuple[str, str] | None:
    for name in line.holds:
        reason, _, remedy = HOLDS[name].partition(": ")
        return reason, remedy
    if HELD_BY_PLATFORM in (line.status, line.order_status):
        return f"the platform forbids to send it ({HELD_BY_PLATFORM})", "wait until it is released"
    if line.has_open_refund:
        return "a refund of it is open", "agree to the refund, or settle it with the buyer"
    if line.step_status is not None and line.step_status != FINAL_PAID:
        return "the final payment of its pre-sale is missing", "wait for the buyer"
    if not line.sku or not line.parts:
        return "its SKU is not known", "give the item a code on the platform (outer_id)"
    return None


def _take(line: Line, left: dict[str, int]) -> tuple[str, str] | None:
    """Reserve the line's pieces as far as they are there; return what is missing, None when nothing is."""
    lacking = None
    for sku, pieces in line.parts:
        if sku not in left:
            lacking = lacking or (f"the stock of {sku} is not known", "see the checks of inventory_levels")
            continue
        taken = min(pieces, left[sku])
        left[sku] -= taken
        if taken < pieces:
            remedy = "buy it (order-pipeline restock list), or correct its stock on the platform"
            lacking = lacking or (f"stock: {pieces} of {sku} are needed, {taken} are left", remedy)
    return lacking


def stop_reason(listed: Listed, now: Line | None) -> str | None:
    """Return why a line that is on a list must not be sent (any more, or not so); None: send it, or it has left.

    Args:
        listed: the line as it was listed.
        now: the line as it is; None: its order has no such line any more.

    """
    if now is None:
        return "the line was taken off its order"
    if now.is_shipped:
        return None
    if (now.status or now.order_status) in CLOSED:
        return "it was closed"
    if now.quantity <= 0:
        return "it was refunded"
    if now.has_open_refund:
        return "the buyer asks for a refund"
    for name in now.holds:
        return HOLDS[name].partition(": ")[0]
    if HELD_BY_PLATFORM in (now.status, now.order_status):
        return "the platform forbids to send it"
    if now.sku != listed.sku:
        return f"it is of {now.sku or 'an unknown SKU'} now, not of {listed.sku}"
    if now.quantity != listed.quantity:
        return f"{counted(now.quantity, 'piece is', 'pieces are')} to be sent now, not {listed.quantity}"
    return None


class Pick(NamedTuple):
    """What to fetch from a shelf for one list: pieces of a SKU, for how many orders."""

    warehouse: str
    sku: str
    pieces: int
    orders: int


def picks(lines: Iterable[tuple[str, Line]]) -> list[Pick]:
    """Group lines (each with its warehouse) for picking: by warehouse and SKU, parts of bundles among them."""
    pieces: defaultdict[tuple[str, str], int] = defaultdict(int)
    orders: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for warehouse, line in lines:
        for sku, number in line.parts:
            pieces[warehouse, sku] += number
            orders[warehouse, sku].add(line.order_id)
    return [Pick(*place, number, len(orders[place])) for place, number in sorted(pieces.items())]
