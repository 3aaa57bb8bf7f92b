"""What the schemas for readers hold, by the database's own catalogue: relations, columns, types, comments.

Belongs here: reading them. Not here: the comments themselves (migrations), how they are shown
(commands/dictionary.py).
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text

# Who reads what: the roles that migrations make, and their schemas.
READERS = {"bi": "bi_reader", "personal": "personal_reader"}


class Column(NamedTuple):
    """A column: its name, its type as SQL spells it, and its comment."""

    name: str
    type: str
    comment: str | None


class Relation(NamedTuple):
    """A view or table, its comment, and its columns in their order."""

    schema: str
    name: str
    comment: str | None
    columns: tuple[Column, ...]


class Schema(NamedTuple):
    """A schema, its comment, and its relations by name."""

    name: str
    comment: str | None
    relations: tuple[Relation, ...]


_COLUMNS = text("""
    SELECT c.relname, obj_description(c.oid, 'pg_class'), a.attname, format_type(a.atttypid, a.atttypmod),
           col_description(c.oid, a.attnum)
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = cast(:schema AS regnamespace) AND c.relkind IN ('v', 'm', 'r', 'p')
    ORDER BY c.relname, a.attnum
""")


def read_schema(connection: Connection, schema: str) -> Schema:
    """Read what a schema holds. Raises sqlalchemy's ProgrammingError where there is no such schema."""
    relations: dict[str, tuple[str | None, list[Column]]] = {}
    for name, comment, *column in connection.execute(_COLUMNS, {"schema": schema}):
        relations.setdefault(name, (comment, []))[1].append(Column(*column))
    said = connection.execute(
        text("SELECT obj_description(cast(:schema AS regnamespace), 'pg_namespace')"), {"schema": schema}
    ).scalar()
    return Schema(
        schema,
        said,
        tuple(Relation(schema, name, comment, tuple(columns)) for name, (comment, columns) in relations.items()),
    )
