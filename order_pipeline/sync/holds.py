"""Holds of pre-sales brought up to the orders and refunds in the tables. Asks no platform.

Belongs here: from rows to the rule and back, one transaction a batch. Not here: the rule (insights/presale.py), the
tables (warehouse/presale_holds.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.insights.presale import (
    Entry,
    Hold,
    Kind,
    PresaleLine,
    Sku,
    Stage,
    Transition,
    Version,
    advance,
)
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.hook_events import Event, put_events
from order_pipeline.warehouse.presale_holds import (
    REFETCHED_EVERY,
    LateHold,
    late_holds,
    lock_holds,
    newer_lines,
    note_refetched,
    write_holds,
)
from order_pipeline.warehouse.watermarks import PRESALE_HOLDS, begin_watermark, move_watermark, read_watermark
from order_pipeline.warehouse.worklist import Said, say_anyway

EVENT = "presale_hold"
# Lines a transaction: short enough for a lock, long enough to share its fixed cost.
BATCH = 2_000


class Derived(NamedTuple):
    """What a shop's derivation did: lines looked at, entries added, pieces more (or fewer) held and reserved."""

    shop_id: str
    lines: int = 0
    entries: int = 0
    held_change: int = 0
    reserved_change: int = 0


def derive_holds(engine: Engine, shop_id: str, *, tell: bool, batch: int = BATCH) -> Derived:
    """Bring the shop's holds up to the tables, as often as wanted, from as many processes as wanted.

    Killed at any moment, the next time goes on. ``tell``: every change goes to the hook's outbox too.
    Raises DatabaseUnreachableError without the warehouse.
    """
    total = Derived(shop_id)
    while True:
        done = in_transaction(engine, partial(_derive_batch, shop_id=shop_id, tell=tell, batch=batch))
        total = Derived(shop_id, *map(sum, zip(total[1:], done[1:], strict=True)))
        if done.lines < batch:
            return total


def _derive_batch(connection: Connection, *, shop_id: str, tell: bool, batch: int) -> Derived:
    began = lock_holds(connection, shop_id)
    rows = newer_lines(connection, shop_id, batch)
    moved = [(row, advance(_hold(row), _line(row))) for row in rows]
    transitions = [(row, transition) for row, transition in moved if transition]
    entries = [(row, entry) for row, transition in transitions for entry in transition.entries]
    write_holds(
        connection,
        shop_id,
        [_hold_values(row, transition.hold) for row, transition in transitions],
        [_entry_values(row, entry) for row, entry in entries],
    )
    if tell:
        put_events(connection, [_event(shop_id, row, each) for row, each in transitions if each.entries])
    if len(rows) < batch:
        begin_watermark(connection, shop_id, began, PRESALE_HOLDS)
        move_watermark(connection, shop_id, began, PRESALE_HOLDS)
    return Derived(
        shop_id,
        len(rows),
        len(entries),
        sum(entry.held_change for _, entry in entries),
        sum(entry.reserved_change for _, entry in entries),
    )


def look_after_late(engine: Engine, shop_ids: Sequence[str]) -> list[LateHold]:
    """Have orders fetched anew whose final payment is late, once a day each; return all that are late.

    Late is judged by the platform's time up to which the tables know everything, so it needs no call. Nothing is
    released because time passed: a buyer who pays late is still owed the goods.
    """

    def work(connection: Connection) -> list[LateHold]:
        found: list[LateHold] = []
        for shop_id in shop_ids:
            known_until = read_watermark(connection, shop_id)
            if known_until is None:
                continue
            late = late_holds(connection, shop_id, known_until)
            said = {
                hold.order_id: hold.order_modified_at
                for hold in late
                if hold.refetched_at is None or known_until - hold.refetched_at >= REFETCHED_EVERY
            }
            say_anyway(connection, shop_id, EVENT, [Said(*each) for each in said.items()])
            note_refetched(connection, shop_id, list(said), known_until)
            found += late
        return found

    return in_transaction(engine, work)


def _line(row: dict[str, Any]) -> PresaleLine:
    version = Version(row["modified_at"], row["sent_at"], row["refunds_modified_at"])
    gone = row["is_gone"]
    return PresaleLine(
        item_id=row["item_id"],
        version=version,
        # Of a line that is gone only its hold knows.
        sku=_sku(row, "hold_" if gone else ""),
        quantity=row["hold_quantity"] if gone else row["quantity"],
        order_type=row["order_type"],
        order_status=row["order_status"],
        status=row["status"],
        step_status=row["step_status"],
        new_presell={"true": True, "false": False}.get(row["new_presell"]),
        promised_ship_at=row["promised_ship_at"],
        refunded_quantity=row["refunded_quantity"],
        is_sent=row["is_sent"],
        is_gone=gone,
    )


def _hold(row: dict[str, Any]) -> Hold | None:
    if row["hold_kind"] is None:
        return None
    return Hold(
        item_id=row["item_id"],
        version=Version(row["order_modified_at"], row["order_sent_at"], row["hold_refunds_modified_at"]),
        kind=Kind(row["hold_kind"]),
        stage=Stage[row["hold_stage"].upper()],
        reason=row["hold_reason"],
        sku=_sku(row, "hold_"),
        quantity=row["hold_quantity"],
        held=row["held_quantity"],
        reserved=row["reserved_quantity"],
        since=row["since"],
    )


def _sku(row: dict[str, Any], prefix: str) -> Sku:
    return Sku(*(row[f"{prefix}{name}"] or "" for name in Sku._fields))


def _hold_values(row: dict[str, Any], hold: Hold) -> tuple[Any, ...]:
    return (
        row["order_id"], hold.item_id, hold.kind.value, hold.stage.word, hold.reason, *hold.sku, hold.quantity,
        hold.held, hold.reserved, hold.since, row["promised_ship_at"], hold.version.modified, hold.version.asked_at,
        hold.version.refunded,
    )  # fmt: skip


def _entry_values(row: dict[str, Any], entry: Entry) -> tuple[Any, ...]:
    before = entry.stage_before.word if entry.stage_before is not None else None
    return (
        row["order_id"], entry.item_id, *entry.sku, entry.held_change, entry.reserved_change, before, entry.stage.word,
        entry.reason, entry.modified,
    )  # fmt: skip


def _event(shop_id: str, row: dict[str, Any], transition: Transition) -> Event:
    """Return what the merchant's systems are told: where the hold stands now, and each change by SKU."""
    hold = transition.hold
    versions = [moment.isoformat() if moment else "" for moment in hold.version]
    return Event(
        EVENT,
        "/".join((EVENT, shop_id, row["order_id"], hold.item_id, *versions)),
        {
            "shop": shop_id,
            "order_id": row["order_id"],
            "item_id": hold.item_id,
            "kind": hold.kind.value,
            "stage": hold.stage.word,
            "reason": hold.reason,
            "quantity": hold.quantity,
            "held": hold.held,
            "reserved": hold.reserved,
            "modified_at": hold.version.modified.isoformat(),
            "changes": [
                {**entry.sku._asdict(), "held": entry.held_change, "reserved": entry.reserved_change}
                for entry in transition.entries
            ],
        },
    )
