"""order-pipeline ship-list: what waits to be packed, grouped for picking, and what is held back, with the reason.

Belongs here: what is printed and exported. Not here: making lists (sync/shipping.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from order_pipeline.sync.downloads import write_csv, write_xlsx
from order_pipeline.sync.shipping import HELD_HEADINGS, LINE_HEADINGS
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.ship_lists import held_lines, lines_of_lists

PRINTED = ("warehouse", "sku", "title", "sku_properties", "quantity", "order_id", "list_id")
PRINTED_HELD = ("order_id", "sku", "quantity", "reason", "remedy")


def show_ship_list(
    engine: Engine,
    shop_ids: Sequence[str],
    *,
    only_held: bool,
    csv_path: Path | None,
    xlsx_path: Path | None,
    as_json: bool,
) -> None:
    """Print the lines that are listed and not sent (or those held back), or write them to files."""
    with transaction(engine) as connection:
        lines = lines_of_lists(connection, shop_ids or None)
        held = held_lines(connection, shop_ids or None)
    rows, headings = (held, HELD_HEADINGS) if only_held else (lines, LINE_HEADINGS)
    if csv_path:
        click.echo(f"{len(rows)} lines written to {write_csv(csv_path, rows, headings)}", err=as_json)
    if xlsx_path:
        sheets = {"to send": (lines, LINE_HEADINGS), "held back": (held, HELD_HEADINGS)}
        written = write_xlsx(xlsx_path, sheets)
        click.echo(f"{len(lines)} lines to send, {len(held)} held back, written to {written}", err=as_json)
    if as_json:
        print(
            json.dumps({"to_send": [dict(row) for row in lines], "held_back": [dict(row) for row in held]}, default=str)
        )
        return
    if csv_path or xlsx_path:
        return
    title = f"{len(held)} lines are held back" if only_held else f"{len(lines)} lines to send ({len(held)} held back)"
    table = Table(title=title)
    printed = PRINTED_HELD if only_held else PRINTED
    for key in printed:
        table.add_column(headings[key], justify="right" if key == "quantity" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape("" if row[key] is None else str(row[key])) for key in printed))
    Console().print(table)
