"""What grows as the history grows: the same work with 100,000 and with 3,000,000 orders in the tables.

measure() is what other measurements use; by hand: python -m bench.growth [--small N] [--large N]. Needs about 3 GB of
disk a million orders while it runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

import requests
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from bench.history import fill, hurry
from bench.stage import Stage, Stopwatch, opened, stage
from order_pipeline.commands.status import gather
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_changes, list_history
from order_pipeline.sync.reconciliation import reconcile_day
from order_pipeline.sync.windows import SETTLE_LAG, day_of, due_history_days
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.orders import about_orders
from order_pipeline.warehouse.rules import COUNTS, KEYS, MONEY, breaches
from order_pipeline.warehouse.watermarks import mark_history_day
from order_pipeline.warehouse.worklist import Outcome, Said, depth, say_changed, settle, take, worker

SMALL, LARGE = 100_000, 3_000_000
# Loaded over the wire and worked on; the rest of the history is invented around them.
LOADED, LOADED_DAYS = 2_000, 5
# Changes of one pass, as of a busy minute.
CHANGES = 100
REPEATS = 5
# Questions are quick, so they can be asked more often.
ROUNDS_OF_QUESTIONS = 9
# Longer than details of an order may be of its own second, so that no pass has to come again for one.
REST_SECONDS = 3.5

QUERIES = Path(__file__).parent.parent / "docs" / "queries"
# What any dashboard asks for: days, statuses, SKUs, one order.
QUESTIONS = {
    "sales of the last 7 days": "SELECT * FROM bi.daily_sales WHERE day >= current_date - 7 ORDER BY day",
    "orders of a day by status": """
        SELECT status, count(*), sum(payment) FROM bi.orders WHERE shop_id = 'demo-shop'
          AND created_at >= date_trunc('day', now()) - interval '2 days' AND created_at < date_trunc('day', now())
        GROUP BY 1
    """,
    "what was paid and not sent for two days": """
        SELECT order_id, paid_at FROM bi.orders WHERE shop_id = 'demo-shop' AND status = 'WAIT_SELLER_SEND_GOODS'
          AND paid_at < now() - interval '2 days' AND paid_at > now() - interval '30 days'
    """,
    "pieces by SKU in a week": """
        SELECT i.sku_code, sum(i.net_quantity) FROM bi.orders o
        JOIN bi.order_items i ON i.shop_id = o.shop_id AND i.order_id = o.order_id
        WHERE o.shop_id = 'demo-shop' AND o.paid_at > now() - interval '7 days' GROUP BY 1 ORDER BY 2 DESC LIMIT 20
    """,
    "reserved stock": "SELECT * FROM bi.reserved_stock WHERE shop_id = 'demo-shop'",
}


class Work(NamedTuple):
    """Something that is done again and again: what it took, and with how many calls to the platform."""

    seconds: float
    calls: int = 0


PASS = "pass: 100 changes listed, fetched, loaded"
# So long is one thing repeated at most.
PATIENCE_SECONDS = 10.0
# So long is a question asked again and again: some take a tenth of a millisecond, less than the machine's noise.
ASKED_SECONDS = 0.05
# Plans are shown of questions that take this many times longer.
WORTH_EXPLAINING = 1.5

# What is held to 1.2; the others are shown.
HELD = ("pass", "day", "worklist")


class Side(NamedTuple):
    """One of the two warehouses: the same shop, loaded from the same sandbox, with few or with many orders besides."""

    engine: Engine
    access: ShopAccess


def measure(small: int, large: int, console: Console) -> dict[str, float]:
    """Fill two warehouses, do everything in turn in both, print it side by side and return the ratios."""
    with stage(LOADED, LOADED_DAYS) as on, opened(on.database()) as few, opened(on.database()) as many:
        hurry(few)
        sides = (Side(few, on.access(few)), Side(many, on.access(many)))
        for side, size in zip(sides, (small, large), strict=True):
            watch = Stopwatch()
            _load(side)
            fill(side.engine, side.access.shop.id, 0, size)
            console.print(f"{size:,} orders in the tables ({watch.seconds:.0f} s)")
        # What changed while they were filled is not what is measured.
        _change(on, sides)
        works = _works(sides[0])
        found = {name: _pair(on, sides, name) for name in works}
        for name, query in _questions().items():
            before, after = found[f"BI: {name}"] = _pair_asked(sides, query)
            if after.seconds > WORTH_EXPLAINING * before.seconds:
                plan = _ask(many, f"EXPLAIN (ANALYZE, COSTS OFF) {query}")
                console.print(f"{name}:", *plan, sep="\n", markup=False)
        sizes = _sizes(many)
    return _show(small, large, found, sizes, console)


def _load(side: Side) -> None:
    engine, access = side
    now = access.platform.now()
    # Days without an order are loaded days, too: no pass shall find the first load unfinished.
    for day in due_history_days(now, now, set()):
        if day_of(now) - day <= timedelta(days=LOADED_DAYS):
            list_history(access, engine, day, now)
        else:
            with transaction(engine) as connection:
                mark_history_day(connection, access.shop.id, day, 0)
    drain(access, engine)
    time.sleep(REST_SECONDS)
    drain(access, engine)


def _works(side: Side) -> dict[str, Callable[[], object]]:
    """Return what is done on one side, by what it is called; the pass needs changes made before."""
    engine, access = side
    yesterday = day_of(access.platform.now()) - timedelta(days=1)
    return {
        PASS: lambda: _pass(side),
        "pass: nothing changed": lambda: due_work(access, engine),
        "day: the nightly proof of one": lambda: reconcile_day(access, engine, yesterday, access.platform.now()),
        "worklist: 200 said, taken, cleared": lambda: _worklist(engine, access.shop.id),
        "worklist: its depth": lambda: _depth(engine, access.shop.id),
        "what a run reports": lambda: _report(engine, access.shop.id),
        "status": lambda: gather(engine, [access.shop.id], datetime.now(UTC)),
        "check: keys": lambda: _check(engine, KEYS),
        "check: money": lambda: _check(engine, MONEY),
        "check: counts": lambda: _check(engine, COUNTS),
    }


def _pair(on: Stage, sides: tuple[Side, Side], name: str) -> tuple[Work, Work]:
    """Do it in turn on both sides, so that a busy minute of the machine is one of both."""
    few, many = (_works(side)[name] for side in sides)
    done: list[tuple[Work, Work]] = []
    # What takes seconds is not that noisy.
    while len(done) < REPEATS and sum(after.seconds for _, after in done) < PATIENCE_SECONDS:
        if name == PASS:
            _change(on, ())
        done.append((_counted(sides[0].access, few), _counted(sides[1].access, many)))
    return (
        Work(median(before.seconds for before, _ in done), round(median(before.calls for before, _ in done))),
        Work(median(after.seconds for _, after in done), round(median(after.calls for _, after in done))),
    )


def _pair_asked(sides: tuple[Side, Side], query: str) -> tuple[Work, Work]:
    """Ask both sides in turn, each time for so long that what a transaction and its connection cost is lost in it."""
    asked: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS_OF_QUESTIONS):
        # Now this one first, now the other: who comes second finds the processor's caches full of the first.
        for which in (0, 1) if number % 2 else (1, 0):
            asked[which].append(_ask_often(sides[which].engine, query))
    return Work(median(asked[0])), Work(median(asked[1]))


def _ask_often(engine: Engine, query: str) -> float:
    """Return the seconds that asking once takes."""
    statement, times = text(query), 0
    with transaction(engine) as connection:
        connection.execute(statement).all()
        watch = Stopwatch()
        while watch.seconds < ASKED_SECONDS:
            connection.execute(statement).all()
            times += 1
        return watch.seconds / times


def _change(on: Stage, sides: Sequence[Side]) -> None:
    """Let buyers place orders, and some seconds pass; follow them on these sides."""
    for _ in range(CHANGES):
        act = {"action": "place", "shop": on.shop.id}
        requests.post(f"{on.url}/sandbox/orders", json=act, timeout=10).raise_for_status()
    time.sleep(REST_SECONDS + SETTLE_LAG.total_seconds())
    for side in sides:
        _pass(side)


def _counted(access: ShopAccess, work: Callable[[], object]) -> Work:
    before, watch = access.calls.total, Stopwatch()
    work()
    return Work(watch.seconds, access.calls.total - before)


def _pass(side: Side) -> None:
    engine, access = side
    for day in due_work(access, engine).changed_days:
        list_changes(access, engine, day, access.platform.now())
    drain(access, engine)
    _report(engine, access.shop.id)
    with transaction(engine) as connection:
        waiting = depth(connection, access.shop.id)
    # Later: what the sandbox's own buyers did in this very second.
    if waiting.due:
        raise RuntimeError(f"the pass left work undone: {waiting}")


def _worklist(engine: Engine, shop_id: str) -> None:
    now = datetime.now(UTC)
    with worker(engine) as key:
        with transaction(engine) as connection:
            say_changed(connection, shop_id, "bench", [Said(str(number), now) for number in range(200)])
        with transaction(engine) as connection:
            taken = take(connection, shop_id, key, 200)
        with transaction(engine) as connection:
            settle(connection, shop_id, [Outcome(each, now, now, None, None) for each in taken])
    if len(taken) != 200:
        raise RuntimeError(f"200 were said and {len(taken)} taken")


def _depth(engine: Engine, shop_id: str) -> None:
    with transaction(engine) as connection:
        depth(connection, shop_id)


def _report(engine: Engine, shop_id: str) -> None:
    with transaction(engine) as connection:
        about_orders(connection, [shop_id])


def _check(engine: Engine, rules: dict[str, str]) -> None:
    with transaction(engine) as connection:
        found = breaches(connection, rules)
    if found:
        raise RuntimeError(f"the invented history breaks rules: {found}")


def _questions() -> dict[str, str]:
    examples = {file.stem: file.read_text().replace("my-shop", "demo-shop") for file in sorted(QUERIES.glob("*.sql"))}
    return QUESTIONS | examples


def _ask(engine: Engine, query: str) -> list[str]:
    """Return the first column as text."""
    with transaction(engine) as connection:
        return [str(row[0]) for row in connection.execute(text(query))]


def _sizes(engine: Engine) -> dict[str, float]:
    """Return bytes an order: rows and indexes of orders and lines, and the index of raw pages."""
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
                SELECT (SELECT count(*) FROM core.orders),
                       pg_table_size('core.orders') + pg_table_size('core.order_items'),
                       pg_indexes_size('core.orders') + pg_indexes_size('core.order_items')
            """)
        ).one()
    return {"core_bytes_per_order": row[1] / row[0], "core_index_bytes_per_order": row[2] / row[0]}


