"""Orders and their lines: COPY into staging, then one merge that lets only newer versions in.

Belongs here: their columns. Not here: the version guard (merging.py), how an order is read from a platform's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows
from order_pipeline.warehouse.merging import GUARDS, Refused, Source, Staged, stage_but_refused
from order_pipeline.warehouse.staging import begin_staging, drop_superseded, noting_merged
from order_pipeline.warehouse.subjects import ORDERS, Subject

ORDER_COLUMNS = (
    "order_id", "status", "type", "created_at", "paid_at", "shipped_at", "ended_at", "modified_at", "payment",
    "total_fee", "discount_fee", "adjust_fee", "post_fee", "received_payment", "step_status", "step_paid_fee",
    "promised_ship_at", "shipping_type", "seller_flag", "buyer_open_uid", "receiver_state", "receiver_city",
    "receiver_district", "buyer_message", "seller_memo", "trade_from", "extra",
)  # fmt: skip
ITEM_COLUMNS = (
    "item_id", "num_iid", "sku_id", "sku_code", "title", "sku_properties", "category_id", "quantity", "price",
    "total_fee", "discount_fee", "adjust_fee", "payment", "divided_payment", "status", "refund_status", "refund_id",
    "shipped_at", "ended_at", "logistics_company", "tracking_number", "extra",
)  # fmt: skip

# What some list methods leave out (Taobao contract §4.1): a list must not blank what a detail brought.
_NOT_IN_EVERY_LIST = frozenset({"promised_ship_at", "buyer_message", "seller_memo", "trade_from"})


class OrderRow(NamedTuple):
    """One version of an order: values of ORDER_COLUMNS, of ITEM_COLUMNS for each line, and when it was asked for."""

    order: Sequence[Any]
    items: Sequence[Sequence[Any]]
    sent_at: Any

    @property
    def order_id(self) -> str:
        """The platform's id of the order."""
        return str(self.order[0])


def merge_orders(
    connection: Connection, shop_id: str, platform: str, source: Source, rows: Sequence[OrderRow]
) -> list[Refused[OrderRow]]:
    """Merge versions of orders: any order and number of deliveries ends in the same tables.

    ``merging.GUARDS`` lets only newer versions in; the lines follow their order. Rows that Postgres refuses are
    returned with its reason; all others land, in the caller's transaction.
    """
    subject = ORDERS.at_once
    begin_orders(connection, subject)
    staged = stage_orders(connection, shop_id, platform, source, rows, subject)
    merge_staged_orders(connection, source, staged.rows, subject)
    return staged.refused


def begin_orders(connection: Connection, subject: Subject = ORDERS) -> None:
    """Begin to gather versions of orders on this connection; what was left of another time goes."""
    begin_staging(connection, subject, lines="core.order_items")


def stage_orders(
    connection: Connection,
    shop_id: str,
    platform: str,
    source: Source,
    rows: Sequence[OrderRow],
    subject: Subject = ORDERS,
) -> Staged[OrderRow]:
    """Put versions of orders beside those that are staged on this connection; return what Postgres refuses."""
    newest: dict[str, OrderRow] = {}
    for row in rows:
        held = newest.get(row.order_id)
        if held is None or _version(held) < _version(row):
            newest[row.order_id] = row
    return stage_but_refused(
        connection, list(newest.values()), lambda some: _copy(connection, shop_id, platform, source, some, subject)
    )


def merge_staged_orders(connection: Connection, source: Source, expected: int, subject: Subject = ORDERS) -> None:
    """Let in what is staged on this connection. ``expected``: how many rows that are.

    Orders first: who holds an order's row locked is the only one to write its lines, and the lines' own statement sees
    what others wrote until then.

    Raises StagedRowsError when it is something else.
    """
    drop_superseded(connection, subject, expected, has_lines=True)
    connection.execute(_order_merge(source, subject))
    connection.execute(_line_merge(source, subject))


def _copy(
    connection: Connection, shop_id: str, platform: str, source: Source, rows: Sequence[OrderRow], subject: Subject
) -> None:
    copy_rows(
        connection,
        subject.staged,
        ("shop_id", "platform", "source", "sent_at", "detail_modified_at", *ORDER_COLUMNS),
        [
            (
                shop_id, platform, source.value, row.sent_at,
                row.order[_MODIFIED] if source is Source.DETAIL else None, *row.order,
            )
            for row in rows
        ],
    )  # fmt: skip
    copy_rows(
        connection,
        subject.staged_lines,
        ("shop_id", "order_id", *ITEM_COLUMNS),
        [(shop_id, row.order_id, *item) for row in rows for item in row.items],
    )


def _version(row: OrderRow) -> tuple[Any, Any]:
    return row.order[_MODIFIED], row.sent_at


_MODIFIED = ORDER_COLUMNS.index("modified_at")


def _value(source: Source) -> Callable[[str, str, str], str]:
    """Return what a column becomes where a version is let in, as SQL, by the names of the old row and of the new."""

    def value(column: str, stored: str, new: str) -> str:
        if source is Source.LIST and column == "extra":
            return f"{stored}.extra || {new}.extra"
        if source is Source.LIST and column in _NOT_IN_EVERY_LIST | {"detail_modified_at"}:
            return f"coalesce({new}.{column}, {stored}.{column})"
        return f"{new}.{column}"

    return value


