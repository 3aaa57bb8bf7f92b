"""Stock that pre-sales hold: one hold an order line, its states, and the ledger of every change of it.

Belongs here: what a pre-sale is, which state a version of its line means, and what moving there writes into the
ledger. Pure: values in, values out. Not here: reading lines, storing holds (sync/holds.py, warehouse/presale_holds.py).

A step trade (定金 and 尾款) holds stock from the deposit on; when the rest is paid and the line waits to be sent, the
hold becomes an ordinary reservation in the same step, so that no unit is counted twice or not at all. A pre-sale that
is paid in full (全款预售) never holds: it is reserved as soon as it is paid. A hold ends when its line is sent, closed,
refunded or its deposit forfeited; never because time passed.

News may come late, twice and in any order: a version of a line counts only if it is newer than the one that the hold
was made of, so any order and number of deliveries ends in the same hold and in a ledger that adds up to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple

STEP = "step"
DEPOSIT_PAID = "FRONT_PAID_FINAL_NOPAID"
FINAL_PAID = "FRONT_PAID_FINAL_PAID"
FORFEITED = "FRONT_PAID_FRONT_FORFEITED"
NOTHING_PAID = "FRONT_NOPAID_FINAL_NOPAID"
# The documented four; anything else is new to us, and said so.
STEP_STATUSES = frozenset({NOTHING_PAID, DEPOSIT_PAID, FINAL_PAID, FORFEITED})

# Words of a line or an order (Taobao contract §4.5).
CLOSED_UNPAID = "TRADE_CLOSED_BY_TAOBAO"
CLOSED = "TRADE_CLOSED"
WAITS_TO_BE_SENT = frozenset({"WAIT_SELLER_SEND_GOODS", "PAID_FORBID_CONSIGN"})
SENT = frozenset({"WAIT_BUYER_CONFIRM_GOODS", "TRADE_BUYER_SIGNED", "TRADE_FINISHED"})


class Kind(StrEnum):
    """The two ways to sell what is not there yet."""

    STEP = "step"
    FULL_PAYMENT = "full_payment"


class Stage(IntEnum):
    """Where a hold stands; of two versions that nothing else tells apart, the higher one counts."""

    WAITING = 0  # nothing is paid: nothing is held
    HELD = 1  # the deposit is paid
    RESERVED = 2  # all is paid: an ordinary reservation, part of bi.reserved_stock
    SENT = 3
    RELEASED = 4

    @property
    def word(self) -> str:
        """As it is stored and shown."""
        return self.name.lower()


class Sku(NamedTuple):
    """What is held, by the platform's ids; ``sku_code`` is the merchant's own code. Empty: the item has no SKUs."""

    num_iid: str
    sku_id: str
    sku_code: str


class Version(NamedTuple):
    """How new what is known of a line is; the greater counts. Times aware.

    ``modified`` and ``asked_at`` of its order, ``refunded`` the newest modified of its refunds, None without any.
    """

    modified: datetime
    asked_at: datetime
    refunded: datetime | None = None


class PresaleLine(NamedTuple):
    """One version of a line of an order, in the platform's words.

    ``refunded_quantity``: pieces that refunds gave back. ``is_gone``: the order is there, the line not any more.
    """

    item_id: str
    version: Version
    sku: Sku
    quantity: int
    order_type: str | None
    order_status: str
    status: str | None
    step_status: str | None
    new_presell: bool | None = None
    promised_ship_at: datetime | None = None
    refunded_quantity: int = 0
    is_sent: bool = False
    is_gone: bool = False


class Hold(NamedTuple):
    """What a line holds now: at most one of ``held`` and ``reserved`` is not zero. ``since``: in this stage."""

    item_id: str
    version: Version
    kind: Kind
    stage: Stage
    reason: str
    sku: Sku
    quantity: int
    held: int
    reserved: int
    since: datetime


class Entry(NamedTuple):
    """A line of the ledger: what a change added to, or took off, the held and reserved pieces of one SKU."""

    item_id: str
    sku: Sku
    held_change: int
    reserved_change: int
    stage_before: Stage | None
    stage: Stage
    reason: str
    modified: datetime


class Transition(NamedTuple):
    """What a version of a line did: the hold as it is now, and the ledger's entries, none when nothing moved."""

    hold: Hold
    entries: tuple[Entry, ...]


def kind_of(line: PresaleLine) -> Kind | None:
    """Return what sort of pre-sale a line belongs to, None for an ordinary order.

    ``send_time`` alone (promised_ship_at) makes one only where the platform did not say ``new_presell``: lists leave
    that out, and ordinary orders of some shops carry a promise too.
    """
    if line.order_type == STEP or line.step_status is not None:
        return Kind.STEP
    if line.new_presell or (line.new_presell is None and line.promised_ship_at is not None):
        return Kind.FULL_PAYMENT
    return None


