"""order-pipeline status: how far the pipeline is, shop by shop.

Belongs here: gathering and printing. Not here: judging it (checks/).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection, Engine

from order_pipeline.configuration import Shop
from order_pipeline.sync.access import open_shop
from order_pipeline.sync.renewal import days_left, describe
from order_pipeline.sync.shipping import open_stops
from order_pipeline.sync.silence import SILENT_LISTS
from order_pipeline.sync.windows import HISTORY_DAYS, day_of, due_history_days
from order_pipeline.warehouse.calls import calls_since
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.decision_counts import count_decisions
from order_pipeline.warehouse.field_counts import open_drifts
from order_pipeline.warehouse.message_queues import hearing
from order_pipeline.warehouse.notices import open_subjects, waiting_notices
from order_pipeline.warehouse.orders import count_orders
from order_pipeline.warehouse.presale_holds import hold_totals
from order_pipeline.warehouse.proofs import proven
from order_pipeline.warehouse.quarantine import open_records
from order_pipeline.warehouse.refunds import count_refunds
from order_pipeline.warehouse.stock_writes import open_writes
from order_pipeline.warehouse.subjects import REFUNDS
from order_pipeline.warehouse.watermarks import (
    REFUND_CHANGES,
    known_shops,
    loaded_history_days,
    read_beginning,
    read_watermark,
)
from order_pipeline.warehouse.worklist import depth
from order_pipeline.wording import counted

# The latest openings and closings of a breaker.
CHANGES_SHOWN = 5


def gather(
    engine: Engine, configured: Sequence[str], now: datetime, sessions: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the state of each shop and the calls of the last 24 hours, ready for JSON. Calls no platform.

    The shops are those configured and those that were ever loaded. ``sessions``: what ``session_state`` says of each.
    """
    with transaction(engine) as connection:
        rows = []
        for shop_id in dict.fromkeys([*configured, *known_shops(connection)]):
            began = read_beginning(connection, shop_id)
            watermark = read_watermark(connection, shop_id)
            loaded = loaded_history_days(connection, shop_id)
            waiting = depth(connection, shop_id)
            proofs = proven(connection, shop_id, day_of(now) - timedelta(days=HISTORY_DAYS))
            refunded_to = read_watermark(connection, shop_id, REFUND_CHANGES)
            refunds_waiting = depth(connection, shop_id, subject=REFUNDS)
            refund_proofs = proven(connection, shop_id, day_of(now) - timedelta(days=HISTORY_DAYS), subject=REFUNDS)
            messages = hearing(connection, shop_id)
            rows.append(
                {
                    "shop": shop_id,
                    "orders": count_orders(connection, [shop_id]),
                    "history_days_loaded": len(loaded),
                    "history_days_missing": len(due_history_days(began, now, loaded)) if began else None,
                    "watermark": watermark.isoformat() if watermark else None,
                    "watermark_lag_seconds": round((now - watermark).total_seconds(), 1) if watermark else None,
                    "details_due": waiting.due,
                    "details_later": waiting.later,
                    "details_unavailable": waiting.unavailable,
                    "oldest_due_seconds": waiting.oldest_due_seconds,
                    "messages_read_seconds_ago": messages.read_seconds_ago,
                    "messages_lag_seconds": messages.lag_seconds,
                    "messages_problem": messages.problem,
                    "refunds": count_refunds(connection, [shop_id]),
                    "refunds_watermark": refunded_to.isoformat() if refunded_to else None,
                    "refunds_watermark_lag_seconds": round((now - refunded_to).total_seconds(), 1)
                    if refunded_to
                    else None,
                    "refunds_due": refunds_waiting.due,
                    "refunds_later": refunds_waiting.later,
                    "refunds_unavailable": refunds_waiting.unavailable,
                    "refund_days_red": refund_proofs.days_red,
                    "held_by_presales": sum(int(row["held"]) for row in hold_totals(connection, [shop_id])),
                    **_decisions(connection, shop_id),
                    "stock_writes_in_doubt": len(open_writes(connection, shop_id)),
                    "quarantined": len(open_records(connection, [shop_id])),
                    **_doubts(connection, shop_id),
                    "last_proven_day": proofs.last_equal_day.isoformat() if proofs.last_equal_day else None,
                    "days_red": proofs.days_red,
                    "reconciled_at": proofs.reconciled_at.isoformat() if proofs.reconciled_at else None,
                    **(sessions or {}).get(shop_id, _NO_SESSION),
                }
            )
        return {
            "shops": rows,
            "calls_24h": calls_since(connection, now - timedelta(days=1)),
            "notices": _notices(connection),
        }


