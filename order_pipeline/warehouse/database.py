"""The door to the warehouse: an engine that says who it is, and errors that say what to do.

Belongs here: connecting. Not here: any table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import OperationalError

# Every worker thread holds one while it loads; 8 detail threads fetch without one.
POOL_SIZE = 4
MAX_OVERFLOW = 12
CONNECT_TIMEOUT_SECONDS = 10


class DatabaseUnreachableError(Exception):
    """A database does not answer; the message names the address (without password), the cause and the remedy."""

    def __init__(self, name: str, variable: str, engine: Engine, error: OperationalError) -> None:
        cause = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
        super().__init__(
            f"connecting to {name} at {shown(engine)} failed: {cause}; a retry helps once it is up; "
            f"check {variable} and the server"
        )


def connect(url: str, *, application_name: str = "order_pipeline") -> Engine:
    """Make an engine for a postgresql+psycopg2:// address. Opens nothing yet."""
    return create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=MAX_OVERFLOW,
        # A server restart leaves dead connections in the pool; asking first costs 0.1 ms on a socket.
        pool_pre_ping=True,
        connect_args={"application_name": application_name, "connect_timeout": CONNECT_TIMEOUT_SECONDS},
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open a connection in one transaction: all of the block lands, or nothing.

    Raises DatabaseUnreachableError when no connection can be had.
    """
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise DatabaseUnreachableError("the warehouse", "ORDER_PIPELINE_DATABASE_URL", engine, error) from error
    with connection, connection.begin():
        yield connection


def shown(engine: Engine) -> str:
    """Return the engine's address without the password."""
    return re.sub(r"^postgresql\+psycopg2", "postgresql", engine.url.render_as_string(hide_password=True))
