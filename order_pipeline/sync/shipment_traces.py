"""Following parcels: which there are, and what the platform knows of those that may still move.

Belongs here: asking, at a pace that leaves room for orders, and storing what is answered. Not here: which parcels are
due (warehouse/parcels.py), what a standing is worth (alerting.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.insights.traces import Meaning, TraceEvent, standing_of
from order_pipeline.platforms.protocol import Shipment, Trace
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.storing import raw_page, store_call_log
from order_pipeline.traffic.errors import (
    AuthorizationError,
    CallerError,
    CallError,
    HeldBackError,
    NotFoundError,
    ThrottledError,
)
from order_pipeline.traffic.pace import Pace
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.parcel_events import (
    EventRow,
    StandingRow,
    add_events,
    events_of,
    note_failures,
    note_standings,
    told_of_returns,
)
from order_pipeline.warehouse.parcels import (
    FOLLOWED,
    OUTGOING,
    RETURN,
    DueParcel,
    WithoutNumber,
    count_due,
    learn_numbers,
    refresh_parcels,
    take_due,
    without_number,
)
from order_pipeline.warehouse.raw import store_pages

logger = logging.getLogger(__name__)

TRACES = "traces"

# Orders come first: parcels never take more than this share of the shop's calls a minute.
SHARE = 0.5
THREADS = 4
PARCELS_PER_BATCH = 100
# A run shall be over when the next one begins.
LONGEST_SECONDS = 2700.0
# So many failures in a row are no accident: the interface is away, and asking thousands of times helps nobody.
HOPELESS_FAILURES = 20
# Orders sent without a number are asked for one by one.
NUMBERS_PER_RUN = 50

# What the next parcel would meet too.
STOPPING = (AuthorizationError, ThrottledError)


class Following(NamedTuple):
    """What came of following a shop's parcels.

    ``asked``: parcels asked about, of which ``answered`` were, ``without_trace`` of those with nothing to show, and
    ``moved`` with something new. ``left``: due and not asked about, and ``stopped`` why. ``unreadable``: events left
    out. ``nameless``: orders that left without a usable number. ``now``: the platform's time at the beginning.
    """

    shop_id: str
    now: datetime
    asked: int = 0
    answered: int = 0
    without_trace: int = 0
    moved: int = 0
    unreadable: int = 0
    left: int = 0
    stopped: str | None = None
    nameless: tuple[WithoutNumber, ...] = ()
    calls: int = 0
    seconds: float = 0.0


class _Asked(NamedTuple):
    """A parcel and what came of asking about it."""

    parcel: DueParcel
    answer: Trace | CallError


def follow_parcels(access: ShopAccess, engine: Engine, *, longest_seconds: float = LONGEST_SECONDS) -> Following:
    """Bring the shop's parcels up to date, and ask about all that are due.

    Ends early, and says why, where orders need the rate budget, where the interface is away, or after
    ``longest_seconds``; what is left is first in turn the next time. Several may run at once.

    Raises CallError for what concerns the whole shop (authorisation), DatabaseUnreachableError without the warehouse.
    """
    started = time.monotonic()
    calls_before = access.calls.total
    shop_id, platform = access.shop.id, access.platform
    now = platform.now()
    in_transaction(engine, partial(_refresh, access=access, now=now))
    asking = _Asking(access)
    found = Following(shop_id, now)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="trace") as pool:
        if _learn_numbers(access, engine, asking, now):
            in_transaction(engine, partial(_refresh, access=access, now=now))
        while not asking.stopped:
            if time.monotonic() - started > longest_seconds:
                asking.stopped = f"{longest_seconds:.0f} seconds are over"
                break
            taken = in_transaction(engine, partial(take_due, shop_id=shop_id, now=now, most=PARCELS_PER_BATCH))
            if not taken:
                break
            asked = list(pool.map(asking, taken))
            found = in_transaction(engine, partial(_store, access=access, asked=asked, found=found))
            in_transaction(engine, partial(store_call_log, calls=access.calls.drain()))
    if isinstance(asking.hopeless, AuthorizationError):
        raise asking.hopeless
    left = in_transaction(engine, partial(count_due, shop_id=shop_id, now=now))
    nameless = in_transaction(engine, partial(without_number, shop_id=shop_id, now=now))
    return found._replace(
        left=left + asking.skipped,
        stopped=asking.stopped,
        nameless=tuple(nameless),
        calls=access.calls.total - calls_before,
        seconds=time.monotonic() - started,
    )


def _refresh(connection: Connection, access: ShopAccess, now: datetime) -> None:
    shop_id, topic = access.shop.id, access.platform.trace_topic
    refresh_parcels(connection, shop_id, topic, now)
    told = told_of_returns(connection, shop_id, topic, now - FOLLOWED)
    read = [(number, access.platform.read_trace_message(content), at) for number, content, at in told]
    rows = [
        EventRow(RETURN, number, event.at, event.action or "", event.meaning.value, at)
        for number, event, at in read
        if event
    ]
    moved = [number for _, number in add_events(connection, shop_id, rows)]
    _note(connection, shop_id, RETURN, {number: Trace(asked_at=now) for number in moved})


class _Asking:
    """Asks about parcels in the pool's threads, until it shows that going on is pointless."""

    def __init__(self, access: ShopAccess) -> None:
        self._platform = access.platform
        granted = access.shop.calls_per_minute
        self._pace = Pace(granted * SHARE if granted else None)
        self._failures = 0
        self.skipped = 0
        self.stopped: str | None = None
        self.hopeless: CallError | None = None

    def __call__(self, parcel: DueParcel) -> _Asked:
        if self.hopeless:
            self.skipped += 1
            return _Asked(parcel, self.hopeless)
        self._pace.wait()
        try:
            answer = self._ask(parcel)
        except CallError as error:
            self.learn(error)
            return _Asked(parcel, error)
        self._failures = 0
        return _Asked(parcel, answer)

    def learn(self, error: CallError) -> None:
        """Count a failure; after many in a row, or one that all would meet, nothing more is asked."""
        if isinstance(error, CallerError):
            self._failures = 0
            return
        self._failures += 1
        if isinstance(error, STOPPING) or self._failures >= HOPELESS_FAILURES:
            self.hopeless = error
            needed = isinstance(error, HeldBackError)
            self.stopped = f"the rate budget is needed for orders: {error}" if needed else str(error)

    def shipments(self, order_id: str) -> tuple[Shipment, ...]:
        """Ask for an order's parcels at the same pace."""
        self._pace.wait()
        return self._platform.shipments(order_id)

    def _ask(self, parcel: DueParcel) -> Trace:
        try:
            return self._platform.trace(parcel.order_id, parcel.item_ids)
        except NotFoundError:
            raise
        except CallerError:
            if not parcel.item_ids:
                raise
        # The platform divides the order otherwise than its lines say: all its parcels, and ours by its number.
        numbers = {parcel.tracking_number, parcel.current_tracking_number}
        for trace in self._platform.traces(parcel.order_id):
            if trace.tracking_number in numbers:
                return trace
        return Trace(asked_at=self._platform.now())


