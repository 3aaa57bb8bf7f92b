"""A shop's goods and how many of each the platform believes are there.

Belongs here: levels from (seed, product), sales in the change log, purchases that arrive and writes by the seller. The
change log is read only when somebody asks. Not here: the wire (``methods.items``). Not thread-safe: the marketplace
holds the lock.

Stock falls when an order is paid (of a pre-sale with a deposit: when the rest is; cash on delivery: when it is placed).
It rises again when a line is closed before it was shipped, once a week when a purchase arrives, and by writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.chance import fraction, mix
from order_pipeline.sandbox.clock import DAY_SECONDS
from order_pipeline.sandbox.demand import Basket, BasketLine
from order_pipeline.sandbox.ledger import Ledger
from order_pipeline.sandbox.rendering import VARIANTS, product_of

ONSALE, INSTOCK = "onsale", "instock"

_NUM_IID_ABOVE = 600_000_000_000
_SKU_ID_ABOVE = 5_000_000_000_000
_VARIANTS_A_PRODUCT = len(VARIANTS)

WEEK_SECONDS = 7 * DAY_SECONDS
_WEEKS_COVERED = 3.0
_LEAST_TARGET = 8
_OFF_SHELF = 0.04  # of products
_DISCONTINUED = 0.03  # of SKUs: nothing there, and nothing comes
_PURCHASE_COMES = 0.85  # of the weeks in which one is due

_MATTERS = frozenset(
    {t.CREATED, t.PAID, t.REFUND, t.SKU_CHANGED, t.QUANTITY_CHANGED, t.CLOSED_UNPAID, t.TOUCHED, t.CONSIGNED}
)
_CLOSED = frozenset({t.TRADE_CLOSED, t.TRADE_CLOSED_BY_TAOBAO})


class Product(msgspec.Struct):
    """Something the shop sells: a line that sold it, and how many a week are sold."""

    source: BasketLine
    weekly: float
    listed_at: int
    is_onsale: bool

    @property
    def num_iid(self) -> int:
        """The item's id, as in orders."""
        return product_of(self.source).num_iid


class Sku(msgspec.Struct):
    """One variant of a product; moments in whole seconds, ``weeks`` those whose purchase has been decided on.

    ``quantity`` = ``initial`` + ``arrived`` - ``sold`` + ``written``, the last being what writes added in all.
    ``oversold`` is what was bought although nothing was left.
    """

    sku_id: int
    product_id: int
    variant: int
    initial: int
    target: int
    quantity: int
    weeks: int
    modified: int
    sold: int = 0
    arrived: int = 0
    written: int = 0
    writes: int = 0
    oversold: int = 0


