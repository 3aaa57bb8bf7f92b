"""make soak: ten minutes of a busy shop with every fault on at moderate rates, two workers, one killed now and then.

Both workers follow the lists of orders and refunds and read the messages, some of which are lost, late, repeated or
spoilt. At the end the faults go, a last pass is made, and the tables are compared with the platform: once as the
channels left them, where only what is in quarantine, by its id, may differ, and once after every day was proven. Prints
what it took; the exit code says whether anything was lost, duplicated, stale or unexplained, or the shop not busy.
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import requests
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from bench.stage import Stage, opened, stage
from order_pipeline.commands.proof import (
    Proof,
    RefundProof,
    RefundTruth,
    Truth,
    compare,
    compare_refunds,
    read_refund_truth,
    read_truth,
)
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_refunds, due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.polling import poll, poll_refunds
from order_pipeline.sync.provable import PROVABLE_ORDERS, PROVABLE_REFUNDS
from order_pipeline.sync.reconciliation import Reconciliation, reconcile_day
from order_pipeline.sync.streams import ORDER_STREAM, REFUND_STREAM
from order_pipeline.sync.windows import day_of
from order_pipeline.traffic.errors import CallError
from order_pipeline.warehouse.database import DatabaseUnreachableError, snapshot, transaction
from order_pipeline.warehouse.quarantine import open_ids
from order_pipeline.warehouse.subjects import ORDERS, REFUNDS
from order_pipeline.warehouse.watermarks import REFUND_CHANGES, begin_watermark

WORKERS = 2
PLAYED_ORDERS, DAYS = 3_000, 5
# Four to five changes an order while it lives: somewhat more than the 20 a second that there have to be.
LIVE_ORDERS_PER_SECOND, LIVE_LIFE_SPEED = 7.0, 4_000.0
LEAST_CHANGES_A_SECOND = 20.0
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
    with stage(PLAYED_ORDERS, DAYS, live=live, redelivery_seconds=REDELIVERY_SECONDS) as on:
        database = on.database()
        with opened(database) as engine, tempfile.NamedTemporaryFile() as retries:
            workers = Workers(database, on.url, retries.name)
            worked = work_through(on, workers, options.minutes * 60, random.Random(options.seed), console)
            requests.delete(f"{on.url}/sandbox/faults", timeout=10)
            left = last_pass(on, engine)
            figures = numbers(engine) | {"retries": Path(retries.name).stat().st_size} | worked._asdict()
            held = held_back(engine)
            figures |= {f"left_by_the_channels_{name}": len(found.differing) for name, found in left.items()}
            unexplained = {name: set(found.differing) - held[name] for name, found in left.items()}
            unexplained["duplicated"] = {name for name, found in left.items() if found.duplicated}
            days, proofs = prove(on, engine)
        struck = requests.get(f"{on.url}/sandbox/faults", timeout=10).json()["struck"]
    figures |= {f"not_explained_{name}": len(ids) for name, ids in unexplained.items()}
    figures |= {"days_proven": len(days), "days_not_equal": sum(not day.row.equal for day in days)}
    figures |= {"refilled_by_the_proof": sum(day.row.refilled for day in days)}
    for name, proof in proofs.items():
        figures |= {f"{name}_{field}": getattr(proof, field) for field in ("lost", "duplicated", "stale", "unknown")}
        figures[name] = getattr(proof, name)
    table = Table(title=f"soak of {options.minutes:g} minutes, {WORKERS} workers")
    table.add_column("")
    table.add_column("", justify="right")
    for figure, value in figures.items():
        table.add_row(figure.replace("_", " "), f"{value:,}")
    table.add_row("faults struck", ", ".join(f"{name} {count}" for name, count in sorted(struck.items())))
    console.print(table)
    for name, found in left.items():
        for record_id in sorted(found.differing):
            why = "in quarantine" if record_id in held[name] else "[red]not explained[/]"
            console.print(f"left out by the channels: {name[:-1]} {record_id}: {why}")
    problems = [f"{name} left out and not in quarantine: {ids}" for name, ids in unexplained.items() if ids]
    problems += [example for proof in proofs.values() for example in proof.examples]
    problems += [f"{day.row.day} is not proven equal: {day.sample}" for day in days if not day.row.equal]
    if worked.changes_a_second < LEAST_CHANGES_A_SECOND:
        problems.append(f"only {worked.changes_a_second} changes a second, not {LEAST_CHANGES_A_SECOND}")
    if worked.workers_ended_by_themselves:
        problems.append(f"{worked.workers_ended_by_themselves} workers ended by themselves")
    for problem in problems:
        console.print(f"[red]{problem}[/]")
    print(json.dumps(figures))
    sys.exit(1 if problems else 0)


class Workers(NamedTuple):
    """How to start a process that makes one pass after the other. Into ``retries`` each adds a byte a retry."""

    database: str
    sandbox_url: str
    retries: str

    def start(self) -> subprocess.Popen[bytes]:
        """Start one."""
        return subprocess.Popen([sys.executable, "-W", "ignore", "-m", "bench.soak_worker", *self])


class Worked(NamedTuple):
    """What the workers' time brought: the changes that the platform made meanwhile, and their largest peak."""

    changes: int
    changes_a_second: float
    peak_mb: int
    workers_killed: int
    workers_ended_by_themselves: int


