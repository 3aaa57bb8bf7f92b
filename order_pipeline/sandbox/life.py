"""The life of an order, decided once from (seed, basket): what will happen to it, and when.

Belongs here: the pure schedule. Not here: what an event does to a trade (``trade``). The rates and waiting
times are those of a Tmall shop (payment, refunds) and of a large marketplace (delivery, parcels).
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from random import Random

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.chance import Quantiles, mix, seeded
from order_pipeline.sandbox.clock import to_ms
from order_pipeline.sandbox.demand import Basket
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
_REFUSED = ("WAIT_SELLER_AGREE", "SELLER_REFUSE_BUYER", "CLOSED")


def plan_life(
    seed: int,
    ordinal: int,
    basket: Basket,
    *,
    created_ms: int | None = None,
    speed: float = 1.0,
    order_type: str | None = None,
) -> tuple[Placement, list[Event]]:
    """Decide an order's life: its placement and its events in time order, the first being its creation.

    ``ordinal`` makes its ids unique within a marketplace. ``created_ms`` defaults to the basket's moment.
    All waits are divided by ``speed``. The same arguments always give the same life.
    """
    random = seeded(seed, ordinal, basket.number)
    placement = _place(random, seed, ordinal, basket, created_ms, order_type)
    plan = _Plan(random, placement, len(basket.lines))
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

    def __init__(self, random: Random, placement: Placement, lines: int) -> None:
        self.random = random
        self.placement = placement
        self.lines = lines
        self.steps: list[tuple[float, str, tuple[int, ...], object]] = [(0.0, t.CREATED, (), None)]

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
        if random.random() < FORFEITED:
            self.add(balance_due + DAY, t.DEPOSIT_FORFEITED)
            return None
        return balance_due + random.random() * 20 * HOUR

    def _after_payment(self, paid_at: float) -> None:
        random = self.random
        if random.random() < MEMO:
            self._memos(paid_at)
        consigned_at = paid_at + (random.uniform(1, 90) if self.placement.virtual else PAID_TO_CONSIGNED.draw(random))
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
        luck = random.random()
        if luck < 0.12:
            path: tuple[str, ...] = _WITHDRAWN
        elif luck < 0.17:
            path = _REFUSED
        else:
            path = _RETURN if goods_sent and random.random() < 0.6 else _MONEY_ONLY
        at = asked
        for status in path:
            self.add(at, t.REFUND, lines, status)
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
            invoice = prefix + str(random.randrange(10**11, 10**12))
            self.add(at, t.CONSIGNED, parcel, (None, None) if self.placement.virtual else (company, invoice))
            left = at
            at += random.uniform(0.1, 2) * DAY
        return left

    def _finish(self, consigned_at: float, refunded_later: tuple[int, ...]) -> None:
        random = self.random
        if self.placement.virtual:
            at = consigned_at + random.uniform(1, 600) * MINUTE
        else:
            at = consigned_at + CONSIGNED_TO_DELIVERED.draw(random)
            if self.placement.type == "cod":
                self.add(at, t.SIGNED)
            at += DELIVERED_TO_CONFIRMED.draw(random)
        self.add(at, t.FINISHED)
        if refunded_later:
            self._refund(at + random.uniform(0.1, 10) * DAY, refunded_later, goods_sent=True)
