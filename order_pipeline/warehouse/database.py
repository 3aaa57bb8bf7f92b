"""The door to the warehouse: an engine that says who it is, and errors that say what to do.

Belongs here: connecting. Not here: any table.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Every worker thread holds one while it loads; 8 detail threads fetch without one.
POOL_SIZE = 4
MAX_OVERFLOW = 12
CONNECT_TIMEOUT_SECONDS = 10

# Longer than a restart or a failover takes, shorter than a person waits before looking.
PATIENCE_SECONDS = 90.0
LONGEST_PAUSE_SECONDS = 3.0

# SQLSTATEs after which the same transaction may go through: connection lost, serialization failure, deadlock, too
# many connections, lock or statement timeout, server stopping or starting. A full disk is not among them.
PASSING_STATES = ("08", "40001", "40P01", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "57P05")


class DatabaseUnreachableError(Exception):
    """A database does not answer; the message names the address (without password), the cause and the remedy."""

    def __init__(self, name: str, variable: str, engine: Engine, error: Exception) -> None:
        super().__init__(
            f"connecting to {name} at {shown(engine)} failed: {cause_of(error)}; "
            f"a retry helps once it is up; check {variable} and the server"
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
def session(engine: Engine) -> Iterator[Connection]:
    """Open a connection for several transactions that need the same session.

    Raises DatabaseUnreachableError when no connection can be had.
    """
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise unreachable(engine, error) from error
    with connection:
        yield connection


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open a connection in one transaction: all of the block lands, or nothing.

    Raises DatabaseUnreachableError when no connection can be had.
    """
    with session(engine) as connection, connection.begin():
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a connection for reading: every statement of the block sees the tables as they are at the first one.

    Raises DatabaseUnreachableError when no connection can be had.
    """
    with transaction(engine) as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        yield connection


def in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Do the work in a transaction, again from its beginning while the database stumbles, and return what it brings.

    ``work`` must not change anything but the database: it may run several times, of which one lands. (When a
    connection dies during the commit itself it may even land twice; our loads give the same tables then.)
    Raises DatabaseUnreachableError when the database does not recover in time; other errors at once.
    """
    import tenacity

    def report(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.warning("the warehouse stumbled (%s); trying again", cause_of(error))

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_passing),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE_SECONDS),
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
        before_sleep=report,
        reraise=True,
    )

    def attempt() -> T:
        with transaction(engine) as connection:
            return work(connection)

    try:
        return retrying(attempt)
    except (DBAPIError, psycopg2.Error) as error:
        if not is_passing(error):
            raise
        raise unreachable(engine, error) from error


def cause_of(error: BaseException | None) -> str:
    """Return the first line of what the driver says; a connection that breaks is now and then told without a word."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    return said[0] if said else f"{type(error).__name__}, no answer"


def unreachable(engine: Engine, error: Exception) -> DatabaseUnreachableError:
    """Return what to raise where the warehouse does not come back."""
    return DatabaseUnreachableError("the warehouse", "ORDER_PIPELINE_DATABASE_URL", engine, error)


def is_passing(error: BaseException) -> bool:
    """Return whether the same transaction may go through when it is tried again."""
    if isinstance(error, DatabaseUnreachableError):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    # When the connection itself breaks the driver gives no state, and now and then only the bare class.
    kinds = (psycopg2.OperationalError, psycopg2.InterfaceError)
    if not isinstance(cause, psycopg2.Error) or not (isinstance(cause, kinds) or type(cause) is psycopg2.DatabaseError):
        return False
    return cause.pgcode is None or cause.pgcode.startswith(PASSING_STATES)


def shown(engine: Engine) -> str:
    """Return the engine's address without the password."""
    return re.sub(r"^postgresql\+psycopg2", "postgresql", engine.url.render_as_string(hide_password=True))
