"""order-pipeline demo: a shop's last 90 days and its changes, synced and proven, on a machine with nothing on it.

Belongs here: the play's acts and its result. Not here: any of the work.
"""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from order_pipeline.automation.schedules import DAYS_PROVEN
from order_pipeline.commands.demo_suppliers import load_demo_suppliers
from order_pipeline.commands.passes import Pass, decide, run_pass
from order_pipeline.commands.progress import shown_progress
from order_pipeline.commands.proof import (
    Proof,
    RefundProof,
    compare,
    compare_refunds,
    read_refund_truth,
    read_truth,
)
from order_pipeline.commands.runs import RunOutcome, run_job
from order_pipeline.commands.sandbox import STATE_FILE, SandboxBusyError, running_sandbox
from order_pipeline.configuration import home
from order_pipeline.resources.addresses import SANDBOX_FILE
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.windows import HISTORY_DAYS, SETTLE_LAG, day_of, day_window, days_between
from order_pipeline.warehouse import proofs
from order_pipeline.warehouse.calls import calls_since
from order_pipeline.warehouse.database import snapshot, transaction
from order_pipeline.warehouse.decision_counts import count_decisions
from order_pipeline.warehouse.orders import count_orders
from order_pipeline.warehouse.subjects import ORDERS, REFUNDS, Subject

# The truth is taken before the last pass, whose watermark has to pass that moment.
SETTLE_SECONDS = SETTLE_LAG.total_seconds() + 2
# Changes gather meanwhile: a pass for each would only make runs.
PAUSE_SECONDS = 2.0


class DemoResult(NamedTuple):
    """What the demo says at its end; times in seconds, ``proven``: equal to the platform and every run went well."""

    orders: int
    lines: int
    calls: dict[str, int]
    runs: int
    history_orders: int
    history_seconds: float
    orders_per_second: float
    seconds: float
    lost: int
    duplicated: int
    stale: int
    unknown: int
    days_red: int
    refunds: int
    refunds_lost: int
    refunds_duplicated: int
    refunds_stale: int
    refunds_unknown: int
    refund_days_red: int
    decisions: dict[str, int]
    decision_seconds: float
    proven: bool
    failures: tuple[str, ...]
    examples: tuple[str, ...]


def play(
    instance: dg.DagsterInstance,
    engine: Engine,
    access: ShopAccess,
    sandbox_url: str,
    *,
    live_seconds: float,
    console: Console,
) -> DemoResult:
    """Load the history, follow the changes for a while, then prove that the tables equal the platform.

    Raises ShopsFailedError when the sandbox cannot be asked, DatabaseUnreachableError without the warehouse.
    """
    shop_ids = [access.shop.id]
    began_at, started = datetime.now(UTC), time.monotonic()
    orders_before = _count(engine, shop_ids)
    runs: list[RunOutcome] = []
    with shown_progress(engine, shop_ids, console, f"history of {HISTORY_DAYS} days, with details"):
        runs += run_pass(instance, engine, [access]).runs
    history_seconds = time.monotonic() - started
    history_orders = _count(engine, shop_ids) - orders_before
    live_until = time.monotonic() + live_seconds
    with shown_progress(engine, shop_ids, console, "increments while orders change"):
        while time.monotonic() < live_until and all(run.success for run in runs):
            runs += run_pass(instance, engine, [access]).runs
            time.sleep(max(0.0, min(PAUSE_SECONDS, live_until - time.monotonic())))
    with shown_progress(engine, shop_ids, console, "last pass and proof"):
        last, proof, refunds = prove(instance, engine, access, sandbox_url)
    runs += last.runs
    with shown_progress(engine, shop_ids, console, f"the nightly proof of the last {DAYS_PROVEN} days"):
        night = prove_days(instance, shop_ids)
    runs.append(night)
    decided_at = time.monotonic()
    with shown_progress(engine, shop_ids, console, "what to buy, to send and to look after"):
        decided = decide(instance, [access], with_stock=lambda: load_demo_suppliers(engine, access.shop.id))
    runs += decided.runs
    decision_seconds = time.monotonic() - decided_at
    failures = tuple(failure for run in runs for failure in run.failures)
    with transaction(engine) as connection:
        calls = calls_since(connection, began_at)
        counts = count_decisions(connection, access.shop.id)._asdict()
    return DemoResult(
        orders=proof.orders,
        lines=proof.lines,
        calls=calls,
        runs=len(runs),
        history_orders=history_orders,
        history_seconds=round(history_seconds, 1),
        orders_per_second=round(history_orders / history_seconds, 1),
        seconds=round(time.monotonic() - started, 1),
        lost=proof.lost,
        duplicated=proof.duplicated,
        stale=proof.stale,
        unknown=proof.unknown,
        days_red=red_days(engine, shop_ids, ORDERS),
        refunds=refunds.refunds,
        refunds_lost=refunds.lost,
        refunds_duplicated=refunds.duplicated,
        refunds_stale=refunds.stale,
        refunds_unknown=refunds.unknown,
        refund_days_red=red_days(engine, shop_ids, REFUNDS),
        decisions={name: count for name, count in counts.items() if name != "stock_of"},
        decision_seconds=round(decision_seconds, 1),
        proven=proof.equal and refunds.equal and not failures and night.success,
        failures=failures,
        examples=proof.examples + refunds.examples,
    )


