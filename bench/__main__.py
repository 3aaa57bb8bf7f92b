"""make bench: prints the tables, and one JSON object as the last line.

Every speed stands beside a hand-written floor measured in the same run, since machines are noisy: trust the ratios.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.budget import measure
from bench.freshness import SILENCE_SECONDS
from bench.stage import in_own_process, stage

DAYS = 20
IMPORT_TIMES = 5
IDLE_SHOPS = (1, 20)


def main() -> None:
    """Measure, print, and end with the figures as JSON."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--orders", type=int, default=50_000, help="orders in the list measurements")
    parser.add_argument("--details", type=int, default=4_000, help="orders in the detail measurement")
    parser.add_argument("--large", type=int, default=100_000, help="orders in the memory measurement; 0 leaves it out")
    parser.add_argument(
        "--budget-seconds", type=int, default=75, help="of the rate budget measurement; 0 leaves it out"
    )
    parser.add_argument(
        "--changes", type=int, default=300, help="in the freshness measurement (about ten minutes); 0 leaves it out"
    )
    parser.add_argument("--silences", type=int, default=4, help="before first changes in the freshness measurement")
    parser.add_argument(
        "--idle-minutes", type=float, default=0, help="measure what idling costs, with one shop and with twenty"
    )
    options = parser.parse_args()
    console = Console(stderr=True, width=110)
    figures = lists(options.orders, console) | details(options.details, console)
    if options.large:
        figures |= memory(options.large, console)
    if options.budget_seconds:
        figures |= rate_budget(options.budget_seconds, console)
    figures |= imports(console)
    if options.changes:
        figures |= ages(options.changes, options.silences, console)
    if options.idle_minutes:
        figures |= idling(options.idle_minutes, console)
    print(json.dumps(figures))


def lists(orders: int, console: Console) -> dict[str, float]:
    """The list path and the floor, on the same orders in the same minutes."""
    with stage(orders, DAYS) as on:
        bare = in_own_process("bench.floor", "bare", on.database(), on.url, str(DAYS))
        raw = in_own_process("bench.floor", "raw", on.database(), on.url, str(DAYS))
        ours = in_own_process("bench.load", "lists", on.database(), on.url, str(DAYS))
        parts = in_own_process("bench.where", on.database(), on.url, str(DAYS))
    table = Table(title=f"list pages into tables, {int(ours['orders']):,} orders")
    for heading in ("", "orders/s", "seconds", "calls", "of the raw floor"):
        table.add_column(heading, justify="right" if heading else "left")
    speed = raw["orders"] / raw["seconds"]
    for name, run in (
        ("floor by hand: requests, COPY, merge", bare),
        ("the same, raw JSON of each order kept", raw),
        ("order_pipeline: raw pages, lines, worklist", ours),
    ):
        its = run["orders"] / run["seconds"]
        table.add_row(name, f"{its:,.0f}", f"{run['seconds']:.1f}", f"{int(run['calls']):,}", f"{its / speed:.0%}")
    console.print(table)
    where = Table(title="where the list path's time goes: each stage alone; the first overlaps the others when it runs")
    for heading in ("stage", "seconds", "share"):
        where.add_column(heading, justify="left" if heading == "stage" else "right")
    total = sum(seconds for name, seconds in parts.items() if name != "orders")
    for name, seconds in parts.items():
        if name != "orders":
            where.add_row(name, f"{seconds:.2f}", f"{seconds / total:.0%}")
    console.print(where)
    return {
        "list_orders_per_s": round(ours["orders"] / ours["seconds"]),
        "floor_orders_per_s": round(bare["orders"] / bare["seconds"]),
        "raw_floor_orders_per_s": round(speed),
        "first_load_vs_raw_floor": round(ours["orders"] / ours["seconds"] / speed, 3),
        # Pages at their fullest; the walk's shared seconds and the one look at the clock are the rest.
        "list_calls_vs_minimum": round(ours["calls"] / raw["calls"], 3),
    }


