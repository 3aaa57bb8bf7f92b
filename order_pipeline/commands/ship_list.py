"""order-pipeline ship-list: what waits to be packed, grouped for picking, what is held back, what must be taken out.

Belongs here: what is printed and exported. Not here: making lists (sync/shipping.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from order_pipeline.sync.downloads import write_csv, write_xlsx
from order_pipeline.sync.shipping import (
    HELD_HEADINGS,
    LINE_HEADINGS,
    STOP_HEADINGS,
    acknowledge_stops,
    open_stops,
)
from order_pipeline.sync.windows import SHANGHAI
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.ship_lists import held_lines, lines_of_lists
from order_pipeline.wording import counted

PRINTED = ("warehouse", "sku", "title", "sku_properties", "quantity", "order_id", "list_id")
PRINTED_HELD = ("order_id", "sku", "quantity", "reason", "remedy")
PRINTED_STOPS = ("line_id", "order_id", "sku", "quantity", "reason", "stopped_at")


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
        click.echo(f"{counted(len(rows), 'line')} written to {write_csv(csv_path, rows, headings)}", err=as_json)
    if xlsx_path:
        sheets = {"to send": (lines, LINE_HEADINGS), "held back": (held, HELD_HEADINGS)}
        written = write_xlsx(xlsx_path, sheets)
        click.echo(f"{counted(len(lines), 'line')} to send, {len(held)} held back, written to {written}", err=as_json)
    if as_json:
        print(
            json.dumps({"to_send": [dict(row) for row in lines], "held_back": [dict(row) for row in held]}, default=str)
        )
        return
    if csv_path or xlsx_path:
        return
    title = (
        f"{counted(len(held), 'line is', 'lines are')} held back"
        if only_held
        else f"{counted(len(lines), 'line')} to send ({len(held)} held back)"
    )
    _print(title, rows, PRINTED_HELD if only_held else PRINTED, headings)


def show_stops(engine: Engine, shop_ids: Sequence[str], *, as_json: bool) -> None:
    """Print the stopped lines of which nobody has said that their parcel was taken out."""
    with transaction(engine) as connection:
        rows = open_stops(connection, shop_ids or None)
    if as_json:
        print(json.dumps({"stops": [dict(row) for row in rows]}, default=str))
        return
    shown = [{**row, "stopped_at": row["stopped_at"].astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")} for row in rows]
    _print(f"{counted(len(rows), 'line')} must be taken out", shown, PRINTED_STOPS, STOP_HEADINGS)


def take_out(engine: Engine, line_ids: Sequence[int], *, as_json: bool) -> None:
    """Note that the parcels of stopped lines were taken out. Raises UnknownLineError."""
    done = acknowledge_stops(engine, line_ids)
    if as_json:
        print(json.dumps({"taken_out": [{"line_id": line_id, "was_open": was_open} for line_id, was_open in done]}))
        return
    for line_id, was_open in done:
        click.echo(f"line {line_id}: {'taken out' if was_open else 'its stop was over before'}")


def _print(title: str, rows: Sequence[Mapping[str, Any]], printed: Sequence[str], headings: Mapping[str, str]) -> None:
    if not rows:
        click.echo(f"{title}.")
        return
    table = Table(title=title)
    for key in printed:
        table.add_column(headings[key], justify="right" if key == "quantity" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape("" if row[key] is None else str(row[key])) for key in printed))
    Console().print(table)
