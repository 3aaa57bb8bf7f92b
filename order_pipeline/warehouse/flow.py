"""How orders of a day came, hour by hour: how many, and how long it took until they were whole in the tables.

Belongs here: the numbers. Not here: pictures (assets/pictures.py), the daily report (daybook.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text


class HourArrivals(NamedTuple):
    """Orders that were placed in an hour of the day (Asia/Shanghai), and the average of the days before."""

    hour: int
    orders: int
    usual: float


class HourLag(NamedTuple):
    """Orders that last changed in an hour of the day: seconds until details were asked for, median and 95 %."""

    hour: int
    orders: int
    median_seconds: float
    late_seconds: float


def arrivals_by_hour(
    connection: Connection, shop_ids: list[str], start: datetime, end: datetime, days_before: int
) -> list[HourArrivals]:
    """Return the arrivals of the day [start, end) by hour; hours without any are left out."""
    rows = connection.execute(
        text("""
            SELECT extract(hour FROM created_at AT TIME ZONE 'Asia/Shanghai')::integer AS hour,
                   count(*) FILTER (WHERE created_at >= :start),
                   count(*) FILTER (WHERE created_at < :start) / cast(:days AS float)
            FROM core.orders
            WHERE shop_id = ANY(:shop_ids)
              AND created_at >= cast(:start AS timestamptz) - make_interval(days => :days) AND created_at < :end
            GROUP BY 1 ORDER BY 1
        """),
        {"shop_ids": shop_ids, "start": start, "end": end, "days": days_before},
    )
    return [HourArrivals(*row) for row in rows]


def lag_by_hour(connection: Connection, shop_ids: list[str], start: datetime, end: datetime) -> list[HourLag]:
    """Return how late the details of orders were that last changed on the day [start, end), by hour of the change."""
    rows = connection.execute(
        text("""
            SELECT extract(hour FROM modified_at AT TIME ZONE 'Asia/Shanghai')::integer AS hour, count(*),
                   percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM sent_at - modified_at)::float),
                   percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM sent_at - modified_at)::float)
            FROM core.orders
            WHERE shop_id = ANY(:shop_ids) AND modified_at >= :start AND modified_at < :end AND source = 'detail'
            GROUP BY 1 ORDER BY 1
        """),
        {"shop_ids": shop_ids, "start": start, "end": end},
    )
    return [HourLag(*row) for row in rows]
