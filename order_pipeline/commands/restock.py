"""order-pipeline restock: the purchase list, decisions about it, and what was bought until it is here.

Belongs here: what is printed and exported. Not here: making the list (sync/restocking.py), decisions
(warehouse/purchases.py).
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

from order_pipeline.sync.actor import actor
from order_pipeline.sync.downloads import write_csv, write_xlsx
from order_pipeline.sync.restocking import LINE_HEADINGS, accept_suggestions, reject_suggestions
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.purchases import Decision, cancel, open_purchases, receive
from order_pipeline.warehouse.restocking import open_list
from order_pipeline.wording import counted

# What fits a terminal; files and --json hold every column.
PRINTED = ("suggestion_id", "shop_id", "supplier", "sku", "quantity", "cover_days_before", "cover_days_after", "reason")


def list_suggestions(
    engine: Engine,
    shop_ids: Sequence[str],
    *,
    everything: bool,
    csv_path: Path | None,
    xlsx_path: Path | None,
    as_json: bool,
) -> None:
    """Print the latest list, or write it to files. ``everything``: also lines that buy nothing, and why."""
    with transaction(engine) as connection:
        rows = open_list(connection, shop_ids or None, only_to_buy=not everything)
    if csv_path:
        click.echo(f"{counted(len(rows), 'line')} written to {write_csv(csv_path, rows, LINE_HEADINGS)}", err=as_json)
    if xlsx_path:
        written = write_xlsx(xlsx_path, {"restock": (rows, LINE_HEADINGS)})
        click.echo(f"{counted(len(rows), 'line')} written to {written}", err=as_json)
    if as_json:
        print(json.dumps({"suggestions": [dict(row) for row in rows]}, default=str))
        return
    if csv_path or xlsx_path:
        return
    if not rows:
        click.echo("Nothing is to be bought (order-pipeline restock list --all says why, SKU by SKU).")
        return
    table = Table(title=f"{counted(len(rows), 'line')} of the list of {rows[0]['day']}")
    for key in PRINTED:
        right = key in ("suggestion_id", "quantity", "cover_days_before", "cover_days_after")
        table.add_column(LINE_HEADINGS[key], justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(row[key]) for key in PRINTED))
    Console().print(table)


def accept_lines(engine: Engine, ids: Sequence[int], quantity: int | None, *, as_json: bool) -> None:
    """Put lines on order, all or none."""
    _report(accept_suggestions(engine, ids, actor(), quantity), "accepted", as_json=as_json)


def accept_all(engine: Engine, shop_ids: Sequence[str], *, as_json: bool) -> None:
    """Put every line of the latest lists of these shops on order."""
    with transaction(engine) as connection:
        ids = [row["suggestion_id"] for row in open_list(connection, shop_ids)]
    _report(accept_suggestions(engine, ids, actor()), "accepted", as_json=as_json)


def reject_lines(engine: Engine, ids: Sequence[int], why: str, *, as_json: bool) -> None:
    """Turn lines down, all or none."""
    _report(reject_suggestions(engine, ids, actor(), why), "rejected", as_json=as_json)


def list_purchases(engine: Engine, shop_ids: Sequence[str], *, as_json: bool) -> None:
    """Print what is on order."""
    with transaction(engine) as connection:
        rows = open_purchases(connection, shop_ids or None)
    if as_json:
        print(json.dumps({"purchases": [dict(row) for row in rows]}, default=str))
        return
    if not rows:
        click.echo("Nothing is on order.")
        return
    table = Table(title=f"{counted(len(rows), 'purchase')} on order")
    for heading in ("id", "shop", "supplier", "SKU", "bought", "came", "due", "late"):
        table.add_column(heading, justify="right" if heading in ("id", "bought", "came") else "left", overflow="fold")
    for row in rows:
        late = counted(row["days_late"], "day") if row["days_late"] > 0 else ""
        table.add_row(
            str(row["purchase_id"]),
            *(escape(str(row[key])) for key in ("shop_id", "supplier", "sku")),
            str(row["quantity"]),
            str(row["received_quantity"]),
            str(row["due_on"]),
            late,
        )
    Console().print(table)


def receive_purchases(engine: Engine, ids: Sequence[int], quantity: int | None, *, as_json: bool) -> None:
    """Note that purchases came, all or none."""
    with transaction(engine) as connection:
        rows = [receive(connection, number, actor(), quantity) for number in ids]
    _report_purchases(rows, as_json=as_json)


def cancel_purchases(engine: Engine, ids: Sequence[int], why: str, *, as_json: bool) -> None:
    """Take purchases off order, all or none."""
    with transaction(engine) as connection:
        rows = [cancel(connection, number, actor(), why) for number in ids]
    _report_purchases(rows, as_json=as_json)


def _report(decisions: Sequence[Decision], word: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({word: [each._asdict() for each in decisions]}))
        return
    for each in decisions:
        bought = f", purchase {each.purchase_id}" if each.purchase_id else ""
        known = "" if each.is_new else " (it was so before)"
        click.echo(f"{word}: {each.quantity} of SKU {each.sku}, shop {each.shop_id}{bought}{known}")
    if not decisions:
        click.echo("Nothing is to be bought.")


def _report_purchases(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"purchases": [dict(row) for row in rows]}, default=str))
        return
    for row in rows:
        state = row["outcome"] or f"on order, {row['quantity'] - row['received_quantity']} to come"
        click.echo(f"purchase {row['purchase_id']}: {row['received_quantity']} of {row['quantity']} came; {state}")


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if isinstance(value, float) else escape(str(value))
