"""What is wrong around a command, for every command that there is: one line, exit code 2, nothing done."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import click
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from order_pipeline.cli import cli
from order_pipeline.sync.windows import SHANGHAI
from order_pipeline.warehouse import embedded
from order_pipeline.warehouse.database import connect
from order_pipeline_tests.conftest import Play, fresh_database
from order_pipeline_tests.end_to_end.program import run_here, shops_file

NEWER = "9999"
SHOP = "demo-shop"
SECRET = "geheim"
AWAY = f"postgresql://me:{SECRET}@127.0.0.1:1/x"
MISTYPED = f"postgres//me:{SECRET}@db/x"
YESTERDAY = str(datetime.now(SHANGHAI).date() - timedelta(days=1))

# How each command is called where it wants more than its name.
ARGUMENTS = {
    "dev": ["--port", "0"],
    "backfill": ["--from", YESTERDAY, "--to", YESTERDAY],
    "refetch": [SHOP, "1"],
    "authorize": [SHOP],
    "quarantine show": ["1"],
    "quarantine replay": ["--all"],
    "quarantine discard": ["1", "--why", "seen"],
    "follow-ups show": ["1"],
    "follow-ups assign": ["1", "--to", "me"],
    "follow-ups close": ["1", "--why", "seen"],
    "restock accept": ["--all", "--shop", SHOP],
    "restock reject": ["1", "--why", "seen"],
    "restock received": ["1"],
    "restock cancel": ["1", "--why", "seen"],
    "suppliers load": ["suppliers.csv"],
    "bundles load": ["bundles.csv"],
    "breaker open": [SHOP, "--why", "seen"],
    "breaker close": [SHOP, "--why", "seen"],
    "remove-shop": ["gone-shop"],
    "forget": [SHOP, "--all"],
    "report": ["--day", "2026-03-14"],
}
# These have databases of their own, or none.
WITHOUT_THE_WAREHOUSE = {"demo", "sandbox", "prune-events", "dictionary", "notices test"}


def names(command: click.Command, *above: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from names(each, *above, name)
    else:
        yield " ".join(above)


ALL = sorted(names(cli))
OF_THE_WAREHOUSE = [name for name in ALL if name not in WITHOUT_THE_WAREHOUSE]


@pytest.fixture
def folder(project_folder: Path, play: Play) -> Path:
    shops_file(project_folder, play)
    (project_folder / "suppliers.csv").write_text("shop,sku,supplier\n")
    (project_folder / "bundles.csv").write_text("shop,bundle,part,quantity\n")
    return project_folder


def call(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    key = Fernet.generate_key().decode()
    return run_here(*name.split(), *ARGUMENTS.get(name, []), ORDER_PIPELINE_TOKEN_KEY=key, **environment)


def assert_refused(refused: subprocess.CompletedProcess[str], name: str, *said: str) -> None:
    told = refused.stdout if name == "doctor" else refused.stderr
    for words in said:
        assert words in told, (name, refused)
    assert SECRET not in refused.stdout + refused.stderr, name
    if name == "doctor":
        # It looks at everything and reports, a line a finding.
        assert refused.returncode == 1, refused
    else:
        assert refused.returncode == 2, (name, refused)
        assert len(refused.stderr.strip().splitlines()) == 1, (name, refused)


def test_every_command_with_arguments_is_known() -> None:
    assert set(ARGUMENTS) | WITHOUT_THE_WAREHOUSE <= set(ALL)


@pytest.mark.usefixtures("folder")
def test_a_warehouse_that_is_newer_than_the_code_is_refused_by_every_command(postgres: embedded.EmbeddedServer) -> None:
    url = fresh_database(postgres)
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE sync.alembic_version SET version_num = '{NEWER}'"))
    engine.dispose()
    there = {"ORDER_PIPELINE_DATABASE_URL": url, "DAGSTER_POSTGRES_URL": url}
    said = f"the warehouse's schema is {NEWER}, which this version of order_pipeline does not know"
    for name in OF_THE_WAREHOUSE:
        assert_refused(call(name, **there), name, said)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("address", "said"), [(AWAY, "connecting to the warehouse at"), (MISTYPED, "is no PostgreSQL address")]
)
def test_a_wrong_address_is_said_by_every_command(address: str, said: str) -> None:
    for name in OF_THE_WAREHOUSE:
        # The exporter is there to say that the database is away.
        if name != "metrics" or address is not AWAY:
            refused = call(name, ORDER_PIPELINE_DATABASE_URL=address, DAGSTER_POSTGRES_URL=address)
            assert_refused(refused, name, said, "ORDER_PIPELINE_DATABASE_URL")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("shops: [{id: a, platfrom: taobao}]", "platform"),
        ("shops: [{id: a, id: b}]", "twice"),
        ("shop: []", "shops"),
        ("shops: [", "shops.yaml"),
    ],
)
def test_a_shops_file_with_a_slip_is_said_by_every_command_that_reads_it(
    folder: Path, warehouse_url: str, written: str, said: str
) -> None:
    (folder / "shops.yaml").write_text(written)
    there = {"ORDER_PIPELINE_DATABASE_URL": warehouse_url, "DAGSTER_POSTGRES_URL": warehouse_url}
    for name in ("sync", "status", "doctor", "authorize", "breaker open", "metrics", "dev"):
        assert_refused(call(name, **there), name, "shops.yaml", said)