def _assignment(source: Source) -> Callable[[str], str]:
    value = _value(source)
    return lambda column: f"{column} = {value(column, 'stored', 'excluded')}"


@cache
def _order_merge(source: Source, subject: Subject) -> Any:
    """Build the merge of orders: in where newer."""
    written = ("platform", "source", "sent_at", "detail_modified_at", *ORDER_COLUMNS[1:])
    columns = ", ".join(("shop_id", "order_id", *written))
    # In one order everywhere, so that two loads of orders that overlap cannot deadlock.
    merge = f"""
        INSERT INTO core.orders AS stored ({columns})
        SELECT {columns} FROM {subject.staged} ORDER BY order_id
        ON CONFLICT (shop_id, order_id) DO UPDATE
        SET {", ".join(map(_assignment(source), written))}, stored_at = now()
        WHERE {GUARDS[source]}
    """
    return text(noting_merged(subject, merge))


@cache
def _line_merge(source: Source, subject: Subject) -> Any:
    """Build the merge of lines: those of just the orders that got in, whole.

    A memo or a flag changes an order and none of its lines. They are compared before, so that those that stay as they
    are are not even locked: of 2,500 such orders 250 records of WAL instead of 4,400.
    """
    columns = ("shop_id", "order_id", *ITEM_COLUMNS)
    held = ", ".join(f"held.{column}" for column in ITEM_COLUMNS[1:])
    news = ", ".join(_value(source)(column, "held", "staged") for column in ITEM_COLUMNS[1:])
    return text(f"""
        WITH held AS (
            SELECT i.* FROM {subject.merged} o CROSS JOIN LATERAL (
                -- One by one: the planner knows nothing of a session's tables, and would read all lines there are.
                SELECT * FROM core.order_items i
                WHERE NOT o.is_new AND i.shop_id = o.shop_id AND i.order_id = o.order_id OFFSET 0
            ) i
        ), staged AS (
            SELECT s.* FROM {subject.staged_lines} s JOIN {subject.merged} o ON o.order_id = s.order_id
        ), differing AS MATERIALIZED (
            SELECT {", ".join(f"staged.{column}" for column in columns)},
                   held.shop_id AS held_shop, held.order_id AS held_order, held.item_id AS held_item
            FROM held FULL JOIN staged ON staged.order_id = held.order_id AND staged.item_id = held.item_id
            WHERE held.item_id IS NULL OR staged.item_id IS NULL OR ({held}) IS DISTINCT FROM ({news})
        ), removed AS (
            DELETE FROM core.order_items i USING differing d
            WHERE d.item_id IS NULL
              AND i.shop_id = d.held_shop AND i.order_id = d.held_order AND i.item_id = d.held_item
        )
        INSERT INTO core.order_items AS stored ({", ".join(columns)})
        SELECT {", ".join(columns)} FROM differing WHERE item_id IS NOT NULL
        ON CONFLICT (shop_id, order_id, item_id) DO UPDATE
        SET {", ".join(map(_assignment(source), ITEM_COLUMNS[1:]))}
    """)


def count_orders(connection: Connection, shop_ids: Sequence[str]) -> int:
    """Return how many orders the shops have in the tables."""
    count = connection.execute(
        text("SELECT count(*) FROM core.orders WHERE shop_id = ANY(:shop_ids)"), {"shop_ids": list(shop_ids)}
    )
    return int(count.scalar() or 0)


def recent_orders(connection: Connection, shop_ids: Sequence[str], most: int) -> list[dict[str, Any]]:
    """Return the orders that changed last, without anything about people. By index, however many there are."""
    rows = connection.execute(
        text("""
            SELECT o.shop_id, o.order_id, o.status, o.type, o.payment, o.created_at, o.paid_at, o.modified_at
            FROM unnest(cast(:shop_ids AS text[])) AS s (shop_id), LATERAL (
                SELECT * FROM core.orders c WHERE c.shop_id = s.shop_id ORDER BY modified_at DESC LIMIT :most
            ) AS o
            ORDER BY o.modified_at DESC, o.order_id LIMIT :most
        """),
        {"shop_ids": list(shop_ids), "most": most},
    )
    return [dict(row) for row in rows.mappings()]


# Below it counting takes no time; above it, the figure is for people who look at a curve.
COUNTED_ORDERS = 100_000


def about_orders(connection: Connection, shop_ids: Sequence[str]) -> int:
    """Return how many orders the shops have: counted, or of a large table all shops' orders as the planner knows them.

    Counting three million takes a second, and every run reports this.
    """
    about = connection.execute(text("SELECT reltuples::bigint FROM pg_class WHERE oid = 'core.orders'::regclass"))
    held = int(about.scalar_one())
    return held if held > COUNTED_ORDERS else count_orders(connection, shop_ids)


def count_detailed(connection: Connection, shop_ids: Sequence[str]) -> int:
    """Return how many orders of the shops have had their details loaded."""
    count = connection.execute(
        text("SELECT count(detail_modified_at) FROM core.orders WHERE shop_id = ANY(:shop_ids)"),
        {"shop_ids": list(shop_ids)},
    )
    return int(count.scalar() or 0)
