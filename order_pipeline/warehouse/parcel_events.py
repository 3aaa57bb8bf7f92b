"""core.parcel_event, and where each parcel stands by its events.

Belongs here: storing and reading them. Not here: what events prove (insights/traces.py), which parcels there are
(parcels.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows, staging_table
from order_pipeline.warehouse.parcels import OUT_SID, OUTGOING, RETURN


class EventRow(NamedTuple):
    """One event of a parcel; ``seen_at`` is the platform's time of the answer."""

    direction: str
    tracking_number: str
    event_at: datetime
    action: str
    meaning: str
    seen_at: datetime


class StandingRow(NamedTuple):
    """Where a parcel stands, the number of its events, and who carries it under which number now."""

    direction: str
    tracking_number: str
    state: str | None
    last_event_at: datetime | None
    events: int
    is_untracked: bool
    current_tracking_number: str | None
    current_company: str | None
    known_at: datetime


def add_events(connection: Connection, shop_id: str, rows: Sequence[EventRow]) -> set[tuple[str, str]]:
    """Store events that are new, each once; return the parcels (direction, number) that got any."""
    if not rows:
        return set()
    staging_table(connection, "staged_event", "core.parcel_event")
    connection.execute(text("TRUNCATE staged_event"))
    copy_rows(connection, "staged_event", ("shop_id", *EventRow._fields), [(shop_id, *row) for row in rows])
    added = connection.execute(
        text("""
            INSERT INTO core.parcel_event
            SELECT DISTINCT ON (shop_id, direction, tracking_number, event_at, action) * FROM staged_event
            ORDER BY shop_id, direction, tracking_number, event_at, action
            ON CONFLICT DO NOTHING RETURNING direction, tracking_number
        """)
    )
    return {(direction, number) for direction, number in added}


def events_of(
    connection: Connection, shop_id: str, direction: str, numbers: Sequence[str]
) -> dict[str, list[tuple[datetime, str]]]:
    """Return the events of parcels: when each was, and its meaning."""
    rows = connection.execute(
        text("""
            SELECT tracking_number, event_at, meaning FROM core.parcel_event
            WHERE shop_id = :shop_id AND direction = :direction AND tracking_number = ANY(:numbers)
        """),
        {"shop_id": shop_id, "direction": direction, "numbers": list(numbers)},
    )
    found: dict[str, list[tuple[datetime, str]]] = {}
    for number, event_at, meaning in rows:
        found.setdefault(number, []).append((event_at, meaning))
    return found


def note_standings(connection: Connection, shop_id: str, rows: Sequence[StandingRow]) -> None:
    """Write where parcels stand by an answer; an older answer changes nothing."""
    if not rows:
        return
    connection.execute(
        text("""
            UPDATE core.parcel SET
                state = :state, last_event_at = :last_event_at, events = :events, is_untracked = :is_untracked,
                current_tracking_number = :current_tracking_number, current_company = :current_company,
                known_at = :known_at, failures = 0, last_problem = NULL, changed_at = now()
            WHERE shop_id = :shop_id AND direction = :direction AND tracking_number = :tracking_number
              AND (known_at IS NULL OR known_at <= :known_at)
        """),
        [{"shop_id": shop_id, **row._asdict()} for row in rows],
    )


def note_failures(connection: Connection, shop_id: str, problems: Sequence[tuple[str, str, bool]]) -> None:
    """Note outgoing parcels that could not be asked about: (number, why, whether the platform never will answer)."""
    if problems:
        connection.execute(
            text(f"""
                UPDATE core.parcel SET last_problem = :problem, is_untracked = is_untracked OR :hopeless,
                    -- That the platform does not know it is an answer.
                    failures = CASE WHEN :hopeless THEN 0 ELSE failures + 1 END,
                    known_at = CASE WHEN :hopeless THEN checked_at ELSE known_at END
                WHERE shop_id = :shop_id AND direction = '{OUTGOING}' AND tracking_number = :number
            """),
            [
                {"shop_id": shop_id, "number": number, "problem": problem, "hopeless": hopeless}
                for number, problem, hopeless in problems
            ],
        )


def told_of_returns(
    connection: Connection, shop_id: str, topic: str, since: datetime
) -> list[tuple[str, str, datetime]]:
    """Return what messages published since then say of parcels that come back: (number, content, published).

    The platform shows no trace of those; a message may tell of one all the same.
    """
    rows = connection.execute(
        text(f"""
            SELECT p.tracking_number, m.content, m.published_at
            FROM raw.message m
            JOIN core.parcel p ON p.shop_id = m.shop_id AND p.direction = '{RETURN}'
                AND p.tracking_number = {OUT_SID}
            WHERE m.shop_id = :shop_id AND m.topic = :topic AND m.problem IS NULL AND m.published_at > :since
        """),
        {"shop_id": shop_id, "topic": topic, "since": since},
    )
    return [(number, content, published) for number, content, published in rows]
