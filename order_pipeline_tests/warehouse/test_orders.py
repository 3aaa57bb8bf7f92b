"""The version guard: any order and number of deliveries ends in the same tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from order_pipeline.warehouse.database import session, transaction
from order_pipeline.warehouse.merging import Source
from order_pipeline.warehouse.orders import (
    ITEM_COLUMNS,
    ORDER_COLUMNS,
    OrderRow,
    begin_orders,
    merge_orders,
    merge_staged_orders,
    stage_orders,
)

BASE = datetime(2026, 3, 1, tzinfo=UTC)


def order_row(order_id: str, minute: int, *, sent: int = 0, lines: Sequence[str] = ("1",), **values: Any) -> OrderRow:
    """A version of an order, modified at that minute and asked for that many seconds later."""
    modified = BASE + timedelta(minutes=minute)
    order = dict.fromkeys(ORDER_COLUMNS) | {
        "order_id": order_id, "status": f"at {minute}", "created_at": BASE, "modified_at": modified,
        "payment": Decimal(minute), "extra": {},
    } | values  # fmt: skip
    items = [
        dict.fromkeys(ITEM_COLUMNS) | {"item_id": line, "quantity": minute, "extra": {}, "status": f"at {minute}"}
        for line in lines
    ]
    return OrderRow(
        [order[column] for column in ORDER_COLUMNS],
        [[item[column] for column in ITEM_COLUMNS] for item in items],
        modified + timedelta(seconds=sent),
    )


def tables(engine: Engine) -> tuple[list[Any], list[Any]]:
    with transaction(engine) as connection:
        orders = connection.execute(
            text("SELECT order_id, status, payment, modified_at, seller_memo, extra FROM core.orders ORDER BY 1")
        ).all()
        items = connection.execute(
            text("SELECT order_id, item_id, quantity, status FROM core.order_items ORDER BY 1, 2")
        ).all()
    return [tuple(row) for row in orders], [tuple(row) for row in items]


def merge(engine: Engine, source: Source, *rows: OrderRow) -> list[str]:
    with transaction(engine) as connection:
        return [held.reason for held in merge_orders(connection, "shop", "taobao", source, rows)]


def clear(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE core.orders, core.order_items"))


def test_an_older_version_never_overwrites_a_newer_one(engine: Engine) -> None:
    merge(engine, Source.DETAIL, order_row("1", 5))
    before = tables(engine)
    merge(engine, Source.DETAIL, order_row("1", 3))
    merge(engine, Source.LIST, order_row("1", 4))
    assert tables(engine) == before


def test_the_same_second_fetched_later_wins(engine: Engine) -> None:
    merge(engine, Source.DETAIL, order_row("1", 5, sent=0, status="early"))
    merge(engine, Source.DETAIL, order_row("1", 5, sent=4, status="late"))
    merge(engine, Source.DETAIL, order_row("1", 5, sent=2, status="between"))
    assert tables(engine)[0][0][1] == "late"


def test_a_list_does_not_blank_what_only_details_hold(engine: Engine) -> None:
    merge(engine, Source.DETAIL, order_row("1", 5, seller_memo="gift wrap", extra={"promotion_details": "x"}))
    merge(engine, Source.LIST, order_row("1", 6, extra={"num": 2}))
    (order,) = tables(engine)[0]
    assert order[1] == "at 6"
    assert order[4] == "gift wrap"
    assert order[5] == {"promotion_details": "x", "num": 2}


def test_a_detail_replaces_the_list_of_the_same_second(engine: Engine) -> None:
    merge(engine, Source.LIST, order_row("1", 5, sent=9))
    merge(engine, Source.DETAIL, order_row("1", 5, sent=1, seller_memo="memo"))
    assert tables(engine)[0][0][4] == "memo"


def test_lines_that_a_newer_version_lacks_are_gone(engine: Engine) -> None:
    merge(engine, Source.DETAIL, order_row("1", 1, lines=("1", "2", "3")), order_row("2", 1, lines=("9",)))
    merge(engine, Source.DETAIL, order_row("1", 2, lines=("2", "4")))
    assert [(row[0], row[1]) for row in tables(engine)[1]] == [("1", "2"), ("1", "4"), ("2", "9")]


def test_the_newest_of_several_versions_in_one_batch_wins(engine: Engine) -> None:
    merge(engine, Source.DETAIL, order_row("1", 2), order_row("1", 7), order_row("1", 5))
    assert tables(engine)[0][0][1] == "at 7"


def merge_window(engine: Engine, *batches: Sequence[OrderRow]) -> None:
    """Stage each batch in a transaction of its own, and merge all of them in another one."""
    staged = 0
    with session(engine) as connection:
        with connection.begin():
            begin_orders(connection)
        for batch in batches:
            with connection.begin():
                staged += stage_orders(connection, "shop", "taobao", Source.LIST, batch).rows
        with connection.begin():
            merge_staged_orders(connection, Source.LIST, staged)


@pytest.mark.parametrize("newest_first", [False, True])
def test_of_versions_in_several_batches_of_a_window_the_newest_wins_with_just_its_lines(
    engine: Engine, newest_first: bool
) -> None:
    older = [order_row("1", 2, lines=("1", "2")), order_row("2", 1, lines=("8",))]
    newer = [order_row("1", 7, lines=("2", "3"))]
    merge_window(engine, *((newer, older) if newest_first else (older, newer)))
    orders, lines = tables(engine)
    assert [row[:2] for row in orders] == [("1", "at 7"), ("2", "at 1")]
    assert lines == [("1", "2", 7, "at 7"), ("1", "3", 7, "at 7"), ("2", "8", 1, "at 1")]


def test_the_same_version_in_several_batches_of_a_window_lands_once(engine: Engine) -> None:
    rows = [order_row(str(number), 3, lines=("1", "2")) for number in range(3)]
    merge_window(engine, rows, rows[:2], rows)
    assert len(tables(engine)[0]) == 3
    assert len(tables(engine)[1]) == 6


def test_what_an_earlier_window_left_staged_is_not_merged(engine: Engine) -> None:
    with session(engine) as connection, connection.begin():
        begin_orders(connection)
        stage_orders(connection, "shop", "taobao", Source.LIST, [order_row("1", 1)])
    merge_window(engine, [order_row("2", 1)])
    assert [row[0] for row in tables(engine)[0]] == ["2"]


def test_a_row_that_postgres_refuses_does_not_stop_the_others(engine: Engine) -> None:
    rows = [order_row(str(number), 1) for number in range(50)]
    rows[17] = order_row("17", 1, payment=Decimal(10) ** 17)
    reasons = merge(engine, Source.DETAIL, *rows)
    assert len(tables(engine)[0]) == 49
    assert len(reasons) == 1
    assert "numeric field overflow" in reasons[0]


@pytest.mark.parametrize(
    "value", ["tab\there", "new\nline\r", "back\\slash \\N \\.", "\\.", '"quoted", comma', "预售🎁"]
)
def test_text_arrives_as_it_was(engine: Engine, value: str) -> None:
    merge(engine, Source.DETAIL, order_row("1", 1, seller_memo=value, extra={"memo": value}))
    (order,) = tables(engine)[0]
    assert order[4] == value
    assert order[5] == {"memo": value}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_any_order_and_number_of_deliveries_ends_in_the_same_tables(engine: Engine, data: st.DataObject) -> None:
    versions = [
        (number, minute, sent)
        for number in range(3)
        for minute, sent in data.draw(
            st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=4, unique=True)
        )
    ]

    def row(version: tuple[int, int, int]) -> OrderRow:
        number, minute, sent = version
        lines = [str(line) for line in range(1, 2 + (minute + sent) % 3)]
        return order_row(str(number), minute, sent=sent, lines=lines, status=f"{minute}/{sent}")

    clear(engine)
    merge(engine, Source.DETAIL, *map(row, versions))
    expected = tables(engine)
    clear(engine)
    deliveries = data.draw(st.permutations(versions * 2))
    while deliveries:
        size = data.draw(st.integers(1, 4))
        merge(engine, Source.DETAIL, *map(row, deliveries[:size]))
        deliveries = deliveries[size:]
    assert tables(engine) == expected


def test_a_line_number_that_is_used_again_in_another_order_is_another_line(engine: Engine) -> None:
    """Split and merged trades take their lines along; two orders of nearly the same 19 digits stay two."""
    first, second = "2467890123456789011", "2467890123456789012"
    merge(engine, Source.DETAIL, order_row(first, 1, lines=["9", "10"]), order_row(second, 2, lines=["9"]))
    merge(engine, Source.DETAIL, order_row(first, 3, lines=["10"]))
    assert tables(engine)[1] == [(first, "10", 3, "at 3"), (second, "9", 2, "at 2")]
