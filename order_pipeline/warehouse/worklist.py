"""The worklists, sync.pending_order and sync.pending_refund: channels say what changed, enrichment drains them.

Belongs here: saying, leasing, clearing, the same for each subject. Not here: fetching (sync/enrichment.py).

A lease names a worker by the advisory lock that its session holds. When the worker dies, however suddenly,
Postgres drops the lock and its leases are free at once; the time limit only catches a worker that hangs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from order_pipeline.warehouse.copying import copy_rows, is_made, staging_table
from order_pipeline.warehouse.lock_keys import WORKER_LOCKS
from order_pipeline.warehouse.subjects import ORDERS, Subject

# A batch takes seconds; ten minutes means that its worker hangs or lost its session behind a pooler.
LEASE = timedelta(minutes=10)
# What lists saw of a record that only a message has spoken of: nothing that its details could be older than.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Said(NamedTuple):
    """Somebody says that a record (an order, a refund) changed at that platform time."""

    record_id: str
    modified: datetime


class Shown(NamedTuple):
    """A list that was asked for at that platform time (``sent_at``) shows an order in some version."""

    order_id: str
    modified_at: datetime
    status: str
    payment: Decimal | None
    received_payment: Decimal | None
    seller_flag: int | None
    step_status: str | None
    step_paid_fee: Decimal | None
    sent_at: datetime


class Announced(NamedTuple):
    """A message says that a record changed, at or before that platform time. It is not done before ``in_seconds``."""

    record_id: str
    published_at: datetime
    in_seconds: float


class KnownDetail(NamedTuple):
    """Which details of a record are in the tables: its modified, and the platform time when they were asked for."""

    modified: datetime
    asked_at: datetime


class Pending(NamedTuple):
    """A record taken from the worklist, with what was said about it by then.

    ``seen_modified`` is from lists (EPOCH: none listed it), ``announced_at`` from messages.
    """

    record_id: str
    seen_modified: datetime
    version: int
    attempts: int
    announced_at: datetime | None = None


class Outcome(NamedTuple):
    """What came of a record that was taken: done when ``due_again`` is None.

    ``loaded_modified`` is the modified time of the detail that was loaded, ``known_until`` the platform time up to
    which it holds every change; the record stays on the list while a newer modified has been seen, or a later change
    was announced. ``due_again`` in seconds from now; infinite: until somebody says something newer.
    """

    pending: Pending
    loaded_modified: datetime | None
    known_until: datetime | None
    due_again: float | None
    problem: str | None


def say_changed(
    connection: Connection, shop_id: str, channel: str, said: Iterable[Said], *, subject: Subject = ORDERS
) -> int:
    """Put records on their worklist unless their details are loaded in that version already; return how many are new.

    A newer say wakes a record that waits; the same one again changes nothing.
    """
    newest: dict[str, datetime] = {}
    for record_id, modified in said:
        if record_id not in newest or newest[record_id] < modified:
            newest[record_id] = modified
    if not newest:
        return 0
    staged = staging_table(connection, f"staged_say_of_{subject.name}", subject.worklist)
    connection.execute(text(f"TRUNCATE {staged}"))
    copy_rows(
        connection,
        staged,
        ("shop_id", subject.key, "seen_modified", "channel"),
        [(shop_id, record_id, modified, channel) for record_id, modified in newest.items()],
    )
    unknown = f"""
        SELECT s.shop_id, s.{subject.key}, s.seen_modified
        FROM {staged} s
        LEFT JOIN {subject.table} o ON o.shop_id = s.shop_id AND o.{subject.key} = s.{subject.key}
        WHERE o.detail_modified_at IS NULL OR o.detail_modified_at < s.seen_modified
    """
    return _say(connection, channel, unknown, subject)


def say_staged(connection: Connection, channel: str, *, subject: Subject = ORDERS) -> int:
    """Say of all records whose versions were staged and merged on this connection that they changed.

    As ``say_changed``, but most answers are known from the merge (staging.py); only the others are looked up.
    """
    unknown = f"""
        SELECT s.shop_id, s.{subject.key}, s.modified_at
        FROM {subject.staged} s
        LEFT JOIN {subject.merged} m ON m.{subject.key} = s.{subject.key}
        LEFT JOIN LATERAL (
            SELECT o.detail_modified_at FROM {subject.table} o
            WHERE m.{subject.key} IS NULL AND o.shop_id = s.shop_id AND o.{subject.key} = s.{subject.key}
            -- One by one: the planner knows nothing of a session's tables, and would read all orders there are.
            OFFSET 0
        ) o ON true
        WHERE coalesce(m.detail_modified_at, o.detail_modified_at, '-infinity') < s.modified_at
    """
    return _say(connection, channel, unknown, subject)


def _say(connection: Connection, channel: str, unknown: str, subject: Subject) -> int:
    # ``unknown``: SELECT of shop, id and time of the changes whose details are not in the tables.
    result = connection.execute(
        text(f"""
            INSERT INTO {subject.worklist} AS held (shop_id, {subject.key}, seen_modified, channel)
            SELECT unknown.*, :channel FROM ({unknown}) unknown
            -- In one order everywhere, so that two sayers cannot deadlock.
            ORDER BY unknown.{subject.key}
            ON CONFLICT (shop_id, {subject.key}) DO UPDATE
            SET seen_modified = excluded.seen_modified, channel = excluded.channel, said_at = now(), due_at = now(),
                attempts = 0, last_problem = NULL
            WHERE excluded.seen_modified > held.seen_modified
        """),
        {"channel": channel},
    )
    return int(result.rowcount)


def known_details(
    connection: Connection, shop_id: str, record_ids: Sequence[str], *, subject: Subject = ORDERS
) -> dict[str, KnownDetail]:
    """Return which details are in the tables, of records where no list has shown anything newer since."""
    rows = connection.execute(
        text(f"""
            SELECT {subject.key}, detail_modified_at, sent_at FROM {subject.table}
            WHERE shop_id = :shop_id AND {subject.key} = ANY(:record_ids) AND source = 'detail'
        """),
        {"shop_id": shop_id, "record_ids": list(record_ids)},
    )
    return {record_id: KnownDetail(modified, asked_at) for record_id, modified, asked_at in rows}


def say_announced(
    connection: Connection, shop_id: str, channel: str, announced: Sequence[Announced], *, subject: Subject = ORDERS
) -> int:
    """Put records on their worklist that messages announce a change of; return how many are new, one row a record.

    A later one wakes a record that waits. Where somebody is at the record, it is due again once what he fetches has
    turned out to be older than the message.
    """
    newest: dict[str, Announced] = {}
    for each in announced:
        if each.record_id not in newest or newest[each.record_id].published_at < each.published_at:
            newest[each.record_id] = each
    if not newest:
        return 0
    given = [newest[record_id] for record_id in sorted(newest)]
    result = connection.execute(
        text(f"""
            INSERT INTO {subject.worklist} AS held
                (shop_id, {subject.key}, seen_modified, announced_at, channel, due_at)
            SELECT :shop_id, s.record_id, :epoch, s.published_at, :channel, now() + make_interval(secs => s.wait)
            FROM unnest(cast(:record_ids AS text[]), cast(:published AS timestamptz[]),
                        cast(:waits AS double precision[])) AS s (record_id, published_at, wait)
            ORDER BY s.record_id
            ON CONFLICT (shop_id, {subject.key}) DO UPDATE
            SET announced_at = excluded.announced_at, channel = excluded.channel, said_at = now(), attempts = 0,
                last_problem = NULL,
                due_at = CASE WHEN held.leased_until > now() THEN excluded.due_at
                              ELSE least(held.due_at, excluded.due_at) END
            WHERE excluded.announced_at > coalesce(held.announced_at, '-infinity')
        """),
        {
            "shop_id": shop_id,
            "epoch": EPOCH,
            "channel": channel,
            "record_ids": [each.record_id for each in given],
            "published": [each.published_at for each in given],
            "waits": [each.in_seconds for each in given],
        },
    )
    return int(result.rowcount)


def unknown_changes(connection: Connection, shop_id: str, said: Iterable[Said], *, subject: Subject = ORDERS) -> int:
    """Return how many of these changes are news: neither loaded with details nor on the worklist."""
    pairs = list(said)
    count = connection.execute(
        text(f"""
            SELECT count(*)
            FROM unnest(cast(:record_ids AS text[]), cast(:modified AS timestamptz[])) AS s (record_id, modified)
            LEFT JOIN {subject.table} o ON o.shop_id = :shop_id AND o.{subject.key} = s.record_id
            LEFT JOIN {subject.worklist} p ON p.shop_id = :shop_id AND p.{subject.key} = s.record_id
            WHERE coalesce(o.detail_modified_at, '-infinity') < s.modified
              AND coalesce(p.seen_modified, '-infinity') < s.modified
        """),
        {
            "shop_id": shop_id,
            "record_ids": [record_id for record_id, _ in pairs],
            "modified": [modified for _, modified in pairs],
        },
    ).scalar()
    return int(count or 0)


def contradicted(connection: Connection, shop_id: str, shown: Iterable[Shown]) -> list[Said]:
    """Return the orders whose details in the tables, of the very second that a later list shows, say something else.

    Of two changes in one second, details that lag behind can show the first, and ``modified`` does not tell: status,
    amounts, flag and the step of a pre-sale do. Orders that are on the worklist are left out: their details are fetched
    again as it is.
    """
    rows = list(shown)
    if not rows:
        return []
    # Copied, not sent as arrays: of a thousand orders those cost more than the question.
    if not is_made(connection, "staged_shown"):
        connection.execute(
            text(
                "CREATE TEMP TABLE staged_shown "
                "(order_id text, modified_at timestamptz, status text, payment numeric, received_payment numeric, "
                "seller_flag integer, step_status text, step_paid_fee numeric, sent_at timestamptz) "
                "ON COMMIT DELETE ROWS"
            )
        )
    connection.execute(text("TRUNCATE staged_shown"))
    copy_rows(connection, "staged_shown", Shown._fields, rows)
    return _contradicted(connection, shop_id, "staged_shown")


def contradicted_by_staged(connection: Connection, shop_id: str) -> list[Said]:
    """Return the same of the versions of orders that lists showed and that were staged and merged on this connection.

    What a merge lets in is newer than the details there are, so it cannot contradict them.
    """
    return _contradicted(
        connection,
        shop_id,
        f"""(SELECT s.* FROM {ORDERS.staged} s
             WHERE NOT EXISTS (SELECT FROM {ORDERS.merged} m WHERE m.order_id = s.order_id) OFFSET 0)""",
    )


def _contradicted(connection: Connection, shop_id: str, shown: str) -> list[Said]:
    found = connection.execute(
        text(f"""
            SELECT DISTINCT s.order_id, s.modified_at
            FROM {shown} s
            CROSS JOIN LATERAL (
                -- One by one, as in say_staged.
                SELECT * FROM core.orders o WHERE o.shop_id = :shop_id AND o.order_id = s.order_id OFFSET 0
            ) o
            WHERE o.source = 'detail' AND o.detail_modified_at = s.modified_at
              -- What either does not say is no contradiction.
              AND (o.status <> s.status OR o.payment <> s.payment OR o.received_payment <> s.received_payment
                   OR o.seller_flag <> s.seller_flag OR o.step_status <> s.step_status
                   OR o.step_paid_fee <> s.step_paid_fee)
              AND o.sent_at < s.sent_at
              -- One by one, too: the few that are left, not everything that waits.
              AND NOT EXISTS (SELECT FROM sync.pending_order p
                              WHERE p.shop_id = :shop_id AND p.order_id = s.order_id OFFSET 0)
        """),
        {"shop_id": shop_id},
    )
    return [Said(*row) for row in found]


@contextmanager
def worker(engine: Engine) -> Iterator[int]:
    """Be a worker: hold an advisory lock of a session of our own while the block runs, and yield its key."""
    key = secrets.randbelow(2**31)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:locks, :key)"), {"locks": WORKER_LOCKS, "key": key})
        # Out of the transaction: an idle one would keep vacuum from cleaning the worklist.
        connection.commit()
        try:
            yield key
        finally:
            # Where the session is gone, so is the lock.
            with suppress(DBAPIError):
                connection.execute(text("SELECT pg_advisory_unlock(:locks, :key)"), {"locks": WORKER_LOCKS, "key": key})
                connection.commit()


def take(
    connection: Connection, shop_id: str, worker_key: int, limit: int, *, subject: Subject = ORDERS
) -> list[Pending]:
    """Lease due records of a shop to a worker, longest due first; those that others are at are passed over."""
    rows = connection.execute(
        text(f"""
            WITH alive AS MATERIALIZED (
                SELECT objid::bigint AS key FROM pg_locks
                WHERE locktype = 'advisory' AND classid = :locks AND objsubid = 2 AND granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            ), due AS (
                SELECT shop_id, {subject.key} FROM {subject.worklist}
                WHERE shop_id = :shop_id AND due_at <= now()
                  AND (leased_by IS NULL OR leased_until < now() OR leased_by NOT IN (SELECT key FROM alive))
                ORDER BY due_at LIMIT :limit
                FOR UPDATE SKIP LOCKED
            )
            UPDATE {subject.worklist} p
            SET leased_by = :worker, leased_until = now() + :lease, attempts = p.attempts + 1
            FROM due WHERE p.shop_id = due.shop_id AND p.{subject.key} = due.{subject.key}
            RETURNING p.{subject.key}, p.seen_modified, p.version, p.attempts, p.announced_at
        """),
        {"locks": WORKER_LOCKS, "shop_id": shop_id, "worker": worker_key, "lease": LEASE, "limit": limit},
    )
    return [Pending(*row) for row in rows]


def settle(connection: Connection, shop_id: str, outcomes: Sequence[Outcome], *, subject: Subject = ORDERS) -> None:
    """Clear what is done and put back what is not, in the transaction that loads the details.

    What somebody said meanwhile stays on the list, due as he said, unless these details hold it already.
    """
    if not outcomes:
        return
    values = {
        "shop_id": shop_id,
        "record_ids": [outcome.pending.record_id for outcome in outcomes],
        "versions": [outcome.pending.version for outcome in outcomes],
        "seen": [outcome.pending.seen_modified for outcome in outcomes],
        "announced": [outcome.pending.announced_at for outcome in outcomes],
        "loaded": [outcome.loaded_modified for outcome in outcomes],
        "known": [outcome.known_until for outcome in outcomes],
        "again": [outcome.due_again for outcome in outcomes],
        "problems": [outcome.problem for outcome in outcomes],
    }
    given = """
        unnest(cast(:record_ids AS text[]), cast(:versions AS integer[]), cast(:seen AS timestamptz[]),
               cast(:announced AS timestamptz[]), cast(:loaded AS timestamptz[]), cast(:known AS timestamptz[]),
               cast(:again AS double precision[]), cast(:problems AS text[]))
        AS given (record_id, version, seen, announced, loaded, known, again, problem)
    """
    as_taken = """
        (p.version = given.version AND p.seen_modified = given.seen
         AND p.announced_at IS NOT DISTINCT FROM given.announced)
    """
    connection.execute(
        text(f"""
            DELETE FROM {subject.worklist} p USING {given}
            WHERE p.shop_id = :shop_id AND p.{subject.key} = given.record_id AND p.version = given.version
              AND given.again IS NULL AND given.loaded >= p.seen_modified
              AND (p.announced_at IS NULL OR given.known >= p.announced_at)
        """),
        values,
    )
    connection.execute(
        text(f"""
            UPDATE {subject.worklist} p
            SET leased_by = NULL, leased_until = NULL,
                last_problem = CASE WHEN {as_taken} THEN given.problem ELSE p.last_problem END,
                due_at = CASE
                    WHEN NOT {as_taken} THEN p.due_at
                    WHEN given.again = 'infinity' THEN 'infinity'
                    ELSE now() + make_interval(secs => coalesce(given.again, 0))
                END
            FROM {given}
            WHERE p.shop_id = :shop_id AND p.{subject.key} = given.record_id
        """),
        values,
    )


def wake(connection: Connection, shop_id: str, record_ids: Sequence[str], *, subject: Subject = ORDERS) -> None:
    """Make records that wait due now."""
    connection.execute(
        text(
            f"UPDATE {subject.worklist} SET due_at = now(), attempts = 0 "
            f"WHERE shop_id = :shop_id AND {subject.key} = ANY(:record_ids)"
        ),
        {"shop_id": shop_id, "record_ids": list(record_ids)},
    )


def clear_loaded(
    connection: Connection, shop_id: str, record_id: str, loaded_modified: datetime, *, subject: Subject = ORDERS
) -> None:
    """Take a record off the list whose details are loaded in the version that was seen, by another way than a worker.

    A worker that is at it finds nothing to settle then.
    """
    connection.execute(
        text(
            f"DELETE FROM {subject.worklist} "
            f"WHERE shop_id = :shop_id AND {subject.key} = :record_id AND seen_modified <= :loaded_modified"
        ),
        {"shop_id": shop_id, "record_id": record_id, "loaded_modified": loaded_modified},
    )


def say_again(
    connection: Connection, shop_id: str, start: datetime, end: datetime, *, subject: Subject = ORDERS
) -> int:
    """Put every known record created or last modified in [start, end) on the list, to fetch its details anew."""
    result = connection.execute(
        text(f"""
            INSERT INTO {subject.worklist} AS held (shop_id, {subject.key}, seen_modified, channel)
            SELECT shop_id, {subject.key}, modified_at, 'refetch' FROM {subject.table}
            WHERE shop_id = :shop_id AND (created_at >= :start AND created_at < :end
                                          OR modified_at >= :start AND modified_at < :end)
            ORDER BY {subject.key}
            ON CONFLICT (shop_id, {subject.key}) DO UPDATE SET due_at = now(), attempts = 0
        """),
        {"shop_id": shop_id, "start": start, "end": end},
    )
    return int(result.rowcount)


def database_now(connection: Connection) -> datetime:
    """Return the time by which the worklist's own times are."""
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return now


