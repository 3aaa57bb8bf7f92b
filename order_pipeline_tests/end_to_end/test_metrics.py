"""order-pipeline metrics as an operator meets it when something is wrong from the start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.end_to_end.program import run


@pytest.fixture(autouse=True)
def _databases(project_folder: Path, warehouse_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project_folder
    for variable in ("ORDER_PIPELINE_DATABASE_URL", "DAGSTER_POSTGRES_URL"):
        monkeypatch.setenv(variable, warehouse_url.replace("+psycopg2", ""))


def test_a_port_that_is_taken_is_one_line_and_exit_code_2() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = run("metrics", "--port", str(port))
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert f"--port {port}: cannot listen there: Address already in use" in line


def test_a_schema_that_is_newer_than_the_exporter_is_one_line_and_exit_code_2(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.alembic_version SET version_num = '9999'"))
    refused = run("metrics", "--port", "0")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "9999" in line
