"""sync.call: the log of every call to the platform.

Belongs here: storing calls, and counting the latest. Not here: making them, the sums for ever (call_counts.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.call_counts import TimedCall, count_calls
from order_pipeline.warehouse.copying import copy_rows


class CallRow(NamedTuple):
    """One call; the fields are the columns of ``sync.call``."""

    shop_id: str
    method: str
    started_at: datetime
    seconds: float
    outcome: str
    code: str | None
    request_id: str | None


def store_calls(connection: Connection, calls: Sequence[CallRow]) -> None:
    """Append calls to the log, and add them to the sums."""
    copy_rows(connection, "sync.call", CallRow._fields, calls)
    count_calls(connection, (TimedCall(call.shop_id, call.method, call.outcome, call.seconds) for call in calls))


def calls_since(connection: Connection, since: datetime) -> dict[str, int]:
    """Return how many calls each method has had since then."""
    rows = connection.execute(
        text("SELECT method, count(*) FROM sync.call WHERE started_at >= :since GROUP BY method ORDER BY method"),
        {"since": since},
    )
    return {method: int(count) for method, count in rows}
