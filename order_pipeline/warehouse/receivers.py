"""personal.order_receiver: addressees of shops that keep them, and forgetting them.

Belongs here: the only table with data about people. Not here: which shop keeps any (configuration.py), how they are
read from an answer (platforms).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows, staging_table

PERSONAL_COLUMNS = ("buyer_nick", "name", "mobile", "phone", "address", "town", "zip", "oaid")
_COLUMNS = ("order_id", "modified_at", "sent_at", *PERSONAL_COLUMNS)
_WRITTEN = _COLUMNS[1:]


class ReceiverRow(NamedTuple):
    """An addressee: of which order, in which version, asked for when, and the values of PERSONAL_COLUMNS."""

    order_id: str
    modified_at: datetime
    sent_at: datetime
    values: Sequence[str | None]


def store_receivers(connection: Connection, shop_id: str, rows: Sequence[ReceiverRow]) -> None:
    """Write addressees where they are newer; one that was forgotten stays forgotten."""
    if not rows:
        return
    newest: dict[str, ReceiverRow] = {}
    for row in rows:
        held = newest.get(row.order_id)
        if held is None or (held.modified_at, held.sent_at) < (row.modified_at, row.sent_at):
            newest[row.order_id] = row
    staging_table(connection, "staged_receiver", "personal.order_receiver")
    connection.execute(text("TRUNCATE staged_receiver"))
    copy_rows(
        connection,
        "staged_receiver",
        ("shop_id", *_COLUMNS),
        [(shop_id, row.order_id, row.modified_at, row.sent_at, *row.values) for row in newest.values()],
    )
    connection.execute(
        text(f"""
            INSERT INTO personal.order_receiver AS held (shop_id, {", ".join(_COLUMNS)})
            SELECT shop_id, {", ".join(_COLUMNS)} FROM staged_receiver
            -- In one order everywhere, so that two writers cannot deadlock.
            ORDER BY order_id
            ON CONFLICT (shop_id, order_id) DO UPDATE
            SET {", ".join(f"{column} = excluded.{column}" for column in _WRITTEN)}
            WHERE held.forgotten_at IS NULL
              AND (excluded.modified_at, excluded.sent_at) > (held.modified_at, held.sent_at)
        """)
    )


def forget_orders(connection: Connection, shop_id: str, order_ids: Sequence[str]) -> int:
    """Delete the addressees of these orders for good, known or not yet; return how many were known."""
    known = connection.execute(
        text("""
            SELECT count(*) FROM personal.order_receiver
            WHERE shop_id = :shop_id AND order_id = ANY(:order_ids) AND forgotten_at IS NULL
        """),
        {"shop_id": shop_id, "order_ids": list(order_ids)},
    ).scalar()
    # What stays is the order's number and the time: without it the order's next change would bring the rest again.
    connection.execute(
        text(f"""
            INSERT INTO personal.order_receiver AS held (shop_id, order_id, forgotten_at)
            SELECT :shop_id, order_id, now() FROM unnest(cast(:order_ids AS text[])) AS s (order_id) ORDER BY order_id
            ON CONFLICT (shop_id, order_id) DO UPDATE
            SET {", ".join(f"{column} = NULL" for column in PERSONAL_COLUMNS)}, forgotten_at = now()
            WHERE held.forgotten_at IS NULL
        """),
        {"shop_id": shop_id, "order_ids": sorted(set(order_ids))},
    )
    return int(known or 0)


def orders_of_buyer(connection: Connection, shop_id: str, buyer_open_uid: str) -> list[str]:
    """Return the orders of a buyer, by the number under which the app knows them."""
    rows = connection.execute(
        text("SELECT order_id FROM core.orders WHERE shop_id = :shop_id AND buyer_open_uid = :buyer ORDER BY order_id"),
        {"shop_id": shop_id, "buyer": buyer_open_uid},
    )
    return list(rows.scalars())


def forget_shop(connection: Connection, shop_id: str) -> int:
    """Delete all addressees of a shop; return how many there were. What comes later is kept again."""
    return int(
        connection.execute(
            text("DELETE FROM personal.order_receiver WHERE shop_id = :shop_id"), {"shop_id": shop_id}
        ).rowcount
    )
