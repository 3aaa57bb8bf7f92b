"""kill -9 at any point of any asset, and the next start ends in the same tables.

ORDER_PIPELINE_KILLS=100 kills as often (25 in the normal suite), ORDER_PIPELINE_SEED=2 at other points.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Engine, text

from order_pipeline.sandbox.clock import DrivenClock, RealClock, from_ms
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.embedded import EmbeddedServer
from order_pipeline_tests.end_to_end.assets_to_kill import ASSETS, WRITING_ASSETS, open_work
from order_pipeline_tests.end_to_end.derived_tables import derived, forget_derived, impossible, withheld
from order_pipeline_tests.end_to_end.orders_to_kill import DAYS
from order_pipeline_tests.proving import now_due, proof, refund_proof

KILLS = int(os.environ.get("ORDER_PIPELINE_KILLS", "25"))
SEED = os.environ.get("ORDER_PIPELINE_SEED", "1")
ORDERS = 2_000

# What a reader took and did not live to confirm comes again this soon, not after minutes.
REDELIVERY_SECONDS = 2.0
# About as long as each asset's work takes where little else runs; it is learnt from kills that came too late.
LONGEST_LIFE_SECONDS = {
    "history_pages": 0.3,
    "increment_pages": 0.06,
    "fullinfo_orders": 0.4,
    "order_messages": 0.3,
    "refund_pages": 0.1,
    "refunds": 0.3,
    "daily_reconciliation": 0.3,
    "shipment_traces": 0.4,
    "logistics_alerts": 0.1,
    "presale_holds": 0.2,
    "inventory_levels": 0.1,
    "daily_sku_sales": 0.2,
    "demand_forecast": 0.3,
    "forecast_backtest": 0.5,
    "restock_suggestions": 0.2,
    "ship_list": 0.1,
    "shipment_stops": 0.03,
    "stock_writes": 0.1,
}
# Of the kills a sixth falls into the first load.
FIRST_LOAD = ("history_pages", "fullinfo_orders", "history_pages", "increment_pages", "order_messages", "refund_pages")
# A kill that came too late is made once more, sooner; so often at most.
MORE_TRIES = 12
# Past the redelivery and the life of the orders that came while the kills went on.
LATER_SECONDS = 3_700.0
# Past the settle lag, and what lists may leave to the next window.
QUIET_SECONDS = 5.0


@pytest.fixture
def live_sandbox() -> Iterator[SandboxServer]:
    """A sandbox on the real clock in which orders keep arriving and changing."""
    settings = SandboxSettings(
        orders=ORDERS,
        days=DAYS,
        seed=5,
        live_orders_per_second=5,
        live_life_speed=5_000,
        message_redelivery_seconds=REDELIVERY_SECONDS,
    )
    marketplace = open_marketplace(settings)
    assert isinstance(marketplace.clock, RealClock)
    with SandboxServer(marketplace) as server:
        yield server


class Workers:
    """Processes that work until they are killed, one at a time."""

    def __init__(self, arguments: list[str]) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-m", "order_pipeline_tests.end_to_end.assets_to_kill", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "loaded"

    def line(self) -> str:
        assert self.parent.stdout is not None
        return self.parent.stdout.readline().strip()

    def start(self, first: str, seed: str) -> int:
        assert self.parent.stdin is not None
        self.parent.stdin.write(f"{first} {seed}\n")
        self.parent.stdin.flush()
        word, pid = self.line().split()
        assert word == "started"
        return int(pid)

    def killed(self, first: str, seed: str, life_seconds: float) -> list[str]:
        """Let one work for so long after it is ready, kill it, and return what it had done."""
        pid = self.start(first, seed)
        assert self.line() == "ready"
        time.sleep(life_seconds)
        os.kill(pid, signal.SIGKILL)
        return self.said(-signal.SIGKILL)

    def done(self, whole: str) -> None:
        """Let one do something whole."""
        self.start(whole, "0")
        assert self.said(0)[-1] == "all is done"

    def said(self, exit_code: int) -> list[str]:
        """Return what the last one said until it ended so."""
        said = []
        while not (line := self.line()).startswith("ended"):
            assert line or self.parent.poll() is None
            said.append(line)
        assert line == f"ended {exit_code}", said
        return said


@pytest.fixture
def arguments(warehouse_url: str, live_sandbox: SandboxServer) -> list[str]:
    """What a worker is told: database, gateway and the shop."""
    return [
        warehouse_url,
        live_sandbox.gateway_url,
        DEMO_SHOP.app_key,
        DEMO_SHOP.app_secret,
        DEMO_SHOP.session_key,
    ]


@pytest.fixture
def workers(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setenv("ORDER_PIPELINE_HOME", str(tmp_path))
    workers = Workers(arguments)
    yield workers
    workers.parent.kill()
    workers.parent.wait()


class Killer:
    """Kills at random points, and counts those that fell into the work of each asset."""

    def __init__(self, engine: Engine, workers: Workers) -> None:
        self.engine, self.workers = engine, workers
        self.chance = random.Random(SEED)
        self.longest = dict(LONGEST_LIFE_SECONDS)
        self.midway: Counter[str] = Counter()
        self.kills = 0
        self.states: set[tuple[object, ...]] = set()

    def kill(self, first: str) -> bool:
        """Kill once; whether that was in the middle of the asset's work."""
        self.kills += 1
        life = self.chance.uniform(0.0, self.longest[first])
        done = self.workers.killed(first, f"{SEED}-{self.kills}", life)
        is_midway = f"done {first}" not in done
        if not is_midway:
            self.longest[first] = life
        self.midway[first] += is_midway
        self.states.add(progress(self.engine))
        return is_midway

    def kill_midway(self, first: str) -> None:
        """Kill until one fell into the middle."""
        for _ in range(MORE_TRIES):
            if self.kill(first):
                return

    def go_on_until_states_differ(self) -> None:
        """Kill later and later, where a busy machine had not got far by the time of most kills."""
        for first in islice(cycle(FIRST_LOAD), 6 * KILLS):
            if len(self.states) > KILLS / 6:
                return
            self.longest[first] *= 1.5
            self.kill(first)


