"""Running it for real: databases, notices, metrics, the breaker by hand, what is deleted.

Belongs here: options and exit codes. Not here: the work (commands/).
"""

from __future__ import annotations

import sys

import click

from order_pipeline.cli.options import JSON, WHY
from order_pipeline.cli.running import UNDONE, one_line_errors, opened_shop, opened_warehouse


@click.group()
def notices() -> None:
    """Look at what people were told, and try whether they can be reached."""


@notices.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many, the latest first.")
@JSON
def list_notices(limit: int, as_json: bool) -> None:
    """List the latest notices; those that wait for delivery come first."""
    from order_pipeline.commands.notices import list_notices as show_notices

    with opened_warehouse() as engine:
        show_notices(engine, limit, as_json=as_json)


@notices.command("test")
@JSON
def test_notices(as_json: bool) -> None:
    """Send a trial message to every address in ORDER_PIPELINE_NOTIFY_URL. Exits with 1 if one did not take it."""
    from order_pipeline.commands.notices import send_trial

    with one_line_errors():
        well = send_trial(as_json=as_json)
    sys.exit(0 if well else UNDONE)


@click.command()
def migrate() -> None:
    """Bring the warehouse's schema up to this version, and print the addresses of both databases, without passwords."""
    import os

    from order_pipeline import configuration
    from order_pipeline.commands.environment import put_databases_in_environment
    from order_pipeline.warehouse.database import connect, shown
    from order_pipeline.warehouse.migrate import upgrade

    with one_line_errors():
        put_databases_in_environment()
        engine = connect(os.environ[configuration.DATABASE_URL])
        reached = upgrade(engine)
        click.echo(f"schema upgraded to {reached}" if reached else "the schema is current")
        for variable in (configuration.DATABASE_URL, configuration.DAGSTER_URL):
            click.echo(f"{variable}={shown(connect(os.environ[variable]))}")


@click.command()
@click.option(
    "--pool",
    "pools",
    multiple=True,
    metavar="NAME=RUNS",
    help="How many runs of a pool may go at once, as history=2; may be given several times.",
)
def prepare(pools: tuple[str, ...]) -> None:
    """Make both databases ready for this version: created where missing, both schemas current, limits of pools set.

    What a deployment runs once before anything else starts; running it again changes nothing.
    """
    from order_pipeline.commands.environment import put_databases_in_environment
    from order_pipeline.commands.prepare import prepare_databases

    limits = _pool_limits(pools)
    with one_line_errors():
        put_databases_in_environment()
        for sentence in prepare_databases(limits):
            click.echo(sentence)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9808, show_default=True, help="Port to listen on; 0: any that is free.")
def metrics(host: str, port: int) -> None:
    """Serve figures for Prometheus: calls, freshness, worklist, proofs, breakers, runs. Reads the tables only."""
    from order_pipeline.commands.environment import put_databases_in_environment
    from order_pipeline.commands.metrics import serve_metrics

    with one_line_errors():
        put_databases_in_environment()
        serve_metrics(host, port, lambda url: click.echo(f"metrics at {url}; Ctrl-C ends it"))


@click.group()
def breaker() -> None:
    """Stop the polls of an app key by hand, or let them go on; the breaker itself does both by what it counts."""


@breaker.command("open")
@click.argument("shop_id", metavar="SHOP")
@click.option(
    "--hours",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 168, min_open=True),
    help="How long; then it closes itself as soon as calls go through.",
)
@WHY
def open_breaker(shop_id: str, hours: float, why: str) -> None:
    """Stop the polls of this shop's app key; messages and one full pull an hour go on."""
    from order_pipeline.commands.interventions import set_breaker

    with opened_shop(shop_id, "breaker open") as (engine, shop, shops):
        set_breaker(engine, shop, shops, hours=hours, why=why)


