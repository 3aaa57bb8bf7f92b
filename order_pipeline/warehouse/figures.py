"""What monitoring reads of the warehouse: one cheap query a subject, over small tables only.

Belongs here: the queries. Not here: what the figures are called and mean (metrics/), calls (call_counts.py).

Each query gives the columns that its subject has in the catalogue: names of shops, apps and states, and numbers.
Nothing else may come out of them: monitoring is read by more people than the warehouse. Moments are seconds since
1970. No query touches pages, messages, orders or lines, so that a scrape costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

from order_pipeline.warehouse.subjects import SUBJECTS, Subject
from order_pipeline.warehouse.watermarks import INCREMENTS, REFUND_CHANGES

# Parameters of the queries: ``shops`` and ``apps`` are those of shops.yaml. Rows of a shop that was taken out of it
# stay in the tables, and nobody shall be woken for it; where no shops are known, all count.
_MINE = "(cardinality(cast(:shops AS text[])) = 0 OR shop_id = ANY(:shops))"
_OUR_APPS = "(cardinality(cast(:apps AS text[])) = 0 OR app_key = ANY(:apps))"
_SHOPS = f"""
    (SELECT unnest(cast(:shops AS text[])) AS shop_id UNION SELECT shop_id FROM sync.watermark WHERE {_MINE}) AS known
