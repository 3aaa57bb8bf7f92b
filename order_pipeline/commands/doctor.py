"""order-pipeline doctor: everything a sync needs, tried once, each with cause and remedy.

Belongs here: trying and reporting. Not here: repairing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace
from rich.console import Console
from rich.markup import escape
from sqlalchemy import Engine

from order_pipeline import configuration
from order_pipeline.commands.environment import open_instance, open_warehouse, put_databases_in_environment
from order_pipeline.configuration import ConfigurationError, Shop
from order_pipeline.notifications.addresses import open_notifiers
from order_pipeline.platforms.protocol import Window
from order_pipeline.resources.addresses import configured_shops
from order_pipeline.sync.access import ShopAccess, open_shop
from order_pipeline.sync.renewal import describe, needs_person
from order_pipeline.traffic.errors import CallError
from order_pipeline.warehouse.database import DatabaseUnreachableError, shown
from order_pipeline.warehouse.migrate import SchemaError

# The gateway takes up to 10 minutes of difference (Taobao contract §1.2); past this it is time to look.
CLOCK_WARNING = timedelta(minutes=1)


class Finding(NamedTuple):
    """What one look found: what was tried, whether it is well, and the words to it."""

    subject: str
    well: bool
    said: str


def examine() -> Iterator[Finding]:
    """Yield a finding for the databases, the configuration and each shop."""
    yield _tried("databases", _databases)
    yield _tried("warehouse", _warehouse)
    yield _tried("Dagster's storage", _dagster)
    yield _tried("notifications", _notifications)
    try:
        shops = configured_shops()
    except ConfigurationError as error:
        yield Finding("shops", False, str(error))
        return
    yield Finding("shops", True, ", ".join(shop.id for shop in shops))
    try:
        with open_warehouse(upgrade=False) as engine:
            for shop in shops:
                yield from _shop(shop, engine)
    except (ConfigurationError, DatabaseUnreachableError, SchemaError):
        # Said above; the platform can be tried all the same, with the configured keys.
        for shop in shops:
            yield from _shop(shop, None)


def report(*, as_json: bool) -> bool:
    """Print the findings as they come, and return whether all is well."""
    console = Console()
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            mark = "[green]ok[/]  " if finding.well else "[red]FAIL[/]"
            console.print(f"{mark} {escape(finding.subject)}: {escape(finding.said)}", soft_wrap=True)
    well = all(finding.well for finding in findings)
    if as_json:
        print(json.dumps({"well": well, "findings": [finding._asdict() for finding in findings]}))
    return well


def _tried(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, look())
    except (ConfigurationError, DatabaseUnreachableError, SchemaError, CallError, OSError) as error:
        return Finding(subject, False, str(error))


def _databases() -> str:
    put_databases_in_environment()
    return "addresses are there"


def _warehouse() -> str:
    with open_warehouse(upgrade=False) as engine:
        return f"{shown(engine)}, schema current"


def _dagster() -> str:
    with open_instance() as instance:
        return f"{instance.get_runs_count()} runs recorded"


def _notifications() -> str:
    names = ", ".join(notifier.name for notifier in open_notifiers(configuration.notify_urls()))
    return f"{names}; to send a trial message: order-pipeline notices test"


def _shop(shop: Shop, engine: Engine | None) -> Iterator[Finding]:
    access = open_shop(shop, engine)
    clock = _tried(f"shop {shop.id}: gateway, app key, secret, clock", lambda: _clock(access))
    yield clock
    row = access.session.token() if access.session else None
    if row:
        now = datetime.now(UTC)
        yield Finding(f"shop {shop.id}: token", not needs_person(row, now), describe(row, now))
    if clock.well:
        yield _tried(f"shop {shop.id}: session and order permission", lambda: _orders(access))


def _clock(access: ShopAccess) -> str:
    now = access.platform.now()
    behind = datetime.now(UTC) - now
    warning = "; more than a minute: check NTP" if abs(behind) > CLOCK_WARNING else ""
    return f"{access.shop.gateway_url} answers, its clock differs by {behind.total_seconds():+.0f} s{warning}"


def _orders(access: ShopAccess) -> str:
    resumed = ""
    if access.session and access.session.pause():
        # A person asks, so that the platform is: it may accept the session again.
        tried = open_shop(replace(access.shop, session_key=access.session.current_key()))
        _changed_lately(tried)
        access.session.resume("the platform accepts the session again, as order-pipeline doctor found")
        resumed = "; the shop was paused, and goes on from now"
    return _changed_lately(access) + resumed


def _changed_lately(access: ShopAccess) -> str:
    now = access.platform.now()
    page = next(iter(access.platform.changed_orders(Window(now - timedelta(minutes=30), now))))
    return f"{len(page.orders)}{'+' if page.has_more else ''} orders changed in the last half hour"
