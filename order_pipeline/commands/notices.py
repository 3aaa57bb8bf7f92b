"""order-pipeline notices: what people were told, what waits, and a trial message.

Belongs here: gathering and printing. Not here: delivering (sync/notices.py).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from order_pipeline import configuration
from order_pipeline.notifications.addresses import open_notifiers
from order_pipeline.notifications.digest import Item, compose, shown
from order_pipeline.notifications.notifier import DeliveryError, send_within
from order_pipeline.sync.actor import actor
from order_pipeline.sync.notices import SEND_SECONDS
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.notices import HeldNotice, latest_notices
from order_pipeline.wording import counted


def list_notices(engine: Engine, limit: int, *, as_json: bool) -> None:
    """Print the latest notices, those that wait before all others."""
    with transaction(engine) as connection:
        notices = latest_notices(connection, limit)
    if as_json:
        print(json.dumps({"notices": [notice._asdict() for notice in notices]}, default=datetime.isoformat))
        return
    if not notices:
        click.echo("There are no notices.")
        return
    table = Table(title=counted(len(notices), "notice"))
    for heading in ("id", "raised (Asia/Shanghai)", "severity", "notice", "delivery"):
        table.add_column(heading, overflow="fold")
    for notice in notices:
        times = f" ({notice.times_raised}x)" if notice.times_raised > 1 else ""
        table.add_row(
            str(notice.notice_id),
            shown(notice.raised_at).removesuffix(" Asia/Shanghai"),
            notice.severity,
            escape(f"{notice.title}{times}\n{notice.body}"),
            escape(_delivery(notice)),
        )
    Console().print(table)


def send_trial(*, as_json: bool) -> bool:
    """Send a trial message to every configured address now; print what came of it, and return whether all took it.

    Raises ConfigurationError for a wrong address.
    """
    notifiers = open_notifiers(configuration.notify_urls())
    trial = compose(
        [
            Item(
                "info",
                "a trial message",
                f"What happened: {actor()} asked for it. What it means: notices arrive here. Nothing is to be done.",
                datetime.now(UTC),
            )
        ]
    )
    found = []
    for notifier in notifiers:
        try:
            send_within(notifier, trial, SEND_SECONDS)
            found.append({"sink": notifier.name, "well": True, "said": "took the message"})
        except DeliveryError as error:
            # A trial is not repeated by itself.
            said = str(error).replace("it is tried again by itself; ", "")
            found.append({"sink": notifier.name, "well": False, "said": said})
    if as_json:
        print(json.dumps({"sinks": found}))
    else:
        for each in found:
            click.echo(f"{'ok' if each['well'] else 'FAIL'}  {each['sink']}: {each['said']}")
    return all(each["well"] for each in found)


def _delivery(notice: HeldNotice) -> str:
    if notice.delivered_at:
        return f"delivered to {', '.join(notice.delivered_to)}"
    took = f"; {', '.join(notice.delivered_to)} took it" if notice.delivered_to else ""
    return f"waits, {notice.attempts} attempts{took}" + (f": {notice.last_problem}" if notice.last_problem else "")