"""


def _worklist(subject: Subject) -> str:
    def count(which: str) -> str:
        # A count at a time is answered from the index alone; together they would read the whole table.
        return f"(SELECT count(*) FROM {subject.worklist} p WHERE p.shop_id = known.shop_id AND {which})"

    return f"""
        SELECT known.shop_id AS shop, '{subject.name}' AS subject, {count("due_at <= now()")} AS due,
               {count("due_at > now() AND due_at < 'infinity'")} AS later,
               {count("due_at = 'infinity'")} AS unavailable,
               coalesce(extract(epoch FROM now() - (
                   SELECT min(due_at) FROM {subject.worklist} p
                   WHERE p.shop_id = known.shop_id AND due_at <= now()
               ))::float, 0) AS overdue_seconds,
               coalesce(extract(epoch FROM now() - oldest.said_at)::float, 0) AS age_seconds
        FROM {_SHOPS}
        LEFT JOIN (
            SELECT shop_id, min(said_at) AS said_at FROM {subject.worklist} WHERE due_at < 'infinity' GROUP BY shop_id
        ) AS oldest USING (shop_id)
    """


def _proofs(subject: Subject) -> str:
    # As far back as days are proven and mended (sync/windows.py: what the platform lists). The latest proof of each day
    # is looked up by the key: reading them all takes longer from night to night.
    return f"""
        SELECT known.shop_id AS shop, '{subject.name}' AS subject, count(*) FILTER (WHERE NOT equal) AS red_days,
               sum(unsettled) AS unsettled, sum(missing) AS missing, sum(stale) AS stale, sum(extra) AS extra,
               extract(epoch FROM max(reconciled_at))::float AS proved_at
        FROM {_SHOPS}
        CROSS JOIN generate_series(0, cast(:history_days AS integer)) AS days (ago)
        CROSS JOIN LATERAL (
            SELECT * FROM sync.reconciliation proof
            WHERE proof.shop_id = known.shop_id AND proof.subject = '{subject.name}'
              AND proof.day = (now() AT TIME ZONE 'Asia/Shanghai')::date - days.ago
            ORDER BY reconciled_at DESC LIMIT 1
        ) AS latest
        GROUP BY known.shop_id
    """


QUERIES: Mapping[str, str] = {
    "worklist": " UNION ALL ".join(_worklist(subject) for subject in SUBJECTS.values()),
    "freshness": f"""
        SELECT shop_id AS shop, channel, extract(epoch FROM position)::float AS fresh_at
        FROM sync.watermark WHERE channel IN ('{INCREMENTS}', '{REFUND_CHANGES}') AND {_MINE}
        UNION ALL
        SELECT shop_id, 'messages', extract(epoch FROM max(queue.read_at))::float
        FROM sync.message_seller JOIN sync.message_queue queue USING (app_key)
        WHERE permitted_at IS NOT NULL AND sync.message_seller.problem IS NULL AND {_MINE}
        GROUP BY shop_id
    """,
    "messages": f"""
        SELECT app_key AS app, max(lag_seconds) AS lag_seconds, max(failures) AS failures
        FROM sync.message_queue WHERE {_OUR_APPS} GROUP BY app_key
    """,
    # As sync/windows.py reckons: days of creation from before the watermark began that the platform still lists.
    "first_load": f"""
        SELECT shop_id AS shop, greatest(0, began - oldest + 1 - (
            SELECT count(*) FROM sync.history_day loaded
            WHERE loaded.shop_id = begun.shop_id AND loaded.day BETWEEN oldest AND began
        )) AS missing_days
        FROM (
            SELECT shop_id, (began_at AT TIME ZONE 'Asia/Shanghai')::date AS began,
                   (greatest(began_at, now()) AT TIME ZONE 'Asia/Shanghai')::date - :history_days AS oldest
            FROM sync.watermark WHERE channel = 'increments' AND {_MINE}
        ) AS begun
    """,
    "breakers": f"""
        SELECT app_key AS app, coalesce(state = 'open', false)::int AS is_open,
               coalesce(counted.calls, 0) AS window_calls, coalesce(counted.failures, 0) AS window_failures,
               coalesce(changed.openings, 0) AS openings
        FROM (
            SELECT unnest(cast(:apps AS text[])) AS app_key UNION SELECT app_key FROM sync.breaker WHERE {_OUR_APPS}
        ) AS known
        LEFT JOIN sync.breaker USING (app_key)
        LEFT JOIN (
            SELECT app_key, sum(calls) AS calls, sum(failures) AS failures FROM sync.breaker_count
            WHERE began_at > now() - make_interval(secs => :breaker_window) GROUP BY app_key
        ) AS counted USING (app_key)
        LEFT JOIN (
            SELECT app_key, count(*) AS openings FROM sync.breaker_change WHERE state = 'open' GROUP BY app_key
        ) AS changed USING (app_key)
    """,
    "budgets": f"""
        SELECT app_key AS app,
               CASE WHEN banned_until > now() THEN extract(epoch FROM banned_until - now())::float ELSE 0 END
                   AS ban_seconds,
               CASE WHEN next_at > now() THEN extract(epoch FROM next_at - now())::float ELSE 0 END AS booked_seconds
        FROM sync.rate_budget WHERE {_OUR_APPS}
    """,
    "quarantine": f"""
        SELECT known.shop_id AS shop, coalesce(records, 0) AS records, oldest_at
        FROM {_SHOPS}
        LEFT JOIN (
            SELECT shop_id, count(*) AS records, extract(epoch FROM min(first_seen_at))::float AS oldest_at
            FROM sync.quarantine WHERE resolved_at IS NULL GROUP BY shop_id
        ) AS held USING (shop_id)
    """,
    "drift": f"""
        SELECT known.shop_id AS shop, drift, coalesce(fields, 0) AS fields
        FROM {_SHOPS} CROSS JOIN (VALUES ('unknown'), ('vanished'), ('retyped')) AS kinds (drift)
        LEFT JOIN (
            SELECT shop_id, drift, count(*) AS fields FROM sync.field_drift GROUP BY shop_id, drift
        ) AS held USING (shop_id, drift)
    """,
    "silence": f"""
        SELECT known.shop_id AS shop, (notice.subject IS NOT NULL)::int AS is_silent
        FROM {_SHOPS}
        LEFT JOIN sync.notice ON notice.subject = known.shop_id AND kind = 'silent_lists' AND resolved_at IS NULL
    """,
    "proofs": " UNION ALL ".join(_proofs(subject) for subject in SUBJECTS.values()),
    "sessions": f"""
        SELECT known.shop_id AS shop, (pause.shop_id IS NOT NULL)::int AS is_paused,
               extract(epoch FROM CASE WHEN token.next_refresh_at IS NULL THEN token.ends_at END)::float AS ends_at,
               (token.refresh_problem IS NOT NULL)::int AS renewal_fails
        FROM {_SHOPS}
        LEFT JOIN sync.shop_pause pause ON pause.shop_id = known.shop_id AND pause.ended_at IS NULL
        LEFT JOIN sync.token token ON token.shop_id = known.shop_id
    """,
    "logistics": f"""
        SELECT shop_id AS shop, rule, count(*) AS open FROM core.logistics_alert
        WHERE closed_at IS NULL AND {_MINE} GROUP BY shop_id, rule
    """,
    "notices": """
        SELECT kind, severity, count(*) AS open FROM sync.notice WHERE resolved_at IS NULL GROUP BY kind, severity
    """,
    "outbox": """
        SELECT count(*) AS waiting, extract(epoch FROM min(raised_at))::float AS oldest_at
        FROM sync.notice WHERE delivered_at IS NULL
    """,
}


def read_figures(connection: Connection, subject: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a subject. Raises SQLAlchemy's errors.

    Args:
        connection: its time limits are the caller's.
        subject: a key of QUERIES.
        parameters: ``shops``, ``apps``, ``history_days`` and ``breaker_window`` (seconds).

    """
    return [dict(row) for row in connection.execute(text(QUERIES[subject]), parameters).mappings()]
