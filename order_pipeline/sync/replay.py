"""A quarantined record tried again: read with today's parser, loaded through the same merge as everything else.

Belongs here: what becomes of a record that is replayed or discarded. Not here: which records are asked for, and what
is printed (commands/quarantine.py).

Nothing is asked of the platform. What still cannot be read is put on the worklist where its order is known: the next
pass fetches it whole, and a good version settles the record by itself.
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import Order, Refund, RejectedRecord
from order_pipeline.sync.access import read_stored_record
from order_pipeline.sync.actor import actor
from order_pipeline.sync.announcements import SAME_SECOND_MARGIN
from order_pipeline.sync.refund_storing import REFUND_DETAIL, refund_row
from order_pipeline.sync.storing import DETAIL, values_row
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.merging import Source, holds_version
from order_pipeline.warehouse.orders import merge_orders
from order_pipeline.warehouse.quarantine import HeldRecord, lock_record, note_reason, settle_by_hand, settle_loaded
from order_pipeline.warehouse.refunds import merge_refunds
from order_pipeline.warehouse.worklist import Said, clear_loaded, say_anyway, say_changed

REPLAY = "replay"

# For a record whose time cannot be read: any details that come are newer.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Result(enum.Enum):
    """What became of a record."""

    LOADED = "loaded"
    WOKEN = "woken"
    REFUSED = "refused"
    SETTLED_BEFORE = "settled before"
    DISCARDED = "discarded"


class Replay(NamedTuple):
    """What became of one record, in words too. ``record_id``: of its order or refund. ``is_open``: it still is."""

    quarantine_id: int
    shop_id: str
    record_id: str | None
    result: Result
    said: str

    @property
    def is_open(self) -> bool:
        """Whether the record waits on."""
        return self.result in (Result.WOKEN, Result.REFUSED)


class UnknownRecordError(Exception):
    """There is no record of that number; the message says where the numbers are."""

    def __init__(self, quarantine_id: int) -> None:
        super().__init__(
            f"quarantine: there is no record {quarantine_id}; the numbers are in: order-pipeline quarantine list"
        )


def replay(engine: Engine, quarantine_id: int) -> Replay:
    """Try a record again. It is settled only when its order is in the tables in that version or a newer one.

    Raises UnknownRecordError.
    """
    return in_transaction(engine, lambda connection: _replay(connection, _locked(connection, quarantine_id)))


def discard(engine: Engine, quarantine_id: int, why: str) -> Replay:
    """Settle a record that is worth nothing, by name and with the reason. It stays settled when it comes again.

    Raises UnknownRecordError.
    """

    def work(connection: Connection) -> Replay:
        held = _locked(connection, quarantine_id)
        if held.resolved_at:
            return _settled_before(held)
        settle_by_hand(connection, quarantine_id, f"discarded: {why}", actor(), discarded=True)
        return _outcome(held, Result.DISCARDED, f"discarded by {actor()}: {why}")

    return in_transaction(engine, work)


def _replay(connection: Connection, held: HeldRecord) -> Replay:
    if held.resolved_at:
        return _settled_before(held)
    subject = held.is_of
    if held.record_id:
        settle_loaded(connection, held.shop_id, [held.record_id], subject=subject)
        if _locked(connection, held.quarantine_id).resolved_at:
            return _outcome(held, Result.LOADED, "a version as good or newer is in the tables already")
    record = read_stored_record(held.platform, subject, held.body)
    if isinstance(record, RejectedRecord):
        return _put_back(connection, held, held.record_id or record.record_id, record.reason)
    record_id = record.order_id if isinstance(record, Order) else record.refund_id
    if held.record_id not in (None, record_id):
        return _put_back(connection, held, held.record_id, f"its body is of another {subject.one} ({record_id})")
    source = Source.DETAIL if held.channel in (DETAIL, REFUND_DETAIL) else Source.LIST
    refused = _merge(connection, held, source, record)
    if refused:
        return _put_back(connection, held, record_id, refused)
    if not holds_version(connection, held.shop_id, record_id, record.modified_at, source, subject=subject):
        return _put_back(connection, held, record_id, "it was merged, but is not in the tables")
    said = [Said(record_id, record.modified_at)]
    if source is Source.DETAIL and held.sent_at - record.modified_at >= SAME_SECOND_MARGIN:
        clear_loaded(connection, held.shop_id, record_id, record.modified_at, subject=subject)
    elif source is Source.DETAIL:
        # It may have changed again in the second it was asked for.
        say_anyway(connection, held.shop_id, REPLAY, said, subject=subject)
    else:
        say_changed(connection, held.shop_id, REPLAY, said, subject=subject)
    settle_by_hand(connection, held.quarantine_id, f"replayed: its {subject.one} is in the tables", actor())
    settle_loaded(connection, held.shop_id, [record_id], subject=subject)
    return _outcome(held, Result.LOADED, f"{subject.one} {record_id} is in the tables", record_id)


def _merge(connection: Connection, held: HeldRecord, source: Source, record: Order | Refund) -> str | None:
    """Merge a record like any other; return why the warehouse refused it, if it did."""
    if isinstance(record, Order):
        row = values_row(record, held.sent_at)
        refused = merge_orders(connection, held.shop_id, held.platform, source, [row])
        return refused[0].reason if refused else None
    refunds = merge_refunds(connection, held.shop_id, held.platform, source, [refund_row(record, held.sent_at)])
    return refunds[0].reason if refunds else None


def _put_back(connection: Connection, held: HeldRecord, record_id: str | None, reason: str) -> Replay:
    """Leave the record open with today's reason, and have its order or refund fetched where it is known."""
    note_reason(connection, held.quarantine_id, reason)
    if record_id is None:
        return _outcome(
            held,
            Result.REFUSED,
            f"still refused: {reason}; its {held.is_of.one} cannot be read either; the proof of its day has to find it",
        )
    say_anyway(connection, held.shop_id, REPLAY, [Said(record_id, held.modified_at or LONG_AGO)], subject=held.is_of)
    said = f"still refused: {reason}; {held.is_of.one} {record_id} is fetched whole by the next pass"
    return _outcome(held, Result.WOKEN, said, record_id)


def _locked(connection: Connection, quarantine_id: int) -> HeldRecord:
    held = lock_record(connection, quarantine_id)
    if held is None:
        raise UnknownRecordError(quarantine_id)
    return held


def _settled_before(held: HeldRecord) -> Replay:
    return _outcome(held, Result.SETTLED_BEFORE, f"settled before: {held.resolution}")


def _outcome(held: HeldRecord, result: Result, said: str, record_id: str | None = None) -> Replay:
    return Replay(held.quarantine_id, held.shop_id, held.record_id or record_id, result, said)
