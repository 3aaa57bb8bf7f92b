"""The proof of a day: the platform against the warehouse, gaps filled through the worklist, compared again.

Belongs here: asking, filling, storing the result. Not here: judging (insights/reconciliation.py).

What an equal day proves. Small days are listed: every order is there, in the platform's version, with its status,
a pre-sale's step, payment, lines and pieces. Larger days are counted: the platform's total and its totals of the
largest statuses agree, and every row is, column by column, the detail that it was loaded from. Equal counts do not
prove that an order changed on the platform without changing its status (a pre-sale whose deposit is paid keeps its
status) and both channels missed that, nor that two errors cancel out;
``listed=True`` proves that too, for a call every hundred orders. Of a list's rows only what the list shows is
compared; texts, addresses and the like are proven against the stored details alone. Orders are proven by the day of
their creation, refunds by the day of their last change, as the platform lists them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Set
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.insights.reconciliation import (
    TOTAL,
    Difference,
    Held,
    Listed,
    compare,
    disagreeing,
    quiet_second,
    statuses_to_count,
)
from order_pipeline.platforms.protocol import Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.evidence import Evidence
from order_pipeline.sync.provable import PROVABLE_ORDERS, Provable
from order_pipeline.sync.storing import store_call_log
from order_pipeline.sync.windows import created_window, day_window
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.proofs import ProofRow, store_proof
from order_pipeline.warehouse.quarantine import open_ids
from order_pipeline.warehouse.worklist import Said, say_anyway

RECONCILIATION = "reconciliation"

# Three hundred orders are three or four pages of a hundred: no more calls than counting, and they prove more.
MOST_LISTED = 300
# With the total these are four calls, with the look at the platform's clock five.
STATUSES_COUNTED = 3
# Each round fetches anew whatever differs. What changes meanwhile may need a second; more would chase a platform
# that does not stand still, and the next night comes.
MOST_ROUNDS = 3
# Orders that the list lacks are asked for one by one; a list that lacks more than these is itself what is wrong.
MOST_EXTRA_FETCHED = 100

# A counted window ends in seconds without records, looked for so far beside the day's own. In the rush at the
# beginning of a sale there may be none; then the day is listed.
SECOND = timedelta(seconds=1)
SECONDS_BESIDE = 60

SAMPLE_SIZE = 10


class Reconciliation(NamedTuple):
    """A proof that was made: its stored row, ids that still differ (or did), and whether the day is over."""

    row: ProofRow
    sample: tuple[tuple[str, str], ...]
    is_whole_day: bool


class _Held(NamedTuple):
    """The day as the warehouse holds it; ``near`` adds the records within a minute of it."""

    records: dict[str, Held]
    near: dict[str, Held]
    quarantined: frozenset[str]

    @property
    def sound(self) -> dict[str, Held]:
        return {record_id: record for record_id, record in self.records.items() if record_id not in self.quarantined}


class _Listing(NamedTuple):
    """The day as the platform lists it; ``unidentified``: records whose id cannot be read."""

    records: dict[str, Listed]
    unidentified: int
    listed_at: datetime


def reconcile_day(
    access: ShopAccess,
    engine: Engine,
    day: date,
    now: datetime,
    *,
    listed: bool = False,
    provable: Provable = PROVABLE_ORDERS,
) -> Reconciliation | None:
    """Prove one day of a shop (Shanghai), mend what differs, and store the result; None: not begun yet.

    Args:
        access: the shop.
        engine: the warehouse.
        day: its orders are proven, as far as they are placed by now; or the refunds that last changed on it.
        now: the platform's time.
        listed: compare one by one even where counts would do.
        provable: orders or refunds.

    Raises:
        CallError: the platform does not answer; what was mended stays, and no result is stored.
        DatabaseUnreachableError: without the warehouse.

    """
    window = created_window(day, now)
    if window is None or window.end <= window.start + timedelta(seconds=1):
        return None
    proof = _Proof(access, engine, day, window, provable)
    held = proof.look(frozenset())
    # Details that are just on their way are no difference, but counts would have to leave them out.
    if any(not order.is_whole for order in held.records.values()):
        drain(access, engine, stream=provable.stream)
        held = proof.look(frozenset())
    evidence = provable.weigh(access, engine, held.records)
    is_sound = not (evidence.altered or evidence.unproven or held.quarantined & held.records.keys())
    if not listed and is_sound and len(held.records) > MOST_LISTED and proof.counts_agree(held):
        return proof.store(held, Difference(), Difference(), None, 0)
    return proof.by_list(evidence)


class _Proof:
    """One proof on its way."""

    def __init__(self, access: ShopAccess, engine: Engine, day: date, window: Window, provable: Provable) -> None:
        self._provable = provable
        self._access = access
        self._engine = engine
        self._day = day
        self._window = window
        self._is_whole_day = window.end == day_window(day).end
        self._started = time.monotonic()
        self._calls_before = access.calls.total
        self._counted: dict[str | None, int] = {}

    def look(self, altered: Set[str], also: Collection[str] = ()) -> _Held:
        """Read what the warehouse holds of the day, and of the ids ``also``."""
        start, end = self._window.start, self._window.end
        with transaction(self._engine) as connection:
            beside = SECONDS_BESIDE * SECOND
            held = self._provable.held(connection, self._access.shop.id, Window(start - beside, end + beside), also)
            quarantined = open_ids(connection, self._access.shop.id, subject=self._provable.stream.subject)
        near = {record_id: record._replace(is_altered=record_id in altered) for record_id, record in held.items()}
        inside = {
            record_id: record for record_id, record in near.items() if record_id in also or start <= record.moment < end
        }
        return _Held(inside, near, quarantined)

    def counts_agree(self, held: _Held) -> bool:
        """Ask for the total and the totals of the largest statuses; ask again for those that disagree."""
        platform = self._access.platform
        window = self._countable(held)
        if window is None:
            return False
        counted = [record for record in held.near.values() if window.start <= record.moment <= window.end]
        statuses = statuses_to_count(held.records.values(), self._provable.countable(platform), STATUSES_COUNTED)
        wanted: Collection[str | None] = (TOTAL, *statuses)
        for _ in range(2):
            self._counted |= {status: self._provable.count(platform, window, status) for status in wanted}
            wanted = disagreeing(self._counted, counted, window.start, window.end)
            if not wanted:
                # What stands in the result is the day's own.
                own = Counter(record.status for record in held.records.values())
                own.subtract(record.status for record in counted)
                for status in self._counted:
                    self._counted[status] += own.total() if status is TOTAL else own[status]
                return True
        return False

    def _countable(self, held: _Held) -> Window | None:
        """Return the day's window with its ends moved to seconds without records, None where there are none near."""
        taken = {record.moment for record in held.near.values()}
        start = quiet_second(taken, self._window.start, -SECOND, SECONDS_BESIDE)
        # Of a day that is not over, the end is now: beyond it records would come while they are counted.
        end = quiet_second(taken, self._window.end, SECOND if self._is_whole_day else -SECOND, SECONDS_BESIDE)
        return Window(start, end) if start and end and start < end else None

    def by_list(self, evidence: Evidence) -> Reconciliation:
        """List the day, locate what differs, fetch it anew, compare again."""
        listing = self._list()
        altered = evidence.altered
        first_held = held = self.look(altered, listing.records)
        first = difference = self._compare(listing, held)
        rounds = 0
        while difference.record_ids and rounds < MOST_ROUNDS:
            rounds += 1
            self._refill(listing, held, difference)
            altered = self._provable.weigh(self._access, self._engine, difference.record_ids).altered
            held = self.look(altered, listing.records)
            before, difference = difference, self._compare(listing, held)
            if difference == before:
                # What this round did not mend, the same calls would not mend a moment later.
                break
        return self.store(first_held, first, difference, listing, rounds)

    def store(
        self,
        held: _Held,
        first: Difference,
        last: Difference,
        listing: _Listing | None,
        rounds: int,
    ) -> Reconciliation:
        """Store what was found. ``held`` and ``first`` are of before the mending, ``last`` of after it."""
        unidentified = listing.unidentified if listing else 0
        unsettled = len(last.record_ids) + unidentified
        row = ProofRow(
            shop_id=self._access.shop.id,
            day=self._day,
            expected=len(listing.records) + unidentified if listing else len(held.records),
            found=len(held.sound),
            missing=len(first.missing) + unidentified,
            stale=len(first.stale),
            extra=len(first.extra),
            quarantined=len(first.quarantined) + unidentified,
            refilled=len(first.record_ids - last.record_ids),
            unsettled=unsettled,
            rounds=rounds,
            calls=self._access.calls.total - self._calls_before,
            seconds=round(time.monotonic() - self._started, 3),
            listed=listing is not None,
            equal=unsettled == 0,
            totals=self._totals(listing, held),
        )
        calls = self._access.calls.drain()

        def store(connection: Connection) -> None:
            store_proof(connection, row, subject=self._provable.stream.subject)
            store_call_log(connection, calls)

        in_transaction(self._engine, store)
        return Reconciliation(row, _sample(last if last.record_ids else first), self._is_whole_day)

    def _list(self) -> _Listing:
        start, end = self._window.start, self._window.end
        records: dict[str, Listed] = {}
        unidentified = 0
        listed_at = start
        for page in self._provable.listed(self._access.platform, self._window):
            listed_at = max(listed_at, page.sent_at)
            for record_id, moment, said in page.records:
                known = records.get(record_id)
                # A record that changed during the walk may come in both versions.
                if start <= moment < end and (
                    known is None
                    or known.modified_at is None
                    or (said.modified_at is not None and known.modified_at < said.modified_at)
                ):
                    records[record_id] = said
            for record in page.rejected:
                if record.record_id is None:
                    unidentified += 1
                else:
                    records.setdefault(record.record_id, Listed())
        return _Listing(records, unidentified, listed_at)

    def _compare(self, listing: _Listing, held: _Held) -> Difference:
        return compare(listing.records, held.records, listed_at=listing.listed_at, quarantined=held.quarantined)

    def _refill(self, listing: _Listing, held: _Held, difference: Difference) -> None:
        """Put what differs on the worklist, known or not, and drain it."""
        extra = difference.extra if len(difference.extra) <= MOST_EXTRA_FETCHED else ()
        said = []
        for order_id in (*difference.missing, *difference.stale, *extra):
            listed = listing.records.get(order_id)
            modified = listed.modified_at if listed else held.records[order_id].modified_at
            said.append(Said(order_id, modified or self._window.start))
        with transaction(self._engine) as connection:
            say_anyway(connection, self._access.shop.id, RECONCILIATION, said, subject=self._provable.stream.subject)
        drain(self._access, self._engine, stream=self._provable.stream)

    def _totals(self, listing: _Listing | None, held: _Held) -> dict[str, Any]:
        ours = Counter(order.status for order in held.sound.values())
        if listing:
            theirs = Counter(order.status or "unread" for order in listing.records.values())
        else:
            theirs = Counter({status: count for status, count in self._counted.items() if status is not TOTAL})
            theirs["others"] = (self._counted[TOTAL] or 0) - theirs.total()
        return {"platform": _by_name(theirs), "warehouse": _by_name(ours)}


def _by_name(counts: Mapping[str, int]) -> dict[str, int]:
    return {status: counts[status] for status in sorted(counts)}


def _sample(difference: Difference) -> tuple[tuple[str, str], ...]:
    named = [
        *((order_id, "quarantined") for order_id in difference.quarantined),
        *((order_id, "missing") for order_id in difference.missing if order_id not in difference.quarantined),
        *((order_id, "stale") for order_id in difference.stale),
        *((order_id, "extra") for order_id in difference.extra),
    ]
    return tuple(named[:SAMPLE_SIZE])
