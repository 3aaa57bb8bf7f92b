"""What tests share: one embedded PostgreSQL a session, a database a test, and a sandbox over real HTTP."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine

from order_pipeline.configuration import Shop
from order_pipeline.platforms.taobao.messages import TOPICS_WITH_TRACES
from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform
from order_pipeline.sandbox.clock import SHANGHAI, DrivenClock, from_ms
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sync.access import ShopAccess
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.gate import Gate
from order_pipeline.traffic.retry import RetrySettings
from order_pipeline.warehouse import embedded, migrate
from order_pipeline.warehouse.database import connect

# A calm noon, so that no test's day ends while it runs.
NOON = datetime(2026, 3, 15, 12, 0, 0, tzinfo=SHANGHAI)
# Tests of faults shall not wait as long as a person would let the real thing.
QUICK_RETRY = RetrySettings(attempts=3, deadline_seconds=5, first_wait_seconds=0.01, longest_wait_seconds=0.05)

# The same examples each time, so that a change is judged by itself; however long a busy machine takes over one of them.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
# New examples with each run: make test ARGS=--hypothesis-profile=exploring
settings.register_profile("exploring", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("repeatable")

_numbers = itertools.count(1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print why a test needed its second try: a try that failed is to be mended, whatever the next one said."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_sep("_", f"first try of {report.nodeid}", red=True)
        terminalreporter.write_line(report.longreprtext)


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.EmbeddedServer]:
    """An embedded server of this session's own, with a migrated database to copy from."""
    # Not pytest's folder: other sessions remove that one after a while, even under a running server.
    with tempfile.TemporaryDirectory(prefix="order-pipeline-") as home:
        server = embedded.start(Path(home))
        _forget_the_disk(server)
        server.create_database("template")
        engine = connect(server.url("template"))
        migrate.upgrade(engine)
        engine.dispose()
        yield server
        server.stop()


def _forget_the_disk(server: embedded.EmbeddedServer) -> None:
    """Let the server skip fsync: nothing here survives a power cut, and creating and emptying tables waits for it most.

    Tests that crash a server start one of their own, which does sync.
    """
    connection = psycopg2.connect(server.url("postgres").replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET fsync = off")
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()


@pytest.fixture
def warehouse_url(postgres: embedded.EmbeddedServer) -> str:
    """The address of a fresh, migrated database."""
    return fresh_database(postgres)


def fresh_database(postgres: embedded.EmbeddedServer) -> str:
    """Make a migrated database and return its address, for a test that needs several."""
    name = f"test_{next(_numbers)}"
    connection = psycopg2.connect(postgres.url("postgres").replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template STRATEGY FILE_COPY")
    connection.close()
    return postgres.url(name)


@pytest.fixture
def engine(warehouse_url: str) -> Iterator[Engine]:
    """A fresh, migrated warehouse."""
    engine = connect(warehouse_url)
    yield engine
    engine.dispose()


class Play:
    """A sandbox on a driven clock, and the way into it that the pipeline uses."""

    def __init__(self, marketplace: Marketplace, server: SandboxServer) -> None:
        self.marketplace = marketplace
        self.server = server
        assert isinstance(marketplace.clock, DrivenClock)
        self.clock = marketplace.clock

    @property
    def now(self) -> datetime:
        return from_ms(self.clock.now_ms())

    def shop(self, **changes: str | bool) -> Shop:
        values = {
            "id": DEMO_SHOP.id,
            "platform": "taobao",
            "gateway_url": self.server.gateway_url,
            "app_key": DEMO_SHOP.app_key,
            "app_secret": DEMO_SHOP.app_secret,
            "session_key": DEMO_SHOP.session_key,
        }
        return Shop(**(values | changes))  # type: ignore[arg-type]

    def access(
        self,
        page_size: int = 100,
        clock_off: timedelta = timedelta(0),
        gate: Gate | None = None,
        /,
        **changes: str | bool,
    ) -> ShopAccess:
        shop = self.shop(**changes)
        calls, gate = CallLog(), gate or Gate()
        credentials = TaobaoCredentials(
            shop_id=shop.id,
            gateway_url=shop.gateway_url,
            app_key=shop.app_key,
            app_secret=shop.app_secret,
            session_key=shop.session_key,
        )
        platform = TaobaoPlatform(
            credentials,
            calls,
            clock=lambda: self.now + clock_off,
            page_size=page_size,
            retry=QUICK_RETRY,
            gate=gate,
            topics=TOPICS_WITH_TRACES if shop.trace_messages else (),
        )
        return ShopAccess(shop, platform, calls, gate)


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    """A sandbox of 300 synthetic orders over 5 days; parametrize indirectly with other settings."""
    chosen = {"orders": 300, "days": 5, "seed": 7, "driven_from": NOON} | getattr(request, "param", {})
    marketplace = open_marketplace(SandboxSettings(**chosen))
    with SandboxServer(marketplace) as server:
        yield Play(marketplace, server)


@pytest.fixture
def project_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the project's dagster.yaml and workspace.yaml, as the current one."""
    return enter_project_folder(tmp_path, monkeypatch)


def enter_project_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for a fixture that lives longer than a test."""
    root = Path(__file__).parent.parent
    for name in ("dagster.yaml", "workspace.yaml"):
        (folder / name).write_text((root / name).read_text())
    monkeypatch.chdir(folder)
    for variable in ("ORDER_PIPELINE_DATABASE_URL", "DAGSTER_POSTGRES_URL", "ORDER_PIPELINE_SHOPS",
                     "ORDER_PIPELINE_HOME", "DAGSTER_HOME"):  # fmt: skip
        monkeypatch.delenv(variable, raising=False)
    return folder
