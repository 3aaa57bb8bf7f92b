"""order-pipeline prepare, as a deployment's first step; and databases that are newer than the code."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from order_pipeline.warehouse import embedded
from order_pipeline.warehouse.database import connect
from order_pipeline_tests.end_to_end.program import run

NEWER = "9999"


def addresses(server: embedded.EmbeddedServer, name: str) -> dict[str, str]:
    return {
        "ORDER_PIPELINE_DATABASE_URL": server.url(f"{name}_warehouse"),
        "DAGSTER_POSTGRES_URL": server.url(f"{name}_dagster"),
    }


def write_version(url: str, table: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET version_num = '{NEWER}'"))
    engine.dispose()


@pytest.mark.usefixtures("project_folder")
def test_everything_is_made_ready_once_and_the_second_time_nothing_changes(postgres: embedded.EmbeddedServer) -> None:
    there = addresses(postgres, "prepared")
    first = run("prepare", "--pool", "history=3", **there)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[:2] == ["the warehouse: database created", "Dagster's storage: database created"]
    assert "pool history: 3 runs at once" in first.stdout
    second = run("prepare", "--pool", "history=3", **there)
    assert second.returncode == 0, second.stderr
    assert "created" not in second.stdout
    assert "the warehouse: the schema is current" in second.stdout
    # Dagster's storage of a newer version.
    write_version(there["DAGSTER_POSTGRES_URL"], "alembic_version")
    refused = run("prepare", **there)
    assert refused.returncode == 2
    assert "which this version of Dagster does not know" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("pool", ["history", "history=0"])
@pytest.mark.usefixtures("project_folder")
def test_a_pool_without_a_limit_is_refused(pool: str) -> None:
    refused = run("prepare", "--pool", pool)
    assert refused.returncode == 2
    assert "write NAME=RUNS" in refused.stderr
