"""core.supplier_item and core.bundle_part: the merchant's own lists, as they were last loaded.

Belongs here: replacing and reading them. Not here: reading the files (insights/merchant_files.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

SUPPLIER_COLUMNS = (
    "shop_id", "sku_code", "sku_id", "supplier", "lead_time_days", "lead_time_deviation_days", "moq", "pack_size",
    "on_order", "on_order_due", "unit_cost",
)  # fmt: skip
BUNDLE_COLUMNS = ("bundle_code", "component_code", "quantity")
SUPPLIERS, BUNDLES = "suppliers", "bundles"


class LoadedList(NamedTuple):
    """What is known of a list. ``problems``: what was wrong with it, each naming row and column."""

    name: str
    fingerprint: str
    rows: int
    problems: list[str]
    loaded_at: datetime


def replace_suppliers(connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
    """Let these be the suppliers, values of SUPPLIER_COLUMNS; return how many rows there are no more."""
    return _replace(connection, "core.supplier_item", SUPPLIER_COLUMNS, rows)


def replace_bundle_parts(connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
    """Let these be the bundles, values of BUNDLE_COLUMNS; return how many rows there are no more."""
    return _replace(connection, "core.bundle_part", BUNDLE_COLUMNS, rows)


def _replace(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
    # Readers go on with the former list until this one is there whole.
    before = connection.execute(text(f"DELETE FROM {table}")).rowcount
    if rows:
        places = ", ".join(f":{column}" for column in columns)
        connection.execute(
            text(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"),
            [dict(zip(columns, row, strict=True)) for row in rows],
        )
    return max(before - len(rows), 0)


def note_list(connection: Connection, name: str, fingerprint: str, rows: int, problems: Sequence[str]) -> None:
    """Note that a list was read, and what was wrong with it."""
    connection.execute(
        text("""
            INSERT INTO sync.merchant_file (name, fingerprint, rows, problems)
            VALUES (:name, :fingerprint, :rows, :problems)
            ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint, rows = excluded.rows,
                problems = excluded.problems, loaded_at = now()
        """),
        {"name": name, "fingerprint": fingerprint, "rows": rows, "problems": list(problems)},
    )


def read_list_state(connection: Connection, name: str) -> LoadedList | None:
    """Return what is known of a list, None when it was never loaded."""
    row = connection.execute(
        text("SELECT name, fingerprint, rows, problems, loaded_at FROM sync.merchant_file WHERE name = :name"),
        {"name": name},
    ).one_or_none()
    return LoadedList(*row) if row else None


def read_bundle_parts(connection: Connection) -> list[tuple[str, str, int]]:
    """Return bundle, part and pieces of each part, by the merchant's codes."""
    rows = connection.execute(text("SELECT bundle_code, component_code, quantity FROM core.bundle_part ORDER BY 1, 2"))
    return [(bundle, part, quantity) for bundle, part, quantity in rows]


def skus_without_supplier(connection: Connection, shop_id: str, limit: int) -> tuple[int, list[dict[str, Any]]]:
    """Return how many SKUs on sale in the latest snapshot no supplier row names, and the first of them."""
    query = """
        FROM core.inventory_level l
        WHERE l.shop_id = :shop_id AND l.is_onsale
          AND l.day = (SELECT max(day) FROM core.inventory_level WHERE shop_id = :shop_id)
          AND NOT EXISTS (
              SELECT FROM core.supplier_item s
              WHERE coalesce(s.shop_id, l.shop_id) = l.shop_id
                AND (s.sku_code = l.sku_code OR s.sku_id = nullif(l.sku_id, ''))
          )
    """
    count = connection.execute(text(f"SELECT count(*) {query}"), {"shop_id": shop_id}).scalar_one()
    rows = connection.execute(
        text(f"SELECT l.shop_id, l.num_iid, l.sku_id, l.sku_code, l.title {query} ORDER BY 2, 3 LIMIT :limit"),
        {"shop_id": shop_id, "limit": limit},
    )
    return int(count), [dict(row) for row in rows.mappings()]
