"""Reading a database for a scrape, which must be answered in time whatever the database does.

Belongs here: deadlines, and what came of each query. Not here: which queries, what they are called.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from order_pipeline.warehouse.database import DatabaseUnreachableError, cause_of, transaction

logger = logging.getLogger(__name__)

# Prometheus waits 10 s for a scrape unless told otherwise.
DEADLINE_SECONDS = 4.0
# All queries together take some tens of milliseconds; a lock that an upgrade holds is not waited for.
QUERY_MILLISECONDS = 1500
# A connection that broke without a word can hang until TCP gives up, a quarter of an hour; then a new one is tried.
GIVEN_UP_AFTER_SECONDS = 30.0


class Query(NamedTuple):
    """What is read under a name."""

    name: str
    read: Callable[[Connection], Any]


class Readings(NamedTuple):
    """What a database said: ``answered`` whether it did at all, ``results`` of the queries that went through.

    ``failed`` names the queries that did not, though the database was there.
    """

    answered: bool
    results: dict[str, Any]
    failed: frozenset[str]


NOTHING = Readings(answered=False, results={}, failed=frozenset())


class Source:
    """A database that is read. Scrapes that come at the same time share one reading."""

    def __init__(self, name: str, engine: Engine, queries: Iterable[Query]) -> None:
        """Prepare; nothing is opened yet. ``name`` is for the log."""
        self._name = name
        self._engine = engine
        self._queries = tuple(queries)
        self._lock = Lock()
        self._running: Future[Readings] | None = None
        self._began = 0.0
        self._is_down = False
        self._failing: frozenset[str] = frozenset()

    def begin(self) -> Future[Readings]:
        """Start a reading, unless one is going on, and return it. It never fails; it may hang."""
        with self._lock:
            running = self._running
            if running and not running.done():
                if time.monotonic() - self._began < GIVEN_UP_AFTER_SECONDS:
                    return running
                # Its connection is lost with it; the pool shall not be.
                self._engine.dispose(close=False)
            fresh: Future[Readings] = Future()
            self._running, self._began = fresh, time.monotonic()
        Thread(target=self._read, args=(fresh,), name=f"read {self._name}", daemon=True).start()
        return fresh

    def finish(self, reading: Future[Readings], deadline: float) -> Readings:
        """Return what the reading brought, NOTHING when it is not there at ``deadline`` (monotonic seconds)."""
        try:
            found = reading.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            self._say_whether_down("no answer in time")
            return NOTHING
        if found.answered:
            self._say_whether_down(None)
        return found

    def _read(self, into: Future[Readings]) -> None:
        try:
            into.set_result(self._readings())
        except Exception as error:  # noqa: BLE001 - whatever it is, the scrape is answered and the log has the cause
            self._say_whether_down(cause_of(error))
            into.set_result(NOTHING)

    def _readings(self) -> Readings:
        results: dict[str, Any] = {}
        failed: set[str] = set()
        began = time.monotonic()
        for query in self._queries:
            if time.monotonic() - began > DEADLINE_SECONDS:
                failed.add(query.name)
                continue
            try:
                # Each on its own, so that one that fails takes no other with it.
                with transaction(self._engine) as connection:
                    connection.execute(
                        text(f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {QUERY_MILLISECONDS}")
                    )
                    results[query.name] = query.read(connection)
            except DatabaseUnreachableError:
                raise
            except SQLAlchemyError as error:
                if isinstance(error, DBAPIError) and error.connection_invalidated:
                    raise
                failed.add(query.name)
                if query.name not in self._failing:
                    logger.warning("metrics: reading %s of %s failed: %s", query.name, self._name, cause_of(error))
        self._failing = frozenset(failed)
        return Readings(True, results, frozenset(failed))

    def _say_whether_down(self, problem: str | None) -> None:
        """Log the change, not every scrape of an outage."""
        if problem and not self._is_down:
            logger.warning("metrics: %s does not answer: %s; it is asked again with every scrape", self._name, problem)
        elif not problem and self._is_down:
            logger.warning("metrics: %s answers again", self._name)
        self._is_down = bool(problem)
