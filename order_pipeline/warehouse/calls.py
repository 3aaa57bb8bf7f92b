"""sync.call: the log of every call to the platform.

Belongs here: storing and counting calls. Not here: making them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

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
    """Append calls to the log."""
    copy_rows(connection, "sync.call", CallRow._fields, calls)


def calls_since(connection: Connection, since: datetime) -> dict[str, int]:
    """Return how many calls each method has had since then."""
    rows = connection.execute(
        text("SELECT method, count(*) FROM sync.call WHERE started_at >= :since GROUP BY method ORDER BY method"),
        {"since": since},
    )
    return {method: int(count) for method, count in rows}