def details(orders: int, console: Console) -> dict[str, float]:
    """One detail call an order."""
    with stage(orders, DAYS) as on:
        database = on.database()
        listed = in_own_process("bench.load", "lists", database, on.url, str(DAYS))
        ours = in_own_process("bench.load", "details", database, on.url, str(DAYS))
    table = Table(title=f"details, one call an order, {int(ours['orders']):,} orders")
    for heading in ("orders/s", "seconds", "calls", "CPU ms an order", "calls of both halves against the minimum"):
        table.add_column(heading, justify="right")
    pages = listed["calls"] - 1
    ratio = (listed["calls"] + ours["calls"]) / (pages + ours["orders"])
    table.add_row(
        f"{ours['orders'] / ours['seconds']:,.0f}",
        f"{ours['seconds']:.1f}",
        f"{int(ours['calls']):,}",
        f"{ours['cpu_seconds'] / ours['orders'] * 1000:.2f}",
        f"{ratio:.3f}",
    )
    console.print(table)
    return {"details_per_s": round(ours["orders"] / ours["seconds"]), "calls_vs_minimum": round(ratio, 3)}


def memory(orders: int, console: Console) -> dict[str, float]:
    """Peak memory of a run that lists, for a tenth of the history and for all of it."""
    peaks = []
    for size in (orders // 10, orders):
        with stage(size, DAYS) as on, on.as_shops_file():
            peaks.append(in_own_process("bench.load", "run", on.database(), on.url, str(DAYS))["peak_mb"])
    table = Table(title="peak memory of a Dagster run that loads lists, Dagster itself included")
    table.add_column("orders", justify="right")
    table.add_column("MB", justify="right")
    for size, peak in zip((orders // 10, orders), peaks, strict=True):
        table.add_row(f"{size:,}", f"{peak:.0f}")
    console.print(table)
    return {"peak_mb": round(peaks[1]), "peak_mb_growth": round(peaks[1] / peaks[0], 2)}


def rate_budget(seconds: int, console: Console) -> dict[str, float]:
    """Four processes that share a limit of 600 calls a minute: how much of it they use, and whether they pass it."""
    ran = measure(600, 4, seconds)
    table = Table(title=f"one rate budget of 600 calls a minute, 4 processes, {seconds} s")
    for name in ran:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{value:,.3g}" if isinstance(value, float) else f"{value}" for value in ran.values()))
    console.print(table)
    used = ran["share_of_last_minute"] or ran["share_of_pace"]
    return {"budget_used": round(used, 3), "over_budget": ran["refused"]}


def imports(console: Console) -> dict[str, float]:
    """What importing the definitions adds to importing dagster."""
    script = (
        "import time; import dagster; began = time.perf_counter(); import order_pipeline.definitions; "
        "print(time.perf_counter() - began)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    seconds = median(float(subprocess.check_output(command, text=True)) for _ in range(IMPORT_TIMES))
    console.print(f"importing order_pipeline.definitions adds {seconds:.2f} s (median of {IMPORT_TIMES})")
    return {"import_s": round(seconds, 3)}


def ages(changes: int, silences: int, console: Console) -> dict[str, float]:
    """How old a change is when bi.orders shows it, under order-pipeline dev."""
    ran = in_own_process("bench.freshness", str(changes), str(silences))
    table = Table(title=f"from a change on the platform to bi.orders under dev, {changes} changes a way, seconds")
    for heading in ("", "p95"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figure in (
        ("while changes flow", "freshness_p95_s"),
        (f"the first after {SILENCE_SECONDS:.0f} s of silence", "freshness_after_silence_p95_s"),
        ("with the messages off, by the lists", "freshness_messages_off_p95_s"),
        ("(from order-pipeline dev to a usable UI)", "ui_usable_s"),
    ):
        table.add_row(name, f"{ran[figure]:.1f}")
    console.print(table)
    return ran


def idling(minutes: float, console: Console) -> dict[str, float]:
    """What everything under order-pipeline dev costs while nothing changes."""
    figures = {}
    table = Table(title=f"nothing changes for {minutes:g} minutes, everything under dev")
    for heading in ("shops", "share of a core", "growth of Dagster's storage, MB a day"):
        table.add_column(heading, justify="right")
    for shops in IDLE_SHOPS:
        ran = in_own_process("bench.freshness", "idle", str(minutes), str(shops))
        table.add_row(str(shops), f"{ran['idle_core_share']:.1%}", f"{ran['idle_storage_mb_per_day']:.1f}")
        figures |= {f"{name}_{shops}": value for name, value in ran.items() if name != "idle_shops"}
    console.print(table)
    return figures


if __name__ == "__main__":
    main()
