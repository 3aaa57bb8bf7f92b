"""What monitoring reads of Dagster's own storage: runs by state, and whether its daemons live.

Belongs here: queries of Dagster's tables ``runs`` and ``daemon_heartbeats`` (as of Dagster 1.13), read only. Not here:
the warehouse's figures. Plain SQL, as opening Dagster's instance takes seconds and writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

# Dagster writes its columns without a zone in the zone of its sessions, which is that of ours: the server's default.
_OPEN = "('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')"

QUERIES: Mapping[str, str] = {
    # Both branches have the index of Dagster (status, update_timestamp, create_timestamp).
    "runs": f"""
        SELECT pipeline_name AS job, status AS state, count(*) AS runs, max(end_time) AS ended_at
        FROM runs
        WHERE status IN {_OPEN}
           OR status IN ('SUCCESS', 'FAILURE', 'CANCELED') AND update_timestamp > localtimestamp - interval '1 day'
        GROUP BY pipeline_name, status
    """,
    "open_runs": """
        SELECT states.state, coalesce(oldest_seconds, 0) AS oldest_seconds
        FROM (VALUES ('QUEUED'), ('STARTING'), ('STARTED')) AS states (state)
        LEFT JOIN (
            SELECT status AS state, max(extract(epoch FROM now())::float - coalesce(
                start_time, extract(epoch FROM create_timestamp::timestamptz)::float)) AS oldest_seconds
            FROM runs WHERE status IN ('QUEUED', 'STARTING', 'STARTED') GROUP BY status
        ) AS found USING (state)
    """,
    "daemons": """
        SELECT daemon_type AS daemon, (body::jsonb ->> 'timestamp')::float AS beat_at FROM daemon_heartbeats
    """,
}


def read_figures(connection: Connection, subject: str) -> list[dict[str, Any]]:
    """Return the rows of a subject, a key of QUERIES. Raises SQLAlchemy's errors."""
    return [dict(row) for row in connection.execute(text(QUERIES[subject])).mappings()]
