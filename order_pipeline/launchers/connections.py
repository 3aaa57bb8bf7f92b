"""Dagster's storage reached without redialling, in the processes that ask it all day.

Belongs here: holding connections. Not here: launching. It is among the launchers as the daemon loads nothing else of
ours.

By itself Dagster lets only its webserver hold connections; everybody else dials for each statement (dagster-postgres
0.29). An idle daemon dials six times a second: that was a fifth of a core of Postgres, and half of the daemon's own
time. In a first load of 90 quiet days a fifth of the time went into dialling for events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from sqlalchemy import create_engine

if TYPE_CHECKING:
    import dagster as dg

POSTGRES = (PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage)

# As many as the daemon has threads at work; what more threads want at once is dialled, and let go.
KEPT_CONNECTIONS = 4
MORE_CONNECTIONS = 8
# A connection that a firewall has dropped meanwhile shall not be met after long silence.
RECYCLE_SECONDS = 600


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Let this process's storage keep its connections; where it is not in Postgres, nothing changes.

    Each is asked whether it is still there before it is used, so that a server that was restarted is not noticed.
    """
    for storage in (instance.event_log_storage, instance.run_storage, instance.schedule_storage):
        if isinstance(storage, POSTGRES):
            dialling = storage._engine  # noqa: SLF001 - Dagster's own way, optimize_for_webserver, does not ask first
            storage._engine = create_engine(  # noqa: SLF001
                dialling.url,
                isolation_level="AUTOCOMMIT",
                pool_size=KEPT_CONNECTIONS,
                max_overflow=MORE_CONNECTIONS,
                pool_recycle=RECYCLE_SECONDS,
                pool_pre_ping=True,
            )
            dialling.dispose()
