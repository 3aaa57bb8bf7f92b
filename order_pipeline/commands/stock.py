"""order-pipeline stock, suppliers, bundles: the merchant's lists, and what the platform is told of the stock.

Belongs here: doing and printing. Not here: the work (sync/stock_writing.py, sync/merchant_files.py).
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

from order_pipeline import configuration
from order_pipeline.configuration import Shop, WriteStock
from order_pipeline.sync.access import ShopAccess, open_shop
from order_pipeline.sync.holds import derive_holds
from order_pipeline.sync.merchant_files import load_list
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.sync.stock_writing import Written, write_stock
from order_pipeline.wording import counted

HEADINGS = ("shop", "item", "SKU", "code", "shows", "held", "would be", "keeps back")


def load_merchant_list(engine: Engine, name: str, path: Path, *, as_json: bool) -> bool:
    """Load a list and say what came of it; return whether all of it was right."""
    loaded = load_list(engine, name, path)
    if as_json:
        print(json.dumps(loaded._asdict()))
    else:
        gone = f", {loaded.gone} fewer than before" if loaded.gone else ""
        click.echo(f"{counted(loaded.rows, 'row')} of {name} loaded{gone}.")
        for problem in loaded.problems:
            click.echo(f"left out: {problem}", err=True)
    return not loaded.problems


def write(engine: Engine, shops: Sequence[Shop], *, dry_run: bool, as_json: bool) -> bool:
    """Write the stock of shops whose write_stock is on, or show what would be written; return whether all is well.

    Raises ShopsFailedError when a platform cannot be read.
    """

    def work(access: ShopAccess) -> Written:
        derive_holds(engine, access.shop.id, tell=configuration.hook() is not None)
        return write_stock(access, engine, mode=WriteStock.DRY_RUN if dry_run else None)

    writes = for_each_shop([open_shop(shop, engine) for shop in shops], engine, work)
    if as_json:
        print(json.dumps({"shops": [_told(written) for written in writes]}))
        return all(written.is_well for written in writes)
    console = Console()
    rows = [(written.shop_id, each) for written in writes for each in written.planned]
    if rows:
        table = Table(title="what would be written" if dry_run else "written")
        for place, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="right" if place > 3 else "left", overflow="fold")
        for shop_id, each in rows:
            numbers = (each.before, each.claimed, each.target, each.withheld)
            table.add_row(shop_id, each.num_iid, each.sku_id, escape(each.sku_code or ""), *map(str, numbers))
        console.print(table)
    for written in writes:
        done = f", {written.done} written" if written.mode is WriteStock.ON else ""
        console.print(
            f"shop {written.shop_id}: write_stock is {written.mode}, "
            f"{counted(len(written.planned), 'number differs', 'numbers differ')}{done}",
            soft_wrap=True,
        )
        for problem in written.problems:
            console.print(f"[red]left undone:[/] {escape(problem)}", soft_wrap=True)
    return all(written.is_well for written in writes)


def _told(written: Written) -> dict[str, object]:
    planned = [each._asdict() for each in written.planned]
    return {**written._asdict(), "mode": str(written.mode), "planned": planned}
