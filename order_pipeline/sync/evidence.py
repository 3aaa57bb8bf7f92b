"""The tables against the answers that they were loaded from: which rows are not what the platform said. Calls nothing.

Belongs here: reading stored details again and comparing every column. Not here: whether there are newer answers to
be had (reconciliation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import Order, Refund
from order_pipeline.sync.access import ShopAccess
from order_pipeline.traffic.errors import MalformedAnswerError
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.days import (
    PROVEN_ITEM_COLUMNS,
    PROVEN_ORDER_COLUMNS,
    PROVEN_REFUND_COLUMNS,
    AnsweredOrder,
    AnsweredRefund,
    answered_orders,
    answered_refunds,
)

# Bodies of about 2.5 kB: a batch is a few MB.
RECORDS_PER_BATCH = 500

_order_values = attrgetter(*PROVEN_ORDER_COLUMNS)
_refund_values = attrgetter(*PROVEN_REFUND_COLUMNS)
_item_values = attrgetter(*PROVEN_ITEM_COLUMNS)


class Evidence(NamedTuple):
    """Records whose rows are not what was answered, and records for which no answer is kept."""

    altered: frozenset[str]
    unproven: frozenset[str]


def weigh(access: ShopAccess, engine: Engine, order_ids: Collection[str]) -> Evidence:
    """Compare rows with the details they were loaded from, every column and every line.

    Rows that only a list brought are unproven, as their lines come from a page that many share.
    """

    def judge(connection: Connection, some: Sequence[str]) -> Iterator[tuple[str, bool]]:
        for row in answered_orders(connection, access.shop.id, some):
            if row.bodies:
                yield row.order[0], _is_as_answered(access, row)

    return _weigh(engine, order_ids, judge)


def weigh_refunds(access: ShopAccess, engine: Engine, refund_ids: Collection[str]) -> Evidence:
    """Compare refunds with the details they were loaded from, every column."""

    def judge(connection: Connection, some: Sequence[str]) -> Iterator[tuple[str, bool]]:
        for row in answered_refunds(connection, access.shop.id, some):
            if row.bodies:
                yield row.refund[0], _is_refund_as_answered(access, row)

    return _weigh(engine, refund_ids, judge)


def _weigh(
    engine: Engine,
    record_ids: Collection[str],
    judge: Callable[[Connection, Sequence[str]], Iterator[tuple[str, bool]]],
) -> Evidence:
    """Judge in batches; what ``judge`` leaves out is unproven."""
    wanted = sorted(record_ids)
    altered: set[str] = set()
    proven: set[str] = set()
    for begin in range(0, len(wanted), RECORDS_PER_BATCH):
        with transaction(engine) as connection:
            for record_id, is_as_answered in judge(connection, wanted[begin : begin + RECORDS_PER_BATCH]):
                (proven if is_as_answered else altered).add(record_id)
    return Evidence(frozenset(altered), frozenset(wanted) - altered - proven)


def _is_refund_as_answered(access: ShopAccess, row: AnsweredRefund) -> bool:
    for body in row.bodies:
        try:
            said = access.platform.read_refund(body)
        except MalformedAnswerError:
            continue
        if isinstance(said, Refund) and _refund_values(said) == row.refund:
            return True
    return False


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
