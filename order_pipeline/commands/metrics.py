"""order-pipeline metrics: an exporter for Prometheus over the tables, right whatever process made the calls.

Belongs here: serving. Not here: what is served (metrics/).
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from threading import Event

from prometheus_client import CollectorRegistry, start_http_server

from order_pipeline import configuration
from order_pipeline.commands.dev import PortTakenError
from order_pipeline.metrics.collector import PipelineCollector
from order_pipeline.resources.addresses import configured_shops
from order_pipeline.sync.windows import HISTORY_DAYS
from order_pipeline.warehouse.database import DatabaseUnreachableError, connect
from order_pipeline.warehouse.migrate import require_current

APPLICATION = "order-pipeline metrics"


def serve_metrics(host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted. Databases that are away are no reason to end: that is what has to be told.

    ``port`` 0 takes a free one; ``on_ready`` is told the address. Both databases' addresses are in the environment.
    Raises ConfigurationError for a wrong shops.yaml, SchemaError for a schema of another version, PortTakenError.
    """
    warehouse_url, dagster_url = configuration.database_url(), configuration.dagster_url()
    assert warehouse_url is not None  # noqa: S101 - put there by put_databases_in_environment
    assert dagster_url is not None  # noqa: S101 - likewise
    shops = configured_shops(or_none=True)
    warehouse = connect(warehouse_url, application_name=APPLICATION)
    with suppress(DatabaseUnreachableError):
        require_current(warehouse)
    # A registry of our own: the default one would tell of this process, too, as if it were the pipeline.
    registry = CollectorRegistry(auto_describe=False)
    dagster = connect(dagster_url, application_name=APPLICATION)
    registry.register(PipelineCollector(warehouse, dagster, shops, HISTORY_DAYS))
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise PortTakenError(
            f"--host {host} --port {port}: cannot listen there: {error.strerror or error}; stop what listens there, or "
            f"choose another"
        ) from error
    on_ready(f"http://{host}:{server.server_port}/metrics")
    try:
        Event().wait()
    finally:
        # A second signal shall not cut the orderly end short.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.shutdown()
