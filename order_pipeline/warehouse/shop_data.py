"""Everything that is held of one shop, in whatever table: counting it and deleting it for good.

Belongs here: the tables with a column ``shop_id``, found in the catalogue so that none is forgotten. Not here: which
shop may be deleted (commands/removal.py).
"""

from __future__ import annotations

from sqlalchemy import Connection, text

# Quoted by the server itself. Views hold nothing, parts of a table are deleted through it.
_TABLES = text("""
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'shop_id' AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
      AND n.nspname IN ('core', 'raw', 'sync', 'personal', 'bi')
    ORDER BY 1
""")


def count_rows(connection: Connection, shop_id: str) -> dict[str, int]:
    """Return how many rows of the shop each table holds; tables without any are left out."""
    counts = {}
    for table in connection.execute(_TABLES).scalars().all():
        count = connection.execute(text(f"SELECT count(*) FROM {table} WHERE shop_id = :shop_id"), {"shop_id": shop_id})
        counts[table] = int(count.scalar() or 0)
    return {table: count for table, count in counts.items() if count}


def delete_rows(connection: Connection, shop_id: str) -> dict[str, int]:
    """Delete every row of the shop and return how many by table; in the caller's transaction."""
    deleted = {}
    for table in connection.execute(_TABLES).scalars().all():
        result = connection.execute(text(f"DELETE FROM {table} WHERE shop_id = :shop_id"), {"shop_id": shop_id})
        deleted[table] = int(result.rowcount)
    return {table: count for table, count in deleted.items() if count}
