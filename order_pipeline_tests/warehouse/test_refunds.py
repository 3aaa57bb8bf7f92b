"""Refunds in the tables: the version guard, and what BI sees of lines after them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, text

from order_pipeline.insights.refunding import EXCHANGES, Line, LineRefund, refunded, reserved
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.merging import Source
from order_pipeline.warehouse.orders import merge_orders
from order_pipeline.warehouse.refunds import REFUND_COLUMNS, RefundRow, merge_refunds
from order_pipeline.warehouse.rules import REFUND_RULES, breaches
from order_pipeline_tests.warehouse.test_orders import order_row

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def refund_row(refund_id: str, *, minute: int = 0, sent: int | None = None, **fields: Any) -> RefundRow:
    values: dict[str, Any] = dict.fromkeys(REFUND_COLUMNS) | {
        "refund_id": refund_id,
        "status": "WAIT_SELLER_AGREE",
        "created_at": NOW,
        "modified_at": NOW + timedelta(minutes=minute),
        "extra": {},
    }
    sent_at = NOW + timedelta(minutes=minute if sent is None else sent, seconds=30)
    return RefundRow([(values | fields)[column] for column in REFUND_COLUMNS], sent_at)


def merge(engine: Engine, source: Source, rows: Sequence[RefundRow], shop: str = "shop") -> int:
    with transaction(engine) as connection:
        return len(merge_refunds(connection, shop, "taobao", source, rows))


def test_any_order_and_number_of_deliveries_gives_the_same_row(engine: Engine) -> None:
    deliveries = [
        (Source.LIST, refund_row("1", minute=1, status="WAIT_SELLER_AGREE")),
        (Source.DETAIL, refund_row("1", minute=1, status="WAIT_SELLER_AGREE", price=Decimal(5))),
        (Source.DETAIL, refund_row("1", minute=2, status="CLOSED", price=Decimal(5), ended_at=NOW)),
        (Source.LIST, refund_row("1", minute=2, status="CLOSED", ended_at=NOW)),
        # Opened again under the same id: its end is taken back.
        (Source.DETAIL, refund_row("1", minute=3, sent=4, status="WAIT_SELLER_AGREE", price=Decimal(5))),
    ]
    for number, order in enumerate(random.Random(2).sample(list(itertools.permutations(deliveries)), 30)):
        for source, row in order:
            merge(engine, source, [row], f"shop {number}")
    with transaction(engine) as connection:
        stored = connection.execute(
            text("SELECT status, price, ended_at, modified_at, sent_at, source, detail_modified_at FROM core.refunds")
        )
        seen = {tuple(row) for row in stored}
    assert len(seen) == 1
    assert next(iter(seen))[:3] == ("WAIT_SELLER_AGREE", Decimal(5), None)


def test_a_list_does_not_blank_what_a_detail_brought(engine: Engine) -> None:
    merge(engine, Source.DETAIL, [refund_row("1", minute=1, price=Decimal(5), cs_status=3, extra={"a": 1})])
    merge(engine, Source.LIST, [refund_row("1", minute=2, status="CLOSED", extra={"b": 2})])
    with transaction(engine) as connection:
        row = connection.execute(text("SELECT status, price, cs_status, extra FROM core.refunds")).one()
    assert tuple(row) == ("CLOSED", Decimal(5), 3, {"a": 1, "b": 2})


def test_a_row_that_postgres_refuses_is_named_and_the_rest_loads(engine: Engine) -> None:
    rows = [refund_row(str(number)) for number in range(5)] + [refund_row("bad", quantity=2**40)]
    assert merge(engine, Source.DETAIL, rows) == 1
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM core.refunds")).scalar() == 5


def test_bi_says_what_the_rule_says(engine: Engine) -> None:
    """The views are the rule of insights.refunding in SQL: five hundred random lines with their refunds."""
    chance = random.Random(11)
    wanted, orders, refunds = {}, [], []
    for number in range(1, 501):
        line = Line(
            chance.randint(0, 4),
            Decimal(chance.choice([0, 100, 999, 4_000])) / 100,
            chance.choice([None, "WAIT_SELLER_SEND_GOODS", "WAIT_SELLER_SEND_GOODS", "PAID_FORBID_CONSIGN",
                           "TRADE_CLOSED", "TRADE_FINISHED"]),
            chance.random() < 0.3,
        )  # fmt: skip
        of_line = [
            LineRefund(
                chance.choice(["SUCCESS", "SUCCESS", "CLOSED"]),
                chance.choice([None, Decimal(0), line.paid, line.paid / 2, line.paid / 4]),
                chance.choice([None, 0, 1, 2, line.quantity]),
                chance.choice([None, "REFUND", "REFUND_AND_RETURN", *sorted(EXCHANGES)]),
                chance.choice([None, "BUYER_NOT_RECEIVED", "BUYER_RECEIVED", "BUYER_RETURNED_GOODS"]),
                chance.choice([None, True, False, False]),
            )
            for _ in range(chance.randint(0, 3))
        ]
        of_line = [each._replace(fee=each.fee.quantize(Decimal("0.01")) if each.fee is not None else None)
                   for each in of_line]  # fmt: skip
        wanted[str(number)] = (*refunded(line, of_line), reserved(line, of_line))
        orders.append((number, line))
        refunds += [
            refund_row(
                f"{number}{index}", status=each.status, order_id=str(number), item_id=str(number),
                refund_fee=each.fee, quantity=each.quantity, dispute_type=each.dispute_type,
                good_status=each.good_status, has_good_return=each.has_good_return,
            )
            for index, each in enumerate(of_line)
        ]  # fmt: skip
    # The refunds first: no order has to be there.
    assert merge(engine, Source.DETAIL, refunds) == 0
    with transaction(engine) as connection:
        merge_orders(connection, "shop", "taobao", Source.DETAIL, [order_row(str(number), 1) for number, _ in orders])
        connection.execute(text("DELETE FROM core.order_items"))
        for number, line in orders:
            connection.execute(
                text("""
                    INSERT INTO core.order_items (shop_id, order_id, item_id, num_iid, sku_id, quantity,
                                                  divided_payment, payment, status, shipped_at, extra)
                    VALUES ('shop', :id, :id, '7', :sku, :quantity, :paid, 999, :status,
                            CASE WHEN :shipped THEN now() END, '{}')
                """),
                {"id": str(number), "sku": str(number % 3), "quantity": line.quantity, "paid": line.paid,
                 "status": line.status, "shipped": line.is_shipped},
            )  # fmt: skip
    with transaction(engine) as connection:
        connection.execute(text("SET LOCAL ROLE bi_reader"))
        rows = connection.execute(
            text("""
                SELECT order_id, refunded_quantity, refunded_payment, reserved_quantity, net_quantity, net_payment,
                       quantity, divided_payment
                FROM bi.order_items
            """)
        ).all()
        stock = dict(connection.execute(text("SELECT sku_id, reserved_quantity FROM bi.reserved_stock")).tuples().all())
    assert {row[0]: tuple(row[1:4]) for row in rows} == wanted
    assert all(row[4] == row[6] - row[1] and row[5] == row[7] - row[2] for row in rows)
    for sku in ("0", "1", "2"):
        assert stock[sku] == sum(held[2] for order_id, held in wanted.items() if int(order_id) % 3 == int(sku))


def test_more_given_back_than_was_paid_is_found_where_a_refund_was_written_lately(engine: Engine) -> None:
    """All refunds of the line count, also old ones; lines without a new one were judged when theirs was written."""
    rule = "successful refunds of a line are not more than was paid for it"
    with transaction(engine) as connection:
        connection.execute(
            text("""
                INSERT INTO core.order_items (shop_id, order_id, item_id, quantity, divided_payment, extra)
                SELECT 's', n::text, n::text, 1, 10, '{}' FROM generate_series(1, 3) n
            """)
        )
        connection.execute(
            text("""
                INSERT INTO core.refunds (shop_id, refund_id, platform, order_id, item_id, status, refund_fee,
                                          created_at, modified_at, extra, sent_at, source, stored_at)
                SELECT 's', refund, 'taobao', item, item, 'SUCCESS', fee,
                       now(), now(), '{}', now(), 'detail', now() - age
                FROM (VALUES ('r1', '1', 6, interval '1 year'), ('r2', '1', 6, interval '1 hour'),
                             ('r3', '2', 6, interval '1 hour'), ('r4', '3', 60, interval '1 year'))
                    AS told (refund, item, fee, age)
            """)
        )
        (breach,) = breaches(connection, {rule: REFUND_RULES[rule]})
    assert [(row["item_id"], row["refunded"]) for row in breach.sample] == [("1", 12)]