def progress(engine: Engine) -> tuple[object, ...]:
    tables = (
        "raw.page", "raw.message", "core.orders", "core.refunds", "bi.reconciliation", "bi.refund_reconciliation",
        "sync.history_day", "sync.pending_order", "sync.pending_refund", "core.parcel_event", "core.logistics_alert",
        "core.presale_hold", "core.ship_list_line", "core.stock_write",
    )  # fmt: skip
    with transaction(engine) as connection:
        return tuple(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() for table in tables)


def test_killed_at_random_points_of_every_asset_the_tables_end_equal(
    postgres: EmbeddedServer,
    engine: Engine,
    live_sandbox: SandboxServer,
    arguments: list[str],
    workers: Workers,
) -> None:
    killer = Killer(engine, workers)
    # A sixth in the first load, and as many as every asset's share in what writes to the platform.
    of_first_load = max(KILLS // 6, 1)
    of_writing = max((KILLS - of_first_load) // (len(ASSETS) + 1), 1)
    for first in islice(cycle(FIRST_LOAD), of_first_load):
        killer.kill(first)
    workers.done("first_load")
    for first in islice(cycle(ASSETS), KILLS - of_first_load - of_writing):
        killer.kill(first)
    for first in ASSETS:
        if not killer.midway[first]:
            killer.kill_midway(first)
    killer.go_on_until_states_differ()
    clock = stop_the_platform(live_sandbox)
    for _ in range(of_writing):
        killer.kill_midway("stock_writes")
    # The kills fell into the work of every asset, not before or after it, and into different states of the tables: not
    # each its own, as many assets are one transaction, of which nothing is left.
    assert min(killer.midway[first] for first in (*ASSETS, *WRITING_ASSETS)) > 0, killer.midway
    assert killer.midway.total() >= KILLS / 2, killer.midway
    assert len(killer.states) > KILLS / 6

    let_all_be_over(live_sandbox, clock)
    now_due(engine)
    ask_about_parcels_again(engine)
    workers.done("the_rest")
    judge(postgres, engine, live_sandbox, arguments)
    print(f"{killer.kills} kills, in the middle of: {dict(killer.midway)}; {len(killer.states)} states")


def ask_about_parcels_again(engine: Engine) -> None:
    """Let the hour be over in which a parcel is asked about once."""
    with transaction(engine) as connection:
        connection.execute(text("UPDATE core.parcel SET checked_at = NULL"))


def stop_the_platform(server: SandboxServer) -> DrivenClock:
    """Let no more orders arrive, and the platform's time stand still, so that all that it knows can be compared."""
    market = server.marketplace
    with market.looking() as now_ms:
        clock = DrivenClock(from_ms(now_ms))
        market.clock = clock
    market.close()
    market._live = False
    return clock


def let_all_be_over(server: SandboxServer, clock: DrivenClock) -> None:
    """Let the platform's time go on to a moment before which nothing has changed for a while."""
    clock.advance(LATER_SECONDS)
    while True:
        with server.marketplace.looking() as now_ms:
            ledger = server.marketplace.ledger(DEMO_SHOP.id)
            if ledger.first_change_from(now_ms // 1000 - int(QUIET_SECONDS)) == ledger.change_count:
                return
        clock.advance(QUIET_SECONDS)


def judge(postgres: EmbeddedServer, engine: Engine, server: SandboxServer, arguments: list[str]) -> None:
    """Compare what the killed ones left with the platform, and with what is derived in one go from the same orders."""
    works = open_work(arguments, SEED)
    day = works.today
    found = proof(engine, works.access, server.url)
    assert found.equal, found.examples
    assert found.orders >= ORDERS
    refunds = refund_proof(engine, works.access, server.url)
    assert refunds.equal, refunds.examples
    assert refunds.refunds > ORDERS / 10
    for table in ("bi.reconciliation", "bi.refund_reconciliation"):
        with transaction(engine) as connection:
            proven = dict(connection.execute(text(f"SELECT day, equal FROM {table} ORDER BY day")).tuples().all())
        assert list(proven.values())[-DAYS:] == [True] * DAYS, (table, proven)
    # Whatever a killed reader had taken came again, and was confirmed: nothing is, before it is stored.
    assert not server.marketplace.messages.queue(DEMO_SHOP.app_key, "default")._unconfirmed

    with transaction(engine) as connection:
        broken = works.broken_rules(connection)
    assert not broken, broken
    assert not (found_impossible := impossible(engine, day)), found_impossible
    # Exactly what the platform was told is what we know of: no write was lost, and none was made twice.
    with server.marketplace.looking() as now_ms:
        skus = server.marketplace.stock(DEMO_SHOP.id).every_sku(now_ms // 1000)
        written = {sku.sku_id: -sku.written for sku in skus if sku.written}
    assert written
    assert written == withheld(engine)

    left = derived(engine, day)
    works.engine.dispose()
    for name, rows in derived_in_one_go(postgres, engine, arguments).items():
        assert left[name], f"nothing of {name}"
        assert left[name] == rows, (name, list((left[name] - rows).items())[:3], list((rows - left[name]).items())[:3])


def derived_in_one_go(
    postgres: EmbeddedServer, engine: Engine, arguments: list[str]
) -> dict[str, Counter[tuple[object, ...]]]:
    """Derive everything in a copy of the database, where nothing is derived yet and nobody is killed."""
    name = str(engine.url.database)
    engine.dispose()
    connection = psycopg2.connect(postgres.url("postgres").replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        # Sessions of those who were killed a moment ago may still be ending.
        cursor.execute("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = %s", (name,))
        cursor.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    connection.close()
    copy = connect(postgres.url(f"{name}_copy"))
    forget_derived(copy)
    works = open_work([postgres.url(f"{name}_copy"), *arguments[1:]], SEED)
    works.decide()
    rows = derived(copy, works.today)
    works.engine.dispose()
    copy.dispose()
    return rows
