"""core.follow_up: what customer service has to look after, and what was done with it.

Belongs here: listing, taking on, closing, with a history that only grows. Not here: what opens them
(logistics_alerts.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

OPEN, ASSIGNED, CLOSED = "open", "assigned", "closed"
# Who closes and notes by itself.
PIPELINE = "order_pipeline"


class FollowUp(NamedTuple):
    """A follow-up as it is kept, with its parcel. ``since``: since when the waiting counts."""

    shop_id: str
    follow_up_id: int
    rule: str
    why: str
    direction: str
    tracking_number: str
    company: str | None
    order_ids: list[str]
    since: datetime
    opened_at: datetime
    alert_is_open: bool
    state: str
    assignee: str | None
    history: list[dict[str, Any]]


_FOLLOW_UPS = """
    SELECT f.shop_id, f.follow_up_id, a.rule, f.why, f.direction, f.tracking_number,
           coalesce(p.current_company, p.company), f.order_ids, f.since, a.opened_at, a.closed_at IS NULL,
           f.state, f.assignee, f.history
    FROM core.follow_up f
    JOIN core.logistics_alert a ON a.shop_id = f.shop_id AND a.alert_id = f.alert_id
    JOIN core.parcel p ON p.shop_id = f.shop_id AND p.direction = f.direction
        AND p.tracking_number = f.tracking_number
"""


def history_entry(at: datetime, by: str | None, state: str | None, note: str) -> str:
    """Return an entry of a history, in a list, as JSON. ``by``: None is the pipeline; ``state``: None is as before."""
    entry = {"at": at.isoformat(), "by": by or PIPELINE, "state": state, "note": note}
    return json.dumps([{name: value for name, value in entry.items() if value is not None}], ensure_ascii=False)


def list_follow_ups(
    connection: Connection,
    shop_ids: Sequence[str],
    *,
    rules: Sequence[str] = (),
    closed: bool = False,
    most: int | None = None,
) -> list[FollowUp]:
    """Return the follow-ups of these shops (all of them where none is named), what waits longest first."""
    rows = connection.execute(
        text(f"""
            {_FOLLOW_UPS}
            WHERE (:every_shop OR f.shop_id = ANY(:shop_ids)) AND (:every_rule OR a.rule = ANY(:rules))
              AND (:closed OR f.state <> 'closed')
            ORDER BY f.state = 'closed', f.since, f.follow_up_id LIMIT :most
        """),
        {"shop_ids": list(shop_ids), "every_shop": not shop_ids, "rules": list(rules), "every_rule": not rules,
         "closed": closed, "most": most},
    )  # fmt: skip
    return [FollowUp(*row) for row in rows]


def read_follow_up(connection: Connection, follow_up_id: int, *, lock: bool = False) -> FollowUp | None:
    """Return a follow-up, None: there is none of that number. ``lock``: nobody else changes it meanwhile."""
    row = connection.execute(
        text(f"{_FOLLOW_UPS} WHERE f.follow_up_id = :follow_up_id {'FOR UPDATE OF f' if lock else ''}"),
        {"follow_up_id": follow_up_id},
    ).one_or_none()
    return FollowUp(*row) if row else None


def change_follow_up(
    connection: Connection, follow_up_id: int, state: str, *, by: str, note: str, assignee: str | None = None
) -> None:
    """Take a follow-up on for somebody, or close it; ``by`` did it, now. An assignee stays unless another is named."""
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    connection.execute(
        text("""
            UPDATE core.follow_up SET state = :state, assignee = coalesce(:assignee, assignee),
                history = history || cast(:history AS jsonb), changed_at = now()
            WHERE follow_up_id = :follow_up_id
        """),
        {"follow_up_id": follow_up_id, "state": state, "assignee": assignee,
         "history": history_entry(now, by, state, note)},
    )  # fmt: skip


def end_follow_ups(connection: Connection, shop_id: str, ended: Sequence[tuple[int, datetime, str]]) -> None:
    """Note that the reason is gone of these alerts (number, when, why): closes what nobody has taken on."""
    connection.execute(
        text("""
            UPDATE core.follow_up SET
                history = history || cast(CASE WHEN state = 'open' THEN :closing ELSE :noting END AS jsonb),
                state = CASE WHEN state = 'open' THEN 'closed' ELSE state END, changed_at = now()
            WHERE shop_id = :shop_id AND alert_id = :alert_id AND state <> 'closed'
        """),
        [
            {
                "shop_id": shop_id,
                "alert_id": alert_id,
                "closing": history_entry(at, None, CLOSED, reason),
                "noting": history_entry(at, None, None, reason),
            }
            for alert_id, at, reason in ended
        ],
    )
