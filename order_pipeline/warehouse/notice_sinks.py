"""sync.notice_sink: who delivers to a sink just now, how fast, and what waits for it.

Belongs here: the claim, the limit that all processes share, and what came of a delivery. Not here: raising notices
(notices.py), the sending itself (notifications/). A sink is known by its name only; its address is configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.notices import HELD_COLUMNS, HeldNotice

# DingTalk and WeCom allow a robot 20 messages a minute, and DingTalk silences it for ten minutes after the 21st. Five
# at once and one every 4.2 s are never more than 20 within a minute.
BURST = 5
SPACING_SECONDS = 4.2

# Longer than the longest sending of one digest takes (sync/notices.py): then its process is dead.
LEASE_SECONDS = 150.0

# A notice that was refused so often goes alone, so that the others of its kind are not refused for its sake.
ALONE_AFTER = 3
# More than any message shows; the digest says how many there are.
BATCH = 500

# Long enough to look up what happened last season.
KEPT = timedelta(days=180)

# An unanswered row lock must not hang the delivery: what could not be noted is delivered once more.
_PATIENCE = text("SET LOCAL lock_timeout = '5s'")


class Sink(NamedTuple):
    """What is known of a sink; the fields are columns of ``sync.notice_sink``. Times are aware."""

    sink: str
    failures: int
    next_attempt_at: datetime | None
    last_problem: str | None
    last_delivered_at: datetime | None


def claim_sink(connection: Connection, sink: str) -> bool:
    """Become the one who delivers to a sink; False while another does, or while it is too early to try again."""
    connection.execute(
        text("INSERT INTO sync.notice_sink (sink) VALUES (:sink) ON CONFLICT DO NOTHING"), {"sink": sink}
    )
    claimed = connection.execute(
        text("""
            UPDATE sync.notice_sink SET leased_until = clock_timestamp() + make_interval(secs => :lease)
            WHERE sink = :sink AND leased_until <= clock_timestamp() AND next_attempt_at <= clock_timestamp()
        """),
        {"sink": sink, "lease": LEASE_SECONDS},
    )
    return bool(claimed.rowcount)


def release_sink(connection: Connection, sink: str) -> None:
    """Let the next one deliver."""
    connection.execute(
        text("UPDATE sync.notice_sink SET leased_until = '-infinity' WHERE sink = :sink"), {"sink": sink}
    )


def take_turn(connection: Connection, sink: str, messages: int) -> bool:
    """Take the places of so many messages (at most BURST) in the sink's timetable; False: they are not free yet."""
    taken = connection.execute(
        text("""
            UPDATE sync.notice_sink
            SET free_at = greatest(free_at, clock_timestamp()) + make_interval(secs => :messages * :spacing)
            WHERE sink = :sink
              AND greatest(free_at, clock_timestamp()) + make_interval(secs => (:messages - :burst) * :spacing)
                  <= clock_timestamp()
        """),
        {"sink": sink, "messages": messages, "spacing": SPACING_SECONDS, "burst": BURST},
    )
    return bool(taken.rowcount)


def notices_for(connection: Connection, sink: str) -> list[HeldNotice]:
    """Return the notices of the next message to a sink, oldest first: all that wait of one kind, none if none does."""
    rows = connection.execute(
        text(f"""
            WITH waiting AS (
                SELECT {HELD_COLUMNS}, refusals >= :alone AS alone FROM sync.notice
                WHERE delivered_at IS NULL AND NOT delivered_to @> ARRAY[:sink]
            ), first AS (
                SELECT notice_id, kind, alone FROM waiting ORDER BY alone, notice_id LIMIT 1
            )
            SELECT {", ".join(f"waiting.{column}" for column in HELD_COLUMNS.split(", "))}
            FROM waiting, first
            WHERE waiting.notice_id = first.notice_id
               OR (waiting.kind = first.kind AND NOT first.alone AND NOT waiting.alone)
            ORDER BY waiting.notice_id LIMIT :batch
        """),
        {"sink": sink, "alone": ALONE_AFTER, "batch": BATCH},
    )
    return [HeldNotice(*row) for row in rows]


def note_delivered(connection: Connection, sink: str, notices: Sequence[HeldNotice]) -> None:
    """Note that a sink took these notices, and let the next one deliver.

    One that became graver meanwhile is another message, and waits on.
    """
    connection.execute(_PATIENCE)
    connection.execute(
        text("""
            UPDATE sync.notice SET delivered_to = delivered_to || cast(:sink AS text), attempts = attempts + 1
            FROM unnest(cast(:ids AS bigint[]), cast(:severities AS text[])) AS sent (id, severity)
            WHERE notice_id = sent.id AND sync.notice.severity = sent.severity
              AND NOT delivered_to @> ARRAY[cast(:sink AS text)]
        """),
        {"sink": sink, "ids": [each.notice_id for each in notices], "severities": [each.severity for each in notices]},
    )
    connection.execute(
        text("""
            UPDATE sync.notice_sink
            SET leased_until = '-infinity', failures = 0, last_problem = NULL, last_delivered_at = clock_timestamp()
            WHERE sink = :sink
        """),
        {"sink": sink},
    )


def note_failed(
    connection: Connection,
    sink: str,
    notices: Sequence[HeldNotice],
    problem: str,
    *,
    retry_in_seconds: float,
    refused: bool,
) -> None:
    """Note why a sink did not take these notices, and when it is tried again; ``refused``: it answered, and said no."""
    connection.execute(_PATIENCE)
    connection.execute(
        text("""
            UPDATE sync.notice_sink
            SET leased_until = '-infinity', failures = failures + 1, last_problem = :problem,
                next_attempt_at = clock_timestamp() + make_interval(secs => :retry_in)
            WHERE sink = :sink
        """),
        {"sink": sink, "problem": problem, "retry_in": retry_in_seconds},
    )
    connection.execute(
        text("""
            UPDATE sync.notice
            SET attempts = attempts + 1, refusals = refusals + cast(:refused AS integer), last_problem = :problem
            WHERE notice_id = ANY(:ids)
        """),
        {"refused": refused, "problem": problem, "ids": [each.notice_id for each in notices]},
    )


def close_delivered(connection: Connection, sinks: Sequence[str]) -> None:
    """Settle the notices that every sink of today's configuration has taken; one that is gone is waited for no more.

    With each delivery those go that were settled long ago, so that the outbox does not grow for ever.
    """
    settled = connection.execute(
        text("""
            UPDATE sync.notice SET delivered_at = clock_timestamp(), last_problem = NULL
            WHERE delivered_at IS NULL AND delivered_to @> cast(:sinks AS text[])
        """),
        {"sinks": list(sinks)},
    )
    if settled.rowcount:
        connection.execute(
            text("""
                DELETE FROM sync.notice
                WHERE delivered_at < clock_timestamp() - :kept AND last_raised_at < clock_timestamp() - :kept
                  AND resolved_at IS NOT NULL
            """),
            {"kept": KEPT},
        )


def read_sink(connection: Connection, sink: str) -> Sink | None:
    """Return what is known of a sink, None when nothing was ever delivered to it. ``next_attempt_at`` None: at once."""
    row = connection.execute(
        text("""
            SELECT sink, failures, nullif(next_attempt_at, '-infinity'), last_problem, last_delivered_at
            FROM sync.notice_sink WHERE sink = :sink
        """),
        {"sink": sink},
    ).one_or_none()
    return Sink(*row) if row else None
