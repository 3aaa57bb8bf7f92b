"""make soak: ten minutes of a busy shop with every fault on at moderate rates, two workers, one killed now and then.

Both workers follow the lists and read the messages, some of which are lost, late, repeated or spoilt. At the end the
faults go, a last pass is made, and the tables are compared with the platform: once as the channels left them, where
only what is in quarantine may differ, and once after every day was proven. Prints what it took; the exit code says
whether anything was lost, duplicated or stale.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import requests
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from bench.stage import Stage, opened, stage
from order_pipeline.commands.proof import Proof, Truth, compare, read_truth
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.polling import poll
from order_pipeline.sync.reconciliation import Reconciliation, reconcile_day
from order_pipeline.sync.windows import day_of
from order_pipeline.traffic.errors import CallError
from order_pipeline.warehouse.database import DatabaseUnreachableError, snapshot, transaction

WORKERS = 2
ORDERS, DAYS = 3_000, 5
# About five events an order: 20 changes a second.
LIVE_ORDERS_PER_SECOND, LIVE_LIFE_SPEED = 4.0, 4_000.0
KILL_EVERY_SECONDS = 45.0

# Everything that a gateway does to its clients, at rates that leave most calls alone. Not: faults that put a wrong
# value into a record that reads well, which is believed until the order changes again.
FAULTS = [
    {"name": "http_error", "rate": 0.01},
    {"name": "html", "rate": 0.004},
    {"name": "empty_body", "rate": 0.004},
    {"name": "truncated", "rate": 0.004},
    {"name": "truncated_gzip", "rate": 0.004},
    {"name": "short_body", "rate": 0.004},
    {"name": "connection_reset", "rate": 0.004, "kind": "before", "label": "before"},
    {"name": "connection_reset", "rate": 0.004, "kind": "midway", "label": "midway"},
    {"name": "slow_body", "rate": 0.0005, "kind": "silence"},
    {"name": "latency", "rate": 0.02, "milliseconds": 300},
    {"name": "ban", "rate": 0.0005, "seconds": 2},
    {"name": "isp", "rate": 0.005},
    {"name": "wrong_total", "rate": 0.1},
    {"name": "has_next_forever", "rate": 0.01},
    {"name": "empty_page", "rate": 0.01, "kind": "page"},
    {"name": "stale_list", "rate": 0.05, "seconds": 20},
    {"name": "stale_detail", "rate": 0.02, "seconds": 10},
    {"name": "arrival_delay", "rate": 0.05, "seconds": 60},
    {"name": "poison", "rate": 0.002, "kind": "money_text"},
    {"name": "message_lost", "rate": 0.1},
    {"name": "message_repeated", "rate": 0.1, "seconds": 20},
    {"name": "message_held", "rate": 0.1, "seconds": 30},
    {"name": "message_spoilt", "rate": 0.01, "kind": "broken_content"},
]
# What a killed reader took comes again while the soak lasts.
REDELIVERY_SECONDS = 20.0
# Good probes close a breaker in less than this.
BREAKER_SECONDS = 300.0
# A queue is read between two passes, for so long at most.
READING_SECONDS = 5.0


def main() -> None:
    """Play, prove and print."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    console = Console(stderr=True, width=110)
    live = (LIVE_ORDERS_PER_SECOND, LIVE_LIFE_SPEED)
    with stage(ORDERS, DAYS, live=live, redelivery_seconds=REDELIVERY_SECONDS) as on:
        database = on.database()
        with opened(database) as engine, tempfile.NamedTemporaryFile() as retries:
            workers = Workers(database, on.url, retries.name)
            peak = work_through(on, workers, options.minutes * 60, random.Random(options.seed), console)
            requests.delete(f"{on.url}/sandbox/faults", timeout=10)
            left = last_pass(on, engine)
            figures = numbers(engine) | {"retries": Path(retries.name).stat().st_size, "peak_mb": peak}
            figures |= {"left_lost": left.lost, "left_stale": left.stale, "left_duplicated": left.duplicated}
            # What could not be read is nowhere, or as it was before.
            unexplained = left.lost + left.stale + left.duplicated > figures["quarantined_still"]
            days, proof = prove(on, engine)
            figures |= {"days_proven": len(days), "days_not_equal": sum(not day.row.equal for day in days)}
            figures |= {"refilled_by_the_proof": sum(day.row.refilled for day in days)}
            figures |= {"lost": proof.lost, "duplicated": proof.duplicated, "stale": proof.stale}
            figures |= {"unknown": proof.unknown, "orders": proof.orders}
        struck = requests.get(f"{on.url}/sandbox/faults", timeout=10).json()["struck"]
    table = Table(title=f"soak of {options.minutes:g} minutes, {WORKERS} workers")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    table.add_row("faults struck", ", ".join(f"{name} {count}" for name, count in sorted(struck.items())))
    console.print(table)
    for example in (*(left.examples if unexplained else ()), *proof.examples):
        console.print(example)
    print(json.dumps(figures))
    sys.exit(0 if proof.equal and not unexplained and not figures["days_not_equal"] else 1)


