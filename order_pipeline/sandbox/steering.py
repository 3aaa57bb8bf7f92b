"""What tests and demonstrations make happen: orders, refunds, parcels and stock moved on by hand.

Belongs here: the acts that ``POST /sandbox/orders``, ``/refunds``, ``/parcels`` and ``/stock`` take, each with what it
does; in Python ``Pay(shop="demo-shop", tid=1).carry_out(marketplace)`` is the same. Not here: HTTP (``server``), what
an event does to an order (``trade``). None of it survives a restart.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.clock import parse_wall_text, to_ms
from order_pipeline.sandbox.demand import BasketLine
from order_pipeline.sandbox.event_values import OFFLINE, ONLINE, Shipment
from order_pipeline.sandbox.logistics import parcels
from order_pipeline.sandbox.logistics.journeys import Scan
from order_pipeline.sandbox.marketplace import Marketplace, UnknownOrderError

_UNPAID = (t.WAIT_BUYER_PAY, t.TRADE_NO_CREATE_PAY)

# What nobody asks about: an ordinary parcel of the shop's usual carrier.
_COMPANY, _WAYBILL_PREFIX = "中通快递", "7"


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", kw_only=True):
    """Something that happens now in a shop. ``carry_out`` raises UnknownOrderError, or ValueError if it cannot be."""

    shop: str

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """Let it happen; return what the caller may want to know."""
        raise NotImplementedError


class NewLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A line of an order to place, in cents; price 0 makes it a gift."""

    product_id: int
    title: str = "测试商品/一件"
    category: str = "测试"
    quantity: int = 1
    unit_price: int = 10_000
    discount: int = 0


class Place(Act, frozen=True, tag="place"):
    """A buyer places an order, which waits for payment for ever unless it ``lives``."""

    type: str = "fixed"
    household: int = 1
    lives: bool = False
    speed: float = 1.0
    presale_days: int | None = None
    lines: tuple[NewLine, ...] = (NewLine(product_id=1),)

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """Return the tid and the oids of the new order."""
        lines = [
            BasketLine(
                line.product_id,
                line.title,
                line.category,
                line.quantity,
                line.unit_price,
                line.unit_price * line.quantity - line.discount,
                line.discount,
            )
            for line in self.lines
        ]
        tid = marketplace.place_order(
            self.shop,
            lines=lines,
            household=self.household,
            order_type=self.type,
            lives=self.lives,
            speed=self.speed,
            presale_days=self.presale_days,
        )
        return _told(marketplace, self.shop, tid)