@breaker.command("close")
@click.argument("shop_id", metavar="SHOP")
@WHY
def close_breaker(shop_id: str, why: str) -> None:
    """Let the polls of this shop's app key go on at once, and forget the failures that were counted."""
    from order_pipeline.commands.interventions import set_breaker

    with opened_shop(shop_id, "breaker close") as (engine, shop, shops):
        set_breaker(engine, shop, shops, hours=None, why=why)


@click.command("prune-events")
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(1),
    help="Days; younger lines stay.  [default: ORDER_PIPELINE_KEEP_EVENTS_DAYS, else 30]",
)
@JSON
def prune_events(days: int | None, as_json: bool) -> None:
    """Delete old lines of Dagster's event log; what assets, partitions and checks are judged by stays.

    Dagster does the same every night.
    """
    import json

    from order_pipeline import configuration
    from order_pipeline.commands.environment import put_databases_in_environment
    from order_pipeline.warehouse.database import connect
    from order_pipeline.warehouse.event_log import prune_events as prune

    with one_line_errors():
        days = days or configuration.event_retention()
        put_databases_in_environment()
        pruned = prune(connect(configuration.dagster_url() or ""), days)
    click.echo(
        json.dumps(pruned._asdict())
        if as_json
        else f"{pruned.deleted:,} lines older than {days} days are deleted, {pruned.left:,} are left"
    )


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@JSON
def prune(dry_run: bool, as_json: bool) -> None:
    """Drop what is kept long enough (ORDER_PIPELINE_KEEP_..._DAYS): whole months of raw data and calls, settled rows.

    Nothing that is not loaded yet, and nothing that a proof still reads. Dagster does the same every night.
    """
    from order_pipeline.commands.prune import prune_and_print

    with opened_warehouse() as engine:
        prune_and_print(engine, dry_run=dry_run, as_json=as_json)


@click.command("remove-shop")
@click.argument("shop_id", metavar="SHOP")
@click.option("--yes", "is_sure", is_flag=True, help="Really delete; without it, only say what would go.")
@JSON
def remove_shop(shop_id: str, is_sure: bool, as_json: bool) -> None:
    """Delete everything that is held of a shop, for good. It must not be in shops.yaml any more."""
    from order_pipeline.commands.removal import remove_shop as remove
    from order_pipeline.resources.addresses import configured_shops

    with opened_warehouse() as engine:
        is_gone = remove(engine, shop_id, configured_shops(or_none=True), is_sure=is_sure, as_json=as_json)
    sys.exit(0 if is_gone else UNDONE)


@click.command()
@click.argument("shop_id", metavar="SHOP")
@click.option("--order", "order_ids", multiple=True, help="Of this order, also when it changes again.")
@click.option("--buyer", help="Of all orders so far of the buyer with this buyer_open_uid.")
@click.option("--all", "everybody", is_flag=True, help="Of all orders; new ones follow while keep_personal_data is on.")
@JSON
def forget(shop_id: str, order_ids: tuple[str, ...], buyer: str | None, everybody: bool, as_json: bool) -> None:
    """Delete addressees of a shop that keeps them (keep_personal_data)."""
    from order_pipeline.commands.removal import forget as forget_people

    if everybody == bool(order_ids or buyer):
        raise click.UsageError("name orders with --order, a buyer with --buyer, or say --all")
    with opened_shop(shop_id, "forget") as (engine, shop, _shops):
        forget_people(engine, shop, order_ids, buyer, everybody=everybody, as_json=as_json)


def _pool_limits(pools: tuple[str, ...]) -> dict[str, int]:
    """Return the limits by pool. Raises click.BadParameter for anything but NAME=RUNS."""
    limits: dict[str, int] = {}
    for pool in pools:
        name, _, runs = pool.partition("=")
        if not name or not runs.isdecimal() or int(runs) < 1:
            raise click.BadParameter(f"--pool {pool}: write NAME=RUNS with one run or more, as history=2")
        limits[name] = int(runs)
    return limits
