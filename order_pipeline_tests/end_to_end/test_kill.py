"""kill -9 at any point of any asset, and the next start ends in the same tables."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from order_pipeline.commands.proof import compare, read_truth
from order_pipeline.sandbox.clock import RealClock
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.warehouse.database import snapshot, transaction
from order_pipeline_tests.end_to_end.assets_to_kill import ASSETS, DAYS

KILLS = int(os.environ.get("ORDER_PIPELINE_KILLS", "25"))
SEED = os.environ.get("ORDER_PIPELINE_SEED", "1")

# What a reader took and did not live to confirm comes again this soon, not after minutes.
REDELIVERY_SECONDS = 2.0
# As long as each asset's work takes on an idle machine, to begin with: a worker that was killed too late dies sooner
# the next time, one that had not begun lives longer. Some kills fall behind the work, into the next one's.
LONGEST_LIFE_SECONDS = {
    "history_pages": 0.3,
    "increment_pages": 0.06,
    "fullinfo_orders": 0.4,
    "order_messages": 0.3,
    "daily_reconciliation": 0.6,
}


@pytest.fixture
def live_sandbox() -> Iterator[SandboxServer]:
    """A sandbox on the real clock in which orders keep arriving and changing."""
    settings = SandboxSettings(
        orders=4_000,
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

    def __init__(self, url: str, server: SandboxServer) -> None:
        arguments = [url, server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key]
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

    def said(self, exit_code: int) -> list[str]:
        """Return what the last one said until it ended so."""
        said = []
        while not (line := self.line()).startswith("ended"):
            assert line or self.parent.poll() is None
            said.append(line)
        assert line == f"ended {exit_code}", said
        return said


@pytest.fixture
def workers(warehouse_url: str, live_sandbox: SandboxServer) -> Iterator[Workers]:
    workers = Workers(warehouse_url, live_sandbox)
    yield workers
    workers.parent.kill()
    workers.parent.wait()


def progress(engine: Engine) -> tuple[object, ...]:
    with transaction(engine) as connection:
        return tuple(
            connection.execute(
                text("""SELECT (SELECT count(*) FROM raw.page), (SELECT count(*) FROM core.orders),
                               (SELECT count(*) FROM raw.message), (SELECT count(*) FROM sync.reconciliation),
                               (SELECT count(*) FROM sync.history_day), (SELECT count(*) FROM sync.pending_order)""")
            ).one()
        )


def test_killed_at_random_points_of_every_asset_the_tables_end_equal(
    engine: Engine, live_sandbox: SandboxServer, workers: Workers
) -> None:
    chance = random.Random(SEED)
    points = {progress(engine)}
    midway = Counter(dict.fromkeys(ASSETS, 0))
    longest = dict(LONGEST_LIFE_SECONDS)

    def is_enough() -> bool:
        """Whether kills fell into the work of every asset, not behind it, and into different states of the tables."""
        return min(midway.values()) > 0 and midway.total() > KILLS / 2 and len(points) > KILLS / 3

    number = 0
    while number < KILLS or not is_enough():
        assert number < 8 * KILLS, (midway, len(points), longest)
        first = list(ASSETS)[number % len(ASSETS)]
        done = workers.killed(first, f"{SEED}-{number}", chance.uniform(0.0, longest[first]))
        was_late, had_not_begun = f"done {first}" in done, progress(engine) in points
        longest[first] *= 0.8 if was_late else 1.5 if had_not_begun else 1.0
        midway[first] += not was_late
        points.add(progress(engine))
        number += 1
    # Past the redelivery and the settle lag, and past what is fetched once more for its own second.
    time.sleep(max(REDELIVERY_SECONDS, 3.0))
    workers.start("everything", "0")
    assert workers.said(0)[-1] == "all is done"
    before = read_truth(live_sandbox.url, DEMO_SHOP.id)
    time.sleep(6)
    workers.start("everything", "0")
    assert workers.said(0)[-1] == "all is done"
    after = read_truth(live_sandbox.url, DEMO_SHOP.id)
    with snapshot(engine) as connection:
        found = compare(connection, DEMO_SHOP.id, before, after)
        proven = dict(connection.execute(text("SELECT day, equal FROM bi.reconciliation ORDER BY day")).tuples().all())
    assert found.equal, found.examples
    assert found.orders >= 4_000
    # One day more where midnight fell in between.
    assert DAYS + 1 <= len(proven) <= DAYS + 2, proven
    assert all(proven.values()), proven
    # Whatever a killed reader had taken came again, and was confirmed: nothing is, before it is stored.
    unconfirmed = live_sandbox.marketplace.messages.queue(DEMO_SHOP.app_key, "default")._unconfirmed
    assert not unconfirmed
    print(f"{number} kills, in the middle of: {dict(midway)}; {len(points)} states; {found.orders} orders equal")
