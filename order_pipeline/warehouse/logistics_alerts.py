"""core.logistics_alert: what is wrong with parcels, each with the follow-up that it opens.

Belongs here: reading what there is to judge, opening, changing and closing. Not here: judging (insights/stalls.py), the
work of people on follow-ups (follow_ups.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.follow_ups import OPEN, end_follow_ups, history_entry


class HeldParcel(NamedTuple):
    """A parcel as it is known, and its open alert (fields ``rule``, ``also``, ``since``), None where there is none."""

    direction: str
    tracking_number: str
    company: str | None
    order_ids: list[str]
    contents: str
    shipped_at: datetime
    region: str | None
    pickup_promised_at: datetime | None
    delivery_promised_at: datetime | None
    state: str | None
    last_event_at: datetime | None
    known_at: datetime | None
    is_untracked: bool
    alert_id: int | None
    rule: str | None
    also: list[str] | None
    since: datetime | None


class NewAlert(NamedTuple):
    """An alert to open; ``why`` in words, times aware."""

    direction: str
    tracking_number: str
    rule: str
    also: list[str]
    since: datetime
    crossed_at: datetime
    opened_at: datetime
    order_ids: list[str]
    why: str


class ClosedAlert(NamedTuple):
    """An alert that is over, since when and why."""

    alert_id: int
    closed_at: datetime
    reason: str


class ChangedAlert(NamedTuple):
    """An alert whose episode goes on under other rules."""

    alert_id: int
    rule: str
    also: list[str]
    crossed_at: datetime
    at: datetime
    why: str


# What may be wrong, and what was; parcels that reached somebody long ago are most of them, and neither.
_HELD = text("""
    SELECT p.direction, p.tracking_number, coalesce(p.current_company, p.company), p.order_ids, p.contents,
           p.shipped_at, p.region, p.pickup_promised_at, p.delivery_promised_at, p.state, p.last_event_at, p.known_at,
           p.is_untracked, a.alert_id, a.rule, a.also, a.since
    FROM core.parcel p
    LEFT JOIN core.logistics_alert a ON a.shop_id = p.shop_id AND a.direction = p.direction
        AND a.tracking_number = p.tracking_number AND a.closed_at IS NULL
    WHERE p.shop_id = :shop_id
      AND (a.alert_id IS NOT NULL
           OR p.known_at IS NOT NULL AND p.state IS DISTINCT FROM 'signed' AND p.state IS DISTINCT FROM 'returned')
    ORDER BY p.direction, p.tracking_number
""")


def lock_alerts(connection: Connection, shop_id: str) -> None:
    """Let nobody else judge the shop's parcels until this transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"logistics alerts/{shop_id}"})


def looked_at(connection: Connection, shop_id: str) -> datetime | None:
    """Return the platform's time when the shop's parcels were last looked at, None: never."""
    moment = connection.execute(
        text("SELECT greatest(max(checked_at), max(known_at)) FROM core.parcel WHERE shop_id = :shop_id"),
        {"shop_id": shop_id},
    )
    found: datetime | None = moment.scalar()
    return found


def held_parcels(connection: Connection, shop_id: str) -> list[HeldParcel]:
    """Return the parcels to judge."""
    return [HeldParcel(*row) for row in connection.execute(_HELD, {"shop_id": shop_id})]


def open_alerts(connection: Connection, shop_id: str, alerts: Sequence[NewAlert]) -> None:
    """Open alerts, and a follow-up for each."""
    if alerts:
        connection.execute(
            text("""
                WITH alert AS (
                    INSERT INTO core.logistics_alert
                        (shop_id, direction, tracking_number, rule, also, since, crossed_at, opened_at)
                    VALUES (:shop_id, :direction, :tracking_number, :rule, :also, :since, :crossed_at, :opened_at)
                    RETURNING shop_id, alert_id, direction, tracking_number, since
                )
                INSERT INTO core.follow_up
                    (shop_id, alert_id, direction, tracking_number, order_ids, why, since, history)
                SELECT shop_id, alert_id, direction, tracking_number, :order_ids, :why, since, cast(:history AS jsonb)
                FROM alert
            """),
            [
                {
                    "shop_id": shop_id,
                    **alert._asdict(),
                    "history": history_entry(alert.opened_at, None, OPEN, alert.why),
                }
                for alert in alerts
            ],
        )


def change_alerts(connection: Connection, shop_id: str, alerts: Sequence[ChangedAlert]) -> None:
    """Call open alerts by other rules, in their follow-ups too."""
    if alerts:
        rows = [
            {"shop_id": shop_id, **alert._asdict(), "history": history_entry(alert.at, None, None, alert.why)}
            for alert in alerts
        ]
        connection.execute(
            text("""
                UPDATE core.logistics_alert SET rule = :rule, also = :also, crossed_at = :crossed_at
                WHERE shop_id = :shop_id AND alert_id = :alert_id
            """),
            rows,
        )
        connection.execute(
            text("""
                UPDATE core.follow_up SET why = :why, history = history || cast(:history AS jsonb), changed_at = now()
                WHERE shop_id = :shop_id AND alert_id = :alert_id AND state <> 'closed'
            """),
            rows,
        )


def close_alerts(connection: Connection, shop_id: str, alerts: Sequence[ClosedAlert]) -> None:
    """Close alerts. A follow-up that nobody has taken on ends with it; who has one on hand is told in its history."""
    if alerts:
        connection.execute(
            text("""
                UPDATE core.logistics_alert SET closed_at = greatest(:closed_at, opened_at), close_reason = :reason
                WHERE shop_id = :shop_id AND alert_id = :alert_id
            """),
            [{"shop_id": shop_id, **alert._asdict()} for alert in alerts],
        )
        end_follow_ups(connection, shop_id, [(each.alert_id, each.closed_at, each.reason) for each in alerts])


def open_by_rule(connection: Connection, shop_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return how many alerts are open by shop and rule, and since when the oldest of each waits."""
    rows = connection.execute(
        text("""
            SELECT shop_id, rule, count(*) AS alerts, min(since) AS oldest
            FROM core.logistics_alert WHERE closed_at IS NULL AND shop_id = ANY(:shop_ids)
            GROUP BY 1, 2 ORDER BY 1, 2
        """),
        {"shop_ids": list(shop_ids)},
    )
    return [dict(row) for row in rows.mappings()]


def longest_waiting(connection: Connection, shop_ids: Sequence[str], most: int) -> list[dict[str, Any]]:
    """Return the open alerts that have waited longest, for people to look at."""
    rows = connection.execute(
        text("""
            SELECT shop_id, rule, why, tracking_number, company, orders, since, hours_since, follow_up_state, assignee
            FROM bi.logistics_alerts WHERE is_open AND shop_id = ANY(:shop_ids) ORDER BY since, alert_id LIMIT :most
        """),
        {"shop_ids": list(shop_ids), "most": most},
    )
    return [dict(row) for row in rows.mappings()]
