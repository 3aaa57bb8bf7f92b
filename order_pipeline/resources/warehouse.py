"""The warehouse as a Dagster resource."""

from threading import Lock

import dagster as dg
from pydantic import PrivateAttr
from sqlalchemy import Engine

from order_pipeline.configuration import with_driver
from order_pipeline.resources.addresses import warehouse_url
from order_pipeline.warehouse.database import connect
from order_pipeline.warehouse.migrate import require_current

# What ticks share: they come every few seconds, and dialling anew each time was most of what idling cost.
_of_ticks: dict[str, Engine] = {}
_lock = Lock()


class WarehouseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Postgres with the orders. Left empty, ORDER_PIPELINE_DATABASE_URL counts, else the embedded server.

    Raises SchemaError when the schema is not this version's, DatabaseUnreachableError without an answer.
    """

    database_url: str | None = None
    _engine: Engine | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Connect under the run's name, so that the database's own tools show which run does what.

        Ticks of sensors, which are no run, share connections that stay.
        """
        url = with_driver(self.database_url) if self.database_url else warehouse_url()
        if context.run:
            self._engine = connect(url, application_name=f"order_pipeline:{context.run.run_id[:8]}")
        else:
            self._engine = _shared(url)
        require_current(self._engine)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close the connections of a run."""
        if self._engine and context.run:
            self._engine.dispose()

    @property
    def engine(self) -> Engine:
        """The engine of this execution."""
        if self._engine is None:
            raise RuntimeError("the warehouse is only open inside a run; in a test use dg.build_resources")
        return self._engine


def _shared(url: str) -> Engine:
    """Return the connections of this process's ticks; those to another database than the last one are let go."""
    with _lock:
        if url not in _of_ticks:
            for engine in _of_ticks.values():
                engine.dispose()
            _of_ticks.clear()
            _of_ticks[url] = connect(url)
        return _of_ticks[url]
