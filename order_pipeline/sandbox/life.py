"""The life of an order, decided once from (seed, basket): what will happen to it, and when.

Belongs here: the pure schedule. Not here: what an event does to a trade (``trade``). The rates and waiting
times are those of a Tmall shop (payment, refunds) and of a large marketplace (delivery, parcels).
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from random import Random
from typing import Any

import msgspec

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.chance import Quantiles, again, mix, seeded
from order_pipeline.sandbox.clock import DAY_SECONDS, SHANGHAI_OFFSET_SECONDS, to_ms
from order_pipeline.sandbox.demand import Basket
from order_pipeline.sandbox.event_values import RefundStep, Shipment, plain_step
from order_pipeline.sandbox.trade import Event, Placement

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0

# About one order in twenty is of a type outside the five that lists return by default, so that a client that
# forgets to name all types really misses some.
_TYPES = (
    ("fixed", 84.0),
    ("step", 6.0),
    ("cod", 2.5),
    ("auction", 1.0),
    ("auto_delivery", 1.0),
    ("ec", 0.5),
    ("tmall_i18n", 2.0),
    ("eticket", 1.5),
    ("nopaid", 0.5),
    ("o2o_offlinetrade", 1.0),
)
_TYPE_NAMES = tuple(name for name, _ in _TYPES)
_TYPE_WEIGHTS = tuple(accumulate(weight for _, weight in _TYPES))
_VIRTUAL_TYPES = frozenset({"auto_delivery", "ec", "eticket"})

NEVER_PAID = 0.14
REFUNDED = 0.234  # of paid orders
SEVERAL_PARCELS = 0.03  # of orders with several lines, which makes about 1.5 % of all orders
MEMO = 0.15
PRICE_ADJUSTED = 0.02
QUANTITY_CHANGED = 0.005
SKU_CHANGED = 0.005
FORFEITED = 0.1
# Of orders with a deposit: given back before the rest was paid, or changed meanwhile.
DEPOSIT_CANCELLED = 0.05
CHANGED_WHILE_DEPOSIT = 0.04
# Of ordinary orders: pre-sales that are paid in full, of which a share may not ship before the group is complete.
PAID_PRESALE = 0.03
TEAM_BUY = 0.005
# Of orders with a parcel: held by the seller for a while, sent to another address.
HELD = 0.01
ADDRESS_CHANGED = 0.01
# Of orders that came to their end without a refund.
PARTLY_REFUNDED_AFTER = 0.012
EXCHANGED_AFTER = 0.006
# Of the parcels that leave for one buyer on one day: how many go out as one.
MERGED_PERCENT = 50

CREATED_TO_PAID = Quantiles([(0, 1), (0.5, 8), (0.95, 191), (0.99, 2.5 * HOUR), (1, 23.9 * HOUR)])
PAID_TO_CONSIGNED = Quantiles([(0, 0.3 * HOUR), (0.5, 18 * HOUR), (0.9, 2 * DAY), (0.99, 5 * DAY), (1, 9 * DAY)])
CONSIGNED_TO_DELIVERED = Quantiles(
    [(0, 0.8 * DAY), (0.5, 7 * DAY), (0.9, 18.8 * DAY), (0.99, 38.9 * DAY), (1, 60 * DAY)]
)
DELIVERED_TO_CONFIRMED = Quantiles([(0, 0.5 * HOUR), (0.5, 1.5 * DAY), (0.9, 6 * DAY), (1, 10 * DAY)])
REFUND_STEP = Quantiles([(0, MINUTE), (0.5, 8 * HOUR), (0.9, 2 * DAY), (1, 6 * DAY)])

_MESSAGES = ("请尽快发货", "周末配送 ", "送人的，包装好一点", "放驿站/丰巢", "不要放门口，谢谢！")
_MEMOS = ("已催", "改为发顺丰", "客户要求延迟/周五发", "赠品已备", "地址已核对")
_CARRIERS = (("顺丰速运", "SF"), ("中通快递", "7"), ("圆通速递", "YT"), ("韵达快递", "4"), ("EMS", "11"))
_ORIGINS = ("WAP,WAP", "TAOBAO", "WAP,JHS", "TAOBAO,HITAO")
_RETURN = ("WAIT_SELLER_AGREE", "WAIT_BUYER_RETURN_GOODS", "WAIT_SELLER_CONFIRM_GOODS", "SUCCESS")
_MONEY_ONLY = ("WAIT_SELLER_AGREE", "SUCCESS")
_WITHDRAWN = ("WAIT_SELLER_AGREE", "CLOSED")
_EXCHANGE = (
    "WAIT_SELLER_AGREE",
    "WAIT_BUYER_RETURN_GOODS",
    "WAIT_SELLER_CONFIRM_GOODS",
    "WAIT_SELLER_CONSIGN_GOODS",
    "WAIT_BUYER_CONFIRM_EXCHANGE_SELLER_SEND_GOODS",
    "SUCCESS",
)
_REFUSED = ("WAIT_SELLER_AGREE", "SELLER_REFUSE_BUYER", "CLOSED")


def plan_life(
    seed: int,
    ordinal: int,
    basket: Basket,
    *,
    created_ms: int | None = None,
    speed: float = 1.0,
    order_type: str | None = None,
    presale_days: int | None = None,
) -> tuple[Placement, list[Event]]:
    """Decide an order's life: its placement and its events in time order, the first being its creation.

    ``ordinal`` makes its ids unique within a marketplace. ``created_ms`` defaults to the basket's moment.
    All waits are divided by ``speed``. ``presale_days`` makes it a pre-sale paid in full that ships within so many
    days, 0 never; None leaves it to chance. The same arguments always give the same life.
    """
    scattered = mix(seed, ordinal, basket.number)
    random = Random(scattered)  # noqa: S311 - it must be repeatable, not secret
    # What is rare has a number of its own, so that adding to it leaves every other order's life as it was.
    rare = (again(scattered, 97) >> 11) / (1 << 53)
    placement = _place(random, seed, ordinal, basket, created_ms, order_type)
    if presale_days is None and placement.type == "fixed" and rare < PAID_PRESALE:
        presale_days = 7 + int(rare / PAID_PRESALE * 19)
    if presale_days or speed != 1.0:
        placement = msgspec.structs.replace(placement, presale_days=presale_days or 0, speed=speed)
    plan = _Plan(random, placement, len(basket.lines), seed, rare)
    plan.write()
    start = placement.created_ms
    events = [Event(start + int(wait * 1000 / speed), kind, lines, value) for wait, kind, lines, value in plan.steps]
    # Steps of different threads (memo, refund) interleave; sorting by moment keeps equal moments as written.
    events.sort(key=_moment)
    return placement, events


def _moment(event: Event) -> int:
    return event.at_ms


def _place(
    random: Random, seed: int, ordinal: int, basket: Basket, created_ms: int | None, order_type: str | None
) -> Placement:
    if order_type is None:
        order_type = _TYPE_NAMES[bisect_right(_TYPE_WEIGHTS, random.random() * _TYPE_WEIGHTS[-1])]
    goods = sum(line.line_value for line in basket.lines)
    virtual = order_type in _VIRTUAL_TYPES
    post_fee = 0 if virtual or random.random() < 0.7 else random.choice((500, 600, 800, 1000, 1200))
    promotion = goods * random.choice((5, 8, 10)) // 100 if random.random() < 0.12 else 0
    deposit = max(1, (goods - promotion) * random.choice((10, 15, 20)) // 100) if order_type == "step" else 0
    message = random.choice(_MESSAGES) if random.random() < 0.08 else None
    if created_ms is None:
        # Baskets know whole seconds; orders of one second still happen one after the other.
        created_ms = to_ms(basket.at) // 1000 * 1000 + ordinal % 1000
    key = mix(seed, 11) % t.IDS_PER_TRADE * 10**9 * t.IDS_PER_TRADE
    origin = random.choice(_ORIGINS)
    return Placement(
        ordinal, key, order_type, created_ms, basket, post_fee, promotion, deposit, message, virtual, origin
    )


class _Plan:
    """Writes the steps of one life as (wait in seconds since creation, kind, lines, value)."""

    def __init__(self, random: Random, placement: Placement, lines: int, seed: int, rare: float) -> None:
        """``rare`` in [0, 1) decides on what happens to few orders; no order meets two of these."""
        self.random = random
        self.placement = placement
        self.lines = lines
        self.seed = seed
        self.rare = rare
        self.last_parcel = 0
        self.is_refunded = False
        self.steps: list[tuple[float, str, tuple[int, ...], Any]] = [(0.0, t.CREATED, (), None)]

    def add(self, wait: float, kind: str, lines: tuple[int, ...] = (), value: object = None) -> None:
        self.steps.append((wait, kind, lines, value))

    def write(self) -> None:
        random = self.random
        if self.placement.type == "cod":
            if random.random() < 0.08:
                self.add(random.uniform(1, 20) * HOUR, t.CLOSED_UNPAID)
                return
            self._after_payment(0.0)
            return
        if self.placement.deposit and self.rare < DEPOSIT_CANCELLED:
            self._cancelled_deposit()
            return
        paid_at = self._staged_payment() if self.placement.deposit else self._payment()
        if paid_at is not None:
            self.add(paid_at, t.PAID)
            self._after_payment(paid_at)

    def _payment(self) -> float | None:
        random = self.random
        if random.random() < NEVER_PAID:
            # Half change their mind, half let the platform's one-day limit run out.
            gone = random.uniform(1, 240) * MINUTE if random.random() < 0.5 else DAY + random.random() * MINUTE
            self.add(gone, t.CLOSED_UNPAID)
            return None
        wait = CREATED_TO_PAID.draw(random)
        line = random.randrange(self.lines)
        source = self.placement.basket.lines[line]
        if random.random() < PRICE_ADJUSTED:
            self.add(wait * 0.3, t.PRICE_ADJUSTED, (line,), -(source.line_value * random.randrange(1, 15) // 100))
        if random.random() < QUANTITY_CHANGED:
            self.add(wait * 0.6, t.QUANTITY_CHANGED, (line,), source.quantity + 1)
        return wait

    def _staged_payment(self) -> float | None:
        random = self.random
        if random.random() < NEVER_PAID:
            self.add(DAY + random.random() * MINUTE, t.CLOSED_UNPAID)
            return None
        deposit_at = CREATED_TO_PAID.draw(random)
        self.add(deposit_at, t.DEPOSIT_PAID)
        balance_due = deposit_at + random.uniform(2, 9) * DAY
        if DEPOSIT_CANCELLED <= self.rare < DEPOSIT_CANCELLED + CHANGED_WHILE_DEPOSIT:
            self._changed_while_deposit(deposit_at, balance_due)
        if random.random() < FORFEITED:
            self.add(balance_due + DAY, t.DEPOSIT_FORFEITED)
            return None
        return balance_due + random.random() * 20 * HOUR

    def _cancelled_deposit(self) -> None:
        random = self._apart()
        at = CREATED_TO_PAID.draw(random)
        self.add(at, t.DEPOSIT_PAID)
        at += random.uniform(0.2, 2) * DAY
        for status in _MONEY_ONLY:
            self.add(at, t.REFUND, tuple(range(self.lines)), plain_step(status))
            at += REFUND_STEP.draw(random)

    def _changed_while_deposit(self, deposit_at: float, balance_due: float) -> None:
        random = self._apart()
        line = random.randrange(self.lines)
        at = deposit_at + (balance_due - deposit_at) * random.uniform(0.2, 0.8)
        if random.random() < 0.5:
            self.add(at, t.QUANTITY_CHANGED, (line,), self.placement.basket.lines[line].quantity + 1)
        else:
            self.add(at, t.SKU_CHANGED, (line,), random.randrange(1, 4))

    def _apart(self) -> Random:
        """Return a generator for what is rare, so that the ordinary one goes on as if it had not happened."""
        return seeded(self.seed, self.placement.ordinal, 97)

    def _before_consigning(self, paid_at: float, consigned_at: float) -> None:
        """Let a few orders be held or sent elsewhere while they wait to be shipped."""
        if self.placement.virtual or self.placement.deposit:
            return
        rare, wait = self.rare - PAID_PRESALE, consigned_at - paid_at
        if rare < 0:
            return
        if rare < HELD:
            self.add(paid_at + wait * 0.1, t.HELD, (), ("top_hold", True))
            self.add(paid_at + wait * 0.7, t.HELD, (), ("top_hold", False))
        elif rare < HELD + ADDRESS_CHANGED:
            self.add(paid_at + wait * 0.4, t.ADDRESS_CHANGED)
        elif rare < HELD + ADDRESS_CHANGED + TEAM_BUY and self.placement.type == "fixed":
            self.add(paid_at, t.HELD, (), (t.TEAM_BUY_HOLD, True))
            self.add(paid_at + wait * 0.05, t.HELD, (), (t.TEAM_BUY_HOLD, False))

    def _after_payment(self, paid_at: float) -> None:
        random = self.random
        if random.random() < MEMO:
            self._memos(paid_at)
        consigned_at = paid_at + (random.uniform(1, 90) if self.placement.virtual else PAID_TO_CONSIGNED.draw(random))
        if self.placement.presale_days:
            # What is sold before it is there leaves when it has come, near the end of what was promised.
            consigned_at = paid_at + self.placement.presale_days * DAY * (
                0.5 + 0.45 * (self.rare / PAID_PRESALE * 7 % 1)
            )
        self._before_consigning(paid_at, consigned_at)
        if random.random() < SKU_CHANGED:
            at = paid_at + (consigned_at - paid_at) * 0.5
            self.add(at, t.SKU_CHANGED, (random.randrange(self.lines),), random.randrange(1, 4))
        refund = random.random() / REFUNDED if self.placement.type != "cod" else 1.0
        refunded = self._refunded_lines() if refund < 1.0 else ()
        if refund < 0.35:
            asked = paid_at + (consigned_at - paid_at) * random.uniform(0.1, 0.9)
            done, success = self._refund(asked, refunded, goods_sent=False)
            if success and len(refunded) == self.lines:
                return
            consigned_at = max(consigned_at, done + HOUR)
            refunded = refunded if success else ()
        elif refund >= 1.0:
            refunded = ()
        last = self._consign(consigned_at, refunded if refund < 0.35 else ())
        if 0.35 <= refund < 0.8:
            asked = last + random.uniform(0.5, 12) * DAY
            done, success = self._refund(asked, refunded, goods_sent=True)
            if success and len(refunded) == self.lines:
                return
            last = max(last, done)
        self._finish(last, refunded if 0.8 <= refund < 1.0 else ())

    def _memos(self, paid_at: float) -> None:
        random = self.random
        at = paid_at
        for _ in range(1 if random.random() < 0.8 else 2):
            at += random.uniform(1, 600) * MINUTE
            self.add(at, t.MEMO_EDITED, (), (random.choice(_MEMOS), random.randrange(1, 6)))

    def _refunded_lines(self) -> tuple[int, ...]:
        if self.lines == 1 or self.random.random() < 0.3:
            return tuple(range(self.lines))
        return (self.random.randrange(self.lines),)

    def _refund(self, asked: float, lines: tuple[int, ...], *, goods_sent: bool) -> tuple[float, bool]:
        """Write a refund of ``lines``; return when it is over and whether the buyer got the money."""
        random = self.random
        self.is_refunded = True
        luck = random.random()
        if luck < 0.12:
            path: tuple[str, ...] = _WITHDRAWN
        elif luck < 0.17:
            path = _REFUSED
        else:
            path = _RETURN if goods_sent and random.random() < 0.6 else _MONEY_ONLY
        at = asked
        for status in path:
            self.add(at, t.REFUND, lines, plain_step(status))
            over = at
            at += REFUND_STEP.draw(random)
        return over, path[-1] == "SUCCESS"

    def _consign(self, at: float, without: tuple[int, ...]) -> float:
        """Write the parcels of every line that is still wanted; return when the last one left."""
        random = self.random
        lines = tuple(line for line in range(self.lines) if line not in without)
        parcels = [lines]
        if len(lines) > 1 and random.random() < SEVERAL_PARCELS:
            cut = random.randrange(1, len(lines))
            parcels = [lines[:cut], lines[cut:]]
        for parcel in parcels:
            company, prefix = random.choice(_CARRIERS)
            waybill = prefix + str(random.randrange(10**11, 10**12))
            self.last_parcel = len(self.steps)
            self.add(at, t.CONSIGNED, parcel, self._shipment(at, company, prefix, waybill))
            left = at
            at += random.uniform(0.1, 2) * DAY
        return left

    def _shipment(self, at: float, company: str, prefix: str, waybill: str) -> Shipment:
        if self.placement.virtual:
            return Shipment(None, None)
        # What one buyer is sent on one day may go out as one parcel, whatever it was ordered in.
        day = (self.placement.created_ms // 1000 + int(at) + SHANGHAI_OFFSET_SECONDS) // DAY_SECONDS
        chance = again(self.placement.basket.household << 20 ^ day, self.seed)
        if chance % 100 < MERGED_PERCENT and self.placement.speed == 1.0:
            company, prefix = _CARRIERS[chance // 100 % len(_CARRIERS)]
            waybill = prefix + str(10**11 + chance // 1000 % (9 * 10**11))
        return Shipment(company, waybill)

    def _finish(self, consigned_at: float, refunded_later: tuple[int, ...]) -> None:
        random = self.random
        if self.placement.virtual:
            at = consigned_at + random.uniform(1, 600) * MINUTE
        else:
            wait = CONSIGNED_TO_DELIVERED.draw(random)
            self._arrives_after(wait)
            at = consigned_at + wait
            if self.placement.type == "cod":
                self.add(at, t.SIGNED)
            at += DELIVERED_TO_CONFIRMED.draw(random)
        self.add(at, t.FINISHED)
        if refunded_later:
            self._refund(at + random.uniform(0.1, 10) * DAY, refunded_later, goods_sent=True)
        elif not self.is_refunded:
            self._after_the_end(at)

    def _arrives_after(self, wait: float) -> None:
        """Let the parcel that left last be at the buyer's when the order says so."""
        at, kind, lines, value = self.steps[self.last_parcel]
        self.steps[self.last_parcel] = (at, kind, lines, Shipment(value.company, value.waybill, wait / DAY))

    def _after_the_end(self, at: float) -> None:
        """Let a few buyers come back: for part of the money, perhaps twice, or for another piece."""
        rare = 1 - self.rare
        random = self._apart()
        at += random.uniform(0.1, 8) * DAY
        line = random.randrange(self.lines)
        value = self.placement.basket.lines[line].line_value
        if rare < PARTLY_REFUNDED_AFTER and value >= 100:
            for number in range(1 if random.random() < 0.6 else 2):
                fee = value * random.randrange(10, 35) // 100
                paths = (_WITHDRAWN, _MONEY_ONLY) if random.random() < 0.3 else (_MONEY_ONLY,)
                # A refund that was withdrawn and asked for again keeps its id.
                for status in (status for path in paths for status in path):
                    self.add(at, t.REFUND, (line,), RefundStep(status, number, fee))
                    at += REFUND_STEP.draw(random)
        elif PARTLY_REFUNDED_AFTER <= rare < PARTLY_REFUNDED_AFTER + EXCHANGED_AFTER and not self.placement.virtual:
            kind = "TMALL_EXCHANGE" if random.random() < 0.7 else "RESHIPPING"
            for status in _EXCHANGE:
                self.add(at, t.REFUND, (line,), RefundStep(status, kind=kind, fee=0))
                at += REFUND_STEP.draw(random)