def work_through(on: Stage, started: Workers, seconds: float, chance: random.Random, console: Console) -> Worked:
    """Run the workers for that long, and kill one now and then."""
    workers = [started.start() for _ in range(WORKERS)]
    for number, fault in enumerate(FAULTS):
        answer = requests.post(f"{on.url}/sandbox/faults", json={**fault, "seed": number}, timeout=10)
        answer.raise_for_status()
    began, changes_before = changes_made(on)
    ends = time.monotonic() + seconds
    next_kill = time.monotonic() + KILL_EVERY_SECONDS
    kills = ended_by_themselves = 0
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
                ended_by_themselves += 1
                workers[number] = started.start()
    ended, changes = changes_made(on)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    peak = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    made = changes - changes_before
    return Worked(made, round(made / (ended - began).total_seconds(), 1), peak, kills, ended_by_themselves)


def changes_made(on: Stage) -> tuple[datetime, int]:
    """Return the platform's time and how many changes it has made by then.

    Orders live by its clock: where the machine was too busy to let something happen in time, it happened all the same
    by the time anybody asked, and with the time that it should have had.
    """
    said = requests.get(f"{on.url}/sandbox/statistics", timeout=60).json()
    return datetime.fromisoformat(said["now"]), sum(said["changes"].values())


def last_pass(on: Stage, engine: Engine) -> dict[str, Proof | RefundProof]:
    """Make a last pass over both channels, and compare with what the platform knew before and after it."""
    access = on.access(engine)
    before = truths(on)
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
        for worklist in ("sync.pending_order", "sync.pending_refund"):
            connection.execute(text(f"UPDATE {worklist} SET due_at = now() WHERE due_at < 'infinity'"))
    drain_both(access, engine)
    return compared(engine, access, before, truths(on))


def prove(on: Stage, engine: Engine) -> tuple[list[Reconciliation], dict[str, Proof | RefundProof]]:
    """Prove every day of orders and of refunds, and compare once more."""
    access = on.access(engine)
    before = truths(on)
    time.sleep(5)
    one_pass(access, engine)
    now = access.platform.now()
    days = [
        reconcile_day(access, engine, day_of(now) - timedelta(days=back), now, provable=provable)
        for back in range(DAYS + 1)
        for provable in (PROVABLE_ORDERS, PROVABLE_REFUNDS)
    ]
    return [day for day in days if day], compared(engine, access, before, truths(on))


def truths(on: Stage) -> tuple[Truth, RefundTruth]:
    """Return what the platform knows of orders and refunds."""
    return read_truth(on.url, on.shop.id), read_refund_truth(on.url, on.shop.id)


def compared(
    engine: Engine, access: ShopAccess, before: tuple[Truth, RefundTruth], after: tuple[Truth, RefundTruth]
) -> dict[str, Proof | RefundProof]:
    """Compare the tables with the platform as it was ``before`` and ``after``."""
    with snapshot(engine) as connection:
        return {
            "orders": compare(connection, access.shop.id, before[0], after[0]),
            "refunds": compare_refunds(connection, access.shop.id, before[1], after[1]),
        }


def held_back(engine: Engine) -> dict[str, frozenset[str]]:
    """Return the orders and refunds of which a record is in quarantine."""
    with transaction(engine) as connection:
        return {subject.name: open_ids(connection, DEMO_SHOP.id, subject=subject) for subject in (ORDERS, REFUNDS)}


def one_pass(access: ShopAccess, engine: Engine) -> None:
    """Do what is due of orders and refunds, as the sensors and their runs do."""
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS + 1)
    with transaction(engine) as connection:
        # The platform lists refunds three months back; a call for each of ninety empty days would prove nothing more.
        begin_watermark(connection, access.shop.id, begin, REFUND_CHANGES)
    work = due_work(access, engine)
    for day in work.history_days:
        list_history(access, engine, day, access.platform.now())
    if work.changed_days:
        poll(access, engine, work.changed_days)
    refunds = due_refunds(access, engine)
    if refunds.changed_days:
        poll_refunds(access, engine, refunds.changed_days)
    read_messages([access], engine, seconds=READING_SECONDS)
    drain_both(access, engine)


def drain_both(access: ShopAccess, engine: Engine) -> None:
    """Fetch what is due of both worklists."""
    for stream in (ORDER_STREAM, REFUND_STREAM):
        drain(access, engine, stream=stream)


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
        "details_of_orders": "SELECT count(*) FROM raw.page WHERE channel = 'detail'",
        "details_of_refunds": "SELECT count(*) FROM raw.page WHERE channel = 'refund detail'",
        "breaker_transitions": "SELECT count(*) FROM sync.breaker_change",
        "quarantined_ever": "SELECT count(*) FROM sync.quarantine",
        "quarantined_still": "SELECT count(*) FROM sync.quarantine WHERE resolved_at IS NULL",
    }
    with transaction(engine) as connection:
        return {name: connection.execute(text(query)).scalar() or 0 for name, query in queries.items()}


if __name__ == "__main__":
    main()
