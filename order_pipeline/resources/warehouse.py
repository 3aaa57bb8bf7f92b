"""The warehouse as a Dagster resource."""

import dagster as dg
from pydantic import PrivateAttr
from sqlalchemy import Engine

from order_pipeline.configuration import with_driver
from order_pipeline.resources.addresses import warehouse_url
from order_pipeline.warehouse.database import connect
from order_pipeline.warehouse.migrate import require_current


class WarehouseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Postgres with the orders. Left empty, ORDER_PIPELINE_DATABASE_URL counts, else the embedded server.

    Raises SchemaError when the schema is not this version's, DatabaseUnreachableError without an answer.
    """

    database_url: str | None = None
    _engine: Engine | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Connect under the run's name, so that the database's own tools show which run does what."""
        name = f"order_pipeline:{context.run.run_id[:8]}" if context.run else "order_pipeline"
        url = with_driver(self.database_url) if self.database_url else warehouse_url()
        self._engine = connect(url, application_name=name)
        require_current(self._engine)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Close the connections."""
        if self._engine:
            self._engine.dispose()

    @property
    def engine(self) -> Engine:
        """The engine of this execution."""
        if self._engine is None:
            raise RuntimeError("the warehouse is only open inside a run; in a test use dg.build_resources")
        return self._engine
