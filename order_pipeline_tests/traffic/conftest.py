"""One database for the whole folder, emptied before each test: what is shared here are four small tables."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.embedded import EmbeddedServer
from order_pipeline.warehouse.migrate import upgrade

TABLES = "sync.rate_budget, sync.breaker, sync.breaker_count, sync.breaker_change, sync.full_pull"


@pytest.fixture(scope="session")
def traffic_url(postgres: EmbeddedServer) -> str:
    postgres.create_database("traffic")
    engine = connect(postgres.url("traffic"))
    upgrade(engine)
    engine.dispose()
    return postgres.url("traffic")


@pytest.fixture
def warehouse_url(traffic_url: str) -> str:
    """The address of a migrated database without calls, budgets or breakers."""
    gc.collect()
    engine = connect(traffic_url)
    with transaction(engine) as connection:
        connection.execute(text(f"TRUNCATE {TABLES}"))
    engine.dispose()
    return traffic_url


@pytest.fixture
def engine(warehouse_url: str) -> Iterator[Engine]:
    engine = connect(warehouse_url)
    yield engine
    engine.dispose()
