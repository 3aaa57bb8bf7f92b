"""sync.call_count: how many calls there ever were, by outcome and duration. Only grows, whatever becomes of the log.

Belongs here: adding and reading the sums. Not here: the calls one by one (calls.py).

Who loads only appends to ``sync.call_delta``, so that loads never wait for each other; one of them now and then folds
these rows into the sums. A reader adds up both in one statement, which sees each call exactly once.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.lock_keys import FOLDER_LOCK

# Seconds. Good answers come within 0.05 to 2; a client gives up after tens. Changing them keeps what was counted by
# the old ones, so that nothing ever shrinks.
BOUNDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, math.inf)

# Of one load there are a handful of rows: every so many are folded into the sums.
FOLD_EVERY = 256
# Bounds the work of one fold, and so what it adds to the load that does it (a few milliseconds).
FOLD_AT_MOST = 4096

_ADD = text("""
    INSERT INTO sync.call_delta (shop_id, method, outcome, up_to, calls, seconds)
    SELECT * FROM unnest(cast(:shops AS text[]), cast(:methods AS text[]), cast(:outcomes AS text[]),
                         cast(:bounds AS double precision[]), cast(:calls AS bigint[]),
                         cast(:seconds AS double precision[]))
    RETURNING delta_id
""")
_FOLD = text("""
    WITH taken AS (
        DELETE FROM sync.call_delta
        WHERE delta_id IN (SELECT delta_id FROM sync.call_delta ORDER BY delta_id LIMIT :most FOR UPDATE SKIP LOCKED)
        RETURNING shop_id, method, outcome, up_to, calls, seconds
    )
    INSERT INTO sync.call_count AS held (shop_id, method, outcome, up_to, calls, seconds)
    SELECT shop_id, method, outcome, up_to, sum(calls), sum(seconds) FROM taken GROUP BY 1, 2, 3, 4
    ON CONFLICT (shop_id, method, outcome, up_to) DO UPDATE
    SET calls = held.calls + excluded.calls, seconds = held.seconds + excluded.seconds
""")
_READ = text("""
    SELECT shop_id, method, outcome, up_to, sum(calls)::bigint, sum(seconds)
    FROM (SELECT shop_id, method, outcome, up_to, calls, seconds FROM sync.call_count
          UNION ALL
          SELECT shop_id, method, outcome, up_to, calls, seconds FROM sync.call_delta) AS counted
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
""")


class TimedCall(NamedTuple):
    """One call, as far as it is counted."""

    shop_id: str
    method: str
    outcome: str
    seconds: float


class CallCount(NamedTuple):
    """Calls of one outcome that took at most ``up_to`` seconds and more than the bound before, and their sum."""

    shop_id: str
    method: str
    outcome: str
    up_to: float
    calls: int
    seconds: float


def count_calls(connection: Connection, calls: Iterable[TimedCall]) -> None:
    """Add calls to the sums, in the transaction that logs them."""
    found: dict[tuple[str, str, str, float], tuple[int, float]] = {}
    for call in calls:
        key = (call.shop_id, call.method, call.outcome, BOUNDS[bisect_left(BOUNDS, call.seconds)])
        count, seconds = found.get(key, (0, 0.0))
        found[key] = (count + 1, seconds + call.seconds)
    if not found:
        return
    added = connection.execute(
        _ADD,
        {
            "shops": [key[0] for key in found],
            "methods": [key[1] for key in found],
            "outcomes": [key[2] for key in found],
            "bounds": [key[3] for key in found],
            "calls": [count for count, _ in found.values()],
            "seconds": [seconds for _, seconds in found.values()],
        },
    )
    if any(delta_id % FOLD_EVERY == 0 for delta_id in added.scalars()):
        fold(connection)


def fold(connection: Connection) -> None:
    """Move what loads have appended into the sums, unless somebody is at it, until whose transaction ends."""
    if connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": FOLDER_LOCK}).scalar():
        connection.execute(_FOLD, {"most": FOLD_AT_MOST})


def counted_calls(connection: Connection) -> list[CallCount]:
    """Return all sums, sorted by their fields."""
    return [CallCount(*row) for row in connection.execute(_READ)]
