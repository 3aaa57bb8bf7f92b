"""Notices of what the traffic room found: breakers that opened or closed, and bans that last for hours.

Belongs here: turning its facts into notices. Not here: the facts (traffic/), which are written statement by statement
beside the data, where no transaction carries a notice; so they are looked up instead, from where they are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine

from order_pipeline.notifications.digest import shown
from order_pipeline.sync.access import ShopAccess
from order_pipeline.traffic.breaker import IT_CLOSES_ITSELF, BreakerChange
from order_pipeline.traffic.budget import LONGEST_WAIT_SECONDS, QUOTA_USED_UP
from order_pipeline.traffic.errors import TransientError
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.notices import Notice, Severity, open_subjects, raise_notice, resolve_notice
from order_pipeline.wording import counted

BREAKER = "breaker_open"
BAN = "quota_ban"

# Changes while nobody looked, for as long as a stopped daemon may well stay unnoticed; older ones are history.
LOOK_BACK = timedelta(days=1)
MOST_CHANGES = 50


def raise_traffic_notices(accesses: Sequence[ShopAccess], engine: Engine) -> str:
    """Raise and end the notices of these shops' breakers and bans; safe to repeat.

    Returns in words what came of it, empty where nothing is new.

    """
    try:
        new = _raise(accesses, engine)
    except TransientError as error:
        # The next look finds the same.
        return str(error)
    return f"{counted(new, 'change')} of breakers and bans" if new else ""


def _raise(accesses: Sequence[ShopAccess], engine: Engine) -> int:
    now = datetime.now(UTC)
    breakers = {access.shop.app_key: access.gate.breaker for access in accesses if access.gate.breaker}
    budgets = {access.shop.app_key: access.gate.budget for access in accesses if access.gate.budget}
    changes = {
        app_key: [change for change in breaker.changes(MOST_CHANGES) if now - change.changed_at < LOOK_BACK]
        for app_key, breaker in breakers.items()
    }
    bans = {app_key: until for app_key, budget in budgets.items() if (until := budget.banned_until())}
    with transaction(engine) as connection:
        return _tell_changes(connection, changes) + _tell_bans(connection, bans, now)


def _tell_changes(connection: Connection, changes: Mapping[str, Sequence[BreakerChange]]) -> int:
    new = 0
    for app_key, newest_first in changes.items():
        for change in reversed(newest_first):
            if change.state == "open":
                new += raise_notice(connection, _opened(app_key, change), at=change.changed_at)
                continue
            new += resolve_notice(
                connection,
                BREAKER,
                app_key,
                title=f"the breaker of app {app_key} is closed again",
                body=f"What happened: {change.reason}. Polls go on; nothing is to be done.",
                at=change.changed_at,
            )
    return new


def _tell_bans(connection: Connection, bans: Mapping[str, datetime], now: datetime) -> int:
    known, new = open_subjects(connection, BAN), 0
    for app_key, until in bans.items():
        if app_key not in known and until - now > timedelta(seconds=LONGEST_WAIT_SECONDS):
            new += raise_notice(connection, _banned(app_key, until))
    for app_key in known - set(bans):
        new += resolve_notice(
            connection,
            BAN,
            app_key,
            title=f"the platform's ban of app {app_key} is over",
            body="Its shops go on by themselves from where they stopped; nothing is to be done.",
        )
    return new


def _opened(app_key: str, change: BreakerChange) -> Notice:
    return Notice(
        BREAKER,
        app_key,
        Severity.WARNING,
        f"the breaker of app {app_key} is open: too many calls fail",
        f"What happened: {change.reason} ({change.counts.failures} of {change.counts.calls} calls failed).\n"
        f"What it means: polls pause; messages and one full pull an hour keep the tables right, later than usual.\n"
        f"What to do: {IT_CLOSES_ITSELF}.",
        quiet=None,
    )


def _banned(app_key: str, until: datetime) -> Notice:
    return Notice(
        BAN,
        app_key,
        Severity.ERROR,
        f"the platform refuses all calls of app {app_key} until {shown(until)}",
        f"What happened: the platform banned app {app_key} until {shown(until)}; so long a ban is the daily quota.\n"
        f"What it means: its shops make no calls until then, and their orders in the tables stand still.\n"
        f"What to do: {QUOTA_USED_UP}.",
        quiet=None,
    )
