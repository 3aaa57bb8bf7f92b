"""How far the pipeline is: watermarks of changes, and the created-days that the first load brought in.

Belongs here: reading and moving them, in the transaction of the rows they vouch for. Not here: which span to
ask for next (sync/windows.py).
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Connection, text

INCREMENTS = "increments"
REFUND_CHANGES = "refunds"
# By our own clock: rows stored up to then are in the holds.
PRESALE_HOLDS = "presale_holds"
# By our own clock: when somebody last saw what writing stock would change.
STOCK_DRY_RUN = "stock_dry_run"
# By the platform's clock, about: the fields of answers were looked at up to then.
FIELD_COUNTS = "field_counts"


def read_watermark(connection: Connection, shop_id: str, channel: str = INCREMENTS) -> datetime | None:
    """Return the platform time up to which every change is in the tables, None before the first load."""
    row = connection.execute(
        text("SELECT position FROM sync.watermark WHERE shop_id = :shop_id AND channel = :channel"),
        {"shop_id": shop_id, "channel": channel},
    )
    return row.scalar()


def known_shops(connection: Connection) -> list[str]:
    """Return the shops that were ever begun to load."""
    return list(connection.execute(text("SELECT DISTINCT shop_id FROM sync.watermark ORDER BY 1")).scalars())


def read_beginning(connection: Connection, shop_id: str, channel: str = INCREMENTS) -> datetime | None:
    """Return where the watermark began, None before the first load."""
    row = connection.execute(
        text("SELECT began_at FROM sync.watermark WHERE shop_id = :shop_id AND channel = :channel"),
        {"shop_id": shop_id, "channel": channel},
    )
    return row.scalar()


def begin_watermark(connection: Connection, shop_id: str, position: datetime, channel: str = INCREMENTS) -> datetime:
    """Set the watermark where there is none yet, and return the one that holds."""
    connection.execute(
        text(
            "INSERT INTO sync.watermark (shop_id, channel, began_at, position) "
            "VALUES (:shop_id, :channel, :position, :position) "
            "ON CONFLICT (shop_id, channel) DO NOTHING"
        ),
        {"shop_id": shop_id, "channel": channel, "position": position},
    )
    held = read_watermark(connection, shop_id, channel)
    assert held is not None  # noqa: S101 - just written, or there before
    return held


def move_watermark(connection: Connection, shop_id: str, position: datetime, channel: str = INCREMENTS) -> None:
    """Move the watermark forward; an older position changes nothing."""
    connection.execute(
        text(
            "UPDATE sync.watermark SET position = :position, updated_at = now() "
            "WHERE shop_id = :shop_id AND channel = :channel AND position < :position"
        ),
        {"shop_id": shop_id, "channel": channel, "position": position},
    )


def mark_history_day(connection: Connection, shop_id: str, day: date, orders: int) -> None:
    """Note that every order created on that day (Asia/Shanghai) is in the tables."""
    connection.execute(
        text(
            "INSERT INTO sync.history_day (shop_id, day, orders) VALUES (:shop_id, :day, :orders) "
            "ON CONFLICT (shop_id, day) DO UPDATE SET orders = excluded.orders, loaded_at = now()"
        ),
        {"shop_id": shop_id, "day": day, "orders": orders},
    )


def loaded_history_days(connection: Connection, shop_id: str) -> set[date]:
    """Return the created-days of the shop that are loaded."""
    rows = connection.execute(text("SELECT day FROM sync.history_day WHERE shop_id = :shop_id"), {"shop_id": shop_id})
    return set(rows.scalars())
