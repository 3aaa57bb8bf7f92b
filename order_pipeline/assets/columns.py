"""The columns of the tables that assets write, as the UI shows them: name, type, what they mean.

Belongs here: giving assets the columns of the table that they name. Not here: what columns mean (the COMMENTs of the
migrations say it), writing the file (commands/columns.py).

The columns are a file beside this module, made from a migrated database: definitions load without one, and with each
materialization they would be most of the event log. A test holds the file to the database.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import dagster as dg

COLUMNS_FILE = Path(__file__).with_name("columns.json")


def with_columns(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Return the assets, each with the columns of the table that its metadata names, where they are known."""
    return [
        each for each in dg.map_asset_specs(_with_columns, assets) if isinstance(each, dg.AssetsDefinition)
    ]  # map_asset_specs also takes bare specs, hence the wider type


def table_of(spec: dg.AssetSpec) -> str | None:
    """Return the table or view that an asset writes, ``schema.name``; None where it names none."""
    name = spec.metadata.get("dagster/table_name")
    return name.value if isinstance(name, dg.TextMetadataValue) else name


def _with_columns(spec: dg.AssetSpec) -> dg.AssetSpec:
    columns = _known().get(table_of(spec) or "")
    if columns is None:
        return spec
    schema = dg.TableSchema([dg.TableColumn(name, type=kind, description=said) for name, kind, said in columns])
    return spec.merge_attributes(metadata={"dagster/column_schema": schema})


@cache
def _known() -> dict[str, list[list[str]]]:
    """Return name, type and description of each column, by table."""
    known: dict[str, list[list[str]]] = json.loads(COLUMNS_FILE.read_text(encoding="utf-8"))
    return known