def _doubts(connection: Connection, shop_id: str) -> dict[str, Any]:
    """Return what makes the platform's answers doubtful: fields that changed, lists that are empty."""
    drifted = open_drifts(connection, [shop_id])
    return {
        "fields_changed": [f"{row['object']}: {row['field']} {row['drift']} {row['kind']}".rstrip()
                           for row in drifted if row["is_mapped"]],
        "fields_unknown": [f"{row['object']}: {row['field']}" for row in drifted if not row["is_mapped"]],
        "lists_suspiciously_empty": shop_id in open_subjects(connection, SILENT_LISTS),
    }  # fmt: skip


def _decisions(connection: Connection, shop_id: str) -> dict[str, Any]:
    counts = count_decisions(connection, shop_id)
    return {
        "stock_of": counts.stock_of.isoformat() if counts.stock_of else None,
        "presale_lines_holding": counts.open_holds,
        "skus_to_buy": counts.to_buy,
        "lines_to_send": counts.to_send,
        "lines_held_back": counts.held_back,
        "lines_to_stop": len(open_stops(connection, [shop_id])),
        "parcel_alerts": counts.alerts,
        "parcels_stuck": counts.stuck,
    }


def _notices(connection: Connection) -> dict[str, Any]:
    waiting = waiting_notices(connection)
    oldest = waiting.oldest_at.isoformat() if waiting.oldest_at else None
    return {"waiting": waiting.notices, "oldest_at": oldest, "last_problem": waiting.last_problem}


_NO_SESSION = {
    "held": None,
    "paused_since": None,
    "token": None,
    "token_days_left": None,
    "breaker_open_since": None,
    "breaker_reason": None,
    "breaker_changes": (),
    "banned_until": None,
}


def session_state(engine: Engine, shop: Shop, now: datetime) -> dict[str, Any]:
    """Say whether a shop is left alone or slowed down, since when and why, and how long its token is good."""
    access = open_shop(shop, engine)
    session, breaker, budget = access.session, access.gate.breaker, access.gate.budget
    assert session is not None  # noqa: S101 - opened with an engine
    assert breaker is not None  # noqa: S101 - likewise
    pause, row, state = session.pause(), session.token(), breaker.state()
    banned = budget.banned_until() if budget else None
    return {
        "held": session.hold(),
        "paused_since": pause.paused_at.isoformat() if pause else None,
        "token": describe(row, now) if row else None,
        "token_days_left": days_left(row.ends_at, now) if row else None,
        "breaker_open_since": state.since.isoformat() if state.is_open and state.since else None,
        "breaker_reason": state.reason if state.is_open else None,
        "breaker_changes": [
            {"at": change.changed_at.isoformat(), "state": change.state, "why": change.reason}
            for change in breaker.changes(CHANGES_SHOWN)
        ],
        "banned_until": banned.isoformat() if banned and banned > now else None,
    }


def _heard(row: dict[str, Any]) -> str:
    """Return in words how a shop's messages come in."""
    if row["messages_problem"]:
        return f"[yellow]no messages:[/] {escape(row['messages_problem'])}"
    ago, lag = row["messages_read_seconds_ago"], row["messages_lag_seconds"]
    if ago is None:
        return "messages never read yet"
    return f"messages read {ago:.0f} s ago" + ("" if lag is None else f", {lag:.0f} s after publication")


def _to_do(row: dict[str, Any]) -> str:
    """Return in words what there is to buy, to send and to look after."""
    return (
        f"stock of {row['stock_of'] or 'no day yet'}; "
        f"{counted(row['presale_lines_holding'], 'line of pre-sales holds', 'lines of pre-sales hold')} "
        f"{counted(row['held_by_presales'], 'piece')}; {counted(row['skus_to_buy'], 'SKU')} to buy; "
        f"{counted(row['lines_to_send'], 'line')} to send, {row['lines_held_back']:,} held back; "
        f"{counted(row['parcels_stuck'], 'parcel')} stuck, "
        f"{row['parcel_alerts']:,} with an alert"
    )


