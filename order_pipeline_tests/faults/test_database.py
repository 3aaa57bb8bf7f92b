"""The database stumbles under the work: after it the tables equal the platform, without a person."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from order_pipeline.sync.access import ShopAccess
from order_pipeline.warehouse import embedded, migrate
from order_pipeline.warehouse.database import DatabaseUnreachableError, connect, in_transaction, transaction
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import pass_over, proof

# The full failover-like outage takes half a minute; the suite plays a shorter one.
OUTAGE_SECONDS = float(os.environ.get("ORDER_PIPELINE_OUTAGE", "6"))
MOST_TERMINATED = 40


class OwnServer:
    """An embedded server that a test may maltreat."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._server = embedded.start(home)
        self.url = self._server.warehouse_url
        self.engine = connect(self.url)
        migrate.upgrade(self.engine)

    def kill(self) -> None:
        """Stop it at once, as pg_ctl -m immediate does: no checkpoint, connections cut."""
        self._end(signal.SIGQUIT)

    def halt(self) -> None:
        """Stop it in order, as pg_ctl -m fast does."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        postmaster = int((self._home / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, how)
        with suppress(FileNotFoundError, ProcessLookupError):
            while "Z" not in Path(f"/proc/{postmaster}/stat").read_text().split()[2]:
                time.sleep(0.02)

    def start(self) -> None:
        self._server._server.ensure_postgres_running()

    def stop(self) -> None:
        self.engine.dispose()
        self._server.stop()


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    with tempfile.TemporaryDirectory(prefix="order-pipeline-") as home:
        server = OwnServer(Path(home))
        yield server
        server.stop()


@contextmanager
def meanwhile(work: object) -> Iterator[threading.Event]:
    """Run something again and again beside the block."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            assert callable(work)
            work()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join()


def passes_until_equal(engine: Engine, access: ShopAccess, play: Play) -> None:
    pass_over(engine, access)
    play.clock.advance(60)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.pending_order SET due_at = now() WHERE due_at < 'infinity'"))
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


@pytest.mark.parametrize("play", [{"orders": 2_000}], indirect=True)
def test_sessions_that_are_terminated_at_random_lose_nothing(engine: Engine, warehouse_url: str, play: Play) -> None:
    chance = random.Random(3)
    executioner = psycopg2.connect(warehouse_url.replace("+psycopg2", ""))
    executioner.autocommit = True
    killed = 0

    def terminate_one() -> None:
        nonlocal killed
        time.sleep(chance.uniform(0.05, 0.3))
        # On a machine so busy that no transaction is over within the pause, none ever would be.
        if killed >= MOST_TERMINATED:
            return
        with executioner.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' "
                "ORDER BY random() LIMIT 1"
            )
            killed += cursor.rowcount

    access = play.access()
    with meanwhile(terminate_one):
        for _ in range(5):
            try:
                pass_over(engine, access)
            except (DatabaseUnreachableError, psycopg2.Error, Exception):  # noqa: BLE001
                continue
    executioner.close()
    assert killed > 0
    passes_until_equal(engine, access, play)


@pytest.mark.parametrize("play", [{"orders": 3_000}], indirect=True)
def test_a_server_that_dies_under_the_load_and_comes_back_loses_nothing(own_server: OwnServer, play: Play) -> None:
    access = play.access()
    died = threading.Event()

    def die() -> None:
        time.sleep(0.4)
        own_server.kill()
        died.set()
        time.sleep(OUTAGE_SECONDS)
        own_server.start()

    killer = threading.Thread(target=die)
    killer.start()
    # The run itself rides it out: nobody starts it again.
    pass_over(own_server.engine, access)
    killer.join()
    assert died.is_set()
    passes_until_equal(own_server.engine, access, play)


def test_the_watermark_is_never_ahead_of_the_rows_after_a_crash(own_server: OwnServer, play: Play) -> None:
    access = play.access()
    chance = random.Random(1)

    def crash_and_restart(life_seconds: float, down_seconds: float) -> None:
        # One after the other, as a server that still dies is not started.
        time.sleep(life_seconds)
        own_server.kill()
        time.sleep(down_seconds)
        own_server.start()

    pass_over(own_server.engine, access)
    for _ in range(3):
        for number in range(20):
            play.marketplace.place_order("demo-shop", household=number)
        play.clock.advance(60)
        crash = threading.Thread(target=crash_and_restart, args=(chance.uniform(0.0, 0.1), 1.0))
        crash.start()
        pass_over(own_server.engine, access)
        crash.join()
    passes_until_equal(own_server.engine, access, play)


def test_a_lock_that_a_report_holds_is_waited_for(warehouse_url: str, play: Play) -> None:
    engine = create_engine(warehouse_url, connect_args={"options": "-c statement_timeout=400"}, pool_pre_ping=True)
    reader = psycopg2.connect(warehouse_url.replace("+psycopg2", ""))
    with reader.cursor() as cursor:
        cursor.execute("LOCK TABLE core.orders IN ACCESS EXCLUSIVE MODE")
    access = play.access()
    began = time.monotonic()
    threading.Timer(2.0, reader.rollback).start()
    pass_over(engine, access)
    assert time.monotonic() - began > 1.9
    passes_until_equal(engine, access, play)
    reader.close()
    engine.dispose()


def test_a_connection_that_breaks_without_a_word_is_tried_again_too(engine: Engine) -> None:
    tries = 0

    def breaks_once(connection: Connection) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise psycopg2.OperationalError
        return int(connection.execute(text("SELECT 1")).scalar_one())

    assert in_transaction(engine, breaks_once) == 1


def test_two_transactions_in_deadlock_both_land(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("INSERT INTO sync.watermark VALUES ('a', 'x', now(), now()), ('b', 'x', now(), now())"))
    barrier = threading.Barrier(2, timeout=60)

    def work(first: str, second: str) -> None:
        tries = []

        def update(connection: object) -> None:
            tries.append(1)
            for shop in (first, second):
                connection.execute(  # type: ignore[attr-defined]
                    text("UPDATE sync.watermark SET began_at = began_at + interval '1 day' WHERE shop_id = :shop"),
                    {"shop": shop},
                )
                if len(tries) == 1 and shop == first:
                    barrier.wait()

        in_transaction(engine, update)

    threads = [threading.Thread(target=work, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with transaction(engine) as connection:
        moved = connection.execute(
            text("SELECT min(began_at - position), max(began_at - position) FROM sync.watermark")
        )
        assert [str(value) for value in moved.one()] == ["2 days, 0:00:00"] * 2


def test_a_mistake_of_ours_is_not_tried_again(engine: Engine) -> None:
    tries = []

    def wrong(connection: object) -> None:
        tries.append(1)
        connection.execute(text("SELECT 1/0"))  # type: ignore[attr-defined]

    with pytest.raises(Exception, match="division by zero"):
        in_transaction(engine, wrong)
    assert len(tries) == 1


@pytest.mark.parametrize("play", [{"orders": 1_500}], indirect=True)
def test_two_pipelines_on_one_shop_neither_lose_nor_ask_twice(engine: Engine, warehouse_url: str, play: Play) -> None:
    accesses = [play.access(), play.access()]
    engines = [engine, connect(warehouse_url)]
    threads = [threading.Thread(target=pass_over, args=pair) for pair in zip(engines, accesses, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    details = sum(access.calls.total_by_method["taobao.trade.fullinfo.get"] for access in accesses)
    assert details <= 1_500 * 1.02
    passes_until_equal(engine, accesses[0], play)
    engines[1].dispose()
