"""Keeping the tables equal by hand or by cron: sync, backfill, refetch, and how it stands: status, doctor.

Belongs here: options and exit codes. Not here: the work (commands/).
"""

from __future__ import annotations

import sys
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import click

from order_pipeline.cli.options import JSON, SHOP
from order_pipeline.cli.running import UNDONE, one_line_errors, opened_shop, perform

if TYPE_CHECKING:
    from sqlalchemy import Engine


@click.command()
@SHOP
@JSON
def sync(shops: tuple[str, ...], as_json: bool) -> None:
    """Do everything that is due now, as Dagster runs: the first load of a new shop, changes, details, refunds, holds.

    Exits with 1 if anything is left undone.
    """
    from order_pipeline.commands.passes import Pass, derive_due_holds, run_pass

    def work(instance: Any, engine: Engine, accesses: Any) -> Pass:
        done = run_pass(instance, engine, accesses)
        # Once, as nothing of the platform's waits for it.
        held = derive_due_holds(instance, engine, accesses) if done.finished else []
        return Pass((*done.runs, *held), done.finished and all(run.success for run in held))

    perform(shops, as_json, "sync", work)


@click.command()
@SHOP
@JSON
def decide(shops: tuple[str, ...], as_json: bool) -> None:
    """Make today's lists now instead of at 06:00: stock, stuck parcels, what to buy, what to send.

    Reads what sync has loaded, and writes stock back where write_stock is on, as every morning; status and the
    commands restock, ship-list and follow-ups show what came of it.
    """
    from order_pipeline.commands.passes import decide as make_decisions

    perform(shops, as_json, "decisions", lambda instance, _engine, accesses: make_decisions(instance, accesses))


@click.command()
@click.option("--from", "first", required=True, type=click.DateTime(["%Y-%m-%d"]), help="First day.")
@click.option("--to", "last", required=True, type=click.DateTime(["%Y-%m-%d"]), help="Last day.")
@click.option("--refetch", is_flag=True, help="Fetch the details of known orders and refunds again, changed or not.")
@SHOP
@JSON
def backfill(first: datetime, last: datetime, refetch: bool, shops: tuple[str, ...], as_json: bool) -> None:
    """Load these days (Asia/Shanghai) again: orders created, refunds last changed. Safe: never older over newer."""
    from order_pipeline.commands.passes import Pass, load_history, load_refunds
    from order_pipeline.sync.windows import days_between

    days = _checked_days(first.date(), last.date())

    def work(instance: Any, _engine: Any, accesses: Any) -> Pass:
        span = list(days_between(*days))
        shop_ids = [access.shop.id for access in accesses]
        runs = load_history(instance, span, shop_ids, refetch=refetch)
        if all(run.success for run in runs):
            runs += load_refunds(instance, span, shop_ids, whole_days=True, refetch=refetch)
        return Pass(tuple(runs), finished=all(run.success for run in runs))

    perform(shops, as_json, f"backfill of {days[0]} to {days[1]}", work)


@click.command()
@click.argument("shop_id", metavar="SHOP")
@click.argument("order_ids", metavar="[ORDER]...", nargs=-1)
@click.option("--refund", "refund_ids", multiple=True, help="A refund's number; may be given several times.")
@JSON
def refetch(shop_id: str, order_ids: tuple[str, ...], refund_ids: tuple[str, ...], as_json: bool) -> None:
    """Fetch single orders or refunds once more and load them, whatever the tables hold.

    Exits with 1 if one is not in the tables as the platform answered.
    """
    from order_pipeline.commands.interventions import refetch_records

    if not order_ids and not refund_ids:
        raise click.UsageError("name orders, or refunds with --refund")
    with opened_shop(shop_id, "refetch") as (engine, shop, _shops):
        well = refetch_records(engine, shop, order_ids, refund_ids, as_json=as_json)
    sys.exit(0 if well else UNDONE)


@click.command()
@JSON
def status(as_json: bool) -> None:
    """Show how far the pipeline is, shop by shop. Asks no platform."""
    from order_pipeline.commands.environment import open_warehouse, put_databases_in_environment
    from order_pipeline.commands.status import show
    from order_pipeline.resources.addresses import configured_shops

    with one_line_errors():
        put_databases_in_environment()
        with open_warehouse(upgrade=False) as engine:
            show(engine, configured_shops(or_none=True), as_json=as_json)


@click.command()
@JSON
def doctor(as_json: bool) -> None:
    """Try everything that a sync needs, and say what is wrong and how to mend it."""
    from order_pipeline.commands.doctor import report

    with one_line_errors():
        well = report(as_json=as_json)
    sys.exit(0 if well else UNDONE)


def _checked_days(first: date, last: date) -> tuple[date, date]:
    """Return the span cut to what has begun. Raises click.BadParameter for a span that cannot be loaded."""
    from datetime import UTC, timedelta

    from order_pipeline.sync.windows import HISTORY_DAYS, day_of

    today = day_of(datetime.now(UTC))
    if first > last:
        raise click.BadParameter(f"--from {first} lies after --to {last}; swap them")
    if first > today:
        raise click.BadParameter(f"--from {first} lies in the future; today in Shanghai is {today}")
    oldest = today - timedelta(days=HISTORY_DAYS)
    if first < oldest:
        raise click.BadParameter(f"--from {first}: the platform lists three months only; begin at {oldest} or later")
    return first, min(last, today)
