"""A day of the shops as BI's views tell it: sales, refunds, how fresh and how proven the tables are, stock.

Belongs here: the questions of the daily report, asked of schema bi only, so that what it shows holds no personal data.
Not here: how it looks (commands/report.py).
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

# A month back shows every weekday four times.
DAYS_SHOWN = 30
WEEK = 7
SKUS_SHOWN = 15


class DaySales(NamedTuple):
    """Paid orders of a shop on a day of payment; money in yuan."""

    shop_id: str
    day: date
    orders: int
    quantity: int
    payment: Decimal


class HourSales(NamedTuple):
    """Paid orders of all shops in an hour (0-23, Asia/Shanghai): of the day, and on average of the week before."""

    hour: int
    orders: int
    usual: float


class DayRefunds(NamedTuple):
    """Refunds of a shop that succeeded on a day; money in yuan."""

    shop_id: str
    day: date
    refunds: int
    money: Decimal


class DayProof(NamedTuple):
    """The latest proof of a shop's day. ``subject``: orders or refunds."""

    shop_id: str
    subject: str
    day: date
    equal: bool
    expected: int
    unsettled: int


class Freshness(NamedTuple):
    """How far a shop's orders or refunds are complete, and how many wait for their details."""

    shop_id: str
    subject: str
    complete_until: datetime
    details_waiting: int


class Claimed(NamedTuple):
    """Pieces of a SKU that are paid and wait to be sent, and pieces that deposits of pre-sales hold.

    ``sku``: the merchant's code, else the platform's ids.
    """

    shop_id: str
    sku: str
    reserved: int
    held: int


class DayStock(NamedTuple):
    """A shop's last snapshot of a day: SKUs on sale, those that ran out, those of unknown stock; pieces of all."""

    shop_id: str
    day: date
    skus: int
    sold_out: int
    unknown: int
    sellable: int
    reserved: int
    held: int


class Scarce(NamedTuple):
    """A SKU that sells: pieces left at the shop's last snapshot, and pieces sold a day in the last week."""

    shop_id: str
    sku: str
    sellable: int
    sold_a_day: float

    @property
    def days_left(self) -> float:
        """How long the pieces last if it goes on selling like that."""
        return self.sellable / self.sold_a_day


class Daybook(NamedTuple):
    """What the report shows; everything but ``claimed`` and ``freshness``, which are of now, is of its days."""

    day: date
    looked_at: datetime
    sales: list[DaySales]
    hours: list[HourSales]
    refunds: list[DayRefunds]
    proofs: list[DayProof]
    freshness: list[Freshness]
    claimed: list[Claimed]
    stock: list[DayStock]
    missed: list[Scarce]
    scarce: list[Scarce]

    @property
    def shop_ids(self) -> list[str]:
        """Every shop that anything is known of."""
        of = [each.shop_id for rows in (self.freshness, self.sales, self.proofs, self.stock) for each in rows]
        return sorted(set(of))


