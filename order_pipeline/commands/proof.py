"""The proof: the warehouse against the sandbox's ground truth, order by order and refund by refund, field by field.

Belongs here: comparing. It reads the wire's fields with a mapping of its own, as text, so that a mistake in the
client's parser cannot hide here too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import requests
from sqlalchemy import Connection, text

TRUTH_TIMEOUT_SECONDS = 120

ORDER_FIELDS = {
    "status": "status",
    "type": "type",
    "created_at": "created",
    "paid_at": "pay_time",
    "shipped_at": "consign_time",
    "ended_at": "end_time",
    "modified_at": "modified",
    "payment": "payment",
    "total_fee": "total_fee",
    "discount_fee": "discount_fee",
    "post_fee": "post_fee",
    "received_payment": "received_payment",
    "step_status": "step_trade_status",
    "step_paid_fee": "step_paid_fee",
    "seller_flag": "seller_flag",
    "seller_memo": "seller_memo",
    "buyer_message": "buyer_message",
    "buyer_open_uid": "buyer_open_uid",
    "receiver_state": "receiver_state",
    "receiver_city": "receiver_city",
}
ITEM_FIELDS = {
    "num_iid": "num_iid",
    "sku_id": "sku_id",
    "quantity": "num",
    "price": "price",
    "payment": "payment",
    "divided_payment": "divide_order_fee",
    "status": "status",
    "refund_status": "refund_status",
    "tracking_number": "invoice_no",
}

REFUND_FIELDS = {
    "order_id": "tid",
    "item_id": "oid",
    "status": "status",
    "order_status": "order_status",
    "dispute_type": "dispute_type",
    "phase": "refund_phase",
    "good_status": "good_status",
    "has_good_return": "has_good_return",
    "refund_fee": "refund_fee",
    "remaining_payment": "payment",
    "total_fee": "total_fee",
    "price": "price",
    "quantity": "num",
    "num_iid": "num_iid",
    "sku_code": "outer_id",
    "reason": "reason",
    "created_at": "created",
    "modified_at": "modified",
    "goods_returned_at": "good_return_time",
    "ended_at": "end_time",
    "return_tracking_number": "sid",
    "cs_status": "cs_status",
}

# An order as the fields above, all text, and its lines by their id.
Picture = tuple[tuple[str | None, ...], dict[str, tuple[str | None, ...]]]


class Truth(NamedTuple):
    """What the platform knew at one moment: every order of a shop by its id."""

    taken_at: str
    orders: dict[str, Picture]


class Proof(NamedTuple):
    """What differs between warehouse and platform, in orders; all zero: equal. ``differing``: their ids."""

    orders: int
    lines: int
    lost: int
    duplicated: int
    stale: int
    unknown: int
    examples: tuple[str, ...]
    differing: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.lost == self.duplicated == self.stale == self.unknown == 0


def read_truth(sandbox_url: str, shop_id: str, *, created_from: str = "") -> Truth:
    """Read the sandbox's truth of a shop, of orders created at that platform time (text, GMT+8) or later."""
    with requests.get(
        f"{sandbox_url}/sandbox/truth", params={"shop": shop_id}, stream=True, timeout=TRUTH_TIMEOUT_SECONDS
    ) as answer:
        answer.raise_for_status()
        orders = {}
        for line in answer.iter_lines(chunk_size=1 << 16):
            trade = json.loads(line)
            if trade["created"] >= created_from:
                orders[str(trade["tid"])] = _pictured(trade)
        return Truth(answer.headers["x-platform-now"], orders)


class RefundTruth(NamedTuple):
    """What the platform knew at one moment: every refund of a shop by its id, as REFUND_FIELDS, all text."""

    refunds: dict[str, tuple[str | None, ...]]


class RefundProof(NamedTuple):
    """What differs between warehouse and platform, in refunds; all zero: equal. ``differing``: their ids."""

    refunds: int
    lost: int
    duplicated: int
    stale: int
    unknown: int
    examples: tuple[str, ...]
    differing: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.lost == self.duplicated == self.stale == self.unknown == 0


def read_refund_truth(sandbox_url: str, shop_id: str, *, modified_from: str = "") -> RefundTruth:
    """Read the sandbox's truth of a shop's refunds, last changed at that platform time (text, GMT+8) or later."""
    with requests.get(
        f"{sandbox_url}/sandbox/truth/refunds", params={"shop": shop_id}, stream=True, timeout=TRUTH_TIMEOUT_SECONDS
    ) as answer:
        answer.raise_for_status()
        rows = map(json.loads, answer.iter_lines(chunk_size=1 << 16))
        return RefundTruth(
            {
                str(row["refund_id"]): tuple(_wire_text(row.get(field)) for field in REFUND_FIELDS.values())
                for row in rows
                if row["modified"] >= modified_from
            }
        )