class StockBook:
    """The goods of one shop."""

    def __init__(
        self, ledger: Ledger, seed: int, baskets: Iterable[Basket], begins: int, weeks: float, *, purchases: bool
    ) -> None:
        """``baskets`` is what the shop has sold in so many ``weeks`` from ``begins`` (seconds) on."""
        self._ledger = ledger
        self._seed = seed
        self._baskets = baskets
        self._begins = begins
        self._weeks = max(weeks, 1.0)
        self._purchases = purchases
        self._products: dict[int, Product] | None = None
        self._skus: dict[int, Sku] = {}
        self._taken: dict[int, tuple[int, int]] = {}
        self._read = 0

    # --- what there is ----------------------------------------------------------------------------------------

    def products(self) -> dict[int, Product]:
        """Return everything the shop sells, by product number."""
        if self._products is None:
            self._products = {}
            units: dict[int, int] = {}
            for basket in self._baskets:
                for line in basket.lines:
                    self._list(line)
                    units[line.product_id] = units.get(line.product_id, 0) + line.quantity
            for product_id, count in units.items():
                self._products[product_id].weekly = count / self._weeks
            self._baskets = ()
        return self._products

    def _list(self, line: BasketLine) -> None:
        products = self._products if self._products is not None else self.products()
        if line.product_id not in products:
            listed_at = self._begins - mix(self._seed, line.product_id, 72) % (300 * DAY_SECONDS)
            is_onsale = fraction(self._seed, line.product_id, 73) >= _OFF_SHELF
            products[line.product_id] = Product(line, 0.0, listed_at, is_onsale)

    def product(self, num_iid: int) -> Product | None:
        """Return what is sold under an item id, None if nothing is."""
        return self.products().get(num_iid - _NUM_IID_ABOVE)

    def skus(self, product: Product, now: int) -> list[Sku]:
        """Return a product's variants as they stand now."""
        first = _SKU_ID_ABOVE + product.source.product_id * 10
        return [self._sku(first + variant, now) for variant in range(_VARIANTS_A_PRODUCT)]

    def every_sku(self, now: int) -> Iterator[Sku]:
        """Give every variant of everything."""
        for product in list(self.products().values()):
            yield from self.skus(product, now)

    def find(self, sku_id: int, now: int) -> Sku | None:
        """Return a variant, None if there is no such."""
        product_id, variant = divmod(sku_id - _SKU_ID_ABOVE, 10)
        if product_id not in self.products() or variant >= _VARIANTS_A_PRODUCT:
            return None
        return self._sku(sku_id, now)

    def _sku(self, sku_id: int, now: int) -> Sku:
        sku = self._skus.get(sku_id)
        if sku is None:
            sku = self._skus[sku_id] = self._open(sku_id)
        self._receive(sku, now)
        return sku

    def _open(self, sku_id: int) -> Sku:
        product_id, variant = divmod(sku_id - _SKU_ID_ABOVE, 10)
        product = self.products()[product_id]
        chance = mix(self._seed, sku_id, 74)
        target = max(_LEAST_TARGET, round(product.weekly * _WEEKS_COVERED)) if variant == 0 else 4 + chance % 24
        initial = round(target * (0.5 + chance % 1000 / 2000))
        if fraction(self._seed, sku_id, 75) < _DISCONTINUED:
            initial = target = 0
        return Sku(sku_id, product_id, variant, initial, target, initial, 0, product.listed_at)

    def _receive(self, sku: Sku, now: int) -> None:
        """Let purchases arrive that were due since anybody looked; each refills what had run low by its day."""
        begins = self._begins + sku.sku_id % WEEK_SECONDS
        due = max(0, (now - begins) // WEEK_SECONDS)
        for week in range(sku.weeks, due):
            missing = sku.target - sku.quantity
            if missing * 2 > sku.target and self._purchases and self._comes(sku, week):
                sku.arrived += missing
                sku.quantity += missing
                sku.modified = begins + (week + 1) * WEEK_SECONDS
        sku.weeks = max(sku.weeks, due)

    def _comes(self, sku: Sku, week: int) -> bool:
        return fraction(self._seed, sku.sku_id, week, 76) < _PURCHASE_COMES

    # --- what changes it --------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Take in what was sold, closed and changed since the last time."""
        for place in range(self._read, self._ledger.change_count):
            trade, version = self._ledger.change_at(place)
            event = trade.applied[version - 1]
            if event.kind in _MATTERS:
                self._settle(trade, event.at_ms // 1000)
        self._read = self._ledger.change_count

    def _settle(self, trade: t.Trade, now: int) -> None:
        is_sold = bool(trade.paid_at) or trade.type == "cod"
        for line in trade.lines:
            takes = is_sold and (line.consigned_at or line.status not in _CLOSED)
            wanted = _SKU_ID_ABOVE + line.source.product_id * 10 + line.variant if takes else 0
            sku_id, units = self._taken.get(line.oid, (0, 0))
            if (sku_id, units) == (wanted, line.quantity if wanted else 0):
                continue
            if sku_id:
                self._move(sku_id, -units, now)
            if wanted:
                self._list(line.source)
                self._move(wanted, line.quantity, now)
                self._taken[line.oid] = (wanted, line.quantity)
            else:
                self._taken.pop(line.oid, None)

    def _move(self, sku_id: int, units: int, now: int) -> None:
        """Take units away; or, below zero, put them back, beginning with those that were never there."""
        sku = self._sku(sku_id, now)
        if units < 0:
            never_there = min(sku.oversold, -units)
            sku.oversold -= never_there
            units += never_there
        else:
            there = min(units, sku.quantity)
            sku.oversold += units - there
            units = there
        sku.quantity -= units
        sku.sold += units
        sku.modified = now

    def write(self, sku: Sku, quantity: int, now: int) -> None:
        """Let the seller say how many there are."""
        sku.written += quantity - sku.quantity
        sku.quantity = quantity
        sku.writes += 1
        sku.modified = now

    def purchase(self, sku: Sku, units: int, now: int) -> None:
        """Let a purchase arrive."""
        sku.arrived += units
        sku.quantity += units
        sku.modified = now