def _show(
    small: int, large: int, found: dict[str, tuple[Work, Work]], sizes: dict[str, float], console: Console
) -> dict[str, float]:
    table = Table(title=f"with {small:,} and with {large:,} orders in the tables (median of {REPEATS}, in turn)")
    for heading in ("", f"ms, {small:,}", f"ms, {large:,}", "ratio", "calls", "calls"):
        table.add_column(heading, justify="right" if heading else "left")
    ratios = {name: after.seconds / before.seconds for name, (before, after) in found.items()}
    asked = [ratio for name, ratio in ratios.items() if name.startswith("BI")]
    calls = [after.calls / before.calls for before, after in found.values() if before.calls]
    for name, (before, after) in found.items():
        milliseconds = [f"{each.seconds * 1000:,.1f}" for each in (before, after)]
        table.add_row(name, *milliseconds, f"{ratios[name]:.2f}", f"{before.calls}", f"{after.calls}")
    console.print(table)
    console.print(", ".join(f"{name.replace('_', ' ')}: {value:,.0f}" for name, value in sizes.items()))
    return {
        "growth_ratio": round(max(ratio for name, ratio in ratios.items() if name.startswith(HELD)), 2),
        "growth_bi_ratio": round(max(asked), 2),
        "growth_calls_ratio": round(max(calls), 3),
        **{name: round(value) for name, value in sizes.items()},
    }


def main() -> None:
    """Measure and print, the figures as the last line."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--small", type=int, default=SMALL, help="orders in the first measurement")
    parser.add_argument("--large", type=int, default=LARGE, help="orders in the second")
    options = parser.parse_args()
    print(json.dumps(measure(options.small, options.large, Console(stderr=True, width=110))))


if __name__ == "__main__":
    main()
