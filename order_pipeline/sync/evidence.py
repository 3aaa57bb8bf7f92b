"""The tables against the answers that they were loaded from: which rows are not what the platform said. Calls nothing.

Belongs here: reading stored details again and comparing every column. Not here: whether there are newer answers to
be had (reconciliation.py).
"""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Engine

from order_pipeline.platforms.protocol import Order
from order_pipeline.sync.access import ShopAccess
from order_pipeline.traffic.errors import MalformedAnswerError
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.days import (
    PROVEN_ITEM_COLUMNS,
    PROVEN_ORDER_COLUMNS,
    AnsweredOrder,
    answered_orders,
)

# Bodies of about 2.5 kB: a batch is a few MB.
ORDERS_PER_BATCH = 500

_order_values = attrgetter(*PROVEN_ORDER_COLUMNS)
_item_values = attrgetter(*PROVEN_ITEM_COLUMNS)


class Evidence(NamedTuple):
    """Orders whose rows are not what was answered, and orders for which no answer is kept."""

    altered: frozenset[str]
    unproven: frozenset[str]


def weigh(access: ShopAccess, engine: Engine, order_ids: Collection[str]) -> Evidence:
    """Compare rows with the details they were loaded from, every column and every line.

    Rows that only a list brought are unproven, as their lines come from a page that many share.
    """
    wanted = sorted(order_ids)
    altered: set[str] = set()
    proven: set[str] = set()
    for begin in range(0, len(wanted), ORDERS_PER_BATCH):
        with transaction(engine) as connection:
            rows = answered_orders(connection, access.shop.id, wanted[begin : begin + ORDERS_PER_BATCH])
        for row in rows:
            if row.bodies:
                (proven if _is_as_answered(access, row) else altered).add(row.order[0])
    return Evidence(frozenset(altered), frozenset(wanted) - altered - proven)


def _is_as_answered(access: ShopAccess, row: AnsweredOrder) -> bool:
    for body in row.bodies:
        try:
            said = access.platform.read_detail(body)
        except MalformedAnswerError:
            continue
        if (
            isinstance(said, Order)
            and _order_values(said) == row.order
            and frozenset(map(_item_values, said.items)) == row.items
        ):
            return True
    return False