_SALES = """
    SELECT shop_id, day, orders, quantity, payment FROM bi.daily_sales
    WHERE day BETWEEN :first AND :day ORDER BY shop_id, day
"""
# The span is spelled as a span of moments, too, which an index knows.
_HOURS = """
    SELECT extract(hour FROM paid_at AT TIME ZONE 'Asia/Shanghai')::integer AS hour,
           count(*) FILTER (WHERE paid_at >= :begins) AS orders,
           count(*) FILTER (WHERE paid_at < :begins) / cast(:week AS float) AS usual
    FROM bi.orders WHERE paid_at >= :week_before AND paid_at < :ends GROUP BY 1 ORDER BY 1
"""
_REFUNDS = """
    SELECT shop_id, (coalesce(ended_at, modified_at) AT TIME ZONE 'Asia/Shanghai')::date AS day, count(*),
           coalesce(sum(refund_fee), 0)
    FROM bi.refunds
    WHERE status = 'SUCCESS' AND coalesce(ended_at, modified_at) >= :month_before
      AND coalesce(ended_at, modified_at) < :ends
    GROUP BY 1, 2 ORDER BY 1, 2
"""
_PROOFS = """
    SELECT shop_id, 'orders' AS subject, day, equal, expected, unsettled FROM bi.reconciliation
    WHERE day BETWEEN :first AND :day
    UNION ALL
    SELECT shop_id, 'refunds', day, equal, expected, unsettled FROM bi.refund_reconciliation
    WHERE day BETWEEN :first AND :day
    ORDER BY shop_id, subject, day
"""
_FRESHNESS = "SELECT shop_id, subject, complete_until, details_waiting FROM bi.freshness ORDER BY shop_id, subject"
_CLAIMED = """
    SELECT shop_id, coalesce(sku_code, concat_ws('/', num_iid, sku_id)) AS sku, cast(sum(reserved) AS bigint),
           cast(sum(held) AS bigint)
    FROM (
        SELECT shop_id, sku_code, num_iid, sku_id, reserved_quantity AS reserved, 0 AS held FROM bi.reserved_stock
        UNION ALL
        SELECT shop_id, sku_code, num_iid, sku_id, 0, held_quantity FROM bi.inventory_holds WHERE held_quantity > 0
    ) AS claims
    GROUP BY shop_id, sku ORDER BY sum(reserved) + sum(held) DESC, shop_id, sku LIMIT :skus
"""
# What is known not to be on sale may run out without anybody missing it. The shops are named, as the index needs them.
_STOCK = """
    SELECT shop_id, day, count(*), count(*) FILTER (WHERE NOT in_stock), count(*) FILTER (WHERE sellable IS NULL),
           cast(coalesce(sum(sellable), 0) AS bigint), cast(sum(reserved) AS bigint), cast(sum(held) AS bigint)
    FROM bi.inventory_levels
    WHERE shop_id IN (SELECT shop_id FROM bi.freshness) AND day BETWEEN :first AND :day AND is_onsale IS NOT FALSE
    GROUP BY shop_id, day ORDER BY shop_id, day
"""
# A code can be on several of a shop's items, and its sales are known by code.
_SOLD = """
    WITH shops AS (SELECT DISTINCT shop_id FROM bi.freshness),
    latest AS (
        SELECT shop_id, (
            SELECT max(day) FROM bi.inventory_levels l WHERE l.shop_id = shops.shop_id AND day BETWEEN :first AND :day
        ) AS day FROM shops
    ),
    levels AS (
        SELECT l.shop_id, coalesce(l.sku_code, l.sku_id, l.num_iid) AS sku, cast(sum(l.sellable) AS bigint) AS sellable
        FROM bi.inventory_levels l JOIN latest USING (shop_id, day)
        WHERE l.is_onsale IS NOT FALSE GROUP BY 1, 2 HAVING bool_and(l.sellable IS NOT NULL)
    ),
    sold AS (
        SELECT shop_id, sku, cast(sum(quantity) AS float) / :week AS sold_a_day FROM bi.daily_sku_sales
        WHERE shop_id IN (SELECT shop_id FROM shops) AND day > cast(:day AS date) - :week AND day <= :day
        GROUP BY 1, 2 HAVING sum(quantity) > 0
    )
    SELECT shop_id, sku, sellable, sold_a_day FROM levels JOIN sold USING (shop_id, sku)
"""
_MISSED = f"{_SOLD} WHERE sellable <= 0 ORDER BY sold_a_day DESC, shop_id, sku LIMIT :skus"
_SCARCE = f"{_SOLD} WHERE sellable > 0 ORDER BY sellable / sold_a_day, sold_a_day DESC, shop_id, sku LIMIT :skus"


def read_daybook(connection: Connection, day: date, begins: datetime, ends: datetime) -> Daybook:
    """Read what the report of a day shows, in one snapshot. ``begins``, ``ends``: the day's bounds, aware."""
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    looked_at: Any = connection.execute(text("SELECT now()")).scalar()
    values = {
        "day": day,
        "first": day - timedelta(days=DAYS_SHOWN - 1),
        "begins": begins,
        "ends": ends,
        "week": WEEK,
        "week_before": begins - timedelta(days=WEEK),
        "month_before": begins - timedelta(days=DAYS_SHOWN - 1),
        "skus": SKUS_SHOWN,
    }

    def rows(query: str) -> Any:
        return connection.execute(text(query), values)

    return Daybook(
        day,
        looked_at,
        [DaySales(*row) for row in rows(_SALES)],
        [HourSales(*row) for row in rows(_HOURS)],
        [DayRefunds(*row) for row in rows(_REFUNDS)],
        [DayProof(*row) for row in rows(_PROOFS)],
        [Freshness(*row) for row in rows(_FRESHNESS)],
        [Claimed(*row) for row in rows(_CLAIMED)],
        [DayStock(*row) for row in rows(_STOCK)],
        [Scarce(*row) for row in rows(_MISSED)],
        [Scarce(*row) for row in rows(_SCARCE)],
    )
