"""Calls against the least that would do, over hours of a shop's life while messages and polls are both at work.

The least: one detail call for each version of an order that the warehouse got to see, and for each of a refund. Lists
and messages are the price of looking and counted apart. The platform's clock is driven, so that orders live at their
real speed: an order that is created, paid and shipped within seconds, as in a time lapse, has to be asked for twice
where the second change falls into the very second of the answer. python -m bench.calls DATABASE_URL SANDBOX_URL HOURS
"""

from __future__ import annotations

import json
import sys
from collections import Counter

import requests
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from bench.stage import Stage, in_own_process, opened, stage
from order_pipeline.sync.due import due_refunds, due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history_days
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.polling import poll, poll_refunds
from order_pipeline.sync.streams import REFUND_STREAM
from order_pipeline.sync.windows import due_history_days
from order_pipeline.warehouse.database import transaction

DAYS = 10
ORDERS = 4_000
# New orders a second, at their real speed: with those that are there, about a change every four seconds.
LIVE = (0.05, 1.0)
# As the sensors do, if somewhat slower: messages and details three times a minute, lists once.
STEP_SECONDS, STEPS_A_POLL = 20.0, 3
DETAIL, REFUND = "taobao.trade.fullinfo.get", "taobao.refund.get"

_VERSIONS = text("""
    SELECT count(DISTINCT (order_id, body::jsonb #>> '{trade_fullinfo_get_response,trade,modified}'))
    FROM raw.page WHERE method = 'taobao.trade.fullinfo.get' AND sent_at >= :since
""")
_REFUND_VERSIONS = text("""
    SELECT count(DISTINCT (refund_id, body::jsonb #>> '{refund_get_response,refund,modified}'))
    FROM raw.page WHERE method = 'taobao.refund.get' AND sent_at >= :since
""")


_WAKE = text("UPDATE sync.pending_order SET due_at = now() WHERE due_at < 'infinity'")
_WAKE_REFUNDS = text("UPDATE sync.pending_refund SET due_at = now() WHERE due_at < 'infinity'")


def against_the_least(hours: float, console: Console) -> dict[str, float]:
    """Follow a shop for so many hours of the platform's clock."""
    with stage(ORDERS, DAYS, live=LIVE, driven=True) as on:
        ran = in_own_process("bench.calls", on.database(), on.url, str(hours))
    table = Table(title=f"calls over {hours:g} hours of a shop's changes, messages and polls both on")
    for name in ran:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{value:,.4g}" for value in ran.values()))
    console.print(table)
    return {"calls_vs_minimum": round(ran["details_against_versions"], 3)}


def main(database_url: str, sandbox_url: str, hours: float) -> dict[str, float]:
    """Load, follow, count."""
    with opened(database_url) as engine, requests.Session() as session:
        access = Stage(sandbox_url, None).access(engine)  # type: ignore[arg-type]
        now = access.platform.now()
        list_history_days(access, engine, due_history_days(now, now, set(), days=DAYS), now)

        def step(number: int) -> None:
            answer = session.post(f"{sandbox_url}/sandbox/clock", json={"advance_seconds": STEP_SECONDS}, timeout=60)
            answer.raise_for_status()
            # As each process learns it when it begins.
            access.platform.now()
            # What waits for a few seconds does so by the database's clock.
            with transaction(engine) as connection:
                connection.execute(_WAKE)
                connection.execute(_WAKE_REFUNDS)
            if number % STEPS_A_POLL == 0:
                if days := due_work(access, engine).changed_days:
                    poll(access, engine, days)
                if days := due_refunds(access, engine).changed_days:
                    poll_refunds(access, engine, days)
            read_messages([access], engine)
            drain(access, engine)
            drain(access, engine, stream=REFUND_STREAM)

        # The messages of before, and the first look at all days of refunds.
        for number in range(2 * STEPS_A_POLL):
            step(number)
        since = access.platform.now()
        before = Counter(access.calls.total_by_method)
        for number in range(int(hours * 3600 / STEP_SECONDS)):
            step(number)
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
    database_url, sandbox_url, hours = sys.argv[1:]
    print(json.dumps(main(database_url, sandbox_url, float(hours))))