def compare_refunds(connection: Connection, shop_id: str, before: RefundTruth, after: RefundTruth) -> RefundProof:
    """Compare the warehouse's refunds with what the platform knew before and after the last pass, as ``compare``."""
    columns = ", ".join(map(_text_of, REFUND_FIELDS))
    query = f"SELECT refund_id, {columns} FROM core.refunds WHERE shop_id = :shop_id"
    rows = [tuple(row) for row in connection.execute(text(query), {"shop_id": shop_id})]
    stored = {row[0]: row[1:] for row in rows}
    examples, differing = [], []
    lost = stale = 0
    modified = list(REFUND_FIELDS).index("modified_at")
    for refund_id, picture in before.refunds.items():
        latest = after.refunds.get(refund_id, picture)
        found = stored.get(refund_id)
        if found is None:
            lost += 1
            differing.append(refund_id)
            examples.append(f"lost: refund {refund_id}")
        elif found not in (picture, latest) and not (
            str(picture[modified]) < str(found[modified]) <= str(latest[modified])
        ):
            stale += 1
            differing.append(refund_id)
            said = next(
                f"{column} is {have}, the platform says {want}"
                for column, have, want in zip(REFUND_FIELDS, found, picture, strict=True)
                if have != want
            )
            examples.append(f"stale: refund {refund_id}: {said}")
    unknown = [refund_id for refund_id in stored if refund_id not in before.refunds and refund_id not in after.refunds]
    examples += [f"unknown: refund {refund_id}" for refund_id in unknown]
    return RefundProof(
        len(stored),
        lost,
        len(rows) - len(stored),
        stale,
        len(unknown),
        tuple(examples[:10]),
        tuple(differing + unknown),
    )


def compare(connection: Connection, shop_id: str, before: Truth, after: Truth) -> Proof:
    """Compare the warehouse with what the platform knew just before and just after the last pass.

    Orders and their lines are read one after the other: the connection has to show one moment (database.snapshot).
    An order must be as one of the two shows it, or, when it changed in between more than once, as something in
    between: also what it was earlier in the very second of its latest change, which is fetched once more later. With a
    platform that stands still the two are the same.
    """
    stored, rows, line_rows, distinct_lines = _stored(connection, shop_id)
    examples, differing = [], []
    lost = stale = 0
    modified = list(ORDER_FIELDS).index("modified_at")
    for order_id, picture in before.orders.items():
        latest = after.orders.get(order_id, picture)
        found = stored.get(order_id)
        if found is None or not found[0]:
            # Lines alone are no order.
            lost += 1
            differing.append(order_id)
            examples.append(f"lost: {order_id}")
        elif found not in (picture, latest) and not (
            str(picture[0][modified]) < str(found[0][modified]) <= str(latest[0][modified])
        ):
            stale += 1
            differing.append(order_id)
            examples.append(f"stale: {order_id}: {_difference(found, picture)}")
    unknown = [order_id for order_id in stored if order_id not in before.orders and order_id not in after.orders]
    examples += [f"unknown: {order_id}" for order_id in unknown]
    duplicated = rows - len(stored) + line_rows - distinct_lines
    return Proof(
        len(stored),
        line_rows,
        lost,
        duplicated,
        stale,
        len(unknown),
        tuple(examples[:10]),
        tuple(differing + unknown),
    )


def _pictured(trade: Mapping[str, Any]) -> Picture:
    lines = trade["orders"]["order"]
    return (
        tuple(_wire_text(trade.get(field)) for field in ORDER_FIELDS.values()),
        {str(line["oid"]): tuple(_wire_text(line.get(field)) for field in ITEM_FIELDS.values()) for line in lines},
    )


def _wire_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None or value == "" else str(value)


def _stored(connection: Connection, shop_id: str) -> tuple[dict[str, Picture], int, int, int]:
    orders: dict[str, Picture] = {}
    rows = line_rows = distinct_lines = 0
    query = f"SELECT order_id, {', '.join(map(_text_of, ORDER_FIELDS))} FROM core.orders WHERE shop_id = :shop_id"
    for order_id, *values in connection.execute(text(query), {"shop_id": shop_id}):
        rows += 1
        orders[order_id] = (tuple(values), {})
    query = (
        f"SELECT order_id, item_id, {', '.join(map(_text_of, ITEM_FIELDS))} "
        f"FROM core.order_items WHERE shop_id = :shop_id"
    )
    for order_id, item_id, *values in connection.execute(text(query), {"shop_id": shop_id}):
        line_rows += 1
        lines = orders.setdefault(order_id, ((), {}))[1]
        distinct_lines += item_id not in lines
        lines[item_id] = tuple(values)
    return orders, rows, line_rows, distinct_lines


def _text_of(column: str) -> str:
    if column.endswith("_at"):
        return f"to_char({column} AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI:SS')"
    return f"{column}::text"


def _difference(found: Picture, wanted: Picture) -> str:
    for column, have, want in zip(ORDER_FIELDS, found[0], wanted[0], strict=False):
        if have != want:
            return f"{column} is {have}, the platform says {want}"
    for item_id, line in wanted[1].items():
        for column, have, want in zip(ITEM_FIELDS, found[1].get(item_id, ()), line, strict=False):
            if have != want:
                return f"line {item_id}: {column} is {have}, the platform says {want}"
    return "its lines differ"
