"""core.stock_write: every number that we told the platform, and what we therefore hold back of its stock.

Belongs here: noting a write before it is made and settling it afterwards. Not here: what to write
(insights/stock_levels.py), the calls (sync/stock_writing.py).

A write is noted as ``planned`` and committed before the call. Whatever happens then (a kill, a lost answer), the row
tells the next one to read the stock before writing it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from order_pipeline.warehouse.lock_keys import WRITE_LOCKS

DRY_RUN, PLANNED, DONE, NOT_DONE, REFUSED, UNKNOWN = "dry_run", "planned", "done", "not_done", "refused", "unknown"


class StockWrite(NamedTuple):
    """A number for the platform; the fields are columns of ``core.stock_write``. ``sku_id`` empty: the item itself."""

    num_iid: str
    sku_id: str
    sku_code: str | None
    before: int
    target: int
    withheld_before: int
    withheld: int
    claimed: int


class OpenWrite(NamedTuple):
    """A write that nobody knows the outcome of."""

    write_id: int
    num_iid: str
    sku_id: str
    before: int
    target: int


@contextmanager
def writing(engine: Engine, shop_id: str) -> Iterator[bool]:
    """Be the only one who writes the shop's stock while the block runs; yields False where somebody else is."""
    key = {"locks": WRITE_LOCKS, "shop_id": shop_id}
    with engine.connect() as connection:
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:locks, hashtext(:shop_id))"), key).scalar()
        # Out of the transaction: the platform is slow, and an open one would keep vacuum waiting.
        connection.commit()
        try:
            yield bool(taken)
        finally:
            if taken:
                # Where the session is gone, so is the lock.
                with suppress(DBAPIError):
                    connection.execute(text("SELECT pg_advisory_unlock(:locks, hashtext(:shop_id))"), key)
                    connection.commit()


def note_writes(
    connection: Connection, shop_id: str, writes: Sequence[StockWrite], status: str, actor: str
) -> list[int]:
    """Note writes, ``planned`` or ``dry_run``; return their numbers in the same order."""
    columns = ("shop_id", *StockWrite._fields, "status", "actor")
    statement = text(f"""
        INSERT INTO core.stock_write ({", ".join(columns)}) VALUES ({", ".join(f":{name}" for name in columns)})
        RETURNING write_id
    """)
    common = {"shop_id": shop_id, "status": status, "actor": actor}
    return [connection.execute(statement, common | write._asdict()).scalar_one() for write in writes]


def settle_writes(connection: Connection, write_ids: Sequence[int], status: str, problem: str | None = None) -> None:
    """Note what became of writes."""
    connection.execute(
        text("""
            UPDATE core.stock_write SET status = :status, problem = :problem, settled_at = clock_timestamp()
            WHERE write_id = ANY(:write_ids)
        """),
        {"status": status, "problem": problem, "write_ids": list(write_ids)},
    )


def open_writes(connection: Connection, shop_id: str) -> list[OpenWrite]:
    """Return the writes whose outcome nobody knows, oldest first."""
    rows = connection.execute(
        text(f"""
            SELECT {", ".join(OpenWrite._fields)} FROM core.stock_write
            WHERE shop_id = :shop_id AND status IN ('{PLANNED}', '{UNKNOWN}') ORDER BY write_id
        """),
        {"shop_id": shop_id},
    )
    return [OpenWrite(*row) for row in rows]


def read_withheld(connection: Connection, shop_id: str) -> dict[tuple[str, str], int]:
    """Return what our writes hold back, by item and SKU; none where nothing is."""
    rows = connection.execute(
        text(f"""
            SELECT num_iid, sku_id, withheld FROM (
                SELECT DISTINCT ON (num_iid, sku_id) num_iid, sku_id, withheld FROM core.stock_write
                WHERE shop_id = :shop_id AND status = '{DONE}' ORDER BY num_iid, sku_id, write_id DESC
            ) AS latest WHERE withheld <> 0
        """),
        {"shop_id": shop_id},
    )
    return {(num_iid, sku_id): withheld for num_iid, sku_id, withheld in rows}


def latest_writes(connection: Connection, shop_ids: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """Return the latest writes, newest first."""
    rows = connection.execute(
        text("""
            SELECT shop_id, num_iid, sku_id, sku_code, before, target, claimed, status, problem, planned_at
            FROM core.stock_write WHERE shop_id = ANY(:shop_ids) ORDER BY write_id DESC LIMIT :limit
        """),
        {"shop_ids": list(shop_ids), "limit": limit},
    )
    return [dict(row) for row in rows.mappings()]
