"""sync.message_queue and sync.message_seller: how the reading of each queue goes, and whose messages come in it.

Belongs here: reading and writing them, and the lock that makes one reader of many. Not here: the messages
themselves (messages.py). Waits are by this server's clock, which all processes share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from order_pipeline.warehouse.database import DatabaseUnreachableError
from order_pipeline.warehouse.lock_keys import READER_LOCKS


class QueueState(NamedTuple):
    """How the reading of a queue goes. ``pause_seconds``: still to wait, None: it may be read."""

    read_at: datetime | None
    lag_seconds: float | None
    failures: int
    problem: str | None
    pause_seconds: float | None


class Seller(NamedTuple):
    """A shop as messages name it; what is due: the permit, and the question for the nick."""

    shop_id: str
    seller_nick: str | None
    seller_id: str | None
    permitted: bool
    problem: str | None
    permit_is_due: bool
    ask_is_due: bool


@contextmanager
def only_reader(engine: Engine, app_key: str, group: str) -> Iterator[bool]:
    """Be the only reader of a queue while the block runs; yields False when another process is."""
    keys = {"locks": READER_LOCKS, "queue": f"{app_key}/{group}"}
    try:
        session = engine.connect()
    except OperationalError as error:
        raise DatabaseUnreachableError("the warehouse", "ORDER_PIPELINE_DATABASE_URL", engine, error) from error
    with session as connection:
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:locks, hashtext(:queue))"), keys).scalar_one()
        # Out of the transaction: an idle one would keep vacuum from cleaning.
        connection.commit()
        try:
            yield bool(taken)
        finally:
            if taken:
                # Where the session is gone, so is the lock.
                with suppress(DBAPIError):
                    connection.execute(text("SELECT pg_advisory_unlock(:locks, hashtext(:queue))"), keys)
                    connection.commit()


def read_queue(connection: Connection, app_key: str, group: str) -> QueueState:
    """Return how the reading goes; of a queue that was never read, that nothing is known."""
    row = connection.execute(
        text("""
            SELECT read_at, lag_seconds, failures, problem,
                   CASE WHEN paused_until > now() THEN extract(epoch FROM paused_until - now())::float END
            FROM sync.message_queue WHERE app_key = :app_key AND message_group = :group
        """),
        {"app_key": app_key, "group": group},
    ).one_or_none()
    return QueueState(*row) if row else QueueState(None, None, 0, None, None)


class Hearing(NamedTuple):
    """How a shop's messages come in: seconds since its queue was read, the last lag, and what is wrong."""

    read_seconds_ago: float | None
    lag_seconds: float | None
    problem: str | None


def hearing(connection: Connection, shop_id: str) -> Hearing:
    """Return how a shop's messages come in; all None before the first reading."""
    row = connection.execute(
        text("""
            SELECT extract(epoch FROM now() - max(queue.read_at))::float, max(queue.lag_seconds),
                   coalesce(max(queue.problem), max(seller.problem))
            FROM sync.message_seller seller LEFT JOIN sync.message_queue queue ON queue.app_key = seller.app_key
            WHERE seller.shop_id = :shop_id
        """),
        {"shop_id": shop_id},
    ).one()
    return Hearing(*row)


def note_read(connection: Connection, app_key: str, group: str, lag_seconds: float | None) -> None:
    """Note that the queue was read; ``lag_seconds`` None: nothing new was in it."""
    connection.execute(
        text("""
            INSERT INTO sync.message_queue AS held (app_key, message_group, read_at, lag_seconds)
            VALUES (:app_key, :group, now(), :lag)
            ON CONFLICT (app_key, message_group) DO UPDATE
            SET read_at = now(), lag_seconds = coalesce(excluded.lag_seconds, held.lag_seconds), failures = 0,
                problem = NULL, paused_until = '-infinity'
        """),
        {"app_key": app_key, "group": group, "lag": lag_seconds},
    )


def note_failure(connection: Connection, app_key: str, group: str, problem: str, pause_seconds: float) -> None:
    """Note that the queue could not be read, and let nobody try for some seconds."""
    connection.execute(
        text("""
            INSERT INTO sync.message_queue AS held (app_key, message_group, failures, problem, paused_until)
            VALUES (:app_key, :group, 1, :problem, now() + make_interval(secs => :pause))
            ON CONFLICT (app_key, message_group) DO UPDATE
            SET failures = held.failures + 1, problem = excluded.problem, paused_until = excluded.paused_until
        """),
        {"app_key": app_key, "group": group, "problem": problem, "pause": pause_seconds},
    )