class OrderAct(Act, frozen=True):
    """Something that happens to an order."""

    tid: int

    def happen(
        self,
        marketplace: Marketplace,
        kind: str,
        value: Any = None,
        lines: tuple[int, ...] = (),
        only_if: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Let an event happen if the order's status is one of ``only_if`` (none named: any)."""
        with marketplace.looking():
            trade = marketplace.find(self.shop, self.tid)
            if only_if and trade.status not in only_if:
                raise ValueError(f"order {self.tid} is {trade.status}; this needs {' or '.join(only_if)}")
            if any(not 0 <= position < len(trade.lines) for position in lines):
                raise ValueError(f"order {self.tid} has lines 0 to {len(trade.lines) - 1}, not {lines}")
            marketplace.change(self.shop, self.tid, kind, value, lines)
            return _told(marketplace, self.shop, self.tid)


class Pay(OrderAct, frozen=True, tag="pay"):
    """The buyer pays; of an order with a deposit what is left."""

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act."""
        return self.happen(marketplace, t.PAID, only_if=_UNPAID)


class PayDeposit(OrderAct, frozen=True, tag="pay_deposit"):
    """The buyer pays the deposit."""

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act; only an order of type step has one."""
        with marketplace.looking():
            if marketplace.find(self.shop, self.tid).step_status != "FRONT_NOPAID_FINAL_NOPAID":
                raise ValueError(f"order {self.tid} waits for no deposit")
            return self.happen(marketplace, t.DEPOSIT_PAID)


class Forfeit(OrderAct, frozen=True, tag="forfeit"):
    """The time for the final payment is over, and the deposit lost."""

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act."""
        return self.happen(marketplace, t.DEPOSIT_FORFEITED, only_if=_UNPAID)


class Close(OrderAct, frozen=True, tag="close"):
    """The order is closed before it is paid."""

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act."""
        return self.happen(marketplace, t.CLOSED_UNPAID, only_if=_UNPAID)


class Consign(OrderAct, frozen=True, tag="consign"):
    """The seller ships: all lines or some, under a waybill that other orders may share.

    ``channel`` "offline" is a carrier of the seller's own; ``days`` how long the parcel takes (0: as it comes).
    """

    lines: tuple[int, ...] | None = None
    company: str = _COMPANY
    waybill: str | None = None
    channel: str = ONLINE
    days: float = 0.0

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """Return the waybill too."""
        if self.channel not in (ONLINE, OFFLINE):
            raise ValueError(f"a channel is {ONLINE!r} or {OFFLINE!r}, not {self.channel!r}")
        with marketplace.looking():
            trade = marketplace.find(self.shop, self.tid)
            every = tuple(place for place, line in enumerate(trade.lines) if line.status == t.WAIT_SELLER_SEND_GOODS)
            lines = every if self.lines is None else self.lines
            if not lines or not set(lines) <= set(every):
                raise ValueError(f"order {self.tid} has lines {list(every)} to ship, not {list(lines)}")
            waybill = self.waybill or f"{_WAYBILL_PREFIX}{(self.tid // 10_000 + trade.version) % 10**11:011d}"
            shipment = Shipment(self.company, waybill, self.days, self.channel)
            return self.happen(marketplace, t.CONSIGNED, shipment, lines) | {"waybill": waybill}


class Finish(OrderAct, frozen=True, tag="finish"):
    """The buyer confirms."""

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act."""
        return self.happen(marketplace, t.FINISHED, only_if=(t.WAIT_BUYER_CONFIRM_GOODS, t.TRADE_BUYER_SIGNED))


class ChangeSku(OrderAct, frozen=True, tag="change_sku"):
    """The buyer takes another variant (0 to 3) of a line."""

    line: int = 0
    variant: int = 1

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act."""
        if not 0 <= self.variant <= 3:
            raise ValueError(f"there are variants 0 to 3, not {self.variant}")
        return self.happen(marketplace, t.SKU_CHANGED, self.variant, (self.line,))


class ChangeQuantity(OrderAct, frozen=True, tag="change_quantity"):
    """A line is of another quantity."""

    line: int = 0
    quantity: int = 1

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act."""
        if self.quantity < 1:
            raise ValueError(f"a line is of one piece at least, not of {self.quantity}")
        return self.happen(marketplace, t.QUANTITY_CHANGED, self.quantity, (self.line,))


class ChangeAddress(OrderAct, frozen=True, tag="change_address"):
    """The buyer wants the parcel elsewhere."""

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act."""
        return self.happen(marketplace, t.ADDRESS_CHANGED)


class Hold(OrderAct, frozen=True, tag="hold"):
    """A flag that forbids shipping is set, or taken away."""

    name: str = "top_hold"
    value: bool = True

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act."""
        if self.name not in t.HOLDS:
            raise ValueError(f"no hold {self.name!r}; there are {sorted(t.HOLDS)}")
        return self.happen(marketplace, t.HELD, (self.name, self.value))


class Touch(OrderAct, frozen=True, tag="touch"):
    """Something else about the order changes, or (no ``changes``) only its ``modified``."""

    changes: dict[str, Any] = {}

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """As every act."""
        marketplace.touch(self.shop, self.tid, **self.changes)
        return _told(marketplace, self.shop, self.tid)


def _told(marketplace: Marketplace, shop: str, tid: int) -> dict[str, Any]:
    trade = marketplace.find(shop, tid)
    return {"tid": tid, "oids": [line.oid for line in trade.lines], "status": trade.status}


class MoveRefund(Act, frozen=True, tag="move"):
    """A refund is asked for or goes on; everything as in ``Marketplace.move_refund``."""

    tid: int
    status: str
    lines: tuple[int, ...] = (0,)
    number: int = 0
    fee: int | None = None
    quantity: int | None = None
    kind: str = ""
    cs_status: int = 0
    said: str = ""

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """Return the ids of the refunds."""
        trade = marketplace.move_refund(
            self.shop,
            self.tid,
            self.status,
            self.lines,
            number=self.number,
            fee=self.fee,
            quantity=self.quantity,
            kind=self.kind,
            cs_status=self.cs_status,
            said=self.said,
        )
        slots = [trade.placement.refund_slot(position, self.number) for position in self.lines]
        return {"tid": self.tid, "refund_ids": [trade.placement.refund_id(slot) for slot in slots]}


class NewScan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a carrier says, stamped ``time`` (the platform's text; None: as it says it)."""

    scan: str
    desc: str = "快件状态已更新"
    time: str | None = None


class MoveParcel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something happens to a parcel ``at`` a moment (aware; None: now), of which the future may be told beforehand.

    ``stall``: nothing more comes. ``revive``: what was kept back comes, beginning now. ``sign``, ``lose``,
    ``reroute`` (to another carrier, with a new number), ``event`` (the given one).
    """

    shop: str
    waybill: str
    action: str
    at: datetime | None = None
    event: NewScan | None = None

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """Return the waybill. UnknownOrderError if there is no such parcel, ValueError if it cannot be."""
        with marketplace.looking() as now_ms:
            at_ms = to_ms(self.at) if self.at else now_ms
            scan = None
            if self.event is not None:
                second = parse_wall_text(self.event.time) if self.event.time else at_ms // 1000
                scan = Scan(at_ms, second, self.event.scan, self.event.desc)
            try:
                marketplace.parcels(self.shop).edit(self.waybill, parcels.Edit(self.action, at_ms, scan))
            except KeyError:
                raise UnknownOrderError(f"shop {self.shop!r} has no parcel {self.waybill}") from None
        return {"waybill": self.waybill}


class MoveStock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Stock is set, as the seller's own page would do, or (``add``) a purchase arrives."""

    shop: str
    sku_id: int
    set: int | None = None
    add: int | None = None

    def carry_out(self, marketplace: Marketplace) -> dict[str, Any]:
        """Return the SKU's quantity. UnknownOrderError if there is no such SKU, ValueError if it cannot be."""
        with marketplace.looking() as now_ms:
            book = marketplace.stock(self.shop)
            sku = book.find(self.sku_id, now_ms // 1000)
            if sku is None:
                raise UnknownOrderError(f"shop {self.shop!r} has no SKU {self.sku_id}")
            if (self.set is None) == (self.add is None):
                raise ValueError("either set or add")
            if self.set is not None:
                if self.set < 0:
                    raise ValueError("stock is not negative")
                book.write(sku, self.set, now_ms // 1000)
            if self.add is not None:
                book.purchase(sku, self.add, now_ms // 1000)
            return {"sku_id": sku.sku_id, "quantity": sku.quantity}


OrderActs = (
    Place
    | Pay
    | PayDeposit
    | Forfeit
    | Close
    | Consign
    | Finish
    | ChangeSku
    | ChangeQuantity
    | ChangeAddress
    | Hold
    | Touch
)
