"""A first start that was interrupted leaves Dagster's tables half made; the next one finishes them."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster import AssetCheckKey, AssetKey
from sqlalchemy import Engine, inspect, text

from order_pipeline.commands.dagster_storage import METADATA
from order_pipeline.commands.environment import open_instance
from order_pipeline.warehouse.database import connect

# Dagster makes runs first, then the event log; where in its list a kill fell is open.
LOST = [("asset_check_executions",), ("instance_info", "kvs"), ("jobs", "instigators", "daemon_heartbeats")]


@pytest.mark.usefixtures("project_folder")
@pytest.mark.parametrize("lost", LOST)
def test_the_next_start_finishes_the_tables_of_one_that_was_interrupted(
    warehouse_url: str, lost: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", warehouse_url)
    with open_instance() as instance:
        recorded = instance.create_run_for_job(_nothing)
    engine = connect(warehouse_url)
    whole = _shape(engine)
    with engine.begin() as connection:
        for table in lost:
            connection.execute(text(f"DROP TABLE {table} CASCADE"))
        connection.execute(text("DELETE FROM alembic_version"))
        connection.execute(text("DROP INDEX idx_run_tags"))
    with open_instance() as instance:
        assert instance.get_run_by_id(recorded.run_id) is not None
        key = AssetCheckKey(AssetKey("a"), "b")
        assert not instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        instance.upgrade()
    assert _shape(engine) == whole
    engine.dispose()


@dg.job
def _nothing() -> None:
    pass


def _shape(engine: Engine) -> dict[str, set[str | None]]:
    """Return the names of the indexes of each of Dagster's tables."""
    looked = inspect(engine)
    expected = {name for metadata in METADATA for name in metadata.tables}
    tables = expected & set(looked.get_table_names())
    return {name: {index["name"] for index in looked.get_indexes(name)} for name in tables}
