"""sync.shop_pause: shops that are left alone because their session was refused, and what ended each pause.

Belongs here: beginning, reading and ending pauses. Not here: judging a session (sync/sessions.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.notices import Notice, Severity, raise_notice, resolve_notice

NOTICE = "shop_paused"


class Pause(NamedTuple):
    """A pause that holds. ``fingerprint`` is that of the session that was refused."""

    shop_id: str
    fingerprint: str
    paused_at: datetime
    paused_by: str
    reason: str


def begin_pause(connection: Connection, shop_id: str, fingerprint: str, reason: str, paused_by: str) -> None:
    """Pause a shop, and tell people; one that is paused already stays as it is."""
    begun = connection.execute(
        text("""
            INSERT INTO sync.shop_pause (shop_id, fingerprint, reason, paused_by)
            VALUES (:shop_id, :fingerprint, :reason, :paused_by)
            ON CONFLICT (shop_id) WHERE ended_at IS NULL DO NOTHING
        """),
        {"shop_id": shop_id, "fingerprint": fingerprint, "reason": reason, "paused_by": paused_by},
    )
    if begun.rowcount:
        raise_notice(connection, _paused(shop_id, reason))


def read_pause(connection: Connection, shop_id: str) -> Pause | None:
    """Return the pause of a shop, None when it is not paused."""
    row = connection.execute(
        text(f"SELECT {', '.join(Pause._fields)} FROM sync.shop_pause WHERE shop_id = :shop_id AND ended_at IS NULL"),
        {"shop_id": shop_id},
    ).one_or_none()
    return Pause(*row) if row else None


def end_pause(connection: Connection, shop_id: str, ending: str, ended_by: str) -> bool:
    """End the pause of a shop, and tell people; return whether it was paused."""
    result = connection.execute(
        text("""
            UPDATE sync.shop_pause SET ended_at = now(), ended_by = :ended_by, ending = :ending
            WHERE shop_id = :shop_id AND ended_at IS NULL
        """),
        {"shop_id": shop_id, "ending": ending, "ended_by": ended_by},
    )
    if result.rowcount:
        resolve_notice(
            connection,
            NOTICE,
            shop_id,
            title=f"shop {shop_id} goes on",
            body=f"Its pause ended: {ending}. What waited is fetched now; nothing is to be done.",
        )
    return bool(result.rowcount)


def _paused(shop_id: str, reason: str) -> Notice:
    return Notice(
        NOTICE,
        shop_id,
        Severity.ERROR,
        f"shop {shop_id} is paused: its session is not accepted any more",
        f"What happened: {reason}.\n"
        f"What it means: no call is made for this shop, its orders in the tables stand still; other shops go on.\n"
        f"What to do: have its owner authorise it again: order-pipeline authorize {shop_id} "
        f"(or order-pipeline doctor, if the platform accepts the session after all).",
        quiet=None,
    )
