"""Keeping the growing tables as long as is configured, and no longer.

Belongs here: joining the policy with what the warehouse says may go. Not here: that judgement (warehouse/retention.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.configuration import Retention
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.forecasts import thin_forecasts
from order_pipeline.warehouse.months import CALLS, LOGS, MESSAGES, PAGES, Log, adopt_strays, ensure_months
from order_pipeline.warehouse.retention import (
    SETTLED_TABLES,
    Month,
    count_settled,
    delete_settled,
    drop_month,
    past_months,
)


class Gone(NamedTuple):
    """What went (or would go): the table or its month, how many rows (of a month: about), and the disk it took."""

    name: str
    rows: int
    size_bytes: int | None


class Stays(NamedTuple):
    """A month that is past its time and stays, and what needs it."""

    name: str
    needed_by: tuple[str, ...]


class Pruned(NamedTuple):
    """What came of pruning."""

    gone: tuple[Gone, ...]
    stays: tuple[Stays, ...]
    made: tuple[str, ...]


def prune(engine: Engine, retention: Retention, now: datetime, *, dry_run: bool = False) -> Pruned:
    """Make months to come, drop those past their time that nothing needs, delete what is settled and old forecasts.

    Each step is a transaction of its own, so a stop in between leaves whole months. ``dry_run`` changes nothing.
    Raises DatabaseUnreachableError without the warehouse, also when a table stays locked for over a minute.
    """
    made: list[str] = []
    if not dry_run:
        made += in_transaction(engine, lambda connection: ensure_months(connection, now))
        for log in LOGS:
            made += in_transaction(engine, lambda connection, log=log: adopt_strays(connection, log))  # type: ignore[misc]
    gone: list[Gone] = []
    stays: list[Stays] = []
    for log, days in ((PAGES, retention.pages), (MESSAGES, retention.messages), (CALLS, retention.calls)):
        for month in _past(engine, log, now - timedelta(days=days)):
            needed_by = month.needed_by if dry_run else _drop(engine, log, month)
            if needed_by:
                stays.append(Stays(month.span.partition, needed_by))
            else:
                gone.append(Gone(month.span.partition, month.rows, month.size_bytes))
    before = now - timedelta(days=retention.settled)
    for table in SETTLED_TABLES:
        rows = _settle(engine, table, before, dry_run=dry_run)
        if rows:
            gone.append(Gone(table, rows, None))
    rows = in_transaction(engine, lambda connection: thin_forecasts(connection, day_of(now), dry_run=dry_run))
    if rows:
        gone.append(Gone("core.demand_forecast", rows, None))
    return Pruned(tuple(gone), tuple(stays), tuple(made))


def _past(engine: Engine, log: Log, before: datetime) -> list[Month]:
    return in_transaction(engine, lambda connection: past_months(connection, log, before))


def _drop(engine: Engine, log: Log, month: Month) -> tuple[str, ...]:
    return in_transaction(engine, lambda connection: drop_month(connection, log, month.span))


def _settle(engine: Engine, table: str, before: datetime, *, dry_run: bool) -> int:
    def settle(connection: Connection) -> int:
        return (count_settled if dry_run else delete_settled)(connection, table, before)

    return in_transaction(engine, settle)
