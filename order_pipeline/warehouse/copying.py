"""COPY: the quickest way of rows into Postgres, and staging tables for a merge to read from.

Belongs here: turning Python values into COPY's formats. Not here: what the tables mean.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, text


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows into a table, within the connection's transaction.

    Values: None, str, int, float, bool, Decimal, aware datetime, or a dict or list (as JSON). Text must be free
    of NUL and lone surrogates, which no Postgres text can hold.
    """
    # Column by column: its values are of one type, so what they need is looked up once and not for each.
    written = map(_written, zip(*rows, strict=True))
    body = "".join([line + "\n" for line in map("\t".join, zip(*written, strict=True))])
    if body:
        _copy(connection, f"COPY {table} ({', '.join(columns)}) FROM STDIN", io.StringIO(body))


def copy_binary(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows of long texts, in Postgres' binary format, which nothing has to be escaped in.

    Values: None, str for columns of type text, aware datetime for timestamptz, and no others. Else as ``copy_rows``.
    """
    count = struct.pack("!h", len(columns))
    pieces = [piece for row in rows for piece in (count, *map(_packed, row))]
    if pieces:
        body = b"".join([_BINARY_HEADER, *pieces, _BINARY_END])
        _copy(connection, f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)", io.BytesIO(body))


def _copy(connection: Connection, statement: str, body: io.StringIO | io.BytesIO) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - an open SQLAlchemy connection always has one
    with driver.cursor() as cursor:
        cursor.copy_expert(statement, body)


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


def _written(values: Sequence[Any]) -> Sequence[str]:
    """Return the values of one column as COPY reads them."""
    kinds = set(map(type, values))
    if kinds <= _TEXT and not _needs_escape("".join(filter(None, values))):
        return ["\\N" if value is None else value for value in values]
    if len(kinds) == 1:
        return list(map(_FORMATS[kinds.pop()], values))
    return ["\\N" if value is None else _FORMATS[type(value)](value) for value in values]


def _needs_escape(value: str) -> bool:
    return "\\" in value or "\t" in value or "\n" in value or "\r" in value


def _packed(value: str | datetime | None) -> bytes:
    """Return a value as Postgres' binary format has it: its length (none: -1) and its bytes."""
    if value is None:
        return _BINARY_NULL
    if isinstance(value, datetime):
        return struct.pack("!iq", 8, (value - _BINARY_EPOCH) // _MICROSECOND)
    body = value.encode()
    return struct.pack("!i", len(body)) + body


def _escaped(value: str) -> str:
    # Not str.translate: it looks every character of a text with Chinese in it up in a dictionary, which took 44 % of
    # the list path's CPU; replace searches at the memory's speed and hands back a text that has nothing to escape.
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


# The lines of an order share their moments with it and with many others.
CACHED_MOMENTS = 16_384

# The file header of the binary format: signature, flags, length of an extension. Its end, and a value that is none.
_BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_BINARY_END = struct.pack("!h", -1)
_BINARY_NULL = struct.pack("!i", -1)
# A timestamptz counts microseconds from here.
_BINARY_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_TEXT = {str, type(None)}
_FORMATS: dict[type, Callable[[Any], str]] = {
    str: _escaped,
    int: str,
    float: repr,
    bool: lambda value: "t" if value else "f",
    Decimal: str,
    datetime: lru_cache(CACHED_MOMENTS)(datetime.isoformat),
    dict: lambda value: _escaped(as_json(value)),
    list: lambda value: _escaped(as_json(value)),
}
