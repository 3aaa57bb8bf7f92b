"""order-pipeline follow-ups: what customer service has to look after.

Belongs here: which, and what is printed. Not here: what opens them (sync/alerting.py), how they are kept
(warehouse/follow_ups.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection, Engine

from order_pipeline.configuration import ConfigurationError
from order_pipeline.notifications.digest import shown
from order_pipeline.sync.actor import actor
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.follow_ups import (
    ASSIGNED,
    CLOSED,
    FollowUp,
    change_follow_up,
    list_follow_ups,
    read_follow_up,
)
from order_pipeline.wording import counted


class UnknownFollowUpError(ConfigurationError):
    """There is no follow-up of that number, or it is closed already."""


def show_follow_ups(
    engine: Engine, shop_ids: Sequence[str], rules: Sequence[str], *, closed: bool, limit: int, as_json: bool
) -> None:
    """Print the follow-ups that are not closed (with ``closed`` all), what waits longest first."""
    with transaction(engine) as connection:
        found = list_follow_ups(connection, shop_ids, rules=rules, closed=closed, most=limit)
    if as_json:
        print(json.dumps({"follow_ups": [_plain(each) for each in found]}, ensure_ascii=False))
        return
    if not found:
        click.echo("There is nothing to follow up.")
        return
    now = datetime.now(UTC)
    table = Table(title=counted(len(found), "follow-up"))
    for heading in ("id", "shop", "rule", "parcel", "orders", "waits", "why", "state"):
        table.add_column(heading, overflow="fold")
    for each in found:
        table.add_row(
            str(each.follow_up_id),
            escape(each.shop_id),
            each.rule,
            escape(f"{each.tracking_number} {each.company or ''}".strip()),
            ", ".join(each.order_ids[:3]) + (" …" if len(each.order_ids) > 3 else ""),
            f"{(now - each.since) / timedelta(hours=1):.0f} h",
            escape(each.why + ("" if each.alert_is_open else " (over)")),
            escape(each.state + (f" to {each.assignee}" if each.assignee else "")),
        )
    Console().print(table)


def show_follow_up(engine: Engine, follow_up_id: int, *, as_json: bool) -> None:
    """Print one follow-up with its history. Raises UnknownFollowUpError."""
    with transaction(engine) as connection:
        found = _found(connection, follow_up_id)
    if as_json:
        print(json.dumps(_plain(found), ensure_ascii=False))
        return
    fields = _plain(found)
    history = fields.pop("history")
    for name, value in fields.items():
        if value is not None:
            click.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    for entry in history:
        state = f" [{entry['state']}]" if "state" in entry else ""
        click.echo(f"  {shown(datetime.fromisoformat(entry['at']))} {entry['by']}{state}: {entry['note']}")


def assign_follow_ups(engine: Engine, ids: Sequence[int], assignee: str, *, as_json: bool) -> None:
    """Take follow-ups on for somebody, all or none. Raises UnknownFollowUpError."""
    _change(engine, ids, ASSIGNED, f"assigned to {assignee}", assignee, as_json=as_json)


def close_follow_ups(engine: Engine, ids: Sequence[int], why: str, *, as_json: bool) -> None:
    """Close follow-ups, all or none; the alert goes on by itself. Raises UnknownFollowUpError."""
    _change(engine, ids, CLOSED, why, None, as_json=as_json)


def _change(engine: Engine, ids: Sequence[int], state: str, note: str, assignee: str | None, *, as_json: bool) -> None:
    who = actor()
    with transaction(engine) as connection:
        # In one order everywhere, so that two of these cannot deadlock.
        for number in sorted(set(ids)):
            held = _found(connection, number, lock=True)
            if held.state == CLOSED:
                raise UnknownFollowUpError(
                    f"follow-up {number} is closed already ({held.history[-1]['note']}); nothing was changed; a parcel "
                    f"that gets stuck again opens a new one"
                )
            change_follow_up(connection, number, state, by=who, note=note, assignee=assignee)
        changed = [_found(connection, number) for number in sorted(set(ids))]
    if as_json:
        print(json.dumps({"follow_ups": [_plain(each) for each in changed]}, ensure_ascii=False))
        return
    for each in changed:
        click.echo(f"follow-up {each.follow_up_id} ({each.tracking_number}): {note}")


def _found(connection: Connection, follow_up_id: int, *, lock: bool = False) -> FollowUp:
    found = read_follow_up(connection, follow_up_id, lock=lock)
    if found is None:
        raise UnknownFollowUpError(
            f"there is no follow-up {follow_up_id}; nothing was changed; see order-pipeline follow-ups list"
        )
    return found


def _plain(follow_up: FollowUp) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in follow_up._asdict().items()
    }
