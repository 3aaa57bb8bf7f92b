"""make simulate: a big sale's day of 10, 1,000 and 100,000 shops, minute by minute, and what cannot keep up first.

What a unit of work costs is measured (bench/costs.py); how much work there is, is assumed, below and in the options.
The last line is JSON. docs/scale.md says what came of it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.costs import MEASURED, Costs, measure
from order_pipeline.automation.sensors import CALLS_SECONDS, POLL_SECONDS, SHOPS_AT_ONCE

SHOPS = (10, 1_000, 100_000)

# Orders of a shop in a day: half of the shops have fewer than 60, the mean is 150, a few have tens of thousands.
MEDIAN_ORDERS, SPREAD = 60.0, 1.35
# Placed, paid, sent, signed, finished; some change more often.
CHANGES_AN_ORDER = 5.0
# An ordinary day: quiet in the morning's small hours, busiest at nine in the evening.
QUIETEST, BUSIEST_HOUR = 0.15, 21
# The first hour of a big sale, and how many times an ordinary evening's minute it brings.
SALE_HOUR, SALE_FACTOR = 20, 12.0

# Of a list.
ORDERS_A_PAGE = 100
# A call over the internet; the sandbox answers in a millisecond.
CALL_LATENCY_SECONDS = 0.05
# What one run of the pipeline writes to Dagster's event log, and the room each event takes there.
EVENTS_A_RUN, EVENT_BYTES = 222, 1_300
# A run that finds work goes on for about that long, so that there are not more of them in a minute.
SECONDS_BETWEEN_RUNS = 20.0
# Work of a processor that a process gives to a machine, and how full anything may be planned.
COMFORTABLE = 0.7


class Machine(NamedTuple):
    """What one installation has: a cell, when there are several."""

    worker_cores: float = 2.0
    database_cores: float = 2.0
    log_megabytes_per_second: float = 60.0
    dagsters: int = 1
    shops_an_app: int = 1
    calls_per_minute: int = 6_000


class Minute(NamedTuple):
    """How full each part was in a minute: 1 is all that it can do."""

    looks: float
    budget: float
    workers: float
    database: float
    log: float


class Day(NamedTuple):
    """A day of one cell: the fullest each part was, how late a change came at most (minutes), and what it left."""

    fullest: Minute
    latest_minutes: float
    runs: float
    events_gigabytes: float
    disk_gigabytes: float
    orders: float


def sizes(shops: int, seed: int = 1) -> list[float]:
    """Return orders a day of each shop."""
    chance = random.Random(seed)
    return [chance.lognormvariate(math.log(MEDIAN_ORDERS), SPREAD) for _ in range(shops)]


def share_of_minute(minute: int, sale_factor: float) -> float:
    """Return the share of an ordinary day's orders that a minute brings. Pure."""
    hours = minute / 60 - BUSIEST_HOUR
    wave = QUIETEST + (1 - QUIETEST) * (0.5 + 0.5 * math.cos(2 * math.pi * hours / 24)) ** 2
    # The mean of a squared raised cosine is three eighths.
    ordinary = wave / (QUIETEST + (1 - QUIETEST) * 0.375) / 1_440
    return ordinary * (sale_factor if minute // 60 == SALE_HOUR else 1.0)


def simulate(orders_a_day: list[float], machine: Machine, costs: Costs, sale_factor: float) -> Day:
    """Play a day of one cell. What cannot be done in its minute waits for the next."""
    shops, daily = len(orders_a_day), sum(orders_a_day)
    apps = _per_app(orders_a_day, machine.shops_an_app)
    looks_a_minute = 60 / max(POLL_SECONDS, _tick_seconds(shops, machine, costs))
    runs_a_minute = 60 / SECONDS_BETWEEN_RUNS * machine.dagsters
    waiting, latest, fullest = 0.0, 0.0, Minute(0, 0, 0, 0, 0)
    for minute in range(1_440):
        changes = daily * share_of_minute(minute, sale_factor) * CHANGES_AN_ORDER
        load = Minute(
            looks=_tick_seconds(shops, machine, costs) / CALLS_SECONDS,
            budget=max(
                _calls(
                    app.shops,
                    app.orders * share_of_minute(minute, sale_factor) * CHANGES_AN_ORDER,
                    looks_a_minute,
                    costs,
                )
                for app in apps
            )
            / machine.calls_per_minute,
            workers=(
                changes * (costs.detail_seconds + costs.list_seconds)
                + shops * looks_a_minute * costs.look_seconds
                + runs_a_minute * costs.run_seconds
            )
            / (60 * machine.worker_cores),
            database=(
                changes * (costs.detail_database_seconds + costs.list_database_seconds)
                + shops * looks_a_minute * costs.look_database_seconds
            )
            / (60 * machine.database_cores),
            log=changes * costs.detail_log_bytes / 60e6 / machine.log_megabytes_per_second,
        )
        fullest = Minute(*map(max, fullest, load))
        # The narrowest part lets so many of the minute's changes through.
        narrowest = max(load.budget, load.workers, load.database, load.log)
        capacity = changes / narrowest if narrowest else math.inf
        waiting = max(0.0, waiting + changes - capacity)
        latest = max(latest, waiting / capacity)
    day_orders = daily * sum(share_of_minute(minute, sale_factor) for minute in range(1_440))
    runs = runs_a_minute * 1_440
    return Day(
        fullest,
        latest,
        runs,
        runs * EVENTS_A_RUN * EVENT_BYTES / 1e9,
        day_orders * costs.order_disk_bytes / 1e9,
        day_orders,
    )


class _App(NamedTuple):
    shops: int
    orders: float


def _per_app(orders_a_day: list[float], shops_an_app: int) -> list[_App]:
    """Return the heaviest app key of each size: all others have less to do."""
    groups = [orders_a_day[start : start + shops_an_app] for start in range(0, len(orders_a_day), shops_an_app)]
    heaviest = max(groups, key=sum)
    return [_App(len(heaviest), sum(heaviest))]


def _tick_seconds(shops: int, machine: Machine, costs: Costs) -> float:
    """Return how long an instance looks at all its shops: some at once, as they mostly wait for answers."""
    waiting = costs.look_calls * CALL_LATENCY_SECONDS / SHOPS_AT_ONCE
    return shops / machine.dagsters * (costs.look_seconds + costs.look_database_seconds + waiting)


def _calls(shops: int, changes: float, looks_a_minute: float, costs: Costs) -> float:
    return shops * looks_a_minute * costs.look_calls + changes * (1 + 1 / ORDERS_A_PAGE)


PARTS: dict[str, Callable[[Minute], float]] = {
    "looks at all shops in a tick": lambda minute: minute.looks,
    "rate budget of the busiest app key": lambda minute: minute.budget,
    "processors of runs and sensors": lambda minute: minute.workers,
    "processors of Postgres": lambda minute: minute.database,
    "write-ahead log": lambda minute: minute.log,
}


def breaking_point(part: str, machine: Machine, costs: Costs, sale_factor: float) -> int:
    """Return with how many shops one installation's part is full (a million: with none of them)."""
    few, many = 1, 1_000_000
    while few < many:
        middle = (few + many) // 2
        # A shop more is a shop of the mean: the sum of many is what counts here.
        mean = MEDIAN_ORDERS * math.exp(SPREAD**2 / 2)
        if PARTS[part](simulate([mean] * min(middle, 100_000), machine, costs, sale_factor).fullest) >= 1:
            many = middle
        elif middle >= 100_000:
            return 1_000_000
        else:
            few = middle + 1
    return few


def layout_for(shops: int, costs: Costs, sale_factor: float, shops_an_app: int) -> tuple[int, Machine, Day]:
    """Return how many cells carry so many shops, what each has, and its day: none of it fuller than is comfortable."""
    every = sizes(shops)
    cells = 1
    while True:
        # The heaviest cell is what has to be carried; shops are dealt out like cards, the largest first.
        cell = sorted(every, reverse=True)[::cells]
        machine = _machine_for(cell, costs, sale_factor, shops_an_app)
        if machine.database_cores <= 16 and machine.dagsters <= 24:
            return cells, machine, simulate(cell, machine, costs, sale_factor)
        cells += max(1, cells // 4)


def _machine_for(cell: list[float], costs: Costs, sale_factor: float, shops_an_app: int) -> Machine:
    machine = Machine(shops_an_app=min(shops_an_app, len(cell)))
    locations = math.ceil(_tick_seconds(len(cell), machine, costs) / (POLL_SECONDS * COMFORTABLE))
    machine = machine._replace(dagsters=max(1, locations))
    fullest = simulate(cell, machine, costs, sale_factor).fullest
    return machine._replace(
        worker_cores=max(2.0, math.ceil(machine.worker_cores * fullest.workers / COMFORTABLE)),
        database_cores=max(2.0, math.ceil(machine.database_cores * fullest.database / COMFORTABLE)),
        log_megabytes_per_second=max(60.0, math.ceil(60 * fullest.log / COMFORTABLE)),
        calls_per_minute=max(600, math.ceil(machine.calls_per_minute * fullest.budget / COMFORTABLE)),
    )


def main() -> None:
    """Play, print, and end with the figures as JSON."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument(
        "--measure", action="store_true", help="measure the unit costs on this machine first (a minute)"
    )
    parser.add_argument(
        "--sale-factor", type=float, default=SALE_FACTOR, help="the sale's hour against an ordinary one"
    )
    parser.add_argument("--shops-an-app", type=int, default=100, help="shops that share an app key, as an ISV's do")
    options = parser.parse_args()
    console = Console(stderr=True, width=120)
    costs = measure() if options.measure else MEASURED
    _print_costs(costs, console)
    figures: dict[str, object] = {"costs": costs._asdict()}

    one = Machine(shops_an_app=options.shops_an_app)
    table = Table(title="one installation of 2 + 2 cores: with how many shops of 150 orders a day each part is full")
    table.add_column("part")
    table.add_column("shops", justify="right")
    points = {part: breaking_point(part, one, costs, options.sale_factor) for part in PARTS}
    for part, point in sorted(points.items(), key=lambda item: item[1]):
        table.add_row(part, f"{point:,}" if point < 1_000_000 else "more than 100,000")
    console.print(table)
    figures["full_with_shops"] = points

    table = Table(
        title=f"what carries it, no part over {COMFORTABLE:.0%} in the sale's first hour (x {options.sale_factor:g})"
    )
    rows: dict[str, list[str]] = {}
    for shops in SHOPS:
        cells, machine, day = layout_for(shops, costs, options.sale_factor, options.shops_an_app)
        shown = {
            "cells (a warehouse each)": f"{cells:,}",
            "Dagster instances a cell": f"{machine.dagsters:,}",
            "cores of runs and sensors a cell": f"{machine.worker_cores:,.0f}",
            "cores of Postgres a cell": f"{machine.database_cores:,.0f}",
            "write-ahead log MB/s a cell": f"{machine.log_megabytes_per_second * day.fullest.log:,.1f}",
            "calls a minute an app key needs": f"{machine.calls_per_minute:,}",
            "orders that day, all cells": f"{day.orders * cells:,.0f}",
            "latest change, minutes": f"{day.latest_minutes:.1f}",
            "runs a day a cell": f"{day.runs:,.0f}",
            "event log GB a day a cell": f"{day.events_gigabytes:.2f}",
            "raw and core GB a day a cell": f"{day.disk_gigabytes:.1f}",
        }
        for name, value in shown.items():
            rows.setdefault(name, []).append(value)
        figures[f"shops_{shops}"] = {"cells": cells, **machine._asdict(), "latest_minutes": day.latest_minutes}
    table.add_column("shops")
    for shops in SHOPS:
        table.add_column(f"{shops:,}", justify="right")
    for name, values in rows.items():
        table.add_row(name, *values)
    console.print(table)
    print(json.dumps(figures))


def _print_costs(costs: Costs, console: Console) -> None:
    table = Table(title="what a unit costs")
    table.add_column("")
    table.add_column("ms of a processor or bytes", justify="right")
    for name, value in costs._asdict().items():
        table.add_row(name.replace("_", " "), f"{value * 1000:,.2f}" if name.endswith("seconds") else f"{value:,.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
