"""order-pipeline quarantine: records that could not be read or loaded, looked at, tried again, or given up by name.

Belongs here: which records, and what is printed. Not here: trying again (sync/replay.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from order_pipeline.commands.environment import open_instance
from order_pipeline.configuration import ConfigurationError
from order_pipeline.sync.replay import Replay, Result, UnknownRecordError, discard, replay
from order_pipeline.warehouse.database import DatabaseUnreachableError, transaction
from order_pipeline.warehouse.quarantine import open_records, read_record
from order_pipeline.wording import counted

# A person reads the beginning; --json shows all of it.
SHOWN_CHARACTERS = 4_000

# The check that a run makes of the same (assets/orders.py).
ASSET, CHECK = "fullinfo_orders", "nothing_is_quarantined"


def list_records(engine: Engine, shop_ids: Sequence[str], *, as_json: bool) -> None:
    """Print the open records of these shops, of all when none is named, without their bodies."""
    with transaction(engine) as connection:
        records = open_records(connection, shop_ids or None)
    now = datetime.now(UTC)
    if as_json:
        print(json.dumps({"records": [_plain(record, now) for record in records]}))
        return
    if not records:
        click.echo("Nothing is quarantined.")
        return
    table = Table(title=counted(len(records), "record"))
    for heading in ("id", "shop", "order or refund", "age", "seen", "reason"):
        table.add_column(heading, justify="right" if heading in ("id", "age", "seen") else "left", overflow="fold")
    for record in records:
        table.add_row(
            str(record["quarantine_id"]),
            escape(str(record["shop_id"])),
            str(record["order_id"] or record["refund_id"] or "unknown"),
            _age(now - record["first_seen_at"]),
            f"{record['times_seen']}x",
            escape(str(record["reason"])),
        )
    Console().print(table)


def show_record(engine: Engine, quarantine_id: int, *, as_json: bool) -> None:
    """Print one record with its body. Raises UnknownRecordError."""
    with transaction(engine) as connection:
        held = read_record(connection, quarantine_id)
    if held is None:
        raise UnknownRecordError(quarantine_id)
    fields = _plain(held._asdict(), datetime.now(UTC))
    if as_json:
        print(json.dumps(fields))
        return
    body = fields.pop("body")
    for name, value in fields.items():
        if value is not None:
            click.echo(f"{name}: {value}")
    cut = f"\n… {len(body):,} characters in all; --json shows them" if len(body) > SHOWN_CHARACTERS else ""
    click.echo(f"body: {body[:SHOWN_CHARACTERS]}{cut}")


def replay_records(engine: Engine, ids: Sequence[int], shop_ids: Sequence[str], *, as_json: bool) -> bool:
    """Try records again, all open ones of these shops when none is named, each on its own. Return whether none is open.

    Raises UnknownRecordError before anything is tried.
    """
    with transaction(engine) as connection:
        for number in ids:
            if read_record(connection, number) is None:
                raise UnknownRecordError(number)
        wanted = ids or [
            int(record["quarantine_id"]) for record in reversed(open_records(connection, shop_ids or None))
        ]
    replays = [replay(engine, number) for number in wanted]
    _report(engine, replays, as_json=as_json)
    return not any(each.is_open for each in replays)


def discard_record(engine: Engine, quarantine_id: int, why: str, *, as_json: bool) -> None:
    """Settle a record by name. Raises UnknownRecordError."""
    _report(engine, [discard(engine, quarantine_id, why)], as_json=as_json)


def _report(engine: Engine, replays: Sequence[Replay], *, as_json: bool) -> None:
    with transaction(engine) as connection:
        left = open_records(connection, None)
    settled = [each for each in replays if each.result in (Result.LOADED, Result.DISCARDED)]
    if settled:
        _evaluate_check(len(left))
    if as_json:
        results = [each._asdict() | {"result": each.result.value} for each in replays]
        print(json.dumps({"results": results, "open": len(left)}))
        return
    for each in replays:
        click.echo(f"record {each.quarantine_id}, shop {each.shop_id}: {each.said}")
    click.echo(f"{len(settled)} settled, {len(left)} still open" if replays else "Nothing is quarantined.")


def _evaluate_check(left: int) -> None:
    """Let the check say at once what the next run would find."""
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(ASSET),
        check_name=CHECK,
        passed=not left,
        description=f"{counted(left, 'record waits', 'records wait')} in sync.quarantine; the tables lack what they say"
        if left
        else None,
        metadata={"open": left},
    )
    try:
        with open_instance() as instance:
            instance.report_runless_asset_event(evaluation)
    except (ConfigurationError, DatabaseUnreachableError) as error:
        click.echo(f"The check {CHECK} follows with the next run, as Dagster cannot be told now: {error}", err=True)


def _plain(record: dict[str, Any], now: datetime) -> dict[str, Any]:
    fields = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in record.items()}
    return fields | {"age_seconds": round((now - record["first_seen_at"]).total_seconds())}


def _age(span: timedelta) -> str:
    if span >= timedelta(days=1):
        return f"{span / timedelta(days=1):.1f} d"
    return (
        f"{span / timedelta(hours=1):.1f} h" if span >= timedelta(hours=1) else f"{span / timedelta(minutes=1):.0f} min"
    )