def _learn_numbers(access: ShopAccess, engine: Engine, asking: _Asking, now: datetime) -> int:
    """Ask for the numbers of orders that were sent without one; return how many were learnt."""
    shop_id, learnt = access.shop.id, 0
    nameless = in_transaction(engine, partial(without_number, shop_id=shop_id, now=now, due=True))
    for order in nameless[:NUMBERS_PER_RUN]:
        if asking.stopped:
            break
        try:
            shipments = asking.shipments(order.order_id)
        except CallError as error:
            asking.learn(error)
            if error.retryable:
                continue
            shipments = ()
        numbers = [(item_id, *_carried(item_id, shipments)) for item_id in order.item_ids]
        learnt += sum(number is not None for _, number, _ in numbers)
        in_transaction(
            engine, partial(learn_numbers, shop_id=shop_id, order_id=order.order_id, numbers=numbers, now=now)
        )
    return learnt


def _carried(item_id: str, shipments: Sequence[Shipment]) -> tuple[str | None, str | None]:
    for shipment in shipments:
        if not shipment.item_ids or item_id in shipment.item_ids:
            return shipment.tracking_number, shipment.company
    return None, None


def _store(connection: Connection, access: ShopAccess, asked: Sequence[_Asked], found: Following) -> Following:
    shop = access.shop
    traces = {parcel.tracking_number: answer for parcel, answer in asked if isinstance(answer, Trace)}
    rows = [
        EventRow(OUTGOING, number, event.at, event.action or "", event.meaning.value, trace.asked_at)
        for number, trace in traces.items()
        for event in trace.events
    ]
    moved = {number for _, number in add_events(connection, shop.id, rows)}
    # An answer that brings nothing new is the one that is kept already.
    pages = [
        raw_page(answer.answer, None, order_id=parcel.order_id)
        for parcel, answer in asked
        if isinstance(answer, Trace) and answer.answer and parcel.tracking_number in moved
    ]
    store_pages(connection, shop.id, shop.platform, TRACES, pages)
    _note(connection, shop.id, OUTGOING, traces)
    failed = [(parcel, answer) for parcel, answer in asked if isinstance(answer, CallError)]
    note_failures(
        connection,
        shop.id,
        [(parcel.tracking_number, str(error), isinstance(error, NotFoundError)) for parcel, error in failed],
    )
    return found._replace(
        asked=found.asked + len(asked),
        answered=found.answered + len(traces),
        without_trace=found.without_trace + sum(not trace.events for trace in traces.values()),
        moved=found.moved + len(moved),
        unreadable=found.unreadable + sum(len(trace.unreadable) for trace in traces.values()),
    )


def _note(connection: Connection, shop_id: str, direction: str, traces: dict[str, Trace]) -> None:
    known = events_of(connection, shop_id, direction, list(traces))
    rows = []
    for number, trace in sorted(traces.items()):
        events = [TraceEvent(at, Meaning(meaning)) for at, meaning in known.get(number, ())]
        standing = standing_of(events)
        rows.append(
            StandingRow(
                direction,
                number,
                standing.state,
                standing.since,
                len(events),
                not events and (trace.claims_signed or not trace.is_traceable),
                trace.tracking_number if trace.tracking_number != number else None,
                trace.company if trace.tracking_number != number else None,
                trace.asked_at,
            )
        )
    note_standings(connection, shop_id, rows)