def stage_of(line: PresaleLine, kind: Kind) -> tuple[Stage, str]:
    """Return where a version of a line stands, and why in a word or two."""
    closed = next((word for word in (line.status, line.order_status) if word in (CLOSED, CLOSED_UNPAID)), None)
    if line.is_sent or (line.status or line.order_status) in SENT:
        return Stage.SENT, "sent"
    if line.is_gone:
        return Stage.RELEASED, "line removed"
    if line.step_status == FORFEITED:
        return Stage.RELEASED, "deposit forfeited"
    if closed == CLOSED:
        return Stage.RELEASED, "refunded"
    if closed == CLOSED_UNPAID:
        return Stage.RELEASED, "closed"
    if line.refunded_quantity >= line.quantity > 0:
        return Stage.RELEASED, "refunded"
    if (line.status or line.order_status) in WAITS_TO_BE_SENT:
        return Stage.RESERVED, "paid in full"
    # Until the line waits to be sent no reservation counts it, so the hold goes on though the rest is paid.
    if kind is Kind.STEP and line.step_status in (DEPOSIT_PAID, FINAL_PAID):
        return Stage.HELD, "deposit paid"
    return Stage.WAITING, "nothing paid"


def advance(hold: Hold | None, line: PresaleLine) -> Transition | None:
    """Return what a version of a line does to its hold; None: the line is no pre-sale, or the version is not newer."""
    kind = kind_of(line) or (hold.kind if hold else None)
    if kind is None:
        return None
    stage, reason = stage_of(line, kind)
    if hold and not _is_newer(line.version, stage, hold):
        return None
    pieces = max(line.quantity - line.refunded_quantity, 0)
    held = pieces if stage is Stage.HELD else 0
    reserved = pieces if stage is Stage.RESERVED else 0
    is_same = hold is not None and hold.stage is stage
    since = hold.since if hold and is_same else line.version.modified
    now = Hold(line.item_id, line.version, kind, stage, reason, line.sku, line.quantity, held, reserved, since)
    return Transition(now, tuple(_entries(hold, now)))


def _is_newer(version: Version, stage: Stage, hold: Hold) -> bool:
    return _order(version, stage) > _order(hold.version, hold.stage)


def _order(version: Version, stage: Stage) -> tuple[datetime, datetime, bool, datetime, Stage]:
    refunded = version.refunded
    return version.modified, version.asked_at, refunded is not None, refunded or version.modified, stage


def _entries(before: Hold | None, now: Hold) -> Iterable[Entry]:
    """Give the entries between two states: one where the SKU is the same, two where the buyer took another."""

    def entry(sku: Sku, held: int, reserved: int, reason: str) -> Entry:
        stage_before = before.stage if before else None
        return Entry(now.item_id, sku, held, reserved, stage_before, now.stage, reason, now.version.modified)

    if before and before.sku != now.sku:
        if before.held or before.reserved:
            yield entry(before.sku, -before.held, -before.reserved, "another SKU")
        if now.held or now.reserved:
            yield entry(now.sku, now.held, now.reserved, now.reason)
        return
    held = now.held - (before.held if before else 0)
    reserved = now.reserved - (before.reserved if before else 0)
    if held or reserved:
        same = before is not None and before.stage is now.stage
        yield entry(now.sku, held, reserved, "quantity changed" if same else now.reason)


# --- what must hold -----------------------------------------------------------------------------------------------


class Breach(NamedTuple):
    """An invariant that is broken, and by what."""

    rule: str
    item_id: str


def breaches(holds: Sequence[Hold], entries: Sequence[Entry]) -> list[Breach]:
    """Return what does not add up between holds and their whole ledger, the ledger in the order of writing.

    Never negative: no prefix of a line's entries leaves less than nothing. Never twice: a line holds pieces of one SKU
    in one way, and no more than it has. Complete: the ledger's sum is the hold.
    """
    found: list[Breach] = []
    sums: dict[tuple[str, Sku], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for entry in entries:
        held, reserved = sums[entry.item_id, entry.sku]
        sums[entry.item_id, entry.sku] = held, reserved = held + entry.held_change, reserved + entry.reserved_change
        if held < 0 or reserved < 0:
            found.append(Breach("never negative", entry.item_id))
    current = {(hold.item_id, hold.sku): (hold.held, hold.reserved) for hold in holds}
    found += [
        Breach("never twice", hold.item_id)
        for hold in holds
        if (hold.held and hold.reserved) or hold.held + hold.reserved > hold.quantity
    ]
    found += [
        Breach("the ledger adds up", item_id)
        for item_id, sku in sums.keys() | current.keys()
        if sums[item_id, sku] != current.get((item_id, sku), (0, 0))
    ]
    return found


def held_pieces(holds: Iterable[Hold]) -> int:
    """Return how many pieces are held."""
    return sum(hold.held for hold in holds)


def pieces_of_open_deposits(lines: Iterable[PresaleLine]) -> int:
    """Return how many pieces the newest versions of lines say are held: the sum that holds must come to."""
    pieces = 0
    for line in lines:
        kind = kind_of(line)
        if kind and stage_of(line, kind)[0] is Stage.HELD:
            pieces += max(line.quantity - line.refunded_quantity, 0)
    return pieces
