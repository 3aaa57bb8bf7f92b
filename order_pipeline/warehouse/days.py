"""A day's orders and refunds as they are held, the answers that they were loaded from, and how busy a time usually is.

Belongs here: reading them. Not here: whether they are right (insights/reconciliation.py, sync/evidence.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.orders import ITEM_COLUMNS, ORDER_COLUMNS
from order_pipeline.warehouse.refunds import REFUND_COLUMNS

# Compared with the answers: every column but the fields without one, which nobody reads but people.
PROVEN_ORDER_COLUMNS = tuple(column for column in ORDER_COLUMNS if column != "extra")
PROVEN_REFUND_COLUMNS = tuple(column for column in REFUND_COLUMNS if column != "extra")
PROVEN_ITEM_COLUMNS = tuple(column for column in ITEM_COLUMNS if column != "extra")


class DayOrder(NamedTuple):
    """An order of the day. ``is_whole``: the details of the version that is held are loaded."""

    order_id: str
    created_at: datetime
    modified_at: datetime
    status: str
    payment: Decimal | None
    lines: int
    quantity: int
    asked_at: datetime
    is_whole: bool
    step_status: str | None


class DayRefund(NamedTuple):
    """A refund; ``is_whole`` as in DayOrder."""

    refund_id: str
    modified_at: datetime
    status: str
    refund_fee: Decimal | None
    quantity: int
    asked_at: datetime
    is_whole: bool


class AnsweredOrder(NamedTuple):
    """A row as it is held, with its lines, and the detail answers of just that moment (as a rule one)."""

    order: tuple[Any, ...]
    items: frozenset[tuple[Any, ...]]
    bodies: Sequence[str]


class AnsweredRefund(NamedTuple):
    """A row as it is held, and the detail answers of just that moment."""

    refund: tuple[Any, ...]
    bodies: Sequence[str]


def orders_of_day(connection: Connection, shop_id: str, start: datetime, end: datetime) -> list[DayOrder]:
    """Return the orders created from ``start`` to ``end``, both included."""
    rows = connection.execute(
        text("""
            SELECT o.order_id, o.created_at, o.modified_at, o.status, o.payment, count(i.item_id),
                   coalesce(sum(i.quantity), 0), o.sent_at,
                   coalesce(o.detail_modified_at >= o.modified_at, false), o.step_status
            FROM core.orders o
            LEFT JOIN core.order_items i ON i.shop_id = o.shop_id AND i.order_id = o.order_id
            WHERE o.shop_id = :shop_id AND o.created_at >= :start AND o.created_at <= :end
            GROUP BY o.shop_id, o.order_id
        """),
        {"shop_id": shop_id, "start": start, "end": end},
    )
    return [DayOrder(*row) for row in rows]


def answered_orders(connection: Connection, shop_id: str, order_ids: Sequence[str]) -> list[AnsweredOrder]:
    """Return rows that were loaded from details, with those details; rows that only a list brought are left out."""
    values = {"shop_id": shop_id, "order_ids": list(order_ids)}
    orders = connection.execute(
        text(f"""
            SELECT {", ".join(f"o.{column}" for column in PROVEN_ORDER_COLUMNS)},
                   ARRAY(SELECT p.body FROM raw.page p
                         WHERE p.shop_id = o.shop_id AND p.order_id = o.order_id AND p.sent_at = o.sent_at
                           AND p.channel = 'detail')
            FROM core.orders o
            WHERE o.shop_id = :shop_id AND o.order_id = ANY(:order_ids) AND o.source = 'detail'
        """),
        values,
    ).all()
    lines: dict[str, list[tuple[Any, ...]]] = {}
    items = connection.execute(
        text(f"""
            SELECT order_id, {", ".join(PROVEN_ITEM_COLUMNS)} FROM core.order_items
            WHERE shop_id = :shop_id AND order_id = ANY(:order_ids)
        """),
        values,
    )
    for order_id, *line in items:
        lines.setdefault(order_id, []).append(tuple(line))
    return [AnsweredOrder(tuple(row), frozenset(lines.get(row[0], ())), bodies) for *row, bodies in orders]


def refunds_of_day(
    connection: Connection, shop_id: str, start: datetime, end: datetime, also: Collection[str] = ()
) -> list[DayRefund]:
    """Return the refunds last modified from ``start`` to ``end``, both included, and those of the ids ``also``."""
    rows = connection.execute(
        text("""
            SELECT refund_id, modified_at, status, refund_fee, coalesce(quantity, 0), sent_at,
                   coalesce(detail_modified_at >= modified_at, false)
            FROM core.refunds
            WHERE shop_id = :shop_id
              AND (modified_at >= :start AND modified_at <= :end OR refund_id = ANY(:also))
        """),
        {"shop_id": shop_id, "start": start, "end": end, "also": list(also)},
    )
    return [DayRefund(*row) for row in rows]


def answered_refunds(connection: Connection, shop_id: str, refund_ids: Sequence[str]) -> list[AnsweredRefund]:
    """Return rows that were loaded from details, with those details; rows that only a list brought are left out."""
    rows = connection.execute(
        text(f"""
            SELECT {", ".join(f"r.{column}" for column in PROVEN_REFUND_COLUMNS)},
                   ARRAY(SELECT p.body FROM raw.page p
                         WHERE p.shop_id = r.shop_id AND p.refund_id = r.refund_id AND p.sent_at = r.sent_at)
            FROM core.refunds r
            WHERE r.shop_id = :shop_id AND r.refund_id = ANY(:refund_ids) AND r.source = 'detail'
        """),
        {"shop_id": shop_id, "refund_ids": list(refund_ids)},
    )
    return [AnsweredRefund(tuple(row), bodies) for *row, bodies in rows]


def orders_placed(connection: Connection, shop_id: str, start: datetime, end: datetime, days: int) -> list[int]:
    """Return how many orders were placed in the same span of each of so many days before, as far as orders are held."""
    rows = connection.execute(
        text("""
            SELECT (SELECT count(*) FROM core.orders WHERE shop_id = :shop_id
                    AND created_at >= :start - make_interval(days => back)
                    AND created_at < :end - make_interval(days => back))
            FROM generate_series(1, :days) AS back
            WHERE :start - make_interval(days => back) >= (
                SELECT min(created_at) FROM core.orders WHERE shop_id = :shop_id
            )
        """),
        {"shop_id": shop_id, "start": start, "end": end, "days": days},
    )
    return list(rows.scalars())


def last_change(connection: Connection, shop_id: str) -> datetime | None:
    """Return when the latest change was made that is known of a shop's orders, None without orders."""
    query = text("SELECT max(modified_at) FROM core.orders WHERE shop_id = :shop_id")
    return connection.execute(query, {"shop_id": shop_id}).scalar()


def changes_known(
    connection: Connection,
    shop_id: str,
    start: datetime,
    end: datetime,
    *,
    created_from: datetime,
    types: Collection[str],
) -> int:
    """Return how many orders of these types are held whose latest change lies in a span, both ends included."""
    count = connection.execute(
        text("""
            SELECT count(*) FROM core.orders
            WHERE shop_id = :shop_id AND modified_at BETWEEN :start AND :end AND created_at >= :created_from
              AND type = ANY(:types)
        """),
        {"shop_id": shop_id, "start": start, "end": end, "created_from": created_from, "types": list(types)},
    )
    return int(count.scalar() or 0)
