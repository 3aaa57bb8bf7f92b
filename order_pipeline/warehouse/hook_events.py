"""sync.hook_event: the outbox of what the merchant's own systems are told, written in the transaction of the fact.

Belongs here: putting events in and taking them out. Not here: sending (notifications/hook.py), the loop (sync/hook.py),
what an event says (with its fact). Payloads hold ids and numbers, never personal data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import as_json

# Long enough to look up what the ERP was told about last month's delivery.
KEPT = timedelta(days=30)


class Event(NamedTuple):
    """Something that happened. ``key``: the same for the same fact, so that it is put in once and told apart twice."""

    kind: str
    key: str
    payload: Mapping[str, Any]


class HeldEvent(NamedTuple):
    """An event as it is kept. Times are aware."""

    event_id: int
    kind: str
    key: str
    payload: dict[str, Any]
    raised_at: datetime
    attempts: int


class WaitingEvents(NamedTuple):
    """How many events wait, since when, and what was met last."""

    events: int
    oldest_at: datetime | None
    last_problem: str | None


def put_events(connection: Connection, events: Sequence[Event]) -> None:
    """Put events into the outbox, in their order; one that is there already changes nothing."""
    if not events:
        return
    connection.execute(
        text("""
            INSERT INTO sync.hook_event (kind, key, payload)
            SELECT kind, key, payload
            FROM unnest(cast(:kinds AS text[]), cast(:keys AS text[]), cast(:payloads AS jsonb[]))
                 WITH ORDINALITY AS told (kind, key, payload, place)
            ORDER BY place
            ON CONFLICT (key) DO NOTHING
        """),
        {
            "kinds": [event.kind for event in events],
            "keys": [event.key for event in events],
            "payloads": [as_json(event.payload) for event in events],
        },
    )


def next_events(connection: Connection, limit: int) -> list[HeldEvent]:
    """Return the oldest events that wait."""
    rows = connection.execute(
        text("""
            SELECT event_id, kind, key, payload, raised_at, attempts FROM sync.hook_event
            WHERE delivered_at IS NULL ORDER BY event_id LIMIT :limit
        """),
        {"limit": limit},
    )
    return [HeldEvent(*row) for row in rows]


def note_taken(connection: Connection, event_id: int) -> None:
    """Note that the hook took an event; with it those go that were taken long ago."""
    connection.execute(
        text("""
            UPDATE sync.hook_event SET delivered_at = clock_timestamp(), attempts = attempts + 1, last_problem = NULL
            WHERE event_id = :event_id
        """),
        {"event_id": event_id},
    )
    connection.execute(
        text("DELETE FROM sync.hook_event WHERE delivered_at < clock_timestamp() - :kept"), {"kept": KEPT}
    )


def note_not_taken(connection: Connection, event_id: int, problem: str) -> None:
    """Note why the hook did not take an event."""
    connection.execute(
        text("""
            UPDATE sync.hook_event SET attempts = attempts + 1, last_problem = :problem WHERE event_id = :event_id
        """),
        {"event_id": event_id, "problem": problem},
    )


def waiting_events(connection: Connection) -> WaitingEvents:
    """Return what waits for the hook."""
    row = connection.execute(
        text("""
            SELECT count(*), min(raised_at),
                   (array_agg(last_problem ORDER BY event_id) FILTER (WHERE last_problem IS NOT NULL))[1]
            FROM sync.hook_event WHERE delivered_at IS NULL
        """)
    ).one()
    return WaitingEvents(*row)
