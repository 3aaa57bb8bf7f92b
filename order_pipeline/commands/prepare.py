"""order-pipeline prepare: both databases made ready before anything else of a deployment starts.

Belongs here: creating databases, bringing both schemas up to date, setting limits that Dagster keeps in its storage.
Not here: the steps of the warehouse's schema (warehouse/migrations), the embedded server (environment.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping

import dagster as dg
import psycopg2
from sqlalchemy.exc import OperationalError

from order_pipeline import configuration
from order_pipeline.commands.environment import open_instance
from order_pipeline.warehouse.creating import create_if_missing
from order_pipeline.warehouse.database import DatabaseUnreachableError, connect
from order_pipeline.warehouse.migrate import SchemaError, upgrade


def prepare_databases(pool_limits: Mapping[str, int]) -> Iterator[str]:
    """Do it, and say of each step what was done. Every step may be repeated.

    Raises DatabaseUnreachableError, SchemaError when either database is newer than this version, ConfigurationError
    without a dagster.yaml.
    """
    yield _create("the warehouse", configuration.DATABASE_URL)
    yield _create("Dagster's storage", configuration.DAGSTER_URL)
    engine = connect(os.environ[configuration.DATABASE_URL], application_name="order-pipeline prepare")
    reached = upgrade(engine)
    engine.dispose()
    yield f"the warehouse: schema upgraded to {reached}" if reached else "the warehouse: the schema is current"
    with open_instance() as instance:
        _upgrade_storage(instance)
        yield "Dagster's storage: the schema is current"
        for pool, runs in pool_limits.items():
            instance.event_log_storage.set_concurrency_slots(pool, runs)
            yield f"pool {pool}: {runs} runs at once"


def _create(name: str, variable: str) -> str:
    """Create the database unless it answers already; a managed server need not let us look for it."""
    url = os.environ[variable]
    engine = connect(url)
    try:
        engine.connect().close()
    except OperationalError as error:
        try:
            created = create_if_missing(url)
        except psycopg2.Error as refused:
            raise DatabaseUnreachableError(name, variable, engine, refused) from refused
        if not created:
            # It is there, and does not let us in: that is what has to be said.
            raise DatabaseUnreachableError(name, variable, engine, error) from error
        return f"{name}: database created"
    finally:
        engine.dispose()
    return f"{name}: the database is there"


def _upgrade_storage(instance: dg.DagsterInstance) -> None:
    from alembic.util import CommandError

    # Alembic reports every step at this level; what was reached is said by us.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        instance.upgrade()
    except CommandError as error:
        raise SchemaError(
            "Dagster's storage has a schema which this version of Dagster does not know: a newer one wrote it; upgrade "
            f"order_pipeline, or point {configuration.DAGSTER_URL} at another database"
        ) from error
