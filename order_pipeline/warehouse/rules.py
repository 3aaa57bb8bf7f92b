"""What must hold of the order tables, as queries: a count of what breaks each rule, and a sample of it.

Belongs here: rules over stored rows. Not here: what is done about a breach (checks/).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

SAMPLE_SIZE = 10

# Rows that break a rule, with the columns that a person needs to look them up; never personal data.
KEYS = {
    "an order has lines": """
        SELECT o.shop_id, o.order_id, o.status FROM core.orders o
        WHERE NOT EXISTS (SELECT FROM core.order_items i WHERE i.shop_id = o.shop_id AND i.order_id = o.order_id)
    """,
    "a line has its order": """
        SELECT i.shop_id, i.order_id, i.item_id FROM core.order_items i
        WHERE NOT EXISTS (SELECT FROM core.orders o WHERE o.shop_id = i.shop_id AND o.order_id = i.order_id)
    """,
    "ids are numbers": """
        SELECT shop_id, order_id FROM core.orders WHERE order_id !~ '^[0-9]{1,19}$'
    """,
}
MONEY = {
    "no amount is negative": """
        SELECT shop_id, order_id, payment, total_fee, post_fee FROM core.orders
        WHERE least(payment, total_fee, post_fee) < 0
    """,
    # Taobao contract §4.1: total_fee is the sum of price x quantity.
    "total_fee is the lines' price x quantity": """
        SELECT o.shop_id, o.order_id, o.total_fee, sum(i.price * i.quantity) AS lines
        FROM core.orders o JOIN core.order_items i ON i.shop_id = o.shop_id AND i.order_id = o.order_id
        GROUP BY o.shop_id, o.order_id HAVING o.total_fee <> sum(i.price * i.quantity)
    """,
    "what is paid has a payment": """
        SELECT shop_id, order_id, status, paid_at, payment FROM core.orders
        WHERE paid_at IS NOT NULL AND payment IS NULL
    """,
}
COUNTS = {
    # Of a shop's newest hundred days, more than a first load has; older ones were counted on every night of theirs.
    "every order that the first load listed is there": """
        SELECT h.shop_id, h.day, h.orders AS listed, count(o.order_id) AS stored
        FROM sync.history_day h
        LEFT JOIN core.orders o ON o.shop_id = h.shop_id
            AND o.created_at >= h.day::timestamp AT TIME ZONE 'Asia/Shanghai'
            AND o.created_at < (h.day + 1)::timestamp AT TIME ZONE 'Asia/Shanghai'
        WHERE h.day > (SELECT max(n.day) - 100 FROM sync.history_day n WHERE n.shop_id = h.shop_id)
        GROUP BY h.shop_id, h.day HAVING count(o.order_id) < h.orders
    """,
    "no order waits for its details for over an hour": """
        SELECT shop_id, order_id, said_at, attempts, last_problem FROM sync.pending_order
        WHERE due_at < now() - interval '1 hour'
    """,
}


REFUND_RULES = {
    # A refund may come before its order, by minutes; contract §3.4: what is older than three months is not served.
    "a refund of the last months has its order after a day": """
        SELECT r.shop_id, r.refund_id, r.order_id, r.created_at FROM core.refunds r
        WHERE r.order_id IS NOT NULL AND r.stored_at < now() - interval '1 day'
          AND r.created_at > now() - interval '30 days'
          AND NOT EXISTS (SELECT FROM core.orders o WHERE o.shop_id = r.shop_id AND o.order_id = r.order_id)
    """,
    # Of lines whose refunds were written lately: every run of the refunds asks, however many years of them there are.
    "successful refunds of a line are not more than was paid for it": """
        WITH lately AS MATERIALIZED (
            SELECT DISTINCT shop_id, item_id FROM core.refunds
            WHERE status = 'SUCCESS' AND stored_at > now() - interval '8 days'
        )
        SELECT i.shop_id, i.order_id, i.item_id, max(coalesce(i.divided_payment, i.payment)) AS paid,
               sum(r.refund_fee) AS refunded
        FROM lately
        JOIN core.refunds r ON r.shop_id = lately.shop_id AND r.item_id = lately.item_id AND r.status = 'SUCCESS'
        JOIN core.order_items i ON i.shop_id = r.shop_id AND i.item_id = r.item_id AND i.order_id = r.order_id
        GROUP BY i.shop_id, i.order_id, i.item_id
        HAVING sum(r.refund_fee) > max(coalesce(i.divided_payment, i.payment))
    """,
    "no refund waits for its details for over an hour": """
        SELECT shop_id, refund_id, said_at, attempts, last_problem FROM sync.pending_refund
        WHERE due_at < now() - interval '1 hour'
    """,
}


class Breach(NamedTuple):
    """How many rows break a rule, and the first of them."""

    rule: str
    rows: int
    sample: list[dict[str, Any]]


def breaches(connection: Connection, rules: Mapping[str, str]) -> list[Breach]:
    """Return the rules that are broken."""
    found = []
    for rule, query in rules.items():
        count = int(connection.execute(text(f"SELECT count(*) FROM ({query}) AS broken")).scalar() or 0)
        if count:
            rows = connection.execute(text(f"{query} LIMIT {SAMPLE_SIZE}"))
            found.append(Breach(rule, count, [dict(row) for row in rows.mappings()]))
    return found
