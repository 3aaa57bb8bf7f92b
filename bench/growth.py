"""What grows as the history grows: the same work with 100,000 and with 3,000,000 orders in the tables.

measure() is what other measurements use; by hand: python -m bench.growth [--small N] [--large N]. Needs about 3 GB of
disk a million orders while it runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
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
from order_pipeline.sync.windows import SETTLE_LAG, day_of
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.orders import about_orders
from order_pipeline.warehouse.rules import COUNTS, KEYS, MONEY, breaches
from order_pipeline.warehouse.worklist import Outcome, Said, depth, say_changed, settle, take, worker

SMALL, LARGE = 100_000, 3_000_000
# Loaded over the wire and worked on; the rest of the history is invented around them.
LOADED, LOADED_DAYS = 2_000, 5
# Changes of one pass, as of a busy minute.
CHANGES = 100
REPEATS = 5
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


DETAIL = "taobao.trade.fullinfo.get"
# Plans are shown of questions that take this many times longer.
WORTH_EXPLAINING = 1.5

# What is held to 1.2; the others are shown.
HELD = ("pass", "day", "worklist")


def measure(small: int, large: int, console: Console) -> dict[str, float]:
    """Fill, measure, fill on, measure again; print both side by side and return the ratios."""
    with stage(LOADED, LOADED_DAYS) as on, opened(on.database()) as engine:
        hurry(engine)
        access = on.access(engine)
        now = access.platform.now()
        for number in range(LOADED_DAYS + 1):
            list_history(access, engine, day_of(now) - timedelta(days=LOADED_DAYS - number), now)
        drain(access, engine)
        time.sleep(REST_SECONDS)
        drain(access, engine)
        # Days without an order are loaded days, too.
        with transaction(engine) as connection:
            connection.execute(
                text("INSERT INTO sync.history_day (shop_id, day, orders) SELECT :shop_id, current_date - n, 0 "
                     "FROM generate_series(0, 100) n ON CONFLICT DO NOTHING"),
                {"shop_id": access.shop.id},
            )  # fmt: skip
        found = []
        held = 0
        for size in (small, large):
            watch = Stopwatch()
            fill(engine, access.shop.id, held, size)
            console.print(f"{size:,} orders in the tables ({watch.seconds:.0f} s)")
            held = size
            found.append(_all(on, engine, access))
        sizes = _sizes(engine)
        for name, query in _questions().items():
            if found[1][f"BI: {name}"].seconds > WORTH_EXPLAINING * found[0][f"BI: {name}"].seconds:
                console.print(
                    f"{name}:", *_ask(engine, f"EXPLAIN (ANALYZE, COSTS OFF) {query}"), sep="\n", markup=False
                )
    return _show(small, large, found[0], found[1], sizes, console)


def _all(on: Stage, engine: Engine, access: ShopAccess) -> dict[str, Work]:
    yesterday = day_of(access.platform.now()) - timedelta(days=1)
    works: dict[str, Callable[[], Work]] = {
        "pass: 100 changes (calls beside theirs)": lambda: _pass(on, engine, access),
        "pass: nothing changed": lambda: _counted(access, lambda: due_work(access, engine)),
        "day: the nightly proof of one": lambda: _counted(
            access, lambda: reconcile_day(access, engine, yesterday, access.platform.now())
        ),
        "worklist: 200 said, taken, cleared": lambda: _counted(access, lambda: _worklist(engine, access.shop.id)),
        "worklist: its depth": lambda: _counted(access, lambda: _depth(engine, access.shop.id)),
        "what a run reports": lambda: _counted(access, lambda: _report(engine, access.shop.id)),
        "status": lambda: _counted(access, lambda: gather(engine, [access.shop.id], datetime.now(UTC))),
        **{
            f"check: {name}": lambda rules=rules: _counted(access, lambda: _check(engine, rules))
            for name, rules in (("keys", KEYS), ("money", MONEY), ("counts", COUNTS))
        },
        **{
            f"BI: {name}": lambda query=query: _counted(access, lambda: _ask(engine, query))
            for name, query in _questions().items()
        },
    }
    return {name: _median(work) for name, work in works.items()}


def _median(work: Callable[[], Work]) -> Work:
    done = [work()]
    # What takes seconds is not that noisy.
    while len(done) < REPEATS and sum(each.seconds for each in done) < 20:
        done.append(work())
    # The first one finds nothing of the others' in the list.
    return Work(median(each.seconds for each in done), done[0].calls)


def _counted(access: ShopAccess, work: Callable[[], object]) -> Work:
    before, watch = access.calls.total, Stopwatch()
    work()
    return Work(watch.seconds, access.calls.total - before)


def _pass(on: Stage, engine: Engine, access: ShopAccess) -> Work:
    for _ in range(CHANGES):
        act = {"action": "place", "shop": access.shop.id}
        requests.post(f"{on.url}/sandbox/orders", json=act, timeout=10).raise_for_status()
    time.sleep(REST_SECONDS + SETTLE_LAG.total_seconds())

    def work() -> None:
        for day in due_work(access, engine).changed_days:
            list_changes(access, engine, day, access.platform.now())
        drain(access, engine)
        _report(engine, access.shop.id)

    before = access.calls.total_by_method.get(DETAIL, 0)
    done = _counted(access, work)
    # Other buyers of the sandbox change orders, too: what does not depend on them is counted.
    done = done._replace(calls=done.calls - access.calls.total_by_method[DETAIL] + before)
    with transaction(engine) as connection:
        waiting = depth(connection, access.shop.id)
    # Later: what the sandbox's own buyers did in this very second.
    if waiting.due:
        raise RuntimeError(f"the pass left work undone: {waiting}")
    return done


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
    return QUESTIONS | {file.stem: file.read_text() for file in sorted(QUERIES.glob("*.sql"))}


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
    small: int, large: int, few: dict[str, Work], many: dict[str, Work], sizes: dict[str, float], console: Console
) -> dict[str, float]:
    table = Table(title=f"with {small:,} and with {large:,} orders in the tables (median of {REPEATS})")
    for heading in ("", f"ms, {small:,}", f"ms, {large:,}", "ratio", "calls", "calls"):
        table.add_column(heading, justify="right" if heading else "left")
    ratios = {}
    for name, before in few.items():
        after = many[name]
        ratios[name] = after.seconds / before.seconds
        milliseconds = [f"{each.seconds * 1000:,.1f}" for each in (before, after)]
        table.add_row(name, *milliseconds, f"{ratios[name]:.2f}", f"{before.calls}", f"{after.calls}")
    console.print(table)
    console.print(", ".join(f"{name.replace('_', ' ')}: {value:,.0f}" for name, value in sizes.items()))
    held = {name: ratio for name, ratio in ratios.items() if name.startswith(HELD)}
    asked = {name: ratio for name, ratio in ratios.items() if name.startswith("BI")}
    calls = [many[name].calls / before.calls for name, before in few.items() if before.calls]
    return {
        "growth_ratio": round(max(held.values()), 2),
        "growth_calls_ratio": round(max(calls), 3),
        "growth_bi_ratio": round(max(asked.values()), 2),
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
