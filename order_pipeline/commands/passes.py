"""One pass over everything that is due, as Dagster runs: what sync and demo repeat.

Belongs here: deciding which job is next and running it until nothing is due. Not here: what is printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import dagster as dg
from sqlalchemy import Engine

from order_pipeline.commands.runs import RunOutcome, run_job
from order_pipeline.configuration import days_per_run
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import DueWork, due_refunds, due_work, no_work
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.presale_holds import count_newer_lines
from order_pipeline.warehouse.subjects import ORDERS, REFUNDS, Subject
from order_pipeline.warehouse.worklist import depth

# Details that were asked for within their own second are due again 3 s later; a pass waits for those.
LONGEST_WAIT_SECONDS = 5.0


class Pass(NamedTuple):
    """The runs of a pass, and whether everything that was due when it began is done."""

    runs: tuple[RunOutcome, ...]
    finished: bool


def run_pass(instance: dg.DagsterInstance, engine: Engine, accesses: Sequence[ShopAccess]) -> Pass:
    """Run what is due for these shops: the first load, messages and changes up to now, the details, the refunds.

    A failed run ends it; what changes meanwhile is the next pass's.

    Raises ShopsFailedError when a shop cannot be asked what is due.
    """
    shop_ids = [access.shop.id for access in accesses]
    runs: list[RunOutcome] = []
    history = _due_days(accesses, engine, lambda work: work.history_days)
    if history:
        runs += load_history(instance, history, shop_ids)
    # What they announce is due with the changes; a queue that cannot be read is logged, and the lists bring the same.
    read_messages(accesses, engine)
    for is_second in (False, True):
        if runs and not runs[-1].success:
            break
        if is_second and not _wait_for_due(engine, shop_ids):
            break
        changed = _due_days(accesses, engine, lambda work: work.changed_days)
        if changed:
            runs.append(run_job(instance, "sync_orders", changed, config=_narrowed("increment_pages", shop_ids)))
    for is_second in (False, True):
        if runs and not runs[-1].success:
            break
        if is_second and not _wait_for_due(engine, shop_ids, REFUNDS):
            break
        days = _due_days(accesses, engine, lambda work: work.changed_days, due_refunds)
        if days:
            runs += load_refunds(instance, days, shop_ids)
    return Pass(tuple(runs), finished=all(run.success for run in runs))


def follow_parcels(instance: dg.DagsterInstance, accesses: Sequence[ShopAccess]) -> Pass:
    """Follow the parcels of these shops, and look which of them are stuck."""
    config = {"shops": [access.shop.id for access in accesses]}
    today = day_of(datetime.now(UTC))
    run = run_job(instance, "follow_parcels", [today], config={"shipment_traces": config, "logistics_alerts": config})
    return Pass((run,), finished=run.success)


def decide(
    instance: dg.DagsterInstance, accesses: Sequence[ShopAccess], *, with_stock: Callable[[], object] | None = None
) -> Pass:
    """Make today's decisions, as a morning does: stock, parcels, purchase list, ship list. A failed run ends it.

    ``with_stock``: done once the stock is known.
    """
    config = {"shops": [access.shop.id for access in accesses]}
    today = [day_of(datetime.now(UTC))]
    stock = dict.fromkeys(("presale_holds", "inventory_levels", "stock_writes"), config)
    runs = [run_job(instance, "inventory", today, config=stock)]
    if runs[-1].success:
        if with_stock:
            with_stock()
        parcels = follow_parcels(instance, accesses)
        runs += parcels.runs
    if runs[-1].success:
        lists = dict.fromkeys(("daily_sku_sales", "demand_forecast", "restock_suggestions", "ship_list"), config)
        runs.append(run_job(instance, "restock", today, config=lists))
    return Pass(tuple(runs), finished=all(run.success for run in runs))


def derive_due_holds(instance: dg.DagsterInstance, engine: Engine, accesses: Sequence[ShopAccess]) -> list[RunOutcome]:
    """Bring the holds of pre-sales up to the tables, where any line is newer than its hold."""
    shop_ids = [access.shop.id for access in accesses]
    with transaction(engine) as connection:
        newer = [shop_id for shop_id in shop_ids if count_newer_lines(connection, shop_id)]
    config = {"presale_holds": {"shops": newer}}
    return [run_job(instance, "derive_holds", [day_of(datetime.now(UTC))], config=config)] if newer else []


def _due_days(
    accesses: Sequence[ShopAccess],
    engine: Engine,
    days_of: Callable[[DueWork], tuple[date, ...]],
    due: Callable[[ShopAccess, Engine], DueWork] = due_work,
) -> list[date]:
    works = for_each_shop(accesses, engine, lambda access: due(access, engine), skipped=no_work)
    return sorted({day for work in works for day in days_of(work)})


def _wait_for_due(engine: Engine, shop_ids: Sequence[str], subject: Subject = ORDERS) -> bool:
    """Wait until the orders or refunds that are due in a moment are; return whether there are any."""
    with transaction(engine) as connection:
        waits = [depth(connection, shop_id, subject=subject).next_due_seconds for shop_id in shop_ids]
    soon = [wait for wait in waits if wait is not None and wait <= LONGEST_WAIT_SECONDS]
    if soon:
        time.sleep(max(soon) + 0.1)
    return bool(soon)


def load_history(
    instance: dg.DagsterInstance, days: Sequence[date], shop_ids: Sequence[str], *, refetch: bool = False
) -> list[RunOutcome]:
    """Load created-days in runs of a month each (unless configured), oldest first; stop after a failed one."""
    runs: list[RunOutcome] = []
    length = days_per_run()
    for start in range(0, len(days), length):
        span = days[start : start + length]
        runs.append(
            run_job(instance, "load_history", span, config=_narrowed("history_pages", shop_ids, refetch=refetch))
        )
        if not runs[-1].success:
            break
    return runs


def load_refunds(
    instance: dg.DagsterInstance,
    days: Sequence[date],
    shop_ids: Sequence[str],
    *,
    whole_days: bool = False,
    refetch: bool = False,
) -> list[RunOutcome]:
    """Load days of changes of refunds in runs of a month each, oldest first; stop after a failed one."""
    config: dict[str, dict[str, Any]] = {
        "refund_pages": {"shops": list(shop_ids), "whole_day": whole_days},
        "refunds": {"shops": list(shop_ids), "refetch": refetch},
    }
    runs: list[RunOutcome] = []
    length = days_per_run()
    for start in range(0, len(days), length):
        runs.append(run_job(instance, "sync_refunds", days[start : start + length], config=config))
        if not runs[-1].success:
            break
    return runs


def _narrowed(listing: str, shop_ids: Sequence[str], *, refetch: bool = False) -> dict[str, dict[str, Any]]:
    return {
        listing: {"shops": list(shop_ids)},
        "fullinfo_orders": {"shops": list(shop_ids), "refetch": refetch},
    }
