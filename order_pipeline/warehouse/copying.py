"""COPY: the quickest way of rows into Postgres, and staging tables for a merge to read from.

Belongs here: turning Python values into COPY's text format. Not here: what the tables mean.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, text


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows into a table, within the connection's transaction.

    Values: None, str, int, float, bool, Decimal, aware datetime, or a dict or list (as JSON). Text must be free
    of NUL and lone surrogates, which no Postgres text can hold.
    """
    formats = _FORMATS
    body = "".join(
        ["\t".join(["\\N" if value is None else formats[type(value)](value) for value in row]) + "\n" for row in rows]
    )
    if not body:
        return
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - an open SQLAlchemy connection always has one
    with driver.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN", io.StringIO(body))


def staging_table(
    connection: Connection, name: str, like: str, extra_columns: str = "", *, over_transactions: bool = False
) -> str:
    """Make (once a session) an empty temporary table with the columns of another one, and return its name.

    Its rows go with the transaction, or ``over_transactions`` with the session. A session's own table costs no
    catalogue writes after the first time.
    """
    if not is_made(connection, name):
        connection.execute(
            text(
                f"CREATE TEMP TABLE {name} "
                f"(LIKE {like} INCLUDING DEFAULTS{', ' + extra_columns if extra_columns else ''})"
                f"{'' if over_transactions else ' ON COMMIT DELETE ROWS'}"
            )
        )
    return name


def is_made(connection: Connection, name: str) -> bool:
    """Return whether this session has that temporary table. CREATE ... IF NOT EXISTS takes five times as long."""
    made = connection.execute(text("SELECT to_regclass(:wanted) IS NOT NULL"), {"wanted": f"pg_temp.{name}"})
    return bool(made.scalar())


def as_json(value: Any) -> str:
    """Return JSON text that Postgres reads as jsonb. NaN becomes null; integers of any size stay exact."""
    try:
        return msgspec.json.encode(value).decode()
    except (OverflowError, ValueError, TypeError):
        return json.dumps(value, ensure_ascii=False, default=str)


def _escaped(value: str) -> str:
    # Not str.translate: it looks every character of a text with Chinese in it up in a dictionary, which took 44 % of
    # the list path's CPU; replace searches at the memory's speed and hands back a text that has nothing to escape.
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


_FORMATS: dict[type, Callable[[Any], str]] = {
    str: _escaped,
    int: str,
    float: repr,
    bool: lambda value: "t" if value else "f",
    Decimal: str,
    datetime: datetime.isoformat,
    dict: lambda value: _escaped(as_json(value)),
    list: lambda value: _escaped(as_json(value)),
}
