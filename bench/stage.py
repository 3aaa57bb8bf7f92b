"""What every measurement stands on: a sandbox in its own process, an embedded server, a fresh database each.

Belongs here: setting the stage. Not here: what is measured.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Engine

from order_pipeline import configuration
from order_pipeline.configuration import Shop
from order_pipeline.sandbox import shops as sandbox
from order_pipeline.sandbox.marketplace import MESSAGE_REDELIVERY_SECONDS
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sync.access import ShopAccess, open_shop
from order_pipeline.warehouse import database, embedded, migrate

_numbers = itertools.count(1)

SERVE = """
import sys
from datetime import datetime, timedelta
from bench.stage import sandbox_shops
from order_pipeline.platforms.taobao.values import CHINA
from order_pipeline.sandbox.server import serve
from order_pipeline.sandbox.settings import SandboxSettings
orders, days, rate = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) or None
live, speed, redelivery = map(float, sys.argv[4:7])
# It is driven on by hours, and shall not come to a day of which Dagster knows no partition yet.
now = datetime.now(CHINA).replace(microsecond=0)
begin = max(now - timedelta(hours=5), now.replace(hour=0, minute=1, second=0))
driven = begin if sys.argv[7] == "True" else None
serve(SandboxSettings(orders=orders, days=days, seed=1, calls_per_minute=rate, live_orders_per_second=live,
                      live_life_speed=speed, message_redelivery_seconds=redelivery, driven_from=driven,
                      shops=sandbox_shops(int(sys.argv[8]))), port=0,
      on_ready=lambda url: print(url, flush=True))
"""


def sandbox_shops(count: int) -> tuple[sandbox.Shop, ...]:
    """Return the sandbox's own shop, and as many more of the same app as make up the count."""
    others = (
        msgspec.structs.replace(
            DEMO_SHOP,
            id=f"shop-{number}",
            session_key=f"6100sandbox{number}shop",
            seller_nick=f"{DEMO_SHOP.seller_nick}{number}",
            user_id=DEMO_SHOP.user_id + number,
        )
        for number in range(1, count)
    )
    return (DEMO_SHOP, *others)


class Stage(NamedTuple):
    """A served sandbox, a server for databases, and a folder for what else a measurement writes; it goes with them."""

    url: str
    postgres: embedded.EmbeddedServer
    home: Path = Path()

    @property
    def shop(self) -> Shop:
        """The sandbox's shop."""
        return self.shops(1)[0]

    def shops(self, count: int) -> list[Shop]:
        """The first shops of a sandbox that has so many."""
        return [
            Shop(
                id=shop.id,
                platform="taobao",
                gateway_url=f"{self.url}/router/rest",
                app_key=shop.app_key,
                app_secret=shop.app_secret,
                session_key=shop.session_key,
            )
            for shop in sandbox_shops(count)
        ]

    @contextmanager
    def as_shops_file(self) -> Iterator[None]:
        """Let child processes find the shop as a configured one."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(
                {"shops": [{name: value for name, value in msgspec.to_builtins(self.shop).items() if value}]}, file
            )
            file.flush()
            os.environ[configuration.SHOPS] = file.name
            try:
                yield
            finally:
                del os.environ[configuration.SHOPS]

    def access(self, engine: Engine) -> ShopAccess:
        """A door to the shop, with no call made yet."""
        return open_shop(self.shop, engine)

    def database(self) -> str:
        """The address of a fresh, migrated database."""
        name = f"bench_{next(_numbers)}"
        self.postgres.create_database(name)
        url = self.postgres.url(name)
        engine = database.connect(url)
        migrate.upgrade(engine)
        engine.dispose()
        return url


@contextmanager
def stage(
    orders: int,
    days: int,
    calls_per_minute: int = 0,
    live: tuple[float, float] = (0.0, 1.0),
    redelivery_seconds: float = MESSAGE_REDELIVERY_SECONDS,
    driven: bool = False,
    shops: int = 1,
) -> Iterator[Stage]:
    """Serve synthetic orders (about 1.67 lines each) from a process of its own.

    ``live``: orders that arrive a second, and how many times faster than real they live. ``redelivery_seconds``: how
    long a message that nobody confirmed waits to come again. ``driven``: the platform's clock starts some hours ago and
    stands still until told. ``shops``: that share the orders.
    """
    numbers = (orders, days, calls_per_minute, *live, redelivery_seconds, driven, shops)
    command = [sys.executable, "-c", SERVE, *map(str, numbers)]
    sandbox = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        with tempfile.TemporaryDirectory(prefix="order-pipeline-bench-") as home:
            postgres = embedded.start(Path(home))
            try:
                assert sandbox.stdout is not None
                yield Stage(sandbox.stdout.readline().strip(), postgres, Path(home))
            finally:
                postgres.stop()
    finally:
        sandbox.terminate()
        sandbox.wait()


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An engine for the block."""
    engine = database.connect(url, application_name="bench")
    try:
        yield engine
    finally:
        engine.dispose()


def in_own_process(module: str, *arguments: str) -> dict[str, float]:
    """Run a measurement as python -m and return the JSON of its last line, so that its peak memory is its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def peak_memory_mb() -> float:
    """Return the most memory this process has had, in MB.

    Not ru_maxrss: a process that is started begins with that of the one that starts it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Stopwatch:
    """Seconds since it was made, on a clock that never jumps."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.perf_counter() - self._began
