"""Stalls: how fast the rules are, and whether they find what a sandbox lets get stuck, and nothing else.

The clock is driven: days of hourly looks pass in minutes. The truth is the sandbox's own.
"""

from __future__ import annotations

import random
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from order_pipeline.insights.stalls import DEFAULT_SETTINGS, Finding, Parcel, Rule, judge_all
from order_pipeline.insights.traces import Meaning, TraceEvent, standing_of
from order_pipeline.insights.working_time import SHANGHAI, carriers_calendar
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.warehouse import embedded, migrate
from order_pipeline.warehouse.database import connect
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.replaying import replay

MANY = 100_000
EVENTS_EACH = 7
LOOKED_AT_DAYS = 6


def rules(console: Console) -> dict[str, float]:
    """Return the seconds from the events of many parcels to their judgements."""
    chance = random.Random(1)
    # In and after a holiday, where waiting is the most work to measure.
    now = datetime(2026, 3, 1, tzinfo=SHANGHAI)
    moves = [Meaning.ANNOUNCED, Meaning.IN_TRANSIT, Meaning.IN_TRANSIT, Meaning.IN_TRANSIT, Meaning.OUT_FOR_DELIVERY]
    traces = [
        [TraceEvent(now - timedelta(hours=chance.random() * 500), chance.choice(moves)) for _ in range(EVENTS_EACH)]
        for _ in range(MANY)
    ]
    calendar = carriers_calendar(now.year, DEFAULT_SETTINGS.holidays)
    began = time.perf_counter()
    standings = [standing_of(events) for events in traces]
    stood = time.perf_counter()
    parcels = [
        Parcel(shipped_at=now - timedelta(hours=500), state=state, last_event_at=since, known_at=now, region="浙江省")
        for state, since in standings
    ]
    judgements = judge_all(parcels, DEFAULT_SETTINGS, calendar)
    ended = time.perf_counter()
    found = sum(isinstance(judgement, Finding) for judgement in judgements)
    stalls = sum(isinstance(judgement, Finding) and judgement.rule is Rule.STALL for judgement in judgements)
    console.print(
        f"{MANY:,} parcels with {EVENTS_EACH} events each: {ended - began:.2f} s ({stood - began:.2f} s from events to "
        f"standings, {ended - stood:.2f} s of rules); {found:,} findings, {stalls:,} of them stalls"
    )
    return {"stall_seconds_per_100000": ended - began}


def detection(console: Console, *, orders: int = 120) -> dict[str, float]:
    """Return which share of the stalls was found within an hour of crossing 72 hours, and how many alerts had none."""
    settings = SandboxSettings(orders=orders, days=6, seed=11, driven_from=NOON, stall_rate=0.8)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="order-pipeline-bench-") as home:
        postgres = embedded.start(Path(home))
        try:
            postgres.create_database("replay")
            engine = connect(postgres.url("replay"))
            migrate.upgrade(engine)
            marketplace = open_marketplace(settings)
            with SandboxServer(marketplace) as server:
                found = replay(engine, Play(marketplace, server), days=LOOKED_AT_DAYS)
            engine.dispose()
        finally:
            postgres.stop()
    table = Table(title=f"stalls replayed: {LOOKED_AT_DAYS} days, {time.perf_counter() - began:.0f} s")
    for heading in ("parcels", "looks", "stalls that crossed 72 h", "found within an hour", "alerts without a stall"):
        table.add_column(heading, justify="right")
    in_time = found.expected - len(found.missed)
    table.add_row(*(f"{count:,}" for count in (found.parcels, found.looks, found.expected, in_time, len(found.false))))
    console.print(table)
    for line in (*found.missed, *found.false):
        console.print(f"[red]{line}[/]")
    return {"stalls_found": in_time / found.expected, "stalls_false": float(len(found.false))}