def waiting_since(connection: Connection, shop_id: str, moment: datetime, *, subject: Subject = ORDERS) -> int:
    """Return how many records were said to have changed before that moment and still wait for their details."""
    count = connection.execute(
        text(
            f"SELECT count(*) FROM {subject.worklist} "
            "WHERE shop_id = :shop_id AND said_at < :moment AND due_at < 'infinity'"
        ),
        {"shop_id": shop_id, "moment": moment},
    )
    return int(count.scalar_one())


def say_anyway(
    connection: Connection, shop_id: str, channel: str, said: Sequence[Said], *, subject: Subject = ORDERS
) -> int:
    """Put records on the list whatever the tables hold, due now: somebody compared, and they differ.

    Also those that wait for a later time, or that were given up.
    """
    if not said:
        return 0
    newest = sorted(dict(sorted(said)).items())
    result = connection.execute(
        text(f"""
            INSERT INTO {subject.worklist} AS held (shop_id, {subject.key}, seen_modified, channel)
            SELECT :shop_id, s.record_id, s.modified, :channel
            FROM unnest(cast(:record_ids AS text[]), cast(:modified AS timestamptz[])) AS s (record_id, modified)
            ORDER BY s.record_id
            ON CONFLICT (shop_id, {subject.key}) DO UPDATE
            SET seen_modified = greatest(held.seen_modified, excluded.seen_modified), channel = excluded.channel,
                version = held.version + 1, said_at = now(), due_at = now(), attempts = 0, last_problem = NULL
        """),
        {
            "shop_id": shop_id,
            "channel": channel,
            "record_ids": [record_id for record_id, _ in newest],
            "modified": [modified for _, modified in newest],
        },
    )
    return int(result.rowcount)


