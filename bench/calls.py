"""Calls against the least that would do, while orders change and messages and polls are both at work.

The least: one detail call for each version of an order that the warehouse got to see, and for each of a refund. Lists
and messages are the price of looking and counted apart. python -m bench.calls DATABASE_URL SANDBOX_URL SECONDS
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from bench.stage import Stage, in_own_process, opened, stage
from order_pipeline.sync.due import due_refunds, due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.polling import poll, poll_refunds
from order_pipeline.sync.streams import REFUND_STREAM
from order_pipeline.sync.windows import due_history_days
from order_pipeline.warehouse.database import transaction

DAYS = 3
ORDERS = 600
# Orders that arrive a second, and how many times faster than real they live: a day's changes in a minute or so.
LIVE = (10.0, 2_000.0)
# As the sensors do: messages every few seconds, lists every fifteen.
POLL_SECONDS = 15.0
# Details wait for the end of their second.
BREATH_SECONDS = 1.0
DETAIL, REFUND = "taobao.trade.fullinfo.get", "taobao.refund.get"

_VERSIONS = text("""
    SELECT count(DISTINCT (order_id, body::jsonb #>> '{trade_fullinfo_get_response,trade,modified}'))
    FROM raw.page WHERE method = 'taobao.trade.fullinfo.get' AND sent_at >= :since
""")
_REFUND_VERSIONS = text("""
    SELECT count(DISTINCT (refund_id, body::jsonb #>> '{refund_get_response,refund,modified}'))
    FROM raw.page WHERE method = 'taobao.refund.get' AND sent_at >= :since
""")


def against_the_least(seconds: int, console: Console) -> dict[str, float]:
    """Follow a lively shop for so long."""
    with stage(ORDERS, DAYS, live=LIVE) as on:
        ran = in_own_process("bench.calls", on.database(), on.url, str(seconds))
    table = Table(title=f"calls while orders change, messages and polls both on, {seconds} s")
    for name in ran:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{value:,.4g}" for value in ran.values()))
    console.print(table)
    return {"calls_vs_minimum": round(ran["details_against_versions"], 3)}


def main(database_url: str, sandbox_url: str, seconds: float) -> dict[str, float]:
    """Load, follow, count."""
    with opened(database_url) as engine:
        access = Stage(sandbox_url, None).access(engine)  # type: ignore[arg-type]
        now = access.platform.now()
        for day in due_history_days(now, now, set(), days=DAYS):
            list_history(access, engine, day, now)

        def look() -> None:
            if days := due_work(access, engine).changed_days:
                poll(access, engine, days)
            if days := due_refunds(access, engine).changed_days:
                poll_refunds(access, engine, days)

        def follow() -> None:
            read_messages([access], engine)
            drain(access, engine)
            drain(access, engine, stream=REFUND_STREAM)

        for _ in range(4):
            look()
            follow()
            time.sleep(BREATH_SECONDS)
        since = access.platform.now()
        before = Counter(access.calls.total_by_method)
        over_at, look_at = time.monotonic() + seconds, 0.0
        while time.monotonic() < over_at:
            if time.monotonic() >= look_at:
                look()
                look_at = time.monotonic() + POLL_SECONDS
            follow()
            time.sleep(BREATH_SECONDS)
        made = Counter(access.calls.total_by_method) - before
        with transaction(engine) as connection:
            versions = int(connection.execute(_VERSIONS, {"since": since}).scalar() or 0)
            refunds = int(connection.execute(_REFUND_VERSIONS, {"since": since}).scalar() or 0)
        details = made[DETAIL] + made[REFUND]
        return {
            "versions_of_orders": versions,
            "details": made[DETAIL],
            "versions_of_refunds": refunds,
            "details_of_refunds": made[REFUND],
            "lists_and_messages": made.total() - details,
            "details_against_versions": details / max(versions + refunds, 1),
        }


if __name__ == "__main__":
    database_url, sandbox_url, seconds = sys.argv[1:]
    print(json.dumps(main(database_url, sandbox_url, float(seconds))))
