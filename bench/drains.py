"""Details as fast as they come: without a limit, and against a rate budget while every call takes its time.

Belongs here: draining a worklist under a limit and a latency, and a backfill against its bare calls. Not here: the
budget alone (budget.py), lists (peers.py).

python -m bench.drains drain|backfill|bare DATABASE_URL SANDBOX_URL CALLS_PER_MINUTE
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import requests
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from bench.stage import Stage, Stopwatch, in_own_process, opened, stage
from order_pipeline.commands.passes import load_history
from order_pipeline.configuration import DATABASE_URL
from order_pipeline.platforms.protocol import Window
from order_pipeline.sync.access import open_shop
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.windows import created_window, due_history_days
from order_pipeline.traffic.budget import CREDIT_SECONDS
from order_pipeline.warehouse.database import transaction

DAYS = 5
BACKFILL_DAYS = 90
LATENCY_MILLISECONDS = 50
# Requests that a script without any storing keeps in flight.
BARE_LISTS, BARE_DETAILS = 3, 8
# As dagster.yaml has it.
QUIET = {"python_logs": {"python_log_level": "WARNING"}}
DETAIL = "taobao.trade.fullinfo.get"


def against_the_budget(calls_per_minute: int, milliseconds: int, seconds: int, console: Console) -> dict[str, float]:
    """Drain a worklist for about so long where each call takes so many milliseconds; the budget is to be filled."""
    orders = max(calls_per_minute * seconds // 60, 10)
    with stage(orders, DAYS) as on:
        database = on.database()
        in_own_process("bench.load", "lists", database, on.url, str(DAYS))
        latency = {"name": "latency", "rate": 1.0, "milliseconds": milliseconds, "method": DETAIL}
        requests.post(f"{on.url}/sandbox/faults", json=latency, timeout=10).raise_for_status()
        ran = in_own_process("bench.drains", "drain", database, on.url, str(calls_per_minute))
    table = Table(title=f"details at {milliseconds} ms a call within {calls_per_minute:,} calls a minute, one process")
    for heading in ("orders", "seconds", "calls/s", "of the budget's pace"):
        table.add_column(heading, justify="right")
    used = ran["calls"] / (calls_per_minute * (ran["seconds"] + CREDIT_SECONDS) / 60)
    table.add_row(
        f"{ran['calls']:,.0f}", f"{ran['seconds']:.1f}", f"{ran['calls'] / ran['seconds']:,.0f}", f"{used:.1%}"
    )
    console.print(table)
    return {"budget_used_with_latency": round(used, 3)}


def backfill(orders: int, milliseconds: Sequence[int], console: Console) -> dict[str, float]:
    """A backfill of 90 days, lists and details, against the bare calls it makes, at each of these latencies.

    Bare: the same calls in as many requests, some at once, read, and put nowhere.
    """
    table = Table(title=f"backfill of {BACKFILL_DAYS} days, {orders:,} orders with details, against its calls alone")
    for heading in ("a call takes", "as Dagster runs, s", "calls", "its calls alone, s", "ratio"):
        table.add_column(heading, justify="right")
    ratios = {}
    with stage(orders, BACKFILL_DAYS) as on, on.as_shops_file():
        for latency in milliseconds:
            fault = {"name": "latency", "rate": 1.0, "milliseconds": latency}
            requests.post(f"{on.url}/sandbox/faults", json=fault, timeout=10).raise_for_status()
            database = on.database()
            ours = in_own_process("bench.drains", "backfill", database, on.url, "0")
            bare = in_own_process("bench.drains", "bare", database, on.url, "0")
            ratios[latency] = ours["seconds"] / bare["seconds"]
            table.add_row(
                f"{latency} ms",
                f"{ours['seconds']:.1f}",
                f"{ours['calls']:,.0f}",
                f"{bare['seconds']:.1f}",
                f"{ratios[latency]:.2f}",
            )
    console.print(table)
    return {
        "backfill_vs_calls": round(ratios[max(ratios)], 2),
        "backfill_vs_calls_by_latency": {f"{latency}": round(ratio, 2) for latency, ratio in ratios.items()},  # type: ignore[dict-item]
    }


def main(what: str, database_url: str, sandbox_url: str, calls_per_minute: int) -> dict[str, float]:
    """Do it in this process and say how long it took."""
    shop = replace(Stage(sandbox_url, None).shop, calls_per_minute=calls_per_minute or None)  # type: ignore[arg-type]
    if what == "bare":
        access = open_shop(shop)
        watch = Stopwatch()
        now = access.platform.now()
        windows = [window for day in due_history_days(now, now, set()) if (window := created_window(day, now))]

        def ids_of(window: Window) -> list[str]:
            return [order.order_id for page in access.platform.created_orders(window) for order in page.orders]

        with ThreadPoolExecutor(BARE_LISTS) as pool:
            order_ids = [order_id for listed in pool.map(ids_of, windows) for order_id in listed]
        most = access.platform.details_at_once
        requests_of = [order_ids[start : start + most] for start in range(0, len(order_ids), most)]
        with ThreadPoolExecutor(BARE_DETAILS) as pool:
            list(pool.map(access.platform.orders, requests_of))
        return {"seconds": watch.seconds, "calls": access.calls.total}
    with opened(database_url) as engine:
        access = open_shop(shop, engine)
        watch = Stopwatch()
        if what == "drain":
            access.platform.now()
            watch = Stopwatch()
            drain(access, engine)
            return {"seconds": watch.seconds, "calls": access.calls.total}
        os.environ[DATABASE_URL] = database_url
        now = access.platform.now()
        with dg.DagsterInstance.ephemeral(settings=QUIET) as instance:
            runs = load_history(instance, due_history_days(now, now, set()), [shop.id])
        if not all(run.success for run in runs):
            raise RuntimeError(f"the backfill failed: {runs}")
        seconds = watch.seconds
        with transaction(engine) as connection:
            calls = connection.execute(text("SELECT count(*) FROM sync.call")).scalar()
        return {"seconds": seconds, "calls": int(calls or 0)}


if __name__ == "__main__":
    what, database_url, sandbox_url, calls_per_minute = sys.argv[1:]
    print(json.dumps(main(what, database_url, sandbox_url, int(calls_per_minute))))
