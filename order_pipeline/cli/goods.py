"""What to buy, what to send, and the stock: restock, ship-list, stock, suppliers, bundles.

Belongs here: options and exit codes. Not here: the work (commands/).
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from order_pipeline.cli.options import JSON, SHOP, WHY
from order_pipeline.cli.running import UNDONE, opened_warehouse

CSV = click.option("--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path), help="Write it as CSV.")
XLSX = click.option("--xlsx", "xlsx_path", type=click.Path(dir_okay=False, path_type=Path), help="Write it as XLSX.")
QUANTITY = click.option("--quantity", type=click.IntRange(1), help="So many pieces instead; of one line only.")


@click.group()
def restock() -> None:
    """Look at the purchase list, decide about its lines, and follow what was bought until it is here."""


@restock.command("list")
@click.option("--all", "everything", is_flag=True, help="Also SKUs of which nothing is to be bought, and why.")
@SHOP
@CSV
@XLSX
@JSON
def list_restock(
    everything: bool, shops: tuple[str, ...], csv_path: Path | None, xlsx_path: Path | None, as_json: bool
) -> None:
    """Show the latest list: what to buy of whom, and why; files and JSON hold the whole working of each line."""
    from order_pipeline.commands.restock import list_suggestions

    with opened_warehouse(shops) as engine:
        list_suggestions(engine, shops, everything=everything, csv_path=csv_path, xlsx_path=xlsx_path, as_json=as_json)


@restock.command("accept")
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every line of the shops named by --shop.")
@QUANTITY
@SHOP
@JSON
def accept_restock(
    ids: tuple[int, ...], is_all: bool, quantity: int | None, shops: tuple[str, ...], as_json: bool
) -> None:
    """Put lines on order: they count as stock to come, so that no later list suggests them again."""
    from order_pipeline.commands.restock import accept_all, accept_lines

    if bool(ids) == is_all or (is_all and not shops):
        raise click.UsageError("name lines by their ID, or say --all --shop SHOP")
    if quantity and len(ids) != 1:
        raise click.UsageError("--quantity is for one line; name one ID")
    with opened_warehouse(shops) as engine:
        if is_all:
            accept_all(engine, shops, as_json=as_json)
        else:
            accept_lines(engine, ids, quantity, as_json=as_json)


@restock.command("reject")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@WHY
@JSON
def reject_restock(ids: tuple[int, ...], why: str, as_json: bool) -> None:
    """Turn lines down; they are not suggested again for a review period."""
    from order_pipeline.commands.restock import reject_lines

    with opened_warehouse() as engine:
        reject_lines(engine, ids, why, as_json=as_json)


@restock.command("purchases")
@SHOP
@JSON
def list_restock_purchases(shops: tuple[str, ...], as_json: bool) -> None:
    """Show what is on order, and what is late."""
    from order_pipeline.commands.restock import list_purchases

    with opened_warehouse(shops) as engine:
        list_purchases(engine, shops, as_json=as_json)


@restock.command("received")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@QUANTITY
@JSON
def receive_restock(ids: tuple[int, ...], quantity: int | None, as_json: bool) -> None:
    """Say that purchases came: whole, or so many pieces. Do so when the platform's stock has them."""
    from order_pipeline.commands.restock import receive_purchases

    if quantity and len(ids) != 1:
        raise click.UsageError("--quantity is for one purchase; name one ID")
    with opened_warehouse() as engine:
        receive_purchases(engine, ids, quantity, as_json=as_json)


@restock.command("cancel")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@WHY
@JSON
def cancel_restock(ids: tuple[int, ...], why: str, as_json: bool) -> None:
    """Say that purchases, or what is left of them, will not come."""
    from order_pipeline.commands.restock import cancel_purchases

    with opened_warehouse() as engine:
        cancel_purchases(engine, ids, why, as_json=as_json)


@click.command("ship-list")
@click.option("--held", "only_held", is_flag=True, help="What is held back, and why.")
@click.option("--stops", "only_stops", is_flag=True, help="What was stopped and may lie packed.")
@click.option("--taken-out", type=int, multiple=True, help="A stopped line whose parcel was taken out; repeatable.")
@SHOP
@CSV
@XLSX
@JSON
def ship_list(
    only_held: bool,
    only_stops: bool,
    taken_out: tuple[int, ...],
    shops: tuple[str, ...],
    csv_path: Path | None,
    xlsx_path: Path | None,
    as_json: bool,
) -> None:
    """Show what was listed to be sent and has not left, grouped for picking."""
    from order_pipeline.commands.ship_list import show_ship_list, show_stops, take_out

    if only_held + only_stops + bool(taken_out) > 1:
        raise click.UsageError("--held, --stops and --taken-out are three different things; name one")
    if (only_stops or taken_out) and (csv_path or xlsx_path):
        raise click.UsageError("--csv and --xlsx are for lists; --stops and --taken-out go to the screen, or --json")
    with opened_warehouse(shops) as engine:
        if taken_out:
            take_out(engine, taken_out, as_json=as_json)
            return
        if only_stops:
            show_stops(engine, shops, as_json=as_json)
            return
        show_ship_list(engine, shops, only_held=only_held, csv_path=csv_path, xlsx_path=xlsx_path, as_json=as_json)


@click.group()
def stock() -> None:
    """Look at what the platform would be told of the stock, and tell it."""


@stock.command("write")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@SHOP
@JSON
def write_stock(dry_run: bool, shops: tuple[str, ...], as_json: bool) -> None:
    """Take what pre-sales hold off the stock that buyers see, in shops whose write_stock is on.

    Exits with 1 if a number is left unwritten. Nothing is written in a shop that never had a dry run.
    """
    from order_pipeline.commands.stock import write
    from order_pipeline.configuration import select_shops
    from order_pipeline.resources.addresses import configured_shops

    with opened_warehouse() as engine:
        well = write(engine, select_shops(configured_shops(), shops), dry_run=dry_run, as_json=as_json)
    sys.exit(0 if well else UNDONE)


@click.group()
def suppliers() -> None:
    """Your list of suppliers: lead times, minimum orders, packs, what is on order."""


@suppliers.command("load")
@click.argument("path", metavar="FILE.csv", type=click.Path(path_type=Path))
@JSON
def load_suppliers(path: Path, as_json: bool) -> None:
    """Load the list, whole. Rows with mistakes are left out and named; exits with 1 then."""
    from order_pipeline.commands.stock import load_merchant_list

    with opened_warehouse() as engine:
        well = load_merchant_list(engine, "suppliers", path, as_json=as_json)
    sys.exit(0 if well else UNDONE)


@click.group()
def bundles() -> None:
    """Your list of bundles: what each is made of."""


@bundles.command("load")
@click.argument("path", metavar="FILE.csv", type=click.Path(path_type=Path))
@JSON
def load_bundles(path: Path, as_json: bool) -> None:
    """Load the list, whole. Bundles with mistakes are left out and named; exits with 1 then."""
    from order_pipeline.commands.stock import load_merchant_list

    with opened_warehouse() as engine:
        well = load_merchant_list(engine, "bundles", path, as_json=as_json)
    sys.exit(0 if well else UNDONE)
