"""follow-ups: parcels that are stuck, and who looks after them.

Belongs here: options and exit codes. Not here: the work (commands/).
"""

from __future__ import annotations

import click

from order_pipeline.cli.options import JSON, SHOP, in_words
from order_pipeline.cli.running import opened_warehouse, perform


@click.group("follow-ups")
def follow_ups() -> None:
    """See which parcels customer service has to look after, take them on, close them."""


@follow_ups.command("list")
@SHOP
@click.option("--rule", "rules", multiple=True, type=click.Choice(["S1", "S2", "S3", "S4", "S5", "S6", "S7"]))
@click.option("--closed", is_flag=True, help="Closed ones, too.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many.")
@JSON
def list_followed_up(shops: tuple[str, ...], rules: tuple[str, ...], closed: bool, limit: int, as_json: bool) -> None:
    """List what is to be followed up; what waits longest comes first."""
    from order_pipeline.commands.follow_ups import show_follow_ups

    with opened_warehouse(shops) as engine:
        show_follow_ups(engine, shops, rules, closed=closed, limit=limit, as_json=as_json)


@follow_ups.command("show")
@click.argument("follow_up_id", metavar="ID", type=int)
@JSON
def show_followed_up(follow_up_id: int, as_json: bool) -> None:
    """Show one with its history."""
    from order_pipeline.commands.follow_ups import show_follow_up

    with opened_warehouse() as engine:
        show_follow_up(engine, follow_up_id, as_json=as_json)


@follow_ups.command("assign")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--to", "assignee", required=True, callback=in_words, help="Who looks after it.")
@JSON
def assign_followed_up(ids: tuple[int, ...], assignee: str, as_json: bool) -> None:
    """Take them on for somebody: they stay until that person closes them, even when the parcel moves again."""
    from order_pipeline.commands.follow_ups import assign_follow_ups

    with opened_warehouse() as engine:
        assign_follow_ups(engine, ids, assignee, as_json=as_json)


@follow_ups.command("close")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--why", required=True, callback=in_words, help="What came of it; kept with your name and the time.")
@JSON
def close_followed_up(ids: tuple[int, ...], why: str, as_json: bool) -> None:
    """Close them. One that nobody has taken on also closes by itself when its parcel moves again."""
    from order_pipeline.commands.follow_ups import close_follow_ups

    with opened_warehouse() as engine:
        close_follow_ups(engine, ids, why, as_json=as_json)


@follow_ups.command("check")
@SHOP
@JSON
def check_parcels(shops: tuple[str, ...], as_json: bool) -> None:
    """Ask where the parcels are now, and look which are stuck: what Dagster's schedule does every hour."""
    from order_pipeline.commands.passes import follow_parcels

    perform(shops, as_json, "parcels", lambda instance, _engine, accesses: follow_parcels(instance, accesses))
