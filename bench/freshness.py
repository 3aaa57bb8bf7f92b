"""How old a change is when bi.orders shows it, with everything running under order-pipeline dev.

By hand: python -m bench.freshness [CHANGES [SILENCES [SHOPS]]].

The bench makes the changes itself, orders placed and paid by hand on a sandbox that is otherwise still, so that the
moment of each is known on one clock; the table is asked ten times a second.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import msgspec
import psutil
import requests
from sqlalchemy import Engine, text

from bench.stage import Stage, opened, stage
from order_pipeline import configuration
from order_pipeline.sync.following import QUIET_SECONDS
from order_pipeline.warehouse.database import transaction

ROOT = Path(__file__).parent.parent
ORDERS, DAYS = 100, 3
# Four a second: a shop with a third of a million changes a day.
CHANGE_SECONDS = 0.25
LOOK_SECONDS = 0.1
# Paid so many changes after it was placed: by then the placing is long in the table.
PAID_AFTER = 60
WARMING_CHANGES = 40
# Changes whose message is lost wait for a poll, every half minute: so many of the others' number meet a few polls.
POLLED_SHARE = 3
# Nothing is waited for longer.
LOST_SECONDS = 240.0
# After the run that followed has ended and the sensors have found nothing a few times.
SILENCE_SECONDS = QUIET_SECONDS + 15.0
UI_SECONDS = 180.0


class Ages:
    """Changes as they were made, and their ages when the table showed them."""

    def __init__(self, url: str, shop_ids: Sequence[str], engine: Engine) -> None:
        self._url = f"{url}/sandbox/orders"
        self._shop_ids = itertools.cycle(shop_ids)
        self._engine = engine
        self._waiting: dict[tuple[str, str], float] = {}
        self._placed: list[tuple[str, str]] = []
        self.ages: list[float] = []

    def place(self) -> None:
        """A buyer places an order, in the next shop."""
        shop_id = next(self._shop_ids)
        tid = str(self._act(shop_id, {"action": "place"})["tid"])
        self._placed.append((shop_id, tid))
        self._waiting[tid, "placed"] = time.monotonic()

    def pay(self) -> None:
        """The order that waited longest is paid."""
        shop_id, tid = self._placed.pop(0)
        self._act(shop_id, {"action": "pay", "tid": int(tid)})
        self._waiting[tid, "paid"] = time.monotonic()

    def change(self, number: int) -> None:
        """Place and pay by turns, once enough are placed."""
        if number % 2 and len(self._placed) > PAID_AFTER:
            self.pay()
        else:
            self.place()

    def look(self) -> bool:
        """Note what the table shows by now; return whether nothing is waited for."""
        if self._waiting:
            ids = list({order_id for order_id, _ in self._waiting})
            with transaction(self._engine) as connection:
                rows = connection.execute(
                    text("SELECT order_id, paid_at IS NOT NULL FROM bi.orders WHERE order_id = ANY(:ids)"), {"ids": ids}
                ).all()
            now = time.monotonic()
            for order_id, is_paid in rows:
                for what in ("placed", "paid") if is_paid else ("placed",):
                    made = self._waiting.pop((order_id, what), None)
                    if made is not None:
                        self.ages.append(now - made)
        return not self._waiting

    def take(self) -> list[float]:
        """The ages so far; those to come are counted anew."""
        taken, self.ages = self.ages, []
        return taken

    def _act(self, shop_id: str, act: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(self._url, json=act | {"shop": shop_id}, timeout=10)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told


def measure(changes: int, silences: int, shops: int = 1) -> dict[str, float]:
    """Ages at the 95th percentile: while changes flow, of the first after a silence, and with the messages off."""
    with stage(ORDERS, DAYS, shops=shops) as on, served(on, shops) as dev, opened(dev.warehouse_url) as engine:
        ages = Ages(on.url, [shop.id for shop in on.shops(shops)], engine)
        # The first load, and one change all the way.
        until(lambda: is_loaded(engine, shops), LOST_SECONDS)
        ages.place()
        until(ages.look, LOST_SECONDS)
        ages.take()
        # The first of them start the run that follows the others; what that takes is measured after a silence.
        _flow(ages, WARMING_CHANGES)
        flowing = _flow(ages, changes)
        first = []
        for _ in range(silences):
            time.sleep(SILENCE_SECONDS)
            ages.place()
            until(ages.look, LOST_SECONDS)
            first += ages.take()
        fault = {"name": "message_lost", "rate": 1.0}
        requests.post(f"{on.url}/sandbox/faults", json=fault, timeout=10).raise_for_status()
        polled = _flow(ages, max(changes // POLLED_SHARE, 1))
    return {
        "freshness_changes": len(flowing),
        "freshness_p50_s": round(median(flowing), 2),
        "freshness_p95_s": p95(flowing),
        "freshness_after_silence_p95_s": p95(first),
        "freshness_messages_off_p95_s": p95(polled),
        "ui_usable_s": round(dev.usable_seconds, 1),
    }


def _flow(ages: Ages, changes: int) -> list[float]:
    due = time.monotonic()
    for number in range(changes):
        ages.change(number)
        due += CHANGE_SECONDS
        while time.monotonic() < due:
            ages.look()
            time.sleep(LOOK_SECONDS)
    until(ages.look, LOST_SECONDS)
    return ages.take()


def p95(ages: list[float]) -> float:
    """The 95th percentile; of few values the largest."""
    return round(quantiles(ages, n=20)[-1] if len(ages) >= 20 else max(ages), 2)


class Dev:
    """order-pipeline dev over a stage; how long its UI took to be of use."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, warehouse_url: str, dagster_url: str) -> None:
        self.process = psutil.Process(process.pid)
        self.url = url
        self.warehouse_url = warehouse_url
        self.dagster_url = dagster_url
        self.usable_seconds = 0.0

    def is_usable(self) -> bool:
        """Whether the UI answers and knows the assets."""
        query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { assetNodes { id } } } } }"
        try:
            answer = requests.post(f"{self.url}/graphql", json={"query": query}, timeout=10).json()
            return bool(answer["data"]["repositoriesOrError"]["nodes"][0]["assetNodes"])
        except (requests.RequestException, LookupError, TypeError):
            return False

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far, those that ended included."""
        spent = 0.0
        for process in (self.process, *self.process.children(recursive=True)):
            times = process.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
        return spent


@contextmanager
def served(on: Stage, shops: int = 1) -> Iterator[Dev]:
    """order-pipeline dev in a folder of its own, over databases of the stage; usable when the block begins."""
    warehouse_url, dagster_url = on.database(), on.postgres.url("dagster_bench")
    on.postgres.create_database("dagster_bench")
    with tempfile.TemporaryDirectory(prefix="order-pipeline-freshness-") as name:
        for file in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(ROOT / file, name)
        many = [{key: value for key, value in msgspec.to_builtins(shop).items() if value} for shop in on.shops(shops)]
        (Path(name) / "shops.yaml").write_text(json.dumps({"shops": many}))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        environment = os.environ | {
            configuration.DATABASE_URL: warehouse_url,
            configuration.DAGSTER_URL: dagster_url,
            configuration.SHOPS: str(Path(name) / "shops.yaml"),
        }
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "order_pipeline", "dev", "--port", str(port)],
            cwd=name, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        dev = Dev(process, f"http://127.0.0.1:{port}", warehouse_url, dagster_url)
        try:
            until(dev.is_usable, UI_SECONDS)
            dev.usable_seconds = time.monotonic() - began
            yield dev
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def is_loaded(engine: Engine, shops: int = 1) -> bool:
    """Whether every shop has orders, and all that was due is fetched."""
    with transaction(engine) as connection:
        found = connection.execute(
            text("""
                SELECT count(DISTINCT shop_id) = :shops AND NOT EXISTS (
                    SELECT FROM sync.pending_order WHERE due_at <= now()
                ) FROM bi.orders
            """),
            {"shops": shops},
        )
        return bool(found.scalar_one())


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for it; AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} seconds")
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:4]]
    print(json.dumps(measure(*given, *(300, 8, 1)[len(given) :])))
