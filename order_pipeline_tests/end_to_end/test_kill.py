"""kill -9 at any point, and the next start ends in the same tables."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from order_pipeline.sandbox.clock import RealClock
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.warehouse.database import transaction

KILLS = int(os.environ.get("ORDER_PIPELINE_KILLS", "24"))

# What a run does, without Dagster's start-up, so that the kills fall into the work.
WORKER = """
import sys
from order_pipeline.configuration import Shop
from order_pipeline.sync.access import open_shop
from order_pipeline.warehouse.database import connect
from order_pipeline_tests.proving import pass_over
url, gateway, key, secret, session = sys.argv[1:]
shop = Shop(id="demo-shop", platform="taobao", gateway_url=gateway, app_key=key, app_secret=secret,
            session_key=session)
engine = connect(url)
access = open_shop(shop, engine)
print("ready", flush=True)
while True:
    pass_over(engine, access)
    print("pass", flush=True)
"""


@pytest.fixture
def live_sandbox() -> Iterator[SandboxServer]:
    """A sandbox on the real clock in which orders keep arriving and changing."""
    settings = SandboxSettings(orders=4_000, days=20, seed=5, live_orders_per_second=5, live_life_speed=5_000)
    marketplace = open_marketplace(settings)
    assert isinstance(marketplace.clock, RealClock)
    with SandboxServer(marketplace) as server:
        yield server


def start(url: str, server: SandboxServer) -> subprocess.Popen[str]:
    arguments = [url, server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key]
    process = subprocess.Popen([sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def progress(engine: Engine) -> tuple[object, ...]:
    with transaction(engine) as connection:
        return tuple(
            connection.execute(
                text("""SELECT (SELECT count(*) FROM raw.page), (SELECT count(*) FROM core.orders),
                               (SELECT count(*) FROM sync.history_day), (SELECT count(*) FROM sync.pending_order)""")
            ).one()
        )


def test_killed_at_random_points_the_tables_end_equal(
    engine: Engine, warehouse_url: str, live_sandbox: SandboxServer
) -> None:
    from order_pipeline.commands.proof import compare, read_truth

    chance = random.Random(os.environ.get("ORDER_PIPELINE_SEED", "1"))
    points = set()
    for _ in range(KILLS):
        process = start(warehouse_url, live_sandbox)
        time.sleep(chance.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        points.add(progress(engine))
    # The kills fell into different states of the work, not all before or after it.
    assert len(points) > KILLS / 2
    before = read_truth(live_sandbox.url, DEMO_SHOP.id)
    process = start(warehouse_url, live_sandbox)
    assert process.stdout is not None
    # Past the settle lag, and past what is fetched once more for its own second.
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline or process.stdout.readline() != "pass\n":
        process.stdout.readline()
    process.kill()
    process.wait()
    after = read_truth(live_sandbox.url, DEMO_SHOP.id)
    with transaction(engine) as connection:
        found = compare(connection, DEMO_SHOP.id, before, after)
    assert found.equal, found.examples
    assert found.orders >= 4_000
