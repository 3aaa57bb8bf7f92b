"""Everything a command needs before it can work: .env read, databases up, schema current, Dagster's instance.

Belongs here: preparing. Not here: the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from order_pipeline import configuration
from order_pipeline.commands import dagster_storage
from order_pipeline.configuration import ConfigurationError
from order_pipeline.launchers.connections import keep_connections
from order_pipeline.warehouse import database, embedded, migrate

DAGSTER_YAML = "dagster.yaml"


def read_dotenv() -> None:
    """Read .env of the current folder; what the environment already says counts more."""
    from dotenv import load_dotenv

    load_dotenv(Path.cwd() / ".env")


def put_databases_in_environment(*, only_embedded: bool = False) -> None:
    """See to it that both addresses are in the environment, so that Dagster and child processes find them.

    Starts or joins the embedded server for those that are not configured, or for both.
    """
    warehouse, dagster = configuration.database_url(), configuration.dagster_url()
    if only_embedded or not (warehouse and dagster):
        server = embedded.start(configuration.home())
        warehouse = server.warehouse_url if only_embedded or not warehouse else warehouse
        dagster = server.dagster_url if only_embedded or not dagster else dagster
    os.environ[configuration.DATABASE_URL] = warehouse or ""
    os.environ[configuration.DAGSTER_URL] = dagster or ""


@contextmanager
def open_warehouse(*, upgrade: bool = True) -> Iterator[Engine]:
    """Open the warehouse of the environment, its schema current.

    Raises DatabaseUnreachableError and SchemaError.
    """
    url = configuration.database_url()
    assert url is not None  # noqa: S101 - put there by put_databases_in_environment
    engine = database.connect(url, application_name="order-pipeline")
    try:
        if upgrade:
            migrate.upgrade(engine)
        else:
            migrate.require_current(engine)
        yield engine
    finally:
        engine.dispose()


def dagster_home() -> Path:
    """Return the folder of dagster.yaml and put it in the environment, unless DAGSTER_HOME is set.

    Raises ConfigurationError when there is none.
    """
    if os.environ.get("DAGSTER_HOME"):
        return Path(os.environ["DAGSTER_HOME"])
    here = Path.cwd()
    if not (here / DAGSTER_YAML).exists():
        raise ConfigurationError(
            f"{here / DAGSTER_YAML}: not there; run this in the project's folder, or set DAGSTER_HOME to the folder "
            f"of your dagster.yaml"
        )
    os.environ["DAGSTER_HOME"] = str(here)
    return here


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Open Dagster's instance, where runs are recorded.

    Raises ConfigurationError without a dagster.yaml, DatabaseUnreachableError without Dagster's storage.
    """
    dagster_home()
    url = configuration.dagster_url()
    assert url is not None  # noqa: S101 - put there by put_databases_in_environment
    engine = database.connect(url)
    try:
        # Asked first by ourselves: Dagster tries for long and ends in a traceback.
        finished = dagster_storage.finish_storage(engine)
    except OperationalError as error:
        raise database.DatabaseUnreachableError(
            "Dagster's storage", configuration.DAGSTER_URL, engine, error
        ) from error
    finally:
        engine.dispose()
    with dg.DagsterInstance.get() as instance:
        if finished:
            dagster_storage.mark_finished(instance)
        keep_connections(instance)
        yield instance
