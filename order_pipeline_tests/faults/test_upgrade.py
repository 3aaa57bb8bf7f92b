"""An upgrade in the middle of work: the schema grows under workers of the older version, or two migrate at once."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from click.testing import CliRunner
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from order_pipeline.cli import cli
from order_pipeline.sync.messages import read_messages
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.embedded import EmbeddedServer
from order_pipeline.warehouse.migrate import SchemaError, _config, require_current, upgrade
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import begin_refunds_lately, now_due, pass_over, pass_over_refunds, proof


def test_those_who_migrate_at_once_make_one_schema(postgres: EmbeddedServer) -> None:
    name = f"migrated_{uuid.uuid4().hex[:8]}"
    postgres.create_database(name)
    engines = [connect(postgres.url(name)) for _ in range(3)]
    together = threading.Barrier(len(engines))

    def migrate(engine: Engine) -> str | None:
        together.wait()
        return upgrade(engine)

    with ThreadPoolExecutor() as threads:
        reached = list(threads.map(migrate, engines))
    assert sum(version is not None for version in reached) == 1
    for engine in engines:
        require_current(engine)
        engine.dispose()


@pytest.mark.parametrize("play", [{"orders": 200}], indirect=True)
def test_a_schema_that_grows_under_an_older_worker_loses_nothing(
    engine: Engine, warehouse_url: str, play: Play
) -> None:
    """Steps only add: a worker of the version before goes on, until its next start says that it is too old."""
    with transaction(engine) as connection:
        tables = list(
            connection.execute(
                text("""
                    SELECT format('%I.%I', relnamespace::regnamespace::text, relname) FROM pg_class
                    WHERE relnamespace::regnamespace::text IN ('raw', 'core', 'sync') AND relkind IN ('r', 'p')
                      AND NOT relispartition AND relname <> 'alembic_version' ORDER BY 1
                """)
            ).scalars()
        )
    assert len(tables) > 10
    newer = connect(warehouse_url)
    stopped = threading.Event()
    steps: list[str] = []

    def migrate() -> None:
        """Add a column to every table, one step after the other, while the worker is at it."""
        while not stopped.is_set() and len(steps) < 200:
            table = tables[len(steps) % len(tables)]
            with transaction(newer) as connection:
                connection.execute(text("SET LOCAL lock_timeout = '2s'"))
                column = f"later_{len(steps)}"
                connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column} text NOT NULL DEFAULT 'new'"))
            steps.append(table)
        with transaction(newer) as connection:
            connection.execute(text("UPDATE sync.alembic_version SET version_num = '9999'"))

    with ThreadPoolExecutor() as threads:
        migration = threads.submit(migrate)
        access = play.access()
        for _ in range(3):
            pass_over(engine, access)
            read_messages([access], engine)
            play.marketplace.place_order("demo-shop")
            play.clock.advance(30)
        pass_over(engine, access)
        now_due(engine)
        pass_over(engine, access)
        stopped.set()
        migration.result()
    assert len(steps) > len(tables)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples
    with pytest.raises(SchemaError, match=r"9999.*upgrade order_pipeline"):
        upgrade(engine)
    newer.dispose()


@pytest.mark.parametrize("play", [{"orders": 200}], indirect=True)
def test_a_rollback_to_the_first_schema_and_back_keeps_the_orders(engine: Engine, play: Play) -> None:
    """What later steps added goes with them, and is loaded again: nothing that only we had is in the older tables."""
    access = play.access()
    pass_over(engine, access)
    kept = {table: everything(engine, table) for table in ("core.orders", "core.order_items", "raw.page")}
    assert all(kept.values())
    with transaction(engine) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    with pytest.raises(SchemaError, match=r"0001.*order-pipeline migrate"):
        require_current(engine)
    assert {table: everything(engine, table) for table in kept} == kept
    upgrade(engine)
    assert {table: everything(engine, table) for table in kept} == kept
    play.marketplace.place_order("demo-shop")
    play.clock.advance(60)
    begin_refunds_lately(engine, access)
    pass_over(engine, access)
    now_due(engine)
    pass_over(engine, access)
    pass_over_refunds(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def everything(engine: Engine, table: str) -> int:
    """A sum over what the first schema's tables hold, whatever columns came later."""
    identity = {
        "core.orders": "order_id, status, payment, modified_at",
        "core.order_items": "order_id, item_id, quantity, payment, status",
        "raw.page": "body",
    }[table]
    query = f"SELECT coalesce(sum(hashtextextended(row({identity})::text, 0)), 0) FROM {table}"
    with transaction(engine) as connection:
        return int(connection.execute(text(query)).scalar_one())


# From 0013 on, all that this code needs to load is there; at 0007 much is missing, and every load is refused.
@pytest.mark.parametrize(("revision", "can_load"), [("0013", True), ("0007", False)])
@pytest.mark.parametrize("play", [{"orders": 60, "days": 3}], indirect=True)
def test_migrating_an_older_schema_while_a_worker_loads_loses_nothing(
    engine: Engine, warehouse_url: str, play: Play, monkeypatch: pytest.MonkeyPatch, revision: str, can_load: bool
) -> None:
    """The steps as they are, over tables with rows: loads go on or are refused whole, and the next one has it all."""
    access = play.access()
    pass_over(engine, access)
    read_messages([access], engine)
    with transaction(engine) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    loads: list[str] = []
    begun, migrated = threading.Event(), threading.Event()

    def work() -> None:
        """Load what is new, until a load began after the migration; that one must not be refused."""
        is_last = False
        while not is_last:
            is_last = migrated.is_set()
            play.marketplace.place_order("demo-shop")
            play.clock.advance(30)
            try:
                read_messages([access], engine)
                pass_over(engine, access)
                loads.append("loaded")
            except ProgrammingError as error:
                if is_last:
                    raise
                loads.append(str(error.orig))
            finally:
                begun.set()

    monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", warehouse_url)
    with ThreadPoolExecutor() as threads:
        worker = threads.submit(work)
        assert begun.wait(240)
        done = CliRunner().invoke(cli, ["migrate"])
        migrated.set()
        worker.result()
    assert done.exit_code == 0, done.output
    require_current(engine)
    refused = [each for each in loads if each != "loaded"]
    assert loads[-1] == "loaded"
    # No load of 0007 gets through; of 0013 all do.
    assert bool(refused) is not can_load
    assert all("does not exist" in each for each in refused)
    now_due(engine)
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples
    assert found.orders > len(loads)