def due_within(
    connection: Connection, shop_ids: Sequence[str], seconds: float, *, subject: Subject = ORDERS
) -> dict[str, int]:
    """Return how many records are due now or will be in some seconds, by shop, where there are any."""
    rows = connection.execute(
        text(f"""
            SELECT shop_id, count(*) FROM {subject.worklist}
            WHERE shop_id = ANY(:shop_ids) AND due_at <= now() + make_interval(secs => :seconds) GROUP BY shop_id
        """),
        {"shop_ids": list(shop_ids), "seconds": seconds},
    )
    return dict(rows.tuples().all())


def next_due(connection: Connection, shop_ids: Sequence[str], *, subject: Subject = ORDERS) -> float | None:
    """Return in how many seconds the next record of these shops becomes due that is not due yet; None: none will."""
    found: float | None = connection.execute(
        text(f"""
            SELECT extract(epoch FROM min(coming.due_at) - now())::float
            FROM unnest(cast(:shop_ids AS text[])) AS s (shop_id), LATERAL (
                SELECT due_at FROM {subject.worklist} p
                WHERE p.shop_id = s.shop_id AND due_at > now() AND due_at < 'infinity' ORDER BY due_at LIMIT 1
            ) AS coming
        """),
        {"shop_ids": list(shop_ids)},
    ).scalar()
    return found


class Depth(NamedTuple):
    """What is on the worklist: due now, waiting for a later time, and not served by the platform."""

    due: int
    later: int
    unavailable: int
    oldest_due_seconds: float | None
    next_due_seconds: float | None


def depth(connection: Connection, shop_id: str, *, subject: Subject = ORDERS) -> Depth:
    """Count the worklist of a shop."""
    row = connection.execute(
        text(f"""
            SELECT count(*) FILTER (WHERE due_at <= now()),
                   count(*) FILTER (WHERE due_at > now() AND due_at < 'infinity'),
                   count(*) FILTER (WHERE due_at = 'infinity'),
                   extract(epoch FROM now() - min(said_at) FILTER (WHERE due_at <= now()))::float,
                   extract(epoch FROM min(due_at) FILTER (WHERE due_at > now() AND due_at < 'infinity') - now())::float
            FROM {subject.worklist} WHERE shop_id = :shop_id
        """),
        {"shop_id": shop_id},
    ).one()
    return Depth(*row)