class Workers(NamedTuple):
    """How to start a process that makes one pass after the other. Into ``retries`` each adds a byte a retry."""

    database: str
    sandbox_url: str
    retries: str

    def start(self) -> subprocess.Popen[bytes]:
        """Start one."""
        return subprocess.Popen([sys.executable, "-W", "ignore", "-m", "bench.soak_worker", *self])


def work_through(on: Stage, started: Workers, seconds: float, chance: random.Random, console: Console) -> float:
    """Run the workers for that long, kill one now and then, and return the peak memory of any of them, in MB."""
    workers = [started.start() for _ in range(WORKERS)]
    for number, fault in enumerate(FAULTS):
        answer = requests.post(f"{on.url}/sandbox/faults", json={**fault, "seed": number}, timeout=10)
        answer.raise_for_status()
    ends = time.monotonic() + seconds
    next_kill = time.monotonic() + KILL_EVERY_SECONDS
    kills = 0
    while time.monotonic() < ends:
        time.sleep(1)
        if time.monotonic() > next_kill:
            victim = chance.randrange(WORKERS)
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = started.start()
            kills += 1
            next_kill = time.monotonic() + chance.uniform(0.5, 1.5) * KILL_EVERY_SECONDS
        for number, worker in enumerate(workers):
            if worker.poll() is not None:
                console.print(f"[red]a worker ended by itself with {worker.returncode}[/]")
                workers[number] = started.start()
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    console.print(f"{kills} workers were killed")
    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def last_pass(on: Stage, engine: Engine) -> Proof:
    """Make a last pass over both channels, and compare with what the platform knew before and after it."""
    access = on.access(engine)
    before = read_truth(on.url, access.shop.id)
    # Past the settle lag and the longest delay of an arrival.
    time.sleep(65)
    one_pass(access, engine)
    deadline = time.monotonic() + BREAKER_SECONDS
    while access.gate.breaker and access.gate.breaker.is_open() and time.monotonic() < deadline:
        # Faults at these rates open it now and then. Lists are back when its probes have closed it.
        time.sleep(5)
        one_pass(access, engine)
    with transaction(engine) as connection:
        # Of those that wait for their next try, not of those that nothing but the proof wakes.
        connection.execute(text("UPDATE sync.pending_order SET due_at = now() WHERE due_at < 'infinity'"))
    drain(access, engine)
    return compared(on, engine, access, before)


def prove(on: Stage, engine: Engine) -> tuple[list[Reconciliation], Proof]:
    """Prove every day, and compare once more."""
    access = on.access(engine)
    before = read_truth(on.url, access.shop.id)
    time.sleep(5)
    one_pass(access, engine)
    now = access.platform.now()
    days = [reconcile_day(access, engine, day_of(now) - timedelta(days=back), now) for back in range(DAYS + 1)]
    return [day for day in days if day], compared(on, engine, access, before)


def compared(on: Stage, engine: Engine, access: ShopAccess, before: Truth) -> Proof:
    """Compare the tables with the platform as it was ``before`` and as it is now."""
    after = read_truth(on.url, access.shop.id)
    with snapshot(engine) as connection:
        return compare(connection, access.shop.id, before, after)


def one_pass(access: ShopAccess, engine: Engine) -> None:
    """Do what is due, as the sensors and their runs do."""
    work = due_work(access, engine)
    for day in work.history_days:
        list_history(access, engine, day, access.platform.now())
    if work.changed_days:
        poll(access, engine, work.changed_days)
    read_messages([access], engine, seconds=READING_SECONDS)
    drain(access, engine)


def keep_working(access: ShopAccess, engine: Engine) -> None:
    """Make passes until the process is told to end; a failed one is followed by the next."""
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    parent = os.getppid()
    while not stopping and os.getppid() == parent:
        try:
            one_pass(access, engine)
        except (CallError, DatabaseUnreachableError):
            time.sleep(1)
        time.sleep(0.5)


def numbers(engine: Engine) -> dict[str, float]:
    """Count what the call log, the breaker and the quarantine say."""
    queries = {
        "calls": "SELECT count(*) FROM sync.call",
        "failed_calls": "SELECT count(*) FROM sync.call WHERE outcome <> 'ok'",
        "messages": "SELECT count(*) FROM raw.message",
        "messages_again": "SELECT sum(deliveries - 1) FROM raw.message",
        "messages_unreadable": "SELECT count(problem) FROM raw.message",
        "changes_a_second": """SELECT round(count(DISTINCT (order_id, sent_at)) / extract(epoch FROM
            max(stored_at) - min(stored_at))::numeric, 1)::float FROM raw.page WHERE channel = 'detail'""",
        "breaker_transitions": "SELECT count(*) FROM sync.breaker_change",
        "quarantined_ever": "SELECT count(*) FROM sync.quarantine",
        "quarantined_still": "SELECT count(*) FROM sync.quarantine WHERE resolved_at IS NULL",
    }
    with transaction(engine) as connection:
        return {name: connection.execute(text(query)).scalar() or 0 for name, query in queries.items()}


if __name__ == "__main__":
    main()