def _history(row: dict[str, Any]) -> str:
    missing = row["history_days_missing"]
    if missing is None:
        return "none yet"
    return f"{row['history_days_loaded']}" + (f", {missing} missing" if missing else "")


def _behind(row: dict[str, Any], watermark: str = "watermark") -> str:
    lag = row[f"{watermark}_lag_seconds"]
    return "-" if lag is None else str(timedelta(seconds=round(lag)))


FACTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "orders": lambda row: f"{row['orders']:,}",
    "history days loaded": _history,
    "watermark behind": _behind,
    "details due": lambda row: f"{row['details_due']:,}",
    "details due later": lambda row: f"{row['details_later']:,}",
    "details the platform does not serve": lambda row: f"{row['details_unavailable']:,}",
    "refunds": lambda row: f"{row['refunds']:,}",
    "refunds' watermark behind": lambda row: _behind(row, "refunds_watermark"),
    "refunds' details due": lambda row: f"{row['refunds_due']:,}",
    "pieces held by pre-sales": lambda row: f"{row['held_by_presales']:,}",
    "quarantined": lambda row: f"{row['quarantined']:,}",
}


def show(engine: Engine, configured: Sequence[Shop], *, as_json: bool) -> None:
    """Print the state."""
    now = datetime.now(UTC)
    sessions = {shop.id: session_state(engine, shop, now) for shop in configured}
    state = gather(engine, list(sessions), now, sessions)
    if as_json:
        print(json.dumps(state))
        return
    # Facts as rows: their names stay readable on a narrow terminal.
    table = Table(title="order_pipeline")
    table.add_column("")
    for row in state["shops"]:
        table.add_column(row["shop"], justify="right")
    for name, fact in FACTS.items():
        table.add_row(name, *(fact(row) for row in state["shops"]))
    console = Console()
    console.print(table)
    # Not as columns: a terminal of 80 characters has no room for more.
    for row in state["shops"]:
        red = f", [red]days red: {row['days_red']}[/]" if row["days_red"] else ""
        red += f", [red]days red of refunds: {row['refund_days_red']}[/]" if row["refund_days_red"] else ""
        last = f"last day proven equal {row['last_proven_day']}" if row["last_proven_day"] else "never proven yet"
        console.print(f"shop {row['shop']}: {last}{red}")
        if row["held"]:
            console.print(f"[red]left alone:[/] shop {row['shop']}: {escape(row['held'])}", soft_wrap=True)
        if row["breaker_open_since"]:
            since, why = row["breaker_open_since"], escape(row["breaker_reason"])
            console.print(f"[yellow]breaker open:[/] shop {row['shop']}: since {since}, {why}", soft_wrap=True)
        if row["banned_until"]:
            console.print(f"[yellow]banned:[/] shop {row['shop']}: no calls until {row['banned_until']}")
        if row["lists_suspiciously_empty"]:
            console.print(
                f"[yellow]suspiciously empty:[/] the lists of shop {row['shop']} (order-pipeline notices list)"
            )
        if row["fields_changed"]:
            named = escape(", ".join(row["fields_changed"]))
            console.print(f"[yellow]fields changed:[/] shop {row['shop']}: {named}", soft_wrap=True)
        if row["fields_unknown"]:
            named = escape(", ".join(row["fields_unknown"]))
            console.print(f"shop {row['shop']}: fields without a column, kept in extra: {named}", soft_wrap=True)
        if row["token"]:
            console.print(f"shop {row['shop']}: {escape(row['token'])}", soft_wrap=True)
        console.print(f"shop {row['shop']}: {_heard(row)}", soft_wrap=True)
        console.print(f"shop {row['shop']}: {_to_do(row)}", soft_wrap=True)
        if row["lines_to_stop"]:
            stops = (
                f"{counted(row['lines_to_stop'], 'listed line')} must not be sent (order-pipeline ship-list --stops)"
            )
            console.print(f"[yellow]stop:[/] shop {row['shop']}: {stops}", soft_wrap=True)
    notices = state["notices"]
    if notices["waiting"]:
        why = f": {escape(notices['last_problem'])}" if notices["last_problem"] else ""
        console.print(
            f"{counted(notices['waiting'], 'notice waits', 'notices wait')} for delivery{why}", soft_wrap=True
        )
    calls = state["calls_24h"]
    console.print(
        "calls in the last 24 h: " + (", ".join(f"{name} {count:,}" for name, count in calls.items()) or "none")
    )