def prove(
    instance: dg.DagsterInstance, engine: Engine, access: ShopAccess, sandbox_url: str
) -> tuple[Pass, Proof, RefundProof]:
    """Make one more pass over everything that the platform knows by now, and compare."""
    # Orders from before the first load's reach are there only if they changed since.
    first_day = day_window(day_of(datetime.now(UTC)) - timedelta(days=HISTORY_DAYS - 1)).start
    since = f"{first_day:%F %T}"
    before = read_truth(sandbox_url, access.shop.id, created_from=since)
    refunds_before = read_refund_truth(sandbox_url, access.shop.id, modified_from=since)
    time.sleep(SETTLE_SECONDS)
    last = run_pass(instance, engine, [access])
    after = read_truth(sandbox_url, access.shop.id)
    refunds_after = read_refund_truth(sandbox_url, access.shop.id)
    with snapshot(engine) as connection:
        refunds = compare_refunds(connection, access.shop.id, refunds_before, refunds_after)
        return last, compare(connection, access.shop.id, before, after), refunds


def prove_days(instance: dg.DagsterInstance, shop_ids: list[str]) -> RunOutcome:
    """Run what runs every night at two: the days before today against the platform's own lists."""
    today = day_of(datetime.now(UTC))
    days = list(days_between(today - timedelta(days=DAYS_PROVEN), today - timedelta(days=1)))
    return run_job(instance, "reconcile", days, config={"daily_reconciliation": {"shops": shop_ids}})


def red_days(engine: Engine, shop_ids: list[str], subject: Subject) -> int:
    """Return how many days are proven to differ."""
    since = day_of(datetime.now(UTC)) - timedelta(days=DAYS_PROVEN)
    with transaction(engine) as connection:
        return len(proofs.red_days(connection, shop_ids, since, subject=subject))


def forget() -> None:
    """Delete what earlier demos left in the home folder. Raises SandboxBusyError while one is at work."""
    busy = running_sandbox()
    if busy:
        raise SandboxBusyError(f"--fresh: a demo or dev is at work here (process {busy['pid']}); stop it first")
    for name in ("postgres", "dagster", STATE_FILE, SANDBOX_FILE):
        left = home() / name
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def print_result(result: DemoResult, console: Console) -> None:
    """Print the result for a person."""
    table = Table(title="the tables against the platform", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    rows: list[tuple[str, Any]] = [
        ("orders", f"{result.orders:,}"),
        ("lines", f"{result.lines:,}"),
        ("calls used", f"{sum(result.calls.values()):,}"),
        *((f"  {method}", f"{count:,}") for method, count in result.calls.items()),
        ("history: orders/s, listed, detailed and loaded", f"{result.orders_per_second:,}"),
        ("Dagster runs", f"{result.runs}"),
        ("seconds", f"{result.seconds}"),
        ("lost", _judged(result.lost)),
        ("duplicated", _judged(result.duplicated)),
        ("stale", _judged(result.stale)),
        ("unknown to the platform", _judged(result.unknown)),
        (f"nightly proof: days of {DAYS_PROVEN} not equal", _judged(result.days_red)),
        ("refunds", f"{result.refunds:,}"),
        ("refunds lost", _judged(result.refunds_lost)),
        ("refunds duplicated", _judged(result.refunds_duplicated)),
        ("refunds stale", _judged(result.refunds_stale)),
        ("refunds unknown to the platform", _judged(result.refunds_unknown)),
        (f"nightly proof of refunds: days of {DAYS_PROVEN} not equal", _judged(result.refund_days_red)),
        ("SKUs to buy", f"{result.decisions['to_buy']:,}"),
        ("lines to send, held back", f"{result.decisions['to_send']:,}, {result.decisions['held_back']:,}"),
        ("parcels stuck, with any alert", f"{result.decisions['stuck']:,}, {result.decisions['alerts']:,}"),
        ("lines of pre-sales that hold stock", f"{result.decisions['open_holds']:,}"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)
    for line in (*result.failures, *result.examples):
        console.print(f"[red]{escape(line)}[/]", soft_wrap=True)
    if result.proven:
        console.print("[green]Every order, line by line, and every refund is as the platform has it.[/]")
    console.print("Open the runs, lineage and checks in Dagster's UI with: make dev   (or: order-pipeline dev)")


def _judged(count: int) -> str:
    return f"[{'red' if count else 'green'}]{count}[/]"


def _count(engine: Engine, shop_ids: list[str]) -> int:
    with transaction(engine) as connection:
        return count_orders(connection, shop_ids)
