"""sync.notice: the outbox of what people are told, written in the transaction of the fact and delivered later.

Belongs here: raising, ending and reading notices. Not here: what was delivered to whom (notice_sinks.py), the
sending (notifications/), the texts of a fact (with the fact).

Whoever has something to say calls ``raise_notice(connection, Notice(...))`` inside the transaction of the fact, near
its end: the row stays locked until the commit. Nothing is sent there, so a dead messenger disturbs nobody; and what
is rolled back was never said. Texts hold no personal data and no secrets: they leave the house.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, text

# One reminder an hour of what goes on happening; a person who knows is not helped by more.
QUIET = timedelta(hours=1)


class Severity(StrEnum):
    """How grave it is. The order of the members is the order of gravity."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Notice(NamedTuple):
    """Something that a person shall know.

    Attributes:
        kind: what sort of thing happened, e.g. ``shop_paused``; notices of one kind go into one message.
        subject: what it is about, e.g. the shop: the same kind and subject is the same thing.
        severity: how grave it is.
        title: one line.
        body: what happened, what it means, what to do.
        quiet: how long after it was said the same only counts up; None: until ``resolve_notice`` ends it.

    """

    kind: str
    subject: str
    severity: Severity
    title: str
    body: str
    quiet: timedelta | None = QUIET


# Facts may be told late or twice (a sensor that reads a log again): one that is not newer than what is known of its
# key says nothing.
_AT = "coalesce(cast(:at AS timestamptz), clock_timestamp())"
_GRAVER = f"""
    array_position(ARRAY{[str(each) for each in Severity]}, excluded.severity)
    > array_position(ARRAY{[str(each) for each in Severity]}, held.severity)
"""
_EXPIRE = text(f"""
    UPDATE sync.notice SET resolved_at = {_AT}
    WHERE kind = :kind AND subject = :subject AND resolved_at IS NULL AND raised_at + :quiet <= {_AT}
""")
_RAISE = text(f"""
    INSERT INTO sync.notice AS held (kind, subject, severity, title, body, raised_at, last_raised_at)
    SELECT :kind, :subject, :severity, :title, :body, moment, moment FROM (SELECT {_AT} AS moment) AS told
    WHERE NOT EXISTS (SELECT FROM sync.notice
                      WHERE kind = :kind AND subject = :subject AND resolved_at > told.moment)
    ON CONFLICT (kind, subject) WHERE resolved_at IS NULL DO UPDATE SET
        times_raised = held.times_raised + 1,
        last_raised_at = excluded.last_raised_at,
        -- What nobody has read yet may as well be the latest; what became graver is said anew.
        title = CASE WHEN {_GRAVER} OR held.delivered_to = '{{}}' THEN excluded.title ELSE held.title END,
        body = CASE WHEN {_GRAVER} OR held.delivered_to = '{{}}' THEN excluded.body ELSE held.body END,
        delivered_to = CASE WHEN {_GRAVER} THEN '{{}}' ELSE held.delivered_to END,
        delivered_at = CASE WHEN {_GRAVER} THEN NULL ELSE held.delivered_at END,
        severity = CASE WHEN {_GRAVER} THEN excluded.severity ELSE held.severity END
    WHERE excluded.last_raised_at > held.last_raised_at
    RETURNING times_raised = 1
""")
_RESOLVE = text(f"""
    UPDATE sync.notice SET resolved_at = {_AT}
    WHERE kind = :kind AND subject = :subject AND resolved_at IS NULL AND last_raised_at <= {_AT}
""")
_SAY_RESOLVED = text(f"""
    INSERT INTO sync.notice (kind, subject, severity, title, body, raised_at, last_raised_at, resolved_at)
    SELECT :kind, :subject, :severity, :title, :body, moment, moment, moment FROM (SELECT {_AT} AS moment) AS told
""")


def raise_notice(connection: Connection, notice: Notice, *, at: datetime | None = None) -> bool:
    """Put a notice into the outbox; the same one within its quiet period only counts up.

    Args:
        connection: in the transaction of the fact.
        notice: what to say.
        at: when it happened, aware; now if left out. One that is not newer than what is known changes nothing.

    Returns whether an episode began with it.

    """
    key = {"kind": notice.kind, "subject": notice.subject, "at": at}
    if notice.quiet is not None:
        connection.execute(_EXPIRE, key | {"quiet": notice.quiet})
    said = {"severity": str(notice.severity), "title": notice.title, "body": notice.body}
    return bool(connection.execute(_RAISE, key | said).scalar())


def resolve_notice(
    connection: Connection, kind: str, subject: str, *, title: str = "", body: str = "", at: datetime | None = None
) -> bool:
    """End the open episode of a notice; with a title, say so. Return whether there was one.

    ``at``: when it ended, aware; now if left out. An end before the last beginning changes nothing.
    """
    key = {"kind": kind, "subject": subject, "at": at}
    if not connection.execute(_RESOLVE, key).rowcount:
        return False
    if title:
        connection.execute(_SAY_RESOLVED, key | {"severity": str(Severity.INFO), "title": title, "body": body})
    return True


def open_subjects(connection: Connection, kind: str) -> frozenset[str]:
    """Return what notices of a kind are open about."""
    rows = connection.execute(
        text("SELECT subject FROM sync.notice WHERE kind = :kind AND resolved_at IS NULL"), {"kind": kind}
    )
    return frozenset(rows.scalars())


class HeldNotice(NamedTuple):
    """A notice as it is kept; the fields are columns of ``sync.notice``."""

    notice_id: int
    kind: str
    subject: str
    severity: str
    title: str
    body: str
    raised_at: datetime
    times_raised: int
    last_raised_at: datetime
    resolved_at: datetime | None
    delivered_to: list[str]
    delivered_at: datetime | None
    attempts: int
    last_problem: str | None


HELD_COLUMNS = ", ".join(HeldNotice._fields)


def latest_notices(connection: Connection, limit: int) -> list[HeldNotice]:
    """Return the latest notices, newest first; those that wait for delivery before all others."""
    rows = connection.execute(
        text(f"""
            SELECT {HELD_COLUMNS} FROM sync.notice
            ORDER BY delivered_at IS NULL DESC, notice_id DESC LIMIT :limit
        """),
        {"limit": limit},
    )
    return [HeldNotice(*row) for row in rows]


class Waiting(NamedTuple):
    """What waits for delivery: how many, since when (aware), and what was met last."""

    notices: int
    oldest_at: datetime | None
    last_problem: str | None


def waiting_notices(connection: Connection) -> Waiting:
    """Return what is not delivered everywhere yet."""
    row = connection.execute(
        text("""
            SELECT count(*), min(raised_at),
                   (array_agg(last_problem ORDER BY notice_id) FILTER (WHERE last_problem IS NOT NULL))[1]
            FROM sync.notice WHERE delivered_at IS NULL
        """)
    ).one()
    return Waiting(*row)
