"""sync.shop_pause: shops that are left alone because their session was refused, and what ended each pause.

Belongs here: beginning, reading and ending pauses. Not here: judging a session (sync/sessions.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text


class Pause(NamedTuple):
    """A pause that holds. ``fingerprint`` is that of the session that was refused."""

    shop_id: str
    fingerprint: str
    paused_at: datetime
    paused_by: str
    reason: str


def begin_pause(connection: Connection, shop_id: str, fingerprint: str, reason: str, paused_by: str) -> None:
    """Pause a shop; one that is paused already stays as it is."""
    connection.execute(
        text("""
            INSERT INTO sync.shop_pause (shop_id, fingerprint, reason, paused_by)
            VALUES (:shop_id, :fingerprint, :reason, :paused_by)
            ON CONFLICT (shop_id) WHERE ended_at IS NULL DO NOTHING
        """),
        {"shop_id": shop_id, "fingerprint": fingerprint, "reason": reason, "paused_by": paused_by},
    )


def read_pause(connection: Connection, shop_id: str) -> Pause | None:
    """Return the pause of a shop, None when it is not paused."""
    row = connection.execute(
        text(f"SELECT {', '.join(Pause._fields)} FROM sync.shop_pause WHERE shop_id = :shop_id AND ended_at IS NULL"),
        {"shop_id": shop_id},
    ).one_or_none()
    return Pause(*row) if row else None


def end_pause(connection: Connection, shop_id: str, ending: str, ended_by: str) -> bool:
    """End the pause of a shop; return whether it was paused."""
    result = connection.execute(
        text("""
            UPDATE sync.shop_pause SET ended_at = now(), ended_by = :ended_by, ending = :ending
            WHERE shop_id = :shop_id AND ended_at IS NULL
        """),
        {"shop_id": shop_id, "ending": ending, "ended_by": ended_by},
    )
    return bool(result.rowcount)
