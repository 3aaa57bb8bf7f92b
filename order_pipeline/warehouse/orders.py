"""Orders and their lines: COPY into staging, then one merge that lets only newer versions in.

Belongs here: the version guard. Not here: how an order is read from a platform's answer.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg2
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, IntegrityError

from order_pipeline.warehouse.copying import copy_rows, staging_table

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


class Source(enum.Enum):
    """What a version of an order was read from."""

    LIST = "list"
    DETAIL = "detail"


class OrderRow(NamedTuple):
    """One version of an order: values of ORDER_COLUMNS, of ITEM_COLUMNS for each line, and when it was asked for."""

    order: Sequence[Any]
    items: Sequence[Sequence[Any]]
    sent_at: Any

    @property
    def order_id(self) -> str:
        """The platform's id of the order."""
        return str(self.order[0])


class Refused(NamedTuple):
    """A row that Postgres would not take, and its words."""

    row: OrderRow
    reason: str


def merge_orders(
    connection: Connection, shop_id: str, platform: str, source: Source, rows: Sequence[OrderRow]
) -> list[Refused]:
    """Merge versions of orders: any order and number of deliveries ends in the same tables.

    A detail is let in when its (modified_at, sent_at) is newer than the stored row's, or equal in time to a
    list's; a list only when its modified_at is newer, since it holds less. The lines follow their order. Rows
    that Postgres refuses are returned with its reason; all others land, in the caller's transaction.
    """
    if not rows:
        return []
    try:
        with connection.begin_nested():
            _merge(connection, shop_id, platform, source, rows)
    # COPY goes past SQLAlchemy, so its errors come from the driver as they are.
    except (DataError, IntegrityError, psycopg2.DataError, psycopg2.IntegrityError) as error:
        if len(rows) == 1:
            reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
            return [Refused(rows[0], f"refused by the warehouse: {reason}")]
        half = len(rows) // 2
        return [
            *merge_orders(connection, shop_id, platform, source, rows[:half]),
            *merge_orders(connection, shop_id, platform, source, rows[half:]),
        ]
    return []


def _merge(connection: Connection, shop_id: str, platform: str, source: Source, rows: Sequence[OrderRow]) -> None:
    newest: dict[str, OrderRow] = {}
    for row in rows:
        held = newest.get(row.order_id)
        if held is None or _version(held) < _version(row):
            newest[row.order_id] = row
    staging_table(connection, "staged_order", "core.orders")
    staging_table(connection, "staged_item", "core.order_items")
    connection.execute(text("TRUNCATE staged_order, staged_item"))
    copy_rows(
        connection,
        "staged_order",
        ("shop_id", "platform", "source", "sent_at", "detail_modified_at", *ORDER_COLUMNS),
        [
            (
                shop_id, platform, source.value, row.sent_at,
                row.order[_MODIFIED] if source is Source.DETAIL else None, *row.order,
            )
            for row in newest.values()
        ],
    )  # fmt: skip
    copy_rows(
        connection,
        "staged_item",
        ("shop_id", "order_id", *ITEM_COLUMNS),
        [(shop_id, order_id, *item) for order_id, row in newest.items() for item in row.items],
    )
    connection.execute(_MERGES[source])


def _version(row: OrderRow) -> tuple[Any, Any]:
    return row.order[_MODIFIED], row.sent_at


_MODIFIED = ORDER_COLUMNS.index("modified_at")

_GUARDS = {
    Source.LIST: "excluded.modified_at > stored.modified_at",
    Source.DETAIL: """excluded.modified_at > stored.modified_at OR excluded.modified_at = stored.modified_at
        AND (stored.source = 'list' OR excluded.sent_at > stored.sent_at)""",
}


def _assignment(source: Source) -> Callable[[str], str]:
    def assign(column: str) -> str:
        if source is Source.LIST and column == "extra":
            return "extra = stored.extra || excluded.extra"
        if source is Source.LIST and column in _NOT_IN_EVERY_LIST | {"detail_modified_at"}:
            return f"{column} = coalesce(excluded.{column}, stored.{column})"
        return f"{column} = excluded.{column}"

    return assign


def _merge_statement(source: Source) -> Any:
    """Build the merge: orders in where newer, then the lines of just those orders, whole."""
    written = ("platform", "source", "sent_at", "detail_modified_at", *ORDER_COLUMNS[1:])
    columns = ", ".join(("shop_id", "order_id", *written))
    item_columns = ", ".join(("shop_id", "order_id", *ITEM_COLUMNS))
    return text(f"""
        WITH applied AS (
            INSERT INTO core.orders AS stored ({columns})
            SELECT {columns} FROM staged_order
            ON CONFLICT (shop_id, order_id) DO UPDATE
            SET {", ".join(map(_assignment(source), written))}, stored_at = now()
            WHERE {_GUARDS[source]}
            RETURNING shop_id, order_id, (xmax = 0) AS is_new
        ), removed AS (
            DELETE FROM core.order_items i USING applied a
            WHERE NOT a.is_new AND i.shop_id = a.shop_id AND i.order_id = a.order_id
              AND NOT EXISTS (SELECT FROM staged_item s WHERE s.order_id = i.order_id AND s.item_id = i.item_id)
        )
        INSERT INTO core.order_items AS stored ({item_columns})
        SELECT {", ".join(f"s.{column}" for column in ("shop_id", "order_id", *ITEM_COLUMNS))}
        FROM staged_item s JOIN applied a ON a.order_id = s.order_id
        ON CONFLICT (shop_id, order_id, item_id) DO UPDATE
        SET {", ".join(map(_assignment(source), ITEM_COLUMNS[1:]))}
    """)


_MERGES = {source: _merge_statement(source) for source in Source}


def holds_version(connection: Connection, shop_id: str, order_id: str, modified_at: datetime, source: Source) -> bool:
    """Return whether an order is in the tables in that version or a newer one: its details, or what lists show."""
    column = "detail_modified_at" if source is Source.DETAIL else "modified_at"
    held = connection.execute(
        text(f"SELECT {column} >= :modified_at FROM core.orders WHERE shop_id = :shop_id AND order_id = :order_id"),
        {"shop_id": shop_id, "order_id": order_id, "modified_at": modified_at},
    )
    return bool(held.scalar())


def count_orders(connection: Connection, shop_ids: Sequence[str]) -> int:
    """Return how many orders the shops have in the tables."""
    count = connection.execute(
        text("SELECT count(*) FROM core.orders WHERE shop_id = ANY(:shop_ids)"), {"shop_ids": list(shop_ids)}
    )
    return int(count.scalar() or 0)


def count_detailed(connection: Connection, shop_ids: Sequence[str]) -> int:
    """Return how many orders of the shops have had their details loaded."""
    count = connection.execute(
        text("SELECT count(detail_modified_at) FROM core.orders WHERE shop_id = ANY(:shop_ids)"),
        {"shop_ids": list(shop_ids)},
    )
    return int(count.scalar() or 0)
