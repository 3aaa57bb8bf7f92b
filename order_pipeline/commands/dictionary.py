"""order-pipeline dictionary: every relation and column that readers may see, as a Markdown page.

Belongs here: the page. Not here: reading the catalogue (warehouse/dictionary.py), what it says (the migrations).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.dictionary import READERS, Relation, Schema, read_schema

_HEAD = """# Data dictionary

Made from the comments in the database by `order-pipeline dictionary`; a test keeps it current. Change a comment in a
migration, then run `order-pipeline dictionary --out docs/data-dictionary.md`.

Times are `timestamptz`, money is `numeric(18,2)` yuan, ids are text (19 digits do not fit a double). A day is a day of
Asia/Shanghai.
"""


def data_dictionary(engine: Engine) -> str:
    """Return the page."""
    with transaction(engine) as connection:
        return page([read_schema(connection, schema) for schema in READERS])


def page(schemas: Sequence[Schema]) -> str:
    """Return the Markdown of these schemas, ending in a newline. Pure."""
    parts = [_HEAD]
    for schema in schemas:
        parts.append(
            f"## Schema {schema.name}\n\n{schema.comment or ''} Read through the role `{READERS[schema.name]}`.\n"
        )
        parts.append(
            "| relation | holds |\n|---|---|\n"
            + "".join(f"| [{each.name}](#{_anchor(each)}) | {_cell(each.comment)} |\n" for each in schema.relations)
        )
        parts += [_relation(each) for each in schema.relations]
    return "\n".join(parts)


def _relation(relation: Relation) -> str:
    rows = "".join(f"| `{each.name}` | {each.type} | {_cell(each.comment)} |\n" for each in relation.columns)
    name = f"{relation.schema}.{relation.name}"
    return f"### {name}\n\n{relation.comment or ''}\n\n| column | type | meaning |\n|---|---|---|\n{rows}"


def _anchor(relation: Relation) -> str:
    # As the hosts of Markdown pages make it of a heading: lower case, without dots.
    return f"{relation.schema}{relation.name}"


def _cell(comment: str | None) -> str:
    return (comment or "").replace("|", "\\|").replace("\n", " ")
