"""make bench: prints the tables, and one JSON object as the last line.

Every speed stands beside a hand-written floor measured in the same run, since machines are noisy: trust the ratios.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench import growth, targets
from bench.budget import measure
from bench.calls import against_the_least
from bench.drains import against_the_budget, backfill
from bench.freshness import SILENCE_SECONDS
from bench.peers import loads
from bench.service import dev
from bench.stage import Stopwatch, in_own_process, stage

DAYS = 20
IMPORT_TIMES = 5
IDLE_SHOPS = (1, 20)
LATENCY_MILLISECONDS = 50
# On this machine an answer takes none; a real platform's take tens of milliseconds.
BACKFILL_MILLISECONDS = (0, 50)
SECTIONS = (
    "loads",
    "details",
    "budget",
    "latency",
    "calls",
    "backfill",
    "memory",
    "service",
    "growth",
    "imports",
    "freshness",
)
# Small they say little, and take half of the time: not part of --quick unless named.
NOT_QUICK = ("backfill", "growth", "freshness")
# Too long for every time: named by --only.
ON_DEMAND = ("idle",)


class Size(NamedTuple):
    """How much is measured: orders, repetitions, seconds a section."""

    orders: int
    repeats: int
    details: int
    budget_seconds: int
    latency_seconds: int
    calls_hours: float
    backfill_orders: int
    large: int
    service_seconds: int
    growth: tuple[int, int]
    changes: int
    silences: int
    idle_minutes: float


FULL = Size(50_000, 2, 6_000, 30, 20, 4, 20_000, 100_000, 30, (100_000, 500_000), 300, 3, 10)
QUICK = Size(5_000, 1, 1_500, 8, 8, 1, 500, 10_000, 10, (20_000, 100_000), 30, 1, 1)


def main() -> None:
    """Measure, print, and end with the figures as JSON."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and once each: rough figures in three minutes")
    parser.add_argument("--only", nargs="*", choices=(*SECTIONS, *ON_DEMAND), help="these sections alone")
    options = parser.parse_args()
    console = Console(stderr=True, width=140)
    size = QUICK if options.quick else FULL
    figures: dict[str, Any] = {"quick": options.quick}
    for name in options.only or [each for each in SECTIONS if not (options.quick and each in NOT_QUICK)]:
        watch = Stopwatch()
        figures |= _section(name, size, console)
        console.print(f"[dim]{name}: {watch.seconds:.0f} s[/]")
    targets.show(figures, console)
    console.print("pictures:", *(str(file) for file in targets.draw(figures)))
    print(json.dumps(figures))


def _section(name: str, size: Size, console: Console) -> dict[str, Any]:
    match name:
        case "loads":
            return loads(size.orders, DAYS, size.repeats, console) | where(size.orders, console)
        case "details":
            return details(size.details, console)
        case "budget":
            return rate_budget(size.budget_seconds, console)
        case "latency":
            return against_the_budget(6_000, LATENCY_MILLISECONDS, size.latency_seconds, console)
        case "calls":
            return against_the_least(size.calls_hours, console)
        case "backfill":
            return backfill(size.backfill_orders, BACKFILL_MILLISECONDS, console)
        case "memory":
            return memory(size.large, console)
        case "service":
            return dev(size.service_seconds, console)
        case "growth":
            return growth.measure(*size.growth, console)
        case "freshness":
            return ages(size.changes, size.silences, console)
        case "idle":
            return idling(size.idle_minutes, console)
        case _:
            return imports(console)


def where(orders: int, console: Console) -> dict[str, float]:
    """Where the list path's time goes."""
    with stage(orders, DAYS) as on:
        parts = in_own_process("bench.where", on.database(), on.url, str(DAYS))
    where = Table(title="where the list path's time goes: each stage alone; the first overlaps the others when it runs")
    for heading in ("stage", "seconds", "share"):
        where.add_column(heading, justify="left" if heading == "stage" else "right")
    total = sum(seconds for name, seconds in parts.items() if name != "orders")
    for name, seconds in parts.items():
        if name != "orders":
            where.add_row(name, f"{seconds:.2f}", f"{seconds / total:.0%}")
    console.print(where)
    return {}


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
    return {"details_per_s": round(ours["orders"] / ours["seconds"]), "first_load_calls_vs_minimum": round(ratio, 3)}


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


def rate_budget(seconds: int, console: Console) -> dict[str, Any]:
    """Processes that share a limit: how much of it they use, and whether they pass it."""
    table = Table(title=f"one rate budget, shared, {seconds} s each; the pace allows 97.6 %")
    ran = [measure(limit, processes, seconds) for limit in (600, 6_000) for processes in (1, 4)]
    for name in ran[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for case in ran:
        table.add_row(*(f"{value:,.3g}" if isinstance(value, float) else f"{value}" for value in case.values()))
    console.print(table)
    used = {f"{case['calls_per_minute']}x{case['processes']}": round(case["share_of_pace"], 3) for case in ran}
    return {
        "budget_used": min(used.values()),
        "budget_used_by_case": used,
        "over_budget": sum(case["refused"] for case in ran),
    }


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
    figures: dict[str, float] = {}
    table = Table(title=f"nothing changes for {minutes:g} minutes, everything under dev")
    columns = {
        "shops": "idle_shops",
        "share of a core": "idle_core_share",
        "of Postgres": "idle_postgres_core_share",
        "growth of the event log, MB a day": "idle_event_log_mb_per_day",
        "ticks kept, MB": "idle_ticks_mb_kept",
        "memory, MB": "idle_dev_mb",
    }
    for heading in columns:
        table.add_column(heading, justify="right")
    for shops in IDLE_SHOPS:
        ran = in_own_process("bench.idle", str(minutes), str(shops))
        table.add_row(
            *(f"{ran[name]:.1%}" if name.endswith("share") else f"{ran[name]:g}" for name in columns.values())
        )
        figures |= {f"{name}_{shops}": value for name, value in ran.items() if name != "idle_shops"}
    console.print(table)
    return figures


if __name__ == "__main__":
    main()
