"""A connection beside the data's: single statements, each committed at once, for what all processes share.

Belongs here: making such a round trip, once more after a broken connection. Not here: any table (budget.py,
breaker.py). The budget must never sit inside a data transaction: it would hold every other process up until that
ends, and forget its grants when that is rolled back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Connection, Engine, Row, TextClause, text
from sqlalchemy.exc import InterfaceError, OperationalError

from order_pipeline.traffic.errors import TransientError

# A row that a person holds locked by hand must not hang all calls; our own statements take less than a millisecond.
STATEMENT_TIMEOUT_MILLISECONDS = 5_000
CHECK_WAREHOUSE = "check that the warehouse is up and `order-pipeline migrate` has been run"

# A grant forgotten by a server that crashed a moment later is older than the margin by the time it is up again.
_SESSION = f"SET synchronous_commit = off; SET statement_timeout = {STATEMENT_TIMEOUT_MILLISECONDS}"


class SideConnection:
    """One connection of its own to the engine's database, in autocommit. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        """Remember where to connect; opens nothing yet."""
        self._engine = engine
        self._lock = Lock()
        self._connection: Connection | None = None
        self._opened_by = os.getpid()

    def execute(self, statement: TextClause, parameters: Mapping[str, Any], *, attempted: str) -> list[Row[Any]]:
        """Run one statement, committed when this returns, and return its rows.

        It is run once more when the connection turns out to be broken, so it may take effect twice.

        Raises:
            TransientError: no answer from the database.

        """
        with self._lock:
            for is_last in (False, True):
                try:
                    result = self._connected().execute(statement, parameters)
                    return list(result) if result.returns_rows else []
                except (InterfaceError, OperationalError) as error:
                    self._drop()
                    if is_last or not error.connection_invalidated:
                        cause = str(error.orig).strip().splitlines() or ["no answer"]
                        raise TransientError(attempted, cause[0], remedy=CHECK_WAREHOUSE) from error
        raise AssertionError("the second try returns or raises")

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        with self._lock:
            self._drop()

    def _connected(self) -> Connection:
        if self._opened_by != os.getpid():
            # After a fork the socket is the parent's: two processes must not write to it.
            self._connection = None
            self._opened_by = os.getpid()
        if self._connection is None:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            # Out of the pool: it stays open, and the pool's check on every checkout would double the round trips.
            connection.detach()
            connection.execute(text(_SESSION))
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


# Weak: it closes with the last budget or breaker that uses it.
_shared: WeakValueDictionary[Engine, SideConnection] = WeakValueDictionary()
_shared_lock = Lock()


def side_connection(engine: Engine) -> SideConnection:
    """Return this process's side connection of the engine: one for all app keys, so that few are open."""
    with _shared_lock:
        side = _shared.get(engine)
        if side is None:
            side = _shared[engine] = SideConnection(engine)
        return side