def read_sellers(connection: Connection, app_key: str, shop_ids: Sequence[str]) -> list[Seller]:
    """Return what is known of these shops, in their order; of a new one that everything is due.

    Behind them the app's other shops that are in use, of which nothing is due: who reads for some of the shops finds
    the messages of all. A shop is in use as long as somebody renews its permit, or tries to.
    """
    rows = connection.execute(
        text("""
            SELECT wanted.shop_id, seller_nick, seller_id, permitted_at IS NOT NULL, problem,
                   coalesce(permit_at <= now(), true), seller_nick IS NULL AND coalesce(ask_at <= now(), true),
                   wanted.number
            FROM unnest(cast(:shop_ids AS text[])) WITH ORDINALITY AS wanted (shop_id, number)
            LEFT JOIN sync.message_seller held ON held.app_key = :app_key AND held.shop_id = wanted.shop_id
            UNION ALL
            SELECT shop_id, seller_nick, seller_id, permitted_at IS NOT NULL, NULL, false, false, NULL
            FROM sync.message_seller
            WHERE app_key = :app_key AND NOT shop_id = ANY(:shop_ids) AND permit_at > now() - interval '1 day'
            ORDER BY 8 NULLS LAST, 1
        """),
        {"app_key": app_key, "shop_ids": list(shop_ids)},
    )
    return [Seller(*row[:-1]) for row in rows]


def note_permit(connection: Connection, app_key: str, shop_id: str, problem: str | None, again_seconds: float) -> None:
    """Note that a shop's messages were permitted, or why not, and when to ask again."""
    connection.execute(
        text("""
            INSERT INTO sync.message_seller AS held (app_key, shop_id, permitted_at, problem, permit_at)
            VALUES (:app_key, :shop_id, CASE WHEN cast(:problem AS text) IS NULL THEN now() END, :problem,
                    now() + make_interval(secs => :again))
            ON CONFLICT (app_key, shop_id) DO UPDATE
            SET permitted_at = coalesce(excluded.permitted_at, held.permitted_at), problem = excluded.problem,
                permit_at = excluded.permit_at
        """),
        {"app_key": app_key, "shop_id": shop_id, "problem": problem, "again": again_seconds},
    )


def note_nick(connection: Connection, app_key: str, shop_id: str, nick: str | None, again_seconds: float) -> None:
    """Note a shop's seller; None: not known yet, ask again after some seconds."""
    connection.execute(
        text("""
            INSERT INTO sync.message_seller AS held (app_key, shop_id, seller_nick, ask_at)
            VALUES (:app_key, :shop_id, :nick, now() + make_interval(secs => :again))
            ON CONFLICT (app_key, shop_id) DO UPDATE
            SET seller_nick = coalesce(excluded.seller_nick, held.seller_nick), ask_at = excluded.ask_at
        """),
        {"app_key": app_key, "shop_id": shop_id, "nick": nick, "again": again_seconds},
    )


def note_seller_id(connection: Connection, app_key: str, shop_id: str, seller_id: str) -> None:
    """Note the number of a shop's seller, learnt from a message that names the nick, too."""
    connection.execute(
        text("UPDATE sync.message_seller SET seller_id = :seller_id WHERE app_key = :app_key AND shop_id = :shop_id"),
        {"app_key": app_key, "shop_id": shop_id, "seller_id": seller_id},
    )


class KnownSession(NamedTuple):
    """A shop's session: what tells it from others, and since when it is known."""

    fingerprint: str
    since: datetime


def note_session(connection: Connection, app_key: str, shop_id: str, fingerprint: str) -> None:
    """Note the session that counts now; the same one again writes nothing."""
    connection.execute(
        text("""
            INSERT INTO sync.message_seller AS held (app_key, shop_id, session_fingerprint, session_since)
            VALUES (:app_key, :shop_id, :fingerprint, now())
            ON CONFLICT (app_key, shop_id) DO UPDATE
            SET session_fingerprint = excluded.session_fingerprint, session_since = excluded.session_since
            WHERE held.session_fingerprint IS DISTINCT FROM excluded.session_fingerprint
        """),
        {"app_key": app_key, "shop_id": shop_id, "fingerprint": fingerprint},
    )


def read_session(connection: Connection, app_key: str, shop_id: str) -> KnownSession | None:
    """Return the session that the last reading found, None before the first."""
    row = connection.execute(
        text("""
            SELECT session_fingerprint, session_since FROM sync.message_seller
            WHERE app_key = :app_key AND shop_id = :shop_id AND session_fingerprint IS NOT NULL
        """),
        {"app_key": app_key, "shop_id": shop_id},
    ).one_or_none()
    return KnownSession(*row) if row else None


def ask_permit_again(connection: Connection, app_key: str, shop_id: str) -> None:
    """Let the shop's permit be asked for at the next reading: it ended."""
    connection.execute(
        text("UPDATE sync.message_seller SET permit_at = '-infinity' WHERE app_key = :app_key AND shop_id = :shop_id"),
        {"app_key": app_key, "shop_id": shop_id},
    )
