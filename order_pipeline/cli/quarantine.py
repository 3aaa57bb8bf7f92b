"""quarantine: records that could not be read or loaded.

Belongs here: options and exit codes. Not here: the work (commands/quarantine.py).
"""

from __future__ import annotations

import sys

import click

from order_pipeline.cli.options import JSON, SHOP, WHY
from order_pipeline.cli.running import UNDONE, opened_warehouse


@click.group()
def quarantine() -> None:
    """Look at records that could not be read or loaded, try them again, or give them up by name."""


@quarantine.command("list")
@SHOP
@JSON
def list_quarantined(shops: tuple[str, ...], as_json: bool) -> None:
    """List the open records: why, which order, how old, how often seen."""
    from order_pipeline.commands.quarantine import list_records

    with opened_warehouse(shops) as engine:
        list_records(engine, shops, as_json=as_json)


@quarantine.command("show")
@click.argument("quarantine_id", metavar="ID", type=int)
@JSON
def show_quarantined(quarantine_id: int, as_json: bool) -> None:
    """Show one record, open or settled, with its body (which holds no personal data)."""
    from order_pipeline.commands.quarantine import show_record

    with opened_warehouse() as engine:
        show_record(engine, quarantine_id, as_json=as_json)


@quarantine.command("replay")
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every open record.")
@SHOP
@JSON
def replay_quarantined(ids: tuple[int, ...], is_all: bool, shops: tuple[str, ...], as_json: bool) -> None:
    """Read records again with this version's parser and load them; what still fails has its order fetched anew.

    A record is settled only when its order is in the tables. Exits with 1 if one stays open.
    """
    from order_pipeline.commands.quarantine import replay_records

    if bool(ids) == (is_all or bool(shops)):
        raise click.UsageError("name records by their ID, or say --all, or --shop for all of a shop")
    with opened_warehouse() as engine:
        well = replay_records(engine, ids, shops, as_json=as_json)
    sys.exit(0 if well else UNDONE)


@quarantine.command("discard")
@click.argument("quarantine_id", metavar="ID", type=int)
@WHY
@JSON
def discard_quarantined(quarantine_id: int, why: str, as_json: bool) -> None:
    """Give a record up: it counts as settled, even when it comes again just as it is."""
    from order_pipeline.commands.quarantine import discard_record

    with opened_warehouse() as engine:
        discard_record(engine, quarantine_id, why, as_json=as_json)
