"""Writes assets/columns.json anew: the columns of the tables that assets name, from a freshly migrated database.

Belongs here: the file. Run after a migration that touches a table of an asset: make columns.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from sqlalchemy import Engine

from order_pipeline.assets.columns import COLUMNS_FILE, table_of
from order_pipeline.definitions import defs
from order_pipeline.warehouse import embedded, migrate
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.dictionary import read_schema


def columns_text(engine: Engine) -> str:
    """Return the file's text: a line a column, tables by name, so that a change reads well as a difference."""
    names = sorted({name for spec in defs.resolve_all_asset_specs() if (name := table_of(spec))})
    with transaction(engine) as connection:
        schemas = [read_schema(connection, schema) for schema in sorted({name.split(".")[0] for name in names})]
    tables = {f"{each.schema}.{each.name}": each.columns for schema in schemas for each in schema.relations}
    said = (
        f"  {json.dumps(name)}: [\n"
        + ",\n".join(f"    {json.dumps(list(column), ensure_ascii=False)}" for column in columns)
        + "\n  ]"
        for name in names
        for columns in [tables.get(name, ())]
    )
    return "{\n" + ",\n".join(said) + "\n}\n"


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory(prefix="order-pipeline-columns-") as home:
        server = embedded.start(Path(home))
        server.create_database("columns")
        engine = connect(server.url("columns"))
        migrate.upgrade(engine)
        COLUMNS_FILE.write_text(columns_text(engine), encoding="utf-8")
        engine.dispose()
        server.stop()


if __name__ == "__main__":
    main()
