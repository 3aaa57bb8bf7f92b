"""Bring the warehouse's schema up to this code's version, or say how they differ.

Belongs here: running Alembic. Not here: the steps (migrations/versions).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.lock_keys import MIGRATION_LOCK
from order_pipeline.warehouse.months import ensure_months

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaError(Exception):
    """The database's schema and this code do not fit; the message says which is older and what to do."""


def upgrade(engine: Engine) -> str | None:
    """Run the missing steps in one transaction and return the version reached, None if there was nothing to do.

    Also makes the partitions of this month and the next.

    Raises SchemaError when the database was made by a newer version of this code.
    """
    reached = _upgrade(engine)
    # On its own, as it may have to wait for others and come again.
    in_transaction(engine, lambda connection: ensure_months(connection, datetime.now(UTC)))
    return reached


def _upgrade(engine: Engine) -> str | None:
    from alembic import command

    with transaction(engine) as connection:
        # Two processes do not migrate at once.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS sync"))
        connection.execute(text("COMMENT ON SCHEMA sync IS 'How far the pipeline is, and what it still has to do.'"))
        config = _config()
        config.attributes["connection"] = connection
        before, newest = _versions(engine)
        if before == newest:
            return None
        command.upgrade(config, "head")
        return newest


def require_current(engine: Engine) -> None:
    """Raise SchemaError unless the database's schema is this code's."""
    found, newest = _versions(engine)
    if found != newest:
        raise SchemaError(
            f"the warehouse's schema is {found or 'empty'}, this version needs {newest}; run: order-pipeline migrate"
        )


def _versions(engine: Engine) -> tuple[str | None, str]:
    # From the files' names: every run asks, and importing Alembic takes 0.3 s. A test holds names and revisions equal.
    known = sorted(step.name.split("_")[0] for step in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    newest = known[-1]
    with transaction(engine) as connection:
        there = connection.execute(text("SELECT to_regclass('sync.alembic_version')")).scalar()
        found = connection.execute(text("SELECT version_num FROM sync.alembic_version")).scalar() if there else None
    if found is not None and found not in known:
        raise SchemaError(
            f"the warehouse's schema is {found}, which this version of order_pipeline does not know (it goes up to "
            f"{newest}); upgrade order_pipeline, or point ORDER_PIPELINE_DATABASE_URL at another database"
        )
    return found, newest


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
